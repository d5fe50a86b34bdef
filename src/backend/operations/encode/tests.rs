//! What `encode` and `encoding_delete` promise.

use serde_json::json;

use super::rendition;
use crate::backend::testing::fake_encoder::EncodeScript as Does;
use crate::backend::testing::test_backend::TestBackend;
use crate::domain::{
    Backend, Control, Encoding, EncodingState, Params, Reason, Resource, State, StepState,
};

mod several;

async fn encoding(tested: &TestBackend, id: u64) -> Encoding {
    match tested.resource(Encoding::KIND, id).await {
        Some(Resource::Encoding(encoding)) => encoding,
        other => panic!("{other:?}"),
    }
}

fn hidden_files(tested: &TestBackend) -> Vec<String> {
    std::fs::read_dir(tested.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect()
}

#[tokio::test]
async fn a_source_becomes_an_output_beside_it() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "pictures and sound");
    let detail = tested.done("encode", json!({ "source": source, "preset": "webm" })).await;
    assert_eq!(detail.operation.state, State::Done, "{:?}", detail.operation.comment);
    assert!(detail.steps.iter().all(|step| step.state == StepState::Done));
    let outcome = detail.operation.outcome.unwrap();
    let output = tested.path("talk.webm");
    let says = format!("made {}: 18 B, 12.5 s long, at 2.0× its speed", output.display());
    assert_eq!(outcome.message, says);
    assert_eq!((&outcome.data["bytes"], &outcome.data["encoding"]), (&json!(18), &json!(1)));
    let made = encoding(&tested, 1).await;
    assert_eq!(made.name, "talk.mov→webm");
    assert_eq!(made.state, EncodingState::Finished);
    assert_eq!(made.output, tested.path("talk.webm"));
    assert_eq!((made.duration_s, made.speed), (Some(12.5), Some(2.0)));
    assert_eq!((made.source_bytes, made.output_bytes), (Some(18), Some(18)));
    assert!(made.finished.is_some());
    assert_eq!(std::fs::read_to_string(made.output).unwrap(), "pictures and sound");
    assert_eq!(hidden_files(&tested), [""; 0]);
}

#[tokio::test]
async fn what_cannot_work_is_not_queued() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mp4", "x");
    let there = tested.file("there.mp4", "precious");
    for (params, reason, field) in [
        (json!({ "source": "/no/such" }), Reason::Existence, "source"),
        (json!({ "source": source, "preset": "vhs" }), Reason::Value, "preset"),
        (json!({ "source": source, "output": source }), Reason::Value, "output"),
        (json!({ "source": source, "output": there }), Reason::Existence, "output"),
        (json!({ "source": source, "output": "/no/such/a.mp4" }), Reason::Existence, "output"),
        (json!({ "source": source, "output": "/proc/a.mp4" }), Reason::State, "output"),
    ] {
        let refusal = tested.submit("encode", params.clone()).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.field.as_deref()), (reason, Some(field)), "{params}");
        let preview = tested.preview("encode", params).await;
        assert_eq!(preview.refusal, Some(refusal));
    }
    assert_eq!(std::fs::read_to_string(there).unwrap(), "precious");
}

#[tokio::test]
async fn the_usual_output_is_never_the_source() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mp4", "x");
    let preview = tested.preview("encode", json!({ "source": source })).await;
    assert_eq!(preview.refusal, None);
    assert!(preview.effects[0].contains("talk-mp4.mp4"), "{:?}", preview.effects);
}

#[tokio::test]
async fn two_encodings_do_not_share_an_output() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    *tested.encoder.next.lock().unwrap() = Does::Hangs;
    tested.submit("encode", json!({ "source": source })).await.unwrap();
    let refusal = tested.submit("encode", json!({ "source": source })).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Existence);
    assert!(refusal.message.contains("encoding/1"), "{refusal}");
}

#[tokio::test]
async fn an_output_is_the_same_however_its_folder_is_reached() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let link = tested.path("link");
    std::os::unix::fs::symlink(tested.dir.path(), &link).unwrap();
    *tested.encoder.next.lock().unwrap() = Does::Hangs;
    tested.submit("encode", json!({ "source": source })).await.unwrap();
    for (output, reason, why) in [
        ("link/talk.mp4", Reason::Existence, "is being made already by encoding/1"),
        ("link/talk.mov", Reason::Value, "is the source itself"),
        ("state/talk.mp4", Reason::Value, "among hostler's own files"),
        ("link/state/disks/9.qcow2", Reason::Value, "among hostler's own files"),
    ] {
        std::fs::create_dir_all(tested.path("state/disks")).unwrap();
        let given = json!({ "source": source, "output": tested.path(output) });
        let refusal = tested.submit("encode", given).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.field.as_deref()), (reason, Some("output")));
        assert!(refusal.message.contains(why), "{refusal}");
    }
}

