//! What SQLite keeps beside the store. It takes whatever has such a name for its own, writes over
//! it and removes it, so only what is recognisably SQLite's is left to it.
//!
//! ```text
//!  hostler.db-journal   only while the file is made, or becomes one with a log: what is in it
//!                       after a crash is needed to open the store
//!  hostler.db-wal       the log of changes, while the store is open and after a crash
//!  hostler.db-shm       where what is in that log: made anew by whoever comes first
//! ```

use std::path::{Path, PathBuf};

use super::plain;
use crate::domain::BackendError;

/// How the names of these files end, after that of the database.
const ENDINGS: [&str; 3] = ["-journal", "-wal", "-shm"];
/// How such a file may begin, see <https://www.sqlite.org/fileformat2.html>.
type Marks = &'static [&'static [u8]];
/// How a rollback journal begins.
const JOURNAL_MARKS: Marks = &[b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"];
/// The two ways in which a log begins.
const WAL_MARKS: Marks = &[b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"];
/// How an index of a log begins, by the order of bytes of the processor.
const INDEX_MARKS: Marks = &[b"\x18\xe2\x2d\x00", b"\x00\x2d\xe2\x18"];
/// How a database begins.
const DATABASE_MARKS: Marks = &[b"SQLite format 3\0"];
/// The most bytes that are looked at.
const MARK_BYTES: u64 = 16;

/// Refuses to open a database beside which lies what SQLite would wrongly take for its own.
///
/// # Errors
/// The sentence.
pub(super) fn check(database: &Path) -> Result<(), BackendError> {
    beside_all(database).iter().try_for_each(|path| refuse(path))
}

/// The same for a database that nobody in this process has open, so that what is in its index may
/// be looked at as well: closing that file gives up the locks that SQLite has on it.
///
/// # Errors
/// The sentence.
pub(super) fn check_closed(database: &Path) -> Result<(), BackendError> {
    check(database)?;
    let path = beside(database, "-shm");
    match foreign(&path, INDEX_MARKS, "an index of SQLite's") {
        Some(why) => Err(BackendError::failed(plain::refusal(&path, &why))),
        None => Ok(()),
    }
}

/// Refuses to make a database anew where something else lies, or lies beside it.
///
/// # Errors
/// The sentence.
pub(super) fn check_new(database: &Path) -> Result<(), BackendError> {
    refuse(database)?;
    check(database)
}

fn refuse(path: &Path) -> Result<(), BackendError> {
    match why_not(path) {
        Some(why) => Err(BackendError::failed(plain::refusal(path, &why))),
        None => Ok(()),
    }
}

/// Whether a file of that name is one that the store, or making it smaller, would write to.
#[must_use]
pub fn is_side_file(name: &str) -> bool {
    [super::FILE, super::BESIDE].into_iter().any(|database| {
        let ending = name.strip_prefix(database);
        ending.is_some_and(|ending| ENDINGS.contains(&ending))
    }) || name == super::BESIDE
}

/// Why what lies where a database or a file beside it would is none; `None`: it is one, or nothing
/// is there. By its name a path is told for one or the other.
#[must_use]
pub fn why_not(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (marks, what) = match ENDINGS.into_iter().find(|ending| name.ends_with(ending)) {
        Some("-journal") => (JOURNAL_MARKS, "a rollback journal of SQLite's"),
        Some("-wal") => (WAL_MARKS, "a log of SQLite's"),
        // Whoever asks may have the store open: see `check_closed`.
        Some(_) => return plain::why_foreign(&std::fs::symlink_metadata(path).ok()?),
        None => (DATABASE_MARKS, "a database"),
    };
    foreign(path, marks, what)
}

/// Why a file that begins with none of these marks is not what it would be.
fn foreign(path: &Path, marks: Marks, what: &str) -> Option<String> {
    match plain::read(path, MARK_BYTES) {
        Err(why) => Some(why),
        Ok(Some(begin)) if !begins(&begin, marks) => {
            Some(format!("holds something else than {what}"))
        }
        Ok(_) => None,
    }
}

/// Whether a file begins as one of SQLite's: with such a mark or so much of it as was written, or,
/// until its mark is written and after a power cut, with zeros.
fn begins(begin: &[u8], marks: Marks) -> bool {
    let marked = |mark: &&[u8]| begin.iter().zip(*mark).all(|(byte, of_mark)| byte == of_mark);
    begin.iter().all(|&byte| byte == 0) || marks.iter().any(marked)
}

/// Where these files are: a rollback journal, the log, its index.
pub(super) fn beside_all(database: &Path) -> [PathBuf; 3] {
    ENDINGS.map(|ending| beside(database, ending))
}

fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_sqlites_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("hostler.db");
        check(&database).unwrap();
        let cases: [(&str, &[u8], bool); 9] = [
            ("-journal", b"", true),
            ("-journal", &[0; 512], true),
            ("-journal", b"\xd9\xd5\x05", true),
            ("-journal", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7\xff\xff\xff\xff", true),
            ("-journal", b"dear all", false),
            ("-journal", b"\xd9\xd5\x05\xf9 hello", false),
            ("-wal", b"\x37\x7f\x06\x82\x00\x2d\xe2\x18", true),
            ("-wal", b"", true),
            ("-wal", b"dear all", false),
        ];
        for (ending, content, ours) in cases {
            let path = beside(&database, ending);
            std::fs::write(&path, content).unwrap();
            let said = check(&database).map_err(|error| error.to_string());
            assert_eq!(said.is_ok(), ours, "{ending} {content:?}: {said:?}");
            assert!(ours || said.unwrap_err().contains("move it away"));
            std::fs::remove_file(&path).unwrap();
        }
        for (content, ours) in [
            (&b"\x18\xe2\x2d\x00\x00"[..], true),
            (b"\x18\xe2\x2d", true),
            (&[0; 512], true),
            (b"dear all", false),
        ] {
            std::fs::write(beside(&database, "-shm"), content).unwrap();
            assert_eq!(check_closed(&database).is_ok(), ours, "{content:?}");
        }
        std::fs::remove_file(beside(&database, "-shm")).unwrap();
        std::fs::write(&database, "dear all").unwrap();
        assert!(check_new(&database).is_err() && check(&database).is_ok());
    }
}
