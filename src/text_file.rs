//! Text files that people name: a configuration, a theme, the value of a field. Reading one comes
//! to an end, whatever lies there. It knows nobody.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The most bytes such a file has.
pub const MOST_TEXT_BYTES: u64 = 1 << 20;

/// Returns the text of a regular file, perhaps behind a link. A pipe would keep us waiting, and a
/// device need not end.
///
/// # Errors
/// When it is no such file, is too large, or whatever the filesystem says.
pub fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    file.take(MOST_TEXT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_TEXT_BYTES {
        return Err(io::Error::other(format!("it has more than {} KiB", MOST_TEXT_BYTES >> 10)));
    }
    Ok(text)
}
