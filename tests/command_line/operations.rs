//! `hostler operation` and `hostler lane`: what they change, and how waiting for an operation ends.

use std::sync::Arc;

use hostler::domain::*;
use serde_json::{Value as Json, json};

use super::fake::{self, Asked, ScriptedBackend};
use super::{Typist, detail, run, run_as};

#[tokio::test]
async fn controls_say_what_they_mean() {
    let fake = ScriptedBackend::new();
    let lane = |change| Control::Lane { name: "encode".into(), change };
    for (line, control) in [
        ("operation cancel #7", Control::Cancel { uid: Uid(7) }),
        ("operation priority 7 -5", Control::Priority { uid: Uid(7), priority: -5 }),
        (
            "operation relaunch operation/7",
            Control::Relaunch { uid: Uid(7), params: Params::new() },
        ),
        ("lane pause encode", lane(LaneChange::Pause)),
        ("lane resume encode", lane(LaneChange::Resume)),
        ("lane drain encode", lane(LaneChange::Drain)),
        ("lane width encode 3", lane(LaneChange::Width(3))),
    ] {
        run(&fake, line).await.with(0);
        assert_eq!(fake.asked().last(), Some(&Asked::Control(control)), "{line}");
    }
    fake.will_answer(detail(fake::operation(7, State::Error)));
    run(&fake, "operation relaunch 7 shares=2").await.with(0);
    let Some(Asked::Control(Control::Relaunch { params, .. })) = fake.asked().pop() else {
        panic!()
    };
    assert_eq!(Json::Object(params), json!({"shares": 2}));
}

#[tokio::test]
async fn what_is_called_off_with_its_parent_is_no_failure() {
    let refused = || Err(BackendError::failed("operation #75 is CANCEL: it has ended"));
    let child = |state| {
        let parent = Some(Uid(74));
        detail(Operation { parent, ..fake::operation(75, state) })
    };
    let fake = ScriptedBackend::new();
    fake.controlled.lock().unwrap().extend([Ok(()), refused()]);
    fake.will_answer(child(State::Cancel));
    let ended = run(&fake, "operation cancel 74 75").await;
    assert_eq!((ended.with(0).out.as_str(), ended.err.as_str()), ("2 cancelled\n", ""));
    // One that ended by itself is none of them, nor is one whose parent was not named.
    for (line, state) in
        [("operation cancel 74 75", State::Done), ("operation cancel 73 75", State::Cancel)]
    {
        let fake = ScriptedBackend::new();
        fake.controlled.lock().unwrap().extend([Ok(()), refused()]);
        fake.will_answer(child(state));
        fake.will_answer(detail(fake::operation(74, State::Cancel)));
        let ended = run(&fake, line).await;
        assert!(ended.with(1).err.contains("1 of 2 not cancelled"), "{}", ended.err);
    }
}

