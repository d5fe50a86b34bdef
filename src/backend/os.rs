//! The operating systems that can be fetched: `assets/os.toml`, as types.

use std::sync::LazyLock;

use serde::Deserialize;

const OS_CATALOGUE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/os.toml"));

/// An operating system whose makers publish an image for clouds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OsImage {
    /// What it is called in `os=…`, and its image's name when none is given: `debian-12`.
    pub name: String,
    /// What it is, for people: `Debian 12 (bookworm)`.
    pub label: String,
    /// Where its image is.
    pub url: String,
    /// Where the list with the image's checksum is.
    pub checksum_url: String,
    /// The user account to create when the operator names none.
    pub login: String,
}

/// The file, as a whole.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    os: Vec<OsImage>,
}

/// The operating systems that come with hostler, in the order forms show them.
///
/// # Panics
/// Never in a tested build: the file is part of the program, and a test reads it.
#[must_use]
pub fn builtin() -> Vec<OsImage> {
    // A console's start asks three times.
    static READ: LazyLock<Vec<OsImage>> =
        LazyLock::new(|| match toml::from_str::<File>(OS_CATALOGUE) {
            Ok(file) => file.os,
            Err(error) => panic!("assets/os.toml: {error}"),
        });
    READ.clone()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_catalogue_is_well_formed() {
        let catalogue = builtin();
        let names: BTreeSet<&str> = catalogue.iter().map(|os| os.name.as_str()).collect();
        assert_eq!(names.len(), catalogue.len(), "names are unique");
        for family in ["debian-", "ubuntu-", "alpine-", "fedora-", "rocky-"] {
            assert!(names.iter().any(|name| name.starts_with(family)), "{family}");
        }
        for os in &catalogue {
            for url in [&os.url, &os.checksum_url] {
                assert!(reqwest::Url::parse(url).unwrap().scheme() == "https", "{url}");
            }
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
            assert!(os.name.chars().all(plain) && os.login.chars().all(plain), "{os:?}");
            assert!(!os.label.is_empty() && !os.login.is_empty(), "{os:?}");
            assert!([".qcow2", ".img"].iter().any(|end| os.url.ends_with(end)), "{}", os.url);
        }
    }
}
