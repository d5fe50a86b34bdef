//! Downloads an image, goes on where an earlier download stopped, and compares its checksum.
//!
//! ```text
//! fetch.partial   what there is so far
//! fetch.json      of which URL and which version of the file that is; stays with the whole image
//! ```

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::Digest;
use tokio::io::AsyncWriteExt;

use super::checksum::{self, Expected};
use super::copy::Hasher;
use super::{hashed, whole};
use crate::backend::ports::{Checksum, Meter, Report};
use crate::domain::Failure;

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// Lists of checksums are small.
const LIST_BYTES: usize = 4 << 20;
/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// What a partial file is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Origin {
    url: String,
    /// The ETag, or else the time of the last change: what `If-Range` takes.
    validator: Option<String>,
}

/// Downloads and verifies; returns the file, which is still to be looked at and named.
pub(super) async fn fetch(
    dir: &Path,
    url: &str,
    checksum: &Checksum,
    report: Report<'_>,
) -> Result<PathBuf, Failure> {
    let client = client()?;
    // First, so that nobody waits an hour for a list that is not there.
    let expected = expected(client, url, checksum).await?;
    let partial = dir.join("fetch.partial");
    download(client, dir, &partial, url, report).await?;
    if let Some(expected) = expected {
        let hasher = match &expected {
            Expected::Sha256(_) => Hasher::Sha256(sha2::Sha256::new()),
            Expected::Sha512(_) => Hasher::Sha512(sha2::Sha512::new()),
        };
        let found = hashed(&partial, hasher, report).await?;
        if found != expected.hex() {
            forget(dir)?;
            return Err(Failure::new(format!(
                "{url} was fetched, but its checksum is {}… instead of {}…: it is damaged or not \
                 the file the list speaks of; it was removed, relaunch to fetch it again",
                &found[..12],
                &expected.hex()[..12]
            )));
        }
    }
    Ok(partial)
}

/// Removes what was fetched.
pub(super) fn forget(dir: &Path) -> Result<(), Failure> {
    whole::remove(&dir.join("fetch.partial"))
        .and_then(|()| whole::remove(&origin_file(dir)))
        .map_err(|error| Failure::io(format!("remove a download in {}", dir.display()), &error))
}

/// Whether what is in `dir` was fetched from that URL.
pub(super) fn is_of(dir: &Path, url: &str) -> bool {
    origin(dir).is_some_and(|origin| origin.url == url)
}

fn origin(dir: &Path) -> Option<Origin> {
    serde_json::from_slice(&std::fs::read(origin_file(dir)).ok()?).ok()
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
            .connect_timeout(SILENCE)
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| words(&error))
    });
    made.as_ref().map_err(|why| Failure::new(format!("cannot fetch anything: {why}")))
}

/// The checksum the file must have.
async fn expected(
    client: &Client,
    url: &str,
    checksum: &Checksum,
) -> Result<Option<Expected>, Failure> {
    match checksum {
        Checksum::Unchecked => Ok(None),
        Checksum::Sha256(hex) => match Expected::read(hex) {
            Some(expected @ Expected::Sha256(_)) => Ok(Some(expected)),
            _ => Err(Failure::new(format!(
                "{hex} is no SHA-256: that has 64 hexadecimal digits; change it and relaunch"
            ))),
        },
        Checksum::List { url: list } => {
            let mut response = answer(client.get(list), list).await?;
            let mut text = Vec::new();
            while let Some(piece) =
                response.chunk().await.map_err(|error| broken_off(list, &error))?
            {
                text.extend_from_slice(&piece);
                if text.len() > LIST_BYTES {
                    return Err(Failure::new(format!(
                        "{list} is no list of checksums: it is too big; change it and relaunch"
                    )));
                }
            }
            let file = file_name(url);
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

/// The last part of a URL's path.
fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

async fn download(
    client: &Client,
    dir: &Path,
    partial: &Path,
    url: &str,
    report: Report<'_>,
) -> Result<(), Failure> {
    let writing =
        |error: std::io::Error| Failure::io(format!("write {}", partial.display()), &error);
    let had = resumable(dir, partial, url);
    let mut request = client.get(url).header(ACCEPT_ENCODING, "identity");
    if let Some((length, validator)) = &had {
        request = request.header(RANGE, format!("bytes={length}-")).header(IF_RANGE, validator);
    }
    let response = request.send().await.map_err(|error| unreachable(url, &error))?;
    let mut at = match (response.status(), &had) {
        (StatusCode::PARTIAL_CONTENT, Some((length, _)))
            if starts_at(response.headers()) == Some(*length) =>
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
            forget(dir)?;
            return Err(Failure::passing(format!(
                "{url} could not be gone on with; what there was is removed, relaunch to fetch it \
                 from the start"
            )));
        }
        _ => 0,
    };
    let mut response = checked(response, url)?;
    let whole_bytes = length(response.headers()).map(|length| at + length);
    if at == 0 {
        forget(dir)?;
        let origin = Origin { url: url.to_owned(), validator: validator(response.headers()) };
        let json = serde_json::to_vec(&origin).map_err(|error| writing(error.into()))?;
        whole::write(&origin_file(dir), &json).map_err(writing)?;
    }
    let mut file = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(partial)
        .await
        .map_err(writing)?;
    let mut rate = Rate::new(at);
    loop {
        let piece = match response.chunk().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) => {
                // What came so far is worth keeping.
                file.flush().await.map_err(writing)?;
                return Err(broken_off(url, &error));
            }
        };
        file.write_all(&piece).await.map_err(writing)?;
        at += piece.len() as u64;
        if let Some(meter) = rate.meter(at, whole_bytes) {
            report(meter);
        }
    }
    file.flush().await.map_err(writing)?;
    match whole_bytes {
        Some(whole) if whole != at => Err(Failure::passing(format!(
            "{url} broke off after {at} of {whole} bytes; relaunch to go on from there"
        ))),
        _ => Ok(()),
    }
}

/// How much there is of this URL already, and what to compare its version by.
fn resumable(dir: &Path, partial: &Path, url: &str) -> Option<(u64, String)> {
    let origin = origin(dir)?;
    let length = std::fs::metadata(partial).ok()?.len();
    (origin.url == url && length > 0).then_some((length, origin.validator?))
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
    fn meter(&mut self, at: u64, whole: Option<u64>) -> Option<Meter> {
        let done = whole == Some(at);
        if !done && self.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return None;
        }
        self.told = Some(Instant::now());
        let rate = (at - self.from) as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let left = |whole: u64| (whole.saturating_sub(at) as f64 / rate.max(1.0)).ceil() as u64;
        let size = match whole {
            Some(whole) => format!("{:.1} of {:.1} MB", at as f64 / 1e6, whole as f64 / 1e6),
            None => format!("{:.1} MB, length unknown", at as f64 / 1e6),
        };
        Some(Meter {
            fraction: whole.filter(|&w| w > 0).map(|whole| (at as f64 / whole as f64).min(1.0)),
            left_s: whole.map(left),
            detail: Some(format!("{size} · {:.1} MB/s", rate / 1e6)),
            ..Meter::default()
        })
    }
}
