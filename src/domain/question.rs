//! Questions that know the type of their answer.
//!
//! [`Query`] and [`Answer`] are how questions and answers are sent; a question here is one of them
//! with its answer's type. [`BackendExt::ask`](super::BackendExt::ask) takes it there and back.

use super::query::{self, Answer, List, OperationDetail, Page, Query};
use super::{BackendError, Lane, ResourceId, Result, Submit, Uid};

/// A question to a backend.
pub trait Question: Send {
    /// What it is answered with.
    type Answer;

    /// Returns it as it is sent.
    fn into_query(self) -> Query;

    /// Returns the answer from how it was sent.
    ///
    /// # Errors
    /// When it belongs to another question: the backend is of another version.
    fn from_answer(answer: Answer) -> Result<Self::Answer>;
}

/// Implements [`Question`]: its type, what is sent, the answer's type and variant.
macro_rules! question {
    ($type:ty, $this:ident => $query:expr, $answer:ty, $variant:ident) => {
        impl Question for $type {
            type Answer = $answer;

            fn into_query(self) -> Query {
                let $this = self;
                $query
            }

            fn from_answer(answer: Answer) -> Result<Self::Answer> {
                match answer {
                    Answer::$variant(answer) => Ok(answer),
                    other => Err(mismatch(&other)),
                }
            }
        }
    };
}

/// One resource, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetResource {
    /// Which.
    pub id: ResourceId,
}

/// One operation with its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetOperation {
    /// Which.
    pub uid: Uid,
}

/// What is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetInFlight;

/// How many there are of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetCounts;

/// The lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetLanes;

/// What the box can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetHost;

/// When tasks fire within a day from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetTimeline;

/// What a request would do, without doing it.
#[derive(Debug, Clone, PartialEq)]
pub struct GetPreview(pub Submit);

question!(List, list => Query::List(list), Page, Page);
question!(GetResource, it => Query::Resource { id: it.id }, Box<super::Resource>, Resource);
question!(GetOperation, it => Query::Operation { uid: it.uid }, Box<OperationDetail>, Operation);
question!(GetInFlight, _it => Query::InFlight, query::InFlight, InFlight);
question!(GetCounts, _it => Query::Counts, query::Counts, Counts);
question!(GetLanes, _it => Query::Lanes, Vec<Lane>, Lanes);
question!(GetHost, _it => Query::Host, Box<super::Host>, Host);
question!(GetTimeline, _it => Query::Timeline, super::Timeline, Timeline);
question!(GetPreview, it => Query::Preview(it.0), query::Preview, Preview);

fn mismatch(answer: &Answer) -> BackendError {
    let word = serde_json::to_value(answer)
        .ok()
        .and_then(|value| value.get("answer").and_then(|word| word.as_str().map(str::to_owned)))
        .unwrap_or_default();
    BackendError::failed(format!(
        "the backend answered '{word}' to another question; is it of another version?"
    ))
}
