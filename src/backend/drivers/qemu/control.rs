//! What is said to a living QEMU on its control socket, and how its answers read.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::command::Files;
use super::living::Living;
use super::qmp::{Qmp, QmpError};
use crate::backend::drivers::atomic_file;
use crate::backend::engine::store::plain;
use crate::backend::ports::{CommandLog, Guest, GuestStatus};
use crate::domain::Failure;

/// How long QEMU may take to write out its disks and leave.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the kernel may take to bury it.
const EXIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A control connection to the QEMU of one guest.
#[derive(Debug)]
pub struct ControlSocket {
    qmp: Qmp,
    vm: u64,
}

/// Who is found where a guest's QEMU should be.
pub enum Reach {
    /// It can be spoken to.
    ControlSocket(ControlSocket),
    /// It lives, and nobody listens at its socket.
    Unheard(Living),
    /// It lives, and another file lies in the place of a disk that it has.
    Astray(Living, PathBuf),
    /// There is no process.
    Nobody,
}

impl Reach {
    /// Who there is without a socket.
    fn unheard(guest: &Guest) -> Self {
        let Some(living) = Living::find(guest) else { return Self::Nobody };
        match living.astray(guest) {
            Some(place) => Self::Astray(living, place),
            None => Self::Unheard(living),
        }
    }
}

impl ControlSocket {
    /// Connects to the guest's QEMU, and makes sure that it is the guest's.
    ///
    /// # Errors
    /// When somebody listens and does not answer, or is another VM's.
    pub async fn reach(guest: &Guest) -> Result<Reach, Failure> {
        let absent = || Reach::unheard(guest);
        let mut qmp = match Qmp::connect(&Files::of(guest).control).await {
            Ok(qmp) => qmp,
            Err(QmpError::Nobody | QmpError::Closed) => return Ok(absent()),
            Err(error) => return Err(unreachable(guest.id, &error)),
        };
        let uuid = match qmp.execute("query-uuid", Value::Null).await {
            Ok(answer) => answer["UUID"].as_str().unwrap_or_default().to_owned(),
            Err(QmpError::Closed) => return Ok(absent()),
            Err(error) => return Err(unreachable(guest.id, &error)),
        };
        if uuid != guest.uuid.to_string() {
            return Err(Failure::new(format!(
                "the QEMU at {} (process {}) runs another VM, {uuid}; end it and relaunch",
                Files::of(guest).control.display(),
                qmp.pid().as_raw_pid()
            )));
        }
        // A hard link of a socket leads to the QEMU of the directory that was copied.
        let Some(living) = Living::known(guest, qmp.pid()) else { return Ok(absent()) };
        Ok(match living.astray(guest) {
            Some(place) => Reach::Astray(living, place),
            None => Reach::ControlSocket(Self { qmp, vm: guest.id }),
        })
    }

    /// Connects to the guest's QEMU; `None` when there is no process.
    ///
    /// # Errors
    /// When a process is there and cannot be spoken to, or is another VM's.
    pub async fn open(guest: &Guest) -> Result<Option<Self>, Failure> {
        match Self::reach(guest).await? {
            Reach::ControlSocket(control) => Ok(Some(control)),
            Reach::Unheard(living) => Err(unheard(guest, &living)),
            Reach::Astray(living, place) => Err(Failure::new(astray(guest, &living, &place))),
            Reach::Nobody => Ok(None),
        }
    }

    /// Connects to a QEMU that must be there.
    ///
    /// # Errors
    /// `vm/3 does not run` among others.
    pub async fn must(guest: &Guest) -> Result<Self, Failure> {
        Self::open(guest)
            .await?
            .ok_or_else(|| Failure::new(format!("vm/{} does not run; start it first", guest.id)))
    }

    /// The connection itself, for what is not worth a line in the log.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Asks a question.
    ///
    /// # Errors
    /// When QEMU does not answer it.
    pub async fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, Failure> {
        let asked = self.qmp.execute(command, arguments).await;
        asked.map_err(|error| unreachable(self.vm, &error))
    }

    /// Says a command that changes something, and notes it in the log.
    ///
    /// # Errors
    /// QEMU's own, so that the caller can tell a refusal from a broken connection.
    pub async fn say(
        &mut self,
        log: &CommandLog,
        command: &str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        let line = match &arguments {
            Value::Null => format!("QMP {command}"),
            _ => format!("QMP {command} {arguments}"),
        };
        let begun = log.begin(line);
        let clock = Instant::now();
        let answer = self.qmp.execute(command, arguments).await;
        let took = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &answer {
            Ok(_) => log.end(begun, "ok", "", took),
            Err(error) => log.end(begun, "failed", error.to_string(), took),
        }
        answer
    }

    /// What the guest is doing.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub async fn status(&mut self) -> Result<GuestStatus, Failure> {
        let answer = self.ask("query-status", Value::Null).await?;
        Ok(match answer["status"].as_str().unwrap_or_default() {
            "running" => GuestStatus::Running,
            "shutdown" => GuestStatus::ShutDown,
            "io-error" | "internal-error" | "guest-panicked" | "watchdog" => GuestStatus::Broken,
            _ => GuestStatus::Paused,
        })
    }

    /// Whether guests run under KVM or are emulated, by name.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub async fn accelerator(&mut self) -> Result<String, Failure> {
        let kvm = self.ask("query-kvm", Value::Null).await?["enabled"] == true;
        Ok(if kvm { "kvm" } else { "tcg" }.to_owned())
    }
}

