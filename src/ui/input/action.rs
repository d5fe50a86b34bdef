//! The one action table: the key map, the footer, the help and the palette are all made from it.
//!
//! An action is either something the console itself does, or an operation kind of the catalogue
//! done to what is selected.

use crate::domain::{Catalogue, Hint, OperationSpec, ResourceKind, Switch};

use crate::ui::tab::Tab;

/// Something a key, the palette or the mouse may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
// Each is described by its row in the table.
pub enum Action {
    Up,
    Down,
    PageUp,
    PageDown,
    HalfUp,
    HalfDown,
    Top,
    Bottom,
    NextTab,
    PreviousTab,
    Tab(Tab),
    Focus,
    Open,
    Back,
    Mark,
    MarkRange,
    MarkAll,
    SortNext,
    SortPrevious,
    Failed,
    Refresh,
    Suspend,
    Quit,
    /// An operation kind, done to what is selected.
    Do(String),
    /// The switch of that name, done to what is selected.
    Switch(String),
    Serial,
    Cancel,
    Relaunch,
    Sooner,
    Later,
    /// An action of a window, by its name in key maps.
    Window(&'static str),
}

impl Action {
    /// Whether it only moves among rows.
    #[must_use]
    pub const fn moves(&self) -> bool {
        matches!(
            self,
            Self::Up
                | Self::Down
                | Self::PageUp
                | Self::PageDown
                | Self::HalfUp
                | Self::HalfDown
                | Self::Top
                | Self::Bottom
        )
    }

    /// Whether it asks for something to be done, which read-only nobody may.
    #[must_use]
    pub const fn asks(&self) -> bool {
        matches!(
            self,
            Self::Do(_)
                | Self::Switch(_)
                | Self::Serial
                | Self::Cancel
                | Self::Relaunch
                | Self::Sooner
                | Self::Later
        )
    }

