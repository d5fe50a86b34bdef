//! Starts a VM's QEMU, or takes over the one that lives.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::Command;
use tokio::time::sleep;

use super::accelerator::first_error;
use super::command::{self, Files};
use super::control::{self, ControlSocket, Reach};
use super::living::LAUNCH;
use super::logs;
use crate::backend::drivers::{atomic_file, process};
use crate::backend::ports::{CommandLog, Guest, GuestSpec, GuestStatus};
use crate::domain::Failure;
use crate::file;

/// How long a QEMU that somebody else has just launched may take to open its sockets.
const APPEAR: Duration = Duration::from_secs(5);
/// How long to wait before such a one is looked for again. That a socket appears does not tell that
/// it is answered, and so rare a case is not worth a watch.
const APPEAR_RETRY: Duration = Duration::from_millis(50);

/// Launches a VM, or adopts its QEMU; the accelerator used is returned by name.
///
/// # Errors
/// One sentence with QEMU's own error.
pub async fn launch(
    program: &str,
    accelerator: &str,
    spec: &GuestSpec,
    log_bytes: u64,
    log: &CommandLog,
) -> Result<String, Failure> {
    let guest = &spec.guest;
    Files::of(guest).check()?;
    make_dir(guest)?;
    if let Some(adopted) = adopt(guest, log).await? {
        return Ok(adopted);
    }
    match spawn(program, accelerator, spec, log_bytes, log).await {
        // The pidfile's lock lets only one through. Whoever was first was launched for this VM,
        // by a console that died before it could say so.
        Err(failure) if failure.message.contains("lock") && failure.message.contains("pid") => {
            let late = Instant::now() + APPEAR;
            while Instant::now() < late {
                if let Ok(Some(adopted)) = adopt(guest, log).await {
                    return Ok(adopted);
                }
                sleep(APPEAR_RETRY).await;
            }
            Err(failure)
        }
        Err(failure) => Err(failure),
        // It goes into the background when its guest runs, under the one accelerator it was given.
        Ok(()) => Ok(accelerator.to_owned()),
    }
}

/// Takes over a living QEMU. One whose guest has shut down is ended, to be launched anew: what
/// the VM is made of may have changed since.
///
/// # Errors
/// When it lives and cannot be spoken to: a second one would have the same disks.
async fn adopt(guest: &Guest, log: &CommandLog) -> Result<Option<String>, Failure> {
    let late = Instant::now() + APPEAR;
    let mut control = loop {
        match ControlSocket::reach(guest).await? {
            Reach::ControlSocket(control) => break control,
            Reach::Nobody => return Ok(None),
            // It is still being launched, by a console that died before it could say so, or is
            // about to end.
            Reach::Unheard(_) if Instant::now() < late => sleep(APPEAR_RETRY).await,
            Reach::Unheard(living) => return Err(control::unheard(guest, &living)),
            Reach::Astray(living, place) => {
                return Err(Failure::new(control::astray(guest, &living, &place)));
            }
        }
    };
    match control.status().await? {
        GuestStatus::Running => {}
        GuestStatus::ShutDown | GuestStatus::Off | GuestStatus::Unreachable => {
            drop(control);
            control::quit(guest, log).await?;
            return Ok(None);
        }
        GuestStatus::Paused | GuestStatus::Broken => go_on(&mut control, guest, log).await?,
    }
    control.accelerator().await.map(Some)
}

async fn go_on(
    control: &mut ControlSocket,
    guest: &Guest,
    log: &CommandLog,
) -> Result<(), Failure> {
    let what = format!("let vm/{} go on", guest.id);
    let said = control.say(log, "cont", Value::Null).await;
    said.map(drop).map_err(|error| control::refused(&what, &error))
}

/// The VM's folder, which nobody else may look into.
fn make_dir(guest: &Guest) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&guest.dir)
        .and_then(|()| fs::set_permissions(&guest.dir, fs::Permissions::from_mode(0o700)))
        .map_err(|error| Failure::small(format!("make {}", guest.dir.display()), &error))
}

/// Runs the command line. QEMU goes into the background by itself when it is ready.
async fn spawn(
    program: &str,
    accelerator: &str,
    spec: &GuestSpec,
    log_bytes: u64,
    log: &CommandLog,
) -> Result<(), Failure> {
    let what = format!("launch vm/{}", spec.guest.id);
    let Files { stderr, ended, log: own_log, .. } = Files::of(&spec.guest);
    let failed = |error: io::Error| Failure::small(format!("write {}", stderr.display()), &error);
    Files::of(&spec.guest).are_ours()?;
    logs::begin(&spec.guest, log_bytes)?;
    atomic_file::remove(&ended)
        .map_err(|error| Failure::io(format!("remove {}", ended.display()), &error))?;
    let kept = File::create(&stderr).map_err(failed)?;

    let arguments = command::arguments(spec, accelerator);
    let begun = log.begin(process::line(program, &arguments));
    let clock = Instant::now();
    let took = || u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    let spawned = Command::new(program)
        .args(&arguments)
        .env("LC_ALL", "C.UTF-8")
        .env(LAUNCH, &spec.launch)
        .current_dir(&spec.guest.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(kept)
        // Called off. The one it may have forked by then ends too, or is found by `quit`.
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            log.end(begun, "not started", error.to_string(), took());
            return Err(process::not_started(program, &error));
        }
    };
    let status = child.wait().await.map_err(|error| Failure::io(&what, &error))?;
    // QEMU's standard error goes over into its log as soon as it has read its command line.
    let said = [&stderr, &own_log].map(|it| file::read_end(it).unwrap_or_default()).concat();
    let how = process::ended(status);
    log.end(begun, &how, process::tail(&said), took());
    if status.success() {
        return Ok(());
    }
    let first_error = first_error(program, &said).unwrap_or(how);
    Err(Failure::new(format!("cannot {what}: QEMU: {first_error}")))
}
