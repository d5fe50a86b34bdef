//! Commands that only look, where no backend runs: they start nothing, and keep nobody out for
//! longer than they need for that.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use hostler::backend::Embedded;
use hostler::cli::{self, CliCommand};

use super::{Place, columns, until_lost};

/// Whether a command only looks, and has ended as soon as it has seen: nobody is to miss a backend
/// for it. One that reads what it asks for from standard input may have to wait for that.
pub(crate) fn is_look(command: &CliCommand) -> bool {
    match command {
        CliCommand::List(_) | CliCommand::Show { .. } => true,
        CliCommand::Run(args) => {
            args.dry_run && !args.fields.iter().any(|field| field.ends_with("=-"))
        }
        _ => false,
    }
}

/// Carries out a command that only looks, with a backend that only looks on. Nobody else is let
/// in meanwhile, so what there is to say is said when the state directory is free again: whoever
/// reads it may take all day.
pub(crate) async fn look_on(
    place: &Place,
    command: CliCommand,
    embedded: Embedded,
) -> anyhow::Result<ExitCode> {
    let unfinished = embedded.unfinished();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let context = cli::CliContext {
        backend: Arc::new(embedded.clone()),
        actor: place.actor("cli"),
        bar: false,
        columns: columns(),
        read_only: place.read_only,
        nothing_because: None,
        out: &mut out,
        err: &mut err,
        keyboard: &mut cli::Terminal,
    };
    let code = until_lost(Some(&embedded), cli::run(command, context)).await;
    embedded.leave(true).await;
    let code = code?;
    if unfinished > 0 {
        let operations = if unfinished == 1 { "operation" } else { "operations" };
        // With standard error gone there is nobody to tell.
        let _ = writeln!(
            std::io::stderr(),
            "hostler: no backend runs: {unfinished} {operations} waiting for one, and only guests \
             and encoders that run go on; start hostler to go on with the rest"
        );
    }
    let _ = std::io::stderr().write_all(&err);
    Ok(match std::io::stdout().write_all(&out) {
        Ok(()) => code,
        Err(error) => cli::CliError::from(error).report(&mut std::io::stderr()),
    })
}
