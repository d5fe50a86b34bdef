//! The executor: takes an operation whose turn it is through its steps to its end.
//!
//! ```text
//!  function ── Ok ──────────────────────────────▶ DONE
//!           ── Failed ──▶ record that it is undone ──▶ undo in reverse ──▶ ERROR
//!           ── Cancelled ▶ likewise ────────┬───▶ CANCEL
//!           │                               └───▶ ERROR, when something is left
//!           ├─ Failed past its pivot: nothing is undone ▶ ERROR
//!           ├─ Mismatch ─▶ nothing is undone ───▶ ERROR
//!           └─ Leaving ─▶ nothing: the next owner of the state directory goes on
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::domain::State;

use super::core::Engine;
use super::journal::{Context, Stop, panicked};
use super::live::{End, ReadyOperation};

/// Starts an operation whose turn has come.
pub(super) fn execute(engine: &Arc<Engine>, run: ReadyOperation) {
    // Boxed: tasks are aligned in a way for which glibc keeps nothing at hand, so they are small.
    engine.running.spawn(Box::pin(self::run(engine.clone(), run)));
}

/// Takes an operation to its end.
pub(super) async fn run(engine: Arc<Engine>, run: ReadyOperation) {
    let ReadyOperation { operation, params, cancel, resume, obstacle } = run;
    let uid = operation.uid;
    if let Some((state, why)) = obstacle {
        return engine.finish_with_retry(uid, End::of(state, Some(why))).await;
    }
    let Some(kind) = engine.kinds.get(&operation.kind).cloned() else {
        let why = format!("this hostler does not know the operation '{}'", operation.kind);
        return engine.finish_with_retry(uid, End::of(State::Error, Some(why))).await;
    };
    tokio::select! {
        biased;
        () = engine.until_unleased(uid) => {}
        () = engine.leaving.cancelled() => return,
    }
    // The next life knows nothing of the order in which operations were relaunched: of those that
    // wait, none of these may have begun.
    if operation.attempt > 0 && !resume && !engine.record_run_with_retry(uid, None).await {
        return;
    }
    let recorded = if resume {
        match engine.storage.steps(uid).await {
            Ok(recorded) => Some(recorded),
            Err(error) => {
                let why = format!("its steps cannot be read: {error}");
                return engine.finish_with_retry(uid, End::of(State::Error, Some(why))).await;
            }
        }
    } else {
        None
    };
    let cx = Context::new(engine.clone(), kind.spec().clone(), &operation, cancel, recorded);
    drop(operation);
    let function = async { kind.run(cx.clone(), &params).await };
    let function = AssertUnwindSafe(cx.tracked(function)).catch_unwind();
    // The function comes first: what it has done is recorded, and its next step looks whether it is
    // to stop.
    let stop = tokio::select! {
        biased;
        result = function => result.unwrap_or_else(|panic| Err(Stop::Failed(panicked(&*panic)))),
        () = engine.leaving.cancelled() => Err(Stop::Leaving),
        () = cx.cancelled() => Err(Stop::Cancelled),
    };
    let stop = match cx.undoing() {
        Some(undoing) if !matches!(stop, Err(Stop::Leaving | Stop::Mismatch(_))) => Err(undoing),
        _ => stop,
    };
    let stop = match stop.and_then(|outcome| cx.all_read().map(|()| outcome)) {
        Ok(outcome) => cx.wait_for_rest().await.map(|()| outcome),
        stop => stop,
    };
    let end = match stop {
        Ok(outcome) => End::done(outcome),
        Err(Stop::Mismatch(failure)) => End::of(State::Error, Some(failure.message)),
        // Nobody else gets the state directory while a thread of ours still works in it.
        Err(Stop::Leaving) => return cx.quiet().await,
        Err(Stop::Failed(failure)) if cx.is_past_pivot() => {
            cx.quiet().await;
            End::of(State::Error, Some(failure.message))
        }
        Err(stop) => {
            // Boxed: few operations need the room, and the others are started faster without it.
            let undo = Box::pin(cx.tracked(undo(&engine, &cx, &stop)));
            let undone = tokio::select! {
                biased;
                () = engine.leaving.cancelled() => None,
                () = engine.outlived(uid) => None,
                left = undo => left,
            };
            match undone {
                Some(left) => conclude(stop, &left),
                None => return cx.quiet().await,
            }
        }
    };
    engine.finish_with_retry(uid, end).await;
}

/// Undoes what an operation has begun. That it does is on disk before: a later life must not go on
/// from steps that are undone. So it comes after the record of whatever is still under way, which
/// says that the operation runs. Returns what is left; `None`: the next life undoes it.
async fn undo(engine: &Arc<Engine>, cx: &Context, stop: &Stop) -> Option<Vec<String>> {
    cx.quiet().await;
    if cx.has_begun() && cx.undoing().is_none() {
        let why = match stop {
            Stop::Failed(failure) => failure.message.clone(),
            _ => "cancelled".to_owned(),
        };
        if !engine.record_run_with_retry(cx.uid(), Some(why)).await {
            return None;
        }
    }
    let mut left = cx.undo().await;
    // Those that earlier attempts have asked for go with it, also where this one has not come so
    // far as to take them up.
    if matches!(stop, Stop::Cancelled)
        && left.is_empty()
        && let Err(failure) = engine.cancel_children(cx.uid(), true).await
    {
        left.push(failure.message);
    }
    Some(left)
}

/// Where an operation stands after its undos, and what is to be said about it.
fn conclude(stop: Stop, left: &[String]) -> End {
    let left = (!left.is_empty()).then(|| format!("could not be undone: {}", left.join("; ")));
    let (state, comment) = match (stop, left) {
        (Stop::Failed(failure), None) => (State::Error, Some(failure.message)),
        (Stop::Failed(failure), Some(left)) => {
            (State::Error, Some(format!("{}; {left}", failure.message)))
        }
        (_, Some(left)) => (State::Error, Some(format!("cancelled, but {left}"))),
        (_, None) => (State::Cancel, None),
    };
    End::of(state, comment)
}
