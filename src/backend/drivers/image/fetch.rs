//! Downloads an image, goes on where an earlier download stopped, and compares its checksum.
//!
//! ```text
//! fetch.partial   what there is so far
//! fetch.json      of which URL and which version of the file that is, and what it was to be
//!                 compared with; stays with the whole image
//! ```
//!
//! A server is not trusted to come to an end: neither with too much, nor with next to nothing.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::Digest;
use tokio::io::AsyncWriteExt;
use tokio::time::{timeout, timeout_at};

use super::checksum::{self, Expected};
use super::copy::Hasher;
use super::{atomic_file, hashed, redirect};
use crate::backend::drivers::room::HeadRoom;
use crate::backend::ports::{Checksum, ProgressReport, Report};
use crate::domain::Failure;

/// How long a server may be silent.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Lists of checksums are small.
const LIST_BYTES: usize = 4 << 20;
/// How often progress is told.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// How much may be written between two looks at the room that is left, in bytes.
const LOOK_EVERY: u64 = 16 << 20;

/// What a download may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What stays free on the filesystem.
    pub reserve: HeadRoom,
    /// At least so many bytes come
    pub least: u64,
    /// in each such time.
    pub each: Duration,
    /// How long a server may take to begin to answer, and to send all of a list of checksums.
    pub answer: Duration,
}

impl Default for Limits {
    /// A kilobyte a second is less than any line has brought for decades.
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { reserve: HeadRoom::default(), least: 60_000, each: minute, answer: minute }
    }
}

/// What is to be fetched.
pub(super) struct Wanted<'a> {
    pub(super) url: &'a str,
    pub(super) checksum: &'a Checksum,
    pub(super) max_bytes: u64,
}

impl Wanted<'_> {
    /// Whether what is in `dir` was fetched from there.
    pub(super) fn is_of(&self, dir: &Path) -> bool {
        origin(dir).is_some_and(|origin| origin.url == self.url)
    }

    /// Fails when so many bytes are more than was allowed.
    fn allows(&self, bytes: u64) -> Result<(), Failure> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        let (url, most) = (self.url, self.max_bytes >> 30);
        Err(Failure::new(format!(
            "{url} is bigger than {most} GiB, which is as much as may be fetched; relaunch with a \
             greater max_gib if that is right"
        )))
    }
}

/// What a partial file is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Provenance {
    url: String,
    checksum: Checksum,
    /// The ETag, or else the time of the last change: what `If-Range` takes.
    validator: Option<String>,
}

/// Downloads and verifies; returns the file, which is still to be looked at and named.
pub(super) async fn fetch(
    dir: &Path,
    wanted: &Wanted<'_>,
    limits: &Limits,
    report: Report<'_>,
) -> Result<PathBuf, Failure> {
    let client = client()?;
    // First, so that nobody waits an hour for a list that is not there.
    let expected = expected(client, wanted, limits).await?;
    let partial = dir.join("fetch.partial");
    download(client, dir, &partial, wanted, limits, report).await?;
    compare(dir, &partial, wanted, expected, report).await?;
    Ok(partial)
}

/// Compares what an earlier call fetched and looked at with what it must be now.
pub(super) async fn verify(
    dir: &Path,
    whole: &Path,
    wanted: &Wanted<'_>,
    limits: &Limits,
    report: Report<'_>,
) -> Result<(), Failure> {
    if origin(dir).is_some_and(|origin| origin.checksum == *wanted.checksum) {
        return Ok(());
    }
    let expected = expected(client()?, wanted, limits).await?;
    compare(dir, whole, wanted, expected, report).await
}

/// Compares a file with its checksum; removes one that is wrong.
async fn compare(
    dir: &Path,
    file: &Path,
    wanted: &Wanted<'_>,
    expected: Option<Expected>,
    report: Report<'_>,
) -> Result<(), Failure> {
    let Some(expected) = expected else { return Ok(()) };
    let hasher = match &expected {
        Expected::Sha256(_) => Hasher::Sha256(sha2::Sha256::new()),
        Expected::Sha512(_) => Hasher::Sha512(sha2::Sha512::new()),
    };
    let found = hashed(file, hasher, report).await?;
    if found == expected.hex() {
        return Ok(());
    }
    forget(dir)?;
    atomic_file::remove(file)
        .map_err(|error| Failure::io(format!("remove {}", file.display()), &error))?;
    Err(Failure::new(format!(
        "{} was fetched, but its checksum is {}… instead of {}…: it is damaged or not the file the \
         list speaks of; it was removed, relaunch to fetch it again",
        wanted.url,
        &found[..12],
        &expected.hex()[..12]
    )))
}

/// Removes what was fetched.
pub(super) fn forget(dir: &Path) -> Result<(), Failure> {
    atomic_file::remove(&dir.join("fetch.partial"))
        .and_then(|()| atomic_file::remove(&origin_file(dir)))
        .map_err(|error| Failure::io(format!("remove a download in {}", dir.display()), &error))
}

fn origin(dir: &Path) -> Option<Provenance> {
    serde_json::from_str(&crate::file::read_text(origin_file(dir)).ok()?).ok()
}

