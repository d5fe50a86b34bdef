//! The native protocol: what is said between our own server and client.
//!
//! JSON over HTTP/1.1 on a unix socket in the state directory. The JSON is that of the `domain`
//! types, so this file only names the places, the statuses and the lines of the event stream. A
//! connection carries one request.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/here` | – | a stream: nothing; open for as long as the client is there |
//! | `GET /v1/resources` | – | a list of `ResourceSpec` |
//! | `GET /v1/catalogue` | – | a list of `OperationSpec` |
//! | `POST /v1/query` | `Query` | `Answer` |
//! | `POST /v1/operations` | `Submit` | `Accepted`, status 202 |
//! | `POST /v1/operations/keyed` | `Submit` with a key | the same |
//! | `POST /v1/control` | `Control` | nothing, status 204 |
//! | `POST /v1/stop` | – | nothing, status 204: the backend ends |
//! | `GET /v1/events` | – | a stream: one `Event` per line; empty lines keep it alive |
//! | `GET /v1/vms/{id}/serial` | – | a stream: what the guest writes |
//! | `POST /v1/vms/{id}/serial` | a stream: what is typed | status 204, once the line ends |
//!
//! What comes with a key has a place of its own, so that a backend of before there were keys says
//! that it does not know it, where it would queue it a second time.
//!
//! A client tells its version in `User-Agent`, the server its own in `Server`. Whoever says that it
//! is there hears the digest of the catalogue, and asks for that only where its own has another.
//!
//! Whatever goes wrong comes back as the JSON of the `BackendError` itself; the status only helps
//! those who look at nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Uid, User};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::version::Version;
use crate::domain::display::hex;
use crate::domain::{BackendError, Catalogue, Event, Reason};

/// Where a client says that it is there.
pub const HERE: &str = "/v1/here";
/// Where the descriptions of the kinds of resources are.
pub const RESOURCES: &str = "/v1/resources";
/// Where the kinds of operations are.
pub const CATALOGUE: &str = "/v1/catalogue";
/// Where questions go.
pub const QUERY: &str = "/v1/query";
/// Where requests for operations go.
pub const OPERATIONS: &str = "/v1/operations";
/// Where requests with an idempotency key go.
pub const KEYED: &str = "/v1/operations/keyed";
/// Where changes to operations and lanes go.
pub const CONTROL: &str = "/v1/control";
/// Where a backend is told to end.
pub const STOP_BACKEND: &str = "/v1/stop";
/// Where events come from.
pub const EVENTS: &str = "/v1/events";
/// Where the serial line of the VM `{id}` is.
pub const SERIAL: &str = "/v1/vms/{id}/serial";

/// The header of `GET /v1/here` that tells the [`catalogue_digest`] of what is offered there.
pub const CATALOGUE_DIGEST: &str = "hostler-catalogue";

/// What a backend says to whoever is one too many.
pub const CROWDED: &str = "the backend serves as many clients as it can; close some and try again";

/// The largest request body that is read, in bytes. The serial line's is a stream and has no end.
pub const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// How often a silent event stream says that it is still there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long a stream of events may say nothing at all before nobody believes in it any more.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns what tells a catalogue from every other: a hash, in hexadecimal digits, of the documents
/// at [`RESOURCES`] and [`CATALOGUE`]. Kinds may be known only at run time, so two of one version
/// need not offer the same.
///
/// # Errors
/// When it cannot be written as JSON; none of today's can fail.
pub fn catalogue_digest(catalogue: &Catalogue) -> serde_json::Result<String> {
    let documents = (catalogue.descriptions(), catalogue.operations());
    Ok(hex(&Sha256::digest(serde_json::to_vec(&documents)?)))
}

/// Where the serial line of a VM is.
#[must_use]
pub fn serial_path(vm: u64) -> String {
    SERIAL.replace("{id}", &vm.to_string())
}

/// The socket of the backend that owns a state directory.
#[must_use]
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("hostler.sock")
}

/// The HTTP status that goes with an error.
#[must_use]
pub const fn status(error: &BackendError) -> u16 {
    match error {
        BackendError::Refused(refusal) => match refusal.reason {
            Reason::Type | Reason::Syntax => 400,
            Reason::Value | Reason::Existence => 422,
            Reason::Privileges => 403,
            Reason::State | Reason::OperationPending { .. } => 409,
        },
        BackendError::NotFound { .. } => 404,
        BackendError::Unreachable { .. } => 503,
        BackendError::Failed { .. } => 500,
    }
}

