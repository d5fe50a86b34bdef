//! `task_delete`: takes a task away. What it has asked for goes on.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{Effect, Hint, OperationSpec, Outcome, ResourceId, Risk, Task};

use super::{Context, Kind, timetable};

/// The kind.
pub(super) struct TaskDelete;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    task: u64,
}

impl Kind for TaskDelete {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            doing: "deleting".into(),
            effect: Effect::Deletes,
            risk: Risk::Disruptive,
            warning: "The task and the list of its firings are gone; what it asked for goes on."
                .into(),
            state_after: Some("deleted".into()),
            reject_duplicates: true,
            hint: Hint::new("delete", &["X", "delete"], 30),
            steps: vec!["delete".into()],
            ..timetable::spec("task_delete", "Delete", "Deletes a task.")
        }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        cx.step("delete")
            .pivot()
            .run(|step| async move {
                step.remove(ResourceId::new(Task::KIND, params.task));
                Ok(())
            })
            .await?;
        Ok(Outcome::default())
    }
}
