//! Forms: what keys fill in, what is said about it, and what is asked of the backend.

use hostler::domain::*;
use hostler::ui::msg::{Cmd, Msg, Reply};
use hostler::ui::windows::detail::DetailWindow;
use hostler::ui::windows::form::state::{Form, Purpose};

use serde_json::{Value as Json, json};

use super::fake_backend::{PlainBackend, catalogue};
use super::stage::Stage;

#[test]
fn a_vm_is_created_in_under_ten_keys_besides_name_and_password() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("n \"web-9\" enter \"correct-horse\" enter");
    let [submit] = stage.submitted().try_into().unwrap();
    assert_eq!(submit.kind, "vm_create");
    assert_eq!(submit.params["hostname"], "web-9");
    assert_eq!(submit.params["password"], "correct-horse");
    assert_eq!(submit.params["os"], 1);
    let spec = catalogue();
    let shares = &spec.get("vm_create").unwrap().field("shares").unwrap().default;
    assert_eq!(&submit.params["shares"], shares);
    stage.lacks("correct-horse");
}

#[test]
fn what_is_wrong_is_said_while_it_is_typed_and_nothing_is_sent() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("n \"-web\"");
    stage.shows("begins with a letter");
    stage.keys("ctrl-s");
    assert_eq!(stage.submitted(), []);
}

#[test]
fn a_refusal_is_shown_at_its_field() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("n \"web-1\" enter \"correct-horse\" enter");
    let submit = stage.submitted().remove(0);
    let refusal =
        Refusal::field(Reason::Existence, "hostname", "web-1", "a VM named web-1 is there already");
    stage.send(Msg::Submitted(Box::new(submit), Err(refusal.into())));
    stage.shows("a VM named web-1 is there already");
    assert!(stage.app.front_as::<Form>().is_some_and(|form| !form.sending));
}

#[test]
fn the_form_of_a_marked_row_is_about_that_row() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@tasks space enter");
    assert!(stage.app.front_as::<DetailWindow>().is_some());
    stage.keys("esc");
    let marked = *stage.app.model.pane().marks.keys().next().unwrap();
    assert_ne!(stage.app.model.pane().selected, Some(marked));
    stage.keys(": \"task_update\" enter ctrl-s y");
    assert_eq!(stage.submitted()[0].params["task"], marked);
}

#[test]
fn enter_on_an_empty_required_choice_opens_its_list() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@tasks n \"nightly\" tab enter");
    stage.shows("vm_reboot");
    stage.keys("esc ctrl-s");
    stage.shows("needed");
}

#[test]
fn tab_takes_what_is_selected_and_leads_on_either_way() {
    for (key, field) in [("tab", "shares"), ("shift-tab", "password")] {
        let mut stage = Stage::new(PlainBackend::full(), (80, 24));
        stage.keys(&format!("n tab tab space down {key}"));
        let form = stage.app.front_as::<Form>().unwrap();
        assert_eq!((form.is_picking(), form.entries[form.at].path.as_str()), (false, field));
        stage.shows("tiny");
    }
}

#[test]
fn a_list_of_choices_opens_at_what_is_chosen() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@disks n tab tab");
    let chosen = |stage: &Stage| {
        let form = stage.app.front_as::<Form>().unwrap();
        form.params()["fstype"].as_str().unwrap().to_owned()
    };
    let before = chosen(&stage);
    stage.keys("space enter");
    assert_eq!(chosen(&stage), before);
}

#[test]
fn a_list_of_choices_leaves_no_pieces_of_what_would_happen_beside_it() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@disks n");
    stage.shows("Makes a disk with");
    stage.keys("tab tab space");
    stage.shows("blank disk");
    stage.lacks("Makes");
}

#[test]
fn tab_completes_a_path_as_far_as_it_is_certain() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@encodings n \"/srv/c\"");
    let found = ["/srv/clip-1.mov", "/srv/clip-2.mov"].map(str::to_owned).to_vec();
    stage.send(Msg::Paths("/srv/c".to_owned(), found));
    stage.keys("tab");
    stage.shows("/srv/clip- ");
    stage.shows("source");
}

