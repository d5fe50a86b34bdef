//! A QEMU that lives: how it is found again, held, and seen to end.
//!
//! A process number proves nothing: it may be a zombie's, or another program's by now. Nor does a
//! UUID alone, which a copy of a state directory has as well. A living QEMU is one whose command
//! line has the guest's UUID and that has a file of the guest's own folder open: wherever that was
//! moved to, and never one of the directory it was copied from. It is held by a process descriptor.
//!
//! It may have gone astray: other disks were put in the places of those that it has, as by a backup
//! that is restored. Then it is the guest's, to be named and ended, and nothing else.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::time::timeout;

use super::command::Files;
use crate::backend::ports::{Guest, GuestUsage, ROOT_DISK};
use crate::domain::Failure;
use crate::open_files::{self, identity, processes, works_in};
use crate::{file, watched_fd};

/// A living QEMU process.
#[derive(Debug)]
pub struct Living {
    /// Its number.
    pub pid: Pid,
    pidfd: OwnedFd,
}

/// The variable of QEMU's environment that says which launch started it.
pub const LAUNCH: &str = "HOSTLER_LAUNCH";

impl Living {
    /// A process of the guest's: the one its pidfile names, or any other. There is no pidfile yet
    /// while QEMU is being launched, and whoever tidies up may remove it from a living one.
    #[must_use]
    pub fn find(guest: &Guest) -> Option<Self> {
        Self::named(guest).or_else(|| Self::search(|pid| runs(pid, guest)))
    }

    /// A process of the guest's that one launch started.
    #[must_use]
    pub fn launched(guest: &Guest, launch: &str) -> Option<Self> {
        let mark = format!("{LAUNCH}={launch}");
        Self::search(|pid| runs(pid, guest) && has_word(pid, "environ", mark.as_bytes()))
    }

    /// The process that answers at a socket of the guest's, unless it is another directory's, to
    /// which a hard link of a socket leads.
    #[must_use]
    pub fn known(guest: &Guest, pid: Pid) -> Option<Self> {
        // One that nobody may look into is taken for it: it answers at the guest's own socket.
        let is_its = |pid| has_uuid(pid, guest) && works_in(pid, &guest.dir) != Some(false);
        Self::hold(pid, is_its)
    }

    /// The place of a disk of the guest's where another file lies than the process has: what the
    /// guest writes is in neither. Of other disks than the root disk only those are found that were
    /// replaced where they lay, and none that was moved away before.
    #[must_use]
    pub fn astray(&self, guest: &Guest) -> Option<PathBuf> {
        let pidfile = Files::of(guest).pidfile;
        let mut disks = open_files::written(self.pid);
        disks.retain(|file| file.path.file_name() != pidfile.file_name());
        // One that is still being launched has none yet; the root disk is its first.
        let root = (!disks.is_empty()).then(|| guest.dir.join(ROOT_DISK));
        let mut places = root.into_iter().chain(disks.iter().map(|disk| disk.path.clone()));
        places.find(|place| {
            identity(place).is_some_and(|there| disks.iter().all(|disk| disk.is != there))
        })
    }

    /// The process the guest's pidfile names, when it lives and is the guest's.
    fn named(guest: &Guest) -> Option<Self> {
        let pidfile = file::read_text(Files::of(guest).pidfile).ok()?;
        let pid = Pid::from_raw(pidfile.trim().parse().ok()?)?;
        Self::hold(pid, |pid| runs(pid, guest))
    }

    /// The first process of the box that is it.
    fn search(is_it: impl Fn(Pid) -> bool) -> Option<Self> {
        processes().find_map(|pid| Self::hold(pid, &is_it))
    }

    /// Held first and looked at then, so that the number cannot change hands in between.
    fn hold(pid: Pid, is_it: impl Fn(Pid) -> bool) -> Option<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        is_it(pid).then_some(Self { pid, pidfd })
    }

    /// Its descriptor, to be waited for.
    pub fn into_pidfd(self) -> OwnedFd {
        self.pidfd
    }

    /// Kills it. Finding it dead is success.
    ///
    /// # Errors
    /// When it belongs to somebody else.
    pub fn kill(&self) -> Result<(), Failure> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(Failure::io(
                format!("kill QEMU (process {})", self.pid.as_raw_pid()),
                &error.into(),
            )),
        }
    }

    /// Waits until it has ended; false when that takes longer than `patience`.
    ///
    /// # Errors
    /// When its descriptor cannot be waited for.
    pub async fn ended(&self, patience: Duration) -> Result<bool, Failure> {
        let failed = |error: io::Error| Failure::io("wait for QEMU to end", &error);
        let held = self.pidfd.try_clone().map_err(failed)?;
        timeout(patience, gone(held))
            .await
            .map_or(Ok(false), |end| end.map(|()| true).map_err(failed))
    }
}

/// Returns those of these guests of which no process lives, after one look at what runs on the box.
/// A process that nobody may look into is taken for that of the guest whose UUID it has.
#[must_use]
pub fn dead(mut guests: Vec<Guest>) -> Vec<Guest> {
    for pid in processes() {
        let Some(uuid) = uuid(pid) else { continue };
        let is_its = |it: &Guest| it.uuid.to_string().as_bytes() == uuid;
        guests.retain(|guest| !is_its(guest) || works_in(pid, &guest.dir) == Some(false));
    }
    guests
}

/// Returns when the process of a descriptor has ended; a zombie has.
///
/// # Errors
/// When the descriptor cannot be waited for.
pub async fn gone(pidfd: OwnedFd) -> io::Result<()> {
    let held = watched_fd::watch(pidfd, Interest::READABLE)?;
    held.readable().await.map(drop)
}

/// How much of the box a guest's process uses.
#[must_use]
pub fn usage(guest: &Guest) -> Option<GuestUsage> {
    let pid = Living::find(guest)?.pid.as_raw_pid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = rustix::param::page_size() as u64;
    Some(GuestUsage {
        cpu_ms: ticks * 1000 / rustix::param::clock_ticks_per_second(),
        memory_mib: (pages * page) >> 20,
    })
}

/// Whether a process was started with a guest's `-uuid`, and works in its folder.
fn runs(pid: Pid, guest: &Guest) -> bool {
    has_uuid(pid, guest) && works_in(pid, &guest.dir) == Some(true)
}

/// Whether a process was started with a guest's `-uuid`.
fn has_uuid(pid: Pid, guest: &Guest) -> bool {
    uuid(pid).is_some_and(|uuid| uuid == guest.uuid.to_string().as_bytes())
}

/// The `-uuid` that a process was started with. A zombie has no command line.
fn uuid(pid: Pid) -> Option<Vec<u8>> {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).ok()?;
    let mut words = line.split(|&byte| byte == 0).skip_while(|word| word != b"-uuid").skip(1);
    words.next().map(<[u8]>::to_vec)
}

/// Whether a file of a process in `/proc`, such as its environment, holds a word.
fn has_word(pid: Pid, file: &str, wanted: &[u8]) -> bool {
    fs::read(format!("/proc/{}/{file}", pid.as_raw_pid()))
        .is_ok_and(|words| words.split(|&byte| byte == 0).any(|word| word == wanted))
}
