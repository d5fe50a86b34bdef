//! The client: a [`Backend`] that is somewhere else.
//!
//! The catalogue is fetched once, at connect, unless one is there already that is the same. The
//! event stream looks after itself: when the connection breaks it says [`Fact::Lost`], tries again,
//! and says [`Fact::Missed`] when it has the backend again, so that the receiver asks for
//! everything anew.
//!
//! No wait is without an end. A backend that is gone is noticed at once, one that is stopped within
//! seconds, and one that hangs when its time is over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use parking_lot::Mutex;
use reqwest::header;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;

use super::address::{Address, Silent};
use super::native;
use super::version::{PRODUCT, Version};
use crate::domain::{
    Accepted, Answer, Backend, BackendError, BoxFuture, Catalogue, Control, Event, EventStream,
    Fact, Query, ResourceSpec, Result, Serial, SerialInput, Submit,
};

/// How long an answer may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a stream may take to begin.
const HELLO: Duration = Duration::from_secs(30);
/// How often whoever takes long to answer is looked at: a stopped process never will.
const LOOK: Duration = Duration::from_secs(3);
/// How long one backend may take to hand over to the next.
const HAND_OVER: Duration = Duration::from_secs(10);
/// How long to wait before the first new attempt to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait at most between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many events are read ahead of the receiver; more wait in the socket.
const EVENTS_AHEAD: usize = 1024;

/// A backend behind a unix socket.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    catalogue: Catalogue,
    /// Whether a backend knows of us.
    reachable: watch::Receiver<bool>,
    /// Tells whatever backend there is that we are here, for as long as we are: one that knows of
    /// us does not just go.
    _stays: Arc<AbortOnDropHandle<()>>,
}

/// The way there: cheap to clone. Every request has a connection of its own, because one that was
/// kept may be closed under the next request, and nobody could say whether that was heard.
#[derive(Debug, Clone)]
struct Wire {
    http: reqwest::Client,
    socket: Arc<PathBuf>,
    address: Arc<Address>,
    /// The version of the backend that answered last.
    backend: Arc<Mutex<Version>>,
}

/// Why there is no answer.
enum NoAnswer {
    /// The connection failed.
    Broke(reqwest::Error),
    /// Somebody is there and says nothing.
    Silent(Silent),
}

impl Client {
    /// Connects to the backend on `socket` (see [`native::socket_path`]) and fetches its catalogue.
    ///
    /// # Errors
    /// [`BackendError::Unreachable`] when nobody listens there; a refusal when the backend belongs
    /// to another user, or to the directory that this one was copied from with hard links.
    pub async fn connect(socket: &Path) -> Result<Self> {
        Self::open(socket, None).await
    }

    /// Connects like [`Client::connect`]. To a backend that offers just what `own` does, `own` is
    /// the catalogue, which saves asking for it.
    ///
    /// # Errors
    /// Those of [`Client::connect`].
    pub async fn attach(socket: &Path, own: &Catalogue) -> Result<Self> {
        Self::open(socket, Some(own)).await
    }

    async fn open(socket: &Path, own: Option<&Catalogue>) -> Result<Self> {
        let wire = Wire::to(socket).map_err(|error| unreachable(socket, &*error))?;
        if let Some(why) = wire.address.strange(socket).await {
            return Err(BackendError::failed(why));
        }
        let here = wire.open(native::HERE).await?;
        let catalogue = match own {
            Some(own) if offers(&here, own) => own.clone(),
            _ => wire.catalogue().await?,
        };
        let (known, reachable) = watch::channel(true);
        let stays = tokio::spawn(wire.clone().stay(here, known));
        let stays = Arc::new(AbortOnDropHandle::new(stays));
        Ok(Self { wire, catalogue, reachable, _stays: stays })
    }

    /// Tells the backend to end. It does so once this is answered, and then is gone for others too.
    ///
    /// # Errors
    /// A refusal where it lives in a console or a command, or others are attached to it.
    pub async fn stop(&self) -> Result<()> {
        self.wire.post(native::STOP_BACKEND, &()).await.map(drop)
    }

