//! The verdict on a simulation: what is wrong first, what led there, and a number that two
//! runs share only when the same happened in both.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::{Mutex, MutexGuard};

/// How much of what led to a breach is kept.
const LINES: usize = 2000;

/// What is put down of a run.
#[derive(Default)]
pub(super) struct Verdict(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    breach: Option<String>,
    /// What happened last, where it is to be told.
    story: Option<VecDeque<String>>,
    trace: DefaultHasher,
}

impl Verdict {
    /// A verdict that keeps what happened last if it is to be `told`.
    pub(super) fn new(told: bool) -> Self {
        let story = told.then(VecDeque::new);
        Self(Mutex::new(Noted { story, ..Noted::default() }))
    }

    /// Puts down that something happened.
    pub(super) fn note(&self, happened: impl Hash, words: impl FnOnce() -> String) {
        let mut noted = self.noted();
        happened.hash(&mut noted.trace);
        if let Some(story) = &mut noted.story {
            story.push_back(words());
            if story.len() > LINES {
                story.pop_front();
            }
        }
    }

    /// Puts down what is wrong. What is found first counts: the rest may follow from it.
    pub(super) fn breach(&self, what: String) {
        self.noted().breach.get_or_insert(what);
    }

    /// The same for a check.
    pub(super) fn check(&self, checked: Result<(), String>) {
        if let Err(what) = checked {
            self.breach(what);
        }
    }

    /// What is wrong.
    pub(super) fn found(&self) -> Option<String> {
        self.noted().breach.clone()
    }

    /// Whether anything is wrong.
    pub(super) fn is_broken(&self) -> bool {
        self.noted().breach.is_some()
    }

    /// What happened last, a line each.
    pub(super) fn story(&self) -> Vec<String> {
        self.noted().story.iter().flatten().cloned().collect()
    }

    /// The number of everything that happened.
    pub(super) fn trace(&self) -> u64 {
        self.noted().trace.finish()
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock()
    }
}
