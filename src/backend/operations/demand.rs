//! What of the box an operation takes, and the warning where there may be too little of it.

use crate::backend::load;
use crate::backend::settings::Settings;
use crate::domain::display;

/// Something of the box that an operation takes, now or in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Memory of a guest, in MiB.
    Memory(u64),
    /// Room under the state directory.
    Room {
        /// What takes it.
        what: &'static str,
        /// At most so much in time, in bytes.
        most: u64,
    },
}

impl Demand {
    /// Returns what to say where there is too little. Looks at the box.
    #[must_use]
    pub fn warning(self, settings: &Settings) -> Option<String> {
        match self {
            Self::Memory(mib) => {
                let free = display::mib(load::available_mib().filter(|free| *free < mib)?);
                Some(format!(
                    "The box has only {free} of memory free: it will swap, or QEMU may be killed."
                ))
            }
            Self::Room { what, most } => {
                let (used, total) = load::pool(&settings.state_dir)?;
                let free = total.saturating_sub(used);
                (free < most).then(|| {
                    let (free, most) = (display::bytes(free), display::bytes(most));
                    format!(
                        "The box has only {free} left, and {what} may take {most}: writes to it \
                         will stop when that is full."
                    )
                })
            }
        }
    }
}
