//! The simulated storage: a group commit whose answers come late and in any order, and everything
//! that goes wrong with disks.
//!
//! ```text
//!  sent ──▶ [ some of it, in one transaction ] ──▶ on the platter ──▶ answers, sooner or later
//!             ├ fails: none of it           ├ one change refused alone
//!             ├ full: no new work           └ nobody knows: all or nothing, and no answer any more
//!  power cut: what was sent first survives, up to anywhere
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot, watch};

use crate::backend::engine::clock::Clock as _;
use crate::backend::engine::storage::{Acknowledgement, Change, Health, RecordedStep, Storage};
use crate::domain::{BackendError, BoxFuture, Operation, Params, Uid};

use super::ground::Ground;

/// Changes on their way, and who wants to know.
struct Awaited {
    changes: Vec<Change>,
    asker: Option<oneshot::Sender<Result<(), BackendError>>>,
}

/// The storage of one life.
pub(super) struct SimulatedDisk {
    ground: Arc<Ground>,
    sent: Mutex<VecDeque<Awaited>>,
    arrived: Notify,
    health: watch::Sender<Health>,
    full_until: Mutex<Timestamp>,
    /// How many answers are on their way.
    answering: Arc<AtomicUsize>,
}

impl SimulatedDisk {
    /// The storage of a life that begins. Called inside a runtime.
    pub(super) fn open(ground: &Arc<Ground>) -> Arc<Self> {
        let disk = Arc::new(Self {
            ground: ground.clone(),
            sent: Mutex::default(),
            arrived: Notify::new(),
            health: watch::Sender::new(Health::Well),
            full_until: Mutex::new(Timestamp::UNIX_EPOCH),
            answering: Arc::default(),
        });
        tokio::spawn(disk.clone().write());
        disk
    }

    /// Whether everything that was sent is written and answered.
    pub(super) fn is_quiet(&self) -> bool {
        self.sent().is_empty() && self.answering.load(Ordering::Relaxed) == 0
    }

    /// The power goes. Of what is on its way, the first changes may have come to the platter.
    pub(super) fn cut_power(&self) {
        let mut sent = std::mem::take(&mut *self.sent());
        let written = self.ground.chance.number(0, sent.len() as u64 + 1);
        sent.truncate(usize::try_from(written).unwrap_or(0));
        for request in &sent {
            self.apply(&request.changes);
        }
    }

    /// Everything that is on its way is written, as when it is closed.
    pub(super) fn close(&self) {
        for request in &std::mem::take(&mut *self.sent()) {
            self.apply(&request.changes);
        }
    }

    async fn write(self: Arc<Self>) {
        let chance = &self.ground.chance;
        loop {
            while self.sent().is_empty() {
                self.arrived.notified().await;
            }
            let slow = if chance.fault(100) { 2_000_000 } else { 2_000 };
            self.ground.sleep(slow).await;
            let waiting = self.sent().len() as u64;
            let most = if chance.happens(200) { chance.number(1, waiting + 1) } else { waiting };
            self.look_for_room();
            if chance.fault(5) {
                self.die(most);
                return;
            }
            let fails = chance.fault(100);
            if chance.fault(20) {
                self.fill_up();
            }
            for _ in 0..most {
                let Some(request) = self.sent().pop_front() else { break };
                let is_new = request.changes.iter().any(Change::is_new_work);
                let full = *self.health.borrow() == Health::Full;
                let result = if fails || chance.fault(50) || (full && is_new) {
                    Err(BackendError::failed("the simulated disk could not write it"))
                } else {
                    self.apply(&request.changes);
                    Ok(())
                };
                self.answer(request, result);
            }
        }
    }

    /// Puts changes on the platter.
    fn apply(&self, changes: &[Change]) {
        for change in changes {
            self.ground.verdict.note((), || format!("on disk: {change:?}"));
        }
        let applied = self.ground.platter().apply_all(changes);
        self.ground.verdict.check(applied);
    }