fn origin_file(dir: &Path) -> PathBuf {
    dir.join("fetch.json")
}

/// One client for all downloads.
fn client() -> Result<&'static Client, Failure> {
    static CLIENT: OnceLock<Result<Client, String>> = OnceLock::new();
    let made = CLIENT.get_or_init(|| {
        // Fails only where somebody has chosen one already, which is as good.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        Client::builder()
            .user_agent(concat!("hostler/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::custom(redirect::follow))
            .connect_timeout(SILENCE_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            .build()
            .map_err(|error| words(&error))
    });
    made.as_ref().map_err(|why| Failure::new(format!("cannot fetch anything: {why}")))
}

/// The checksum the file must have.
async fn expected(
    client: &Client,
    wanted: &Wanted<'_>,
    limits: &Limits,
) -> Result<Option<Expected>, Failure> {
    match wanted.checksum {
        Checksum::Unchecked => Ok(None),
        Checksum::Sha256(hex) => match Expected::read(hex) {
            Some(expected @ Expected::Sha256(_)) => Ok(Some(expected)),
            _ => Err(Failure::new(format!(
                "{hex} is no SHA-256: that has 64 hexadecimal digits; change it and relaunch"
            ))),
        },
        Checksum::List { url: list } => {
            let text = timeout(limits.answer, read_list(client, list)).await;
            let text = text.unwrap_or_else(|_| Err(too_slow(list)))?;
            let file = file_name(wanted.url);
            let found = checksum::find(&String::from_utf8_lossy(&text), &file);
            found.map(Some).ok_or_else(|| {
                Failure::new(format!(
                    "{list} has no SHA-256 or SHA-512 of {file}; change the list or the URL and \
                     relaunch"
                ))
            })
        }
    }
}

/// A list of checksums, whole.
async fn read_list(client: &Client, list: &str) -> Result<Vec<u8>, Failure> {
    let mut response = answer(client.get(list), list).await?;
    let mut text = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| broken_off(list, &error))? {
        text.extend_from_slice(&piece);
        if text.len() > LIST_BYTES {
            return Err(Failure::new(format!(
                "{list} is no list of checksums: it is too big; change it and relaunch"
            )));
        }
    }
    Ok(text)
}

/// The last part of a URL's path.
fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

async fn download(
    client: &Client,
    dir: &Path,
    partial: &Path,
    wanted: &Wanted<'_>,
    limits: &Limits,
    report: Report<'_>,
) -> Result<(), Failure> {
    let url = wanted.url;
    let writing =
        |error: std::io::Error| Failure::io(format!("write {}", partial.display()), &error);
    let had = resumable(dir, partial, wanted);
    let mut request = client.get(url).header(ACCEPT_ENCODING, "identity");
    if let Some((length, validator)) = &had {
        request = request.header(RANGE, format!("bytes={length}-")).header(IF_RANGE, validator);
    }
    let response = timeout(limits.answer, request.send()).await.map_err(|_| too_slow(url))?;
    let response = response.map_err(|error| unreachable(url, &error))?;
    let at = match (response.status(), &had) {
        (StatusCode::PARTIAL_CONTENT, Some((length, of)))
            if starts_at(response.headers()) == Some(*length)
                && validator(response.headers()).is_none_or(|now| now == *of) =>
        {
            *length
        }
        // All of it is there: the server has nothing beyond.
        (StatusCode::RANGE_NOT_SATISFIABLE, Some((length, _)))
            if total(response.headers()) == Some(*length) =>
        {
            return Ok(());
        }
        (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => {
            return Err(astray(dir, url)?);
        }
        _ => 0,
    };
    let response = checked(response, url)?;
    let length = length(response.headers());
    // A part may be less than all the rest.
    let told = if at > 0 { total(response.headers()) } else { None };
    let whole_bytes = told.or_else(|| length.map(|length| at.saturating_add(length)));
    wanted.allows(whole_bytes.unwrap_or_default())?;
    if at == 0 {
        forget(dir)?;
    }
    limits.reserve.check(dir, length.unwrap_or_default()).map_err(writing)?;
    if at == 0 {
        let origin = Provenance {
            url: url.to_owned(),
            checksum: wanted.checksum.clone(),
            validator: validator(response.headers()),
        };
        let json = serde_json::to_vec(&origin).map_err(|error| writing(error.into()))?;
        atomic_file::write(&origin_file(dir), &json).map_err(writing)?;
    }
    let mut file = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(partial)
        .await
        .map_err(writing)?;
    let mut rate = Rate::new(at);
    let tell = |at| {
        if let Some(meter) = rate.meter(at, whole_bytes) {
            report(meter);
        }
    };
    let room = || limits.reserve.check(dir, 0);
    let read = receive(response, &mut file, at, wanted, limits, room, tell).await;
    // What came so far is worth keeping, however it ended.
    file.flush().await.map_err(writing)?;
    let at = read?;
    match whole_bytes {
        Some(whole) if whole < at => Err(astray(dir, url)?),
        Some(whole) if whole > at => Err(Failure::passing(format!(
            "{url} broke off after {at} of {whole} bytes; relaunch to go on from there"
        ))),
        _ => Ok(()),
    }
}

/// Writes what a server sends, from byte `at` on, until it ends or goes beyond a limit. Returns how
/// much there is then.
async fn receive(
    mut response: Response,
    file: &mut tokio::fs::File,
    mut at: u64,
    wanted: &Wanted<'_>,
    limits: &Limits,
    room: impl Fn() -> std::io::Result<()>,
    mut tell: impl FnMut(u64),
) -> Result<u64, Failure> {
    let url = wanted.url;
    let writing = |error: std::io::Error| Failure::io(format!("fetch {url}"), &error);
    let due = || tokio::time::Instant::now() + limits.each;
    let (mut deadline, mut goal) = (due(), at + limits.least);
    let mut look_at = at + LOOK_EVERY;
    loop {
        if tokio::time::Instant::now() >= deadline {
            if at < goal {
                return Err(too_slow(url));
            }
            (deadline, goal) = (due(), at + limits.least);
        }
        // Once more round when the time is over: what comes late is counted too.
        let Ok(piece) = timeout_at(deadline, response.chunk()).await else { continue };
        let Some(piece) = piece.map_err(|error| broken_off(url, &error))? else { return Ok(at) };
        wanted.allows(at + piece.len() as u64)?;
        file.write_all(&piece).await.map_err(writing)?;
        at += piece.len() as u64;
        if at >= look_at {
            room().map_err(writing)?;
            look_at = at + LOOK_EVERY;
        }
        tell(at);
    }
}

/// How much there is of this URL already, and what to compare its version by.
fn resumable(dir: &Path, partial: &Path, wanted: &Wanted<'_>) -> Option<(u64, String)> {
    let origin = origin(dir)?;
    let length = std::fs::metadata(partial).ok()?.len();
    (origin.url == wanted.url && length > 0).then_some((length, origin.validator?))
}

/// A strong ETag, or else the time of the last change.
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    text(ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(LAST_MODIFIED))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Where a part begins: `bytes 500-999/1000`.
fn starts_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.parse().ok()
}

/// How long the whole is: `bytes */1000`.
fn total(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.rsplit_once('/')?.1.parse().ok()
}

async fn answer(request: reqwest::RequestBuilder, url: &str) -> Result<Response, Failure> {
    checked(request.send().await.map_err(|error| unreachable(url, &error))?, url)
}

/// An answer that is a success.
fn checked(response: Response, url: &str) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let busy = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    Err(if busy {
        Failure::passing(format!("cannot fetch {url}: the server says {status}; try again later"))
    } else {
        Failure::new(format!("cannot fetch {url}: the server says {status}; check the URL"))
    })
}

