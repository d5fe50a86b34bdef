//! Filters as they are typed: what words find, what the columns are called, what is not understood.

use hostler::domain::*;
use hostler::ui::model::Row;
use hostler::ui::msg::{Cmd, Msg, Reply};
use hostler::ui::style::theme::Theme;
use hostler::ui::tab::Tab;
use hostler::ui::windows::filter::FilterWindow;

use super::fake_backend::PlainBackend;
use super::stage::Stage;

fn shown(stage: &Stage) -> Vec<String> {
    stage.app.model.pane().iter().map(|(_, row)| row.name()).collect()
}

#[test]
fn a_word_finds_the_name_of_what_a_row_refers_to() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let attached = stage.fake.resources.iter().find_map(|resource| match resource {
        Resource::Disk(disk) => Some((disk.name.clone(), disk.vm?)),
        _ => None,
    });
    let (disk, vm) = attached.unwrap();
    let vm = ResourceId::new(Vm::KIND, vm);
    let vm = stage.fake.resources.iter().find(|it| it.id() == vm).unwrap().name().to_owned();
    stage.keys(&format!("@disks / \"{vm}\" enter"));
    assert!(shown(&stage).contains(&disk), "{}", stage.text());
    stage.keys(&format!("/ ctrl-u \"vm:{vm}\" enter"));
    let is = shown(&stage);
    stage.keys(&format!("/ ctrl-u \"vm!={vm}\" enter"));
    let others = shown(&stage);
    assert!(is.contains(&disk) && !others.contains(&disk), "{is:?} {others:?}");
    stage.keys("esc");
    assert_eq!(is.len() + others.len(), shown(&stage).len());
    stage.keys(&format!("@vms / \"{disk}\" enter"));
    assert_eq!(shown(&stage), [vm], "{}", stage.text());
}

#[test]
fn what_stands_over_a_column_means_it_and_tab_goes_on_with_it() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@images / \"si\" tab \">1\"");
    let footer = stage.footer();
    assert!(footer.starts_with(" /size>1"), "{footer}");
    assert!(!footer.contains("no column"), "{footer}");
    assert_eq!(stage.app.model.pane().filter, "size>1");
    stage.shows("columns id name state size what source virtual created age");
    stage.keys("esc ? \"columns\"");
    stage.shows("id name state size what source virtual created age");
    // The order is chosen by the same words.
    stage.keys("esc o");
    assert!(stage.text().contains("what") && !stage.text().contains("bytes"), "{}", stage.text());
}

#[test]
fn what_is_not_understood_is_pointed_at_and_the_list_says_what_it_still_shows() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("/ \"state:running\"");
    stage.lacks("still");
    stage.keys("space \"memory>big\"");
    let text = stage.text();
    assert!(text.contains("still /state:running"), "{text}");
    let theme = Theme::load("terminal", true, false).unwrap();
    let buffer = stage.buffer(&theme);
    let bad = theme.style(hostler::ui::style::theme::Role::Bad).fg;
    let pointed: String = (0..50)
        .map(|x| &buffer[(x, 23)])
        .filter(|cell| Some(cell.fg) == bad)
        .map(ratatui::buffer::Cell::symbol)
        .collect();
    assert!(pointed.starts_with("memory>big"), "{pointed}");
    stage.keys("ctrl-c / \"~x\"");
    stage.shows("still all rows");
    stage.keys("esc");
    stage.lacks("still");
}

#[test]
fn a_state_and_a_kind_that_there_are_not_are_said_while_they_are_typed() {
    let mut stage = Stage::new(PlainBackend::full(), (200, 50));
    stage.keys("/ \"state:runing\"");
    let text = stage.text();
    assert!(text.contains("'runing' is no state; did you mean running?"), "{text}");
    assert!(text.contains("still all rows") && !text.contains("/state "), "{text}");
    stage.keys("esc @operations / \"kind:vm_craete\"");
    let text = stage.text();
    assert!(text.contains("'vm_craete' is no kind; did you mean vm_create?"), "{text}");
    stage.keys("ctrl-u \"kind:vm_create\"");
    stage.lacks("still");
}

