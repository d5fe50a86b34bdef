//! What QEMU and its guest leave in writing: the log of the serial line and QEMU's own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::accelerator::complaints;
use super::command::Files;
use crate::backend::ports::Guest;

/// How much of QEMU's log is read for its last words, in bytes.
const LAST: usize = 8 << 10;

/// The last line QEMU said in its latest run, without its name in front.
#[must_use]
pub fn last_words(program: &str, guest: &Guest) -> Option<String> {
    let said = last(&Files::of(guest).log, LAST).ok()?;
    complaints(program, &String::from_utf8_lossy(&said)).last().map(str::to_owned)
}

/// The last bytes of a file; none when it is not there.
///
/// # Errors
/// When it cannot be read.
pub fn last(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most as u64)))?;
    let mut bytes = Vec::with_capacity(most);
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
