//! What `encode` and `encoding_delete` promise.

use serde_json::json;

use super::rendition;
use crate::backend::testing::fake_encoder::Encoding as Does;
use crate::backend::testing::trial::Trial;
use crate::domain::{
    Backend, Control, Encoding, EncodingState, Params, Reason, Resource, State, StepState,
};

mod several;

async fn encoding(trial: &Trial, id: u64) -> Encoding {
    match trial.resource(Encoding::KIND, id).await {
        Some(Resource::Encoding(encoding)) => encoding,
        other => panic!("{other:?}"),
    }
}

fn hidden_files(trial: &Trial) -> Vec<String> {
    std::fs::read_dir(trial.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect()
}

#[tokio::test]
async fn a_source_becomes_an_output_beside_it() {
    let trial = Trial::new();
    let source = trial.file("talk.mov", "pictures and sound");
    let detail = trial.done("encode", json!({ "source": source, "preset": "webm" })).await;
    assert_eq!(detail.operation.state, State::Done, "{:?}", detail.operation.comment);
    assert!(detail.steps.iter().all(|step| step.state == StepState::Done));
    let outcome = detail.operation.outcome.unwrap();
    let output = trial.path("talk.webm");
    let says = format!("made {}: 18 B, 12.5 s long, at 2.0× its speed", output.display());
    assert_eq!(outcome.message, says);
    assert_eq!((&outcome.data["bytes"], &outcome.data["encoding"]), (&json!(18), &json!(1)));
    let made = encoding(&trial, 1).await;
    assert_eq!(made.name, "talk.mov→webm");
    assert_eq!(made.state, EncodingState::Finished);
    assert_eq!(made.output, trial.path("talk.webm"));
    assert_eq!((made.duration_s, made.speed), (Some(12.5), Some(2.0)));
    assert_eq!((made.source_bytes, made.output_bytes), (Some(18), Some(18)));
    assert!(made.finished.is_some());
    assert_eq!(std::fs::read_to_string(made.output).unwrap(), "pictures and sound");
    assert_eq!(hidden_files(&trial), [""; 0]);
}

#[tokio::test]
async fn what_cannot_work_is_not_queued() {
    let trial = Trial::new();
    let source = trial.file("talk.mp4", "x");
    let there = trial.file("there.mp4", "precious");
    for (params, reason, field) in [
        (json!({ "source": "/no/such" }), Reason::Existence, "source"),
        (json!({ "source": source, "preset": "vhs" }), Reason::Value, "preset"),
        (json!({ "source": source, "output": source }), Reason::Value, "output"),
        (json!({ "source": source, "output": there }), Reason::Existence, "output"),
        (json!({ "source": source, "output": "/no/such/a.mp4" }), Reason::Existence, "output"),
        (json!({ "source": source, "output": "/proc/a.mp4" }), Reason::State, "output"),
    ] {
        let refusal = trial.submit("encode", params.clone()).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.field.as_deref()), (reason, Some(field)), "{params}");
        let preview = trial.preview("encode", params).await;
        assert_eq!(preview.refusal, Some(refusal));
    }
    assert_eq!(std::fs::read_to_string(there).unwrap(), "precious");
}

#[tokio::test]
async fn the_usual_output_is_never_the_source() {
    let trial = Trial::new();
    let source = trial.file("talk.mp4", "x");
    let preview = trial.preview("encode", json!({ "source": source })).await;
    assert_eq!(preview.refusal, None);
    assert!(preview.effects[0].contains("talk-mp4.mp4"), "{:?}", preview.effects);
}

#[tokio::test]
async fn two_encodings_do_not_share_an_output() {
    let trial = Trial::new();
    let source = trial.file("talk.mov", "x");
    *trial.encoder.next.lock().unwrap() = Does::Hangs;
    trial.submit("encode", json!({ "source": source })).await.unwrap();
    let refusal = trial.submit("encode", json!({ "source": source })).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Existence);
    assert!(refusal.message.contains("encoding/1"), "{refusal}");
}

#[tokio::test]
async fn an_output_is_the_same_however_its_folder_is_reached() {
    let trial = Trial::new();
    let source = trial.file("talk.mov", "x");
    let link = trial.path("link");
    std::os::unix::fs::symlink(trial.dir.path(), &link).unwrap();
    *trial.encoder.next.lock().unwrap() = Does::Hangs;
    trial.submit("encode", json!({ "source": source })).await.unwrap();
    for (output, reason, why) in [
        ("link/talk.mp4", Reason::Existence, "is being made already by encoding/1"),
        ("link/talk.mov", Reason::Value, "is the source itself"),
        ("state/talk.mp4", Reason::Value, "among hostler's own files"),
        ("link/state/disks/9.qcow2", Reason::Value, "among hostler's own files"),
    ] {
        std::fs::create_dir_all(trial.path("state/disks")).unwrap();
        let given = json!({ "source": source, "output": trial.path(output) });
        let refusal = trial.submit("encode", given).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.field.as_deref()), (reason, Some("output")));
        assert!(refusal.message.contains(why), "{refusal}");
    }
}

