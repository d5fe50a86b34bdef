//! `task_create`: a new scheduled task.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{
    Effect, Field, FieldType, Hint, OperationSpec, Outcome, Params, Preview, Reason, Refusal,
    Repeat, Resource, Risk, Task,
};

use super::timetable::{self, Timetable};
use super::{AdmissionContext, Context, Kind};

/// The kind.
pub(super) struct TaskCreate;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    name: String,
    kind: String,
    params: Params,
    #[serde(flatten)]
    when: Timetable,
}

impl Kind for TaskCreate {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        let mut fields = vec![
            Field::required("name", FieldType::Name, "The name of the task."),
            Field::required("kind", FieldType::Kind, "The operation it asks for."),
            Field::optional(
                "params",
                FieldType::Params { of: "kind".into() },
                Params::new(),
                "What it asks with.",
            ),
        ];
        fields.extend(Timetable::fields(true));
        OperationSpec {
            doing: "creating".into(),
            effect: Effect::Creates,
            subject: None,
            risk: Risk::OfTask,
            warning: timetable::WARNING.into(),
            fields,
            locks: vec![],
            requires: vec![],
            state_after: Some("active".into()),
            hint: Hint::new("new", &["n"], 10),
            steps: vec!["activate".into()],
            ..timetable::spec(
                "task_create",
                "New task",
                "Makes a task that asks for an operation at the times that match all of its \
                 fields.",
            )
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let repeat = params.when.apply(&Repeat::default())?;
        let checks = [
            timetable::admit_kind(&params.kind, world),
            timetable::admit_request(&params.kind, &params.params, world),
            timetable::admit_repeat(&repeat, world),
        ];
        let failed = checks.into_iter().filter_map(Result::err);
        if let Some(refusal) = failed.min_by_key(|refusal| refusal.reason) {
            return Err(refusal);
        }
        if let Some(id) = world.inventory.named(Task::KIND, &params.name) {
            let message = format!("name: task/{id} is called '{}' already", params.name);
            return Err(Refusal::field(Reason::Existence, "name", &params.name, message));
        }
        Ok(())
    }

    fn reserve(params: &Parameters, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        Some(Resource::Task(Task {
            id,
            name: params.name.clone(),
            active: false,
            kind: params.kind.clone(),
            params: params.params.clone(),
            repeat: params.when.apply(&Repeat::default()).ok()?,
            next: None,
            runs: vec![],
            missed: 0,
            refused: 0,
            problem: None,
            settled: world.now,
            created: world.now,
        }))
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let task = Self::reserve(params, 0, world);
        let task = task.as_ref().and_then(|row| row.get::<Task>());
        let effects = task.map(|task| timetable::says(task, world)).unwrap_or_default();
        Preview { effects, ..Preview::default() }
    }

    async fn run(cx: Context, _: Parameters) -> Result<Outcome, Stop> {
        let id = cx.id()?;
        cx.step("activate")
            .run(|step| async move {
                let task = step.cx().get::<Task>(id)?;
                step.put(Resource::Task(timetable::awake(task, step.cx())));
                Ok(())
            })
            .await?;
        Ok(Outcome::default())
    }
}
