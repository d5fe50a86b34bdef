//! What the backend's tests work with: a world of fakes behind the ports, and backends over it.

pub mod fake;
pub mod fake_encoder;
pub mod harness;
pub mod test_backend;
