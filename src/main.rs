//! Parse, wire, run: the only file that sees every room.

use std::path::Path;
use std::process::ExitCode;

use hostler::backend::drivers::supervise;

fn main() -> ExitCode {
    // hostler starts itself once more beside every long tool: see `drivers::supervise`. That comes
    // before anything else, so that it costs next to nothing.
    let arguments: Vec<_> = std::env::args_os().collect();
    if let [_, word, dir] = arguments.as_slice()
        && word == "supervise"
    {
        return supervise::main(Path::new(dir));
    }
    ExitCode::SUCCESS
}
