//! Names of resources: what a person means by one, and what numbers in rows are called.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::table::Names;
use super::{CliContext, CliError};
use crate::domain::{
    BackendExt, Column, Filter, FilterTest, List, Operation, Params, Resource, ResourceId,
    ResourceKind, Rows, Sort, Subject,
};

/// The resource that a text names: `vm/3`, `vm/web-1`, or a name that only one has.
///
/// # Errors
/// When none or several are called so.
pub(super) async fn resource(text: &str, session: &CliContext<'_>) -> Result<ResourceId, CliError> {
    let (kinds, name) = match text.split_once('/') {
        Some((kind, name)) => {
            let kind: ResourceKind = kind.parse().map_err(CliError::Usage)?;
            if let Ok(id) = name.parse() {
                return Ok(ResourceId::new(kind, id));
            }
            (vec![kind], name)
        }
        None => (session.backend.catalogue().resources().to_vec(), text),
    };
    let is_it = FilterTest::Is { column: "name".to_owned(), text: name.to_owned() };
    let mut found = Vec::new();
    for kind in kinds {
        let filter = Filter::default().and(false, is_it.clone());
        found.extend(ids(kind, filter, session).await?.into_keys());
    }
    match found.as_slice() {
        [only] => Ok(*only),
        [] => Err(CliError::Failed(format!("nothing is called '{text}'"))),
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            let several = several.join(", ");
            let why = format!("several are called '{text}': {several}; write one of these");
            Err(CliError::Usage(why))
        }
    }
}

/// What the resources are called that rows refer to by number in these columns.
///
/// # Errors
/// When the backend does not answer.
pub(super) async fn referred(
    rows: &[Resource],
    columns: impl Iterator<Item = &Column>,
    session: &CliContext<'_>,
) -> Result<Names, CliError> {
    let referred = columns.flat_map(|column| {
        rows.iter().filter_map(|row| column.referred(&row.field(&column.name)?))
    });
    called(referred.collect(), session).await
}

/// The parameters of an operation with what they name called by its name.
///
/// # Errors
/// When the backend does not answer.
pub(super) async fn params(
    operation: &Operation,
    session: &CliContext<'_>,
) -> Result<Arc<Params>, CliError> {
    let (catalogue, params) = (session.backend.catalogue(), &operation.params);
    let Some(spec) = catalogue.get(&operation.kind) else { return Ok(params.clone()) };
    let named = spec.resources_named(params, Some(&catalogue));
    let by_number = named.filter_map(|(of, it)| Some(ResourceId::new(of, it.value.as_u64()?)));
    let mut names = called(by_number.collect(), session).await?;
    // What is gone by now is called as it was.
    names.extend(operation.resource.zip(operation.resource_name.clone()));
    Ok(spec.called_by_name(params, &catalogue, |id| names.get(&id).cloned()).into())
}

/// What these resources are called.
///
/// # Errors
/// When the backend does not answer.
pub(super) async fn called(
    mut wanted: BTreeSet<ResourceId>,
    session: &CliContext<'_>,
) -> Result<Names, CliError> {
    let mut names = Names::new();
    while let Some(ResourceId { kind, id: first }) = wanted.first().copied() {
        let last = wanted.iter().rfind(|it| it.kind == kind).map_or(first, |it| it.id);
        let (from, to) = (Bound::Included(first as f64), Bound::Included(last as f64));
        let within = FilterTest::Within { column: "id".to_owned(), from, to };
        let found = ids(kind, Filter::default().and(false, within), session).await?;
        let is_all = found.len() < List::MOST as usize;
        let seen = found.last_key_value().filter(|_| !is_all).map_or(last, |(it, _)| it.id);
        names.extend(found.into_iter().filter(|(id, _)| wanted.contains(id)));
        wanted.retain(|it| it.kind != kind || it.id > seen);
    }
    Ok(names)
}

/// The resources of a kind that a filter lets through, and their names: the first by number of as
/// many as a list answers with.
async fn ids(
    kind: ResourceKind,
    filter: Filter,
    session: &CliContext<'_>,
) -> Result<Names, CliError> {
    let list = List {
        of: Subject::Resources(kind),
        filter,
        sort: Some(Sort { column: "id".to_owned(), descending: false }),
        offset: 0,
        limit: List::MOST,
        around: None,
    };
    let page = session.backend.ask(list).await?;
    let Rows::Resources(rows) = page.rows else { return Ok(Names::new()) };
    Ok(rows.iter().map(|row| (row.id(), row.name().to_owned())).collect())
}
