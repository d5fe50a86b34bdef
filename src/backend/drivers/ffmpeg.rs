//! The encoder behind the port: ffmpeg, supervised, and never believed without a look at what it
//! wrote.
//!
//! ffmpeg ends with status 0 on a source that breaks off, and on an output cut short by somebody's
//! `q`. So an encoding counts only when ffprobe finds the wanted streams in it at full length.
//!
//! ffmpeg writes into a fresh folder beside the output. Which one that is stands in the command
//! that the job's folder keeps, so it is found again by the next hostler, and goes with the job.

mod formats;
pub(super) mod probe;
pub(super) mod progress;

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::atomic_file;
use super::process;
use super::supervise::{Doing, ExitReport, LongCommand, Stall, Supervised, Supervision};
use crate::backend::ports::{
    CommandLog, EncodeJob, Encoded, Encoder, MediaInfo, PortFuture, Report,
};
use crate::backend::state_files::beneath::Folder;
use crate::domain::Failure;
use crate::file;

use progress::EncoderProgress;

/// How often ffmpeg tells how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// How much an output's length may differ from its source's: a second, or one part in a hundred.
/// Codecs pad the last frame, and containers round; a file cut short misses more than that.
fn tolerance(length_s: f64) -> f64 {
    (length_s / 100.0).max(1.0)
}

/// ffmpeg and ffprobe.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    supervision: Supervision,
}

impl Ffmpeg {
    /// The ones in PATH.
    #[must_use]
    pub const fn new(supervision: Supervision) -> Self {
        Self { supervision }
    }

    async fn run(
        &self,
        job: &EncodeJob,
        report: Report<'_>,
        log: &CommandLog,
    ) -> Result<Encoded, Failure> {
        if let Some(folder) = job.output.parent().filter(|folder| !folder.is_dir()) {
            return Err(Failure::new(format!(
                "cannot write {}: the folder {} does not exist; make it and relaunch",
                job.output.display(),
                folder.display()
            )));
        }
        let dir = &job.dir;
        let fresh = fresh_dir(&job.output)?;
        let fits = |it: &Supervised| {
            let Some(partial) = partial_of(it, &job.output) else { return false };
            // What is done counts only while what it wrote is there.
            let there = it.state() == Doing::Running || partial.file.is_file();
            there && command(job, Some(&partial.dir)).ok() == it.command()
        };
        // What runs or is done has read its own. Why one cannot be read at all, ffmpeg tells.
        if !fits(&Supervised::at(dir))
            && let Err(error) = file::open(&job.source)
            && error.kind() == io::ErrorKind::Other
        {
            return Err(Failure::new(format!(
                "cannot encode {}: {error}; put the file back and relaunch",
                job.source.display()
            )));
        }
        let command = command(job, Some(&fresh))?;
        let tool = self.supervision.start_unless(dir, fits, &command).await?;
        let line = tool.command().map_or_else(|| command.line(), |found| found.line());
        let at_work = tool.outer_at_work();
        let begun = log.begin(line);
        let clock = Instant::now();
        let ending = follow(&tool, job, report).await?;
        let stderr = file::read_end(tool.stderr()).unwrap_or_default();
        let took = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        log.end(begun, ending.words(), process::tail(&stderr), took);
        if ending != ExitReport::Exit(0) {
            return Err(complaint(job, &ending, &stderr));
        }
        let last = EncoderProgress::read(&progress_file(dir))
            .map_err(|error| Failure::io(format!("read {}", dir.display()), &error))?
            .unwrap_or_default();
        let partial = partial_of(&tool, &job.output).ok_or_else(|| gone(job))?;
        // What counts is what ffmpeg wrote, and not what lies under that path by now.
        let Some(held) = tool.outer_folder() else {
            let known = at_work.is_some();
            tool.remove_outer_dir(at_work)?;
            return Err(moved(job, (!known).then_some(&partial.dir)));
        };
        let partial = partial.file;
        verify(job, &partial, last.out_s, log).await?;
        let made = std::fs::symlink_metadata(held.held().join(file_name(&job.output)))
            .map_err(|error| Failure::io(format!("look at {}", partial.display()), &error))?;
        Ok(Encoded { speed: last.speed.unwrap_or_default(), bytes: made.len(), inode: made.ino() })
    }

