//! Real encodings of films that ffmpeg itself makes up.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use hostler::backend::drivers::ffmpeg::Ffmpeg;
use hostler::backend::drivers::supervise::Supervised;
use hostler::backend::ports::{CommandLog, EncodeJob, Encoder};
use hostler::backend::presets::Presets;
use hostler::domain::Failure;

use super::{Reported, kill, rises, supervision};

fn ffmpeg() -> Ffmpeg {
    Ffmpeg::new(supervision())
}

/// Makes a film of an odd size with sound.
fn film(dir: &Path, seconds: u32) -> PathBuf {
    let path = dir.join("it's a film.mkv");
    make(&[
        "-f",
        "lavfi",
        "-i",
        &format!("testsrc=size=161x121:rate=25:duration={seconds}"),
        "-f",
        "lavfi",
        "-i",
        &format!("sine=duration={seconds}"),
        "-c:v",
        "mpeg4",
        "-c:a",
        "libmp3lame",
        path.to_str().unwrap(),
    ]);
    path
}

/// Runs ffmpeg by hand.
#[rustfmt::skip]
fn make(arguments: &[&str]) {
    let quiet = ["-v", "error", "-nostdin", "-y"];
    let made = Command::new("ffmpeg").args(quiet).args(arguments).status();
    assert!(made.unwrap().success(), "{arguments:?}");
}

/// The job of encoding a source with a preset, in folders of its own.
async fn job(source: &Path, preset: &str) -> EncodeJob {
    let presets = Presets::builtin();
    let preset = presets.get(preset).unwrap();
    let media = ffmpeg().probe(source, &CommandLog::default()).await.unwrap();
    assert_eq!(preset.refuses(source, &media), None);
    let dir = source.parent().unwrap();
    EncodeJob {
        dir: dir.join(format!("job-{}", preset.name)),
        source: source.to_owned(),
        output: dir.join(format!("out.{}", preset.extension)),
        arguments: preset.arguments(),
        media,
    }
}

/// Arguments that keep ffmpeg at work for as long as the source lasts.
async fn slow_job(source: &Path) -> EncodeJob {
    let mut job = job(source, "mp4").await;
    // Frames are given out no faster than somebody would watch them.
    job.arguments
        .splice(..0, ["-filter_complex".into(), "[0:V:0]realtime,scale=160:120[v]".into()]);
    let filter = job.arguments.iter().position(|argument| argument == "-vf").unwrap();
    job.arguments.drain(filter..filter + 2);
    let map = job.arguments.iter().position(|argument| argument == "0:V:0").unwrap();
    job.arguments[map] = "[v]".into();
    job
}

/// The failure of an encoding.
async fn failure(job: &EncodeJob) -> Failure {
    ffmpeg().encode(job, &|_| {}, &CommandLog::default()).await.unwrap_err()
}

/// Returns when ffmpeg is at work on a job that somebody else drives.
async fn at_work(job: &EncodeJob) -> Supervised {
    let it = Supervised::at(&job.dir);
    while it.members().is_empty() || !Ffmpeg::partial(job).is_some_and(|it| it.exists()) {
        tokio::task::yield_now().await;
    }
    it
}

