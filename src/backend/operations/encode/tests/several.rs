//! Several outputs of one source.

use futures_util::{FutureExt, StreamExt};

use super::*;
use crate::domain::{BackendExt, Fact, InFlight, Operation, Uid, question};

/// A request for an mp4 and a webm beside the source.
fn two(source: &std::path::Path) -> serde_json::Value {
    json!({ "source": source, "formats": [{ "preset": "mp4" }, { "preset": "webm" }] })
}

/// Waits until the encoder hangs, on whichever output it is asked for first.
async fn hanging(tested: &TestBackend, params: serde_json::Value) -> Uid {
    *tested.encoder.next.lock().unwrap() = Does::Hangs;
    let uid = tested.submit("encode", params).await.unwrap().uid;
    tested.encoder.hanging.notified().await;
    uid
}

async fn in_flight(tested: &TestBackend) -> InFlight {
    tested.backend().ask(question::GetInFlight).await.unwrap()
}

fn states(children: &[Operation]) -> Vec<State> {
    children.iter().map(|child| child.state).collect()
}

#[tokio::test]
async fn each_is_an_encoding_of_its_own() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "pictures and sound");
    let detail = tested.done("encode", two(&source)).await;
    let parent = &detail.operation;
    assert_eq!((parent.state, parent.resource), (State::Done, None), "{:?}", parent.comment);
    assert_eq!(parent.resource_name.as_deref(), Some("talk.mov→mp4, webm"));
    let steps: Vec<&str> = detail.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["spawn", "join"]);
    let outcome = parent.outcome.as_ref().unwrap();
    assert_eq!(outcome.message, format!("made 2 of 2 files from {}", source.display()));
    let outputs = outcome.data["outputs"].as_array().unwrap();
    for (number, output) in (0..).zip(["talk.mp4", "talk.webm"]) {
        let child = &detail.children[number];
        assert_eq!((child.kind.as_str(), child.state), ("encode", State::Done));
        assert_eq!(child.parent, Some(parent.uid));
        assert_eq!(outputs[number]["output"], json!(tested.path(output)));
        let made = encoding(&tested, number as u64 + 1).await;
        assert_eq!((made.state, made.output), (EncodingState::Finished, tested.path(output)));
        assert_eq!(std::fs::read_to_string(tested.path(output)).unwrap(), "pictures and sound");
    }
    assert!(tested.resource(Encoding::KIND, 3).await.is_none(), "a row for each file, no other");
}

/// What is shown of it is what was asked for, and not a default that nothing is made with.
#[tokio::test]
async fn a_preset_is_kept_only_where_an_output_is_made_with_it() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    for (formats, preset) in [
        (json!([{ "preset": "webm" }, { "preset": "mp3" }]), json!(null)),
        (json!([{ "preset": "webm", "output": tested.path("b.webm") }, {}]), json!("mp4")),
    ] {
        let given = json!({ "source": source, "formats": formats });
        let detail = tested.done("encode", given).await;
        assert_eq!(detail.operation.params["preset"], preset, "{formats}");
    }
}

#[tokio::test]
async fn one_format_is_one_output() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let output = tested.path("small.webm");
    let given = json!({ "source": source, "formats": [{ "preset": "webm", "output": output }] });
    let detail = tested.done("encode", given).await;
    assert_eq!(detail.operation.state, State::Done, "{:?}", detail.operation.comment);
    assert_eq!((detail.steps.len(), detail.children.len()), (3, 0));
    assert_eq!(encoding(&tested, 1).await.output, output);
}

#[tokio::test]
async fn progress_counts_the_steps_that_are_taken() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    hanging(&tested, json!({ "source": source })).await;
    let progress = in_flight(&tested).await.operations[0].progress.clone().unwrap();
    assert_eq!((progress.step, progress.steps), (2, Some(3)));

    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let uid = hanging(&tested, two(&source)).await;
    let operations = in_flight(&tested).await.operations;
    let parent = operations.iter().find(|it| it.uid == uid).unwrap();
    let progress = parent.progress.as_ref().unwrap();
    assert_eq!(progress.phase, "0 of 2 done");
    let fraction = progress.fraction.unwrap();
    assert!(fraction > 0.0 && fraction < 0.5, "half of the first of two: {fraction}");
}

#[tokio::test]
async fn two_that_would_be_one_file_are_refused_by_both_names() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    std::os::unix::fs::symlink(tested.dir.path(), tested.path("link")).unwrap();
    let linked = tested.path("link/talk.mp4");
    for formats in [
        json!([{ "preset": "webm" }, { "preset": "mp4" }, {}]),
        json!([{ "preset": "webm" }, {}, { "output": linked }]),
    ] {
        let given = json!({ "source": source, "formats": formats });
        let refusal = tested.submit("encode", given.clone()).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::Value);
        assert_eq!(refusal.field.as_deref(), Some("formats.2.output"));
        let said = &refusal.message;
        assert!(
            said.contains("formats.2.output: ") && said.contains("what formats.1 makes"),
            "{said}"
        );
        assert_eq!(tested.preview("encode", given).await.refusal, Some(refusal));
    }
}

