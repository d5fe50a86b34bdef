//! Work that cannot be cut short: what a step does on a thread where blocking does no harm.
//!
//! A step that is called off is dropped where it is, but a thread in the middle of a rename goes
//! on. Whoever undoes the step, or gives the state directory to somebody else, first waits until
//! that has ended: otherwise a file appears behind the back of its own undo.

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

tokio::task_local! {
    /// Where the work of the operation at hand is known.
    static TRACKER: TaskTracker;
}

/// Runs a future whose blocking work is to be waited for, also after the future is dropped.
pub(in crate::backend) fn tracked<F: Future>(
    tracker: &TaskTracker,
    future: F,
) -> impl Future<Output = F::Output> + use<F> {
    TRACKER.scope(tracker.clone(), future)
}

/// Does work where blocking does no harm. It goes on when nobody waits for it any more, and what
/// the operation at hand does next comes after it.
pub(in crate::backend) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    match TRACKER.try_with(Clone::clone) {
        Ok(tracker) => tracker.spawn_blocking(work),
        // Nobody's step: a probe for doctor, a test.
        Err(_) => tokio::task::spawn_blocking(work),
    }
}
