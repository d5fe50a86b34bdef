//! The windows over the lists, and what each of them remembers.

use tui_input::Input;

use crate::domain::{OperationDetail, Uid};
use crate::ui::action::Action;
use crate::ui::confirm::Confirm;
use crate::ui::console::Console;
use crate::ui::form::Form;
use crate::ui::palette::Palette;

/// A window over the lists. The last one has the keys.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are two or three at a time")]
pub enum Modal {
    /// Every key.
    Help {
        /// The first line shown.
        scroll: u16,
        /// What is looked for.
        search: Input,
    },
    /// What the box can do.
    Doctor {
        /// The first line shown.
        scroll: u16,
    },
    /// Everything about the selected row.
    Detail {
        /// The first line shown.
        scroll: u16,
    },
    /// An operation with its steps.
    Operation(OperationView),
    /// The lanes.
    Lanes {
        /// The selected one.
        at: usize,
    },
    /// The columns to sort by.
    Sort {
        /// The selected one.
        at: usize,
    },
    /// Fuzzy search over everything.
    Palette(Palette),
    /// Typing a filter; the text before it is kept for escape.
    Filter {
        /// What is typed.
        input: Input,
        /// What was there before.
        before: String,
    },
    /// The fields of a request.
    Form(Box<Form>),
    /// A question before something dangerous.
    Confirm(Box<Confirm>),
    /// What to do with work in flight when leaving.
    Quit {
        /// The selected answer.
        at: usize,
    },
    /// A guest's serial console.
    Console(Box<Console>),
}

/// The answers to leaving with work in flight, in the order they are shown.
pub const QUIT_CHOICES: [(Action, &str); 3] = [
    (Action::LeaveBackground, "go on in the background"),
    (Action::LeaveWait, "wait: stay here"),
    (Action::LeaveStop, "stop after the running steps"),
];

/// An operation with its steps, as far as they are known.
#[derive(Debug, Clone)]
pub struct OperationView {
    /// Which.
    pub uid: Uid,
    /// What is known.
    pub detail: Option<OperationDetail>,
    /// The first line shown.
    pub scroll: u16,
}
