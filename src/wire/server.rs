//! The server: any [`Backend`] on a unix socket, for the same user and root only.
//!
//! It holds no state of its own beyond the connections, and never looks into what it passes on
//! except to write down who asked.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path as UrlPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::native;
use super::socket::{Socket, Visit};
use super::version::{PRODUCT, Version};
use crate::domain::{Backend, BackendError, EventStream, Reason, Refusal, Result, Serial, Submit};

/// How long a connection that is told to end may take to do so.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A bound socket, not yet served.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
    clients: Clients,
    stop_request: StopRequest,
}

/// Who is there: every client holds a stream open that says nothing.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    here: TaskTracker,
    came: Arc<AtomicUsize>,
    cut: Arc<AtomicBool>,
}

impl Clients {
    /// Returns when there is none.
    pub async fn gone(&self) {
        self.here.close();
        self.here.wait().await;
    }

    /// How many came so far.
    #[must_use]
    pub fn came(&self) -> usize {
        self.came.load(Ordering::Relaxed)
    }

    /// Whether any was cut off when the server stopped: it will look for another one.
    #[must_use]
    pub fn were_cut_off(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }
}

/// How a backend is told to end by somebody who is attached to it.
#[derive(Debug, Clone, Default)]
pub struct StopRequest {
    listens: Arc<AtomicBool>,
    told: CancellationToken,
}

impl StopRequest {
    /// Returns when the backend was told to end. Until somebody waits for that, whoever tells it is
    /// refused.
    pub async fn told(&self) {
        self.listens.store(true, Ordering::Relaxed);
        self.told.cancelled().await;
    }
}

impl Server {
    /// Makes the socket of `state_dir`, mode 0600. The caller owns the directory (it holds its
    /// lock), so a socket that lies there was left by a process that is gone, and is replaced.
    ///
    /// # Errors
    /// When the socket cannot be made: the directory is not writable, or its path is too long.
    pub fn bind(state_dir: &Path) -> Result<Self> {
        let path = native::socket_path(state_dir);
        let failed = |error: std::io::Error| {
            BackendError::failed(format!("cannot make the socket {}: {error}", path.display()))
        };
        let socket = Socket::bind(&path).map_err(failed)?;
        Ok(Self { socket, clients: Clients::default(), stop_request: StopRequest::default() })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.socket.path()
    }

    /// Who is there.
    #[must_use]
    pub fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// How it is told to end.
    #[must_use]
    pub fn stop_request(&self) -> StopRequest {
        self.stop_request.clone()
    }

    /// Serves `backend` until `stop` is cancelled; then takes the socket away, ends the streams and
    /// lets the requests at work finish. Whoever comes after that finds nobody, and nobody is
    /// turned away half-way.
    ///
    /// # Errors
    /// When the socket cannot be served.
    pub async fn run(
        self,
        backend: Arc<dyn Backend>,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let Self { socket, clients, stop_request } = self;
        let closer = socket.closer();
        let digest = native::catalogue_digest(&backend.catalogue())?;
        let digest = HeaderValue::try_from(digest).map_err(std::io::Error::other)?;
        let served = Served { backend, digest, stop: stop.clone(), clients, stop_request };
        let service = router(served).into_make_service_with_connect_info::<Peer>();
        // Not its own graceful shutdown, which hangs up on a client that is about to speak.
        let serving = axum::serve(socket, service).into_future();
        let closing = async {
            stop.cancelled().await;
            if tokio::time::timeout(CLOSE_TIMEOUT, closer.close()).await.is_err() {
                tracing::warn!("a connection did not end in time and was cut");
            }
        };
        tokio::select! {
            ended = serving => ended,
            () = closing => Ok(()),
        }
    }
}

/// Who is at the other end.
#[derive(Debug, Clone)]
struct Peer {
    /// As the kernel says. `None` where it would not say.
    uid: Option<u32>,
    visit: Arc<Visit>,
}

impl Connected<IncomingStream<'_, Socket>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Socket>) -> Self {
        let connection = stream.io();
        Self { uid: connection.peer().ok().map(|cred| cred.uid()), visit: connection.visit() }
    }
}

#[derive(Clone)]
struct Served {
    backend: Arc<dyn Backend>,
    /// Of its catalogue.
    digest: HeaderValue,
    stop: CancellationToken,
    clients: Clients,
    stop_request: StopRequest,
}

