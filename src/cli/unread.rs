//! What can be told of a command line that was not read yet, or cannot be.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;

/// The configuration file a command line names, looked for before it is read: the rest of it is
/// read by what the configuration says.
#[must_use]
pub fn config_file(args: &[OsString]) -> Option<PathBuf> {
    named(args, "--config", "HOSTLER_CONFIG")
}

/// The state directory a command line names, looked for where it cannot be read: the backend there
/// may know the words.
#[must_use]
pub fn state_dir(args: &[OsString]) -> Option<PathBuf> {
    named(args, "--state", "HOSTLER_STATE")
}

/// The path given for an option or else in a variable.
fn named(args: &[OsString], option: &str, variable: &str) -> Option<PathBuf> {
    let mut args = args.iter().take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        if arg == option {
            return args.next().map(PathBuf::from);
        }
        let value = arg.to_str().and_then(|arg| arg.strip_prefix(option)?.strip_prefix('='));
        if let Some(path) = value {
            return Some(path.into());
        }
    }
    std::env::var_os(variable).map(PathBuf::from)
}

/// Whether a command line was not read because of a word that is no kind here, and that a newer
/// backend may know.
#[must_use]
pub fn is_about_a_kind(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidSubcommand | ErrorKind::InvalidValue)
}