#[tokio::test]
async fn the_preview_shows_the_command() {
    let trial = Trial::new();
    let source = trial.file("talk.mov", "x");
    let preview = trial.preview("encode", json!({ "source": source })).await;
    assert_eq!(preview.refusal, None);
    let output = trial.path("talk.mp4");
    assert_eq!(preview.commands, [format!("copy {} {}", source.display(), output.display())]);
}

#[tokio::test]
async fn a_preset_that_does_not_suit_fails_before_encoding() {
    let trial = Trial::new();
    trial.encoder.media.lock().unwrap().video = false;
    let source = trial.file("song.wav", "x");
    let detail = trial.done("encode", json!({ "source": source })).await;
    assert_eq!(detail.operation.state, State::Error);
    assert!(detail.operation.comment.unwrap().contains("has no video"));
    assert_eq!(encoding(&trial, 1).await.state, EncodingState::Failed);
    assert_eq!(trial.encoder.asked(), ["probe"]);
}

#[tokio::test]
async fn a_failed_one_leaves_nothing_and_can_be_relaunched() {
    let trial = Trial::new();
    *trial.encoder.next.lock().unwrap() = Does::Fails;
    let source = trial.file("talk.mov", "x");
    let detail = trial.done("encode", json!({ "source": source })).await;
    assert_eq!(detail.operation.state, State::Error);
    assert_eq!(encoding(&trial, 1).await.state, EncodingState::Failed);
    assert_eq!(hidden_files(&trial), [""; 0]);

    *trial.encoder.next.lock().unwrap() = Does::Works;
    let events = trial.backend().subscribe();
    let uid = detail.operation.uid;
    trial.backend().control(Control::Relaunch { uid, params: Params::new() }).await.unwrap();
    assert_eq!(trial.rest(events, uid).await.operation.state, State::Done);
    assert_eq!(encoding(&trial, 1).await.state, EncodingState::Finished);
}

#[tokio::test]
async fn a_cancelled_one_leaves_its_row_alone() {
    let trial = Trial::new();
    *trial.encoder.next.lock().unwrap() = Does::Hangs;
    let source = trial.file("talk.mov", "x");
    let accepted = trial.submit("encode", json!({ "source": source })).await.unwrap();
    trial.encoder.hanging.notified().await;
    let events = trial.backend().subscribe();
    trial.cancel(accepted.uid).await;
    assert_eq!(trial.rest(events, accepted.uid).await.operation.state, State::Cancel);
    assert_eq!(encoding(&trial, 1).await.state, EncodingState::Cancelled);
    assert_eq!(hidden_files(&trial), [""; 0]);
    assert!(!trial.path("talk.mp4").exists());
}

#[tokio::test]
async fn a_crash_while_encoding_goes_on_where_it_was() {
    let mut trial = Trial::new();
    *trial.encoder.next.lock().unwrap() = Does::Hangs;
    let source = trial.file("talk.mov", "x");
    let accepted = trial.submit("encode", json!({ "source": source })).await.unwrap();
    trial.encoder.hanging.notified().await;
    trial.crash().await;
    *trial.encoder.next.lock().unwrap() = Does::Works;
    trial.start();
    let events = trial.backend().subscribe();
    assert_eq!(trial.rest(events, accepted.uid).await.operation.state, State::Done);
    assert_eq!(trial.encoder.asked(), ["probe", "encode", "encode", "finish"]);
}

#[tokio::test]
async fn deleting_keeps_the_output_unless_asked() {
    let trial = Trial::new();
    let source = trial.file("talk.mov", "x");
    let output = trial.path("talk.mp4");
    trial.done("encode", json!({ "source": source })).await;
    trial.done("encoding_delete", json!({ "encoding": 1 })).await;
    assert!(trial.resource(Encoding::KIND, 1).await.is_none());
    assert!(output.exists());

    std::fs::remove_file(&output).unwrap();
    trial.done("encode", json!({ "source": source })).await;
    trial.done("encoding_delete", json!({ "encoding": 2, "output": true })).await;
    assert!(trial.resource(Encoding::KIND, 2).await.is_none());
    assert!(!output.exists());
}

#[test]
fn too_little_room_never_reads_as_enough() {
    let told = rendition::no_room((2 << 20) + 5, (2 << 20) + 6);
    assert!(told.contains("the source takes 2.0 MiB, 1 B more than is free;"), "{told}");
}
