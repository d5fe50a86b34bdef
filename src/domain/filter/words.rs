//! The words a column can hold, where these are all there are: a filter for another one finds
//! nothing, and is refused with what there is.

use super::{FilterError, FilterTest, after};
use crate::domain::State;
use crate::domain::Subject;

impl FilterTest {
    /// Checks the word that a column is to be.
    pub(super) fn check_word(&self, of: Subject) -> Result<(), FilterError> {
        match self {
            Self::Is { column, text } => match words(of, column) {
                Some(words) => known(column, text, &words),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Checks the kind of operation that a column is to be, of those there are.
    pub(super) fn check_kind(&self, kinds: &[&str]) -> Result<(), FilterError> {
        match self {
            Self::Is { column, text } if column == "kind" => known(column, text, kinds),
            _ => Ok(()),
        }
    }
}

/// The words a column can hold, where these are all there are. Kinds of operations are in the
/// catalogue, see [`FilterTest::check_kind`].
pub(super) fn words(of: Subject, column: &str) -> Option<Vec<&'static str>> {
    let words: Vec<&str> = match (of, column) {
        (Subject::Operations, "state") => State::ALL.map(State::word).to_vec(),
        (Subject::Resources(kind), "state") => {
            kind.spec().states.iter().map(|state| &*state.word).collect()
        }
        _ => of.column(column)?.words.iter().map(|word| &**word).collect(),
    };
    (!words.is_empty()).then_some(words)
}

/// Fails for a text that is none of the words a column can hold: the nearest is named first.
fn known(column: &str, text: &str, words: &[&str]) -> Result<(), FilterError> {
    if words.iter().any(|word| after(word, text) == Some("")) {
        return Ok(());
    }
    let lower = text.to_lowercase();
    let far = |word: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &lower);
    let near =
        words.iter().min_by_key(|word| far(word)).filter(|word| far(word) <= word.len() / 3 + 1);
    let guess = near.map(|near| format!("did you mean {near}? ")).unwrap_or_default();
    let all = words.join(", ");
    Err(FilterError::Value(format!("'{text}' is no {column}; {guess}there are {all}")))
}