/// The names beside a job's source, in order.
fn beside(job: &EncodeJob) -> Vec<String> {
    let names = std::fs::read_dir(job.source.parent().unwrap()).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_has_become_a_pipe_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(&film(dir.path(), 1), "mp4").await;
    std::fs::remove_file(&job.source).unwrap();
    assert!(Command::new("mkfifo").arg(&job.source).status().unwrap().success());
    // Nobody ever writes into it: ffmpeg would wait for ever.
    let failure = failure(&job).await;
    assert!(failure.message.contains("no regular file"), "{failure}");
    assert!(!job.dir.exists(), "nothing was started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_preset_makes_a_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let source = film(dir.path(), 4);
    for preset in &Presets::builtin() {
        let (job, log, reported) =
            (job(&source, &preset.name).await, CommandLog::default(), Reported::default());
        let encoded = ffmpeg().encode(&job, &|meter| reported.take(meter), &log).await.unwrap();
        assert!(encoded.speed > 0.0, "{}", preset.name);
        let fractions = reported.fractions();
        assert!(rises(&fractions) && *fractions.last().unwrap() > 0.9, "{fractions:?}");
        // What was run is what was shown beforehand, but for the hidden folder it is made in.
        let partial = Ffmpeg::partial(&job).unwrap();
        let shown = ffmpeg().command_line(&job);
        let begin = shown.strip_suffix(job.output.to_str().unwrap()).unwrap();
        let name = job.output.file_name().unwrap().to_str().unwrap();
        assert_eq!(log.commands()[0].line, format!("{begin}file:{name}"));
        let folder = std::fs::metadata(partial.parent().unwrap()).unwrap();
        assert_eq!(folder.permissions().mode() & 0o777, 0o700);
        assert_eq!(log.commands()[0].ended.as_deref(), Some("exit 0"));

        assert!(!job.output.exists());
        // Encoding twice finds it encoded, finishing twice finds it finished.
        assert_eq!(ffmpeg().encode(&job, &|_| {}, &log).await.unwrap(), encoded);
        ffmpeg().finish(&job, &encoded).await.unwrap();
        ffmpeg().finish(&job, &encoded).await.unwrap();
        assert!(!partial.parent().unwrap().exists() && !job.dir.exists());

        let made = ffmpeg().probe(&job.output, &log).await.unwrap();
        assert!((made.duration_s.unwrap() - 4.0).abs() < 0.5, "{made:?}");
        assert!(made.audio && made.video == (preset.name != "mp3"), "{made:?}");
        assert!(made.size.is_none_or(|size| size == (162, 122)), "{made:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_film_without_sound_is_encoded() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("silent.avi");
    make(&["-f", "lavfi", "-i", "testsrc=duration=1:size=64x48", source.to_str().unwrap()]);
    let job = job(&source, "flv").await;
    ffmpeg().encode(&job, &|_| {}, &CommandLog::default()).await.unwrap();
    let partial = Ffmpeg::partial(&job).unwrap();
    let made = ffmpeg().probe(&partial, &CommandLog::default()).await.unwrap();
    assert!(made.video && !made.audio);
}

#[tokio::test]
async fn what_is_no_media_is_refused_in_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("noise.mp4"), [7; 5000]).unwrap();
    std::fs::write(at("letter.txt"), "Dear operator,\nno film today.\n".repeat(50)).unwrap();
    std::fs::write(at("empty.mkv"), "").unwrap();
    make(&["-f", "lavfi", "-i", "testsrc", "-frames:v", "1", at("p.png").to_str().unwrap()]);
    for name in ["noise.mp4", "letter.txt", "empty.mkv", "p.png", "."] {
        let failure = ffmpeg().probe(&at(name), &CommandLog::default()).await.unwrap_err();
        let begins = format!("{} is no video or audio file: ", at(name).display());
        assert!(failure.message.starts_with(&begins), "{failure}");
        assert_eq!(failure.message.lines().count(), 1, "{failure}");
    }
    let failure = ffmpeg().probe(&at("nothing"), &CommandLog::default()).await.unwrap_err();
    assert!(failure.message.contains("No such file"), "{failure}");
}

/// Writes files that name others, or would have ffmpeg make something up, and what each is.
fn hostile(dir: &Path) -> Vec<(PathBuf, &'static str)> {
    let secret = dir.join("secret.ts");
    make(&["-f", "lavfi", "-i", "testsrc=duration=1:size=64x48", secret.to_str().unwrap()]);
    let (name, path) = ("secret.ts", secret.display());
    let dash = format!(
        "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
         mediaPresentationDuration=\"PT1S\" profiles=\"urn:mpeg:dash:profile:isoff-main:2011\">\
         <Period><AdaptationSet mimeType=\"video/mp2t\"><Representation id=\"1\" bandwidth=\"1\">\
         <BaseURL>{path}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    );
    let hls = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n";
    let cue = "1\n00:00:00,000 --> 00:00:01,000\nHello\n\n";
    let sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n\
        m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n";
    let frame = dir.join("frame001.png");
    make(&["-f", "lavfi", "-i", "testsrc", "-frames:v", "1", frame.to_str().unwrap()]);
    [
        ("hls.mp4", hls.to_owned(), "it is a playlist (hls)"),
        ("ff.mp4", format!("ffconcat version 1.0\nfile {name}\n"), "it is a playlist (concat)"),
        ("dash.mp4", dash, "it is a playlist (dash)"),
        ("sdp.mp4", sdp.to_owned(), "it describes a stream on the network (sdp)"),
        ("words.mp4", cue.to_owned(), "it is subtitles (srt)"),
        ("meta.mp4", ";FFMETADATA1\ntitle=x\n".to_owned(), "it is a script (ffmetadata)"),
        ("frame%03d.png", "x".to_owned(), "it is a picture"),
        ("testsrc.mp4", "testsrc=duration=1 [out0]".to_owned(), "Invalid data"),
    ]
    .into_iter()
    .map(|(name, content, what)| {
        std::fs::write(dir.join(name), content).unwrap();
        (dir.join(name), what)
    })
    .collect()
}

#[tokio::test]
async fn a_file_that_names_others_is_refused_by_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for (path, what) in hostile(dir.path()) {
        let failure = ffmpeg().probe(&path, &CommandLog::default()).await.unwrap_err();
        let begins = format!("{} is no video or audio file: {what}", path.display());
        assert!(failure.message.starts_with(&begins), "{failure}\n{begins}");
    }
    let pipe = dir.path().join("pipe.mp4");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let failure = ffmpeg().probe(&pipe, &CommandLog::default()).await.unwrap_err();
    assert!(failure.message.ends_with("no regular file"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_a_sources_place_after_the_look_at_it_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(&film(dir.path(), 1), "mp4").await;
    for (path, what) in hostile(dir.path()) {
        std::fs::copy(&path, &job.source).unwrap();
        let failure = failure(&job).await;
        assert!(failure.message.contains("it's a film.mkv: ffmpeg: "), "{what}: {failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_beside_the_output_is_neither_followed_nor_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(&film(dir.path(), 1), "mp3").await;
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("precious"), "precious").unwrap();
    symlink(at("precious"), at(".out.mp3.partial")).unwrap();
    std::fs::create_dir(at(".out.mp3.partial-mine")).unwrap();
    let before = beside(&job);
    ffmpeg().encode(&job, &|_| {}, &CommandLog::default()).await.unwrap();
    ffmpeg().remove_leftovers(&job.dir).await.unwrap();
    assert_eq!(beside(&job), before);
    assert_eq!(std::fs::read_to_string(at("precious")).unwrap(), "precious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_was_changed_leaves_nothing_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = slow_job(&film(dir.path(), 3)).await;
    let asked = tokio::spawn({
        let first = first.clone();
        async move { ffmpeg().encode(&first, &|_| {}, &CommandLog::default()).await }
    });
    let tool = at_work(&first).await;
    asked.abort();
    std::fs::create_dir(dir.path().join("other")).unwrap();
    let second = EncodeJob { output: dir.path().join("other/out.mp4"), ..first.clone() };
    let encoded = ffmpeg().encode(&second, &|_| {}, &CommandLog::default()).await.unwrap();
    ffmpeg().finish(&second, &encoded).await.unwrap();
    assert_eq!(tool.members(), [0; 0]);
    assert_eq!(beside(&first), ["it's a film.mkv", "other"]);
    assert_eq!(std::fs::read_dir(dir.path().join("other")).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_file_under_the_outputs_name_is_not_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(&film(dir.path(), 1), "mp3").await;
    let encoded = ffmpeg().encode(&job, &|_| {}, &CommandLog::default()).await.unwrap();
    std::fs::remove_file(Ffmpeg::partial(&job).unwrap()).unwrap();
    std::fs::write(&job.output, "somebody else's").unwrap();
    let failure = ffmpeg().finish(&job, &encoded).await.unwrap_err();
    assert!(failure.message.contains("was taken away or changed"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_breaks_off_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.mp4");
    make(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc=duration=20:size=160x120",
        "-c:v",
        "mpeg4",
        "-movflags",
        "+faststart",
        whole.to_str().unwrap(),
    ]);
    let bytes = std::fs::read(&whole).unwrap();
    let source = dir.path().join("half.mp4");
    std::fs::write(&source, &bytes[..bytes.len() / 2]).unwrap();
    let job = job(&source, "mp4").await;
    let failure = failure(&job).await;
    assert!(failure.message.contains("half.mp4"), "{failure}");
    assert!(failure.message.contains("20.0 s long, but only"), "{failure}");
    assert!(!failure.passing && !job.output.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpegs_own_words_are_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut job = job(&film(dir.path(), 1), "mp4").await;
    let at = job.arguments.iter().position(|argument| argument == "libx264").unwrap();
    job.arguments[at] = "no-such-codec".into();
    let failure = failure(&job).await;
    assert!(failure.message.contains("it's a film.mkv: ffmpeg: Unknown encoder"), "{failure}");
    assert!(failure.message.ends_with("change the source or the preset and relaunch"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoding_outlives_who_asked_for_it_and_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let job = slow_job(&film(dir.path(), 3)).await;
    let asked = tokio::spawn({
        let job = job.clone();
        async move { ffmpeg().encode(&job, &|_| {}, &CommandLog::default()).await }
    });
    let first = at_work(&job).await.members();
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());

    let (adopter, reported) = (ffmpeg(), Reported::default());
    assert_eq!(Supervised::at(&job.dir).members(), first);
    let log = CommandLog::default();
    let encoded = adopter.encode(&job, &|meter| reported.take(meter), &log).await.unwrap();
    let fractions = reported.fractions();
    assert!(rises(&fractions) && fractions.len() > 1, "{fractions:?}");
    adopter.finish(&job, &encoded).await.unwrap();
    assert!(job.output.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_ffmpeg_or_supervisor_fails_so_that_a_retry_works() {
    let dir = tempfile::tempdir().unwrap();
    let job = slow_job(&film(dir.path(), 2)).await;
    for victims in ["ffmpeg", "both"] {
        let asked = tokio::spawn({
            let job = job.clone();
            async move { failure(&job).await }
        });
        let it = at_work(&job).await;
        let tool = it.members();
        if victims == "both" {
            kill(it.supervisor().unwrap());
        }
        tool.into_iter().for_each(kill);
        let failure = asked.await.unwrap();
        assert!(failure.passing, "{failure}");
        assert!(failure.message.contains("it's a film.mkv"), "{failure}");
    }
    ffmpeg().encode(&job, &|_| {}, &CommandLog::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_encoding_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = film(dir.path(), 30);
    let job = slow_job(&source).await;
    let asked = tokio::spawn({
        let job = job.clone();
        async move { ffmpeg().encode(&job, &|_| {}, &CommandLog::default()).await }
    });
    let it = at_work(&job).await;
    asked.abort();
    ffmpeg().remove_leftovers(&job.dir).await.unwrap();
    ffmpeg().remove_leftovers(&job.dir).await.unwrap();
    assert_eq!(it.members(), [0; 0]);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [source]);
}

/// The output is in a folder that a link leads to, and ffmpeg is at work in it.
async fn into_a_link(seconds: u32, dir: &Path) -> (EncodeJob, [PathBuf; 2]) {
    let folders = ["here", "there"].map(|name| dir.join(name));
    folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    symlink("here", dir.join("link")).unwrap();
    let mut job = slow_job(&film(dir, seconds)).await;
    job.output = dir.join("link").join(job.output.file_name().unwrap());
    (job, folders)
}

/// Turns that link, or moves the folder and puts another in its place.
fn turn(dir: &Path, by_link: bool) -> PathBuf {
    if by_link {
        std::fs::remove_file(dir.join("link")).unwrap();
        symlink("there", dir.join("link")).unwrap();
        return dir.join("here");
    }
    std::fs::rename(dir.join("here"), dir.join("elsewhere")).unwrap();
    std::fs::create_dir(dir.join("here")).unwrap();
    dir.join("elsewhere")
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_folder_that_is_moved_meanwhile_is_told_and_nothing_stays_in_it() {
    for by_link in [true, false] {
        for cancelled in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (job, folders) = into_a_link(if cancelled { 30 } else { 3 }, dir.path()).await;
            let asked = tokio::spawn({
                let job = job.clone();
                async move { ffmpeg().encode(&job, &|_| {}, &CommandLog::default()).await }
            });
            at_work(&job).await;
            let now = turn(dir.path(), by_link);
            assert!(!is_empty(&now));
            if cancelled {
                asked.abort();
            } else {
                let failure = asked.await.unwrap().unwrap_err();
                let said = ["was moved or replaced", "relaunch to encode anew"];
                assert!(said.iter().all(|it| failure.message.contains(it)), "{failure}");
                assert!(!failure.message.contains("preset"), "{failure}");
            }
            ffmpeg().remove_leftovers(&job.dir).await.unwrap();
            assert!(is_empty(&now), "link {by_link}, cancelled {cancelled}");
            assert!(folders.iter().all(|it| is_empty(it)));
            assert!(!job.dir.exists());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_appeared_meanwhile_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(&film(dir.path(), 1), "mp3").await;
    let encoded = ffmpeg().encode(&job, &|_| {}, &CommandLog::default()).await.unwrap();
    std::fs::write(&job.output, "somebody else's").unwrap();
    let failure = ffmpeg().finish(&job, &encoded).await.unwrap_err();
    assert!(failure.message.contains("another file of that name has appeared"), "{failure}");
    assert_eq!(std::fs::read_to_string(&job.output).unwrap(), "somebody else's");
}
