//! Plain files of our own, told from whatever else has their names: only what is recognisably ours
//! is written to or removed.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

/// Why a file cannot be ours, whatever is in it; `None`: it can.
#[must_use]
pub fn why_foreign(found: &Metadata) -> Option<String> {
    let me = rustix::process::geteuid().as_raw();
    if !found.is_file() {
        Some("is no regular file".to_owned())
    } else if found.uid() != me {
        Some(format!("belongs to user {}, not to you (user {me})", found.uid()))
    } else if found.nlink() > 1 {
        Some("has another name as well (a hard link)".to_owned())
    } else {
        None
    }
}

/// Why a file cannot be a socket of ours; `None`: it can.
#[must_use]
pub fn why_no_socket(found: &Metadata) -> Option<String> {
    (!found.file_type().is_socket()).then(|| "is no socket".to_owned())
}

/// The sentence that refuses what lies at a place.
#[must_use]
pub fn refusal(path: &Path, why: &str) -> String {
    let path = path.display();
    format!("{path} {why}, so hostler does not touch it; look what it is and move it away")
}

/// Returns how what lies at a place begins, at most `most` bytes of it; `None`: nothing does.
///
/// # Errors
/// Why it cannot be ours, in the words of [`why_foreign`], or that it cannot be looked at.
pub fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, String> {
    let unseen = |error: io::Error| format!("cannot be looked at ({error})");
    match std::fs::symlink_metadata(path) {
        Ok(found) => why_foreign(&found).map_or(Ok(()), Err)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unseen(error)),
    }
    let mut begin = Vec::new();
    let read = open(path, File::options().read(true))
        .and_then(|file| file.take(most).read_to_end(&mut begin));
    match read {
        Ok(_) => Ok(Some(begin)),
        // It went between the two looks.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unseen(error)),
    }
}

/// A document of ours, as it was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Document<T> {
    /// Nothing lies there.
    Nothing,
    /// It says this.
    Readable(T),
    /// It is ours and says nothing that is understood; and why.
    Unreadable(&'static str),
}

/// Returns the JSON document at a place, of which ours have at most `most` bytes.
///
/// # Errors
/// Why what lies there is none of ours; `what` is what one of ours holds.
pub fn document<T: DeserializeOwned>(
    path: &Path,
    most: u64,
    what: &str,
) -> Result<Document<T>, String> {
    let Some(content) = read(path, most)? else { return Ok(Document::Nothing) };
    if content.iter().all(|&byte| byte == 0) {
        return Ok(Document::Unreadable("holds nothing, as after a power cut"));
    }
    if let Ok(document) = serde_json::from_slice(&content) {
        return Ok(Document::Readable(document));
    }
    match serde_json::from_slice::<Map<String, Json>>(&content) {
        Ok(_) => Ok(Document::Unreadable("is of another version of hostler")),
        Err(_) => Err(format!("holds something else than {what}")),
    }
}

/// Opens what lies at a place, which neither is a link that is followed nor keeps us waiting.
pub(in crate::backend) fn open(
    path: &Path,
    options: &mut std::fs::OpenOptions,
) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
    options.mode(0o600).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_plain_file_with_one_name_can_be_ours() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        std::fs::write(place("plain"), "").unwrap();
        assert_eq!(read(&place("plain"), 4), Ok(Some(Vec::new())));
        std::fs::create_dir(place("folder")).unwrap();
        symlink("plain", place("link")).unwrap();
        std::fs::hard_link(place("plain"), place("name")).unwrap();
        for (name, why) in
            [("folder", "no regular file"), ("link", "no regular file"), ("plain", "hard link")]
        {
            assert!(read(&place(name), 4).unwrap_err().contains(why), "{name}");
        }
        assert_eq!(read(&place("nothing"), 4), Ok(None));
        std::fs::write(place("text"), "dear all").unwrap();
        assert_eq!(read(&place("text"), 4), Ok(Some(b"dear".to_vec())));
    }

    #[test]
    fn a_document_is_ours_also_where_it_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("document");
        let found = || document::<Vec<u8>>(&path, 64, "numbers");
        assert_eq!(found(), Ok(Document::Nothing));
        std::fs::write(&path, "[1,2]").unwrap();
        assert_eq!(found(), Ok(Document::Readable(vec![1, 2])));
        for (content, why) in
            [("", "power cut"), ("\0\0\0", "power cut"), (r#"{"numbers":[1]}"#, "another version")]
        {
            std::fs::write(&path, content).unwrap();
            let found = found();
            let Ok(Document::Unreadable(said)) = found else { panic!("{content:?}: {found:?}") };
            assert!(said.contains(why), "{content:?}: {said}");
        }
        for content in ["dear all", "[1,2", "{} and more"] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(found(), Err("holds something else than numbers".to_owned()), "{content}");
        }
    }
}