    /// Whether a backend knows of this client, now and later. Ends with the client.
    #[must_use]
    pub fn reachable(&self) -> watch::Receiver<bool> {
        self.reachable.clone()
    }
}

impl Wire {
    /// The way to a socket, where nobody need listen yet.
    fn to(socket: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        // reqwest wants a TLS provider even for a unix socket. An error here only means that one
        // is installed already, which is just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = Address::of(socket)?;
        let http = reqwest::Client::builder()
            .unix_socket(address.path())
            .user_agent(PRODUCT)
            // Nor are there certificates on it, and reading those of the system takes longer than
            // all that is asked.
            .tls_certs_only([])
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()?;
        let (socket, address) = (Arc::new(socket.to_owned()), Arc::new(address));
        Ok(Self { http, socket, address, backend: Arc::default() })
    }

    /// The version of the backend that answered last.
    fn backend(&self) -> Version {
        self.backend.lock().clone()
    }

    /// An error with what was not understood, and both versions.
    fn misunderstood(&self, what: impl std::fmt::Display) -> BackendError {
        BackendError::failed(format!("{what}; {}", self.backend().advice("the backend")))
    }

    fn url(path: &str) -> String {
        // The host is a formality: the socket decides who is spoken to.
        format!("http://hostler{path}")
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.http.get(Self::url(path)).timeout(REPLY_TIMEOUT);
        let answer = self.send(request, REPLY_TIMEOUT).await;
        self.read(self.look_at(answer).await?).await
    }

    /// What the backend offers.
    async fn catalogue(&self) -> Result<Catalogue> {
        let (resources, operations) = tokio::join!(
            self.get::<Vec<ResourceSpec>>(native::RESOURCES),
            self.get(native::CATALOGUE)
        );
        let resources = match resources {
            // One of before there were descriptions has no resources but those we have ourselves.
            Err(BackendError::NotFound { .. }) => {
                Catalogue::default().descriptions().into_iter().cloned().collect()
            }
            resources => resources?,
        };
        Catalogue::read(&resources, operations?).map_err(|why| {
            self.misunderstood(format_args!("the backend's catalogue is not understood: {why}"))
        })
    }

    /// Opens a stream.
    async fn open(&self, path: &str) -> Result<reqwest::Response> {
        let answer = self.send(self.http.get(Self::url(path)), HELLO).await;
        self.known(path, self.look_at(answer).await)
    }

    /// An answer; that there is nothing at `path` itself is an error of its own.
    fn known(&self, path: &str, answer: Result<reqwest::Response>) -> Result<reqwest::Response> {
        match answer {
            Err(BackendError::NotFound { what }) if what.ends_with(&format!(" {path}")) => {
                Err(match path {
                    native::KEYED => self.misunderstood(
                        "the backend knows no keys, so it was asked for nothing that it might do \
                         twice",
                    ),
                    _ => self.misunderstood(format_args!("the backend does not know '{what}'")),
                })
            }
            answer => answer,
        }
    }

    /// Sends a request again and again until a backend hears it: one may be handing over to the
    /// next.
    async fn post(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<reqwest::Response> {
        let deadline = Instant::now() + HAND_OVER;
        loop {
            let request = self.http.post(Self::url(path)).timeout(REPLY_TIMEOUT).json(body);
            match self.send(request, REPLY_TIMEOUT).await {
                Err(NoAnswer::Broke(error)) if is_unheard(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(FIRST_PAUSE).await;
                }
                answer => return self.known(path, self.look_at(answer).await),
            }
        }
    }

    /// Sends a request, and waits until its answer begins or can come no more.
    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        limit: Duration,
    ) -> Result<reqwest::Response, NoAnswer> {
        let mut sending = std::pin::pin!(request.send());
        let deadline = Instant::now() + limit;
        loop {
            match tokio::time::timeout(LOOK, &mut sending).await {
                Ok(Err(error)) if !error.is_timeout() => return Err(NoAnswer::Broke(error)),
                Ok(Err(_)) => return Err(NoAnswer::Silent(self.address.silent().await)),
                Ok(Ok(response)) => {
                    let version = Version::told(response.headers(), header::SERVER);
                    *self.backend.lock() = version;
                    return Ok(response);
                }
                Err(_) => {
                    let silent = self.address.silent().await;
                    if silent.is_stopped || Instant::now() >= deadline {
                        return Err(NoAnswer::Silent(silent));
                    }
                }
            }
        }
    }