#[tokio::test]
async fn the_preview_shows_the_command() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let preview = tested.preview("encode", json!({ "source": source })).await;
    assert_eq!(preview.refusal, None);
    let output = tested.path("talk.mp4");
    assert_eq!(preview.commands, [format!("copy {} {}", source.display(), output.display())]);
}

#[tokio::test]
async fn a_preset_that_does_not_suit_fails_before_encoding() {
    let tested = TestBackend::new();
    tested.encoder.media.lock().unwrap().video = false;
    let source = tested.file("song.wav", "x");
    let detail = tested.done("encode", json!({ "source": source })).await;
    assert_eq!(detail.operation.state, State::Error);
    assert!(detail.operation.comment.unwrap().contains("has no video"));
    assert_eq!(encoding(&tested, 1).await.state, EncodingState::Failed);
    assert_eq!(tested.encoder.asked(), ["probe"]);
}

#[tokio::test]
async fn a_failed_one_leaves_nothing_and_can_be_relaunched() {
    let tested = TestBackend::new();
    *tested.encoder.next.lock().unwrap() = Does::Fails;
    let source = tested.file("talk.mov", "x");
    let detail = tested.done("encode", json!({ "source": source })).await;
    assert_eq!(detail.operation.state, State::Error);
    assert_eq!(encoding(&tested, 1).await.state, EncodingState::Failed);
    assert_eq!(hidden_files(&tested), [""; 0]);

    *tested.encoder.next.lock().unwrap() = Does::Works;
    let events = tested.backend().subscribe();
    let uid = detail.operation.uid;
    tested.backend().control(Control::Relaunch { uid, params: Params::new() }).await.unwrap();
    assert_eq!(tested.rest(events, uid).await.operation.state, State::Done);
    assert_eq!(encoding(&tested, 1).await.state, EncodingState::Finished);
}

#[tokio::test]
async fn what_could_not_be_ended_is_ended_when_it_is_cancelled_again() {
    let tested = TestBackend::new();
    *tested.encoder.next.lock().unwrap() = Does::Hangs;
    *tested.encoder.stuck.lock().unwrap() = true;
    let source = tested.file("talk.mov", "x");
    let uid = tested.submit("encode", json!({ "source": source })).await.unwrap().uid;
    tested.encoder.hanging.notified().await;
    let events = tested.backend().subscribe();
    tested.cancel(uid).await;
    let operation = tested.rest(events, uid).await.operation;
    let comment = operation.comment.unwrap();
    assert!(operation.state == State::Error && comment.contains("could not be undone"));
    assert_eq!(hidden_files(&tested).len(), 1);
    *tested.encoder.stuck.lock().unwrap() = false;
    let events = tested.backend().subscribe();
    tested.cancel(uid).await;
    assert_eq!(tested.rest(events, uid).await.operation.state, State::Cancel);
    assert_eq!(hidden_files(&tested), [""; 0]);
    assert!(!tested.path("state/encodings/1").exists());
}

#[tokio::test]
async fn one_whose_source_is_gone_is_not_queued_again() {
    let tested = TestBackend::new();
    *tested.encoder.next.lock().unwrap() = Does::Fails;
    let source = tested.file("talk.mov", "x");
    let uid = tested.done("encode", json!({ "source": source })).await.operation.uid;
    std::fs::remove_file(&source).unwrap();
    let again = Control::Relaunch { uid, params: Params::new() };
    let refusal = tested.backend().control(again).await.unwrap_err();
    assert!(refusal.to_string().contains("does not exist"), "{refusal}");
    assert_eq!(tested.operation(uid).await.operation.state, State::Error);
}

