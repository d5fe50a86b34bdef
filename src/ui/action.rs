//! The one action table: the key map, the footer, the help and the palette are all made from it.
//!
//! An action is either something the console itself does, or an operation kind of the catalogue
//! done to what is selected.

use crate::domain::{Catalogue, Hint, OperationSpec, ResourceKind, Switch};

use super::model::Tab;

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
    Filter,
    Sort,
    SortNext,
    SortPrevious,
    Palette,
    Help,
    Doctor,
    Lanes,
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
    FormNext,
    FormPrevious,
    FormSubmit,
    FormAdvanced,
    FormReveal,
    FormAdd,
    FormRemove,
    FormUp,
    FormDown,
    ConsoleLeave,
    ConsoleUp,
    ConsoleDown,
    LanePause,
    LaneResume,
    LaneDrain,
    LaneWiden,
    LaneNarrow,
    SortClear,
    AnswerYes,
    AnswerNo,
    AnswerOther,
    AnswerSelected,
    AnswerOptions,
    LeaveBackground,
    LeaveWait,
    LeaveStop,
    SearchUp,
    SearchDown,
    SearchPageUp,
    SearchPageDown,
    SearchTake,
    SearchClose,
    SearchClear,
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
    /// In a form.
    Form,
    /// In a guest's serial console, where every other key goes to the guest.
    Console,
    /// In the lanes.
    Lanes,
    /// In the columns to sort by.
    Sort,
    /// In the question about work in flight.
    Leave,
    /// In a question that is answered with yes or no.
    Question,
    /// Where something is searched for or typed, and every other key is text.
    Search,
}

impl Scope {
    /// Whether it is a window of its own, so that its actions mean nothing outside.
    #[must_use]
    pub const fn is_window(self) -> bool {
        !matches!(self, Self::Everywhere | Self::Tab(_) | Self::Operation)
    }

