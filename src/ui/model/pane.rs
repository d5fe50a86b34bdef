//! One list: a window onto rows the backend has, and where the operator is in it.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use jiff::Zoned;

use super::refresh::Refresh;
use crate::domain::{Filter, List, Operation, Params, Resource, Rows, Sort};
use crate::ui::tab::Tab;

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

    /// Its state, by its word.
    #[must_use]
    pub fn state(self) -> &'a str {
        match self {
            Self::Resource(resource) => resource.state(),
            Self::Operation(operation) => operation.state.word(),
        }
    }

    /// It as it is marked.
    #[must_use]
    pub fn mark(self) -> MarkedRow {
        let state = self.state().to_owned();
        match self {
            Self::Resource(resource) => MarkedRow {
                name: resource.name().to_owned(),
                state,
                kind: resource.asks_for().map(|(kind, _)| kind.to_owned()),
                params: resource.asks_for().map(|(_, params)| params.clone()).unwrap_or_default(),
                priority: 0,
                place: 0,
            },
            Self::Operation(operation) => {
                let name = operation.resource_name.as_deref().unwrap_or_default();
                MarkedRow {
                    name: format!("{} {} {name}", operation.uid, operation.kind).trim().to_owned(),
                    state,
                    kind: Some(operation.kind.clone()),
                    params: Params::new(),
                    priority: operation.priority,
                    place: 0,
                }
            }
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

/// A marked row, as far as what is done to many needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedRow {
    /// What it is called in a question.
    pub name: String,
    /// Its state, by its word.
    pub state: String,
    /// The kind of an operation, or the one that a task asks for.
    pub kind: Option<String>,
    /// What a task asks for it with.
    pub params: Params,
    /// The priority of an operation.
    pub priority: i32,
    /// The place it had in its list.
    pub place: u64,
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
    /// Which rows are shown, as it was written and understood.
    pub filter: String,
    /// The order, when it is not the usual one.
    pub sort: Option<Sort>,
    /// Marked rows, as they were when they were marked; see [`Pane::marked`].
    pub marks: BTreeMap<u64, MarkedRow>,
    /// Where a range of marks was begun.
    pub range: Option<u64>,
    /// When its rows are asked for again.
    pub refresh: Refresh,
    /// The filter that its rows were asked for with last.
    pub asked_filter: String,
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
            filter: String::new(),
            sort: None,
            marks: BTreeMap::new(),
            range: None,
            refresh: Refresh::on_demand(),
            asked_filter: String::new(),
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

    /// The row of that number, if it is at hand.
    #[must_use]
    pub fn find(&self, id: u64) -> Option<Row<'_>> {
        self.iter().map(|(_, row)| row).find(|row| row.id() == id)
    }

    /// The rows at hand at these places as they are marked, with their numbers.
    pub fn as_marks(
        &self,
        places: impl RangeBounds<u64>,
    ) -> impl Iterator<Item = (u64, MarkedRow)> {
        let rows = self.iter().filter(move |(place, _)| places.contains(place));
        rows.map(|(place, row)| (row.id(), MarkedRow { place, ..row.mark() }))
    }

    /// The marked rows in the order of the list, as they are now as far as they are at hand.
    #[must_use]
    pub fn marked(&self) -> Vec<(u64, MarkedRow)> {
        let mut marked = self.marks.clone();
        for (id, now) in self.as_marks(..) {
            if let Some(mark) = marked.get_mut(&id) {
                *mark = now;
            }
        }
        let mut marked: Vec<_> = marked.into_iter().collect();
        marked.sort_by_key(|(_, mark)| mark.place);
        marked
    }

    /// Whether the state of any marked row is such, as it is now as far as it is at hand.
    #[must_use]
    pub fn any_marked(&self, is: impl Fn(&str) -> bool) -> bool {
        let now: BTreeMap<u64, &str> =
            self.iter().map(|(_, row)| (row.id(), row.state())).collect();
        self.marks.iter().any(|(id, mark)| is(now.get(id).copied().unwrap_or(&mark.state)))
    }

    /// Whether what is done to the marked rows is done to the selected one and no other.
    #[must_use]
    pub fn marks_are_here(&self) -> bool {
        let here = self.current().map(Row::id);
        self.marks.keys().all(|id| Some(*id) == here)
    }

    /// What the filter lets through; what it says of days and ages is meant as of `now`.
    #[must_use]
    pub fn filter(&self, now: &Zoned) -> Filter {
        // It was understood when it was set; if it no longer is, it must not let all through.
        Filter::parse(&self.filter, self.tab.subject(), now)
            .unwrap_or_else(|_| Filter::words([self.filter.as_str()]))
    }

    /// The question for the window around the cursor, `height` rows being on the screen.
    #[must_use]
    pub fn question(&self, height: u16, now: &Zoned) -> List {
        let height = u64::from(height.max(1));
        List {
            of: self.tab.subject(),
            filter: self.filter(now),
            sort: self.sort.clone(),
            offset: self.top.saturating_sub(height),
            limit: u32::try_from(height * 3).unwrap_or(u32::MAX),
            around: self.selected,
        }
    }
}
