//! What every room does alike with files: it opens one that somebody names, reads its text, removes
//! one that may be gone. Nothing here waits for ever, whatever lies there. It knows nobody.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The most bytes a text has that is read whole.
pub const MOST_TEXT_BYTES: u64 = 1 << 20;

/// Opens a regular file, perhaps behind a link, to be read. A pipe would keep us waiting, and a
/// device need not end: what was looked at before may have become one.
///
/// # Errors
/// [`ErrorKind::Other`] when it is no such file; else whatever the filesystem says.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblock).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// Returns the text of a file that somebody names, or that lies in the state directory: a
/// configuration, a theme, the value of a field, a note of our own.
///
/// # Errors
/// When it is no regular file, is too large, or whatever the filesystem says.
pub fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(MOST_TEXT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_TEXT_BYTES {
        return Err(io::Error::other(format!("it has more than {} KiB", MOST_TEXT_BYTES >> 10)));
    }
    Ok(text)
}

/// Returns the end of a file, at most [`MOST_TEXT_BYTES`] of it, such as of what a tool printed. A
/// byte that is no text does not hide the rest.
///
/// # Errors
/// When it is no regular file, or whatever the filesystem says.
pub fn read_end(path: impl AsRef<Path>) -> io::Result<String> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST_TEXT_BYTES)))?;
    let mut end = Vec::new();
    file.take(MOST_TEXT_BYTES).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

/// What comes of removing something: that it is not there is success.
///
/// # Errors
/// Whatever else the filesystem says.
pub fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_and_a_device_are_told_from_files_and_the_end_of_a_long_one_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero"), dir.path()] {
            for read in [read_text(path), read_end(path)] {
                assert_eq!(read.unwrap_err().to_string(), "it is no regular file", "{path:?}");
            }
        }
        let long = dir.path().join("long");
        let mut content = vec![b'x'; usize::try_from(MOST_TEXT_BYTES).unwrap()];
        content.extend(b"\xff the end");
        std::fs::write(&long, content).unwrap();
        assert!(read_text(&long).is_err());
        let end = read_end(&long).unwrap();
        assert!(end.starts_with('x') && end.ends_with("\u{fffd} the end"));
    }
}
