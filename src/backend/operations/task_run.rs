//! `task_run`: asks now for what a task asks for, whether it is active or not, and waits for it.
//!
//! The task itself is not held meanwhile: it may be changed, and fire again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backend::engine::journal::{JOIN, SPAWN, Stop};
use crate::backend::schedule;
use crate::backend::settings::Settings;
use crate::domain::{
    Failure, Hint, OperationSpec, Outcome, Preview, Refusal, Risk, Run, RunOutcome, State, Submit,
    Task, Uid,
};

use super::{AdmissionContext, Context, Kind, StepContext, timetable};

/// The kind.
pub(super) struct TaskRun;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    task: u64,
}

impl Kind for TaskRun {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            doing: "firing".into(),
            risk: Risk::OfTask,
            warning: timetable::WARNING.into(),
            hint: Hint::new("run now", &["t"], 11),
            locks: Vec::new(),
            steps: vec!["look".into(), SPAWN.into(), "note".into(), JOIN.into()],
            ..timetable::spec("task_run", "Run now", "Asks now for what a task asks for.")
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let Some(task) = world.inventory.get::<Task>(params.task) else { return Ok(()) };
        let Some(refusal) = world.would_refuse(&task.kind, &task.params) else { return Ok(()) };
        let message = format!("it asks for {}, which is refused: {}", task.kind, refusal.message);
        Err(Refusal::field(refusal.reason, "task", params.task.to_string(), message))
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let task = world.inventory.get::<Task>(params.task);
        let effects = task.map(|task| timetable::says_what(&task.kind, &task.params, world));
        Preview { effects: effects.unwrap_or_default(), ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = params.task;
        // Whatever becomes of the task meanwhile: this was asked for, at this moment.
        let (due, submit): (Timestamp, Submit) = cx
            .step("look")
            .run(|step| async move {
                let task = step.cx().get::<Task>(id)?;
                let Task { kind, params, .. } = task;
                let actor = format!("task/{id} by hand");
                Ok((step.cx().now(), Submit { kind, params, actor, ..Submit::default() }))
            })
            .await?;
        let kind = submit.kind.clone();
        let uid = cx.spawn(submit).await?;
        cx.step("note").run(|step| note(step, id, due, uid)).await?;
        let child = cx.join(uid).await?;
        match child.state {
            State::Error => {
                return Err(Failure::new(format!("{uid} failed: {}", child.why())).into());
            }
            State::Cancel => {
                let why = format!("{uid} was cancelled; relaunch this to ask for it again");
                return Err(Failure::new(why).into());
            }
            _ => {}
        }
        let returned = child.outcome.unwrap_or_default();
        let message = match returned.message.as_str() {
            "" => format!("asked for {kind} as {uid}: {}", child.state),
            said => format!("asked for {kind} as {uid}: {said}"),
        };
        let data = json!({ "kind": kind, "uid": uid, "state": child.state, "data": returned.data });
        Ok(Outcome::new(message, data))
    }
}

/// Notes among the runs of the task that it was fired by hand.
async fn note(step: StepContext, id: u64, due: Timestamp, uid: Uid) -> Result<(), Failure> {
    let zone = step.cx().settings().time_zone();
    let run = Run { due, outcome: RunOutcome::Queued { uid }, by_hand: true };
    // One that is deleted meanwhile has no runs to note it among.
    step.update(id, move |task: &mut Task| {
        *task = schedule::after(task, run.clone(), 0, &zone);
    });
    Ok(())
}