#[tokio::test]
async fn what_a_filter_picks_is_counted_and_asked_about() {
    let page = |uids: std::ops::Range<u64>| {
        let rows = uids.map(|uid| fake::operation(uid, State::Error)).collect::<Vec<_>>();
        let total = rows.len() as u64;
        Ok(Answer::Page(Page { total, offset: 0, rows: Rows::Operations(rows) }))
    };
    let controls = |fake: &ScriptedBackend| {
        let asked = fake.asked().into_iter();
        asked.filter(|asked| matches!(asked, Asked::Control(_))).count()
    };
    let fake = ScriptedBackend::new();
    fake.will_answer(page(1..4));
    let ended = run(&fake, "operation cancel --filter kind:encode").await;
    ended.with(2);
    let told = "the filter picks 3 operations; add --yes to cancel them without";
    assert!(ended.err.contains(told), "{}", ended.err);
    fake.will_answer(page(1..2));
    let ended = run(&fake, "operation cancel --filter kind:encode").await;
    let told = "the filter picks 1 operation; add --yes to cancel it without";
    assert!(ended.with(2).err.contains(told), "{}", ended.err);
    for answer in ["n", ""] {
        let mut typist = Typist { terminal: true, lines: vec![answer], ..Typist::default() };
        fake.will_answer(page(1..4));
        let ended = run_as(&fake, "operation cancel --filter kind:encode", &mut typist).await;
        ended.with(1);
        assert!(ended.err.starts_with("cancel 3 operations? [y/N] "), "{}", ended.err);
    }
    assert_eq!(controls(&fake), 0);
    let mut typist = Typist { terminal: true, lines: vec!["y"], ..Typist::default() };
    fake.will_answer(page(1..4));
    let ended = run_as(&fake, "operation cancel --filter kind:encode", &mut typist).await;
    assert_eq!(ended.with(0).out, "3 cancelled\n");
    assert_eq!(controls(&fake), 3);

    // Window after window, by number; and what is refused is told, though the others are done.
    let fake = ScriptedBackend::new();
    fake.will_answer(page(1..10_001));
    fake.will_answer(page(10_001..10_003));
    fake.controlled.lock().unwrap().push_back(Err(BackendError::failed("it has ended")));
    let ended = run(&fake, "operation relaunch --filter age<1d --yes").await;
    ended.with(1);
    assert_eq!(ended.out, "10001 relaunched\n");
    assert!(ended.err.contains("1 of 10002 not relaunched: it has ended"), "{}", ended.err);
    let lists = fake.asked().into_iter().filter_map(|asked| match asked {
        Asked::Query(Query::List(list)) => Some(list),
        _ => None,
    });
    let lists: Vec<List> = lists.collect();
    let last = lists.last().unwrap().filter.terms.last().unwrap();
    assert_eq!(
        serde_json::to_value(last).unwrap()["within"]["from"],
        json!({ "Excluded": 10_000.0 })
    );
    assert!(lists[0].filter.terms.iter().any(|term| {
        term.test == FilterTest::Is { column: "state".into(), text: "ERROR".into() } && !term.not
    }));

    // Several by number need no question; nothing that matches is no error.
    let fake = ScriptedBackend::new();
    run(&fake, "operation cancel 1 #2 operation/3").await.with(0);
    assert_eq!(controls(&fake), 3);
    fake.will_answer(page(1..1));
    let ended = run(&fake, "operation relaunch --filter kind:encode --yes").await;
    assert!(ended.with(0).err.contains("no operation that matches can be relaunched"));
    for (line, said) in [
        ("operation cancel --filter colour:red --yes", "operations have no column 'colour'"),
        ("operation relaunch 1 2 shares=3", "fields can be changed of one operation at a time"),
        ("operation relaunch x", "argument 1 is neither an operation number nor a field"),
        ("operation cancel", "required"),
    ] {
        let ended = run(&fake, line).await;
        assert!(ended.with(2).err.contains(said), "{line}: {}", ended.err);
    }
}

#[tokio::test]
async fn a_relaunch_changes_what_is_within_without_naming_the_kind_again() {
    let fake = ScriptedBackend::new();
    let mut task = fake::operation(7, State::Error);
    task.kind = "task_create".into();
    let within = json!({"hostname": "web-1", "os": "debian-12", "password": Operation::HIDDEN});
    let params = json!({"name": "nightly", "kind": "vm_create", "params": within});
    task.params = params.as_object().unwrap().clone().into();
    let sent = |fake: &ScriptedBackend| match fake.asked().pop() {
        Some(Asked::Control(Control::Relaunch { params, .. })) => Json::Object(params),
        other => panic!("{other:?}"),
    };

    // A secret is hidden from us too, and cannot be sent back.
    fake.will_answer(detail(task.clone()));
    let refused = run(&fake, "operation relaunch 7 params.shares=3").await;
    assert!(refused.with(2).err.contains("params.password=-"));

    Arc::make_mut(&mut task.params)["params"].as_object_mut().unwrap().remove("password");
    fake.will_answer(detail(task.clone()));
    run(&fake, "operation relaunch 7 params.shares=3").await.with(0);
    let whole = json!({"hostname": "web-1", "os": "debian-12", "shares": 3});
    assert_eq!(sent(&fake), json!({"params": whole}));

    // Another kind has fields of its own.
    fake.will_answer(detail(task));
    run(&fake, "operation relaunch 7 kind=vm_delete params.vm=4").await.with(0);
    assert_eq!(sent(&fake), json!({"kind": "vm_delete", "params": {"vm": 4}}));
}

#[tokio::test]
async fn waiting_ends_when_the_operation_does() {
    let fake = ScriptedBackend::new();
    fake.will_answer(detail(fake::operation(1, State::Pending)));
    let wait = run(&fake, "run vm_delete vm=3 --wait");
    let story = async {
        // Told once somebody listens.
        while fake.tell(1, Fact::Operation(fake::operation(8, State::Done).into())) == 0 {
            tokio::task::yield_now().await;
        }
        fake.tell(2, Fact::Operation(fake::operation(1, State::Run).into()));
        for percent in 0..100 {
            let phase = "booting".into();
            let fraction = Some(f64::from(percent) / 100.0);
            let progress = Progress { phase, fraction, ..Progress::default() };
            fake.tell(3 + percent as u64, Fact::Progress { uid: Uid(1), progress });
        }
        fake.tell(103, Fact::Operation(fake::operation(1, State::Done).into()));
    };
    let (ended, ()) = tokio::join!(wait, story);
    ended.with(0);
    assert_eq!(ended.out, "#1 vm_create web-3 DONE\n");
    assert!(ended.err.contains("#1 vm_create web-3 RUN booting 50%\n"), "{}", ended.err);
    assert_eq!(ended.err.matches("booting").count(), 10, "in tenths: {}", ended.err);
}

