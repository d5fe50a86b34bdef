//! The operating systems that can be fetched: `assets/os.toml`, as types.

use serde::Deserialize;

const BUILTIN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/os.toml"));

/// An operating system whose makers publish an image for clouds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Os {
    /// What it is called in `os=…`.
    pub name: String,
    /// What it is, for people.
    pub label: String,
    /// Where its image is.
    pub url: String,
    /// Where the list with the image's checksum is.
    pub checksums: String,
    /// The user account to create when the operator names none.
    pub login: String,
}

/// Every operating system that can be fetched by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OsCatalogue {
    os: Vec<Os>,
}

impl OsCatalogue {
    /// The one that comes with hostler.
    ///
    /// # Errors
    /// What is wrong with the file, in toml's words.
    pub fn builtin() -> Result<Self, toml::de::Error> {
        toml::from_str(BUILTIN)
    }

    /// The operating system of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Os> {
        self.os.iter().find(|os| os.name == name)
    }

    /// Every operating system.
    pub fn iter(&self) -> std::slice::Iter<'_, Os> {
        self.os.iter()
    }
}

impl<'a> IntoIterator for &'a OsCatalogue {
    type Item = &'a Os;
    type IntoIter = std::slice::Iter<'a, Os>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_catalogue_is_well_formed() {
        let catalogue = OsCatalogue::builtin().unwrap();
        let names: BTreeSet<&str> = catalogue.iter().map(|os| os.name.as_str()).collect();
        assert_eq!(names.len(), catalogue.iter().count(), "names are unique");
        for family in ["debian-", "ubuntu-", "alpine-", "fedora-", "rocky-"] {
            assert!(names.iter().any(|name| name.starts_with(family)), "{family}");
        }
        for os in &catalogue {
            for url in [&os.url, &os.checksums] {
                assert!(reqwest::Url::parse(url).unwrap().scheme() == "https", "{url}");
            }
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
            assert!(os.name.chars().all(plain) && os.login.chars().all(plain), "{os:?}");
            assert!(!os.label.is_empty() && !os.login.is_empty(), "{os:?}");
            assert!([".qcow2", ".img"].iter().any(|end| os.url.ends_with(end)), "{}", os.url);
        }
    }
}
