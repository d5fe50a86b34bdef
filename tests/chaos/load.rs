//! The load: requests of every kind, mixed with cancels, relaunches, priorities and changes to
//! lanes, and a ledger of what was acknowledged.
//!
//! A request is marked in its actor's name, so that at the end each can be told from every other,
//! also one whose answer was lost.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostler::domain::{
    Accepted, Backend, BackendError, BackendExt, Control, Disk, Effect, Field, FieldType, Filter,
    Image, LaneChange, List, Operation, OperationSpec, Params, Resource, ResourceKind, Rows, State,
    Subject, Submit, Uid, Vm, question,
};
use hostler::wire::client::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::dice::Dice;
use super::kinds::{self, GivenValue, Thing};

/// How many operations may be in flight before no more are asked for.
const FLIGHT: usize = 30;
/// How many requests may wait for their answers.
const UNANSWERED: usize = 16;
/// How many of the latest operations count as fresh.
const FRESH: usize = 24;

/// The image that is there before the trouble begins and stays, so that there are always guests.
pub const BASE: &str = "base";

/// What became of a request, as far as the one who asked knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It was acknowledged under this number.
    Accepted(Uid),
    /// It was refused.
    Refused,
    /// The answer was lost.
    Nothing,
}

/// Everything that was asked for.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Each request by its mark, with its kind.
    pub asked: HashMap<String, (String, RequestOutcome)>,
    pub cancels: u64,
    pub relaunches: u64,
    pub others: u64,
}

/// What there is to encode and to import.
#[derive(Debug, Clone)]
pub struct Sources {
    pub videos: Vec<PathBuf>,
    pub disk: PathBuf,
    pub url: String,
    pub outputs: PathBuf,
}

pub struct LoadGenerator {
    pub dice: Dice,
    pub client: Arc<Client>,
    pub sources: Sources,
    pub ledger: Arc<Mutex<Ledger>>,
    pub stop: Arc<AtomicBool>,
    pub catalogue: Vec<OperationSpec>,
    pub asked: u64,
    pub resources: Vec<Resource>,
    pub flight: Vec<Operation>,
    /// What was accepted lately: the next requests build on it, or call it off.
    pub fresh: VecDeque<Accepted>,
}

impl LoadGenerator {
    /// Asks for this and that until it is told to stop; what is on its way then is waited for.
    pub async fn run(mut self) {
        let mut waiting = JoinSet::new();
        while !self.stop.load(Ordering::Relaxed) {
            while let Some(answered) = waiting.try_join_next() {
                if let Ok(Some(accepted)) = answered {
                    self.fresh.push_back(accepted);
                    if self.fresh.len() > FRESH {
                        self.fresh.pop_front();
                    }
                }
            }
            // How the world stands is looked at now and then, as people do.
            if self.dice.chance(20) {
                self.look().await;
            }
            if waiting.len() < UNANSWERED {
                let (client, ledger) = (self.client.clone(), self.ledger.clone());
                if self.flight.len() < FLIGHT && self.dice.chance(75) {
                    if let Some(submit) = self.request() {
                        waiting.spawn(ask(client, ledger, submit));
                    }
                } else if let Some(control) = self.control() {
                    waiting.spawn(change(client, ledger, control));
                }
            }
            tokio::time::sleep(Duration::from_millis(self.dice.number(5, 40))).await;
        }
        while waiting.join_next().await.is_some() {}
    }

    async fn look(&mut self) {
        let all = async {
            let mut resources = Vec::new();
            for kind in ResourceKind::ALL {
                resources.extend(self::resources(&self.client, *kind).await?);
            }
            Ok::<_, BackendError>((resources, latest(&self.client).await?))
        };
        // An owner that is stopped answers later; the load goes on with what it knew.
        let Ok(Ok((resources, mut latest))) =
            tokio::time::timeout(Duration::from_secs(2), all).await
        else {
            return;
        };
        latest.retain(|operation| operation.state == State::Error);
        self.resources = resources;
        self.flight = latest;
        let flight = self.client.ask(question::GetInFlight);
        if let Ok(Ok(flight)) = tokio::time::timeout(Duration::from_secs(2), flight).await {
            self.flight.retain(|failed| !flight.operations.iter().any(|it| it.uid == failed.uid));
            self.flight.truncate(FLIGHT / 2);
            self.flight.extend(flight.operations);
        }
    }