    /// An answer that is an error comes back as that error.
    async fn look_at(
        &self,
        answer: Result<reqwest::Response, NoAnswer>,
    ) -> Result<reqwest::Response> {
        let response = answer.map_err(|why| match why {
            NoAnswer::Broke(error) => unreachable(&self.socket, &error),
            NoAnswer::Silent(silent) => BackendError::Unreachable {
                message: format!("no answer on {}: {silent}", self.socket.display()),
            },
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|error| unreachable(&self.socket, &error))?;
        Err(native::error_from(status.as_u16(), &body, &self.backend()))
    }

    /// Is here for one backend after the other.
    async fn stay(self, mut here: reqwest::Response, known: watch::Sender<bool>) {
        loop {
            // It says nothing but its end.
            while let Ok(Some(_)) = here.chunk().await {}
            known.send_replace(false);
            let mut pause = FIRST_PAUSE;
            here = loop {
                tokio::time::sleep(pause).await;
                match self.open(native::HERE).await {
                    Ok(here) => break here,
                    Err(_) => pause = (pause * 2).min(LONGEST_PAUSE),
                }
            };
            known.send_replace(true);
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: reqwest::Response) -> Result<T> {
        let body = response.bytes().await.map_err(|error| unreachable(&self.socket, &error))?;
        serde_json::from_slice(&body).map_err(|error| {
            self.misunderstood(format_args!("the backend's answer is not understood: {error}"))
        })
    }

    /// Passes events on until the connection breaks, and says why it did. `None`: nobody listens
    /// any more.
    async fn follow(
        &self,
        response: reqwest::Response,
        events: &mpsc::Sender<Event>,
    ) -> Option<String> {
        // Also the first time: what happened between `subscribe` and now was not seen either.
        events.send(about_the_wire(Fact::Missed)).await.ok()?;
        let chunks = response.bytes_stream().map_err(std::io::Error::other);
        let mut lines = BufReader::new(StreamReader::new(chunks));
        let mut line = Vec::new();
        loop {
            line.clear();
            let next = lines.read_until(b'\n', &mut line);
            let read = tokio::select! {
                () = events.closed() => return None,
                read = tokio::time::timeout(native::STREAM_TIMEOUT, next) => read,
            };
            match read {
                Err(_) => return Some(self.address.silent().await.to_string()),
                Ok(Err(error)) if !is_cut_off(&error) => {
                    return Some(format!("the connection broke: {}", root_cause(&error)));
                }
                Ok(Err(_) | Ok(0)) => return Some("the backend closed the connection".to_owned()),
                Ok(Ok(_)) if line.trim_ascii().is_empty() => {}
                Ok(Ok(_)) => match serde_json::from_slice(&line) {
                    Ok(event) => events.send(event).await.ok()?,
                    // Left out, it makes a gap in the numbers, and the receiver asks again.
                    Err(error) => {
                        let advice = self.backend();
                        let advice = advice.advice("the backend");
                        tracing::warn!("an event is not understood: {error}; {advice}");
                    }
                },
            }
        }
    }
}

impl Backend for Client {
    fn catalogue(&self) -> Catalogue {
        self.catalogue.clone()
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(async move {
            let response = self.wire.post(native::QUERY, &query).await?;
            self.wire.read(response).await
        })
    }

    fn submit(&self, submit: Submit) -> BoxFuture<'_, Result<Accepted>> {
        Box::pin(async move {
            let place = if submit.key.is_some() { native::KEYED } else { native::OPERATIONS };
            let response = self.wire.post(place, &submit).await?;
            self.wire.read(response).await
        })
    }

    fn control(&self, control: Control) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.wire.post(native::CONTROL, &control).await.map(|_| ()) })
    }

    /// Must be called within a tokio runtime.
    fn subscribe(&self) -> EventStream {
        let (sender, receiver) = mpsc::channel(EVENTS_AHEAD);
        let wire = self.wire.clone();
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            // One `Lost` for one loss, however many attempts it takes to get over it.
            let mut told = false;
            loop {
                let why = match wire.open(native::EVENTS).await {
                    Ok(response) => {
                        pause = FIRST_PAUSE;
                        told = false;
                        let Some(why) = wire.follow(response, &sender).await else { return };
                        why
                    }
                    Err(error) => error.to_string(),
                };
                if !told {
                    told = true;
                    if sender.send(about_the_wire(Fact::Lost { why })).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = sender.closed() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
        received(receiver)
    }

    fn serial(&self, vm: u64) -> BoxFuture<'_, Result<Serial>> {
        Box::pin(async move {
            let path = native::serial_path(vm);
            let response = self.wire.open(&path).await?;
            // An error in the middle of the stream is its end: the guest or the backend is gone.
            let output = response
                .bytes_stream()
                .take_while(|chunk| std::future::ready(chunk.is_ok()))
                .filter_map(|chunk| std::future::ready(chunk.ok().map(Vec::from)));
            let (typed, waiting) = mpsc::unbounded_channel::<Vec<u8>>();
            let wire = self.wire.clone();
            tokio::spawn(async move {
                // One request for the whole session: its body is what is typed, in order.
                let body = stream::unfold(waiting, |mut waiting| async move {
                    waiting.recv().await.map(|bytes| (Ok::<_, std::io::Error>(bytes), waiting))
                });
                let request = wire.http.post(Wire::url(&path));
                let request = request.body(reqwest::Body::wrap_stream(body));
                // Answered when the line ends, which may be long from now.
                let answer = request.send().await.map_err(NoAnswer::Broke);
                if let Err(error) = wire.look_at(answer).await {
                    tracing::debug!("the serial line of vm/{vm} takes no more input: {error}");
                }
            });
            Ok(Serial { output: Box::pin(output), input: Box::new(Typed { vm, typed }) })
        })
    }
}

