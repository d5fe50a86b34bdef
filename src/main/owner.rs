//! What the owner of a state directory does besides its own work: it serves others, and lets go
//! well.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler::backend::Embedded;
use hostler::domain::{Backend, BackendError, BackendExt, InFlight, question};
use hostler::wire::server::{Clients, Server, StopRequest};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{NEXT_ATTEMPT, Place, SERVE_TIMEOUT};

/// The socket being served beside whatever else we do.
pub(crate) struct Serving {
    stop: CancellationToken,
    pub(crate) clients: Clients,
    stop_request: StopRequest,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Serving {
    pub(crate) fn start(embedded: &Embedded, place: &Place) -> anyhow::Result<Self> {
        let server = Server::bind(&place.state_dir)?;
        let (stop, clients) = (CancellationToken::new(), server.clients());
        let stop_request = server.stop_request();
        let backend: Arc<dyn Backend> = Arc::new(embedded.clone());
        let server = tokio::spawn(server.run(backend, stop.clone()));
        Ok(Self { stop, clients, stop_request, server })
    }

    /// Ends when every request that was heard is answered. Says whether clients were cut off, which
    /// look for the next backend now.
    pub(crate) async fn stop(self) -> bool {
        self.stop.cancel();
        match self.server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the socket was not closed well"),
            Err(error) => tracing::error!(%error, "the server broke"),
        }
        self.clients.were_cut_off()
    }

    /// Serves until SIGTERM, SIGINT or somebody who is attached says so, then leaves everything for
    /// the next start. In the `background` it ends by itself as well, when nobody has needed it for
    /// a while.
    ///
    /// # Errors
    /// When the state directory was taken away from under us.
    pub(crate) async fn until_told(
        self,
        place: &Place,
        embedded: Embedded,
        background: bool,
    ) -> anyhow::Result<()> {
        let mut term = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        // The terminal may go many times; the work stays.
        let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for signals")?;
        let lost = loop {
            tokio::select! {
                _ = term.recv() => break None,
                _ = interrupt.recv() => break None,
                () = self.stop_request.told() => break None,
                _ = hang_up.recv() => {}
                error = embedded.lost() => break Some(error),
                () = self.unneeded(&embedded), if background => {
                    tracing::info!("nobody needs the backend in the background any more");
                    return self.let_go(place, embedded).await;
                }
            }
        };
        match lost {
            None => {
                self.end(&embedded).await;
                Ok(())
            }
            Some(error) => self.give_up(&embedded, error).await,
        }
    }

    /// Returns when nobody has needed the backend for a while: there is nothing to do, nothing to
    /// watch over, and nobody came.
    async fn unneeded(&self, embedded: &Embedded) {
        loop {
            embedded.until_unneeded().await;
            self.clients.gone().await;
            let came = self.clients.came();
            tokio::time::sleep(idle()).await;
            if self.clients.came() == came && !embedded.is_needed() {
                return;
            }
        }
    }

    /// Lets go of the state directory, and leaves what is still needed to the background.
    pub(crate) async fn let_go(self, place: &Place, embedded: Embedded) -> anyhow::Result<()> {
        if self.stop().await || is_left(place, &embedded) {
            leave_to_the_background(place, embedded).await
        } else {
            embedded.leave(true).await;
            Ok(())
        }
    }

    /// Ends, and leaves everything for the next start.
    async fn end(self, embedded: &Embedded) {
        self.stop().await;
        embedded.leave(false).await;
    }

    /// Lets go of a state directory that was taken away from under us, which is the `error`.
    pub(crate) async fn give_up<T>(
        self,
        embedded: &Embedded,
        error: BackendError,
    ) -> anyhow::Result<T> {
        tracing::error!("{error}");
        self.end(embedded).await;
        Err(error.into())
    }
}

/// How long a backend in the background stays when nobody needs it.
fn idle() -> Duration {
    #[cfg(feature = "failpoints")]
    if let Some(idle) = std::env::var("HOSTLER_IDLE_MS").ok().and_then(|idle| idle.parse().ok()) {
        return Duration::from_millis(idle);
    }
    Duration::from_secs(60)
}

/// Lets the steps that are being taken end, as long as nobody loses patience.
pub(crate) async fn stop_after_steps(place: &Place, embedded: Embedded) -> anyhow::Result<()> {
    // With standard error gone there is nobody to lose patience.
    let _ = writeln!(
        std::io::stderr(),
        "hostler: waiting for the running steps to end; Ctrl-C leaves them to the background"
    );
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let impatient = tokio::select! {
        () = embedded.leave(true) => false,
        _ = interrupt.recv() => true,
    };
    if impatient { leave_to_the_background(place, embedded).await } else { Ok(()) }
}

/// Whether something is to be left to the background. Nobody looked after the box before somebody
/// came who only looks, and nobody does afterwards; but work stays, whoever goes.
pub(crate) fn is_left(place: &Place, embedded: &Embedded) -> bool {
    if place.read_only { embedded.has_work() } else { embedded.is_needed() }
}

pub(crate) async fn in_flight(backend: &dyn Backend) -> anyhow::Result<InFlight> {
    Ok(backend.ask(question::GetInFlight).await?)
}

/// Lets go of the state directory and waits until a backend in the background has it.
pub(crate) async fn leave_to_the_background(
    place: &Place,
    embedded: Embedded,
) -> anyhow::Result<()> {
    embedded.leave(false).await;
    place.hand_over()?;
    let deadline = tokio::time::Instant::now() + SERVE_TIMEOUT;
    loop {
        match place.attach().await {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= deadline => {
                return Err(error.context(format!(
                    "the backend in the background does not answer; look into {} and start hostler \
                     again, nothing is lost",
                    place.state_dir.join("hostler.log").display()
                )));
            }
            Err(_) => tokio::time::sleep(NEXT_ATTEMPT).await,
        }
    }
}