    /// The file ffmpeg writes, or has written, for a job: hidden in a folder of its own beside the
    /// output, so that one rename makes it the output.
    #[must_use]
    pub fn partial(job: &EncodeJob) -> Option<PathBuf> {
        partial_of(&Supervised::at(&job.dir), &job.output).map(|partial| partial.file)
    }
}

impl Encoder for Ffmpeg {
    fn probe<'a>(&'a self, path: &'a Path, log: &'a CommandLog) -> PortFuture<'a, MediaInfo> {
        Box::pin(probe::ask(path, log))
    }

    fn command_line(&self, job: &EncodeJob) -> String {
        command(job, None).map_or_else(|failure| failure.message, |command| command.line())
    }

    fn encode<'a>(
        &'a self,
        job: &'a EncodeJob,
        report: Report<'a>,
        log: &'a CommandLog,
    ) -> PortFuture<'a, Encoded> {
        Box::pin(self.run(job, report, log))
    }

    fn finish<'a>(&'a self, job: &'a EncodeJob, encoded: &'a Encoded) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let it = Supervised::at(&job.dir);
            let (job, encoded, tool) = (job.clone(), *encoded, it.clone());
            blocking(move || publish(&job, tool.outer_folder().as_ref(), &encoded)).await?;
            it.remove().await
        })
    }

    fn remove_leftovers<'a>(&'a self, dir: &'a Path) -> PortFuture<'a, ()> {
        Box::pin(async move { Supervised::at(dir).remove().await })
    }
}

/// Makes what was verified the output, or finds that done. Blocks.
fn publish(job: &EncodeJob, held: Option<&Folder>, encoded: &Encoded) -> Result<(), Failure> {
    let output = &job.output;
    let writing = |error: io::Error| Failure::io(format!("write {}", output.display()), &error);
    let is_it = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|it| encoded.is(&it));
    if is_it(output) {
        return atomic_file::sync_dir(output).map_err(writing);
    }
    let partial = held.map(|held| held.held().join(file_name(output)));
    let Some(partial) = partial.filter(|partial| is_it(partial)) else { return Err(gone(job)) };
    atomic_file::publish_new(&partial, output).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(format!(
            "cannot finish {}: another file of that name has appeared meanwhile; move it away and \
             relaunch",
            output.display()
        )),
        _ => writing(error),
    })
}

/// What ffmpeg wrote is not what is there now.
fn gone(job: &EncodeJob) -> Failure {
    Failure::new(format!(
        "cannot finish {}: what ffmpeg wrote for it was taken away or changed meanwhile; relaunch \
         to encode anew",
        job.output.display()
    ))
}

/// The folder that ffmpeg was at work in is not where it was made. `left` is what that was called,
/// unless it was found and removed.
fn moved(job: &EncodeJob, left: Option<&PathBuf>) -> Failure {
    let folder = job.output.parent().unwrap_or(Path::new("/")).display();
    let left = left.and_then(|left| left.file_name()).map_or_else(String::new, |name| {
        format!("remove {} where that folder is now, ", name.display())
    });
    Failure::new(format!(
        "cannot finish {}: the folder {folder}, or a link that leads to it, was moved or replaced \
         while ffmpeg wrote into it; put it back or leave it as it is, {left}and relaunch to \
         encode anew",
        job.output.display()
    ))
}

/// Where ffmpeg writes until the output is verified.
struct PartialOutput {
    dir: PathBuf,
    file: PathBuf,
}

/// Where what runs or ran in a job's folder writes, if that is for this output.
fn partial_of(it: &Supervised, output: &Path) -> Option<PartialOutput> {
    let dir = it.command()?.outer_dir?;
    (dir.parent() == output.parent())
        .then(|| PartialOutput { file: dir.join(file_name(output)), dir })
}