    /// A request of some kind, where there is something it can be about.
    fn request(&mut self) -> Option<Submit> {
        let weighted: Vec<(u64, usize)> =
            self.catalogue.iter().enumerate().map(|(at, spec)| (weight(&spec.kind), at)).collect();
        let mut spec = self.catalogue[self.dice.weighted(&weighted)].clone();
        let there = self.resources.iter().filter(|it| Some(it.kind()) == spec.resource).count();
        if spec.effect == Effect::Creates && spec.resource.is_some_and(|of| there >= most(of)) {
            // Enough; something must go instead.
            let goes = |it: &&OperationSpec| {
                it.resource == spec.resource
                    && (it.effect == Effect::Deletes || it.state_after.as_deref() == Some("halted"))
            };
            let goes: Vec<&OperationSpec> = self.catalogue.iter().filter(goes).collect();
            spec = (*self.dice.one_of(&goes)?).clone();
        }
        self.asked += 1;
        let mut params = Params::new();
        for field in &spec.fields {
            if let Some(value) = self.value(&spec, field)? {
                params.insert(field.name.to_string(), value);
            }
        }
        let priority = if self.dice.chance(10) { 5 } else { 0 };
        let actor = format!("chaos-{}", self.asked);
        let kind = spec.kind.to_string();
        Some(Submit { kind, params, actor, priority, ..Submit::default() })
    }

    /// What a field is given: `None` when there is nothing it can be given, `Some(None)` when it is
    /// left out.
    fn value(&mut self, spec: &OperationSpec, field: &Field) -> Option<Option<Value>> {
        let number = self.asked;
        let value = match (&*spec.kind, &*field.name) {
            ("task_create", "params") => json!({ "name": format!("fired-{number}"), "size_mb": 4 }),
            (Submit::BATCH, "operations") => {
                let part = |part: Submit| json!({ "kind": part.kind, "params": part.params });
                let parts = (0..self.dice.number(2, 6)).filter_map(|_| self.request());
                json!(parts.filter(|it| it.kind != Submit::BATCH).map(part).collect::<Vec<_>>())
            }
            // Now and then to a place where another puts its output as well.
            ("encode", "output") if number.is_multiple_of(4) => return Some(None),
            // Several of one source now and then.
            ("encode", "formats") if number.is_multiple_of(4) => {
                let output = |at| self.sources.outputs.join(format!("out-{number}0{at}.mp4"));
                json!([{ "preset": "mp4", "output": output(0) }, { "output": output(1) }])
            }
            ("encode", "output") => {
                let number = if self.dice.chance(3) { number / 2 } else { number };
                json!(self.sources.outputs.join(format!("out-{number}.mp4")))
            }
            ("encode", "preset") => json!(*self.dice.one_of(&["mp4", "flv", "mp3"])?),
            (_, "timeout_s") => json!(8),
            (_, "force") => json!(self.dice.chance(85)),
            (_, "fstype") => json!(*self.dice.one_of(&["ext4", "none"])?),
            (_, "size_mb") => json!(self.dice.number(2, 20)),
            (kind, name) => match kinds::given(kind, name) {
                Some(GivenValue::Value(value)) => value,
                Some(GivenValue::Thing(Thing::Video)) => {
                    json!(self.dice.one_of(&self.sources.videos)?)
                }
                Some(GivenValue::Thing(Thing::DiskImage)) => json!(self.sources.disk),
                Some(GivenValue::Thing(Thing::Published)) => json!(self.sources.url),
                Some(GivenValue::Made(_) | GivenValue::List(_)) => return None,
                None if !field.required && name != "name" => return Some(None),
                None => return self.by_type(spec, field).map(Some),
            },
        };
        Some(Some(value))
    }

    fn by_type(&mut self, spec: &OperationSpec, field: &Field) -> Option<Value> {
        Some(match &field.of {
            FieldType::Resource { of, states } => {
                let subject = spec.subject.as_ref() == Some(&field.name);
                let states = if subject { &spec.requires } else { states };
                // What was looked at a moment ago may be otherwise by now: then it is refused.
                let fresh = self.fresh.iter().filter_map(|accepted| accepted.resource);
                let fresh: Vec<u64> = fresh.filter(|it| it.kind == *of).map(|it| it.id).collect();
                if let Some(id) = self.dice.one_of(&fresh)
                    && self.dice.chance(40)
                {
                    return Some(json!(id));
                }
                let fits = |it: &&Resource| {
                    let state = it.state();
                    it.kind() == *of && (states.is_empty() || states.iter().any(|it| it == state))
                };
                let mut fits: Vec<&Resource> = self.resources.iter().filter(fits).collect();
                if *of == Image::KIND && !subject {
                    // Guests that do not boot would only be waited for.
                    fits.retain(|it| it.name() == BASE || it.name().starts_with("image-build"));
                } else if *of == Image::KIND {
                    fits.retain(|it| it.name() != BASE);
                }
                json!(self.dice.one_of(&fits)?.id().id)
            }
            FieldType::Text { .. } | FieldType::Name | FieldType::Hostname => {
                json!(format!("{}-{}", spec.kind.replace('_', "-"), self.asked))
            }
            FieldType::Secret { min } => json!("correct horse ".repeat(*min as usize / 14 + 1)),
            FieldType::Integer { min, max, .. } => {
                json!(self.dice.number(min.unsigned_abs(), max.unsigned_abs().min(20) + 1))
            }
            FieldType::Flag => json!(self.dice.chance(50)),
            FieldType::Choice { choices } => json!(self.dice.one_of(choices)?.value),
            FieldType::Lines => json!([]),
            FieldType::Every { min, .. } => json!(min),
            // `kinds::given` says what these hold; its test tells when it does not.
            _ => return None,
        })
    }