impl Served {
    /// A stream that ends when the server stops.
    fn streamed(
        &self,
        content_type: &'static str,
        chunks: impl Stream<Item = Vec<u8>> + Send + 'static,
    ) -> Response {
        let (stop, cut) = (self.stop.clone(), self.clients.cut.clone());
        let chunks = chunks.take_until(async move {
            stop.cancelled().await;
            cut.store(true, Ordering::Relaxed);
        });
        let body = Body::from_stream(chunks.map(Ok::<_, std::convert::Infallible>));
        ([(header::CONTENT_TYPE, content_type)], body).into_response()
    }
}

fn router(served: Served) -> Router {
    Router::new()
        .route(native::HERE, get(here))
        .route(native::RESOURCES, get(resources))
        .route(native::CATALOGUE, get(catalogue))
        .route(native::QUERY, post(query))
        .route(native::OPERATIONS, post(submit))
        .route(native::KEYED, post(submit))
        .route(native::CONTROL, post(control))
        .route(native::STOP_BACKEND, post(stop))
        .route(native::EVENTS, get(events))
        .route(native::SERIAL, get(serial_output).post(serial_input))
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .layer(DefaultBodyLimit::max(native::BODY_LIMIT))
        .layer(middleware::from_fn(only_so_many))
        .layer(middleware::from_fn(only_our_own))
        .layer(middleware::map_response(signed))
        .with_state(served)
}

/// Lets in whoever runs as the backend's own user, and root.
async fn only_our_own(
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let own = rustix::process::geteuid().as_raw();
    match peer.uid {
        Some(uid) if uid == own || uid == 0 => next.run(request).await,
        other => {
            let who = other.map_or_else(
                || "a user the kernel does not name".to_owned(),
                |uid| format!("user {}", native::user_name(uid)),
            );
            tracing::warn!("refused a connection by {who}");
            failure(&BackendError::Refused(Refusal::new(
                Reason::Privileges,
                format!(
                    "{who} may not use this backend, only {} and root may; run hostler as one of \
                     them",
                    native::user_name(own)
                ),
            )))
        }
    }
}

/// Turns away whoever is one too many, and notes that a request without a body, or with an endless
/// one, was heard.
async fn only_so_many(
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if peer.visit.surplus {
        return failure(&BackendError::Unreachable { message: native::CROWDED.to_owned() });
    }
    let path = request.uri().path();
    let with_body = [native::QUERY, native::OPERATIONS, native::KEYED, native::CONTROL];
    if !with_body.contains(&path) {
        peer.visit.hear();
    }
    next.run(request).await
}

/// Tells our version with every answer; and a connection is for one request, so that there is none
/// that waits for nothing.
async fn signed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static(PRODUCT));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn here(State(served): State<Served>) -> Response {
    let here = served.clients.here.token();
    served.clients.came.fetch_add(1, Ordering::Relaxed);
    let silence = stream::pending().inspect(move |_: &Vec<u8>| {
        let _kept = &here;
    });
    let mut answer = served.streamed("application/octet-stream", silence);
    answer.headers_mut().insert(native::CATALOGUE_DIGEST, served.digest);
    answer
}

async fn resources(State(served): State<Served>) -> Response {
    success(StatusCode::OK, &served.backend.catalogue().descriptions())
}

async fn catalogue(State(served): State<Served>) -> Response {
    success(StatusCode::OK, &served.backend.catalogue().operations())
}

async fn query(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match peer.read(&headers, body) {
        Ok(query) => answer(StatusCode::OK, &served.backend.query(query).await),
        Err(error) => failure(&error),
    }
}

async fn submit(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match peer.read::<Submit>(&headers, body) {
        Ok(mut submit) => {
            if let Some(uid) = peer.uid {
                submit.actor = native::actor(&submit.actor, uid);
            }
            answer(StatusCode::ACCEPTED, &served.backend.submit(submit).await)
        }
        Err(error) => failure(&error),
    }
}

async fn control(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let done = match peer.read(&headers, body) {
        Ok(control) => served.backend.control(control).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => failure(&error),
    }
}

/// Ends the backend, if it is one by itself and nobody else is attached who would start another.
async fn stop(State(served): State<Served>) -> Response {
    let refused = |why: String| failure(&Refusal::new(Reason::State, why).into());
    if !served.stop_request.listens.load(Ordering::Relaxed) {
        let why = "a console or a command has the backend in its own process; leave that";
        return refused(why.to_owned());
    }
    // Whoever asks is here too.
    match served.clients.here.len().saturating_sub(1) {
        0 => {
            tracing::info!("told to end");
            served.stop_request.told.cancel();
            StatusCode::NO_CONTENT.into_response()
        }
        1 => refused("another hostler is attached to the backend; leave that first".to_owned()),
        others => refused(format!("{others} others are attached to the backend; leave them first")),
    }
}