/// What an output is called, also until it is verified.
fn file_name(output: &Path) -> &OsStr {
    output.file_name().unwrap_or_default()
}

/// A folder beside an output that nobody else knows the name of: what is there already can neither
/// be followed nor written over, and what an earlier ffmpeg still writes cannot meet it.
fn fresh_dir(output: &Path) -> Result<PathBuf, Failure> {
    let name = text(output)?.rsplit('/').next().unwrap_or_default().to_owned();
    // A file's name may have 255 bytes.
    let end = (0..=name.len().min(200)).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    let fresh = Uuid::new_v4().simple();
    Ok(output.with_file_name(format!(".{}.partial-{fresh}", &name[..end])))
}

/// What is run for a job that writes into a folder of its own. Without one, as it is shown
/// beforehand: straight into the output.
fn command(job: &EncodeJob, dir: Option<&Path>) -> Result<LongCommand, Failure> {
    let (source, output, progress) =
        (text(&job.source)?, text(&job.output)?, text(&progress_file(&job.dir))?);
    // ffmpeg works in the folder, so that no path can be made to lead elsewhere meanwhile.
    let target = match dir {
        Some(_) => format!("file:{}", output.rsplit('/').next().unwrap_or_default()),
        None => output,
    };
    let period = PROGRESS_INTERVAL.as_secs_f64().to_string();
    let before = ["-nostdin", "-hide_banner", "-v", "warning", "-nostats", "-y"];
    let told = ["-stats_period", &period, "-progress", &progress];
    let format = formats::opened_as(&job.media.container);
    let arguments = before.into_iter().chain(told).map(str::to_owned);
    let arguments = arguments.chain(format).chain(["-i".to_owned(), source]);
    let arguments = arguments.chain(job.arguments.iter().cloned()).chain([target]);
    let mut command = LongCommand::new("ffmpeg", arguments);
    command.outer_dir = dir.map(Path::to_owned);
    Ok(command)
}

/// A path as an argument that is kept in JSON.
fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::new(format!(
            "cannot encode {}: its name is not UTF-8; rename it and try again",
            path.display()
        ))
    })
}

fn progress_file(dir: &Path) -> PathBuf {
    dir.join("progress")
}

/// Reports how far ffmpeg is until it ends.
async fn follow(
    tool: &Supervised,
    job: &EncodeJob,
    report: Report<'_>,
) -> Result<ExitReport, Failure> {
    let file = progress_file(&job.dir);
    let mut told = None;
    let mut tell = || match EncoderProgress::read(&file) {
        Ok(Some(progress)) if told != Some(progress) => {
            told = Some(progress);
            report(progress.meter(job.media.duration_s));
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::io(format!("read {}", file.display()), &error)),
    };
    let written = partial_of(tool, &job.output).map(|partial| partial.file);
    let mut stall = Stall::watch(written.into_iter().chain([file.clone()]).collect());
    let mut every = tokio::time::interval(PROGRESS_INTERVAL);
    let wait = tool.wait();
    tokio::pin!(wait);
    loop {
        tokio::select! {
            ending = &mut wait => {
                tell()?;
                return ending;
            }
            _ = every.tick() => {
                tell()?;
                if stall.is_over(tool) {
                    tool.stop().await?;
                    return Err(Failure::passing(format!(
                        "cannot encode {}: ffmpeg has got no further for an hour and was ended; \
                         see whether the disks of source and output answer, then relaunch",
                        job.source.display()
                    )));
                }
            }
        }
    }
}