/// Reads an error back from an answer whose status says that there is one. An answer that is not
/// ours (another program listens there, or a `backend` of another version) is told as it is.
#[must_use]
pub fn error_from(status: u16, body: &[u8], backend: &Version) -> BackendError {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let said = String::from_utf8_lossy(&body[..body.len().min(200)]);
        let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        BackendError::failed(format!(
            "the backend answered with HTTP status {status} and no reason hostler knows: '{}'; {}",
            said.trim(),
            backend.advice("the backend")
        ))
    })
}

/// An event as a line of the event stream.
///
/// # Errors
/// When it cannot be written as JSON; none of today's can fail.
pub fn event_line(event: &Event) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line)
}

/// Returns the name of the user `uid` as the system knows it (`/etc/passwd`, a directory service),
/// or the number where it knows none, or one that would not be one word in a list.
///
/// A directory service may be slow, so each name is asked for once.
#[must_use]
pub fn user_name(uid: u32) -> String {
    static NAMES: Mutex<BTreeMap<u32, String>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock();
    if let Some(name) = names.get(&uid) {
        return name.clone();
    }
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    match user.map(|user| user.name).filter(|name| is_one_word(name)) {
        Some(name) => names.entry(uid).or_insert(name).clone(),
        None => uid.to_string(),
    }
}

fn is_one_word(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':')
}

/// Who asks: what the client calls itself, and the user the kernel says it runs as. A client may
/// choose the first half only.
#[must_use]
pub fn actor(claimed: &str, uid: u32) -> String {
    let client: String = claimed
        .split(':')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .take(32)
        .collect();
    let client = if client.is_empty() { "wire" } else { &client };
    format!("{client}:{}", user_name(uid))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{self, Refusal};

    fn reasons() -> impl Strategy<Value = Reason> {
        prop_oneof![
            Just(Reason::Type),
            Just(Reason::Syntax),
            Just(Reason::Value),
            Just(Reason::Existence),
            Just(Reason::Privileges),
            Just(Reason::State),
            any::<u64>().prop_map(|uid| Reason::OperationPending { uid: domain::Uid(uid) }),
        ]
    }

    fn errors() -> impl Strategy<Value = BackendError> {
        prop_oneof![
            (reasons(), any::<Option<String>>(), any::<Option<String>>(), any::<String>())
                .prop_map(|(reason, field, value, message)| {
                    BackendError::Refused(Refusal { reason, field, value, message })
                }),
            any::<String>().prop_map(|what| BackendError::NotFound { what }),
            any::<String>().prop_map(|message| BackendError::Unreachable { message }),
            any::<String>().prop_map(|message| BackendError::Failed { message }),
        ]
    }

    proptest! {
        #[test]
        fn every_error_survives_the_wire(error in errors()) {
            let body = serde_json::to_vec(&error).unwrap();
            let status = status(&error);
            prop_assert!((400..600).contains(&status));
            prop_assert_eq!(error_from(status, &body, &Version::Same), error);
        }

        #[test]
        fn an_actor_is_always_one_word_and_the_user_the_kernel_names(claimed in any::<String>()) {
            let actor = actor(&claimed, 0);
            prop_assert!(actor.ends_with(":root"), "{}", actor);
            prop_assert!(!actor.chars().any(char::is_control));
            prop_assert_eq!(actor.matches(':').count(), 1);
        }
    }

    #[test]
    fn an_answer_that_is_not_ours_is_told_as_it_is() {
        let error = error_from(502, b"<h1>Bad\nGateway</h1>", &Version::Untold);
        let message = error.to_string();
        assert!(message.contains("502") && message.contains("Bad Gateway"), "{message}");
        assert!(!message.contains('\n'));
    }

    #[test]
    fn a_user_is_named_as_the_system_names_it() {
        let asked = std::process::Command::new("id").arg("-un").output().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        assert_eq!(user_name(own), String::from_utf8(asked.stdout).unwrap().trim());
        assert_eq!(user_name(4_294_967_294), "4294967294");
        assert!(is_one_word(r"BOX\maria") && !is_one_word("a b") && !is_one_word("root:x"));
    }

    #[test]
    fn a_client_chooses_only_the_first_half_of_the_actor() {
        assert_eq!(actor("console:mallory", 0), "console:root");
        assert_eq!(actor("", 0), "wire:root");
        assert_eq!(actor("cli", 4_294_967_294), "cli:4294967294");
    }
}
