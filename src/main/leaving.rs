//! Leaving: what goes on without whoever leaves a console, and ending a backend that nobody looks
//! at.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use hostler::backend::{DirState, Embedded, find, own};
use hostler::domain::{
    Backend, BackendExt, Filter, List, ResourceKind, Subject, Task, Vm, VmState, display,
};
use hostler::ui::Exit;

use super::owner::{Serving, in_flight, is_left, leave_to_the_background, stop_after_steps};
use super::{NEXT_ATTEMPT, Place, SERVE_TIMEOUT};

/// How long whoever leaves waits to hear what goes on.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// What depends on a backend: how many VMs that are up, active tasks, and operations that run or
/// wait.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dependents {
    vms: u64,
    tasks: u64,
    operations: u64,
}

impl Dependents {
    /// Asks a backend.
    pub(crate) async fn of(backend: &dyn Backend) -> anyhow::Result<Self> {
        let flight = in_flight(backend).await?;
        let [running, paused] = [VmState::Running, VmState::Paused].map(VmState::word);
        let vms = count(backend, Vm::KIND, running).await?;
        Ok(Self {
            vms: vms + count(backend, Vm::KIND, paused).await?,
            tasks: count(backend, Task::KIND, "active").await?,
            operations: flight.running + flight.waiting,
        })
    }

    /// The same, where that is told soon enough; nothing where it is not.
    pub(crate) async fn known(backend: &dyn Backend) -> Self {
        let asked = tokio::time::timeout(LAST_ANSWER, Self::of(backend)).await;
        asked.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Returns whether there is nothing.
    const fn is_none(self) -> bool {
        self.vms == 0 && self.tasks == 0 && self.operations == 0
    }

    /// What goes on without the backend, and what waits for the next one, as the end of a sentence.
    fn left(self) -> String {
        let on = match self.vms {
            0 => String::new(),
            1 => "; 1 VM runs on without it".to_owned(),
            vms => format!("; {vms} VMs run on without it"),
        };
        let later = Self { vms: 0, ..self };
        if later.is_none() {
            return on;
        }
        format!("{on}; to go on at the next start: {}", later.named())
    }

    /// `2 VMs and 1 operation`.
    fn named(self) -> String {
        let each = [
            (self.vms, "VM that is up", "VMs that are up"),
            (self.tasks, "active task", "active tasks"),
            (self.operations, "operation", "operations"),
        ];
        let each: Vec<String> = each
            .into_iter()
            .filter(|(number, ..)| *number > 0)
            .map(|(number, one, many)| format!("{number} {}", if number == 1 { one } else { many }))
            .collect();
        display::listed(&each, "and")
    }
}

/// How many resources of a kind are in a state.
async fn count(backend: &dyn Backend, of: ResourceKind, state: &str) -> anyhow::Result<u64> {
    let list = List {
        of: Subject::Resources(of),
        filter: Filter::default().and_state(false, state),
        sort: None,
        offset: 0,
        limit: 1,
        around: None,
    };
    Ok(backend.ask(list).await?.total)
}

/// Parts from our own backend as the console was left; `None`: it broke.
pub(crate) async fn part(
    place: &Place,
    embedded: Embedded,
    serving: Serving,
    exit: Option<Exit>,
) -> anyhow::Result<()> {
    // What is not told is no reason to keep the state directory.
    let running = in_flight(&embedded).await.is_ok_and(|flight| flight.running > 0);
    let dependents = Dependents::known(&embedded).await;
    let needed = serving.stop().await || is_left(place, &embedded);
    match exit {
        _ if place.read_only && !needed => {
            embedded.leave(false).await;
            if exit == Some(Exit::Quit) {
                tell_end(&dependents);
            }
            Ok(())
        }
        // Asked, with work in flight.
        Some(Exit::Quit) if running && !place.read_only => stop_after_steps(place, embedded).await,
        Some(Exit::Background) => {
            leave_to_the_background(place, embedded).await?;
            tell(place, dependents);
            Ok(())
        }
        // Not in this process: reading a terminal that is gone would keep a processor busy.
        Some(Exit::HangUp) => {
            tracing::info!("the terminal has gone; the work goes on in the background");
            leave_to_the_background(place, embedded).await
        }
        _ if needed => {
            leave_to_the_background(place, embedded).await?;
            if exit == Some(Exit::Quit) {
                tell(place, dependents);
            }
            Ok(())
        }
        _ => {
            embedded.leave(true).await;
            Ok(())
        }
    }
}

/// Tells whoever only looked that nobody looks after the box any more.
fn tell_end(dependents: &Dependents) {
    if dependents.is_none() {
        return;
    }
    // With standard error gone there is nobody to tell.
    let _ = writeln!(
        std::io::stderr(),
        "hostler: nobody looks after the box now: the backend that this console started has \
         ended{}",
        dependents.left()
    );
}

/// Tells whoever leaves a console what goes on without it, and how to end that.
pub(crate) fn tell(place: &Place, dependents: Dependents) {
    if dependents.is_none() {
        return;
    }
    let (what, dir) = (dependents.named(), quoted(&place.state_dir));
    // With standard error gone there is nobody to tell.
    let _ = writeln!(
        std::io::stderr(),
        "hostler: the backend goes on in the background for {what}; `hostler --state {dir} stop` \
         ends it"
    );
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:,".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// Ends the backend that runs by itself on the state directory.
pub(crate) async fn stop(place: &Place) -> anyhow::Result<ExitCode> {
    let dir = place.state_dir.display();
    if place.read_only {
        anyhow::bail!("hostler is read-only here, so it stops no backend; leave out --read-only");
    }
    if find(&place.state_dir)? != DirState::Ours {
        anyhow::bail!("nobody has used the state directory {dir} yet: no backend runs on it");
    }
    let mut out = std::io::stdout();
    let deadline = tokio::time::Instant::now() + SERVE_TIMEOUT;
    let client = loop {
        if is_free(&place.state_dir)? {
            writeln!(out, "no backend runs on {dir}")?;
            return Ok(ExitCode::SUCCESS);
        }
        // Whoever has it may not serve yet, or be about to let go of it.
        match place.attach().await {
            Ok(client) => break client,
            Err(error) if tokio::time::Instant::now() >= deadline => {
                return Err(place.nobody_answers(error));
            }
            Err(_) => tokio::time::sleep(NEXT_ATTEMPT).await,
        }
    };
    // Another version may answer something else; that is no reason to let it run.
    let dependents = Dependents::of(&client).await;
    client.stop().await?;
    drop(client);
    let ended = async {
        while !is_free(&place.state_dir)? {
            tokio::time::sleep(NEXT_ATTEMPT).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SERVE_TIMEOUT, ended)
        .await
        .with_context(|| format!("the backend on {dir} was told to end and has not yet"))??;
    match dependents {
        Ok(dependents) => writeln!(out, "the backend on {dir} has ended{}", dependents.left())?,
        Err(error) => {
            writeln!(out, "the backend on {dir} has ended; VMs that are up run on without it")?;
            writeln!(
                std::io::stderr(),
                "hostler: the backend did not tell what depends on it: {error:#}"
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether nobody has a state directory.
fn is_free(state_dir: &Path) -> anyhow::Result<bool> {
    Ok(own(state_dir)?.is_some())
}