#[tokio::test]
async fn a_failed_operation_fails_the_command_and_says_why() {
    let fake = ScriptedBackend::new();
    fake.will_answer(detail(fake::operation(1, State::Error)));
    let ended = run(&fake, "operation wait 1").await;
    ended.with(1);
    assert!(
        ended.err.lines().last().unwrap().contains("failed: the pool is full"),
        "{}",
        ended.err
    );

    fake.will_answer(detail(fake::operation(1, State::Cancel)));
    let ended = run(&fake, "operation wait 1 --json").await;
    assert_eq!(ended.with(1).json()["state"], "CANCEL");
}

#[tokio::test]
async fn after_missed_events_the_operation_is_asked_for_again() {
    let fake = ScriptedBackend::new();
    fake.will_answer(detail(fake::operation(1, State::Run)));
    fake.will_answer(detail(fake::operation(1, State::Done)));
    let story = async {
        while fake.tell(0, Fact::Missed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    let (ended, ()) = tokio::join!(run(&fake, "operation wait 1 --json"), story);
    assert_eq!(ended.with(0).json()["uid"], 1);
}

#[tokio::test]
async fn what_was_done_to_one_is_said() {
    let fake = ScriptedBackend::new();
    for (line, said) in [
        ("operation cancel 7", "#7: cancelling\n"),
        ("operation relaunch 7", "#7: queued again\n"),
        ("operation priority 7 5", "#7: priority 5\n"),
    ] {
        assert_eq!(run(&fake, line).await.with(0).out, said);
    }
}

#[tokio::test]
async fn what_is_dangerous_is_asked_about_where_a_filter_picks_it() {
    let page = || {
        let rows = Rows::Resources(vec![fake::vm(3, "web-3"), fake::vm(4, "web-4")]);
        Ok(Answer::Page(Page { total: 2, offset: 0, rows }))
    };
    let submits = |fake: &ScriptedBackend| {
        let asked = fake.asked().into_iter();
        asked.filter(|asked| matches!(asked, Asked::Submit(_))).count()
    };
    let fake = ScriptedBackend::new();
    fake.will_answer(page());
    let ended = run(&fake, "run vm_delete --for name~web").await;
    assert!(ended.with(2).err.contains("the filter picks 2 VMs; add --yes"), "{}", ended.err);
    let mut typist = Typist { terminal: true, lines: vec!["n"], ..Typist::default() };
    fake.will_answer(page());
    let ended = run_as(&fake, "run vm_delete --for name~web", &mut typist).await;
    assert!(ended.with(1).err.starts_with("run vm_delete on 2 VMs? [y/N] "), "{}", ended.err);
    assert_eq!(submits(&fake), 0);
    fake.will_answer(page());
    let ended = run(&fake, "run vm_delete --for name~web --yes").await;
    assert!(ended.with(0).out.ends_with(" batch accepted: 2 vm_delete\n"), "{}", ended.out);
    assert_eq!(submits(&fake), 1);
    fake.will_answer(page());
    fake.will_answer(Ok(Answer::Preview(Preview::default())));
    let ended = run(&fake, "run vm_delete --for name~web --dry-run").await;
    assert_eq!(ended.with(0).err, "2 vm_delete\n");
    assert_eq!(submits(&fake), 1);
    // What is picked may be another when it is asked again, so that no key can stand for it.
    let ended = run(&fake, "run vm_delete --for name~web --yes --key k").await;
    assert!(ended.with(2).err.contains("--key is for a request that is the same"), "{}", ended.err);
    // One by itself is not asked about; a script may always say so.
    run(&fake, "run vm_delete vm=3 --yes").await.with(0);
    assert_eq!(submits(&fake), 2);
}

#[tokio::test]
async fn lanes_are_not_filtered_or_sorted_in_silence() {
    let fake = ScriptedBackend::new();
    for line in ["list lanes --filter state:open", "list lanes --sort name"] {
        let ended = run(&fake, line).await;
        assert!(ended.with(2).err.contains("neither filtered nor sorted"), "{}", ended.err);
    }
    assert_eq!(fake.asked(), []);
}