#[tokio::test]
async fn a_cancelled_one_leaves_its_row_alone() {
    let tested = TestBackend::new();
    *tested.encoder.next.lock().unwrap() = Does::Hangs;
    let source = tested.file("talk.mov", "x");
    let accepted = tested.submit("encode", json!({ "source": source })).await.unwrap();
    tested.encoder.hanging.notified().await;
    let events = tested.backend().subscribe();
    tested.cancel(accepted.uid).await;
    assert_eq!(tested.rest(events, accepted.uid).await.operation.state, State::Cancel);
    assert_eq!(encoding(&tested, 1).await.state, EncodingState::Cancelled);
    assert_eq!(hidden_files(&tested), [""; 0]);
    assert!(!tested.path("talk.mp4").exists());
}

#[tokio::test]
async fn a_crash_while_encoding_goes_on_where_it_was() {
    let mut tested = TestBackend::new();
    *tested.encoder.next.lock().unwrap() = Does::Hangs;
    let source = tested.file("talk.mov", "x");
    let accepted = tested.submit("encode", json!({ "source": source })).await.unwrap();
    tested.encoder.hanging.notified().await;
    tested.crash().await;
    *tested.encoder.next.lock().unwrap() = Does::Works;
    tested.start();
    let events = tested.backend().subscribe();
    assert_eq!(tested.rest(events, accepted.uid).await.operation.state, State::Done);
    assert_eq!(tested.encoder.asked(), ["probe", "encode", "encode", "finish"]);
}

#[tokio::test]
async fn deleting_keeps_the_output_unless_asked() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let output = tested.path("talk.mp4");
    tested.done("encode", json!({ "source": source })).await;
    tested.done("encoding_delete", json!({ "encoding": 1 })).await;
    assert!(tested.resource(Encoding::KIND, 1).await.is_none());
    assert!(output.exists());

    std::fs::remove_file(&output).unwrap();
    tested.done("encode", json!({ "source": source })).await;
    tested.done("encoding_delete", json!({ "encoding": 2, "output": true })).await;
    assert!(tested.resource(Encoding::KIND, 2).await.is_none());
    assert!(!output.exists());
}

#[test]
fn too_little_room_never_reads_as_enough() {
    let told = rendition::no_room((2 << 20) + 5, (2 << 20) + 6);
    assert!(told.contains("the source takes 2.0 MiB, 1 B more than is free;"), "{told}");
}

#[tokio::test]
async fn only_the_file_that_was_made_is_removed_with_its_encoding() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "pictures and sound");
    let output = tested.path("talk.webm");
    let encode = json!({ "source": source, "preset": "webm" });
    tested.done("encode", encode.clone()).await;
    std::fs::rename(&output, tested.path("kept.webm")).unwrap();
    tested.done("encode", encode).await;
    let refused = async |encoding: u64| {
        let params = json!({ "encoding": encoding, "output": true });
        let operation = tested.done("encoding_delete", params).await.operation;
        assert_eq!(operation.state, State::Error);
        tested.cancel(operation.uid).await;
        operation.comment.unwrap()
    };
    // What is there now is the second one's.
    let why = refused(1).await;
    assert!(why.contains("is not the file that encoding/1 made"), "{why}");
    assert!(output.exists());
    std::fs::write(&output, "my thesis").unwrap();
    let why = refused(2).await;
    assert!(why.contains("or was changed since"), "{why}");
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "my thesis");
    tested.done("encoding_delete", json!({ "encoding": 2 })).await;
    std::fs::rename(tested.path("kept.webm"), &output).unwrap();
    tested.done("encoding_delete", json!({ "encoding": 1, "output": true })).await;
    assert!(!output.exists());
}

#[tokio::test]
async fn what_cannot_be_removed_is_not_begun_to_be() {
    use rustix::fs::{IFlags, ioctl_setflags};
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "pictures and sound");
    tested.done("encode", json!({ "source": source, "preset": "webm" })).await;
    let output = std::fs::File::open(tested.path("talk.webm")).unwrap();
    // Only root may, and not every filesystem lets it.
    if let Err(error) = ioctl_setflags(&output, IFlags::IMMUTABLE) {
        eprintln!("not tested here: a file cannot be made immutable: {error}");
        return;
    }
    let params = json!({ "encoding": 1, "output": true });
    let operation = tested.done("encoding_delete", params).await.operation;
    ioctl_setflags(&output, IFlags::empty()).unwrap();
    assert!(!operation.past_pivot, "{operation:?}");
    assert!(operation.comment.unwrap().contains("talk.webm"));
    tested.cancel(operation.uid).await;
    tested.done("encoding_delete", json!({ "encoding": 1 })).await;
    assert!(tested.path("talk.webm").exists());
}
