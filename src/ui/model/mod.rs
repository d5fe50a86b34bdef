//! Everything drawable. Only `update` changes it.

use std::collections::{BTreeMap, VecDeque};

use crate::domain::{
    Catalogue, Counts, Filter, Host, Lane, Misread, Operation, OperationDetail, Resource,
    ResourceId, Sort, Timeline, Uid,
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::ui::input::action::Scope;
use crate::ui::input::keymap::{Key, Keymap};
use crate::ui::tab::Tab;

pub mod in_flight;
pub mod layout;
pub mod notification;
mod pane;
pub mod refresh;
mod requests;
pub mod special;
mod subjects;

use self::in_flight::{Flight, held};
use self::notification::{Notification, Severity};
use self::refresh::Refresh;

pub use pane::{MarkedRow, Pane, Row};
pub use requests::{Batch, Request};
pub use subjects::{Owner, Subjects};

/// Where the keys go when no window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Focus {
    /// To the list.
    #[default]
    List,
    /// To what is in flight.
    Flight,
}

/// What stands in front, as far as the lists behind it and the keys need to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Front {
    /// The lists: no window is open.
    #[default]
    Lists,
    /// The selected row, in a window of its own.
    Row,
    /// An operation, in a window of its own.
    Operation(Uid),
    /// The line in which a filter is being typed, and what is typed so far.
    Filter(String),
    /// Another window, in which keys mean nothing behind it.
    Other,
}

/// What is remembered from one start to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    /// The tab that was open.
    pub tab: Tab,
    /// How tabs were sorted.
    pub sort: BTreeMap<Tab, Sort>,
}

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
    /// What stands in front; kept by whoever opens and closes windows.
    pub front: Front,
    /// The operation shown beside the list.
    pub beside: Option<Uid>,
    /// The operations that are shown with their steps; `None` until these are known.
    pub details: BTreeMap<Uid, Option<OperationDetail>>,
    /// Names of resources shown only by number; bounded.
    pub names: BTreeMap<ResourceId, Option<String>>,
    /// Processor use per VM, newest last; bounded.
    pub usage: BTreeMap<u64, VecDeque<f32>>,
    /// When tasks fire; known once their list was opened.
    pub timeline: Option<Timeline>,
    /// What is told at the bottom.
    pub notification: Option<Notification>,
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
    /// When what is in flight is asked for again.
    pub flight_refresh: Refresh,
    /// When the counts are asked for again.
    pub counts_refresh: Refresh,
    /// When the timeline is asked for again, while it is looked at.
    pub timeline_refresh: Refresh,
    /// Numbers forms and questions, so that late answers to old ones are known.
    pub forms: u64,
    /// Whether what is drawn may have changed.
    pub dirty: bool,
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
    pub preferences: Preferences,
}

impl Model {
    /// A model nothing is known in yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let Setup { size, now, zone, catalogue, keymap, read_only, embedded, actor, preferences } =
            setup;
        let mut panes: Vec<Pane> = Tab::all(&catalogue).into_iter().map(Pane::new).collect();
        let is_there = panes.iter().any(|pane| pane.tab == preferences.tab);
        let tab = if is_there { preferences.tab } else { panes[0].tab };
        for pane in &mut panes {
            pane.sort = preferences
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
            front: Front::Lists,
            beside: None,
            details: BTreeMap::new(),
            names: BTreeMap::new(),
            usage: BTreeMap::new(),
            timeline: None,
            notification: None,
            lost: None,
            pending: Vec::new(),
            mine: VecDeque::new(),
            heard: None,
            batches: Vec::new(),
            flight_refresh: Refresh::on_demand(),
            counts_refresh: Refresh::on_demand(),
            timeline_refresh: Refresh::every(TIMELINE_HOLDS),
            forms: 0,
            dirty: true,
        }
    }

    /// Begins with a backend, which lives in this process (`embedded`) or not.
    pub fn begin(&mut self, embedded: bool) {
        self.embedded = embedded;
        if embedded && self.read_only {
            let text = "no backend ran, so this console has its own: while it is open, tasks fire";
            self.notify(Severity::Info, text);
        }
    }

    /// Whether leaving asks first what is to become of what is in flight. Who may ask for nothing
    /// has no say in that: it goes on in the background.
    #[must_use]
    pub const fn asks_before_leaving(&self) -> bool {
        self.embedded && !self.read_only && self.flight.running + self.flight.waiting > 0
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
        matches!(&self.front, Front::Filter(typed) if self.misread(typed).is_some())
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

    /// Returns what is worth remembering.
    #[must_use]
    pub fn preferences(&self) -> Preferences {
        Preferences {
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
        match &self.front {
            Front::Operation(uid) => match self.details.get(uid) {
                Some(Some(detail)) => Some(&detail.operation),
                _ => self.flight.get(*uid),
            },
            Front::Lists if self.focus == Focus::Flight => self.flight.current(),
            Front::Lists | Front::Row => match self.pane().current()? {
                Row::Operation(operation) => Some(operation),
                Row::Resource(resource) => self
                    .flight
                    .touching(resource.id(), resource.name())
                    .or_else(|| self.flight.failed_on(resource.id())),
            },
            Front::Filter(_) | Front::Other => None,
        }
    }

    /// Returns where keys are looked up while no window is open.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        match self.focus {
            Focus::Flight => vec![Scope::Everywhere, Scope::Operation],
            Focus::List => vec![Scope::Everywhere, Scope::Operation, Scope::Tab(self.tab)],
        }
    }

    /// Whether keys are meant for the marked rows of the list.
    #[must_use]
    pub fn means_marks(&self) -> bool {
        self.focus == Focus::List && self.front == Front::Lists && !self.pane().marks.is_empty()
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

    /// Returns when the next question is due.
    #[must_use]
    pub fn refresh_at(&self) -> Option<Timestamp> {
        let timeline = Some(&self.timeline_refresh).filter(|_| self.shows_timeline());
        [
            Some(&self.pane().refresh),
            Some(&self.flight_refresh),
            Some(&self.counts_refresh),
            timeline,
        ]
        .into_iter()
        .flatten()
        .filter_map(|refresh| refresh.due_at(self.now))
        .min()
    }

    /// Whether the list has a timeline under it, so that it is to be asked for.
    #[must_use]
    pub fn shows_timeline(&self) -> bool {
        self.tab == Tab::Resources(special::TIMELINE)
    }

    /// Tells something at the bottom for a while.
    pub fn notify(&mut self, severity: Severity, text: impl Into<String>) {
        self.notification = Some(Notification::new(severity, text.into(), self.now));
    }

    /// Tells what nobody pressed a key for, unless an error is still being read.
    pub fn notify_aside(&mut self, severity: Severity, text: impl Into<String>) {
        let is_read = |it: &Notification| it.severity == Severity::Error && it.until > self.now;
        if !self.notification.as_ref().is_some_and(is_read) {
            self.notify(severity, text);
        }
    }

    /// Whether nothing may be asked for; says so.
    pub fn refuses(&mut self) -> bool {
        if self.read_only {
            let text = "read-only: everything can be seen, nothing can be asked for";
            self.notify(Severity::Error, text);
        }
        self.read_only
    }
}

/// How long a timeline is shown before it is moved on, where no event tells that it changed. The
/// shortest cell is as long.
const TIMELINE_HOLDS: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);
