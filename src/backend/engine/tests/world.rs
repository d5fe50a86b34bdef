//! A world for the engine's own tests: a store in a folder, a clock that is set by hand, and kinds
//! that do what a test tells them, on things that are nothing but a name and a state.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, watch};

use crate::backend::engine::clock::Clock;
use crate::backend::engine::core::{Engine, Options, Parts};
use crate::backend::engine::journal::{Context, StepContext, Stop};
use crate::backend::engine::kind::{AdmissionContext, Kind};
use crate::backend::engine::notices::Notice;
use crate::backend::engine::storage::Storage;
use crate::backend::engine::store::{FILE, Store};
use crate::domain::{
    Accepted, BackendError, BoxFuture, Effect, Encoding, Failure, Field, FieldType, LockMode,
    LockRule, Operation, OperationDetail, OperationSpec, Outcome, Params, Preview, Resource,
    ResourceId, ResourceKind, Risk, Submit, Text, Uid,
};

/// What things are to the engine. It asks nothing of them but a number, a name and a state.
const THING: ResourceKind = Encoding::KIND;

pub const fn thing(id: u64) -> ResourceId {
    ResourceId::new(THING, id)
}

/// A thing: `waiting` until it is made, and `finished` then.
fn a_thing(id: u64, name: &str, state: &str) -> Resource {
    let at = Timestamp::UNIX_EPOCH;
    let thing = json!({
        "resource": THING.word(), "id": id, "name": name, "state": state, "created": at,
        "source": "", "preset": "", "output": "",
    });
    serde_json::from_value(thing).unwrap()
}

/// What a test tells its kinds, and what they say they have done.
#[derive(Default)]
pub struct Script {
    log: Mutex<Vec<String>>,
    stop_at: watch::Sender<String>,
    stopped: Notify,
}

impl Script {
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn write(&self, line: impl Into<String>) {
        self.log.lock().unwrap().push(line.into());
    }

    /// Lets whoever comes to this point stay there until this is called again.
    pub fn stop_at(&self, point: &str) {
        self.stop_at.send_replace(point.to_owned());
    }

    /// Lets whoever comes to this point next stay there, and those who stay elsewhere stay.
    pub fn stop_next_at(&self, point: &str) {
        self.stop_at.send_if_modified(|at| {
            point.clone_into(at);
            false
        });
    }

    /// Returns when somebody has come to the point.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// A point at which a test may want to stop.
    pub async fn point(&self, here: &str) {
        let mut stop_at = self.stop_at.subscribe();
        if *stop_at.borrow_and_update() == here {
            self.stopped.notify_one();
            // The sender is ours: it cannot be gone.
            let _ = stop_at.changed().await;
        }
    }
}

/// The clock of a world.
pub struct HandClock(watch::Sender<Timestamp>);

impl HandClock {
    pub fn new() -> Self {
        Self(watch::Sender::new(Timestamp::UNIX_EPOCH))
    }

    pub fn advance(&self, seconds: i64) {
        self.0.send_modify(|now| *now += SignedDuration::from_secs(seconds));
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        let mut shows = self.0.subscribe();
        Box::pin(async move {
            let _ = shows.wait_for(|now| *now >= at).await;
        })
    }
}

/// Names what kinds of these tests differ in.
pub fn spec(kind: &'static str, effect: Effect, fields: Vec<Field>) -> OperationSpec {
    OperationSpec {
        kind: kind.into(),
        title: kind.into(),
        doc: "A kind of these tests.".into(),
        doing: "at work".into(),
        resource: Some(THING),
        effect,
        subject: None,
        lane: "lane".into(),
        risk: Risk::None,
        warning: "".into(),
        fields,
        offered_on: Vec::new(),
        edits: false,
        hint: crate::domain::Hint::default(),
        locks: vec![],
        requires: vec![],
        state_after: None,
        reject_duplicates: false,
        steps: vec![],
    }
}

/// `make`: a thing of a name, in one step.
struct MakeThing(Arc<OperationSpec>, Arc<Script>);

impl Kind for MakeThing {
    fn spec(&self) -> &Arc<OperationSpec> {
        &self.0
    }

