//! What the tests of kinds share: a whole backend over fakes in a folder of its own, and the trials
//! every kind must survive. Nothing here sleeps: everything waits for events.

use std::path::Path;

use futures_util::StreamExt;
use serde_json::{Value as Json, json};

use super::fake::{CallFault, FakePorts};
use crate::backend::Embedded;
use crate::backend::settings::{OsImage, Settings};
use crate::domain::{
    Accepted, Answer, Backend, BackendError, Control, Disk, EventStream, Fact, Filter, Image, List,
    Operation, OperationDetail, Page, Params, Preview, Query, Reason, Refusal, Resource,
    ResourceId, Rows, State, Subject, Submit, Uid, Vm,
};

/// A backend over fakes.
pub struct Harness {
    dir: tempfile::TempDir,
    /// The world it works in.
    pub fake: FakePorts,
    /// The backend.
    pub backend: Embedded,
    events: EventStream,
}

/// The settings of every test.
pub fn settings(dir: &Path) -> Settings {
    let mut settings = Settings::new(dir.to_owned());
    settings.os = vec![OsImage {
        name: "debian-12".into(),
        label: "Debian 12 (bookworm)".into(),
        url: "https://images.example/debian-12.qcow2".into(),
        checksum_url: "https://images.example/SHA512SUMS".into(),
        login: "debian".into(),
    }];
    settings
}

/// Parameters from JSON.
pub fn params(json: Json) -> Params {
    match json {
        Json::Object(params) => params,
        other => panic!("{other} is no object"),
    }
}

