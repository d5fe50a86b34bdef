//! A state directory, and the backend on it: our own, or the one that another process has.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use hostler::backend::drivers;
use hostler::backend::settings::Settings;
use hostler::backend::{DirState, Embedded, Nothing, Owned, find, operations, own, owner};
use hostler::cli::{Cli, CliCommand};
use hostler::config::{self, Config, ConfigSources, Origin};
use hostler::domain::{Backend, BackendError, Catalogue};
use hostler::wire::{client::Client, native};

use super::{NEXT_ATTEMPT, SERVE_TIMEOUT, configured, log};

/// How long the place of a backend that died may stay empty before those attached to it start
/// another. Whoever watches over services is faster.
const ORPHANED: Duration = Duration::from_secs(3);
/// How long to wait at most before that is tried again.
const LONGEST_ORPHANED: Duration = Duration::from_secs(60);

/// Where we are and what we were told.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) state_dir: PathBuf,
    /// Where the configuration was read from.
    pub(crate) sources: ConfigSources,
    pub(crate) config: Config,
    pub(crate) origin: Origin,
    pub(crate) read_only: bool,
    /// Whether our configuration becomes the backend's, whichever that has.
    pub(crate) decides: bool,
}

impl Place {
    pub(crate) fn new(cli: &Cli, config: Config, origin: Origin) -> Self {
        let state_dir = state_dir(cli.state.clone(), &config);
        let read_only = cli.read_only || config.read_only;
        let decides = matches!(cli.command, Some(CliCommand::Serve { take_over: false }));
        let sources = ConfigSources::of(cli.config.as_deref());
        Self { state_dir, sources, config, origin, read_only, decides }
    }

    pub(crate) fn settings(&self) -> Settings {
        settings(&self.state_dir, &self.config)
    }

    /// The backend itself, to do its work.
    pub(crate) fn start(&self, owned: Owned) -> anyhow::Result<Embedded> {
        self.open(owned, false)
    }

    /// The backend itself, to do its work or to `look_on`, which is no reason to settle anything.
    fn open(&self, owned: Owned, look_on: bool) -> anyhow::Result<Embedded> {
        use_limits();
        let settled = configured::settle(self)?;
        self.log(&settled.config)?;
        if !look_on {
            settled.hold(self);
        }
        let settings = settings(&self.state_dir, &settled.config);
        let ports = drivers::real(&settings);
        let kinds = operations::all(&settings);
        let open = if look_on { Embedded::look_on } else { Embedded::start };
        Ok(open(owned, settings, ports, kinds)?)
    }

    /// The backend: our own where nobody has one, or else that of whoever does. Who has the state
    /// directory may not serve it yet, or be about to let go of it. Our own does its work unless we
    /// only `look_on`.
    pub(crate) async fn reach(&self, look_on: bool) -> anyhow::Result<Reached> {
        let deadline = tokio::time::Instant::now() + SERVE_TIMEOUT;
        loop {
            if let Some(owned) = own(&self.state_dir)? {
                return Ok(Reached::Own(self.open(owned, look_on)?));
            }
            match self.attach().await {
                Ok(client) => return Ok(Reached::Other(client)),
                Err(error) => match error.downcast_ref::<BackendError>() {
                    Some(BackendError::Unreachable { .. })
                        if tokio::time::Instant::now() < deadline =>
                    {
                        tokio::time::sleep(NEXT_ATTEMPT).await;
                    }
                    _ => return Err(self.nobody_answers(error)),
                },
            }
        }
    }

    /// What to say when the state directory has an owner that cannot be asked.
    pub(crate) fn nobody_answers(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(BackendError::Unreachable { message }) = error.downcast_ref() else {
            return error;
        };
        // Whoever does not answer on its socket is named already, and whoever is crowded answers.
        if is_somebody(message) {
            return error;
        }
        let (who, end) = match owner(&self.state_dir) {
            Some(pid) => (format!("process {pid}"), format!("`kill -KILL {pid}`")),
            None => ("another process".to_owned(), "`kill`".to_owned()),
        };
        let message = format!(
            "{who} owns the state directory {} and does not answer: {message} Wait, or end it \
             with {end}: the next hostler goes on from what is on disk",
            self.state_dir.display()
        );
        BackendError::Unreachable { message }.into()
    }

    /// What answers where nobody has used the state directory yet and nothing is to be made: `None`
    /// where there is more than that.
    pub(crate) fn nothing(&self) -> anyhow::Result<Option<(DirState, Nothing)>> {
        let found = find(&self.state_dir)?;
        if found == DirState::Ours {
            return Ok(None);
        }
        let settings = self.settings();
        let kinds = operations::all(&settings);
        Ok(Some((found, Nothing::new(settings, kinds))))
    }

    /// Starts a backend in the background when the one a client is attached to has died and nobody
    /// takes its place. Called inside a tokio runtime; ends with the client.
    pub(crate) fn look_after(&self, client: &Client) {
        if self.read_only {
            return;
        }
        let (place, mut reachable) = (self.clone(), client.reachable());
        tokio::spawn(async move {
            let mut patience = ORPHANED;
            while reachable.wait_for(|reachable| !reachable).await.is_ok() {
                match tokio::time::timeout(patience, reachable.wait_for(|it| *it)).await {
                    Ok(Ok(_)) => patience = ORPHANED,
                    Ok(Err(_)) => return,
                    Err(_) => {
                        patience = (patience * 2).min(LONGEST_ORPHANED);
                        // A script's command has none until there is something to say. Without
                        // one, it is as well that somebody takes over.
                        let _ = place.log(&place.config);
                        if let Err(error) = place.adopt() {
                            tracing::warn!(
                                "nobody takes over {}: {error:#}",
                                place.state_dir.display()
                            );
                        }
                    }
                }
            }
        });
    }

