//! What every room does alike with files: it opens one that somebody names, reads its text, removes
//! one that may be gone. Nothing here waits for ever, whatever lies there. It knows nobody.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
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

/// Returns the text of a file that somebody names: a configuration, a theme, the value of a field.
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

/// What comes of removing something: that it is not there is success.
///
/// # Errors
/// Whatever else the filesystem says.
pub fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
