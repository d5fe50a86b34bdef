//! Everything drawable. Only `update` changes it.

use std::collections::{BTreeMap, VecDeque};

use crate::domain::{
    Catalogue, Control, Counts, Filter, Host, Lane, Misread, Operation, Resource, ResourceId, Sort,
    State, Submit, Timeline, Uid,
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::flight::{Flight, held};
use super::keymap::{Key, Keymap};
use super::special;

mod modal;
mod pane;
mod tab;

pub use modal::{Modal, OperationView, QUIT_CHOICES};
pub use pane::{Mark, Pane, Row};
pub use tab::Tab;

/// Where the keys go when no window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Focus {
    /// To the list.
    #[default]
    List,
    /// To what is in flight.
    Flight,
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
    pub panes: Vec<Pane>,
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
    /// When tasks fire; known once their list was opened.
    pub timeline: Option<Timeline>,
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
    /// Requests made together, whose answers are told together; those that are under way.
    pub batches: Vec<Batch>,
    /// What should be asked again as soon as it is due.
    pub stale: Stale,
    /// Numbers forms, so that late answers to old ones are known.
    pub forms: u64,
    /// Whether what is drawn may have changed.
    pub dirty: bool,
}

/// What besides the lists should be asked again, and what is under way.
#[derive(Debug, Clone, Default)]
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
    /// The timeline is wanted, as soon as it is looked at.
    pub timeline: bool,
    /// The timeline is under way.
    pub timeline_asking: bool,
    /// When it was last asked for.
    pub timeline_asked_at: Timestamp,
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
        let mut panes: Vec<Pane> = Tab::all(&catalogue).into_iter().map(Pane::new).collect();
        let is_there = panes.iter().any(|pane| pane.tab == choices.tab);
        let tab = if is_there { choices.tab } else { panes[0].tab };
        for pane in &mut panes {
            pane.sort = choices
                .sort
                .get(&pane.tab)
                .filter(|sort| pane.tab.subject().column(&sort.column).is_some())
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
            tab,
            focus: Focus::List,
            modals: Vec::new(),
            beside: None,
            names: BTreeMap::new(),
            usage: BTreeMap::new(),
            timeline: None,
            message: None,
            lost: None,
            pending: Vec::new(),
            mine: VecDeque::new(),
            heard: None,
            batches: Vec::new(),
            stale: Stale::default(),
            forms: 0,
            dirty: true,
        }
    }

    /// The open list.
    #[must_use]
    pub fn pane(&self) -> &Pane {
        &self.panes[self.place(self.tab)]
    }

    /// The open list, to change.
    pub fn pane_mut(&mut self) -> &mut Pane {
        let place = self.place(self.tab);
        &mut self.panes[place]
    }

    /// The place of a tab, from 0; that of the first for one there is not.
    #[must_use]
    pub fn place(&self, tab: Tab) -> usize {
        self.panes.iter().position(|pane| pane.tab == tab).unwrap_or(0)
    }

    /// The tab `by` places further than the open one, around the end.
    #[must_use]
    pub fn tab_after(&self, by: usize) -> Tab {
        self.panes[(self.place(self.tab) + by) % self.panes.len()].tab
    }

    /// The list of a tab, if there is that tab.
    #[must_use]
    pub fn list(&self, tab: Tab) -> Option<&Pane> {
        self.panes.iter().find(|pane| pane.tab == tab)
    }

    /// The list of a tab, to change.
    pub fn list_mut(&mut self, tab: Tab) -> Option<&mut Pane> {
        self.panes.iter_mut().find(|pane| pane.tab == tab)
    }

    /// The moment and the place: what days and ages in filters are meant as of.
    #[must_use]
    pub fn here(&self) -> Zoned {
        self.now.to_zoned(self.zone.clone())
    }

    /// Which part of a filter the open list cannot be filtered by, and why.
    #[must_use]
    pub fn misread(&self, filter: &str) -> Option<Misread> {
        let kinds: Vec<&str> = self.catalogue.iter().map(|spec| &*spec.kind).collect();
        Filter::read(filter, self.tab.subject(), &self.here(), &kinds).err()
    }

    /// Whether what is being typed is no filter, so that the list shows what was understood before.
    #[must_use]
    pub fn is_misread(&self) -> bool {
        matches!(self.modals.last(), Some(Modal::Filter { input, .. })
            if self.misread(input.value()).is_some())
    }

    /// What everything is shown about beside the list: what the keys are on.
    #[must_use]
    pub fn shown(&self) -> Option<Row<'_>> {
        match self.focus {
            Focus::Flight => self.flight.current().map(Row::Operation),
            Focus::List => self.pane().current(),
        }
    }

    /// The marked rows of a list of resources that an operation happens to, waits for or failed on.
    #[must_use]
    pub fn marks_of(&self, operation: &Operation) -> Vec<u64> {
        let marks = &self.pane().marks;
        let Some(kind) = self.tab.resource() else { return Vec::new() };
        let named = |name: &str| marks.iter().find(|(_, mark)| mark.name == name);
        let held = held(operation, &self.catalogue)
            .filter(|(of, _)| *of == kind)
            .filter_map(|(_, value)| value.as_u64().or_else(|| Some(*named(value.as_str()?)?.0)));
        let own = operation.resource.filter(|resource| resource.kind == kind);
        own.map(|resource| resource.id)
            .into_iter()
            .chain(held)
            .filter(|id| marks.contains_key(id))
            .collect()
    }

    /// The operations in flight and failed of the marked rows, each once, in the order they have
    /// in flight.
    #[must_use]
    pub fn marked_operations(&self) -> Vec<&Operation> {
        let operations = self.flight.operations.iter();
        operations.filter(|operation| !self.marks_of(operation).is_empty()).collect()
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

    /// The operation the keys mean: in its own window, in flight, in its list, or the one that is
    /// happening to the selected row.
    #[must_use]
    pub fn operation(&self) -> Option<&Operation> {
        match self.modals.last() {
            Some(Modal::Operation(view)) => view
                .detail
                .as_ref()
                .map(|detail| &detail.operation)
                .or_else(|| self.flight.get(view.uid)),
            None if self.focus == Focus::Flight => self.flight.current(),
            None | Some(Modal::Detail { .. }) => match self.pane().current()? {
                Row::Operation(operation) => Some(operation),
                Row::Resource(resource) => self
                    .flight
                    .touching(resource.id(), resource.name())
                    .or_else(|| self.flight.failed_on(resource.id())),
            },
            Some(_) => None,
        }
    }

    /// Whether keys are meant for the marked rows of the list.
    #[must_use]
    pub fn means_marks(&self) -> bool {
        self.focus == Focus::List && self.modals.is_empty() && !self.pane().marks.is_empty()
    }

    /// The selected guest, where it has a serial console now.
    #[must_use]
    pub fn serial(&self) -> Option<&Resource> {
        let resource = self.pane().current()?.resource()?;
        let serial = &resource.kind().spec().serial;
        serial.iter().any(|state| state == resource.state()).then_some(resource)
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
        let timeline = self.timeline_due();
        let preview = match self.modals.last() {
            Some(Modal::Form(form)) => form.preview_due,
            _ => None,
        };
        [clock, message, asks, timeline, preview].into_iter().flatten().min()
    }

    /// When the timeline is to be asked for; `None` while nobody looks at it or it is under way.
    #[must_use]
    pub fn timeline_due(&self) -> Option<Timestamp> {
        let stale = &self.stale;
        if self.tab != Tab::Resources(special::TIMELINE) || stale.timeline_asking {
            return None;
        }
        // The clock was set back since.
        if stale.timeline_asked_at > self.now {
            return Some(self.now);
        }
        let stays = if stale.timeline { REFRESH_EVERY } else { TIMELINE_STAYS };
        Some(stale.timeline_asked_at + stays)
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

/// How long a timeline is shown before it is moved on, where no event tells that it changed. The
/// shortest cell is as long.
const TIMELINE_STAYS: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// Requests made together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What became of those that were accepted: `queued`.
    pub done: &'static str,
    /// How many were asked for.
    pub asked: usize,
    /// Those whose answer is awaited, in the order they were asked for.
    pub awaited: VecDeque<Request>,
    /// Why those that were refused were.
    pub refused: Vec<String>,
}

/// One of many requests made together.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// For an operation.
    Submit(Submit),
    /// For a change.
    Control(Control),
}
