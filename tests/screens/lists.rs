//! The lists: what rows and the lines around them say, and where keys lead in them.

use std::sync::Arc;

use hostler::domain::*;
use hostler::ui::model::Row;
use hostler::ui::msg::{Cmd, Fetch, Msg, Reply};
use hostler::ui::style::theme::Theme;
use hostler::ui::tab::Tab;
use serde_json::json;

use super::fake_backend::PlainBackend;
use super::stage::Stage;

#[test]
fn what_is_told_leaves_the_keys_in_sight_however_long_it_is() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let message = "a long sentence ".repeat(12) + "with an end";
    stage.event(1, Fact::Notice { message });
    let text = stage.text();
    let last = text.lines().last().unwrap();
    assert!(last.contains("? help") && last.contains("n new"), "{last}");
    assert!(text.contains("with an end"), "{text}");
}

#[test]
fn the_footer_shows_only_what_the_row_allows() {
    let mut stage = Stage::new(PlainBackend::full(), (120, 40));
    assert!(stage.footer().contains("S stop") && !stage.footer().contains("s start"));
    stage.keys("/ \"state:halted\" enter");
    assert!(stage.footer().contains("s start") && !stage.footer().contains("S stop"));
    let bare = Stage::new(PlainBackend::bare(), (120, 40));
    assert!(!bare.footer().contains("stop") && bare.footer().contains("n new"));
}

#[test]
fn a_failed_operation_is_one_key_away_from_anywhere() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@images D !");
    assert_eq!(stage.app.model.operation().map(|operation| operation.uid), Some(Uid(48_190)));
    stage.keys("enter");
    stage.shows("Operation #48190");
}

#[test]
fn what_crashed_or_did_not_fire_is_found_like_what_failed() {
    let mut fake = PlainBackend::full();
    let mut crashed = None;
    for resource in &mut fake.resources {
        match resource {
            Resource::Vm(vm) if vm.name == "db-1" => {
                vm.state = VmState::Crashed;
                crashed = Some(vm.id);
            }
            Resource::Vm(vm) if vm.state == VmState::Invalid => vm.state = VmState::Halted,
            Resource::Task(task) => {
                task.problem = (task.id == 2).then(|| "a firing was refused".to_owned());
            }
            _ => {}
        }
    }
    let mut stage = Stage::new(fake, (120, 40));
    assert!(stage.text().lines().next().unwrap().contains("✖3"), "{}", stage.text());
    let at = |stage: &Stage| (stage.app.model.tab, stage.app.model.pane().selected);
    // Around the end, and out of a list that is filtered.
    stage.keys("/ \"web\" enter !");
    assert_eq!(stage.app.model.operation().map(|operation| operation.uid), Some(Uid(48_190)));
    stage.keys("!");
    assert_eq!(at(&stage), (Tab::Resources(Vm::KIND), crashed));
    assert_eq!(stage.app.model.pane().current().map(Row::name), Some("db-1".to_owned()));
    stage.keys("!");
    assert_eq!(at(&stage), (Tab::Resources(Task::KIND), Some(2)));
    stage.keys("!");
    assert_eq!(stage.app.model.operation().map(|operation| operation.uid), Some(Uid(48_190)));
    // What is mended while we look on is found no more.
    let mended = stage.fake.resources.iter().find_map(|resource| match resource {
        Resource::Vm(vm) if Some(vm.id) == crashed => {
            Some(Resource::Vm(Vm { state: VmState::Running, ..vm.clone() }))
        }
        _ => None,
    });
    stage.event(1, Fact::Resource(mended.unwrap().into()));
    stage.keys("!");
    assert_eq!(at(&stage), (Tab::Resources(Task::KIND), Some(2)));
}

#[test]
fn a_row_leads_to_the_operation_that_happens_to_it() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("/ \"web-3\" enter x y");
    let cancel = Cmd::Control(Control::Cancel { uid: Uid(48_211) });
    assert_eq!(stage.cmds, [cancel]);
    stage.cmds.clear();
    stage.keys("esc g x");
    assert_eq!(stage.cmds, []);
    stage.shows("no operation is happening to this row");
}

