//! How things look: colours and glyphs, text that fits, and the canvas views draw on. It knows
//! nothing of what is shown.

pub mod canvas;
pub mod text;
pub mod theme;