#[tokio::test]
async fn what_cannot_work_in_one_of_them_is_not_queued() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let there = tested.file("there.mp4", "precious");
    for (formats, reason, field) in [
        (json!([{}, { "preset": "vhs" }]), Reason::Value, "formats.1.preset"),
        (json!([{}, { "output": source }]), Reason::Value, "formats.1.output"),
        (json!([{ "output": there }, { "preset": "webm" }]), Reason::Existence, "formats.0.output"),
        // What is checked first is told first, wherever it stands.
        (json!([{ "output": there }, { "output": source }]), Reason::Value, "formats.1.output"),
    ] {
        let given = json!({ "source": source, "formats": formats });
        let refusal = tested.submit("encode", given.clone()).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.field.as_deref()), (reason, Some(field)), "{given}");
    }
    let mut given = two(&source);
    given["output"] = json!(tested.path("all.mp4"));
    let refusal = tested.submit("encode", given).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.field.as_deref()), (Reason::Value, Some("output")));
}

#[tokio::test]
async fn an_output_is_held_before_it_is_asked_for_and_not_from_its_own_child() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    // The lane takes one at a time: the family waits, and has not asked for its children.
    let busy = tested.file("busy.mov", "x");
    let first = hanging(&tested, json!({ "source": busy })).await;
    let uid = tested.submit("encode", two(&source)).await.unwrap().uid;
    for output in ["talk.mp4", "talk.webm"] {
        let given = json!({ "source": busy, "output": tested.path(output) });
        let refusal = tested.submit("encode", given).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.field.as_deref()), (Reason::Existence, Some("output")));
        assert!(refusal.message.contains(&format!("is being made already by {uid}")), "{refusal}");
    }
    let again = tested.submit("encode", two(&source)).await.unwrap_err();
    assert_eq!(again.field.as_deref(), Some("formats.0.output"));
    *tested.encoder.next.lock().unwrap() = Does::Works;
    let events = tested.backend().subscribe();
    tested.cancel(first).await;
    assert_eq!(tested.rest(events, uid).await.operation.state, State::Done);
}

#[tokio::test]
async fn one_that_fails_is_named_and_alone_is_done_again() {
    let tested = TestBackend::new();
    tested.encoder.media.lock().unwrap().audio = false;
    let source = tested.file("talk.mov", "x");
    let given = json!({ "source": source, "formats": [{ "preset": "mp4" }, { "preset": "mp3" }] });
    let detail = tested.done("encode", given).await;
    let why = detail.operation.comment.clone().unwrap();
    assert_eq!(detail.operation.state, State::Error);
    assert!(why.starts_with("1 done, 1 failed: "), "{why}");
    assert!(why.contains("encoding/2 'talk.mov→mp3'") && why.contains("has no sound"), "{why}");
    assert_eq!(states(&detail.children), [State::Done, State::Error]);
    assert!(tested.path("talk.mp4").exists() && !tested.path("talk.mp3").exists());

    tested.encoder.media.lock().unwrap().audio = true;
    let (events, uid) = (tested.backend().subscribe(), detail.operation.uid);
    tested.backend().control(Control::Relaunch { uid, params: Params::new() }).await.unwrap();
    let again = tested.rest(events, uid).await;
    assert_eq!(again.operation.state, State::Done, "{:?}", again.operation.comment);
    assert_eq!(again.operation.resource_name.as_deref(), Some("talk.mov→mp4, mp3"));
    assert_eq!(states(&again.children), [State::Done, State::Done]);
    let attempts: Vec<u32> = again.children.iter().map(|child| child.attempt).collect();
    assert_eq!(attempts, [0, 1], "what is done is not done again");
    assert!(tested.path("talk.mp3").exists());
}

#[tokio::test]
async fn one_whose_output_has_appeared_is_refused_and_the_others_are_made() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let busy = tested.file("busy.mov", "x");
    let first = hanging(&tested, json!({ "source": busy })).await;
    let uid = tested.submit("encode", two(&source)).await.unwrap().uid;
    let there = tested.file("talk.webm", "precious");
    *tested.encoder.next.lock().unwrap() = Does::Works;
    let events = tested.backend().subscribe();
    tested.cancel(first).await;
    let detail = tested.rest(events, uid).await;
    let why = detail.operation.comment.clone().unwrap();
    assert_eq!(detail.operation.state, State::Error);
    assert!(why.starts_with("1 done, 1 refused: output: "), "{why}");
    assert!(why.contains(&format!("{} exists already", there.display())), "{why}");
    assert!(tested.path("talk.mp4").exists());

    // Moved away, the relaunch asks for it anew.
    std::fs::remove_file(&there).unwrap();
    let events = tested.backend().subscribe();
    tested.backend().control(Control::Relaunch { uid, params: Params::new() }).await.unwrap();
    assert_eq!(tested.rest(events, uid).await.operation.state, State::Done);
    assert_eq!(std::fs::read_to_string(there).unwrap(), "x");
}