#[test]
fn the_row_says_what_is_happening_to_it() {
    let stage = Stage::new(PlainBackend::full(), (80, 24));
    let text = stage.text();
    let row = text.lines().find(|line| line.contains("web-3") && !line.contains('#')).unwrap();
    assert!(row.contains("rebooting"), "{row}");
}

#[test]
fn control_characters_in_names_never_reach_the_screen() {
    let mut fake = PlainBackend::full();
    if let Resource::Vm(vm) = &mut fake.resources[0] {
        vm.name = "a\u{1b}[31mevil\u{202e}".to_owned();
    }
    let stage = Stage::new(fake, (80, 24));
    let text = stage.text();
    assert!(text.contains("a\u{fffd}[31mevil\u{fffd}"));
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn what_rows_refer_to_is_called_by_its_name() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@disks");
    let text = stage.text();
    assert_eq!(text.matches("web-3 ").count(), 2 + 2, "two disks, two operations: {text}");
    assert!(!text.lines().take(12).any(|line| line.contains("vm/7")), "{text}");
}

#[test]
fn each_name_is_asked_for_once_however_many_are_known() {
    const MOST: usize = 100;
    let mut fake = PlainBackend::full();
    let mut vms = Vec::new();
    for resource in &mut fake.resources {
        match resource {
            Resource::Disk(disk) => disk.vm = (disk.id <= 3).then_some(disk.id),
            Resource::Vm(vm) => vms.push(vm.clone()),
            _ => {}
        }
    }
    let mut stage = Stage::new(fake, (80, 24));
    for (seq, id) in (1000..2100).enumerate() {
        let vm = Resource::Vm(Vm { id, name: format!("many-{id}"), ..vms[0].clone() });
        stage.event(seq as u64 + 1, Fact::Resource(vm.into()));
    }
    let key = stage.tab("disks");
    let asked = stage.questions(&key, MOST);
    let named = asked.iter().filter(|fetch| matches!(fetch, Fetch::Name(_))).count();
    assert_eq!(named, 3, "{asked:?}");
    for vm in &vms[..3] {
        assert_eq!(stage.app.model.name(ResourceId::new(Vm::KIND, vm.id)), vm.name);
    }
    assert!(stage.app.model.names.len() <= 1024, "{}", stage.app.model.names.len());
}

#[test]
fn what_a_batch_asked_for_is_set_apart_where_it_has_ended() {
    let mut fake = PlainBackend::full();
    let batch = fake.operations.iter_mut().find(|it| it.state == State::Done).unwrap();
    let parent = batch.uid;
    batch.kind = "batch".to_owned();
    let mut child = batch.clone();
    (child.uid, child.kind, child.parent) = (Uid(48_189), "vm_stop".to_owned(), Some(parent));
    fake.operations.insert(4, child);
    let mut stage = Stage::new(fake, (80, 24));
    stage.keys("@operations");
    let line = |kind: &str| {
        let text = stage.text();
        let of = format!("{kind} ");
        text.lines()
            .take(12)
            .find(|line| line.contains("DONE") && line.contains(&of))
            .unwrap()
            .to_owned()
    };
    let column = |line: String, kind: &str| {
        let at = line.find(kind).unwrap();
        line[..at].chars().count()
    };
    assert_eq!(column(line("vm_stop"), "vm_stop"), column(line("batch"), "batch") + 2);
}

#[test]
fn what_was_told_goes_once_something_else_is_done() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("/ \"db-\" enter j r");
    let told = "is halted; vm_reboot needs it running";
    stage.shows(told);
    let later = stage.app.model.now + jiff::SignedDuration::from_secs(2);
    stage.send(Msg::Now(later));
    stage.keys("k");
    assert!(stage.text().contains(told), "looking about is not it: {}", stage.text());
    stage.keys("@disks");
    stage.lacks(told);
}

