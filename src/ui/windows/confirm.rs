//! The question before something dangerous, as risky as its catalogue entry says.

use tui_input::Input;

use crate::domain::{Control, OperationSpec, Risk, Submit};

/// What must be answered before it goes on.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Yes or no; no is preselected.
    YesNo {
        /// Whether yes is selected.
        yes: bool,
    },
    /// The word must be typed.
    Type {
        /// The word.
        word: String,
        /// What is typed so far.
        input: Input,
    },
}

/// What happens once it is confirmed.
#[derive(Debug, Clone)]
pub enum Then {
    /// Request these.
    Submit(Vec<Submit>),
    /// Change these.
    Control(Vec<Control>),
}

/// What is at stake: how dangerous it is, and what is lost.
#[derive(Debug, Clone)]
pub struct Stakes {
    /// How dangerous.
    pub risk: Risk,
    /// What is lost.
    pub warning: String,
}

/// A question before something dangerous.
#[derive(Debug, Clone)]
pub struct Confirm {
    /// What would be done: `Stop web-3`.
    pub title: String,
    /// What is lost.
    pub warning: String,
    /// What it would be done to, when it is more than one.
    pub things: Vec<String>,
    /// What must be answered.
    pub ask: Ask,
    /// What happens then.
    pub then: Then,
    /// The kind whose form can be opened instead, to change how it is done.
    pub form: Option<String>,
}

impl Confirm {
    /// The question a kind of operation asks for when it is done to these things; `None` when it
    /// may go on without one. `unseen`: it is not done to what is selected, so that it is asked
    /// whether this is what is meant.
    #[must_use]
    pub fn needed(
        spec: &OperationSpec,
        stakes: Stakes,
        things: Vec<String>,
        submits: Vec<Submit>,
        unseen: bool,
    ) -> Option<Self> {
        let many = things.len() > 1;
        let ask = match stakes.risk {
            Risk::None if !many && !unseen => return None,
            Risk::None | Risk::Disruptive | Risk::OfTask => Ask::YesNo { yes: false },
            Risk::Destructive => {
                let word = match things.as_slice() {
                    [only] => only.clone(),
                    many => many.len().to_string(),
                };
                Ask::Type { word, input: Input::default() }
            }
        };
        let title = match things.as_slice() {
            [] => spec.title.to_string(),
            [only] if unseen => format!("{} {only}, which is marked", spec.title),
            [only] => format!("{} {only}", spec.title),
            many => format!("{} these {}", spec.title, many.len()),
        };
        Some(Self {
            title,
            warning: stakes.warning,
            things: if many { things } else { Vec::new() },
            ask,
            then: Then::Submit(submits),
            form: None,
        })
    }

    /// Whether what is typed is what must be typed, or yes is selected.
    #[must_use]
    pub fn is_given(&self) -> bool {
        match &self.ask {
            Ask::YesNo { yes } => *yes,
            Ask::Type { word, input } => input.value().trim() == word,
        }
    }
}
