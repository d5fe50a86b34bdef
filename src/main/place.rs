//! A state directory, and the backend on it: our own, or the one that another process has.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use hostler::backend::drivers;
use hostler::backend::settings::Settings;
use hostler::backend::{Embedded, Owned, operations, own};
use hostler::cli::Cli;
use hostler::config::{self, Config, Origin};
use hostler::domain::BackendError;
use hostler::wire::{client::Client, native};

use super::PATIENCE;

/// Where we are and what we were told.
pub(crate) struct Place {
    pub(crate) state_dir: PathBuf,
    config_file: Option<PathBuf>,
    pub(crate) config: Config,
    pub(crate) origin: Origin,
    pub(crate) read_only: bool,
}

impl Place {
    pub(crate) fn new(cli: &Cli, config: Config, origin: Origin) -> Self {
        let state_dir = cli
            .state
            .clone()
            .or_else(|| config.state_dir.clone())
            .unwrap_or_else(config::default_state_dir);
        // A relative path means something else to the background, which runs in `/`.
        let state_dir = std::path::absolute(&state_dir).unwrap_or(state_dir);
        let read_only = cli.read_only || config.read_only;
        Self { state_dir, config_file: cli.config.clone(), config, origin, read_only }
    }

    pub(crate) fn settings(&self) -> Settings {
        settings(&self.state_dir, &self.config)
    }

    /// The backend itself, when nobody else owns the state directory.
    fn embed(&self) -> anyhow::Result<Option<Embedded>> {
        let Some(owned) = own(&self.state_dir)? else { return Ok(None) };
        self.log()?;
        self.start(owned).map(Some)
    }

    pub(crate) fn start(&self, owned: Owned) -> anyhow::Result<Embedded> {
        let settings = self.settings();
        let ports = drivers::real(&settings);
        let kinds = operations::all(&settings);
        Ok(Embedded::start(owned, settings, ports, kinds)?)
    }

    /// The backend: our own where nobody has one, or else that of whoever does. Who has the state
    /// directory may not serve it yet, or be about to let go of it.
    pub(crate) async fn reach(&self) -> anyhow::Result<Reached> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(embedded) = self.embed()? {
                return Ok(Reached::Own(embedded));
            }
            match self.attach().await {
                Ok(client) => return Ok(Reached::Other(client)),
                Err(error) => match error.downcast_ref::<BackendError>() {
                    Some(BackendError::Unreachable { .. })
                        if tokio::time::Instant::now() < deadline =>
                    {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    /// The backend that another process has.
    pub(crate) async fn attach(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&native::socket_path(&self.state_dir)).await?)
    }

    /// Log lines go to a file: the screen belongs to the console.
    pub(crate) fn log(&self) -> anyhow::Result<()> {
        let file = self.config.log_file.clone().unwrap_or(self.state_dir.join("hostler.log"));
        let sink = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&file)
            .with_context(|| format!("cannot open the log {}", file.display()))?;
        let filter = tracing_subscriber::EnvFilter::try_new(&self.config.log_level)
            .with_context(|| format!("log.level {:?} is no level", self.config.log_level))?;
        // A second call in one process keeps the first log.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::sync::Mutex::new(sink))
            .with_ansi(false)
            .try_init();
        Ok(())
    }

    /// Starts a backend in the background that takes the state directory over as soon as we let
    /// go of it.
    pub(crate) fn hand_over(&self) -> anyhow::Result<()> {
        use process_wrap::tokio::{CommandWrap, ProcessSession};
        let mut command = CommandWrap::with_new("/proc/self/exe", |command| {
            command.arg0("hostler").arg("serve").arg("--take-over");
            command.arg("--state").arg(&self.state_dir);
            if let Some(file) = &self.config_file {
                command.arg("--config").arg(std::path::absolute(file).unwrap_or(file.clone()));
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

/// The settings for a state directory, as far as the configuration does not leave them as they are.
pub(crate) fn settings(state_dir: &Path, config: &Config) -> Settings {
    let mut settings = Settings::new(state_dir.to_owned());
    settings.share_mib = config.share_mib.unwrap_or(settings.share_mib);
    settings.trash_days = config.trash_days.unwrap_or(settings.trash_days);
    if let Some(seconds) = config.stop_timeout_s {
        settings.stop_timeout = Duration::from_secs(seconds.into());
    }
    for (lane, width) in &mut settings.lanes {
        *width = config.lanes.get(lane).copied().unwrap_or(*width);
    }
    settings
}

/// A backend that was reached.
pub(crate) enum Reached {
    /// It lives in this process.
    Own(Embedded),
    /// Another process has it.
    Other(Client),
}