    fn reserve(&self, params: &Params, id: u64, _: &AdmissionContext<'_>) -> Option<Resource> {
        Some(a_thing(id, params["name"].as_str()?, "waiting"))
    }

    fn remove_leftovers(&self, id: u64) -> BoxFuture<'_, Result<(), Failure>> {
        self.1.write(format!("cleared {id}"));
        Box::pin(std::future::ready(Ok(())))
    }

    fn run(&self, cx: Context, params: &Params) -> BoxFuture<'static, Result<Outcome, Stop>> {
        let (script, name) = (self.1.clone(), params["name"].as_str().unwrap().to_owned());
        Box::pin(async move {
            let id = cx.id()?;
            let undone = script.clone();
            let undo = move |_: StepContext| {
                undone.write(format!("unmade {id}"));
                std::future::ready(Ok(()))
            };
            let (script, name) = (&script, &name);
            cx.step("make")
                .undo(undo)
                .run(|step| async move {
                    script.point("make").await;
                    if name == "bad" {
                        return Err(Failure::new("told to fail"));
                    }
                    script.write(format!("made {id}"));
                    step.put(a_thing(id, name, "finished"));
                    Ok(())
                })
                .await?;
            Ok(Outcome::new(format!("made {name}"), json!({ "thing": id })))
        })
    }
}

/// `use`: holds a thing for itself, and does nothing else.
struct UseThing(Arc<OperationSpec>, Arc<Script>);

impl Kind for UseThing {
    fn spec(&self) -> &Arc<OperationSpec> {
        &self.0
    }

    fn run(&self, cx: Context, _: &Params) -> BoxFuture<'static, Result<Outcome, Stop>> {
        let script = self.1.clone();
        Box::pin(async move {
            let id = cx.id()?;
            let script = &script;
            cx.step(Text::Owned("use".to_owned()))
                .run(|_| async move {
                    script.point("use").await;
                    script.write(format!("used {id}"));
                    Ok(())
                })
                .await?;
            Ok(Outcome::default())
        })
    }
}

/// `make` and `use`, as a script says.
fn kinds(script: &Arc<Script>) -> Vec<Arc<dyn Kind>> {
    let name = Field::required("name", FieldType::Name, "Its name.");
    let count = FieldType::Integer { min: 1, max: 9, unit: "".into() };
    let count = Field::optional("count", count, 1, "How many there are of it.");
    let make = OperationSpec {
        state_after: Some("finished".into()),
        steps: vec!["make".into()],
        ..spec("make", Effect::Creates, vec![name, count])
    };
    let of = FieldType::Resource { of: THING, states: vec![] };
    let using = OperationSpec {
        subject: Some("thing".into()),
        locks: vec![LockRule { field: "thing".into(), mode: LockMode::Exclusive }],
        requires: vec!["finished".into()],
        steps: vec!["use".into()],
        ..spec("use", Effect::Changes, vec![Field::required("thing", of, "Which.")])
    };
    vec![
        Arc::new(MakeThing(make.into(), script.clone())),
        Arc::new(UseThing(using.into(), script.clone())),
    ]
}

/// A world, and an engine in it.
pub struct World {
    dir: tempfile::TempDir,
    pub script: Arc<Script>,
    pub clock: Arc<HandClock>,
    kinds: Vec<Arc<dyn Kind>>,
    store: Store,
    pub engine: Arc<Engine>,
}

impl World {
    /// A world with `make` and `use`, and with these kinds.
    pub fn with(more: impl FnOnce(&Arc<Script>) -> Vec<Arc<dyn Kind>>) -> Self {
        let script = Arc::<Script>::default();
        let clock = Arc::new(HandClock::new());
        let kinds: Vec<_> = kinds(&script).into_iter().chain(more(&script)).collect();
        let dir = tempfile::tempdir().unwrap();
        let (store, engine) = open(&dir, &kinds, &clock);
        Self { dir, script, clock, kinds, store, engine }
    }

    pub fn new() -> Self {
        Self::with(|_| Vec::new())
    }