/// The failure for a command that QEMU would not do.
pub fn refused(what: &str, error: &QmpError) -> Failure {
    Failure::new(format!("cannot {what}: QEMU: {error}"))
}

fn unreachable(vm: u64, error: &QmpError) -> Failure {
    Failure::passing(format!("cannot ask the QEMU of vm/{vm}: {error}"))
}

/// Why a living QEMU cannot be asked: its socket was removed, or is not there yet.
pub fn unheard(guest: &Guest, living: &Living) -> Failure {
    Failure::passing(format!(
        "the QEMU of vm/{} runs (process {}), but nobody listens at {}; shut the guest down from \
         inside, or cut its power with vm_stop force=true",
        guest.id,
        living.pid.as_raw_pid(),
        Files::of(guest).control.display()
    ))
}

/// Why a living QEMU is not the guest at work, and what to do.
pub fn astray(guest: &Guest, living: &Living, place: &Path) -> String {
    let pid = living.pid.as_raw_pid();
    format!(
        "the QEMU of vm/{} (process {pid}) has another disk than the one at {}, which was put \
         there while it ran, as a backup is that is restored: nothing its guest writes is kept; \
         end that process with `kill {pid}`, and start the VM then",
        guest.id,
        place.display()
    )
}

/// What a guest is doing.
pub async fn status(guest: &Guest) -> Result<GuestStatus, Failure> {
    match ControlSocket::reach(guest).await? {
        Reach::ControlSocket(mut control) => control.status().await,
        Reach::Unheard(_) | Reach::Astray(..) => Ok(GuestStatus::Unreachable),
        Reach::Nobody => Ok(GuestStatus::Off),
    }
}

/// Presses the power button.
pub async fn power_button(guest: &Guest, log: &CommandLog) -> Result<(), Failure> {
    let pressed = ControlSocket::must(guest).await?.say(log, "system_powerdown", Value::Null).await;
    let what = format!("press the power button of vm/{}", guest.id);
    pressed.map(drop).map_err(|error| refused(&what, &error))
}

/// Starts a guest anew within its process.
pub async fn reset(guest: &Guest, log: &CommandLog) -> Result<(), Failure> {
    let mut control = ControlSocket::must(guest).await?;
    let what = format!("reset vm/{}", guest.id);
    for command in ["system_reset", "cont"] {
        control.say(log, command, Value::Null).await.map_err(|error| refused(&what, &error))?;
    }
    Ok(())
}

/// Ends the process, by asking and then by force, and tidies up what it left.
pub async fn quit(guest: &Guest, log: &CommandLog) -> Result<(), Failure> {
    // A launch that was called off may leave more than one process.
    while let Some(living) = Living::find(guest) {
        end(&living, guest, log).await?;
    }
    tidy(guest)
}

/// Ends what one launch has started, and nothing else.
pub async fn withdraw(guest: &Guest, launch: &str, log: &CommandLog) -> Result<(), Failure> {
    while let Some(living) = Living::launched(guest, launch) {
        end(&living, guest, log).await?;
    }
    // The sockets may be those of one that lives on.
    if Living::find(guest).is_some() { Ok(()) } else { tidy(guest) }
}

/// Ends a process, by asking and then by force. That it does is noted first: who finds it gone
/// later knows that it did not crash.
async fn end(living: &Living, guest: &Guest, log: &CommandLog) -> Result<(), Failure> {
    let note = Files::of(guest).ended;
    if let Err(error) = plain::open(&note, File::options().write(true).create(true)) {
        // No guest goes on running for want of a note.
        tracing::warn!(note = %note.display(), %error, "it is not noted that a QEMU is ended");
    }
    // A QEMU that cannot be asked is killed: that is what the deadline is for.
    if let Ok(Some(mut control)) = ControlSocket::open(guest).await
        && control.qmp().pid() == living.pid
        && control.say(log, "quit", Value::Null).await.is_ok()
        && living.ended(QUIT_TIMEOUT).await?
    {
        return Ok(());
    }
    kill(living, guest, log).await
}

/// Ends a process by force.
async fn kill(living: &Living, guest: &Guest, log: &CommandLog) -> Result<(), Failure> {
    let pid = living.pid.as_raw_pid();
    let begun = log.begin(format!("kill -KILL {pid}"));
    let clock = Instant::now();
    living.kill()?;
    let ended = living.ended(EXIT_TIMEOUT).await?;
    let took = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    log.end(begun, if ended { "ok" } else { "still there" }, "", took);
    if ended {
        return Ok(());
    }
    Err(Failure::passing(format!(
        "the QEMU of vm/{} (process {pid}) does not die: the kernel holds it, for a disk or a \
         network that does not answer",
        guest.id
    )))
}

/// Removes what a QEMU leaves behind: its sockets, and the pidfile when it was killed.
fn tidy(guest: &Guest) -> Result<(), Failure> {
    let files = Files::of(guest);
    for file in [&files.control, &files.events, &files.serial, &files.pidfile] {
        atomic_file::remove(file)
            .map_err(|error| Failure::io(format!("remove {}", file.display()), &error))?;
    }
    Ok(())
}
