//! Parse, wire, run: with what is below `main/`, the only room that sees every other.

#[path = "main/configured.rs"]
mod configured;
#[path = "main/leaving.rs"]
mod leaving;
#[path = "main/log.rs"]
mod log;
#[path = "main/looking.rs"]
mod looking;
#[path = "main/mending.rs"]
mod mending;
#[path = "main/owner.rs"]
mod owner;
#[path = "main/place.rs"]
mod place;

use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler::backend::drivers::{self, supervise};
use hostler::backend::{DirState, Embedded, find, operations, own};
use hostler::cli::{self, Check, Cli, CliCommand, CliError};
use hostler::config::{self, Config, Origin};
use hostler::domain::{Backend, BackendError, Catalogue, Host};
use hostler::ui;

use leaving::{Dependents, part};
use looking::{is_look, look_on};
use owner::Serving;
use place::{Place, Reached};

/// How long a backend in the background may take to answer for the first time.
const SERVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long until a state directory is asked for again whose owner is to change or to answer, which
/// nobody tells: neither a script notices that, nor the processor.
const NEXT_ATTEMPT: Duration = Duration::from_millis(20);
/// How long a script's command serves on for others that came meanwhile, before it leaves them to a
/// backend in the background.
const LINGER: Duration = Duration::from_secs(1);

/// The configuration, or what is wrong with it.
type Read = Result<(Config, Origin), config::ConfigError>;

fn main() -> ExitCode {
    // hostler starts itself once more beside every long tool: see `drivers::supervise`. That comes
    // before anything else, so that it costs next to nothing.
    let arguments: Vec<_> = std::env::args_os().collect();
    if let [_, word, dir] = arguments.as_slice()
        && word == "supervise"
    {
        return supervise::main(Path::new(dir));
    }
    // What our caller has open is not for what outlives us: a lock of his would stay held.
    close_fds::set_fds_cloexec(3, &[]);
    // The help shows what holds here, so the configuration comes before what else is asked. What is
    // wrong with it is told to those who need it.
    let named = cli::config_file(&arguments);
    let read = Config::load(named.as_deref());
    let told = read.as_ref().map(|(config, _)| config.clone()).unwrap_or_default();
    let kinds = operations::all(&place::settings(&config::default_state_dir(), &told));
    let mut catalogue = Catalogue::new(kinds.into_iter().map(|entry| entry.spec));
    let mut parsed = cli::parse(&catalogue, &arguments);
    if parsed.as_ref().is_err_and(cli::is_about_a_kind)
        && let Some(there) = place::catalogue_there(cli::state_dir(&arguments), &told)
    {
        parsed = cli::parse(&there, &arguments);
        catalogue = there;
    }
    let cli = match parsed {
        Ok(cli) => cli,
        // clap prints help to standard output with status 0 and errors to standard error with
        // 2.
        Err(error) => error.exit(),
    };
    let read = if cli.config == named { read } else { Config::load(cli.config.as_deref()) };
    let ran = run(cli, &catalogue, read);
    log::flush();
    match ran {
        Ok(code) => code,
        Err(error) => cli_error(error).report(&mut std::io::stderr()),
    }
}

/// What went wrong, as the one place sees it that decides exit statuses.
fn cli_error(error: anyhow::Error) -> CliError {
    if let Some(config::ConfigError(said)) = error.downcast_ref() {
        return CliError::Usage(said.clone());
    }
    match error.downcast::<BackendError>() {
        Ok(error) => CliError::Backend(error),
        Err(error) => CliError::Failed(format!("{error:#}")),
    }
}