#[test]
fn filters_and_sorting_are_asked_of_the_backend_and_remembered() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("/ \"web\" enter");
    assert_eq!(stage.app.model.pane().total, 4);
    stage.keys("esc / \"colour:red\"");
    stage.shows("no column 'colour'");
    stage.keys("esc > >");
    let Some(Cmd::Save(preferences)) = stage.cmds.last() else { panic!("{:?}", stage.cmds) };
    assert_eq!(preferences.sort[&Tab::Resources(Vm::KIND)].column, "name");
}

#[test]
fn a_filter_that_is_not_understood_says_so_and_changes_nothing() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("/ \"state:running\"");
    let running = stage.app.model.pane().total;
    assert!(running > 0 && running < 14, "{running}");
    for (typed, said) in [
        ("memory>", "nothing follows 'memory>'"),
        ("memory>big", "'big' is no size, like 500MiB"),
        ("name>m", "name is a text: it takes : != ~ !~"),
    ] {
        stage.keys(&format!("ctrl-u \"{typed}\""));
        let footer = stage.footer();
        assert!(footer.contains(typed) && footer.contains(said), "{footer}");
        // It cannot be taken, and the list stays as it was last understood.
        stage.keys("enter");
        assert!(stage.app.front_as::<FilterWindow>().is_some());
    }
    stage.keys("esc");
    assert_eq!(stage.app.model.pane().total, 14);
}

#[test]
fn filters_compare_and_turn_around() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("/ \"state!=running\"");
    let others = stage.app.model.pane().total;
    stage.keys("ctrl-u \"state:running\"");
    assert_eq!(stage.app.model.pane().total + others, 14);
    stage.keys("ctrl-u \"-state:running\" enter");
    assert_eq!(stage.app.model.pane().total, others);
    stage.keys("@operations / \"48190\" enter");
    assert_eq!(stage.app.model.operation().map(|operation| operation.uid), Some(Uid(48_190)));
    assert_eq!(stage.app.model.pane().total, 1);
    stage.keys("/ ctrl-u \"#48212\" enter");
    assert_eq!(stage.app.model.operation().map(|operation| operation.uid), Some(Uid(48_212)));
    stage.keys("/ ctrl-u \"uid>=48190\" enter");
    assert_eq!(stage.app.model.pane().total, 4);
    stage.keys("/ ctrl-u \"age<30s\" enter");
    assert_eq!(stage.app.model.pane().total, 0);
}

#[test]
fn a_long_reason_is_told_whole_on_a_narrow_screen() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("/ \"state:runing\"");
    let told: String = stage.text().split_whitespace().filter(|it| !"│└─┘".contains(it)).fold(
        String::new(),
        |told, word| if told.is_empty() { word.to_owned() } else { told + " " + word },
    );
    let whole = "'runing' is no state; did you mean running? there are being_created, halted, \
                 crashed, running, paused, invalid";
    assert!(told.contains(whole), "{}", stage.text());
}

#[test]
fn a_filter_that_is_given_up_leaves_the_keys_where_they_were() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    for tab in ["@operations", "@vms"] {
        stage.keys(tab).keys("pagedown pagedown k k");
        stage.wait();
        let at = |stage: &Stage| {
            let pane = stage.app.model.pane();
            (pane.cursor, pane.top, pane.current().map(Row::id))
        };
        let before = at(&stage);
        assert!(before.0 > 0 && before.2.is_some(), "{before:?}");
        for typed in ["\"zzz\"", "\"zzz\" backspace backspace backspace", "\"1\"", ""] {
            stage.keys("/").keys(typed);
            stage.wait();
            stage.keys("esc");
            stage.wait();
            assert_eq!(at(&stage), before, "{tab} {typed}");
        }
    }
}

#[test]
fn an_answer_to_a_filter_that_was_given_up_moves_nothing() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("j j");
    let before = stage.app.model.pane().selected;
    let nothing = Page { total: 0, offset: 0, rows: Rows::Resources(Vec::new()) };
    let tab = stage.app.model.tab;
    // Asked with another filter, and answered after that was given up.
    stage.app.model.pane_mut().asked_filter = "zzz".to_owned();
    stage.send(Msg::Reply(Reply::Rows(tab, Ok(nothing))));
    assert_eq!(stage.app.model.pane().selected, before);
    assert!(before.is_some() && !stage.app.model.pane().is_empty());
}