    /// Starts a backend in the background, where the state directory has no owner.
    fn adopt(&self) -> anyhow::Result<()> {
        // One that was taken away is not made anew.
        if find(&self.state_dir)? == DirState::Ours
            && let Some(owned) = own(&self.state_dir)?
        {
            drop(owned);
            tracing::warn!("the owner of {} has died", self.state_dir.display());
            self.hand_over()?;
        }
        Ok(())
    }

    /// The backend that another process has.
    pub(crate) async fn attach(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&native::socket_path(&self.state_dir)).await?)
    }

    /// The backend that another process has, for a command that needs to know no more of it than
    /// `own` says, if that is given. `None` where nobody is heard of at once.
    pub(crate) async fn find_backend(
        &self,
        own: Option<&Catalogue>,
    ) -> anyhow::Result<Option<Client>> {
        let socket = native::socket_path(&self.state_dir);
        let found = match own {
            Some(own) => Client::attach(&socket, own).await,
            None => Client::connect(&socket).await,
        };
        match found {
            Ok(client) => Ok(Some(client)),
            Err(BackendError::Unreachable { message }) if !is_somebody(&message) => Ok(None),
            Err(error) => Err(self.nobody_answers(error.into())),
        }
    }

    /// Log lines go to a file: the screen belongs to the console.
    pub(crate) fn log(&self, config: &Config) -> anyhow::Result<()> {
        let file = config.log_file.clone().unwrap_or(self.state_dir.join("hostler.log"));
        log::begin(&file, &config.log_level, &self.state_dir)
    }

    /// Starts a backend in the background that takes the state directory over as soon as we let
    /// go of it.
    pub(crate) fn hand_over(&self) -> anyhow::Result<()> {
        use process_wrap::tokio::{CommandWrap, ProcessSession};
        let mut command = CommandWrap::with_new("/proc/self/exe", |command| {
            command.arg0("hostler").arg("serve").arg("--take-over");
            command.arg("--state").arg(&self.state_dir);
            // For where the state directory has no configuration of its own.
            if let (true, Some(file)) = (self.sources.named, self.sources.files.first()) {
                command.arg("--config").arg(file);
            }
            command.current_dir("/");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        });
        command.wrap(ProcessSession);
        command.spawn().context("cannot start a backend in the background")?;
        Ok(())
    }

    pub(crate) fn actor(&self, from: &str) -> String {
        format!("{from}:{}", native::user_name(rustix::process::getuid().as_raw()))
    }
}

/// The state directory: the one that is named, that of the configuration, or that of every box.
fn state_dir(named: Option<PathBuf>, config: &Config) -> PathBuf {
    let dir = named.or_else(|| config.state_dir.clone()).unwrap_or_else(config::default_state_dir);
    // A relative path means something else to the background, which runs in `/`.
    std::path::absolute(&dir).unwrap_or(dir)
}

/// The catalogue of the backend that runs, for a command line with words that are not known here.
/// `None` where none runs: then they are nobody's.
pub(crate) fn catalogue_there(named: Option<PathBuf>, config: &Config) -> Option<Catalogue> {
    let dir = state_dir(named, config);
    if find(&dir).ok()? != DirState::Ours {
        return None;
    }
    let runtime = one_thread().ok()?;
    let client = runtime.block_on(Client::connect(&native::socket_path(&dir)));
    client.ok().map(|client| client.catalogue())
}

/// A runtime that does one thing after the other: enough for whoever only asks, and there sooner.
pub(crate) fn one_thread() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().context("cannot start the runtime")
}

/// The settings for a state directory, as far as the configuration does not leave them as they are.
pub(crate) fn settings(state_dir: &Path, config: &Config) -> Settings {
    let mut settings = Settings::new(state_dir.to_owned());
    settings.share_mib = config.share_mib.unwrap_or(settings.share_mib);
    settings.trash_days = config.trash_days.unwrap_or(settings.trash_days);
    settings.keep_operations = config.keep_operations.map_or(settings.keep_operations, Into::into);
    settings.keep_operations_days = config.keep_operations_days.or(settings.keep_operations_days);
    if let Some(seconds) = config.stop_timeout_s {
        settings.stop_timeout = Duration::from_secs(seconds.into());
    }
    for (lane, width) in &mut settings.lanes {
        *width = config.lanes.get(lane).copied().unwrap_or(*width);
    }
    settings
}

/// Whether an error says that somebody is there and does not answer, or has no place for us.
fn is_somebody(message: &str) -> bool {
    message.starts_with("no answer") || message == native::CROWDED
}

/// A backend that was reached.
pub(crate) enum Reached {
    /// It lives in this process.
    Own(Embedded),
    /// Another process has it.
    Other(Client),
}

/// Prepares for the limits on files. Every client and every tool has some open: as many may be as
/// can be allowed. And one that may not grow as it should is an error like that of a full disk, not
/// a signal that ends us. Called inside a tokio runtime.
fn use_limits() {
    use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
    use tokio::signal::unix::{SignalKind, signal};
    // Once asked for it is never the end of us again, and those we start do not inherit that.
    if let Err(error) = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())) {
        tracing::warn!(%error, "a limit on the size of files would end this backend");
    }
    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised is lived with.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
