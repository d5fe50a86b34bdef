//! What looks after a state directory itself: what is unknown in it, the deep check, a smaller
//! database, and taking in again what a lost one knew.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use hostler::backend::check::{self, Finding};
use hostler::backend::engine::store;
use hostler::backend::state_files::recover as recovery;
use hostler::backend::{DirState, Owned, drivers, find, own};
use hostler::cli::{self, Check};
use hostler::domain::display;

use super::Place;

/// What mends a store that SQLite finds damaged.
const DAMAGED: &str = "stop hostler, move hostler.db away together with hostler.db-wal and \
                       hostler.db-shm, and restore a copy or run: hostler recover";

/// What has a name of hostler's own and is something else.
pub(crate) fn odd(place: &Place) -> Vec<Check> {
    let odd = check::odd(&place.state_dir).into_iter();
    let told = odd.map(|(path, why)| {
        Check::bad(
            path.display().to_string(),
            format!("it {why}"),
            "look what it is and move it away",
        )
    });
    told.collect()
}

/// Whether the store is whole, and every row of it can be read.
pub(crate) fn store(state_dir: &Path) -> Check {
    let mend = "hostler goes on without them and leaves them as they are: stop it, move hostler.db \
                away together with hostler.db-wal and hostler.db-shm and restore a copy from \
                before, or ask for help with the one you have";
    let found = store::Look::at(state_dir)
        .and_then(|look| look.map_or(Ok(Vec::new()), |look| look.plain_damage()));
    match found {
        Ok(lines) if lines.is_empty() => {}
        Ok(lines) => return Check::bad("store", lines.join("; "), DAMAGED),
        Err(error) => return Check::bad("store", error.to_string(), "see what it says"),
    }
    match store::damaged(state_dir) {
        Ok(rows) if rows.is_empty() => Check::good("store", "every row can be read"),
        Ok(rows) => {
            let rows: Vec<_> = rows.iter().map(ToString::to_string).collect();
            Check::bad("store", rows.join("; "), mend)
        }
        Err(error) => Check::bad("store", error.to_string(), "see what it says"),
    }
}

/// What lies in the state directory that its database does not know, where anything does.
pub(crate) fn unknown(place: &Place) -> Option<Check> {
    let name = "state files";
    match check::unknown(&place.settings()) {
        Ok(unknown) if unknown.is_empty() => None,
        Ok(unknown) => Some(Check::bad(
            name,
            format!(
                "{} in {} that the database does not know, such as {}; nothing is removed",
                match unknown.len() {
                    1 => "1 file or folder is".to_owned(),
                    many => format!("{many} files or folders are"),
                },
                place.state_dir.display(),
                unknown[0].display()
            ),
            "stop hostler, then: hostler recover",
        )),
        Err(error) => Some(Check::bad(name, error.to_string(), "hostler recover --help")),
    }
}

/// What a later database said otherwise, where an older one was put back.
pub(crate) fn outdated(place: &Place) -> Option<Check> {
    let outdated = check::outdated(&place.settings()).ok()?;
    let first = outdated.first()?;
    let found = format!(
        "the database is older than what lies beside it: a later one said something else of {} \
         resources, such as {first}; what it said is kept",
        outdated.len(),
    );
    Some(Check::bad("database", found, "stop hostler, then: hostler recover"))
}

/// The deep check: exit status 1 when anything is found.
pub(crate) async fn deep(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    if !place.state_dir.is_dir() {
        let dir = place.state_dir.display();
        anyhow::bail!("there is no state directory {dir}; choose another with --state");
    }
    let settings = place.settings();
    let live = place.attach().await.is_ok();
    let found = check::deep(&settings, &drivers::real(&settings), live).await?;
    let mut checks: Vec<Check> = found
        .findings
        .into_iter()
        .map(|Finding { what, found, mend }| Check::bad(what, found, mend))
        .collect();
    if checks.is_empty() {
        let looked = match found.resources {
            1 => "1 resource".to_owned(),
            many => format!("{many} resources"),
        };
        let all = format!("{looked} and every file are as the database says");
        checks.push(Check::good(place.state_dir.display().to_string(), all));
    }
    match cli::tell_checks(&checks, json, &mut std::io::stdout()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Ok(error.report(&mut std::io::stderr())),
    }
}

/// Gives back what the database holds and does not use.
pub(crate) fn compact(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    if place.read_only {
        anyhow::bail!("hostler is read-only here; leave out --read-only");
    }
    let _owned = alone(place)?;
    let store::Compacted { before, after } = store::compact(&place.state_dir)?;
    let found = format!("{}, {} before", display::bytes(after), display::bytes(before));
    match cli::tell_checks(&[Check::good("database", found)], json, &mut std::io::stdout()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Ok(error.report(&mut std::io::stderr())),
    }
}

/// Takes in what the database does not know.
pub(crate) async fn recover(place: &Place, dry_run: bool, json: bool) -> anyhow::Result<ExitCode> {
    if place.read_only && !dry_run {
        anyhow::bail!("hostler is read-only here; leave out --read-only, or ask with --dry-run");
    }
    let _owned = alone(place)?;
    let settings = place.settings();
    let done = recovery::recover(&settings, &drivers::real(&settings), dry_run).await?;
    let done = cli::Recovered { dry_run, taken: done.taken, left: done.left };
    match cli::recovered(&done, json, &mut std::io::stdout()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Ok(error.report(&mut std::io::stderr())),
    }
}

/// Takes the state directory there is, which nobody else may work with.
fn alone(place: &Place) -> anyhow::Result<Owned> {
    let dir = place.state_dir.display();
    if find(&place.state_dir)? != DirState::Ours {
        anyhow::bail!("there is no state directory {dir}; choose another with --state");
    }
    own(&place.state_dir)?
        .with_context(|| format!("another hostler runs on {dir}; stop it and try again"))
}
