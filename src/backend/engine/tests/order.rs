//! What was sent first is taken into memory first, whatever the order of answers, and of the tasks
//! that hear of them.

use std::sync::{Arc, Mutex};

use futures_util::poll;
use tokio::sync::{oneshot, watch};

use super::world::HandClock;
use crate::backend::engine::core::{Options, Parts, Transaction};
use crate::backend::engine::live::Live;
use crate::backend::engine::storage::{
    Acknowledgement, Change, Health, Opened, RecordedStep, Storage,
};
use crate::backend::engine::{Engine, open};
use crate::domain::{BackendError, BoxFuture, Operation, Params, Uid};

/// The way back to who asks.
type WayBack = oneshot::Sender<Result<(), BackendError>>;

/// A storage that answers when a test says so.
struct Reluctant {
    health: watch::Sender<Health>,
    asked: Mutex<Vec<Option<WayBack>>>,
}

impl Reluctant {
    fn answer(&self, number: usize, answer: Result<(), BackendError>) {
        let asker = self.asked.lock().unwrap()[number].take().unwrap();
        asker.send(answer).unwrap();
    }

    /// Drops every way back, as a writer that dies does.
    fn die(&self) {
        self.health.send_replace(Health::Dead("it dies".to_owned()));
        self.asked.lock().unwrap().clear();
    }
}

/// What is read of the storage of these tests.
fn nothing_is_read<T>() -> T {
    panic!("these tests send changes and read nothing")
}

impl Storage for Reluctant {
    fn send(&self, _: Vec<Change>) -> Acknowledgement {
        let (asker, answer) = oneshot::channel();
        if !matches!(*self.health.borrow(), Health::Dead(_)) {
            self.asked.lock().unwrap().push(Some(asker));
        }
        answer
    }

    fn send_unanswered(&self, _: Vec<Change>) {}

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn place(&self) -> String {
        "nowhere".to_owned()
    }

    fn needed_mib(&self) -> u64 {
        0
    }

    fn operation(&self, _: Uid) -> BoxFuture<'static, Result<Option<Operation>, BackendError>> {
        nothing_is_read()
    }

    fn keyed(
        &self,
        _: &str,
    ) -> BoxFuture<'static, Result<Option<(Operation, Params)>, BackendError>> {
        nothing_is_read()
    }

    fn children(&self, _: Uid) -> BoxFuture<'static, Result<Vec<Operation>, BackendError>> {
        nothing_is_read()
    }

    fn steps(&self, _: Uid) -> BoxFuture<'static, Result<Vec<RecordedStep>, BackendError>> {
        nothing_is_read()
    }
}

/// Puts down that it is taken in.
struct Taking(usize, Arc<Mutex<Vec<String>>>);

impl Transaction for Taking {
    type Output = usize;

    fn commit(self, _: &Engine, _: &mut Live) -> usize {
        self.1.lock().unwrap().push(format!("{} is written", self.0));
        self.0
    }

    fn roll_back(self, _: &Engine, _: &mut Live) {
        self.1.lock().unwrap().push(format!("{} is not", self.0));
    }
}

fn begin() -> (Arc<Reluctant>, Arc<Engine>) {
    let storage =
        Arc::new(Reluctant { health: watch::Sender::new(Health::Well), asked: Mutex::default() });
    let engine = open(Parts {
        options: Options { lanes: Vec::new(), shown: |resource| resource },
        kinds: Vec::new(),
        clock: Arc::new(HandClock::new()),
        storage: storage.clone(),
        opened: Opened::default(),
    });
    (storage, engine)
}

#[tokio::test]
async fn what_was_sent_first_is_taken_in_first() {
    let (storage, engine) = begin();
    let log = Arc::<Mutex<Vec<String>>>::default();
    let send = |number| {
        let taking = Taking(number, log.clone());
        engine.transact(|_| Ok((vec![Change::Count("taking", number as u64)], taking)))
    };
    let taken_in = || std::mem::take(&mut *log.lock().unwrap());
    let (mut first, mut second, mut third) = (send(0), send(1), send(2));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());

    storage.answer(2, Ok(()));
    assert!(poll!(&mut third).is_pending(), "others come first");
    let third = tokio::spawn(third);
    storage.answer(0, Ok(()));
    assert_eq!(first.await.unwrap(), 0);
    assert_eq!(taken_in(), ["0 is written"]);

    // The one that hears of the last answer before the others wake takes all of them in.
    let mut last = send(3);
    assert!(poll!(&mut last).is_pending());
    storage.answer(1, Err(BackendError::failed("no")));
    storage.answer(3, Ok(()));
    assert_eq!(last.await.unwrap(), 3);
    assert_eq!(taken_in(), ["1 is not", "2 is written", "3 is written"]);
    assert_eq!(second.await.unwrap_err().to_string(), "no");
    assert_eq!(third.await.unwrap().unwrap(), 2);
    assert!(taken_in().is_empty(), "nothing twice");
}

#[tokio::test]
async fn a_storage_that_dies_keeps_nobody_waiting() {
    let (storage, engine) = begin();
    let log = Arc::<Mutex<Vec<String>>>::default();
    let send = |number| {
        let taking = Taking(number, log.clone());
        engine.transact(|_| Ok((vec![Change::Count("taking", number as u64)], taking)))
    };
    let (first, second) = (send(0), send(1));
    storage.answer(1, Ok(()));
    // Whoever hung up is taken in all the same.
    drop(first);
    storage.die();
    assert_eq!(second.await.unwrap(), 1);
    assert_eq!(*log.lock().unwrap(), ["0 is not", "1 is written"]);
    assert_eq!(send(2).await.unwrap_err().to_string(), "it dies");
}