#[test]
fn a_seventh_tab_shortens_the_titles_and_leaves_the_counts() {
    let mut volume = ResourceSpec::new("volume", "volumes", "volumes");
    volume.columns = Column::first(10).to_vec();
    let kinds = ResourceKind::ALL.iter().copied();
    let kinds: Vec<_> = kinds.chain([ResourceKind::describe(&volume).unwrap()]).collect();
    let stage = Stage::with(PlainBackend::full(), (80, 24), |setup| {
        setup.catalogue = Catalogue::with_resources(&kinds, setup.catalogue.iter().cloned());
    });
    let text = stage.text();
    let tabs = text.lines().nth(1).unwrap();
    assert!(tabs.chars().count() <= 80, "{tabs}");
    for told in ["VMs 14", "Disks 5", " 48k", "Encod", "Volum"] {
        assert!(tabs.contains(told), "{told}: {tabs}");
    }
}

#[test]
fn what_an_operation_was_asked_for_with_is_called_by_its_name() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@operations j enter");
    stage.shows("vm=web-3");
}

#[test]
fn names_are_told_also_in_lists_and_in_what_a_task_asks_for() {
    let part = json!({ "kind": "vm_stop", "params": { "vm": 7 } });
    let many = vec![part.clone(); 60];
    for (kind, params, told) in [
        ("vm_create", json!({ "hostname": "web-9", "disks": [1, 3] }), "disks.1=data3"),
        ("task_create", part, "params.vm=web-3"),
        ("batch", json!({ "operations": many }), "operations.1.params.vm=web-3"),
    ] {
        let mut fake = PlainBackend::full();
        let operation = fake.operations.iter_mut().find(|it| it.uid == Uid(48_211)).unwrap();
        operation.kind = kind.to_owned();
        operation.params = Arc::new(params.as_object().unwrap().clone());
        let mut stage = Stage::new(fake, (80, 160));
        stage.keys("@operations j enter");
        assert!(stage.text().contains(told), "{kind}: {}", stage.text());
        assert_eq!(stage.text().contains("… and 20 more"), kind == "batch", "{}", stage.text());
    }
}

#[test]
fn children_that_are_not_shown_are_counted() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@operations j enter");
    let Some(uid) = stage.app.model.operation().map(|operation| operation.uid) else { panic!() };
    let Ok(Answer::Operation(mut detail)) = stage.fake.answer(&Query::Operation { uid }) else {
        panic!("no operation")
    };
    let child =
        |number| Operation { uid: Uid(number), parent: Some(uid), ..detail.operation.clone() };
    (detail.children, detail.more_children) = (vec![child(60_000)], 41);
    let late = child(60_030);
    stage.send(Msg::Reply(Reply::Operation(Ok(detail))));
    stage.shows("… and 41 more");
    // One of those that are only counted stays so.
    stage.event(1, Fact::Operation(late.into()));
    stage.lacks("#60030 ");
}

#[test]
fn what_is_behind_a_window_steps_back() {
    let theme = Theme::load("terminal", true, false).unwrap();
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let marks = |stage: &Stage| {
        let buffer = stage.buffer(&theme);
        [(2, 0), (3, 5), (1, 23)].map(|at| buffer[at].fg)
    };
    let [header, row, _] = marks(&stage);
    stage.keys("S");
    let [still, behind, _] = marks(&stage);
    assert_eq!(header, still);
    assert_ne!(row, behind);
}

/// What waits in it would wait for ever, and nothing else says so.
#[test]
fn a_paused_lane_is_told_in_the_header() {
    let stage = Stage::new(PlainBackend::full(), (80, 24));
    let text = stage.text();
    let header = text.lines().next().unwrap();
    assert!(header.contains("‖ disk"), "{header}");
}

#[test]
fn what_a_task_asks_with_is_called_by_its_name() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@tasks enter");
    stage.shows("vm=web-3");
}