    /// Opens the line a filter is typed into.
    pub const FILTER: Self = Self::Window("filter");
    /// Opens the help.
    pub const HELP: Self = Self::Window("help");
    /// Opens the palette.
    pub const PALETTE: Self = Self::Window("palette");
}

/// Where an action makes sense. Two actions may share a key only where they cannot meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// On the lists and in every window that only shows something.
    Everywhere,
    /// With the keys in the list of this tab.
    Tab(Tab),
    /// With an operation selected, in its list, in flight or in its own window, or a row that one
    /// is happening to.
    Operation,
    /// In a window in which the keys that work everywhere do too; what the help calls that.
    Window(&'static str),
    /// In a window whose other keys are text, or mean nothing; what the help calls that.
    Alone(&'static str),
}

impl Scope {
    /// Whether it is a window of its own, so that its actions mean nothing outside.
    #[must_use]
    pub const fn is_window(self) -> bool {
        matches!(self, Self::Window(_) | Self::Alone(_))
    }

    /// Whether keys of both scopes can be meant at the same moment.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        let main = |scope| !matches!(scope, Self::Alone(_));
        self == other
            || (self == Self::Everywhere && main(other))
            || (other == Self::Everywhere && main(self))
            // A row of any list may have an operation happening to it.
            || matches!(
                (self, other),
                (Self::Operation, Self::Tab(_)) | (Self::Tab(_), Self::Operation)
            )
    }
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionEntry {
    /// The action.
    pub action: Action,
    /// Its name in key maps.
    pub name: String,
    /// What the footer calls it, in a word or two.
    pub title: String,
    /// What it does, in a sentence.
    pub doc: String,
    /// Where it makes sense.
    pub scopes: Vec<Scope>,
    /// Its place in the footer, from 1; 0 keeps it out.
    pub footer: u8,
    /// Its keys where no key map names it. One that is taken already is left to whom it has.
    pub keys: Vec<String>,
}

/// Action, name, footer title, what it does, where, place in the footer.
pub type ActionRow = (Action, &'static str, &'static str, &'static str, Scope, u8);

/// What the lists themselves do.
const LISTS: &[ActionRow] = {
    use Action as A;
    use Scope::Everywhere as E;
    &[
        (A::Up, "up", "up", "Go up a row.", E, 0),
        (A::Down, "down", "down", "Go down a row.", E, 0),
        (A::PageUp, "page_up", "page up", "Go up a page.", E, 0),
        (A::PageDown, "page_down", "page down", "Go down a page.", E, 0),
        (A::HalfUp, "half_up", "half up", "Go up half a page.", E, 0),
        (A::HalfDown, "half_down", "half down", "Go down half a page.", E, 0),
        (A::Top, "top", "top", "Go to the first row.", E, 0),
        (A::Bottom, "bottom", "bottom", "Go to the last row.", E, 0),
        (A::PreviousTab, "previous_tab", "left", "Go to the tab on the left.", E, 0),
        (A::NextTab, "next_tab", "right", "Go to the tab on the right.", E, 0),
        (
            A::Focus,
            "focus",
            "in flight",
            "Move the keys between the list and what is in flight.",
            E,
            60,
        ),
        (A::Open, "open", "open", "Show everything about what is selected.", E, 0),
        (A::Back, "back", "back", "Close the window, or clear marks and filter.", E, 0),
        (
            A::Mark,
            "mark",
            "mark",
            "Mark the row of the list, for doing something to many at once.",
            E,
            50,
        ),
        (
            A::MarkRange,
            "mark_range",
            "range",
            "Mark every row from here to where it is pressed again.",
            E,
            0,
        ),
        (A::MarkAll, "mark_all", "mark all", "Mark every row the filter lets through.", E, 0),
    ]
};

/// What is done to what is selected, wherever it is shown, and to the console as a whole.
const OTHERS: &[ActionRow] = {
    use Action as A;
    use Scope::{Everywhere as E, Operation as O};
    &[
        (
            A::Failed,
            "failed",
            "failed",
            "Go to the next that needs a person: what failed, crashed or did not fire.",
            E,
            79,
        ),
        (
            A::Refresh,
            "refresh",
            "refresh",
            "Ask for everything again and draw the screen anew.",
            E,
            0,
        ),
        (
            A::Suspend,
            "suspend",
            "suspend",
            "Stop the console; the shell's fg brings it back.",
            E,
            0,
        ),
        (A::Quit, "quit", "quit", "Leave the console.", E, 83),
        (A::Cancel, "cancel", "cancel", "Call the operation off and undo what it did.", O, 10),
        (
            A::Relaunch,
            "relaunch",
            "relaunch",
            "Change a failed operation and queue it again.",
            O,
            11,
        ),
        (A::Sooner, "sooner", "sooner", "Raise the priority of a waiting operation.", O, 12),
        (A::Later, "later", "later", "Lower the priority of a waiting operation.", O, 13),
    ]
};

/// Returns the table: the actions of the lists and of these windows, then every kind of the
/// catalogue.
#[must_use]
pub fn table(windows: &[&ActionRow], catalogue: &Catalogue) -> Vec<ActionEntry> {
    let own = LISTS.iter().chain(windows.iter().copied()).chain(OTHERS);
    let own = own.map(|(action, name, title, doc, scope, footer)| ActionEntry {
        action: action.clone(),
        name: (*name).to_owned(),
        title: (*title).to_owned(),
        doc: (*doc).to_owned(),
        scopes: vec![*scope],
        footer: *footer,
        keys: Vec::new(),
    });
    let mut entries: Vec<ActionEntry> = own.collect();
    let place = entries.iter().position(|entry| entry.action == Action::NextTab);
    let place = place.map_or(entries.len(), |place| place + 1);
    entries.splice(place..place, Tab::all(catalogue).into_iter().enumerate().map(tab));
    for kind in catalogue.resources() {
        entries.extend(kind.spec().switches.iter().map(|it| switch(*kind, it)));
    }
    entries.extend(serial(catalogue));
    entries.extend(catalogue.iter().map(operation));
    entries
}

/// Opens a tab, by its number as far as there is one key for that.
fn tab((place, tab): (usize, Tab)) -> ActionEntry {
    let doc = match tab {
        Tab::Resources(kind) => &kind.spec().doc,
        Tab::Operations => "operations",
    };
    ActionEntry {
        action: Action::Tab(tab),
        name: tab.subject().plural().to_owned(),
        title: tab.many().to_owned(),
        doc: format!("Go to the {doc}."),
        scopes: vec![Scope::Everywhere],
        footer: 0,
        keys: (place < 9).then(|| (place + 1).to_string()).into_iter().collect(),
    }
}

fn switch(of: ResourceKind, switch: &Switch) -> ActionEntry {
    ActionEntry {
        action: Action::Switch(switch.name.to_string()),
        name: switch.name.to_string(),
        title: switch.title.to_string(),
        doc: switch.doc.to_string(),
        scopes: vec![Scope::Tab(Tab::Resources(of))],
        footer: switch.rank,
        keys: switch.keys.iter().map(ToString::to_string).collect(),
    }
}

/// The serial console of what has one.
fn serial(catalogue: &Catalogue) -> Option<ActionEntry> {
    let kinds = catalogue.resources().iter().filter(|kind| !kind.spec().serial.is_empty());
    let scopes: Vec<_> = kinds.map(|kind| Scope::Tab(Tab::Resources(*kind))).collect();
    (!scopes.is_empty()).then(|| ActionEntry {
        action: Action::Serial,
        name: "serial".to_owned(),
        title: "serial".to_owned(),
        doc: "Open the guest's serial console.".to_owned(),
        scopes,
        footer: 14,
        keys: vec!["c".to_owned()],
    })
}

fn operation(spec: &OperationSpec) -> ActionEntry {
    let on = spec.resource.iter().chain(&spec.offered_on);
    let mut scopes: Vec<Scope> = on.map(|kind| Scope::Tab(Tab::Resources(*kind))).collect();
    if scopes.is_empty() {
        scopes.push(Scope::Everywhere);
    }
    let Hint { title, keys, rank, .. } = &spec.hint;
    ActionEntry {
        action: Action::Do(spec.kind.to_string()),
        name: spec.kind.to_string(),
        title: if title.is_empty() { spec.title.to_lowercase() } else { title.to_string() },
        doc: spec.doc.to_string(),
        scopes,
        footer: *rank,
        keys: keys.iter().map(ToString::to_string).collect(),
    }
}