    /// Whether keys of both scopes can be meant at the same moment.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        let main =
            |scope| !matches!(scope, Self::Form | Self::Console | Self::Question | Self::Search);
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
pub struct Entry {
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

/// Name, footer title, what it does, where, place in the footer.
type Row = (Action, &'static str, &'static str, &'static str, Scope, u8);

/// What the console itself does.
const OWN: &[Row] = {
    use Action as A;
    use Scope::{
        Console, Everywhere as E, Form, Lanes, Leave, Operation as O, Question, Search, Sort,
    };
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
        (A::Mark, "mark", "mark", "Mark the row, for doing something to many at once.", E, 50),
        (
            A::MarkRange,
            "mark_range",
            "range",
            "Mark every row from here to where it is pressed again.",
            E,
            0,
        ),
        (A::MarkAll, "mark_all", "mark all", "Mark every row the filter lets through.", E, 0),
        (
            A::Filter,
            "filter",
            "filter",
            "Show only some rows: words, column:value, !=, ~, > or <, age<2h; - turns a term \
             around.",
            E,
            80,
        ),
        (A::Sort, "sort", "sort", "Choose the column to sort by.", E, 0),
        (A::SortPrevious, "sort_previous", "sort left", "Sort by the column before.", E, 0),
        (A::SortNext, "sort_next", "sort right", "Sort by the next column.", E, 0),
        (
            A::Palette,
            "palette",
            "commands",
            "Find any action, thing or operation by its name.",
            E,
            81,
        ),
        (A::Help, "help", "help", "Show every key.", E, 82),
        (
            A::Doctor,
            "doctor",
            "doctor",
            "Show what this box can and cannot do, and how to mend it.",
            E,
            0,
        ),
        (A::Lanes, "lanes", "lanes", "Pause, drain or widen what runs at once.", E, 0),
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
        (A::FormNext, "form_next", "next", "Go to the next field.", Form, 2),
        (A::FormPrevious, "form_previous", "previous", "Go to the field before.", Form, 0),
        (A::FormSubmit, "form_submit", "submit", "Queue it.", Form, 1),
        (
            A::FormAdvanced,
            "form_advanced",
            "more fields",
            "Show or hide the fields rarely needed.",
            Form,
            7,
        ),
        (
            A::FormReveal,
            "form_reveal",
            "look",
            "Show or mask what is typed into a secret field.",
            Form,
            8,
        ),
        (A::FormAdd, "form_add", "add", "Add an item to the list.", Form, 3),
        (A::FormRemove, "form_remove", "remove", "Take the item out of its list.", Form, 4),
        (A::FormUp, "form_up", "up", "Move the item up in its list.", Form, 5),
        (A::FormDown, "form_down", "down", "Move the item down in its list.", Form, 6),
        (
            A::ConsoleLeave,
            "console_leave",
            "leave",
            "Leave the serial console; the guest goes on.",
            Console,
            1,
        ),
        (A::ConsoleUp, "console_up", "scroll up", "Look at what scrolled away.", Console, 2),
        (A::ConsoleDown, "console_down", "scroll down", "Scroll back down.", Console, 0),
        (A::LanePause, "lane_pause", "pause", "Pause the lane, or let it go on.", Lanes, 0),
        (A::LaneResume, "lane_resume", "resume", "Let the lane go on.", Lanes, 0),
        (
            A::LaneDrain,
            "lane_drain",
            "drain",
            "Start nothing more in the lane; it is paused once nothing runs.",
            Lanes,
            0,
        ),
        (A::LaneWiden, "lane_widen", "wider", "Let one more run at once.", Lanes, 0),
        (A::LaneNarrow, "lane_narrow", "narrower", "Let one less run at once.", Lanes, 0),
        (A::SortClear, "sort_clear", "usual order", "Take the usual order.", Sort, 0),
        (
            A::LeaveBackground,
            "leave_background",
            "background",
            "Leave; the work goes on in the background.",
            Leave,
            0,
        ),
        (A::LeaveWait, "leave_wait", "wait", "Stay here.", Leave, 0),
        (A::LeaveStop, "leave_stop", "stop", "Leave once the running steps have ended.", Leave, 0),
        (A::AnswerYes, "answer_yes", "yes", "Yes.", Question, 0),
        (A::AnswerNo, "answer_no", "no", "No.", Question, 0),
        (A::AnswerOther, "answer_other", "other", "Select the other answer.", Question, 0),
        (A::AnswerSelected, "answer_selected", "take", "Give the selected answer.", Question, 0),
        (A::AnswerOptions, "answer_options", "options", "Change how it is done.", Question, 0),
        (A::SearchUp, "search_up", "up", "Go up a row.", Search, 0),
        (A::SearchDown, "search_down", "down", "Go down a row.", Search, 0),
        (A::SearchPageUp, "search_page_up", "page up", "Go up a page.", Search, 0),
        (A::SearchPageDown, "search_page_down", "page down", "Go down a page.", Search, 0),
        (A::SearchTake, "search_take", "take", "Take what is selected or typed.", Search, 0),
        (A::SearchClose, "search_close", "close", "Close, and leave all as it was.", Search, 0),
        (A::SearchClear, "search_clear", "clear", "Close, and take the filter away.", Search, 0),
    ]
};

/// Whether a name is one of what the console itself does.
#[must_use]
pub fn is_own(name: &str) -> bool {
    OWN.iter().any(|row| row.1 == name)
}

/// The table: the console's own actions, what goes with the kinds of resources, then every kind of
/// operation.
#[must_use]
pub fn table(catalogue: &Catalogue) -> Vec<Entry> {
    let own = OWN.iter().map(|(action, name, title, doc, scope, footer)| Entry {
        action: action.clone(),
        name: (*name).to_owned(),
        title: (*title).to_owned(),
        doc: (*doc).to_owned(),
        scopes: vec![*scope],
        footer: *footer,
        keys: Vec::new(),
    });
    let mut entries: Vec<Entry> = own.collect();
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
fn tab((place, tab): (usize, Tab)) -> Entry {
    let doc = match tab {
        Tab::Resources(kind) => &kind.spec().doc,
        Tab::Operations => "operations",
    };
    Entry {
        action: Action::Tab(tab),
        name: tab.subject().plural().to_owned(),
        title: tab.many().to_owned(),
        doc: format!("Go to the {doc}."),
        scopes: vec![Scope::Everywhere],
        footer: 0,
        keys: (place < 9).then(|| (place + 1).to_string()).into_iter().collect(),
    }
}

fn switch(of: ResourceKind, switch: &Switch) -> Entry {
    Entry {
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
fn serial(catalogue: &Catalogue) -> Option<Entry> {
    let kinds = catalogue.resources().iter().filter(|kind| !kind.spec().serial.is_empty());
    let scopes: Vec<_> = kinds.map(|kind| Scope::Tab(Tab::Resources(*kind))).collect();
    (!scopes.is_empty()).then(|| Entry {
        action: Action::Serial,
        name: "serial".to_owned(),
        title: "serial".to_owned(),
        doc: "Open the guest's serial console.".to_owned(),
        scopes,
        footer: 14,
        keys: vec!["c".to_owned()],
    })
}

fn operation(spec: &OperationSpec) -> Entry {
    let on = std::iter::once(&spec.resource).chain(&spec.offered_on);
    let Hint { title, keys, rank, .. } = &spec.hint;
    Entry {
        action: Action::Do(spec.kind.to_string()),
        name: spec.kind.to_string(),
        title: if title.is_empty() { spec.title.to_lowercase() } else { title.to_string() },
        doc: spec.doc.to_string(),
        scopes: on.map(|kind| Scope::Tab(Tab::Resources(*kind))).collect(),
        footer: *rank,
        keys: keys.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> =
            table(&Catalogue::default()).into_iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