/// Why ffmpeg did not do it, and what to do.
fn complaint(job: &EncodeJob, ending: &ExitReport, stderr: &str) -> Failure {
    let source = job.source.display();
    match ending {
        ExitReport::NotStarted { missing: true, .. } => Failure::new(
            "ffmpeg is not installed; `hostler doctor` tells how to get it, then relaunch",
        ),
        ExitReport::NotStarted { error, .. } => {
            Failure::new(format!("cannot encode {source}: ffmpeg does not start: {error}"))
        }
        ExitReport::Vanished => Failure::passing(format!(
            "cannot encode {source}: ffmpeg is gone and left no word, as after a kill or a power \
             cut; relaunch to begin anew"
        )),
        ExitReport::Signal(signal) => Failure::passing(format!(
            "cannot encode {source}: ffmpeg was killed by signal {signal}, perhaps for want of \
             memory; relaunch to begin anew"
        )),
        // What ffmpeg ends with when SIGTERM or SIGINT told it to.
        ExitReport::Exit(255) => Failure::passing(format!(
            "cannot encode {source}: somebody told ffmpeg to stop; relaunch to begin anew"
        )),
        ExitReport::Exit(_) => {
            let why = last_words(stderr).unwrap_or_else(|| ending.words());
            let advice = if stderr.contains("No space left on device") {
                "free some space and relaunch"
            } else {
                "change the source or the preset and relaunch"
            };
            Failure::new(format!("cannot encode {source}: ffmpeg: {why}; {advice}"))
        }
    }
}

/// The last line of ffmpeg's that says why: not the one that says that it failed, and without the
/// address of the part that speaks.
fn last_words(stderr: &str) -> Option<String> {
    let lines = || stderr.lines().rev().map(str::trim);
    let says = |line: &&str| !line.is_empty() && *line != "Conversion failed!";
    let line = lines()
        .find(|line| line.contains("No space left on device"))
        .or_else(|| lines().find(says))?;
    let said = match line.split_once("] ") {
        Some((who, said)) if who.starts_with('[') && who.contains(" @ 0x") => said,
        _ => line,
    };
    Some(said.trim_end_matches('.').to_owned())
}

/// Looks whether what ffmpeg wrote is all of what it should have written.
async fn verify(
    job: &EncodeJob,
    partial: &Path,
    told_s: Option<f64>,
    log: &CommandLog,
) -> Result<(), Failure> {
    let source = job.source.display();
    let (video, audio) = (wants(job, "-vn"), wants(job, "-an"));
    let made = probe::ask(partial, log).await.map_err(|failure| {
        Failure::new(format!(
            "cannot encode {source}: ffmpeg ended well, but {}; change the source or the preset \
             and relaunch",
            failure.message
        ))
    })?;
    let original = &job.media;
    for (wanted, there, what) in [
        (video && original.video, made.video, "video"),
        (audio && original.audio, made.audio, "sound"),
    ] {
        if wanted && !there {
            return Err(Failure::new(format!(
                "cannot encode {source}: ffmpeg ended well, but there is no {what} in what it \
                 wrote; change the preset and relaunch"
            )));
        }
    }
    let expected = original.length(video, audio).or(told_s);
    if let Some((expected, found)) = expected.zip(made.duration_s)
        && (expected - found).abs() > tolerance(expected)
    {
        return Err(Failure::new(format!(
            "cannot encode {source}: it says it is {expected:.1} s long, but only {found:.1} s \
             could be encoded; it is probably cut short or damaged: get it again and relaunch"
        )));
    }
    Ok(())
}

/// Whether a job's arguments do not leave a sort of stream out.
fn wants(job: &EncodeJob, without: &str) -> bool {
    !job.arguments.iter().any(|argument| argument == without)
}

/// Runs what may block where it does no harm.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    crate::backend::engine::work::blocking(work)
        .await
        .map_err(|error| Failure::new(format!("hostler has a fault: {error}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_those_that_say_why() {
        let full = "[mp4 @ 0x55d0] Unable to write\n\
            av_interleaved_write_frame(): No space left on device\n\
            Error writing trailer of /x: Input/output error\nConversion failed!\n";
        assert_eq!(
            last_words(full).unwrap(),
            "av_interleaved_write_frame(): No space left on device"
        );
        let codec = "[libopus @ 0x55d0] Invalid channel layout.\nConversion failed!\n\n";
        assert_eq!(last_words(codec).unwrap(), "Invalid channel layout");
        assert_eq!(last_words("\n"), None);
    }
}