/// Whether a backend that knows of us now says that it offers just what is in a catalogue.
fn offers(here: &reqwest::Response, catalogue: &Catalogue) -> bool {
    let told = here.headers().get(native::CATALOGUE_DIGEST);
    told.is_some_and(|told| native::catalogue_digest(catalogue).is_ok_and(|own| told == &own))
}

/// Keys on their way to a guest.
struct Typed {
    vm: u64,
    typed: mpsc::UnboundedSender<Vec<u8>>,
}

impl SerialInput for Typed {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.typed.send(bytes.to_vec()).map_err(|_| {
            BackendError::failed(format!("the serial line of vm/{} is closed", self.vm))
        })
    }
}

/// An event the backend did not send: it has no place in any life of it.
fn about_the_wire(fact: Fact) -> Event {
    Event { life: 0, seq: 0, at: Timestamp::now(), fact }
}

fn received(receiver: mpsc::Receiver<Event>) -> EventStream {
    Box::pin(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (event, receiver))
    }))
}

/// The errors of the system behind an error, the outermost first.
fn system_errors<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a std::io::Error> {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
}

/// Whether a stream ended before its time: whoever wrote it is gone.
fn is_cut_off(error: &std::io::Error) -> bool {
    system_errors(error).any(|error| error.kind() == std::io::ErrorKind::UnexpectedEof)
}

/// Whether a request that failed was certainly not read to its end by anybody: nobody listened, or
/// the connection was closed over what was still unread, which the kernel tells as a reset.
fn is_unheard(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind as Kind;
    system_errors(error).any(|error| {
        matches!(
            error.kind(),
            Kind::NotFound | Kind::ConnectionRefused | Kind::ConnectionReset | Kind::BrokenPipe
        )
    })
}

fn unreachable(socket: &Path, error: &dyn std::error::Error) -> BackendError {
    BackendError::Unreachable {
        message: format!(
            "could not reach the backend on {}: {}; is hostler running there?",
            socket.display(),
            root_cause(error)
        ),
    }
}

/// The innermost reason of an error: `No such file or directory (os error 2)`.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
