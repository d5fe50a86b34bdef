//! The same backend over a socket: our own protocol, its server and its client.
//!
//! This room knows the words of `domain` and nothing of the embedded backend, the screen or the
//! command line: the server serves any [`crate::domain::Backend`], and the client is one.

mod address;
pub mod client;
pub mod native;
pub mod server;
mod socket;
mod version;

pub use client::Client;
pub use native::socket_path;
pub use server::{Clients, Server};
pub use version::Version;
