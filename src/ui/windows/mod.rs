//! The windows over the lists, each in a file with its keys, what these do, and its drawing.
//!
//! A new window is a file here and a line in [`ALL`].

pub mod confirm;
pub mod console;
pub mod detail;
pub mod doctor;
pub mod filter;
pub mod form;
pub mod help;
pub mod lanes;
pub mod operation;
pub mod palette;
pub mod quit;
mod scroll;
pub mod search;
pub mod sort;
pub mod window;

use self::window::WindowKind;
use super::input::action::{ActionEntry, ActionRow, table};
use crate::domain::Catalogue;

/// Every kind of window, in the order in which the help shows what opens them.
pub const ALL: &[WindowKind] = &[
    filter::KIND,
    sort::KIND,
    palette::KIND,
    help::KIND,
    doctor::KIND,
    lanes::KIND,
    detail::KIND,
    operation::KIND,
    form::KIND,
    console::KIND,
    confirm::KIND,
    quit::KIND,
];

/// Returns all there is to do, with a catalogue of that backend: in the lists, in the windows, and
/// to resources.
#[must_use]
pub fn actions(catalogue: &Catalogue) -> Vec<ActionEntry> {
    let windows: Vec<&ActionRow> =
        ALL.iter().map(|kind| kind.actions).chain([search::ACTIONS]).flatten().collect();
    table(&windows, catalogue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> =
            actions(&Catalogue::default()).into_iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