#[test]
fn several_formats_are_asked_for_as_items_of_a_list() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@encodings n \"/srv/a.mov\" ctrl-o tab tab tab ctrl-n right");
    stage.keys("ctrl-n right right tab \"/srv/b.webm\"");
    stage.shows("formats      2 items");
    stage.keys("ctrl-s");
    let [submit] = stage.submitted().try_into().unwrap();
    let formats = json!([{ "preset": "mp4" }, { "preset": "webm", "output": "/srv/b.webm" }]);
    assert_eq!((&*submit.kind, &submit.params["formats"]), ("encode", &formats));
}

#[test]
fn a_failed_operation_is_relaunched_with_only_what_was_changed() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("tab G R tab left ctrl-s");
    let [Cmd::Control(Control::Relaunch { uid, params })] = stage.cmds.as_slice() else {
        panic!("{:?}", stage.cmds);
    };
    assert_eq!(*uid, Uid(48_190));
    assert_eq!(params.get("size_mb"), Some(&4095.into()));
    assert!(!params.contains_key("name"));
}

#[test]
fn a_size_may_be_written_with_a_unit_of_its_own() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@disks n \"data\" tab \"1.5X\" ctrl-s");
    let why = "'1.5X' must be a whole number of MiB, or a size that is one";
    stage.shows(why);
    stage.keys("backspace \"G\" right ctrl-s");
    let [submit] = stage.submitted().try_into().unwrap();
    assert_eq!(submit.params["size_mb"], 1537);
}

#[test]
fn every_kind_has_a_form_and_every_default_stands_in_it() {
    for spec in &catalogue() {
        let form = Form::new(1, spec, Purpose::New, &catalogue());
        let params = form.params();
        for field in &spec.fields {
            // A list of nothing is what is sent where nothing is.
            let is_empty = field.default.as_array().is_some_and(Vec::is_empty);
            if !field.default.is_null() && !is_empty {
                // A part of a timetable is typed as text: `*` or a number.
                let expected = match (&field.of, &field.default) {
                    (FieldType::Every { .. }, Json::Number(number)) => number.to_string().into(),
                    (_, default) => default.clone(),
                };
                assert_eq!(params.get(field.name.as_ref()), Some(&expected), "{}", spec.kind);
            }
        }
    }
}

#[test]
fn the_first_key_typed_replaces_what_was_there_and_a_move_keeps_it() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("n \"web-9\" tab \"correct-horse\" tab tab \"2\" tab end \"6\"");
    // What was typed is not replaced when the keys come back.
    stage.keys("shift-tab \"4\" ctrl-s");
    let [submit] = stage.submitted().try_into().unwrap();
    assert_eq!((&submit.params["shares"], &submit.params["cpu"]), (&24.into(), &16.into()));

    // Erased, it is erased as one; and pasted text takes its place as well.
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("tab G R end backspace \"7\" ctrl-s");
    let [Cmd::Control(Control::Relaunch { params, .. })] = stage.cmds.as_slice() else {
        panic!("{:?}", stage.cmds);
    };
    assert_eq!(params["name"], "data7");
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("tab G R");
    stage.send(Msg::Paste("logs".to_owned()));
    stage.keys("tab backspace \"8\" ctrl-s");
    let [Cmd::Control(Control::Relaunch { params, .. })] = stage.cmds.as_slice() else {
        panic!("{:?}", stage.cmds);
    };
    assert_eq!((&params["name"], &params["size_mb"]), (&"logs".into(), &8.into()));
}

#[test]
fn a_word_that_matches_no_choice_is_refused_where_it_is_typed() {
    for leaves in ["enter", "tab"] {
        let mut stage = Stage::new(PlainBackend::full(), (80, 24));
        stage.keys(&format!("@encodings n \"/srv/a.mov\" tab \"zzqx\" {leaves}"));
        stage.shows("nothing here matches 'zzqx'");
        stage.keys("ctrl-s");
        assert_eq!(stage.submitted(), [], "{leaves}");
        stage.keys("backspace");
        stage.lacks("nothing here matches");
        // Who gives it up keeps what was chosen, and sees it.
        stage.keys("esc ctrl-s");
        assert_eq!(stage.submitted().len(), 1, "{}", stage.text());
    }
}

