//! Parse, wire, run: the only file that sees every room.

fn main() {}
