//! The line a filter is typed into: which column it is naming, and what the columns are called. It
//! knows nothing of what they hold.

use tui_input::Input;

use crate::domain::Subject;
use crate::domain::filter::AGE;

/// The words that mean a column in a filter, those that begin as the word being typed does where
/// there are any: as they stand over the lists, in the order of the columns.
#[must_use]
pub fn names(of: Subject, input: &Input) -> Vec<&'static str> {
    let titles = of.columns().iter().map(|column| column.title.as_ref());
    let all = || titles.clone().chain(of.has_age().then_some(AGE));
    let begun = begun(input).to_ascii_lowercase();
    let fitting: Vec<_> = all().filter(|name| name.starts_with(&begun)).collect();
    if fitting.is_empty() { all().collect() } else { fitting }
}

/// Goes on with the word being typed as far as every column that begins with it does.
pub fn complete(of: Subject, input: &mut Input) {
    let begun = begun(input).to_ascii_lowercase();
    let names = names(of, input);
    let Some(first) = names.first().filter(|name| !begun.is_empty() && name.starts_with(&begun))
    else {
        return;
    };
    let common = |end: &usize| names.iter().all(|name| name.get(..*end) == first.get(..*end));
    let end = (begun.len()..=first.len()).rev().find(common).unwrap_or(begun.len());
    for character in first[begun.len()..end].chars() {
        input.handle(tui_input::InputRequest::InsertChar(character));
    }
}

/// The word before the cursor, as far as it may be the name of a column.
fn begun(input: &Input) -> &str {
    let typed = input.value();
    let end = typed.char_indices().nth(input.cursor()).map_or(typed.len(), |(at, _)| at);
    let typed = &typed[..end];
    let word = typed.rsplit(char::is_whitespace).next().unwrap_or_default();
    let word = word.strip_prefix(['-', '!']).unwrap_or(word);
    if word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') { word } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Column, Disk, ResourceKind, ResourceSpec};

    const DISKS: Subject = Subject::Resources(Disk::KIND);

    #[test]
    fn the_word_being_typed_is_gone_on_with_as_far_as_it_is_certain() {
        for (typed, completed) in [
            ("si", "si|ze"),
            ("web -f", "web -f|s"),
            // State and size.
            ("s", "s|"),
            ("St", "St|ate"),
            ("size>1", "size>1|"),
            ("web ", "web |"),
            ("xyz", "xyz|"),
        ] {
            let mut input = Input::from(typed);
            complete(DISKS, &mut input);
            assert_eq!(input.value(), completed.replace('|', ""), "{typed}");
        }
    }

    #[test]
    fn the_names_are_those_over_the_columns() {
        let names = |typed| names(DISKS, &Input::from(typed));
        assert_eq!(names(""), ["id", "name", "state", "size", "fs", "vm", "created", "age"]);
        assert_eq!(names("web s"), ["state", "size"]);
        assert_eq!(names("web"), names(""));
    }

    #[test]
    fn an_age_is_offered_only_where_there_is_one() {
        let undated = ResourceSpec {
            columns: Column::first(8).to_vec(),
            ..ResourceSpec::new("undated", "undated", "things without a date")
        };
        let of = Subject::Resources(ResourceKind::describe(&undated).unwrap());
        assert_eq!(names(of, &Input::from("")), ["id", "name", "state"]);
    }
}
