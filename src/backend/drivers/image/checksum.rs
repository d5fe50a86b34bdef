//! Reads lists of checksums, in the styles distributions publish them.

/// A checksum, by how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::drivers) enum Expected {
    /// 64 hexadecimal digits.
    Sha256(String),
    /// 128 hexadecimal digits.
    Sha512(String),
}

impl Expected {
    /// A checksum in hexadecimal, whatever the case; `None` when it is none.
    pub(in crate::backend::drivers) fn read(hex: &str) -> Option<Self> {
        let hex = hex.trim().to_ascii_lowercase();
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        match hex.len() {
            64 => Some(Self::Sha256(hex)),
            128 => Some(Self::Sha512(hex)),
            _ => None,
        }
    }

    /// Its digits, in small letters.
    pub(in crate::backend::drivers) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::Sha512(hex) => hex,
        }
    }
}

/// The checksum of a file in a list: `hash  file`, `hash *file`, `SHA256 (file) = hash`; or a list
/// that holds nothing but one checksum.
pub(in crate::backend::drivers) fn find(list: &str, file: &str) -> Option<Expected> {
    let lines = || list.lines().map(str::trim).filter(|line| !line.is_empty());
    let named = lines().find_map(|line| {
        if let Some((name, hash)) = line.split_once(") = ") {
            let (_, name) = name.split_once(" (")?;
            return (base(name) == file).then(|| Expected::read(hash)).flatten();
        }
        let (hash, name) = line.split_once(char::is_whitespace)?;
        let name = name.trim_start();
        (base(name.strip_prefix('*').unwrap_or(name)) == file)
            .then(|| Expected::read(hash))
            .flatten()
    });
    named.or_else(|| {
        let mut lines = lines();
        let only = lines.next()?;
        lines.next().is_none().then(|| Expected::read(only)).flatten()
    })
}

/// The last part of a path: some lists say `./file`.
fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_of_list_is_read() {
        let (a, b) = ("a".repeat(64), "B".repeat(128));
        let list = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk.img: 5 bytes\n\
             {a}  other.img\n{a} *./star.img\nSHA512 (bsd disk.qcow2) = {b}\n"
        );
        assert_eq!(find(&list, "other.img"), Some(Expected::Sha256(a.clone())));
        assert_eq!(find(&list, "star.img"), Some(Expected::Sha256(a.clone())));
        assert_eq!(find(&list, "bsd disk.qcow2"), Some(Expected::Sha512("b".repeat(128))));
        assert_eq!(find(&list, "disk.img"), None);
        assert_eq!(find(&format!("{a}\n"), "anything"), Some(Expected::Sha256(a)));
        assert_eq!(find("<html>not found</html>", "x"), None);
    }
}
