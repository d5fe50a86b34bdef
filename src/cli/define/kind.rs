//! A kind of operation of the catalogue as a command, and its fields as help.

use super::*;
use crate::domain::display::listed;
use crate::domain::size;

/// A kind of `run` as a list of kinds shows it.
pub(super) fn in_brief(spec: &OperationSpec) -> clap::Command {
    let brief = spec.doc.split_inclusive(". ").next().unwrap_or_default().trim_end();
    clap::Command::new(spec.kind.to_string()).about(brief.to_owned())
}

/// A kind of `run`.
pub(super) fn kind(spec: &OperationSpec) -> clap::Command {
    let flag = |name: &'static str, help: &'static str| {
        clap::Arg::new(name)
            .long(name.replace('_', "-"))
            .help(help)
            .action(clap::ArgAction::SetTrue)
    };
    let mut long = spec.doc.to_string();
    match spec.risk {
        Risk::None => {}
        Risk::OfTask => long += &format!("\n\nAs dangerous as that. {}", spec.warning),
        Risk::Disruptive => long += &format!("\n\nDisruptive. {}", spec.warning),
        Risk::Destructive => long += &format!("\n\nDestructive. {}", spec.warning),
    }
    if let Some(why) = spec.beyond_us() {
        long += &format!("\n\nNot to be asked for: {why}.");
    }
    let mut after = String::from("Fields:\n");
    for field in &spec.fields {
        after += &describe(field, "");
    }
    let mut fields = clap::Arg::new("fields")
        .value_name("field=value")
        .num_args(0..)
        .allow_hyphen_values(false)
        .help("The operation's fields, listed below")
        .value_hint(clap::ValueHint::Other);
    if spec.fields.iter().any(|field| field.required) {
        fields = fields.help("The operation's fields, listed below; '*' marks those it needs");
    }
    let command = in_brief(spec)
        .long_about(long)
        .after_help(after.trim_end().to_owned())
        .arg(fields)
        .arg(flag("wait", "Wait until it has ended"))
        .arg(flag("json", "Print one JSON document"))
        .arg(flag("dry_run", "Only say what would be done").conflicts_with("wait"))
        .arg(
            clap::Arg::new("key")
                .long("key")
                .value_name("KEY")
                .help("Ask once: the same again with the same key gives the same operation")
                .long_help(
                    "An idempotency key, 1 to 64 printable characters of your choice. Asking again \
                     with the same key for the same gives the same operation, and nothing is \
                     queued twice: for scripts that try again after a lost connection. Kept for as \
                     long as the operation.",
                ),
        )
        .arg(
            clap::Arg::new("priority")
                .long("priority")
                .value_name("N")
                .value_parser(clap::value_parser!(i32))
                .allow_negative_numbers(true)
                .help("Higher runs sooner; 0 is usual"),
        );
    let Some((_, of)) = spec.subject() else { return command };
    command
        .arg(clap::Arg::new("each").long("for").value_name("EXPR").allow_hyphen_values(true).help(
            format!(
                "Do it to every {of} that matches, as one batch; see hostler list --help. Not with \
                 --key: it may pick others the next time"
            ),
        ))
        .arg(
            clap::Arg::new("at_once")
                .long("at-once")
                .value_name("N")
                .value_parser(clap::value_parser!(u32).range(1..=i64::from(Submit::MOST_PARTS)))
                .requires("each")
                .help("How many of them may be under way at once"),
        )
        .arg(
            flag("keep_going", "Go on with the others when one fails or is refused")
                .requires("each"),
        )
        .arg(flag("yes", "Do not ask first what --for picks; one by itself is never asked about"))
}

/// A field in the help of its kind: name, what it is, what it may hold, its default; then the same
/// of what it is made of.
fn describe(field: &Field, within: &str) -> String {
    let mark = if field.required { '*' } else { ' ' };
    let path = below(within, &field.name);
    let holds = holds(&field.of, &path);
    let mut text = format!(" {mark} {path}\n       {}\n       {holds}", field.doc);
    if !field.required && !field.default.is_null() {
        let default = match field.default.as_str() {
            Some(text) => text.to_owned(),
            None => field.default.to_string(),
        };
        text += &format!("; {default} unless given");
    }
    text.push('\n');
    let (path, inner) = record(&field.of, path);
    for field in inner {
        text += &describe(field, &path);
    }
    text
}

/// The fields of a record or of those in a list, and the path they are below; none of other types.
fn record(of: &FieldType, path: String) -> (String, &[Field]) {
    match of {
        FieldType::Record { fields } => (path, fields),
        FieldType::List { of, .. } => record(of, below(&path, "N")),
        _ => (path, &[]),
    }
}

/// What a field of a type may hold, and how that is written for one at `path`.
fn holds(of: &FieldType, path: &str) -> String {
    match of {
        FieldType::Text { max } => format!("text, at most {max} characters"),
        FieldType::Name => "a name: letters, digits, '-', '.' and '_'".to_owned(),
        FieldType::Hostname => "a host name: letters, digits and '-'".to_owned(),
        FieldType::Secret { min } => format!(
            "a secret, at least {min} characters and at most {} bytes; {path}=- reads it from \
             standard input, {path}=@FILE from a file{}",
            FieldType::LONGEST_SECRET,
            if path.contains('.') { "" } else { ", and without it a terminal is asked" }
        ),
        FieldType::Integer { min, max, unit } => {
            let sizes = if size::is_unit(unit) { ", or a size like 512M or 2G" } else { "" };
            format!("a whole number, {min} to {max} {unit}{sizes}")
        }
        FieldType::Flag => "yes or no".to_owned(),
        FieldType::Choice { choices } => choices
            .iter()
            .map(|choice| format!("{} ({})", choice.value, choice.label))
            .collect::<Vec<_>>()
            .join(", "),
        FieldType::Resource { of, states } if states.is_empty() => {
            format!("{of}: its number, {of}/N, or its name")
        }
        FieldType::Resource { of, states } => {
            let states = listed(states, "or");
            format!("{of}: its number, {of}/N, or its name; it must be {states}")
        }
        FieldType::File => "an absolute path of a file that is there".to_owned(),
        FieldType::NewFile => "an absolute path of a file that is to be made".to_owned(),
        FieldType::Url => "an http or https URL".to_owned(),
        FieldType::Lines => {
            format!("lines: given once for each, or {path}=@FILE for those of a file")
        }
        FieldType::Kind => "an operation kind".to_owned(),
        FieldType::Params { of } => {
            format!("the fields of the kind in '{of}', each {path}.field=value, or one JSON object")
        }
        FieldType::Every { min, max } => format!("{min} to {max}, or '*' for any"),
        FieldType::List { of, min, max } => {
            let each = holds(of, &below(path, "N"));
            format!(
                "a list of {min} to {max}, each {path}.N from 0, or JSON, or {path}=@FILE of it; \
                 each: {each}"
            )
        }
        FieldType::Record { .. } => {
            format!("the fields below, or one JSON object, or {path}=@FILE of it")
        }
        FieldType::Unknown => "what only a newer hostler knows".to_owned(),
    }
}