    /// Drops whatever runs where it is, as a crash would, does something to the store, and lets the
    /// next life begin.
    pub async fn crash(&mut self, meanwhile: impl FnOnce(&Self)) {
        self.engine.stop(false).await;
        self.store.close().await.unwrap();
        meanwhile(self);
        (self.store, self.engine) = open(&self.dir, &self.kinds, &self.clock);
    }

    /// Does something to the tables behind the engine's back.
    pub fn sql(&self, sql: &str) {
        let store = rusqlite::Connection::open(self.dir.path().join(FILE)).unwrap();
        store.execute_batch(sql).unwrap();
    }

    /// Keeps the writer from writing until what is returned is dropped.
    pub fn hold_writer(&self) -> rusqlite::Connection {
        let other = rusqlite::Connection::open(self.dir.path().join(FILE)).unwrap();
        other.busy_timeout(Duration::from_secs(5)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        other
    }

    pub async fn submit(&self, kind: &str, params: Json) -> Result<Accepted, BackendError> {
        let Json::Object(params) = params else { panic!("{params} are no parameters") };
        let submit = Submit { kind: kind.into(), params, ..Submit::default() };
        self.engine.submit(submit).await
    }

    /// Asks for what is accepted.
    pub async fn accepts(&self, kind: &str, params: Json) -> Uid {
        self.submit(kind, params).await.unwrap().uid
    }

    /// Asks for what comes to a point, and stays there.
    pub async fn stays_at(&self, point: &str, kind: &str, params: Json) -> Uid {
        self.script.stop_at(point);
        let uid = self.accepts(kind, params).await;
        self.script.stopped().await;
        uid
    }

    /// Asks with an idempotency key.
    pub async fn submit_once(
        &self,
        key: &str,
        kind: &str,
        params: Json,
    ) -> Result<Accepted, BackendError> {
        let Json::Object(params) = params else { panic!("{params} are no parameters") };
        let key = Some(key.to_owned());
        self.engine.submit(Submit { kind: kind.into(), params, key, ..Submit::default() }).await
    }

    /// What would come of asking so.
    pub async fn preview_once(&self, key: &str, kind: &str, params: Json) -> Preview {
        let Json::Object(params) = params else { panic!("{params} are no parameters") };
        let key = Some(key.to_owned());
        let submit = Submit { kind: kind.into(), params, key, ..Submit::default() };
        self.engine.preview(submit).await.unwrap()
    }

    pub async fn operation(&self, uid: Uid) -> Operation {
        let open = self.engine.look(|live| live.operation(uid).map(|it| (**it).clone()));
        match open {
            Some(open) => open,
            None => self.engine.stored_operation(uid).await.unwrap().unwrap(),
        }
    }

    pub fn state(&self, id: ResourceId) -> Option<String> {
        self.engine.inventory(|inventory| inventory.resource(id).map(|it| it.state().to_owned()))
    }

    /// An operation that neither waits nor runs any more, with its steps.
    pub async fn rest(&self, uid: Uid) -> OperationDetail {
        let watch = self.engine.watch(|notice| matches!(notice, Notice::Ended(_)));
        loop {
            let operation = self.operation(uid).await;
            if operation.finished.is_some() {
                let steps = self.store.steps(uid).await.unwrap();
                let steps = steps.into_iter().map(|(step, _)| step).collect();
                let children = self.store.children(uid).await.unwrap();
                return OperationDetail { operation, steps, children, more_children: 0 };
            }
            watch.next().await;
        }
    }
}

fn open(
    dir: &tempfile::TempDir,
    kinds: &[Arc<dyn Kind>],
    clock: &Arc<HandClock>,
) -> (Store, Arc<Engine>) {
    let (store, opened) = Store::open(dir.path()).unwrap();
    let engine = crate::backend::engine::open(Parts {
        options: Options { lanes: vec![("lane".to_owned(), 4)], shown: |resource| resource },
        kinds: kinds.to_vec(),
        clock: clock.clone(),
        storage: Arc::new(store.clone()),
        opened,
    });
    engine.dispatch();
    (store, engine)
}