    /// A change to something that is there.
    fn control(&mut self) -> Option<Control> {
        let of = |flight: &[Operation], state: &[State]| -> Vec<Uid> {
            flight.iter().filter(|it| state.contains(&it.state)).map(|it| it.uid).collect()
        };
        let lane = *self.dice.one_of(&["vm", "disk", "image", "encode", "task"])?;
        let change = match self.dice.number(0, 4) {
            0 => LaneChange::Pause,
            1 => LaneChange::Drain,
            2 => LaneChange::Resume,
            _ => LaneChange::Width(u32::try_from(self.dice.number(1, 6)).ok()?),
        };
        let priority = i32::try_from(self.dice.number(0, 10)).ok()?;
        Some(match self.dice.number(0, 10) {
            0..4 => {
                let flying = [State::Pending, State::Run, State::Run, State::Error];
                let fresh: Vec<Uid> = self.fresh.iter().map(|accepted| accepted.uid).collect();
                let any = if self.dice.chance(50) { fresh } else { of(&self.flight, &flying) };
                Control::Cancel { uid: *self.dice.one_of(&any)? }
            }
            4..7 => {
                let uid = *self.dice.one_of(&of(&self.flight, &[State::Error]))?;
                Control::Relaunch { uid, params: Params::new() }
            }
            7 => {
                let uid = *self.dice.one_of(&of(&self.flight, &[State::Pending]))?;
                Control::Priority { uid, priority }
            }
            // What is paused is mostly resumed soon, or nothing would be left to happen.
            8 => Control::Lane { name: lane.to_owned(), change },
            _ => Control::Lane { name: lane.to_owned(), change: LaneChange::Resume },
        })
    }
}

/// How often a kind is asked for: what is quick mostly, guests now and then. A kind that is not
/// named here is asked for as often as most are.
fn weight(kind: &str) -> u64 {
    match kind {
        "disk_create" => 12,
        "encode" | "image_import" => 8,
        "task_create" | "task_run" => 6,
        "vm_create" | "vm_start" | "vm_stop" | "disk_attach" => 7,
        "image_build" => 2,
        Submit::BATCH => 6,
        _ => 4,
    }
}

/// How many of a resource there may be before some must go.
fn most(of: ResourceKind) -> usize {
    match of {
        Vm::KIND => 3,
        Image::KIND => 5,
        Disk::KIND => 14,
        _ => 10,
    }
}

async fn ask(client: Arc<Client>, ledger: Arc<Mutex<Ledger>>, submit: Submit) -> Option<Accepted> {
    let (mark, kind) = (submit.actor.clone(), submit.kind.clone());
    let answer = client.submit(submit).await;
    let told = match &answer {
        Ok(accepted) => RequestOutcome::Accepted(accepted.uid),
        Err(BackendError::Refused(_)) => RequestOutcome::Refused,
        Err(_) => RequestOutcome::Nothing,
    };
    ledger.lock().expect("the ledger").asked.insert(mark, (kind, told));
    answer.ok()
}

async fn change(
    client: Arc<Client>,
    ledger: Arc<Mutex<Ledger>>,
    control: Control,
) -> Option<Accepted> {
    let is_done = client.control(control.clone()).await.is_ok();
    let mut ledger = ledger.lock().expect("the ledger");
    match control {
        _ if !is_done => {}
        Control::Cancel { .. } => ledger.cancels += 1,
        Control::Relaunch { .. } => ledger.relaunches += 1,
        _ => ledger.others += 1,
    }
    None
}

/// The latest operations.
async fn latest(client: &Client) -> Result<Vec<Operation>, BackendError> {
    match page(client, Subject::Operations, 0, 200).await? {
        Rows::Operations(rows) => Ok(rows),
        Rows::Resources(_) => Err(BackendError::failed("resources for operations")),
    }
}

/// Every operation there ever was.
pub async fn operations(client: &Client) -> Result<Vec<Operation>, BackendError> {
    let mut found = Vec::new();
    loop {
        match page(client, Subject::Operations, found.len() as u64, 1000).await? {
            Rows::Operations(rows) if rows.is_empty() => return Ok(found),
            Rows::Operations(rows) => found.extend(rows),
            Rows::Resources(_) => return Err(BackendError::failed("resources for operations")),
        }
    }
}

/// Every living resource of a kind.
pub async fn resources(client: &Client, of: ResourceKind) -> Result<Vec<Resource>, BackendError> {
    match page(client, Subject::Resources(of), 0, 1000).await? {
        Rows::Resources(rows) => Ok(rows),
        Rows::Operations(_) => Err(BackendError::failed("operations for resources")),
    }
}

async fn page(client: &Client, of: Subject, offset: u64, limit: u32) -> Result<Rows, BackendError> {
    let list = List { of, filter: Filter::default(), sort: None, offset, limit, around: None };
    Ok(client.ask(list).await?.rows)
}
