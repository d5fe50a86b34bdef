//! Descriptors that the runtime waits for: of processes, terminals and what the kernel tells of
//! files. Knows nobody.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime wait for what is of `interest` about a descriptor. Called inside one.
///
/// # Errors
/// When it cannot be waited for, as a plain file cannot.
#[allow(
    deprecated,
    reason = "an OwnedFd cannot lie about its descriptor, and the successor is unsafe"
)]
pub(crate) fn watch(held: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(held, interest)
}
