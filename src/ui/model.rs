//! Everything drawable. Only `update` changes it.

use std::collections::{BTreeMap, VecDeque};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use tui_input::Input;

use crate::domain::{
    Catalogue, Counts, Filter, Host, Lane, List, Operation, OperationDetail, Resource, ResourceId,
    ResourceKind, Rows, Sort, State, Subject, Uid,
};

use super::confirm::Confirm;
use super::console::Console;
use super::flight::Flight;
use super::form::Form;
use super::keymap::{Key, Keymap};
use super::palette::Palette;

/// The lists, in the order of their tabs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tab {
    /// Virtual machines.
    #[default]
    Vms,
    /// Disks.
    Disks,
    /// Scheduled tasks.
    Tasks,
    /// Encodings.
    Encodings,
    /// Operations of every kind and state.
    Operations,
    /// Operating system images.
    Images,
}

impl Tab {
    /// Every tab, in order.
    pub const ALL: [Self; 6] =
        [Self::Vms, Self::Disks, Self::Tasks, Self::Encodings, Self::Operations, Self::Images];

    /// What stands on it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Vms => "VMs",
            Self::Disks => "Disks",
            Self::Tasks => "Tasks",
            Self::Encodings => "Encodings",
            Self::Operations => "Operations",
            Self::Images => "Images",
        }
    }

    /// The kind of resource it lists; `None` for operations.
    #[must_use]
    pub const fn resource(self) -> Option<ResourceKind> {
        match self {
            Self::Vms => Some(ResourceKind::Vm),
            Self::Disks => Some(ResourceKind::Disk),
            Self::Tasks => Some(ResourceKind::Task),
            Self::Encodings => Some(ResourceKind::Encoding),
            Self::Operations => None,
            Self::Images => Some(ResourceKind::Image),
        }
    }

    /// The tab that lists a kind of resource.
    #[must_use]
    pub const fn of(kind: ResourceKind) -> Self {
        match kind {
            ResourceKind::Vm => Self::Vms,
            ResourceKind::Disk => Self::Disks,
            ResourceKind::Task => Self::Tasks,
            ResourceKind::Encoding => Self::Encodings,
            ResourceKind::Image => Self::Images,
        }
    }

    /// What its list is of, for the backend.
    #[must_use]
    pub fn subject(self) -> Subject {
        self.resource().map_or(Subject::Operations, Subject::Resources)
    }

    /// The names of the columns filters and sorting know.
    #[must_use]
    pub fn columns(self) -> Vec<&'static str> {
        self.resource().map_or_else(|| Operation::COLUMNS.to_vec(), Resource::columns)
    }

    /// Its place among the tabs, from 0.
    #[must_use]
    pub fn place(self) -> usize {
        Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0)
    }

    /// The tab `by` places further, around the end.
    #[must_use]
    pub fn step(self, by: usize) -> Self {
        Self::ALL[(self.place() + by) % Self::ALL.len()]
    }
}

/// A row of a list.
#[derive(Debug, Clone, Copy)]
pub enum Row<'a> {
    /// A resource.
    Resource(&'a Resource),
    /// An operation.
    Operation(&'a Operation),
}

impl<'a> Row<'a> {
    /// Its number within its list.
    #[must_use]
    pub fn id(self) -> u64 {
        match self {
            Self::Resource(resource) => resource.id().id,
            Self::Operation(operation) => operation.uid.0,
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Resource(resource) => resource.name().to_owned(),
            Self::Operation(operation) => operation.uid.to_string(),
        }
    }

    /// It, if it is a resource.
    #[must_use]
    pub const fn resource(self) -> Option<&'a Resource> {
        match self {
            Self::Resource(resource) => Some(resource),
            Self::Operation(_) => None,
        }
    }
}

/// One list: a window onto rows the backend has, and where the operator is in it.
#[derive(Debug, Clone)]
pub struct Pane {
    /// Which list.
    pub tab: Tab,
    /// How many rows match in all.
    pub total: u64,
    /// The place of the first row at hand.
    pub offset: u64,
    /// The rows at hand.
    pub rows: Rows,
    /// Whether the backend has answered at all.
    pub loaded: bool,
    /// The number of the selected row: the selection stays on it wherever it moves to.
    pub selected: Option<u64>,
    /// The place of the selected row.
    pub cursor: u64,
    /// The place of the first row on the screen.
    pub top: u64,
    /// What the filter lets through.
    pub filter: Filter,
    /// The filter as written.
    pub filter_text: String,
    /// The order, when it is not the usual one.
    pub sort: Option<Sort>,
    /// Marked rows and their names.
    pub marks: BTreeMap<u64, String>,
    /// Where a range of marks was begun.
    pub range: Option<u64>,
    /// Whether a query is under way.
    pub asking: bool,
    /// Whether to ask again: now or, after events, when it is due.
    pub stale: bool,
    /// When it was last asked for.
    pub asked_at: Timestamp,
}

