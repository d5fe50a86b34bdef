//! `task_run`: asks now for what a task asks for, whether it is active or not.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backend::engine::inventory::Inventory;
use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::backend::watchers::scheduler;
use crate::domain::{
    Failure, Hint, OperationSpec, Outcome, Preview, Resource, Risk, Run, RunOutcome, Submit, Task,
    Uid,
};

use super::{AdmissionContext, Context, Kind, StepContext, timetable};

/// The kind.
pub(super) struct TaskRun;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Params {
    task: u64,
}

impl Kind for TaskRun {
    type Params = Params;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            doing: "firing".into(),
            risk: Risk::OfTask,
            warning: "What is lost is what that loses.".into(),
            hint: Hint::new("run now", &["t"], 11),
            steps: vec!["note".into(), "fire".into()],
            ..timetable::spec("task_run", "Run now", "Asks now for what a task asks for.")
        }
    }

    fn preview(params: &Params, world: &AdmissionContext<'_>) -> Preview {
        let task = world.inventory.get::<Task>(params.task);
        let effects = task.map(|task| format!("Asks for {} once, now.", task.kind));
        Preview { effects: effects.into_iter().collect(), ..Preview::default() }
    }

    async fn run(cx: Context, params: Params) -> Result<Outcome, Stop> {
        // The moment is what the firing is known by, should it be asked for twice.
        let due: Timestamp = cx.step("note").run(|step| async move { Ok(step.cx().now()) }).await?;
        let fired = cx.step("fire").run(|step| fire(step, params.task, due)).await?;
        Ok(fired.map_or_else(Outcome::default, |Fired { uid, kind }| {
            let data = json!({ "kind": kind, "uid": uid });
            Outcome::new(format!("asked for {kind} as {uid}"), data)
        }))
    }
}

/// What a task asked for.
#[derive(Debug, Serialize, Deserialize)]
struct Fired {
    uid: Uid,
    kind: String,
}

/// Fires by hand, or finds that done. Returns what it asked for, which hostler before 0.2 did not
/// record.
async fn fire(step: StepContext, id: u64, due: Timestamp) -> Result<Option<Fired>, Failure> {
    let task = step.cx().get::<Task>(id)?;
    if let Some(run) = task.runs.iter().find(|run| run.by_hand && run.due == due) {
        return Ok(match run.outcome {
            RunOutcome::Queued { uid } => Some(Fired { uid, kind: task.kind }),
            RunOutcome::Refused { .. } | RunOutcome::Missed => None,
        });
    }
    let zone = step.cx().settings().time_zone();
    let submit = Submit {
        kind: task.kind.clone(),
        params: task.params.clone(),
        actor: format!("task/{id} by hand"),
        ..Submit::default()
    };
    let put = move |uid, inventory: &Inventory| {
        let run = Run { due, outcome: RunOutcome::Queued { uid }, by_hand: true };
        let task = inventory.get::<Task>(id).map(|task| scheduler::after(task, run, 0, &zone));
        task.map(Resource::Task).into_iter().collect()
    };
    match step.cx().submit(submit, put).await {
        Ok(accepted) => Ok(Some(Fired { uid: accepted.uid, kind: task.kind })),
        Err(error) => Err(Failure::new(format!(
            "task/{id} '{}' could not ask for {}: {error}",
            task.name, task.kind
        ))),
    }
}