async fn events(State(served): State<Served>) -> Response {
    // Subscribed before the answer begins: once a client sees the status, no event escapes it.
    served.streamed("application/x-ndjson", lines(served.backend.subscribe()))
}

async fn serial_output(State(served): State<Served>, UrlPath(vm): UrlPath<String>) -> Response {
    match serial(&served, &vm).await {
        Ok(Serial { output, input }) => {
            // The input half is kept as long as the output is read: closing it may close the line.
            let output = output.map(move |bytes| {
                let _kept = &input;
                bytes
            });
            served.streamed("application/octet-stream", output)
        }
        Err(error) => failure(&error),
    }
}

async fn serial_input(
    State(served): State<Served>,
    UrlPath(vm): UrlPath<String>,
    body: Body,
) -> Response {
    let mut serial = match serial(&served, &vm).await {
        Ok(serial) => serial,
        Err(error) => return failure(&error),
    };
    let mut typed = body.into_data_stream();
    loop {
        tokio::select! {
            chunk = typed.next() => match chunk {
                Some(Ok(bytes)) => if let Err(error) = serial.input.send(&bytes) {
                    return failure(&error);
                },
                // The client hung up or is done typing; either way nothing more will come.
                Some(Err(_)) | None => return StatusCode::NO_CONTENT.into_response(),
            },
            // The other request carries the output; here only its end matters.
            written = serial.output.next() => if written.is_none() {
                return failure(&BackendError::failed(format!(
                    "the serial line of vm/{vm} is closed: the guest stopped"
                )));
            },
            () = served.stop.cancelled() => return failure(&BackendError::Unreachable {
                message: "the backend is stopping".to_owned(),
            }),
        }
    }
}

async fn serial(served: &Served, vm: &str) -> Result<Serial> {
    let number = vm.parse().map_err(|_| BackendError::not_found(format!("vm/{vm}")))?;
    served.backend.serial(number).await
}

async fn nothing_here(request: Request) -> Response {
    failure(&BackendError::not_found(format!("{} {}", request.method(), request.uri().path())))
}

/// Events as lines, with an empty line whenever there was none for a while.
fn lines(events: EventStream) -> impl Stream<Item = Vec<u8>> + Send {
    stream::unfold(events, |mut events| async move {
        let line = match tokio::time::timeout(native::KEEP_ALIVE, events.next()).await {
            Err(_) => vec![b'\n'],
            Ok(None) => return None,
            Ok(Some(event)) => native::event_line(&event).unwrap_or_else(|error| {
                // Left out, it makes a gap in the numbers, and the client asks again.
                tracing::error!("event {} cannot be written as JSON: {error}", event.seq);
                Vec::new()
            }),
        };
        Some((line, events))
    })
}

impl Peer {
    /// Reads the JSON of a request, which is all there now.
    fn read<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<T> {
        self.visit.hear();
        let bytes = body.map_err(|rejection| {
            Refusal::new(
                Reason::Value,
                format!(
                    "the request was not read: {}; at most {} bytes are",
                    rejection.body_text(),
                    native::BODY_LIMIT
                ),
            )
        })?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let mut message = format!("the request is not understood: {}", complaint(&error));
            let version = Version::told(headers, header::USER_AGENT);
            // Another version asks in other words; of anybody else it is a slip.
            if matches!(version, Version::Other(_)) {
                message += &format!("; {}", version.advice("the client"));
            }
            Refusal::new(Reason::Type, message).into()
        })
    }
}

/// Why a request cannot be read, without a word of what was sent: that may be a secret.
fn complaint(error: &serde_json::Error) -> String {
    let said = error.to_string();
    if !error.is_data() || said.starts_with("missing field") {
        return said;
    }
    match said.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => {
            let (line, column) = (error.line(), error.column());
            format!("it is not as it must be at line {line} column {column}")
        }
    }
}

fn answer<T: Serialize>(status: StatusCode, result: &Result<T>) -> Response {
    match result {
        Ok(value) => success(status, value),
        Err(error) => failure(error),
    }
}

fn success(status: StatusCode, value: &impl Serialize) -> Response {
    (status, axum::Json(value)).into_response()
}

fn failure(error: &BackendError) -> Response {
    let status =
        StatusCode::from_u16(native::status(error)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(error)).into_response()
}