impl Pane {
    /// A list nothing is known of yet.
    #[must_use]
    pub fn new(tab: Tab) -> Self {
        Self {
            tab,
            total: 0,
            offset: 0,
            rows: if tab == Tab::Operations {
                Rows::Operations(Vec::new())
            } else {
                Rows::Resources(Vec::new())
            },
            loaded: false,
            selected: None,
            cursor: 0,
            top: 0,
            filter: Filter::default(),
            filter_text: String::new(),
            sort: None,
            marks: BTreeMap::new(),
            range: None,
            asking: false,
            stale: false,
            asked_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// How many rows are at hand.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Resources(rows) => rows.len(),
            Rows::Operations(rows) => rows.len(),
        }
    }

    /// Whether no row is at hand.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row at a place of the whole list, if it is at hand.
    #[must_use]
    pub fn row(&self, place: u64) -> Option<Row<'_>> {
        let at = usize::try_from(place.checked_sub(self.offset)?).ok()?;
        match &self.rows {
            Rows::Resources(rows) => rows.get(at).map(Row::Resource),
            Rows::Operations(rows) => rows.get(at).map(Row::Operation),
        }
    }

    /// The rows at hand with their places.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Row<'_>)> {
        (self.offset..self.offset + self.len() as u64)
            .filter_map(|place| Some((place, self.row(place)?)))
    }

    /// The selected row.
    #[must_use]
    pub fn current(&self) -> Option<Row<'_>> {
        self.row(self.cursor)
    }

    /// The question for the window around the cursor, `height` rows being on the screen.
    #[must_use]
    pub fn question(&self, height: u16) -> List {
        let height = u64::from(height.max(1));
        List {
            of: self.tab.subject(),
            filter: self.filter.clone(),
            sort: self.sort.clone(),
            offset: self.top.saturating_sub(height),
            limit: u32::try_from(height * 3).unwrap_or(u32::MAX),
            around: self.selected,
        }
    }
}

/// Where the keys go when no window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Focus {
    /// To the list.
    #[default]
    List,
    /// To what is in flight.
    Flight,
}

/// A window over the lists. The last one has the keys.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // There are two or three at a time.
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
pub const QUIT_CHOICES: [(&str, &str); 3] = [
    ("b", "go on in the background"),
    ("w", "wait: stay here"),
    ("s", "stop after the running steps"),
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

/// How a message is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It went well.
    Good,
    /// It is worth knowing.
    Plain,
    /// It failed.
    Bad,
}

/// A sentence shown for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
    /// When it goes.
    pub until: Timestamp,
}

/// What is remembered from one start to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Choices {
    /// The tab that was open.
    pub tab: Tab,
    /// How tabs were sorted.
    pub sort: BTreeMap<Tab, Sort>,
}

/// How many points a small plot keeps.
pub const PLOT_POINTS: usize = 40;

/// Everything drawable.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own, not a state machine.
pub struct Model {
    /// The terminal's size in columns and rows.
    pub size: (u16, u16),
    /// The time, as last told.
    pub now: Timestamp,
    /// The operator's time zone.
    pub zone: TimeZone,
    /// What the backend offers.
    pub catalogue: Catalogue,
    /// Which keys do what.
    pub keymap: Keymap,
    /// Nothing may be asked for.
    pub read_only: bool,
    /// The backend lives in this process, so leaving has consequences.
    pub embedded: bool,
    /// Who asks, in requests.
    pub actor: String,
    /// The box, once known.
    pub host: Option<Host>,
    /// The box's processor use, newest last.
    pub cpu: VecDeque<f32>,
    /// How many there are of everything.
    pub counts: Option<Counts>,
    /// The lanes.
    pub lanes: Vec<Lane>,
    /// What is in flight.
    pub flight: Flight,
    /// The lists.
    pub panes: [Pane; 6],
    /// The open tab.
    pub tab: Tab,
    /// Where the keys go.
    pub focus: Focus,
    /// The windows, the front one last.
    pub modals: Vec<Modal>,
    /// The steps of the operation selected in its list.
    pub beside: Option<OperationView>,
    /// Names of resources shown only by number; bounded.
    pub names: BTreeMap<ResourceId, Option<String>>,
    /// Processor use per VM, newest last; bounded.
    pub usage: BTreeMap<u64, VecDeque<f32>>,
    /// What is told at the bottom.
    pub message: Option<Message>,
    /// The connection is lost, and why.
    pub lost: Option<String>,
    /// Keys of an unfinished sequence.
    pub pending: Vec<Key>,
    /// Operations this console asked for, whose end is told; bounded.
    pub mine: VecDeque<Uid>,
    /// The life and number of the last event.
    pub heard: Option<(u64, u64)>,
    /// Requests made together, whose answers are told together.
    pub batch: Option<Batch>,
    /// What should be asked again as soon as it is due.
    pub stale: Stale,
    /// Numbers forms, so that late answers to old ones are known.
    pub forms: u64,
    /// Whether what is drawn may have changed.
    pub dirty: bool,
}

/// What besides the lists should be asked again, and what is under way.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools)] // Three questions, each wanted or under way.
pub struct Stale {
    /// In flight is wanted.
    pub flight: bool,
    /// In flight is under way.
    pub flight_asking: bool,
    /// The counts are wanted.
    pub counts: bool,
    /// The counts are under way.
    pub counts_asking: bool,
    /// When they were last asked for.
    pub asked_at: Timestamp,
}

