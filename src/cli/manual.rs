//! What is written about the command line elsewhere: completion scripts and the man page.

use std::io::Write;

use super::define::command;
use crate::domain::Catalogue;

/// Writes a completion script.
///
/// # Errors
/// When it cannot be written.
pub fn complete(
    catalogue: &Catalogue,
    shell: clap_complete::Shell,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(catalogue), "hostler", &mut script);
    out.write_all(&script)
}

/// Writes the man page: the program, then every command and every kind of operation.
///
/// # Errors
/// When it cannot be written.
pub fn man(catalogue: &Catalogue, out: &mut dyn Write) -> std::io::Result<()> {
    let mut command = command(catalogue);
    command.build();
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    sections(&command, "hostler", &mut text)?;
    out.write_all(&text)
}

/// A section for each command below `command`, and for those below them.
fn sections(command: &clap::Command, name: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let name = format!("{name} {}", below.get_name());
        writeln!(out, ".SH {}", name.to_uppercase())?;
        let page = clap_mangen::Man::new(below.clone());
        page.render_synopsis_section(&mut *out)?;
        page.render_description_section(&mut *out)?;
        if below.get_arguments().any(|arg| !arg.is_global_set() && !arg.is_hide_set()) {
            page.render_options_section(&mut *out)?;
        }
        if let Some(fields) = below.get_after_help() {
            as_it_is(&fields.to_string(), out)?;
        }
        sections(below, &name, out)?;
    }
    Ok(())
}

/// A text with its own line breaks and indents, as a man page writes it.
fn as_it_is(text: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
    writeln!(out, ".PP\n.nf")?;
    for line in text.lines() {
        // `\&` keeps a line that begins with a dot or a quote from being a request.
        writeln!(out, "\\&{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
    }
    writeln!(out, ".fi")
}
