//! Commands that only look, where no backend runs: they start nothing and leave nothing behind.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use hostler::backend::Embedded;
use hostler::cli::CliCommand;

use super::{Place, carry_out};

/// Whether a command only looks, and has ended as soon as it has seen: nobody is to miss a backend
/// for it.
pub(crate) const fn is_look(command: &CliCommand) -> bool {
    match command {
        CliCommand::List(_) | CliCommand::Show { .. } => true,
        CliCommand::Run(args) => args.dry_run,
        _ => false,
    }
}

/// Carries out a command that only looks, with a backend that only looks on. Nobody else is let
/// in: whoever wants more than that waits for the moment until the state directory is free.
pub(crate) async fn look_on(
    place: &Place,
    command: CliCommand,
    embedded: Embedded,
) -> anyhow::Result<ExitCode> {
    tell_unfinished(&embedded);
    let backend = Arc::new(embedded.clone());
    let carried_out = carry_out(place, command, backend, Some(&embedded), None).await;
    embedded.leave(true).await;
    Ok(carried_out?)
}

/// Says of a backend that only looks on what waits for one that does more.
pub(crate) fn tell_unfinished(embedded: &Embedded) {
    let unfinished = embedded.unfinished();
    if embedded.only_looks_on() && unfinished > 0 {
        let operations = if unfinished == 1 { "operation" } else { "operations" };
        // With standard error gone there is nobody to tell.
        let _ = writeln!(
            std::io::stderr(),
            "hostler: no backend runs, so nothing goes on: {unfinished} {operations} waiting; \
             start hostler to go on with them"
        );
    }
}
