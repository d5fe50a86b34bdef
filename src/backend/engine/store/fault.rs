//! Where tests make the store fail: at every place where a disk can.
//!
//! Without the feature `failpoints` there are no such places.

/// The faults that are planned for one file.
#[cfg(not(any(test, feature = "failpoints")))]
pub(super) struct Faults;

#[cfg(not(any(test, feature = "failpoints")))]
impl Faults {
    /// None.
    pub(super) const fn of(_: &std::path::Path) -> Self {
        Self
    }

    /// A place that nothing happens at.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as the one of tests")]
    pub(super) const fn point(&self, _: &str) -> rusqlite::Result<()> {
        Ok(())
    }
}

#[cfg(any(test, feature = "failpoints"))]
pub use planned::{Fault, Faults, How};

#[cfg(any(test, feature = "failpoints"))]
mod planned {
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, LazyLock};

    use parking_lot::Mutex;
    use rusqlite::ffi;

    /// How the store fails.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum How {
        /// No room on the disk.
        Full,
        /// Another program writes.
        Locked,
        /// The disk does not do what it is told.
        Broken,
        /// A defect of ours.
        Panic,
    }

    /// A fault that is planned.
    #[derive(Debug, Clone, Copy)]
    pub struct Fault {
        /// At which place, counted from 0.
        pub at: usize,
        /// For how many places in a row.
        pub times: usize,
        /// How.
        pub how: How,
    }

    #[derive(Debug, Default)]
    struct FaultPlan {
        fault: Option<Fault>,
        passed: usize,
        struck: Vec<String>,
    }

    /// The faults that are planned for one file.
    #[derive(Debug, Clone, Default)]
    pub struct Faults(Arc<Mutex<FaultPlan>>);

    static PLANS: LazyLock<Mutex<HashMap<PathBuf, Faults>>> = LazyLock::new(Mutex::default);

    impl Faults {
        /// Those of a file, which whoever opens it meets.
        #[must_use]
        pub fn of(file: &Path) -> Self {
            let mut plans = PLANS.lock();
            plans.entry(file.to_owned()).or_default().clone()
        }

        /// Plans a fault, or none, and counts places from here on. Gives where the last plan
        /// struck.
        pub fn plan(&self, fault: Option<Fault>) -> Vec<String> {
            let mut plan = self.0.lock();
            std::mem::replace(&mut *plan, FaultPlan { fault, ..FaultPlan::default() }).struck
        }

        /// A place where the disk can fail.
        pub(in crate::backend::engine::store) fn point(&self, place: &str) -> rusqlite::Result<()> {
            let mut plan = self.0.lock();
            let passed = plan.passed;
            plan.passed += 1;
            let Some(Fault { at, times, how }) = plan.fault else { return Ok(()) };
            if !(at..at.saturating_add(times)).contains(&passed) {
                return Ok(());
            }
            plan.struck.push(place.to_owned());
            let code = match how {
                How::Full => ffi::SQLITE_FULL,
                How::Locked => ffi::SQLITE_BUSY,
                How::Broken => ffi::SQLITE_IOERR_FSYNC,
                How::Panic => {
                    drop(plan);
                    panic!("told to panic {place}");
                }
            };
            let why = format!("told to fail {place}");
            Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(why)))
        }
    }
}
