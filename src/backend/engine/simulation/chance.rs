//! Chance: everything that happens by it in a simulation, from one seed.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// What happens by chance. The same seed gives the same answers to the same questions.
pub(super) struct Chance {
    state: Mutex<u64>,
    calm: AtomicBool,
}

impl Chance {
    /// Chance as this seed has it.
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: Mutex::new(seed), calm: AtomicBool::new(false) }
    }

    /// A number from `from` up to, but not including, `to`.
    pub(super) fn number(&self, from: u64, to: u64) -> u64 {
        // SplitMix64: small, and good enough for this.
        let mut state = self.state.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (mixed ^ (mixed >> 31)) % (to - from).max(1)
    }

    /// Whether something happens that does so many times in a thousand.
    pub(super) fn happens(&self, times: u64) -> bool {
        self.number(0, 1000) < times
    }

    /// Whether something goes wrong that does so many times in ten thousand, until
    /// [`Chance::calm`].
    pub(super) fn fault(&self, times: u64) -> bool {
        !self.calm.load(Ordering::Relaxed) && self.number(0, 10_000) < times
    }

    /// One of these; `None` where there are none.
    pub(super) fn one_of<T: Copy>(&self, all: &[T]) -> Option<T> {
        let at = usize::try_from(self.number(0, all.len() as u64)).unwrap_or(0);
        all.get(at).copied()
    }

    /// From now on nothing goes wrong.
    pub(super) fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Whether nothing goes wrong any more.
    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }
}
