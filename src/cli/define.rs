//! What can be written on the command line, and its help, completions and man page.

mod kind;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::domain::arguments::below;
use crate::domain::{
    Catalogue, Control, Field, FieldType, LaneChange, List, OperationSpec, ResourceKind, Risk,
    Submit, Uid,
};

/// The console for the person who runs a box: virtual machines, disks, scheduled tasks, encodings.
///
/// Without a command it opens the console, with a backend of its own or attached to the one that
/// runs already.
#[derive(Debug, Clone, Parser)]
#[command(name = "hostler", version, disable_help_subcommand = true, after_help = STATUSES)]
pub struct Cli {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", env = "HOSTLER_STATE", global = true)]
    pub state: Option<PathBuf>,
    /// The configuration file, read instead of those in the default places. A backend that was
    /// served once keeps the one `hostler serve` had.
    #[arg(long, value_name = "FILE", env = "HOSTLER_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Show everything, ask for nothing. Where no backend runs, a console has its own while it is
    /// open: what is in flight goes on and tasks fire.
    #[arg(long, global = true)]
    pub read_only: bool,
    /// What to do; nothing opens the console.
    #[command(subcommand)]
    pub command: Option<CliCommand>,
}

const STATUSES: &str = "Exit status: 0 done, 1 failed or refused, 2 not written as it must be, \
                        3 the backend could not be reached.";

/// A command. `supervise`, which hostler starts beside long tools, is none: it is not for people,
/// and `main` answers it before anything is read.
#[derive(Debug, Clone, Subcommand)]
pub enum CliCommand {
    /// Run the backend without a console; its configuration is the state directory's from then on.
    Serve {
        /// Wait for the hostler that is leaving to let go of the state directory, and end by itself
        /// once nobody needs the backend. A console that is left with work in flight starts this.
        #[arg(long)]
        take_over: bool,
    },
    /// End the backend that runs by itself on the state directory.
    ///
    /// Guests run on, encodings too; operations and tasks go on when hostler is started again. A
    /// backend that others are attached to is not ended: they would start another.
    Stop,
    /// Ask for an operation.
    Run(RunArgs),
    /// List resources, operations or lanes.
    List(ListArgs),
    /// Show everything about one resource or operation.
    Show {
        /// `vm/3`, `vm/web-1`, a name that only one has, or an operation's number.
        id: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Print what happens, one line each, until interrupted.
    Watch {
        /// Print one JSON document per line.
        #[arg(long)]
        json: bool,
    },
    /// Cancel, relaunch, prioritise or wait for an operation.
    Operation {
        /// What to do with it.
        #[command(subcommand)]
        command: OperationCommand,
    },
    /// Pause, resume, drain or widen a lane.
    Lane {
        /// What to do with it.
        #[command(subcommand)]
        command: LaneCommand,
    },
    /// Use the serial line of a running VM; Ctrl-] leaves it.
    ///
    /// Where the input is no terminal, its end leaves it too: all of it is sent, and what the guest
    /// says is printed for two more seconds.
    Serial {
        /// `vm/3` or its name.
        vm: String,
    },
    /// Say what this machine can and cannot do, and how to mend it.
    Doctor {
        /// Look instead whether everything in the state directory is there and is what the database
        /// says, and nothing else is. Reads only.
        #[arg(long)]
        deep: bool,
        /// Give back instead what the database holds and does not use. No other hostler may run on
        /// the state directory; there must be room for the database once more.
        #[arg(long, conflicts_with = "deep")]
        compact: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Take in VMs, disks and images that the database does not know, after it was lost.
    ///
    /// They are known by the descriptions beside their files. Nothing is ever removed, and what the
    /// database knows stays as it is. No other hostler may run on the state directory. Tasks,
    /// encodings and history are in the database alone.
    Recover {
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page.
    Man,
}

impl CliCommand {
    /// Whether the kind of resource it names is known here. One that is not may be known to a
    /// newer backend.
    #[must_use]
    pub fn names_what_is_known(&self) -> bool {
        let (Self::Show { id, .. } | Self::Serial { vm: id }) = self else { return true };
        match id.split_once('/') {
            Some((kind, _)) => kind == "operation" || kind.parse::<ResourceKind>().is_ok(),
            None => true,
        }
    }

    /// Whether it is carried out by [`super::run`] on a backend.
    #[must_use]
    pub const fn asks_backend(&self) -> bool {
        !matches!(
            self,
            Self::Serve { .. }
                | Self::Stop
                | Self::Doctor { .. }
                | Self::Recover { .. }
                | Self::Completions { .. }
                | Self::Man
        )
    }
}

/// What to list.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Of what.
    pub what: String,
    /// Only rows that match every term: `web`, `state:running`, `name~web`, `size>=1GiB`, `-old`.
    ///
    /// A term is a word, or a column, an operator and a value. Texts take `:` or `=` (is), `!=`,
    /// `~` (contains) and `!~`; numbers and times take `:`, `!=`, `>`, `>=`, `<` and `<=`. Sizes
    /// are written 500MB or 2GiB, times 2026-11-20 or 14:30, ages `age<2h` or
    /// `updated<1h`. A `-` or `!` before a
    /// term turns it around; quotes keep spaces together.
    #[arg(
        long,
        value_name = "EXPR",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub filter: String,
    /// The column to sort by; with a `-` before it, largest first.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// How many rows at most.
    #[arg(
        long, value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(List::MOST))
    )]
    pub limit: u32,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// What to do with an operation.
