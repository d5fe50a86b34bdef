//! The text of descriptions.

use std::borrow::Cow;

/// Text that is static in the embedded backend and owned when it came over a wire.
pub type Text = Cow<'static, str>;
