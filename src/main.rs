//! Parse, wire, run: with what is below `main/`, the only room that sees every other.

#[path = "main/owner.rs"]
mod owner;
#[path = "main/place.rs"]
mod place;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler::backend::drivers::{self, supervise};
use hostler::backend::settings::Settings;
use hostler::backend::store::damaged;
use hostler::backend::{Embedded, operations, own};
use hostler::cli::{self, Cli, Command};
use hostler::config::{self, Config, Origin};
use hostler::domain::{Backend, BackendError, Catalogue, Host};
use hostler::ui;

use owner::{Serving, in_flight, is_needed, leave_to_the_background, stop_after_steps};
use place::{Place, Reached};

/// How long a backend in the background may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a script's command serves on for others that came meanwhile, before it leaves them to a
/// backend in the background.
const LINGER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // hostler starts itself once more beside every long tool: see `drivers::supervise`. That comes
    // before anything else, so that it costs next to nothing.
    let arguments: Vec<_> = std::env::args_os().collect();
    if let [_, word, dir] = arguments.as_slice()
        && word == "supervise"
    {
        return supervise::main(Path::new(dir));
    }
    let kinds = operations::all(&Settings::new(config::default_state_dir()));
    let catalogue = Catalogue::new(kinds.into_iter().map(|entry| entry.spec));
    let cli = match cli::parse(&catalogue, arguments) {
        Ok(cli) => cli,
        // clap prints help to standard output with status 0 and complaints to standard error with 2.
        Err(error) => error.exit(),
    };
    match run(cli, &catalogue) {
        Ok(code) => code,
        Err(error) => {
            let status = match error.downcast_ref::<BackendError>() {
                Some(BackendError::Unreachable { .. }) => 3,
                _ => 1,
            };
            // With standard error gone, the status is all that can be said.
            let _ = writeln!(std::io::stderr(), "hostler: {error:#}");
            ExitCode::from(status)
        }
    }
}

fn run(cli: Cli, catalogue: &Catalogue) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    match &cli.command {
        Some(Command::Completions { shell }) => {
            cli::complete(catalogue, *shell, &mut out)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::Man) => {
            cli::man(catalogue, &mut out)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::Serve { listen: Some(_), .. }) => {
            anyhow::bail!(
                "remote consoles are not there yet; leave out --listen and use ssh to this box"
            );
        }
        _ => {}
    }
    let read = Config::load(cli.config.as_deref());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // More than processors: a worker may wait for a slow disk in the middle of a step that is
        // not to be cut in two.
        .worker_threads(4)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    if let Some(Command::Doctor { json }) = &cli.command {
        return runtime.block_on(doctor(&cli, &read, *json));
    }
    let (config, origin) = read.map_err(anyhow::Error::new)?;
    let place = Place::new(&cli, config, origin);
    let code = runtime.block_on(async {
        match cli.command {
            None => console(&place).await,
            Some(Command::Serve { take_over, .. }) => serve(&place, take_over).await,
            Some(command) => script(&place, command).await,
        }
    });
    // A tool that is still being waited for must not keep us from going.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// The console: over a backend of our own, or over the one that runs already.