fn run(cli: Cli, catalogue: &Catalogue, read: Read) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    match &cli.command {
        Some(CliCommand::Completions { shell }) => {
            cli::complete(catalogue, *shell, &mut out)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(CliCommand::Man) => {
            cli::man(catalogue, &mut out)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    if let Some(command) = &cli.command
        && command.asks_backend()
    {
        let (config, origin) = read.clone().map_err(anyhow::Error::new)?;
        if let Some(code) = attached(&Place::new(&cli, config, origin), command, catalogue)? {
            return Ok(code);
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // More than processors: a worker may wait for a slow disk in the middle of a step that is
        // not to be cut in two.
        .worker_threads(4)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    if let Some(CliCommand::Doctor { deep: false, compact: false, json }) = &cli.command {
        return runtime.block_on(doctor(&cli, &read, *json));
    }
    let (config, origin) = read.map_err(anyhow::Error::new)?;
    let place = Place::new(&cli, config, origin);
    match cli.command {
        Some(CliCommand::Doctor { compact: true, json, .. }) => {
            return mending::compact(&place, json);
        }
        Some(CliCommand::Doctor { json, .. }) => {
            return runtime.block_on(mending::deep(&place, json));
        }
        Some(CliCommand::Recover { dry_run, json }) => {
            return runtime.block_on(mending::recover(&place, dry_run, json));
        }
        _ => {}
    }
    let code = runtime.block_on(async {
        match cli.command {
            None => console(&place).await,
            Some(CliCommand::Serve { take_over }) => serve(&place, take_over).await,
            Some(CliCommand::Stop) => leaving::stop(&place).await,
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
    if place.read_only && find(&place.state_dir)? != DirState::Ours {
        anyhow::bail!(
            "there is nothing in the state directory {} yet, and read-only nothing is made; leave \
             out --read-only",
            place.state_dir.display()
        );
    }
    let mut session = None;
    loop {
        let (own, backend): (_, Arc<dyn Backend>) = match place.reach(false).await? {
            Reached::Own(embedded) => {
                let serving = Serving::start(&embedded, place)?;
                (Some((embedded.clone(), serving)), Arc::new(embedded))
            }
            Reached::Other(client) => {
                place.log(&place.config)?;
                place.look_after(&client);
                (None, Arc::new(client))
            }
        };
        let attached = own.is_none().then(|| backend.clone());
        let shown = show(place, &mut session, backend, own.is_some());
        let exit = match until_lost(own.as_ref().map(|(embedded, _)| embedded), shown).await {
            Ok(exit) => exit,
            Err(error) => {
                // Gives the terminal back, so that the sentence is seen.
                drop(session);
                return give_up(own, error).await;
            }
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
            if let Some(backend) = attached.filter(|_| exit == ui::Exit::Quit) {
                leaving::tell(place, Dependents::known(&*backend).await);
            }
            return Ok(ExitCode::SUCCESS);
        }
    }
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

fn options(place: &Place) -> anyhow::Result<ui::ConsoleOptions> {
    let config = &place.config;
    let mut keymap = Vec::new();
    if !config.keymap.is_empty() {
        let file = place.origin.files().first().map(|file| file.display().to_string());
        let keys = toml::to_string(&config.keymap).context("cannot read the key map")?;
        keymap.push((file.unwrap_or_default(), keys));
    }
    let kinds = operations::all(&place.settings()).into_iter();
    Ok(ui::ConsoleOptions {
        theme: config.theme.clone(),
        keymap,
        others: kinds.map(|entry| entry.spec.kind.into_owned()).collect(),
        read_only: place.read_only,
        mouse: config.mouse,
        ascii: config.ascii,
        preferences: Some(place.state_dir.join("console.json")),
        actor: place.actor("console"),
        ..ui::ConsoleOptions::default()
    })
}

/// Does something with a backend for as long as its state directory is there, when it is our own.
async fn until_lost<T>(
    own: Option<&Embedded>,
    work: impl Future<Output = T>,
) -> Result<T, BackendError> {
    let lost = async {
        match own {
            Some(embedded) => embedded.lost().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = work => Ok(done),
        error = lost => Err(error),
    }
}

/// Lets go of what was taken away from under us.
async fn give_up<T>(own: Option<(Embedded, Serving)>, error: BackendError) -> anyhow::Result<T> {
    match own {
        Some((embedded, serving)) => serving.give_up(&embedded, error).await,
        None => Err(error.into()),
    }
}

/// The backend without a screen, until SIGTERM or SIGINT.
async fn serve(place: &Place, take_over: bool) -> anyhow::Result<ExitCode> {
    let deadline = tokio::time::Instant::now() + SERVE_TIMEOUT;
    let owned = loop {
        if let Some(owned) = own(&place.state_dir)? {
            break owned;
        }
        // Whoever hands over to us is about to go; and so is one that answers nobody: a process
        // that is killed loses its socket before its lock.
        let attached = if take_over { None } else { Some(place.attach().await) };
        let late = tokio::time::Instant::now() >= deadline;
        match attached {
            Some(Err(error)) if late => return Err(place.nobody_answers(error)),
            Some(Err(_)) => {}
            None if !late => {}
            Some(Ok(_)) | None => anyhow::bail!(
                "another hostler runs on {}; attach to it by starting `hostler --state {0}`",
                place.state_dir.display()
            ),
        }
        tokio::time::sleep(NEXT_ATTEMPT).await;
    };
    let embedded = place.start(owned)?;
    let serving = Serving::start(&embedded, place)?;
    // Only systemd wants to know, and only where it started us.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    serving.until_told(place, embedded, take_over).await?;
    Ok(ExitCode::SUCCESS)
}

/// A command of a script, where a backend runs already; `None` where none is found at once.
///
/// Scripts give many of these, so it starts no more than it uses.
fn attached(
    place: &Place,
    command: &CliCommand,
    catalogue: &Catalogue,
) -> anyhow::Result<Option<ExitCode>> {
    if find(&place.state_dir)? != DirState::Ours {
        return Ok(None);
    }
    let own = command.names_what_is_known().then_some(catalogue);
    place::one_thread()?.block_on(async {
        let Some(client) = place.find_backend(own).await? else { return Ok(None) };
        place.look_after(&client);
        Ok(Some(carry_out(place, command.clone(), Arc::new(client), None, None).await?))
    })
}

/// A command of a script: asked of the backend that runs, or of one that lives as long as the
/// command and leaves what is still in flight to the background.
async fn script(place: &Place, command: CliCommand) -> anyhow::Result<ExitCode> {
    // What only asks makes nothing: where there is nothing, the answer is known.
    let nothing = if place.read_only || is_question(&command) { place.nothing()? } else { None };
    let nothing = match nothing {
        Some((DirState::Nothing, _)) if matches!(command, CliCommand::Watch { .. }) => {
            let dir = place.state_dir.display();
            let message = format!("there is no state directory {dir}, and so nothing to watch");
            return Err(BackendError::Unreachable { message }.into());
        }
        Some((_, nothing)) => (!matches!(command, CliCommand::Watch { .. })).then_some(nothing),
        None => None,
    };
    if let Some(nothing) = nothing {
        // An empty answer is true, and yet perhaps a slip of whoever named the directory.
        let why = format!("nobody has used the state directory {} yet", place.state_dir.display());
        return Ok(carry_out(place, command, Arc::new(nothing), None, Some(why)).await?);
    }
    let look = is_look(&command);
    let (backend, own): (Arc<dyn Backend>, _) = match place.reach(look).await? {
        Reached::Own(embedded) if look => return look_on(place, command, embedded).await,
        Reached::Own(embedded) => {
            // Served as well: the next command may come before this one has ended.
            let serving = Serving::start(&embedded, place)?;
            (Arc::new(embedded.clone()), Some((embedded, serving)))
        }
        Reached::Other(client) => {
            place.look_after(&client);
            (Arc::new(client), None)
        }
    };
    let own_backend = own.as_ref().map(|(embedded, _)| embedded);
    let code = match carry_out(place, command, backend, own_backend, None).await {
        Ok(code) => code,
        Err(error) => return give_up(own, error).await,
    };
    if let Some((embedded, serving)) = own {
        if !embedded.is_watched() {
            // Other commands that are about to ask for something. That one stays longer is no harm.
            let _ = tokio::time::timeout(LINGER, serving.clients.gone()).await;
        }
        serving.let_go(place, embedded).await?;
    }
    Ok(code)
}

/// Whether a command leaves everything as it is where nobody has asked for anything yet.
const fn is_question(command: &CliCommand) -> bool {
    matches!(
        command,
        CliCommand::List(_)
            | CliCommand::Show { .. }
            | CliCommand::Watch { .. }
            | CliCommand::Serial { .. }
            | CliCommand::Operation { .. }
    )
}

/// Carries a command out with a backend, for as long as that has its state directory.
async fn carry_out(
    place: &Place,
    command: CliCommand,
    backend: Arc<dyn Backend>,
    own: Option<&Embedded>,
    nothing_because: Option<String>,
) -> Result<ExitCode, BackendError> {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let session = cli::CliContext {
        backend,
        // An owner elsewhere names the user itself, as the kernel says who asks.
        actor: if own.is_some() { place.actor("cli") } else { "cli".to_owned() },
        bar: err.is_terminal(),
        columns: columns(),
        read_only: place.read_only,
        nothing_because,
        out: &mut out,
        err: &mut err,
        keyboard: &mut cli::Terminal,
    };
    until_lost(own, cli::run(command, session)).await
}

/// How wide the terminal is that answers go to, where it is one.
fn columns() -> Option<u16> {
    let out = std::io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok());
    size.flatten().map(|size| size.ws_col)
}

/// What this machine can do. Works without a backend, and with a configuration that does not.
async fn doctor(cli: &Cli, read: &Read, json: bool) -> anyhow::Result<ExitCode> {
    let (config, origin) = match read {
        Ok((config, origin)) => (config.clone(), origin.clone()),
        Err(_) => (Config::default(), Origin::default()),
    };
    let place = Place::new(cli, config, origin);
    let files = place.origin.files();
    let said = match read {
        Ok(_) => Ok(files.as_slice()),
        Err(error) => Err(error.0.as_str()),
    };
    let mut checks = cli::checks(&place.state_dir, said);
    if let Err(error) = find(&place.state_dir) {
        checks.retain(|check| check.name != "state directory");
        checks.push(Check::bad("state directory", error.to_string(), "hostler --state OTHER_DIR"));
    }
    checks.extend(configured::check(&place));
    checks.extend(mending::odd(&place));
    checks.extend(mending::unknown(&place));
    checks.extend(mending::outdated(&place));
    let mut settings = place.settings();
    // What is tried out leaves nothing where there is nothing of ours yet.
    let scratch = match find(&place.state_dir) {
        Ok(DirState::Ours) => {
            checks.push(mending::store(&place.state_dir));
            None
        }
        _ => Some(Scratch::new()?),
    };
    if let Some(Scratch(dir)) = &scratch {
        settings.state_dir.clone_from(dir);
    }
    let ports = drivers::real(&settings);
    let host = Host {
        tools: ports.toolbox.tools().await,
        accelerator: ports.hypervisor.accelerator().await.ok(),
        ..Host::default()
    };
    match cli::doctor(&host, &checks, json, &mut std::io::stdout()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Ok(error.report(&mut std::io::stderr())),
    }
}

/// A directory that goes when it has been used.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("hostler-{}", uuid::Uuid::new_v4().simple()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whatever stays is swept with the other temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