#[test]
fn what_is_refused_promises_nothing() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("n \"web-9\"");
    stage.wait();
    stage.shows("vm_create would be queued");
    let (form, revision) = {
        let form = stage.app.front_as::<Form>().unwrap();
        (form.number, form.revision)
    };
    let refusal = Refusal::field(Reason::Existence, "hostname", "web-9", "web-9 is taken");
    let preview = Preview {
        refusal: Some(refusal),
        effects: vec!["VM 'web-9' is made.".to_owned()],
        ..Preview::default()
    };
    stage.send(Msg::Reply(Reply::Preview(form, revision, Ok(preview))));
    let text = stage.text();
    assert!(text.contains("web-9 is taken") && !text.contains("is made"), "{text}");
    // Another field was changed, and nothing is wrong any more.
    let preview = Preview { effects: vec!["VM 'web-9' is made.".to_owned()], ..Preview::default() };
    stage.send(Msg::Reply(Reply::Preview(form, revision, Ok(preview))));
    let text = stage.text();
    assert!(!text.contains("web-9 is taken") && text.contains("is made"), "{text}");
}

#[test]
fn a_form_that_nothing_can_be_chosen_in_says_what_makes_something() {
    let mut stage = Stage::new(PlainBackend::bare(), (80, 24));
    stage.keys("n");
    let text = stage.text();
    let way = format!("no image to choose: esc {} f makes one", stage.tab("images"));
    assert!(text.contains(&way), "{text}");
    stage.keys("esc @images f");
    stage.shows("Fetch");
}

#[test]
fn the_key_of_the_fields_rarely_needed_says_what_it_does_next() {
    let mut stage = Stage::new(PlainBackend::full(), (120, 40));
    stage.keys("n");
    stage.shows("ctrl-o more fields");
    stage.keys("ctrl-o");
    stage.shows("ctrl-o fewer fields");
    stage.keys("ctrl-o");
    stage.shows("ctrl-o more fields");
}

#[test]
fn what_has_no_room_in_a_form_is_told_of() {
    let mut stage = Stage::new(PlainBackend::full(), (40, 10));
    stage.keys("n");
    stage.wait();
    stage.shows(" of 6 ");
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("n \"web-9\" ctrl-o up space ctrl-n");
    stage.wait();
    stage.shows("more lines");
    stage.keys("ctrl-n ctrl-n ctrl-n");
    let text = stage.text();
    assert!(text.contains(" of ") && text.contains("5 port*"), "{text}");
    // The items of a list that are no records are counted likewise.
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("n ctrl-o up up space ctrl-n");
    let text = stage.text();
    assert!(text.contains("    1 ") && text.contains("▶   2 "), "{text}");
}

#[test]
fn a_form_begun_from_a_vm_offers_what_belongs_to_it_and_nothing_else() {
    let mut fake = PlainBackend::full();
    for resource in &mut fake.resources {
        if let Resource::Disk(disk) = resource
            && disk.id == 5
        {
            (disk.state, disk.vm) = (DiskState::Attached, Some(1));
        }
    }
    let mut stage = Stage::new(fake, (120, 30));
    stage.keys("/ \"web-2\" enter");
    assert!(!stage.footer().contains("d detach"), "{}", stage.text());
    stage.keys("d");
    stage.shows("web-2 has no disk to detach");
    assert!(stage.app.front().is_none());

    stage.keys("/ ctrl-u \"web-3\" enter");
    assert!(stage.footer().contains("d detach"), "{}", stage.text());
    stage.keys("d enter");
    let text = stage.text();
    assert!(text.contains("Detach · disk of web-3"), "{text}");
    assert!(text.contains("data1") && text.contains("data3") && !text.contains("data5"), "{text}");
    stage.keys("down enter ctrl-s");
    stage.shows("Detach data3 from web-3?");
    stage.keys("y");
    assert_eq!(stage.submitted()[0].params["disk"], 3);

    // The same disk asked for from the list of disks.
    let mut stage = Stage::new(PlainBackend::full(), (120, 30));
    stage.keys("2 / \"data3\" enter d");
    stage.shows("Detach data3 from web-3?");
}