#[tokio::test]
async fn a_relaunch_makes_neither_several_of_one_nor_one_of_several() {
    let tested = TestBackend::new();
    *tested.encoder.next.lock().unwrap() = Does::Fails;
    let source = tested.file("talk.mov", "x");
    let one = tested.done("encode", json!({ "source": source })).await.operation;
    let several = tested.done("encode", two(&source)).await.operation;
    let formats = |given: serde_json::Value| Params::from_iter([("formats".to_owned(), given)]);
    for (uid, params) in [
        (one.uid, formats(json!([{ "preset": "mp4" }, { "preset": "webm" }]))),
        (several.uid, formats(json!([{ "preset": "mp4" }]))),
    ] {
        let control = Control::Relaunch { uid, params };
        let error = tested.backend().control(control).await.unwrap_err().to_string();
        assert!(error.contains("formats: a relaunch does not make several outputs"), "{error}");
        assert!(error.contains(&uid.to_string()), "{error}");
    }
}

#[tokio::test]
async fn cancelling_it_leaves_nothing_of_what_was_not_done() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let uid = hanging(&tested, two(&source)).await;
    let events = tested.backend().subscribe();
    tested.cancel(uid).await;
    let detail = tested.rest(events, uid).await;
    assert_eq!(detail.operation.state, State::Cancel);
    assert_eq!(states(&detail.children), [State::Cancel, State::Cancel]);
    for id in [1, 2] {
        assert_eq!(encoding(&tested, id).await.state, EncodingState::Cancelled);
    }
    assert_eq!(hidden_files(&tested), [""; 0]);
    assert!(!tested.path("talk.mp4").exists() && !tested.path("talk.webm").exists());
}

#[tokio::test]
async fn a_crash_in_the_middle_goes_on_with_the_same_children() {
    let mut tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let uid = hanging(&tested, two(&source)).await;
    tested.crash().await;
    *tested.encoder.next.lock().unwrap() = Does::Works;
    tested.start();
    let events = tested.backend().subscribe();
    let detail = tested.rest(events, uid).await;
    assert_eq!(detail.operation.state, State::Done, "{:?}", detail.operation.comment);
    assert_eq!(states(&detail.children), [State::Done, State::Done]);
    assert!(tested.path("talk.mp4").exists() && tested.path("talk.webm").exists());
}

#[tokio::test]
async fn the_preview_tells_of_each() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let preview = tested.preview("encode", two(&source)).await;
    assert_eq!(preview.refusal, None);
    let outputs = [tested.path("talk.mp4"), tested.path("talk.webm")];
    for (number, output) in outputs.iter().enumerate() {
        let (from, to) = (source.display(), output.display());
        assert_eq!(preview.effects[number], format!("Encodes {from} into {to}."));
        assert_eq!(preview.commands[number], format!("copy {from} {to}"));
    }
    assert!(preview.effects[2].ends_with("are free there."), "{:?}", preview.effects);
    assert_eq!(preview.effects.len(), 3);
}

/// Parameters as they were stored before there were formats.
#[test]
fn parameters_of_before_make_one_output() {
    let stored = json!({ "source": "/srv/talk.mov", "preset": "webm", "output": null });
    let params: super::super::Parameters = serde_json::from_value(stored).unwrap();
    let renditions = params.renditions();
    assert_eq!(renditions.len(), 1);
    assert_eq!((renditions[0].preset.as_str(), &renditions[0].output), ("webm", &None));
}

#[tokio::test]
async fn how_far_it_is_never_goes_back() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let mut events = tested.backend().subscribe();
    let parent = tested.done("encode", two(&source)).await.operation.uid;
    let mut far = 0.0;
    while let Some(Some(event)) = events.next().now_or_never() {
        if let Fact::Progress { uid, progress } = event.fact
            && uid == parent
        {
            let fraction = progress.fraction.unwrap_or(far);
            assert!(fraction >= far, "{fraction} after {far}: {progress:?}");
            far = fraction;
        }
    }
    assert!((far - 1.0).abs() < f64::EPSILON, "{far}");
}

#[tokio::test]
async fn a_source_that_is_not_there_is_told_before_what_follows_from_it() {
    let tested = TestBackend::new();
    let source = tested.path("gone.mov");
    let twice = json!({ "source": source, "formats": [{}, {}] });
    let refusal = tested.submit("encode", twice).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.field.as_deref()),
        (Reason::Existence, Some("source")),
        "{}",
        refusal.message
    );
}

#[tokio::test]
async fn the_preview_of_many_tells_of_some() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let format = |at| json!({ "output": tested.path(&format!("{at}.mp4")) });
    let formats: Vec<_> = (1..=100).map(format).collect();
    let preview = tested.preview("encode", json!({ "source": source, "formats": formats })).await;
    assert_eq!(preview.refusal, None);
    assert_eq!((preview.commands.len(), preview.effects.len()), (20, 22));
    assert_eq!(preview.effects[20], "… and 80 more.");
}