    /// Answers, sooner or later: on a real box, callers come to themselves in any order.
    fn answer(&self, request: Awaited, result: Result<(), BackendError>) {
        let Some(asker) = request.asker else { return };
        if self.ground.chance.happens(500) {
            // Whoever asked may be gone by now; the change stands all the same.
            let _ = asker.send(result);
            return;
        }
        let (late, answering) = (self.ground.sleep(500), self.answering.clone());
        answering.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            late.await;
            answering.fetch_sub(1, Ordering::Relaxed);
            let _ = asker.send(result);
        });
    }

    /// A transaction of so many requests fails in a way after which nobody knows what is written.
    fn die(&self, most: u64) {
        let most = usize::try_from(most).unwrap_or(0);
        let mut sent = std::mem::take(&mut *self.sent());
        self.health.send_replace(Health::Dead("the simulated disk fails".to_owned()));
        self.ground.verdict.note((), || "the disk dies".to_owned());
        sent.truncate(most);
        if self.ground.chance.happens(500) {
            for request in &sent {
                self.apply(&request.changes);
            }
        }
    }

    fn fill_up(&self) {
        self.ground.verdict.note((), || "the disk is full".to_owned());
        let long = Duration::from_millis(self.ground.chance.number(1, 60_000));
        *self.full_until.lock() = self.ground.clock.now() + long;
        self.health.send_replace(Health::Full);
    }

    fn look_for_room(&self) {
        let until = *self.full_until.lock();
        if *self.health.borrow() == Health::Full && self.ground.clock.now() >= until {
            self.ground.verdict.note((), || "there is room on the disk".to_owned());
            self.health.send_replace(Health::Well);
        }
    }

    fn is_dead(&self) -> bool {
        matches!(&*self.health.borrow(), Health::Dead(_))
    }

    fn request(
        &self,
        changes: Vec<Change>,
        asker: Option<oneshot::Sender<Result<(), BackendError>>>,
    ) {
        // One that is dead drops the way back with the request.
        if !self.is_dead() {
            self.sent().push_back(Awaited { changes, asker });
            self.arrived.notify_one();
        }
    }

    fn sent(&self) -> MutexGuard<'_, VecDeque<Awaited>> {
        self.sent.lock()
    }

    /// Reads what is on the platter, a little later.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Ground) -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T, BackendError>> {
        let ground = self.ground.clone();
        Box::pin(async move {
            ground.sleep(200).await;
            Ok(read(&ground))
        })
    }
}

impl Storage for SimulatedDisk {
    fn send(&self, changes: Vec<Change>) -> Acknowledgement {
        let (asker, answer) = oneshot::channel();
        self.request(changes, Some(asker));
        answer
    }

    fn send_unanswered(&self, changes: Vec<Change>) {
        self.request(changes, None);
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn place(&self) -> String {
        "the simulated disk".to_owned()
    }

    fn needed_mib(&self) -> u64 {
        1
    }

    fn operation(&self, uid: Uid) -> BoxFuture<'static, Result<Option<Operation>, BackendError>> {
        self.read(move |ground| ground.platter().operation(uid).cloned())
    }

    fn keyed(
        &self,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<(Operation, Params)>, BackendError>> {
        let key = key.to_owned();
        self.read(move |ground| {
            let platter = ground.platter();
            let found = platter.keyed(&key);
            found.map(|(operation, request)| (operation.clone(), request.clone()))
        })
    }

    fn children(&self, uid: Uid) -> BoxFuture<'static, Result<Vec<Operation>, BackendError>> {
        self.read(move |ground| ground.platter().children(uid).cloned().collect())
    }

    fn steps(&self, uid: Uid) -> BoxFuture<'static, Result<Vec<RecordedStep>, BackendError>> {
        self.read(move |ground| ground.platter().steps(uid).cloned().collect())
    }
}