#[test]
fn a_refusal_of_an_item_counts_as_the_form_does() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("4 n \"/srv/a.mov\" ctrl-o tab tab tab ctrl-n right ctrl-n right ctrl-s");
    let submit = stage.submitted().remove(0);
    let why = "formats.1.output: /srv/a.mp4 is what formats.0 makes too; formats.0.preset says so";
    let refusal = Refusal::field(Reason::Value, "formats.1.output", "/srv/a.mp4", why);
    stage.send(Msg::Submitted(Box::new(submit), Err(refusal.into())));
    let text = stage.text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("is what formats 1 makes too; 1 preset"), "{text}");
    assert!(!text.contains("formats.0"), "{text}");
}

#[test]
fn what_would_happen_is_not_told_of_a_value_that_is_wrong() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@tasks u tab tab tab");
    stage.wait();
    stage.shows("task_update would be queued");
    let at = |stage: &Stage| {
        let form = stage.app.front_as::<Form>().unwrap();
        form.entries[form.at].path.clone()
    };
    while at(&stage) != "minute" {
        stage.keys("tab");
    }
    stage.keys("\"77\"");
    stage.wait();
    stage.lacks("task_update would be queued");
    stage.keys("backspace");
    stage.wait();
    stage.shows("task_update would be queued");
}

#[test]
fn what_would_happen_can_be_read_to_its_end() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@disks n");
    let form = stage.app.front_as::<Form>().unwrap();
    let (number, revision) = (form.number, form.revision);
    let effects = (1..=40).map(|number| format!("Effect {number}.")).collect();
    let preview = Preview { effects, ..Preview::default() };
    stage.send(Msg::Reply(Reply::Preview(number, revision, Ok(preview))));
    stage.shows("more lines: pagedown");
    stage.keys("pagedown pagedown pagedown pagedown pagedown pagedown pagedown");
    stage.shows("Effect 40.");
    stage.keys("pageup");
    stage.lacks("Effect 40.");
}

#[test]
fn a_form_that_was_changed_is_closed_by_the_second_esc() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let told = "changes are not kept: esc again closes";
    stage.keys("n \"web-9\" esc");
    stage.shows(told);
    // Whatever is done in between, it is not closed by that esc.
    stage.keys("tab");
    stage.lacks(told);
    stage.keys("esc");
    stage.shows(told);
    stage.keys("esc");
    assert!(stage.app.front().is_none());
    // What was only looked at, or is again as it was, is closed at once.
    for keys in ["n", "n tab tab space esc", "n \"w\" backspace tab"] {
        stage.keys(keys).keys("esc");
        assert!(stage.app.front().is_none(), "{keys}: {}", stage.text());
    }
}

#[test]
fn a_relaunch_shows_what_was_asked_for() {
    let mut fake = PlainBackend::full();
    let failed = fake.operations.iter_mut().find(|it| it.state == State::Error).unwrap();
    failed.kind = "encode".to_owned();
    let params = json!({
        "source": "/srv/a.mov", "preset": null, "output": null,
        "formats": [{ "preset": "mp3", "output": null }, { "preset": "webm", "output": null }],
    });
    failed.params = serde_json::from_value::<Params>(params).unwrap().into();
    let mut stage = Stage::new(fake, (80, 24));
    stage.keys("tab G R");
    stage.shows("formats      2 items");
    let form = stage.app.front_as::<Form>().unwrap();
    assert_eq!(form.params().get("preset"), None);
    assert!(!form.is_touched());
}