#[derive(Debug, Clone, Subcommand)]
pub enum OperationCommand {
    /// Call operations off, and undo what can be undone of what they did.
    Cancel {
        /// Their numbers.
        #[arg(value_name = "UID", required_unless_present = "filter", conflicts_with = "filter")]
        uids: Vec<Uid>,
        /// Which of them.
        #[command(flatten)]
        many: ManyArgs,
    },
    /// Queue failed ones again; a single one with changed fields where given.
    Relaunch {
        /// Their numbers; after a single one fields to change, each `field=value`.
        #[arg(
            value_name = "UID or field=value",
            required_unless_present = "filter",
            conflicts_with = "filter"
        )]
        what: Vec<String>,
        /// Which of them.
        #[command(flatten)]
        many: ManyArgs,
    },
    /// Set the priority of one that waits.
    Priority {
        /// Its number.
        uid: Uid,
        /// Higher runs sooner; 0 is usual.
        #[arg(allow_negative_numbers = true)]
        priority: i32,
    },
    /// Wait until it has ended.
    Wait {
        /// Its number.
        uid: Uid,
        /// Print the operation as one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// Which operations, where they are not named one by one.
#[derive(Debug, Clone, Default, Args)]
pub struct ManyArgs {
    /// All that match, of those it can be done to; see `hostler list --help`.
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub filter: Option<String>,
    /// Do not ask first. Operations named by number are never asked about.
    #[arg(long)]
    pub yes: bool,
}

/// What to do with a lane.
#[derive(Debug, Clone, Subcommand)]
pub enum LaneCommand {
    /// Start nothing more; what runs goes on.
    Pause {
        /// The lane, such as `encode`.
        name: String,
    },
    /// Start operations again.
    Resume {
        /// The lane.
        name: String,
    },
    /// Start nothing more, and be paused once nothing runs.
    Drain {
        /// The lane.
        name: String,
    },
    /// Let this many run at once.
    Width {
        /// The lane.
        name: String,
        /// From 1 to 64.
        #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
        width: u32,
    },
}

impl From<LaneCommand> for Control {
    fn from(command: LaneCommand) -> Self {
        let (name, change) = match command {
            LaneCommand::Pause { name } => (name, LaneChange::Pause),
            LaneCommand::Resume { name } => (name, LaneChange::Resume),
            LaneCommand::Drain { name } => (name, LaneChange::Drain),
            LaneCommand::Width { name, width } => (name, LaneChange::Width(width)),
        };
        Self::Lane { name, change }
    }
}

/// The operation to ask for. Its kinds are subcommands that [`command`] takes from the catalogue.
#[derive(Debug, Clone, Default)]
pub struct RunArgs {
    /// The kind.
    pub kind: String,
    /// Its fields, each `field=value`.
    pub fields: Vec<String>,
    /// Wait until it has ended.
    pub wait: bool,
    /// Print one JSON document.
    pub json: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Higher runs sooner.
    pub priority: i32,
    /// What makes asking again ask for nothing new.
    pub key: Option<String>,
    /// Ask for it on every resource that matches, as one batch.
    pub each: Option<String>,
    /// How many of a batch may be under way at once.
    pub at_once: Option<u32>,
    /// Whether a batch goes on when one of it fails.
    pub keep_going: bool,
    /// Whether a batch is asked for without a question first.
    pub yes: bool,
}

impl FromArgMatches for RunArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (kind, matches) = matches
            .subcommand()
            .ok_or_else(|| clap::Error::raw(ErrorKind::MissingSubcommand, "run needs a kind"))?;
        Ok(Self {
            kind: kind.to_owned(),
            fields: matches.get_many("fields").into_iter().flatten().cloned().collect(),
            wait: matches.get_flag("wait"),
            json: matches.get_flag("json"),
            dry_run: matches.get_flag("dry_run"),
            priority: matches.get_one("priority").copied().unwrap_or_default(),
            key: matches.get_one("key").cloned(),
            each: matches.try_get_one("each").ok().flatten().cloned(),
            at_once: matches.try_get_one("at_once").ok().flatten().copied(),
            keep_going: matches!(matches.try_get_one("keep_going"), Ok(Some(true))),
            yes: matches!(matches.try_get_one("yes"), Ok(Some(true))),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for RunArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.subcommand_required(true).arg_required_else_help(true).subcommand_value_name("KIND")
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// The whole command line: the fixed commands, and one kind of `run` per catalogue entry.
#[must_use]
pub fn command(catalogue: &Catalogue) -> clap::Command {
    command_with(catalogue, |_| true)
}

/// The command line as far as the words that are `given` in it need it: without the kinds, or with
/// no more of them than a list of kinds shows.
///
/// Describing the fields of every kind takes longer than all the rest of a script's command.
fn command_with(catalogue: &Catalogue, given: impl Fn(&str) -> bool) -> clap::Command {
    let kinds = catalogue.resources().iter().map(|kind| (kind.plural(), kind.word()));
    let lists = kinds.chain([("operations", "operation"), ("lanes", "lane")]);
    let lists: Vec<PossibleValue> =
        lists.map(|(many, one)| PossibleValue::new(many).alias(one)).collect();
    let command = Cli::command()
        .mut_subcommand("list", |list| list.mut_arg("what", |what| what.value_parser(lists)));
    if !given("run") {
        return command;
    }
    let kind = |spec: &OperationSpec| match given(&spec.kind) {
        true => kind::kind(spec),
        false => kind::in_brief(spec),
    };
    command.mut_subcommand("run", |run| {
        run.subcommands(catalogue.iter().map(kind)).subcommand_help_heading("Kinds")
    })
}

/// Reads the command line.
///
/// # Errors
/// Help and version, to be printed as they are, and errors; [`clap::Error::use_stderr`] tells
/// them apart, and [`super::CliError`] says the latter on one line.
pub fn parse<I, T>(catalogue: &Catalogue, args: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let command = command_with(catalogue, |word| args.iter().any(|arg| arg == word));
    let matches = command.try_get_matches_from(args)?;
    Cli::from_arg_matches(&matches)
}

/// An error of [`parse`] as one line.
impl From<clap::Error> for super::CliError {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        let text = text.split("\n\nUsage:").next().unwrap_or_default();
        let text = text.split("\n\nFor more information").next().unwrap_or_default();
        let text = super::one_line(text.trim_start_matches("error: "));
        Self::Usage(format!("{text}; see hostler --help"))
    }
}
