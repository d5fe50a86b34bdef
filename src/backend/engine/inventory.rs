//! The inventory: every living resource, in memory, as the store has it.
//!
//! Resources are few (thousands at most), so questions about them never touch the disk. Pure and
//! synchronous.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::domain::filter::REFERRED;
use crate::domain::{
    Column, Filter, List, Resource, ResourceId, ResourceKind, ResourceType, Value, ValueOrder,
};

/// Every living resource.
#[derive(Debug, Default)]
pub struct Inventory {
    resources: BTreeMap<ResourceId, Arc<Resource>>,
    names: HashMap<(ResourceKind, String), u64>,
    /// The highest number ever given out.
    counters: HashMap<ResourceKind, u64>,
}

impl Inventory {
    /// An inventory of these, with the highest numbers ever given out.
    pub fn new(resources: Vec<Resource>, counters: &[(String, u64)]) -> Self {
        let mut inventory = Self::default();
        for (name, value) in counters {
            if let Ok(kind) = name.parse() {
                inventory.counters.insert(kind, *value);
            }
        }
        for resource in resources {
            inventory.put(Arc::new(resource));
        }
        inventory
    }

    /// A resource by its number.
    #[must_use]
    pub fn resource(&self, id: ResourceId) -> Option<&Resource> {
        self.resources.get(&id).map(AsRef::as_ref)
    }

    /// The same, to be kept.
    #[must_use]
    pub fn shared(&self, id: ResourceId) -> Option<Arc<Resource>> {
        self.resources.get(&id).cloned()
    }

    /// A resource of one type by its number.
    #[must_use]
    pub fn get<T: ResourceType>(&self, id: u64) -> Option<&T> {
        self.resource(ResourceId::new(T::KIND, id))?.get()
    }

    /// Every resource of a kind, by number.
    pub fn of(&self, kind: ResourceKind) -> impl DoubleEndedIterator<Item = &Arc<Resource>> {
        let range = ResourceId::new(kind, 0)..=ResourceId::new(kind, u64::MAX);
        self.resources.range(range).map(|(_, resource)| resource)
    }

    /// The number of the living resource of that name.
    #[must_use]
    pub fn named(&self, kind: ResourceKind, name: &str) -> Option<u64> {
        self.names.get(&(kind, name.to_owned())).copied()
    }

    /// The number of the living resource that a parameter names: by number, `vm/3`, or name.
    #[must_use]
    pub fn find(&self, kind: ResourceKind, value: &serde_json::Value) -> Option<u64> {
        let found = match value {
            serde_json::Value::Number(number) => number.as_u64(),
            serde_json::Value::String(text) => match text.parse::<ResourceId>() {
                Ok(id) if id.kind == kind => Some(id.id),
                _ => self
                    .named(kind, text)
                    .or_else(|| self.only_one_called(kind, text))
                    .or_else(|| text.parse().ok()),
            },
            _ => None,
        };
        found.filter(|id| self.resource(ResourceId::new(kind, *id)).is_some())
    }

    /// The only one of that name among those that do not keep their names, such as disks in the
    /// trash.
    fn only_one_called(&self, kind: ResourceKind, name: &str) -> Option<u64> {
        let mut called = self.of(kind).filter(|it| it.name() == name && !it.holds_name());
        called.next().filter(|_| called.next().is_none()).map(|it| it.id().id)
    }

    /// The number that the next new resource of a kind gets. It is given out once that is put.
    #[must_use]
    pub fn next(&self, kind: ResourceKind) -> u64 {
        self.counters.get(&kind).map_or(1, |last| last + 1)
    }

    /// Takes in a resource, in the place of the one with its number if there is one.
    pub fn put(&mut self, resource: Arc<Resource>) {
        let id = resource.id();
        self.forget_name(id);
        if resource.holds_name() {
            self.names.insert((id.kind, resource.name().to_owned()), id.id);
        }
        let counter = self.counters.entry(id.kind).or_default();
        *counter = id.id.max(*counter);
        self.resources.insert(id, resource);
    }

