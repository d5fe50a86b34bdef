//! `task_update`: changes a task; what is not given stays as it is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{
    Failure, Field, FieldType, Hint, OperationSpec, Outcome, Params, Preview, Reason, Refusal,
    Repeat, Risk, Task,
};

use super::timetable::{self, Timetable};
use super::{AdmissionContext, Context, Kind};

/// The kind.
pub(super) struct TaskUpdate;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    task: u64,
    name: Option<String>,
    kind: Option<String>,
    params: Option<Params>,
    #[serde(flatten)]
    when: Timetable,
}

impl Parameters {
    fn apply(&self, task: Task) -> Result<Task, Refusal> {
        Ok(Task {
            name: self.name.clone().unwrap_or(task.name),
            kind: self.kind.clone().unwrap_or(task.kind),
            params: self.params.clone().unwrap_or(task.params),
            repeat: self.when.apply(&task.repeat)?,
            ..task
        })
    }
}

impl Kind for TaskUpdate {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        let mut spec = timetable::spec(
            "task_update",
            "Change",
            "Changes a task; what is not given stays as it is.",
        );
        spec.fields.extend([
            Field::optional("name", FieldType::Name, Json::Null, "Its new name."),
            Field::optional("kind", FieldType::Kind, Json::Null, "The operation it asks for."),
            Field::optional(
                "params",
                FieldType::Params { of: "kind".into() },
                Json::Null,
                "What it asks with, all of it; kind must be given with it.",
            ),
        ]);
        spec.fields.extend(Timetable::fields(false));
        spec.edits = true;
        spec.risk = Risk::OfTask;
        spec.warning = timetable::WARNING.into();
        spec.hint = Hint::new("change", &["u"], 13);
        spec.steps = vec!["change".into()];
        spec
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        params.when.apply(&Repeat::default())?;
        if let Some(kind) = &params.kind {
            let given = params.params.as_ref();
            let request = given.map(|given| timetable::admit_request(kind, given, world));
            let checks = [Some(timetable::admit_kind(kind, world)), request];
            let failed = checks.into_iter().flatten().filter_map(Result::err);
            if let Some(refusal) = failed.min_by_key(|refusal| refusal.reason) {
                return Err(refusal);
            }
        }
        let Some(task) = world.inventory.get::<Task>(params.task).cloned() else { return Ok(()) };
        let was = task.kind.clone();
        let task = params.apply(task)?;
        match (&params.kind, &params.params) {
            // Parameters are checked, and their secrets sealed, by their kind's fields.
            (None, Some(_)) => {
                let message = format!("kind is needed with params; it is {was} now");
                return Err(Refusal::field(Reason::Value, "kind", "", message));
            }
            (Some(kind), None) if *kind != was => {
                let message = format!("params are needed with another kind; {kind} has its own");
                return Err(Refusal::field(Reason::Value, "params", "", message));
            }
            _ => {}
        }
        timetable::admit_repeat(&task.repeat, world)?;
        match world.inventory.named(Task::KIND, &task.name) {
            Some(id) if id != task.id => {
                let message = format!("name: task/{id} is called '{}' already", task.name);
                Err(Refusal::field(Reason::Existence, "name", &task.name, message))
            }
            _ => Ok(()),
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let task = world.inventory.get::<Task>(params.task).cloned().map(|task| params.apply(task));
        let effects = match task {
            Some(Ok(task)) if task.active => timetable::says(&task, world),
            Some(Ok(task)) => {
                let what = timetable::says_what(&task.kind, &task.params, world);
                std::iter::once("It stays inactive.".to_owned()).chain(what).collect()
            }
            _ => vec![],
        };
        Preview { effects, ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let params = Arc::new(params);
        cx.step("change")
            .run(|step| {
                let params = params.clone();
                async move {
                    let cx = step.cx().clone();
                    let task = cx.get::<Task>(params.task)?;
                    params.apply(task).map_err(|it| Failure::new(it.message))?;
                    step.update(params.task, move |task: &mut Task| {
                        // Whether it can be does not depend on how the task is.
                        let Ok(changed) = params.apply(task.clone()) else { return };
                        *task = if changed.active {
                            timetable::awake(changed, &cx)
                        } else {
                            changed.acknowledged()
                        };
                    });
                    Ok(())
                }
            })
            .await?;
        Ok(Outcome::default())
    }
}
