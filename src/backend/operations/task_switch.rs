//! `task_enable` and `task_disable`: whether a task fires by itself.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{OperationSpec, Outcome, Preview, Refusal, Risk, Task};

use super::{AdmissionContext, Context, Kind, timetable};

/// The kind that makes a task fire by itself.
pub(super) struct TaskEnable;

/// The kind that keeps a task from firing by itself.
pub(super) struct TaskDisable;

/// The parameters of both.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    task: u64,
}

impl Kind for TaskEnable {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            doing: "enabling".into(),
            risk: Risk::OfTask,
            warning: timetable::WARNING.into(),
            fields: vec![timetable::task(&["inactive"])],
            requires: vec!["inactive".into()],
            state_after: Some("active".into()),
            steps: vec!["enable".into()],
            ..timetable::spec(
                "task_enable",
                "Enable",
                "Lets a task fire by itself again; what it would have done meanwhile is not made \
                 up for.",
            )
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        match world.inventory.get::<Task>(params.task) {
            Some(task) => timetable::admit_repeat(&task.repeat, world),
            None => Ok(()),
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let task = world.inventory.get::<Task>(params.task);
        let effects = task.map(|task| timetable::says(task, world)).unwrap_or_default();
        Preview { effects, ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        cx.step("enable")
            .run(|step| async move {
                let cx = step.cx().clone();
                step.update(params.task, move |task: &mut Task| {
                    *task = timetable::awake(task.clone(), &cx);
                });
                Ok(())
            })
            .await?;
        Ok(Outcome::default())
    }
}

impl Kind for TaskDisable {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            doing: "disabling".into(),
            fields: vec![timetable::task(&["active"])],
            requires: vec!["active".into()],
            state_after: Some("inactive".into()),
            steps: vec!["disable".into()],
            ..timetable::spec(
                "task_disable",
                "Disable",
                "Keeps a task from firing by itself; it can still be run by hand.",
            )
        }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        cx.step("disable")
            .run(|step| async move {
                step.update(params.task, |task: &mut Task| {
                    *task = Task { active: false, next: None, ..task.clone().acknowledged() };
                });
                Ok(())
            })
            .await?;
        Ok(Outcome::default())
    }
}