    /// Takes a resource out. Says whether it was there.
    pub fn remove(&mut self, id: ResourceId) -> bool {
        self.forget_name(id);
        self.resources.remove(&id).is_some()
    }

    /// How many there are of a kind.
    #[must_use]
    pub fn count(&self, kind: ResourceKind) -> u64 {
        self.of(kind).count() as u64
    }

    /// A window onto a kind: how many match, the place of the first given, the rows.
    #[must_use]
    pub fn list<'a>(&'a self, kind: ResourceKind, list: &List) -> (u64, u64, Vec<Resource>) {
        let columns = &kind.spec().columns;
        let (column, descending) =
            list.sort.as_ref().map_or(("name", false), |by| (&by.column, by.descending));
        // What has no value in the column comes first; equals by number, so that rows never trade
        // places.
        let place = |row: &'a Arc<Resource>| (row.field(column).map(ValueOrder::from), row.id().id);
        let rows = self.of(kind).filter(|row| self.matches(&list.filter, columns, row));
        let mut rows: Vec<_> = rows.map(|row| (place(row), row)).collect();
        let order = |(a, _): &(_, _), (b, _): &(_, _)| match descending {
            true => Ord::cmp(b, a),
            false => Ord::cmp(a, b),
        };
        let limit = list.limit as usize;
        let mut offset = usize::try_from(list.offset).unwrap_or(usize::MAX).min(rows.len());
        if let Some(around) =
            list.around.and_then(|around| rows.iter().find(|(_, row)| row.id().id == around))
        {
            let at = rows.iter().filter(|row| order(row, around).is_lt()).count();
            if !(offset..offset + limit).contains(&at) {
                offset = at.saturating_sub(limit / 2);
            }
        }
        let total = rows.len() as u64;
        let shown = window(&mut rows, offset, limit, order).iter();
        (total, offset as u64, shown.map(|(_, row)| (***row).clone()).collect())
    }

    fn matches(&self, filter: &Filter, columns: &[Column], row: &Resource) -> bool {
        filter.is_empty()
            || filter.matches(columns, |name| match name {
                REFERRED => Some(Value::text(self.names_of(&row.refers_to()))),
                _ => row.field(name),
            })
    }

    /// The names of these, one a line.
    fn names_of(&self, ids: &[ResourceId]) -> String {
        let names: Vec<&str> =
            ids.iter().filter_map(|id| Some(self.resource(*id)?.name())).collect();
        names.join("\n")
    }

    fn forget_name(&mut self, id: ResourceId) {
        if let Some(old) = self.resources.get(&id) {
            let key = (id.kind, old.name().to_owned());
            if self.names.get(&key) == Some(&id.id) {
                self.names.remove(&key);
            }
        }
    }
}

/// The rows from one on, so many of them, in order. All others are only told apart from these:
/// putting every row in order takes several times as long.
fn window<T>(
    rows: &mut [T],
    offset: usize,
    limit: usize,
    order: impl Fn(&T, &T) -> Ordering,
) -> &[T] {
    if (1..rows.len()).contains(&offset) {
        rows.select_nth_unstable_by(offset, &order);
    }
    let rows = &mut rows[offset..];
    let limit = limit.min(rows.len());
    if (1..rows.len()).contains(&limit) {
        rows.select_nth_unstable_by(limit, &order);
    }
    let rows = &mut rows[..limit];
    rows.sort_unstable_by(order);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_part_of_all_rows_in_order() {
        let rows: Vec<u32> = (0..100).map(|number| number * 37 % 101).collect();
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        for offset in 0..=rows.len() {
            for limit in [0, 1, 7, 99, 100, 1000] {
                let end = sorted.len().min(offset + limit);
                let shown = window(&mut rows.clone(), offset, limit, u32::cmp).to_vec();
                assert_eq!(shown, sorted[offset..end], "{limit} from {offset}");
            }
        }
    }
}