#[test]
fn in_flight_nothing_is_marked_and_that_is_said() {
    for key in ["space", "v", "*"] {
        let mut stage = Stage::new(PlainBackend::full(), (80, 24));
        stage.keys(&format!("tab {key}"));
        stage.shows("rows are marked in the lists");
        assert!(stage.app.model.pane().marks.is_empty());
    }
}

#[test]
fn read_only_lanes_offer_no_change() {
    let mut stage = Stage::with(PlainBackend::full(), (80, 24), |setup| setup.read_only = true);
    stage.keys("L");
    let footer = stage.footer();
    assert!(footer.contains("close") && !footer.contains("pause"), "{footer}");
}

#[test]
fn what_failed_last_is_gone_to_first() {
    let mut fake = PlainBackend::full();
    let failed = fake.operations.iter().find(|it| it.state == State::Error).unwrap().clone();
    let later = |uid, seconds| Operation {
        uid: Uid(uid),
        finished: failed.finished.map(|at| at + jiff::SignedDuration::from_secs(seconds)),
        ..failed.clone()
    };
    fake.operations.extend([later(47_001, 3), later(48_200, 2)]);
    let mut stage = Stage::new(fake, (80, 24));
    for uid in [47_001, 48_200, 48_190] {
        stage.keys("!");
        assert_eq!(stage.app.model.operation().map(|it| it.uid), Some(Uid(uid)));
    }
}

#[test]
fn a_lane_has_one_sign_wherever_it_is_shown() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let lane = |stage: &mut Stage, seq, name: &str, state| {
        let known = stage.app.model.lanes.iter().find(|it| it.name == name).unwrap();
        stage.event(seq, Fact::Lane(Lane { state, ..known.clone() }));
    };
    let header = |stage: &Stage| stage.text().lines().next().unwrap().to_owned();
    stage.keys("L");
    lane(&mut stage, 1, "encode", LaneState::Draining);
    lane(&mut stage, 2, "disk", LaneState::Open);
    assert!(header(&stage).contains("▼ encode  "), "{}", stage.text());
    stage.shows("▼ draining");
    lane(&mut stage, 3, "vm", LaneState::Paused);
    lane(&mut stage, 4, "disk", LaneState::Paused);
    assert!(header(&stage).contains("‖ 2 lanes  ▼ encode  "), "{}", stage.text());
}

#[test]
fn a_load_that_was_not_measured_yet_is_not_shown_as_none() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let load = stage.app.model.host.as_ref().unwrap().load;
    stage.event(1, Fact::Load(Load { cpu_percent: None, ..load }));
    stage.shows("cpu —");
    stage.event(2, Fact::Load(Load { cpu_percent: Some(0.0), ..load }));
    stage.shows("cpu 0%");
}

#[test]
fn a_disk_in_the_trash_says_when_it_is_gone_for_good() {
    let mut fake = PlainBackend::full();
    for resource in &mut fake.resources {
        if let Resource::Disk(disk) = resource {
            (disk.state, disk.vm) = (DiskState::Trashed, None);
            disk.trashed = "2026-02-28T20:00:00Z".parse().ok();
        }
    }
    let mut stage = Stage::new(fake, (120, 40));
    stage.keys("@disks");
    stage.shows("trashed   28 Feb 20:00, gone for good 07 Mar");
}

#[test]
fn what_runs_took_no_time_yet_and_what_was_quick_took_some() {
    let mut fake = PlainBackend::full();
    for operation in &mut fake.operations {
        let soon = |at| at + jiff::SignedDuration::from_millis(130);
        operation.finished = operation.finished.and(operation.started).map(soon);
    }
    let mut stage = Stage::new(fake, (120, 40));
    stage.keys("@operations j enter");
    stage.shows("runs for 50 s");
    stage.lacks("took");
    stage.keys("esc j j enter");
    stage.shows("took 0.1 s");
}
