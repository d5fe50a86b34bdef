//! The kinds of operation of a simulation: all the shapes there are, with steps that fail, stall,
//! refuse and panic.

use std::panic::resume_unwind;
use std::sync::Arc;

use crate::backend::engine::journal::{Context, JOIN, SPAWN, StepContext, Stop};
use crate::backend::engine::kind::{AdmissionContext, ChildRules, Kind};
use crate::domain::{
    BoxFuture, Effect, Failure, Field, FieldType, Hint, LockMode, LockRule, OperationSpec, Outcome,
    Params, Resource, Risk, Submit, Text,
};

use super::families;
use super::ground::Ground;
use super::outside::{Attempt, Locks};

/// How long a step takes that stalls: an hour, in microseconds.
const STALLED: u64 = 3_600_000_000;

/// The lanes there are.
pub(super) const LANE_WIDTHS: [(&str, u32); 3] = [("build", 2), ("side", 1), ("work", 3)];

/// Every kind.
pub(super) fn kinds(ground: &Arc<Ground>) -> Vec<Arc<dyn Kind>> {
    let of = || FieldType::Resource { of: ground.thing, states: Vec::new() };
    let field = |name| Field::required(name, of(), "A thing.");
    let lock = |field: &'static str, mode| LockRule { field: field.into(), mode };
    let (alone, shared) = (LockMode::Exclusive, LockMode::Shared);
    let base = |kind: &'static str, lane: &'static str, steps: &[&'static str]| OperationSpec {
        kind: kind.into(),
        title: kind.into(),
        doc: "A kind of a simulation.".into(),
        doing: "at work".into(),
        resource: Some(ground.thing),
        effect: Effect::Changes,
        subject: None,
        lane: lane.into(),
        risk: Risk::None,
        warning: "".into(),
        fields: Vec::new(),
        offered_on: Vec::new(),
        edits: false,
        hint: Hint::default(),
        locks: Vec::new(),
        requires: Vec::new(),
        state_after: None,
        reject_duplicates: false,
        steps: steps.iter().map(|step| Text::from(*step)).collect(),
    };
    let on_thing = |spec: OperationSpec, mode| OperationSpec {
        subject: Some("thing".into()),
        fields: vec![field("thing")],
        locks: vec![lock("thing", mode)],
        requires: vec!["finished".into()],
        ..spec
    };
    let specs = [
        OperationSpec {
            effect: Effect::Creates,
            fields: vec![Field::required("name", FieldType::Name, "Its name.")],
            state_after: Some("finished".into()),
            ..base("make", "build", &["plan", "make"])
        },
        on_thing(base("change", "work", &["stop", "change", "start"]), alone),
        on_thing(base("look", "work", &["look"]), shared),
        OperationSpec {
            fields: vec![field("thing"), field("other")],
            locks: vec![lock("thing", alone), lock("other", shared)],
            ..on_thing(base("copy", "build", &["read", "write"]), alone)
        },
        OperationSpec {
            effect: Effect::Deletes,
            state_after: Some("gone".into()),
            reject_duplicates: true,
            ..on_thing(base("remove", "work", &["empty", "remove"]), alone)
        },
        base("tick", "side", &["tick"]),
        base("fire", "side", &["fire", "note"]),
    ];
    let families = families::KINDS.map(|(kind, lane, steps)| {
        let spec = base(kind, lane, steps);
        let spec = if kind == "renew" { on_thing(spec, alone) } else { spec };
        let fields = spec.fields.into_iter().chain(families::fields()).collect();
        OperationSpec { fields, ..spec }
    });
    let kind = |spec| Arc::new(SimulatedKind { spec: Arc::new(spec), ground: ground.clone() });
    specs.into_iter().chain(families).map(|spec| kind(spec) as Arc<dyn Kind>).collect()
}

/// A kind.
struct SimulatedKind {
    spec: Arc<OperationSpec>,
    ground: Arc<Ground>,
}

impl Kind for SimulatedKind {
    fn spec(&self) -> &Arc<OperationSpec> {
        &self.spec
    }

    fn reserve(&self, params: &Params, id: u64, _: &AdmissionContext<'_>) -> Option<Resource> {
        Some(self.ground.thing(id, params.get("name")?.as_str()?, "waiting"))
    }

    fn child_rules(&self, params: &Params) -> ChildRules {
        families::child_rules(params)
    }

    fn run(&self, cx: Context, params: &Params) -> BoxFuture<'static, Result<Outcome, Stop>> {
        let job = Arc::new(Job::new(self, &cx, params));
        let asks = families::asks(params);
        // Where something is to be undone that nobody reaches then, that is only said.
        if !job.ground.outside().has_begun(job.attempt) && self.ground.chance.fault(10) {
            panic("before it began");
        }
        Box::pin(async move {
            let mut children = Vec::new();
            for (number, name) in (1..).zip(&job.spec.steps) {
                if name == SPAWN {
                    children = families::spawn(&cx, asks.clone()).await?;
                    continue;
                }
                if name == JOIN {
                    let joined = cx.join_all(&children).await?;
                    let uid = cx.uid();
                    job.ground.verdict.check(families::joined(uid, &children, &joined));
                    families::fails(uid, &joined)?;
                    continue;
                }
                let (taken, undone) = (&job, job.clone());
                let undo = move |_: StepContext| {
                    let job = undone.clone();
                    async move { job.undo(number).await }
                };
                let step = cx.step(name.clone()).undo(undo).retry(2);
                let step = if job.is_pivot(number) { step.pivot() } else { step };
                let result = step.run(|step| taken.take(number, step)).await?;
                if result != number {
                    let what = format!("step {number} returned {result} later");
                    job.ground.verdict.breach(what);
                }
            }
            job.ground.outside().rest(job.attempt);
            Ok(Outcome::default())
        })
    }
}

