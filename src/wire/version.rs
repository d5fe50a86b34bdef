//! The versions at both ends of the wire.
//!
//! Each end names its own in the header HTTP has for it: a client in `User-Agent`, a server in
//! `Server`. Where one end does not understand the other, both are named, and what to do. This
//! file knows no message and no transport.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AsHeaderName;

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What this program says in either header.
pub(super) const PRODUCT: &str = concat!("hostler/", env!("CARGO_PKG_VERSION"));

/// Who is at the other end, as far as it has said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Version {
    /// It has not said: one of before versions were told, or no hostler at all.
    #[default]
    Untold,
    /// This version of hostler.
    Same,
    /// Another one.
    Other(String),
}

impl Version {
    /// The version that a header tells.
    pub(super) fn told(headers: &HeaderMap, header: impl AsHeaderName) -> Self {
        let product = headers.get(header).and_then(|value| value.to_str().ok());
        match product.and_then(|product| product.strip_prefix("hostler/")) {
            None => Self::Untold,
            Some(VERSION) => Self::Same,
            Some(other) => Self::Other(other.chars().filter(char::is_ascii_graphic).collect()),
        }
    }

    /// What to say of the end called `who` when it was not understood.
    pub(super) const fn advice<'a>(&'a self, who: &'a str) -> Advice<'a> {
        Advice { version: self, who }
    }
}

/// Both versions, and what to do.
pub(super) struct Advice<'a> {
    version: &'a Version,
    who: &'a str,
}

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.who;
        match self.version {
            Version::Untold => write!(
                f,
                "{who} does not say which version of hostler it is, and this is {VERSION}; restart \
                 {who} if it is an older one"
            ),
            Version::Same => write!(
                f,
                "{who} is hostler {VERSION} like this one, so this is a fault in hostler; please \
                 report it"
            ),
            Version::Other(theirs) => write!(
                f,
                "{who} is hostler {theirs} and this is hostler {VERSION}; restart the older one"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::SERVER;

    use super::*;

    fn told(product: &'static str) -> Version {
        let headers = HeaderMap::from_iter([(SERVER, HeaderValue::from_static(product))]);
        Version::told(&headers, SERVER)
    }

    #[test]
    fn a_version_is_told_in_a_header() {
        assert_eq!(told(PRODUCT), Version::Same);
        assert_eq!(told("hostler/99.1.0"), Version::Other("99.1.0".to_owned()));
        assert_eq!(told("nginx"), Version::Untold);
        assert_eq!(Version::told(&HeaderMap::new(), SERVER), Version::Untold);
    }

    #[test]
    fn both_versions_are_named() {
        assert_eq!(
            told("hostler/99.1.0").advice("the backend").to_string(),
            format!(
                "the backend is hostler 99.1.0 and this is hostler {VERSION}; restart the older one"
            )
        );
    }
}
