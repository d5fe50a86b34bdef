//! The windows over the lists.

pub mod confirm;
pub mod console;
pub mod form;
pub mod palette;
pub mod palette_view;
pub mod update;
pub mod view;
