//! `batch`: several operations asked for as one, each a child of it.
//!
//! It holds nothing itself: each of its operations holds what it needs.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::{JOIN, SPAWN, Stop};
use crate::backend::engine::kind::ChildRules;
use crate::backend::settings::Settings;
use crate::domain::{
    self, Choice, Effect, Field, FieldType, Hint, OperationSpec, Outcome, Preview, Refusal, Risk,
    Submit, Uid,
};

use super::{AdmissionContext, Context, Kind, children};

/// How many operations a preview looks at: everybody waits meanwhile.
const EXAMINED: usize = 1000;

/// The kind.
pub(super) struct BatchOperation;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    operations: Vec<BatchItem>,
    at_once: Option<u32>,
    on_error: OnError,
}

#[derive(Debug, Serialize, Deserialize)]
struct BatchItem {
    kind: String,
    params: domain::Params,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnError {
    Stop,
    Continue,
}

impl BatchItem {
    /// Why it would be refused now.
    fn refusal(&self, world: &AdmissionContext<'_>) -> Option<Refusal> {
        world.would_refuse(&self.kind, &self.params)
    }
}

impl Kind for BatchOperation {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        let choice = |value, label| Choice { value, label };
        let choices = vec![
            choice("stop".into(), "Start no further one.".into()),
            choice("continue".into(), "Go on with the others.".into()),
        ];
        let request = FieldType::Record {
            fields: vec![
                Field::required("kind", FieldType::Kind, "What is asked for."),
                Field::optional(
                    "params",
                    FieldType::Params { of: "kind".into() },
                    serde_json::json!({}),
                    "What it is asked for with.",
                ),
            ],
        };
        let at_once = FieldType::Integer {
            min: 1,
            max: Submit::MOST_PARTS.into(),
            unit: "operations".into(),
        };
        OperationSpec {
            kind: Submit::BATCH.into(),
            title: "Batch".into(),
            doc: "Asks for several operations as one. They are cancelled with it; when one fails, \
                  relaunching the batch goes on with what is not done."
                .into(),
            doing: "running a batch".into(),
            resource: None,
            effect: Effect::Changes,
            subject: None,
            lane: "batch".into(),
            risk: Risk::Disruptive,
            warning: "What is lost is what its operations lose.".into(),
            fields: vec![
                Field::required(
                    "operations",
                    FieldType::List { of: Box::new(request), min: 1, max: Submit::MOST_PARTS },
                    "The operations, in the order in which they are queued.",
                ),
                Field::optional(
                    "at_once",
                    at_once,
                    serde_json::Value::Null,
                    "How many of them may be under way at once; as many as their lanes allow where \
                     that is not said.",
                ),
                Field::optional(
                    "on_error",
                    FieldType::Choice { choices },
                    "stop",
                    "What to do once one has failed. None is started at all where one is refused \
                     and they are to stop.",
                ),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::default(),
            locks: Vec::new(),
            requires: Vec::new(),
            state_after: None,
            reject_duplicates: false,
            steps: vec![SPAWN.into(), JOIN.into()],
        }
    }

    /// One that depends on what an earlier one of the batch leaves is refused only when its turn to
    /// be asked for comes; a batch of which nothing can be done is refused at once.
    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        // The first that is accepted says enough: everybody waits meanwhile.
        let mut refusals = params.operations.iter().map_while(|request| request.refusal(world));
        let Some(first) = refusals.next() else { return Ok(()) };
        let refused = refusals.count() + 1;
        if refused < params.operations.len() {
            return Ok(());
        }
        let message = match refused {
            1 => first.message,
            _ => format!("none of the {refused} would be accepted: {}", first.message),
        };
        Err(Refusal { field: Some("operations".to_owned()), value: None, message, ..first })
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let all = params.operations.len();
        let looked_at = params.operations.iter().take(EXAMINED);
        let mut looked_at: Vec<(&BatchItem, Option<Refusal>)> =
            looked_at.map(|request| (request, request.refusal(world))).collect();
        // Those that are refused come first: it is they that a person can do something about.
        looked_at.sort_by_key(|(_, refusal)| refusal.is_none());
        let refused = looked_at.iter().filter(|(_, refusal)| refusal.is_some()).count();
        let says = |(request, refusal): &(&BatchItem, Option<Refusal>)| {
            let BatchItem { kind, params } = request;
            let title = children::title(kind, params, world);
            match (refusal, world.would_do(kind, params).as_slice()) {
                (Some(refusal), _) => format!("{title} is refused: {}", refusal.message),
                (None, []) => format!("{title}."),
                (None, effects) => effects.join(" "),
            }
        };
        let mut effects: Vec<String> =
            looked_at.iter().take(children::PREVIEWED).map(says).collect();
        effects.extend(children::more(all));
        if refused > 0 && params.on_error == OnError::Stop {
            let at_least = if all > EXAMINED { "at least " } else { "" };
            effects.push(format!(
                "Nothing is started, because {at_least}{refused} would be refused now."
            ));
        }
        Preview { effects, ..Preview::default() }
    }

    fn child_rules(params: &Parameters) -> ChildRules {
        ChildRules { at_once: params.at_once, stop_on_error: params.on_error == OnError::Stop }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let requests = params.operations.into_iter().map(|BatchItem { kind, params }| Submit {
            kind,
            params,
            ..Submit::default()
        });
        let (summary, children) = children::run(&cx, requests.collect()).await?;
        let uids: Vec<Uid> = children.iter().map(|child| child.uid).collect();
        Ok(Outcome::new(summary, serde_json::json!({ "operations": uids })))
    }
}

#[cfg(test)]
mod tests;