/// One run of an operation.
struct Job {
    ground: Arc<Ground>,
    spec: Arc<OperationSpec>,
    attempt: Attempt,
    held: Locks,
    id: Option<u64>,
    name: String,
}

impl Job {
    fn new(kind: &SimulatedKind, cx: &Context, params: &Params) -> Self {
        let SimulatedKind { spec, ground } = kind;
        let number = cx.attempt_name().split('.').nth(1).and_then(|it| it.parse().ok());
        let named = |rule: &LockRule| {
            let id = params.get(&*rule.field)?.as_u64()?;
            Some((ground.id(id), rule.mode))
        };
        let mut held: Locks = spec.locks.iter().filter_map(named).collect();
        let id = cx.id().ok();
        if let (Effect::Creates, Some(id)) = (spec.effect, id) {
            held.push((ground.id(id), LockMode::Exclusive));
        }
        // One that it holds for itself and with others, it holds for itself.
        held.sort_by_key(|(id, mode)| (*id, *mode != LockMode::Exclusive));
        held.dedup_by_key(|(id, _)| *id);
        let name = params.get("name").and_then(|name| name.as_str()).unwrap_or_default();
        Self {
            ground: ground.clone(),
            spec: spec.clone(),
            attempt: Attempt { uid: cx.uid(), number: number.unwrap_or_default() },
            held,
            id,
            name: name.to_owned(),
        }
    }

    /// Whether there is no way back from a step.
    fn is_pivot(&self, number: u32) -> bool {
        self.spec.effect == Effect::Deletes && number == 2
    }

    async fn take(&self, number: u32, step: StepContext) -> Result<u32, Failure> {
        let Self { ground, attempt, .. } = self;
        let chance = &ground.chance;
        ground.sleep(3000).await;
        if chance.fault(100) {
            ground.sleep(STALLED).await;
        }
        self.fail("before")?;
        // One that has done something says nothing of the kind.
        if !ground.outside().has(*attempt, number) && chance.fault(50) {
            return Err(Failure::refused("it may not begin"));
        }
        ground.verdict.note((attempt.uid, number), || format!("{attempt:?} takes {number}"));
        let taken = ground.outside().take(*attempt, number, &self.held, &ground.platter());
        ground.verdict.check(taken);
        if chance.happens(500) {
            ground.sleep(2000).await;
        }
        self.fail("after")?;
        self.change(number, &step).await?;
        Ok(number)
    }

    /// What is done to the inventory.
    async fn change(&self, number: u32, step: &StepContext) -> Result<(), Failure> {
        let ground = &self.ground;
        match (&*self.spec.kind, number, self.id) {
            ("make", 2, Some(id)) => step.put(ground.thing(id, &self.name, "finished")),
            ("change" | "copy", 2, Some(id)) => {
                let name = step.cx().resource(ground.id(id))?.name().to_owned();
                step.put(ground.thing(id, &name, "finished"));
            }
            ("remove", 2, Some(id)) => step.remove(ground.id(id)),
            ("fire", 1, _) => {
                let submit = Submit { kind: "tick".to_owned(), ..Submit::default() };
                let fired = step.cx().submit(submit, |_, _| Vec::new()).await;
                fired.map_err(|error| Failure::passing(error.to_string()))?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn undo(&self, number: u32) -> Result<(), Failure> {
        let Self { ground, attempt, .. } = self;
        ground.verdict.note((attempt.uid, number), || format!("{attempt:?} undoes {number}"));
        ground.sleep(2000).await;
        let panics = ground.chance.fault(20);
        if panics || ground.chance.fault(100) {
            ground.outside().leave_behind(*attempt, number);
            if panics {
                panic("in an undo");
            }
            return Err(Failure::new("it cannot be undone"));
        }
        let undone = ground.outside().undo(*attempt, number, &self.held, &ground.platter());
        ground.verdict.check(undone);
        if ground.chance.happens(500) {
            ground.sleep(1000).await;
        }
        Ok(())
    }

    fn fail(&self, when: &str) -> Result<(), Failure> {
        let chance = &self.ground.chance;
        if chance.fault(20) {
            panic(when);
        }
        if chance.fault(200) {
            return Err(Failure::new(format!("it fails {when} its effect")));
        }
        if chance.fault(150) {
            return Err(Failure::passing(format!("it fails {when} its effect, and that passes")));
        }
        Ok(())
    }
}

/// A panic that nobody prints.
fn panic(when: &str) {
    resume_unwind(Box::new(format!("the simulation panics: {when}")));
}