impl Harness {
    /// An empty backend.
    pub fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::over(dir, FakePorts::default())
    }

    fn over(dir: tempfile::TempDir, fake: FakePorts) -> Self {
        let settings = settings(dir.path());
        let kinds = crate::backend::operations::all(&settings);
        let owned = crate::backend::testing::test_backend::take(dir.path());
        let backend = Embedded::start(owned, settings, fake.ports(), kinds).unwrap();
        let events = backend.subscribe();
        Self { dir, fake, backend, events }
    }

    /// The same state directory and the same world under a new life of the backend.
    pub async fn restart(self) -> Self {
        self.restart_after(|_| {}).await
    }

    /// The same, after something was done to the state directory that nobody owns.
    pub async fn restart_after(self, change: impl FnOnce(&Path)) -> Self {
        self.backend.leave(false).await;
        let Self { dir, fake, backend, events } = self;
        drop((backend, events));
        change(dir.path());
        Self::over(dir, fake)
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Asks for an operation.
    pub async fn submit(&self, kind: &str, given: Json) -> Result<Accepted, BackendError> {
        let submit = Submit {
            kind: kind.into(),
            params: params(given),
            actor: "test".into(),
            ..Submit::default()
        };
        self.backend.submit(submit).await
    }

    /// The refusal of a request: which check, which field.
    pub async fn refused(&self, kind: &str, given: Json) -> (Reason, String, Refusal) {
        match self.submit(kind, given.clone()).await {
            Err(BackendError::Refused(refusal)) => {
                (refusal.reason, refusal.field.clone().unwrap_or_default(), refusal)
            }
            other => panic!("{kind} {given} was not refused: {other:?}"),
        }
    }

    /// What a request would do.
    pub async fn preview(&self, kind: &str, given: Json) -> Preview {
        let submit = Submit { kind: kind.into(), params: params(given), ..Submit::default() };
        match self.backend.query(Query::Preview(submit)).await.unwrap() {
            Answer::Preview(preview) => preview,
            other => panic!("{other:?}"),
        }
    }

    /// An operation with its steps.
    pub async fn detail(&self, uid: Uid) -> OperationDetail {
        match self.backend.query(Query::Operation { uid }).await.unwrap() {
            Answer::Operation(detail) => *detail,
            other => panic!("{other:?}"),
        }
    }

    /// The next fact that `wanted` makes something of.
    pub async fn hears<T>(&mut self, mut wanted: impl FnMut(&Fact) -> Option<T>) -> T {
        loop {
            let event = self.events.next().await.expect("the backend tells until it ends");
            if let Some(found) = wanted(&event.fact) {
                return found;
            }
        }
    }

    /// The operation when it has come to an end or an error.
    pub async fn ends(&mut self, uid: Uid) -> Operation {
        self.reaches(uid, &[State::Done, State::Error, State::Cancel]).await
    }

    /// The operation when it is in one of these states.
    pub async fn reaches(&mut self, uid: Uid, states: &[State]) -> Operation {
        let operation = self.detail(uid).await.operation;
        if states.contains(&operation.state) {
            return operation;
        }
        self.hears(|fact| match fact {
            Fact::Operation(operation)
                if operation.uid == uid && states.contains(&operation.state) =>
            {
                Some((**operation).clone())
            }
            _ => None,
        })
        .await
    }

    /// Asks for an operation and sees it done; gives the number of its resource.
    pub async fn done(&mut self, kind: &str, given: Json) -> u64 {
        let accepted = self.submit(kind, given).await.unwrap();
        let operation = self.ends(accepted.uid).await;
        assert_eq!(operation.state, State::Done, "{kind}: {:?}", operation.comment);
        accepted.resource.unwrap().id
    }

    /// Asks for an operation and sees it fail; gives why.
    pub async fn fails(&mut self, kind: &str, given: Json) -> (Uid, String) {
        let accepted = self.submit(kind, given).await.unwrap();
        let operation = self.ends(accepted.uid).await;
        assert_eq!(operation.state, State::Error, "{kind}");
        (accepted.uid, operation.comment.unwrap())
    }

    /// Changes an operation.
    pub async fn control(&self, control: Control) {
        self.backend.control(control).await.unwrap();
    }

    /// The resource when it is as `wanted`.
    pub async fn becomes(
        &mut self,
        id: ResourceId,
        wanted: impl Fn(&Resource) -> bool,
    ) -> Resource {
        if let Some(found) = self.resource(id).await.filter(&wanted) {
            return found;
        }
        self.hears(|fact| match fact {
            Fact::Resource(resource) if resource.id() == id && wanted(resource) => {
                Some((**resource).clone())
            }
            _ => None,
        })
        .await
    }

    /// A resource, if it is there.
    pub async fn resource(&self, id: ResourceId) -> Option<Resource> {
        match self.backend.query(Query::Resource { id }).await {
            Ok(Answer::Resource(resource)) => Some(*resource),
            _ => None,
        }
    }

    /// A VM that must be there.
    pub async fn vm(&self, id: u64) -> Vm {
        match self.resource(ResourceId::new(Vm::KIND, id)).await {
            Some(Resource::Vm(vm)) => vm,
            other => panic!("vm/{id}: {other:?}"),
        }
    }

    /// A disk that must be there.
    pub async fn disk(&self, id: u64) -> Disk {
        match self.resource(ResourceId::new(Disk::KIND, id)).await {
            Some(Resource::Disk(disk)) => disk,
            other => panic!("disk/{id}: {other:?}"),
        }
    }

    /// An image that must be there.
    pub async fn image(&self, id: u64) -> Image {
        match self.resource(ResourceId::new(Image::KIND, id)).await {
            Some(Resource::Image(image)) => image,
            other => panic!("image/{id}: {other:?}"),
        }
    }

    /// Every disk there is.
    pub async fn disks(&self) -> Vec<Disk> {
        let list = List {
            of: Subject::Resources(Disk::KIND),
            filter: Filter::default(),
            sort: None,
            offset: 0,
            limit: 100,
            around: None,
        };
        match self.backend.query(Query::List(list)).await.unwrap() {
            Answer::Page(Page { rows: Rows::Resources(rows), .. }) => {
                rows.iter().filter_map(|row| row.get().cloned()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Everything there is, for comparing: resources, files, processes. Times and random numbers
    /// are left out.
    pub async fn everything(&self) -> Json {
        self.backend.in_step().await;
        let mut resources = Vec::new();
        for kind in [Vm::KIND, Disk::KIND, Image::KIND] {
            let list = List {
                of: Subject::Resources(kind),
                filter: Filter::default(),
                sort: None,
                offset: 0,
                limit: 100,
                around: None,
            };
            match self.backend.query(Query::List(list)).await.unwrap() {
                Answer::Page(page) => match page.rows {
                    Rows::Resources(rows) => resources.extend(rows),
                    Rows::Operations(_) => unreachable!("resources were asked for"),
                },
                other => panic!("{other:?}"),
            }
        }
        let resources: Vec<Json> = resources
            .iter()
            .map(|resource| {
                let mut json = serde_json::to_value(resource).unwrap();
                for volatile in ["uuid", "created", "started", "trashed", "cpu_percent"] {
                    json.as_object_mut().unwrap().remove(volatile);
                }
                json
            })
            .collect();
        let mut files = Vec::new();
        for folder in ["vms", "disks", "images", "trash"] {
            walk(&self.dir().join(folder), self.dir(), &mut files);
        }
        files.sort();
        let processes: Vec<String> = self
            .fake
            .processes()
            .iter()
            .map(|(vm, process)| format!("vm/{vm} {:?} {:?}", process.status, process.plugged))
            .collect();
        let all = json!({ "resources": resources, "files": files, "processes": processes });
        let here = self.dir().display().to_string();
        serde_json::from_str(&all.to_string().replace(&here, "")).unwrap()
    }

    /// An image to create VMs from.
    pub async fn some_image(&mut self) -> u64 {
        self.done("image_build", json!({ "recipe": "tiny" })).await
    }

    /// A running VM.
    pub async fn some_vm(&mut self) -> u64 {
        let os = self.some_image().await;
        self.done(
            "vm_create",
            json!({ "hostname": "web-1", "password": "correct horse", "os": os }),
        )
        .await
    }

    /// A VM at rest.
    pub async fn some_halted_vm(&mut self) -> u64 {
        let vm = self.some_vm().await;
        self.done("vm_stop", json!({ "vm": vm, "force": true })).await
    }

    /// A free disk.
    pub async fn some_disk(&mut self) -> u64 {
        self.done("disk_create", json!({ "name": "data", "size_mb": 20 })).await
    }
}

fn walk(dir: &Path, root: &Path, files: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        files.push(path.strip_prefix(root).unwrap().display().to_string());
        if path.is_dir() {
            walk(&path, root, files);
        }
    }
}

/// What is there before the operation under test.
pub type SetupFn = for<'a> fn(&'a mut Harness) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A kind under test: a request that works once `setup` is done.
pub struct FaultMatrix {
    /// Its name.
    pub kind: &'static str,
    /// A request that works.
    pub params: Json,
    /// What is there before.
    pub setup: SetupFn,
    /// Whether whatever it did is undone when it fails or is cancelled.
    pub undoes: bool,
}

impl FaultMatrix {
    async fn harness(&self) -> Harness {
        let mut harness = Harness::open();
        (self.setup)(&mut harness).await;
        harness.fake.calls();
        harness
    }

    /// It fails at every call on the world, before and after the effect, is cancelled during every
    /// one, and loses its backend during every one. Whatever happens, nothing is left of it, or it
    /// ends as if nothing had happened.
    pub async fn survives_faults(&self) {
        let mut harness = self.harness().await;
        let before = harness.everything().await;
        harness.done(self.kind, self.params.clone()).await;
        let after = harness.everything().await;
        assert_ne!(before, after, "{} does something", self.kind);
        let calls = harness.fake.calls();
        for (at, call) in calls.iter().enumerate() {
            for trouble in [CallFault::Before, CallFault::After] {
                let what = format!("{} told to fail {trouble:?} call {at} ({call})", self.kind);
                self.fails(at, trouble, &what, &before, &after).await;
            }
            let what = format!("{} cancelled during call {at} ({call})", self.kind);
            self.cancelled(at, &what, &before).await;
            let what = format!("{} interrupted during call {at} ({call})", self.kind);
            self.interrupted(at, &what, &after).await;
        }
        println!("{}: {} calls, each made to fail, hang and end", self.kind, calls.len());
    }

    /// The same for a kind whose children do the work: what fails in one of them is told by both.
    pub async fn endure_as_parent(&self) {
        let mut harness = self.harness().await;
        let before = harness.everything().await;
        let uid = harness.submit(self.kind, self.params.clone()).await.unwrap().uid;
        assert_eq!(harness.ends(uid).await.state, State::Done);
        let after = harness.everything().await;
        assert_ne!(before, after, "{} does something", self.kind);
        for (at, call) in harness.fake.calls().iter().enumerate() {
            let what = format!("{} cancelled during call {at} ({call})", self.kind);
            self.cancelled(at, &what, &before).await;
            let what = format!("{} interrupted during call {at} ({call})", self.kind);
            self.interrupted(at, &what, &after).await;
            for trouble in [CallFault::Before, CallFault::After] {
                let what = format!("{} told to fail {trouble:?} call {at} ({call})", self.kind);
                for cancel in [true, false] {
                    let mut harness = self.harness().await;
                    harness.fake.trouble(at, trouble);
                    let (uid, why) = harness.fails(self.kind, self.params.clone()).await;
                    assert!(why.contains("told to fail"), "{what}: {why}");
                    let (control, state, wanted) = if cancel {
                        (Control::Cancel { uid }, State::Cancel, &before)
                    } else {
                        (Control::Relaunch { uid, params: Params::new() }, State::Done, &after)
                    };
                    harness.control(control).await;
                    harness.reaches(uid, &[state]).await;
                    assert_eq!(harness.everything().await, *wanted, "{what}, then {state}");
                }
            }
        }
    }

    async fn fails(&self, at: usize, trouble: CallFault, what: &str, before: &Json, after: &Json) {
        // Once to be cancelled.
        let harness = self.harness().await;
        harness.fake.trouble(at, trouble);
        let accepted = harness.submit(self.kind, self.params.clone()).await.unwrap();
        let mut harness = harness;
        let failed = harness.ends(accepted.uid).await;
        assert_eq!(failed.state, State::Error, "{what}: {:?}", failed.comment);
        let why = failed.comment.unwrap();
        assert!(why.starts_with("told to fail"), "{what}: {why}");
        if self.undoes {
            harness.control(Control::Cancel { uid: accepted.uid }).await;
            harness.reaches(accepted.uid, &[State::Cancel]).await;
            assert_eq!(harness.everything().await, *before, "{what}, then cancelled");
            // Once to be relaunched.
            let harness = self.harness().await;
            harness.fake.trouble(at, trouble);
            let accepted = harness.submit(self.kind, self.params.clone()).await.unwrap();
            let mut harness = harness;
            harness.ends(accepted.uid).await;
            let again = Control::Relaunch { uid: accepted.uid, params: Params::new() };
            harness.control(again).await;
            let ended = harness.reaches(accepted.uid, &[State::Done]).await;
            assert_eq!(ended.attempt, 1, "{what}");
            assert_eq!(harness.everything().await, *after, "{what}, then relaunched");
        }
    }

    async fn cancelled(&self, at: usize, what: &str, before: &Json) {
        let harness = self.harness().await;
        harness.fake.trouble(at, CallFault::Hang);
        let accepted = harness.submit(self.kind, self.params.clone()).await.unwrap();
        harness.fake.hung().await;
        harness.control(Control::Cancel { uid: accepted.uid }).await;
        let mut harness = harness;
        let ended = harness.ends(accepted.uid).await;
        assert_eq!(ended.state, State::Cancel, "{what}: {:?}", ended.comment);
        if self.undoes {
            assert_eq!(harness.everything().await, *before, "{what}");
        }
    }

    async fn interrupted(&self, at: usize, what: &str, after: &Json) {
        let harness = self.harness().await;
        harness.fake.trouble(at, CallFault::Hang);
        let accepted = harness.submit(self.kind, self.params.clone()).await.unwrap();
        harness.fake.hung().await;
        let mut harness = harness.restart().await;
        let ended = harness.ends(accepted.uid).await;
        assert_eq!(ended.state, State::Done, "{what}: {:?}", ended.comment);
        assert_eq!(harness.everything().await, *after, "{what}");
    }
}
