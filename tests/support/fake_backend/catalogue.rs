//! The catalogue of a real backend, whatever its settings.

use hostler::backend::{operations, settings::Settings};
use hostler::domain::Catalogue;

/// Every kind of operation there is.
pub fn catalogue() -> Catalogue {
    let kinds = operations::all(&Settings::new("/var/lib/hostler".into()));
    Catalogue::new(kinds.into_iter().map(|entry| entry.spec))
}
