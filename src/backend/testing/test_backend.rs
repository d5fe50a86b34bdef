//! A backend on a state directory of its own, for tests: it can be left and started again, and is
//! waited for by its events.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::Value as Json;

use crate::domain::{
    Accepted, Answer, Backend, BackendError, Control, EventStream, Fact, Operation,
    OperationDetail, Preview, Query, Refusal, Resource, ResourceId, ResourceKind, State, Submit,
    Uid,
};

use super::fake_encoder::{FakeClock, FakeEncoder, ports};
use crate::backend::operations::{self, KindEntry};
use crate::backend::settings::Settings;
use crate::backend::{Embedded, own};

/// A backend under test.
pub struct TestBackend {
    /// Where it keeps everything; sources and outputs may lie beside that.
    pub dir: tempfile::TempDir,
    pub encoder: Arc<FakeEncoder>,
    pub clock: Arc<FakeClock>,
    pub zone: jiff::tz::TimeZone,
    /// What is otherwise in the next life's settings.
    pub settings: fn(&mut Settings),
    kinds: fn(&Settings) -> Vec<KindEntry>,
    pub backend: Option<Embedded>,
}

impl Default for TestBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl TestBackend {
    /// One with every kind of operation, on 1 March 2026, a Sunday, at noon UTC.
    pub fn new() -> Self {
        Self::of(operations::all)
    }

    /// One with these kinds.
    pub fn of(kinds: fn(&Settings) -> Vec<KindEntry>) -> Self {
        let mut tested = Self {
            dir: tempfile::tempdir().unwrap(),
            encoder: FakeEncoder::new(),
            clock: FakeClock::at("2026-03-01T12:00:00Z"),
            zone: jiff::tz::TimeZone::UTC,
            settings: |_| (),
            kinds,
            backend: None,
        };
        tested.start();
        tested
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a file beside the state directory.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn start(&mut self) {
        let state = self.path("state");
        let owned = take(&state);
        let mut settings = Settings::new(state);
        settings.time_zone = Some(self.zone.clone());
        (self.settings)(&mut settings);
        let kinds = (self.kinds)(&settings);
        let ports = ports(&self.encoder, &self.clock);
        self.backend = Some(Embedded::start(owned, settings, ports, kinds).unwrap());
    }

    /// Drops whatever runs where it is, as a crash would.
    pub async fn crash(&mut self) {
        self.backend.take().unwrap().leave(false).await;
    }

    pub fn backend(&self) -> &Embedded {
        self.backend.as_ref().unwrap()
    }

    pub async fn submit(&self, kind: &str, params: Json) -> Result<Accepted, Refusal> {
        let Json::Object(params) = params else { panic!("{params} are no parameters") };
        let submit =
            Submit { kind: kind.into(), params, actor: "test".into(), ..Submit::default() };
        match self.backend().submit(submit).await {
            Ok(accepted) => Ok(accepted),
            Err(BackendError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    /// Submits and waits until it is at its end or failed.
    pub async fn done(&self, kind: &str, params: Json) -> OperationDetail {
        let events = self.backend().subscribe();
        let accepted = self.submit(kind, params).await.unwrap();
        self.rest(events, accepted.uid).await
    }

    /// Waits until an operation neither waits nor runs. `events` began before it could.
    pub async fn rest(&self, events: EventStream, uid: Uid) -> OperationDetail {
        let rests =
            |it: &Operation| it.uid == uid && (it.state.is_end() || it.state == State::Error);
        if !rests(&self.operation(uid).await.operation) {
            until(events, |fact| matches!(fact, Fact::Operation(it) if rests(it))).await;
        }
        self.operation(uid).await
    }

    pub async fn operation(&self, uid: Uid) -> OperationDetail {
        match self.backend().query(Query::Operation { uid }).await.unwrap() {
            Answer::Operation(detail) => *detail,
            other => panic!("{other:?}"),
        }
    }

    pub async fn resource(&self, kind: ResourceKind, id: u64) -> Option<Resource> {
        let id = ResourceId::new(kind, id);
        match self.backend().query(Query::Resource { id }).await {
            Ok(Answer::Resource(resource)) => Some(*resource),
            Err(BackendError::NotFound { .. }) => None,
            other => panic!("{other:?}"),
        }
    }

    pub async fn preview(&self, kind: &str, params: Json) -> Preview {
        let Json::Object(params) = params else { panic!("{params} are no parameters") };
        let submit = Submit { kind: kind.into(), params, ..Submit::default() };
        match self.backend().query(Query::Preview(submit)).await.unwrap() {
            Answer::Preview(preview) => preview,
            other => panic!("{other:?}"),
        }
    }

    pub async fn cancel(&self, uid: Uid) {
        self.backend().control(Control::Cancel { uid }).await.unwrap();
    }
}

/// Waits for a fact.
pub async fn until(mut events: EventStream, is_it: impl Fn(&Fact) -> bool) {
    while let Some(event) = events.next().await {
        if is_it(&event.fact) {
            return;
        }
    }
    panic!("the events ended");
}

/// Takes a state directory. A tool that another test starts at this moment holds our lock from its
/// fork to its exec, so that the lock may come free a little later than its owner is gone.
pub fn take(dir: &std::path::Path) -> crate::backend::Owned {
    loop {
        if let Some(owned) = own(dir).unwrap() {
            return owned;
        }
        std::thread::yield_now();
    }
}