/// What a model is made with.
#[derive(Debug)]
pub struct Setup {
    /// The terminal's size in columns and rows.
    pub size: (u16, u16),
    /// The time.
    pub now: Timestamp,
    /// The operator's time zone.
    pub zone: TimeZone,
    /// What the backend offers.
    pub catalogue: Catalogue,
    /// Which keys do what.
    pub keymap: Keymap,
    /// Nothing may be asked for.
    pub read_only: bool,
    /// The backend lives in this process.
    pub embedded: bool,
    /// Who asks.
    pub actor: String,
    /// What is remembered from last time.
    pub choices: Choices,
}

impl Model {
    /// A model nothing is known in yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let Setup { size, now, zone, catalogue, keymap, read_only, embedded, actor, choices } =
            setup;
        let mut panes = Tab::ALL.map(Pane::new);
        for pane in &mut panes {
            pane.sort = choices
                .sort
                .get(&pane.tab)
                .filter(|sort| pane.tab.columns().contains(&sort.column.as_str()))
                .cloned();
        }
        Self {
            size,
            now,
            zone,
            catalogue,
            keymap,
            read_only,
            embedded,
            actor,
            host: None,
            cpu: VecDeque::new(),
            counts: None,
            lanes: Vec::new(),
            flight: Flight::default(),
            panes,
            tab: choices.tab,
            focus: Focus::List,
            modals: Vec::new(),
            beside: None,
            names: BTreeMap::new(),
            usage: BTreeMap::new(),
            message: None,
            lost: None,
            pending: Vec::new(),
            mine: VecDeque::new(),
            heard: None,
            batch: None,
            stale: Stale::default(),
            forms: 0,
            dirty: true,
        }
    }

    /// The open list.
    #[must_use]
    pub fn pane(&self) -> &Pane {
        &self.panes[self.tab.place()]
    }

    /// The open list, to change.
    pub fn pane_mut(&mut self) -> &mut Pane {
        &mut self.panes[self.tab.place()]
    }

    /// The choices worth remembering.
    #[must_use]
    pub fn choices(&self) -> Choices {
        Choices {
            tab: self.tab,
            sort: self
                .panes
                .iter()
                .filter_map(|pane| Some((pane.tab, pane.sort.clone()?)))
                .collect(),
        }
    }

    /// The operation the keys mean: in its own window, in flight, or in its list.
    #[must_use]
    pub fn operation(&self) -> Option<&Operation> {
        match self.modals.last() {
            Some(Modal::Operation(view)) => view
                .detail
                .as_ref()
                .map(|detail| &detail.operation)
                .or_else(|| self.flight.get(view.uid)),
            Some(_) => None,
            None if self.focus == Focus::Flight => self.flight.current(),
            None => match self.pane().current() {
                Some(Row::Operation(operation)) => Some(operation),
                _ => None,
            },
        }
    }

    /// The name of a resource, where it is known.
    #[must_use]
    pub fn name(&self, id: ResourceId) -> String {
        match self.names.get(&id) {
            Some(Some(name)) => name.clone(),
            _ => id.to_string(),
        }
    }

    /// Whether there is nothing here at all: the first start.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.counts
            .as_ref()
            .is_some_and(|counts| counts.resources.iter().all(|(_, number)| *number == 0))
            && self.flight.operations.is_empty()
            && self.pane().filter.is_empty()
            && self.tab != Tab::Operations
    }

    /// When the model wants to be woken, if nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        let second = self.flight.operations.iter().any(|operation| operation.state == State::Run);
        let front = matches!(self.modals.last(), Some(Modal::Console(_)));
        let clock = (second && !front).then(|| self.now + jiff::SignedDuration::from_secs(1));
        let message = self.message.as_ref().map(|message| message.until);
        let asks = self.refresh_at();
        let preview = match self.modals.last() {
            Some(Modal::Form(form)) => form.preview_due,
            _ => None,
        };
        [clock, message, asks, preview].into_iter().flatten().min()
    }

    /// When the next question that events gave rise to is due.
    #[must_use]
    pub fn refresh_at(&self) -> Option<Timestamp> {
        let pane = self.pane();
        let rows = (pane.stale && !pane.asking).then_some(pane.asked_at);
        let others = ((self.stale.flight && !self.stale.flight_asking)
            || (self.stale.counts && !self.stale.counts_asking))
            .then_some(self.stale.asked_at);
        [rows, others].into_iter().flatten().min().map(|at| at.min(self.now) + REFRESH_EVERY)
    }
}

/// Whether a question asked then may be asked again; also when the clock was set back since.
#[must_use]
pub fn is_due(asked_at: Timestamp, now: Timestamp) -> bool {
    asked_at > now || asked_at + REFRESH_EVERY <= now
}

/// How long after a question the next one that events gave rise to may follow.
pub const REFRESH_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_millis(200);

/// Requests made together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// How many answers are awaited.
    pub left: usize,
    /// How many were accepted.
    pub accepted: usize,
    /// Why others were not.
    pub refused: Vec<String>,
}