fn unreachable(url: &str, error: &reqwest::Error) -> Failure {
    let why = words(error);
    if error.is_builder() || error.is_redirect() {
        return Failure::new(format!("cannot fetch {url}: {why}; check the URL"));
    }
    Failure::passing(format!("cannot fetch {url}: {why}; check the network and the URL"))
}

/// The failure of a server that does not go on as it began: nothing of it can be trusted.
fn astray(dir: &Path, url: &str) -> Result<Failure, Failure> {
    forget(dir)?;
    Ok(Failure::passing(format!(
        "{url} could not be gone on with; what there was is removed, relaunch to fetch it from the \
         start"
    )))
}

fn too_slow(url: &str) -> Failure {
    Failure::passing(format!(
        "{url} comes so slowly that it would never end; relaunch to go on from there, or fetch it \
         from a nearer server"
    ))
}

fn broken_off(url: &str, error: &reqwest::Error) -> Failure {
    let why = words(error);
    Failure::passing(format!("{url} broke off: {why}; relaunch to go on from there"))
}

/// The innermost cause: the outer ones repeat the URL.
fn words(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

/// How fast a download is, over all of it.
struct Rate {
    began: Instant,
    told: Option<Instant>,
    from: u64,
}

impl Rate {
    fn new(from: u64) -> Self {
        Self { began: Instant::now(), told: None, from }
    }

    /// What to report now; `None` when that was done just before.
    fn meter(&mut self, at: u64, whole: Option<u64>) -> Option<ProgressReport> {
        let done = whole == Some(at);
        if !done && self.told.is_some_and(|told| told.elapsed() < REPORT_INTERVAL) {
            return None;
        }
        self.told = Some(Instant::now());
        let rate = (at - self.from) as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let left = |whole: u64| (whole.saturating_sub(at) as f64 / rate.max(1.0)).ceil() as u64;
        let size = match whole {
            Some(whole) => format!("{:.1} of {:.1} MB", at as f64 / 1e6, whole as f64 / 1e6),
            None => format!("{:.1} MB, length unknown", at as f64 / 1e6),
        };
        Some(ProgressReport {
            fraction: whole.filter(|&w| w > 0).map(|whole| (at as f64 / whole as f64).min(1.0)),
            left_s: whole.map(left),
            detail: Some(format!("{size} · {:.1} MB/s", rate / 1e6)),
            ..ProgressReport::default()
        })
    }
}
