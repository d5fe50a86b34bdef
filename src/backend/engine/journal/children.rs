//! Children: the operations that an operation asks for, and waits for.
//!
//! ```text
//!  cx.spawn_all(…) ──▶ step "spawn": its record and all children, one transaction
//!  cx.join_all(…)  ──▶ waits, without a place in its lane ──▶ step "join": how they ended
//! ```
//!
//! A replay finds its children in the record and makes none a second time. A new attempt takes up
//! what earlier ones asked for likewise: a child that is done counts, one that failed is
//! relaunched, one that was cancelled is asked for anew. The undo of a spawn cancels the children
//! that have not ended; one that failed waits for a person, unless the parent is cancelled. A child
//! that was relaunched alone, once its parent had ended in `ERROR`, is what the parent finds when
//! it is relaunched itself.

use crate::domain::{BackendError, Failure, Progress, StepState, Submit, Uid};

use super::spawned::{Child, Spawned, refused};
use super::step::{Entered, as_result, crash};
use super::{Context, Stop};

/// The name of the step that asks for children.
pub const SPAWN: &str = "spawn";
/// The name of the step that ends the wait for children.
pub const JOIN: &str = "join";

impl Context {
    /// Asks for children, all in one transaction with the record of it. They have the priority of
    /// this operation, and its actor where none is given. Those that are refused do not keep the
    /// others from it, unless the kind says that its children stop at the first error.
    ///
    /// # Errors
    /// When they cannot be written, or the operation is to stop here.
    pub async fn spawn_all(&self, requests: Vec<Submit>) -> Result<Vec<Spawned>, Stop> {
        let inner = &self.inner;
        let builder = self.step(SPAWN).undo({
            let (recorder, uid) = (inner.recorder.clone(), self.uid());
            move |step| recorder.clone().cancel_children(uid, step.is_cancelled())
        });
        let spawned: Vec<Spawned> = match builder.enter()? {
            Entered::Before(spawned) => spawned,
            Entered::Now { mut step, undo, .. } => {
                if let Some(undo) = undo {
                    self.arm(undo);
                }
                inner.recorder.begin_step(self.uid(), &step);
                crash(&inner.spec.kind, SPAWN, "before");
                step.finished = Some(self.now());
                step.state = StepState::Done;
                let taken = self.spawned();
                let spawning = inner.recorder.clone().spawn(
                    self.uid(),
                    step.clone(),
                    requests,
                    taken,
                    inner.cancel.clone(),
                );
                crash(&inner.spec.kind, SPAWN, "between");
                let spawned = inner.recording.spawn(spawning).await.unwrap_or_else(|error| {
                    Err(BackendError::failed(format!("a spawn was lost: {error}")))
                });
                let spawned = spawned.map_err(|error| self.unrecorded(&error))?;
                self.update_last(&step, Some(as_result(SPAWN, &spawned)?));
                crash(&inner.spec.kind, SPAWN, "after");
                spawned
            }
        };
        inner.children.lock().extend(spawned.iter().filter_map(Spawned::child));
        if let Some(refused) = refused(&spawned) {
            self.progress(Progress { detail: Some(refused), ..Progress::default() });
        }
        Ok(spawned)
    }

    /// Asks for a child.
    ///
    /// # Errors
    /// When it is refused or cannot be written, or the operation is to stop here.
    pub async fn spawn(&self, request: Submit) -> Result<Uid, Stop> {
        let kind = request.kind.clone();
        match self.spawn_all(vec![request]).await?.pop() {
            Some(Spawned::Child(uid)) => Ok(uid),
            Some(Spawned::Refused(refusal)) => {
                Err(Failure::new(format!("{kind} is refused: {}", refusal.message)).into())
            }
            Some(Spawned::Withdrawn) | None => {
                Err(Failure::new(format!("{kind} was not asked for")).into())
            }
        }
    }

    /// Waits until these children have come to an end or an error, and says how they stand, in the
    /// same order. What is done with one that failed is for the caller to decide.
    ///
    /// # Errors
    /// When that cannot be recorded, or the operation is to stop here.
    pub async fn join_all(&self, children: &[Uid]) -> Result<Vec<Child>, Stop> {
        let recorded = {
            let recorded = self.inner.recorded.lock();
            !recorded.is_empty()
        };
        let joined = if recorded { Vec::new() } else { self.wait_for(children).await? };
        self.step(JOIN)
            .label("its operations have ended")
            // How far those were was told meanwhile, and is never taken back.
            .progress_range(1.0, 1.0)
            .run(|_| std::future::ready(Ok(joined.clone())))
            .await
    }

    /// Waits for a child, see [`Context::join_all`].
    ///
    /// # Errors
    /// When that cannot be recorded, or the operation is to stop here.
    pub async fn join(&self, child: Uid) -> Result<Child, Stop> {
        let joined = self.join_all(&[child]).await?.pop();
        joined.ok_or_else(|| Failure::new(format!("{child} is not known any more")).into())
    }

    /// Waits for the children that nobody has waited for: an operation ends after all of them.
    ///
    /// # Errors
    /// When the operation is to stop here.
    pub(in crate::backend::engine) async fn wait_for_rest(&self) -> Result<(), Stop> {
        let children = self.spawned();
        if children.is_empty() || !self.inner.recorder.has_children_under_way(self.uid()) {
            return Ok(());
        }
        self.wait_for(&children).await.map(drop)
    }

    async fn wait_for(&self, children: &[Uid]) -> Result<Vec<Child>, Stop> {
        let recorder = self.inner.recorder.clone();
        tokio::select! {
            biased;
            () = self.inner.cancel.cancelled() => Err(Stop::Cancelled),
            joined = recorder.join(self.uid(), children.to_vec()) => {
                Ok(joined?.iter().map(|operation| Child::from(&**operation)).collect())
            }
        }
    }

    /// The children that this attempt has asked for so far.
    fn spawned(&self) -> Vec<Uid> {
        self.inner.children.lock().clone()
    }
}