async fn console(place: &Place) -> anyhow::Result<ExitCode> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        anyhow::bail!("the console needs a terminal; for scripts see `hostler --help`");
    }
    let mut session = None;
    loop {
        let (own, backend): (_, Arc<dyn Backend>) = match place.reach().await? {
            Reached::Own(embedded) => {
                let serving = Serving::start(&embedded, place)?;
                (Some((embedded.clone(), serving)), Arc::new(embedded))
            }
            Reached::Other(client) => {
                place.log()?;
                (None, Arc::new(client))
            }
        };
        let shown = show(place, &mut session, backend, own.is_some());
        let exit = match &own {
            Some((embedded, _)) => embedded.unless_broken(shown).await.unwrap_or_else(broken),
            None => shown.await,
        };
        let parted = match own {
            Some((embedded, serving)) => {
                part(place, embedded, serving, exit.as_ref().ok().copied()).await
            }
            None => Ok(()),
        };
        let exit = exit?;
        parted?;
        // Stopped we answer nobody, so by now another process has the backend, or nobody.
        let wanted_again = match (exit, &mut session) {
            (ui::Exit::Stop, Some(session)) => session.stop().await?,
            _ => false,
        };
        if !wanted_again {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// The store is broken: whoever starts next goes on from what is on disk.
fn broken<T>(why: BackendError) -> anyhow::Result<T> {
    Err(why.into())
}

/// Shows a backend in the session, which begins with the first backend there is.
async fn show(
    place: &Place,
    session: &mut Option<ui::Session>,
    backend: Arc<dyn Backend>,
    embedded: bool,
) -> anyhow::Result<ui::Exit> {
    let session = match session {
        Some(session) => session,
        none => none.insert(ui::Session::new(backend.catalogue(), options(place)?)?),
    };
    Ok(session.run(backend, embedded).await?)
}

/// Parts from our own backend as the console was left; `None`: it broke.
async fn part(
    place: &Place,
    embedded: Embedded,
    serving: Serving,
    exit: Option<ui::Exit>,
) -> anyhow::Result<()> {
    let running = in_flight(&embedded).await?.running > 0;
    let needed = serving.stop().await || is_needed(&embedded).await?;
    match exit {
        // Asked, with work in flight.
        Some(ui::Exit::Quit) if running => stop_after_steps(place, embedded).await,
        Some(ui::Exit::Background) => leave_to_the_background(place, embedded).await,
        // Not in this process: reading a terminal that is gone would keep a processor busy.
        Some(ui::Exit::HangUp) => {
            tracing::info!("the terminal has gone; the work goes on in the background");
            leave_to_the_background(place, embedded).await
        }
        _ if needed => leave_to_the_background(place, embedded).await,
        _ => {
            embedded.leave(true).await;
            Ok(())
        }
    }
}

fn options(place: &Place) -> anyhow::Result<ui::Options> {
    let config = &place.config;
    let mut keymap = Vec::new();
    if !config.keymap.is_empty() {
        let file = place.origin.files().first().map(|file| file.display().to_string());
        let keys = toml::to_string(&config.keymap).context("cannot read the key map")?;
        keymap.push((file.unwrap_or_default(), keys));
    }
    Ok(ui::Options {
        theme: config.theme.clone(),
        keymap,
        read_only: place.read_only,
        mouse: config.mouse,
        ascii: config.ascii,
        choices: Some(place.state_dir.join("console.json")),
        actor: place.actor("console"),
        ..ui::Options::default()
    })
}

/// The backend without a screen, until SIGTERM or SIGINT.
async fn serve(place: &Place, take_over: bool) -> anyhow::Result<ExitCode> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let owned = loop {
        if let Some(owned) = own(&place.state_dir)? {
            break owned;
        }
        // Whoever hands over to us is about to go; and so is one that answers nobody: a process that
        // is killed loses its socket before its lock.
        let stays = !take_over && place.attach().await.is_ok();
        if stays || tokio::time::Instant::now() >= deadline {
            anyhow::bail!(
                "another hostler runs on {}; attach to it by starting `hostler --state {0}`",
                place.state_dir.display()
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    place.log()?;
    let embedded = place.start(owned)?;
    let serving = Serving::start(&embedded, place)?;
    // Only systemd wants to know, and only where it started us.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    embedded.unless_broken(serving.until_told(&embedded)).await.unwrap_or_else(broken)?;
    Ok(ExitCode::SUCCESS)
}

/// A command of a script: asked of the backend that runs, or of one that lives as long as the
/// command and leaves what is still in flight to the background.
async fn script(place: &Place, command: Command) -> anyhow::Result<ExitCode> {
    let (backend, own): (Arc<dyn Backend>, _) = match place.reach().await? {
        Reached::Own(embedded) => {
            // Served as well: the next command may come before this one has ended.
            let serving = Serving::start(&embedded, place)?;
            (Arc::new(embedded.clone()), Some((embedded, serving)))
        }
        Reached::Other(client) => (Arc::new(client), None),
    };
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let columns = out
        .is_terminal()
        .then(|| rustix::termios::tcgetwinsize(&out).ok().map(|size| size.ws_col))
        .flatten();
    let session = cli::Session {
        backend,
        actor: place.actor("cli"),
        bar: err.is_terminal(),
        columns,
        read_only: place.read_only,
        out: &mut out,
        err: &mut err,
        keyboard: &mut cli::Terminal,
    };
    let ran = cli::run(command, session);
    let code = match &own {
        Some((embedded, _)) => embedded.unless_broken(ran).await?,
        None => ran.await,
    };
    if let Some((embedded, serving)) = own {
        if !embedded.is_watched() {
            // Other commands that are about to ask for something. That one stays longer is no harm.
            let _ = tokio::time::timeout(LINGER, serving.clients.gone()).await;
        }
        if serving.stop().await || is_needed(&embedded).await? {
            leave_to_the_background(place, embedded).await?;
        } else {
            embedded.leave(true).await;
        }
    }
    Ok(code)
}

/// Whether every row of the store can be read.
fn store(state_dir: &Path) -> cli::Check {
    let mend = "hostler goes on without them and leaves them as they are: restore a copy of \
                hostler.db from before, or ask for help with the one you have";
    match damaged(state_dir) {
        Ok(rows) if rows.is_empty() => cli::Check::good("store", "every row can be read"),
        Ok(rows) => {
            let rows: Vec<_> = rows.iter().map(ToString::to_string).collect();
            cli::Check::bad("store", rows.join("; "), mend)
        }
        Err(error) => cli::Check::bad("store", error.to_string(), "see what it says"),
    }
}

/// What this machine can do. Works without a backend, and with a configuration that does not.
async fn doctor(
    cli: &Cli,
    read: &Result<(Config, Origin), config::Complaint>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let (config, origin) = match read {
        Ok((config, origin)) => (config.clone(), origin.clone()),
        Err(_) => (Config::default(), Origin::default()),
    };
    let place = Place::new(cli, config, origin);
    let files = place.origin.files();
    let said = match read {
        Ok(_) => Ok(files.as_slice()),
        Err(complaint) => Err(complaint.0.as_str()),
    };
    let mut checks = cli::checks(&place.state_dir, said);
    checks.push(store(&place.state_dir));
    let ports = drivers::real(&place.settings());
    let host = Host {
        tools: ports.toolbox.tools().await,
        accelerator: ports.hypervisor.accelerator().await.ok(),
        ..Host::default()
    };
    match cli::doctor(&host, &checks, json, &mut std::io::stdout()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(trouble) => Ok(trouble.tell(&mut std::io::stderr())),
    }
}
