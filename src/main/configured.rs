//! Which configuration the backend of a state directory has.
//!
//! It is the directory's, whoever starts the backend: that of the last `hostler serve`, or, where
//! nobody has served it yet, that of its first owner. A command that takes the place of a backend
//! that died brings no other, or its settings would hold for what is not its own: the trash of the
//! whole box. Only where the configuration is read from is kept, beside the store; what it says is
//! read at every start.

use std::io;
use std::path::Path;

use hostler::backend::engine::store::plain::{self, Document};
use hostler::backend::state_files::beneath::Folder;
use hostler::cli::Check;
use hostler::config::{Config, ConfigError, ConfigSources};

use super::Place;

/// The file in the state directory.
const RECORD: &str = "hostler.config";
/// The most bytes it has.
const LONGEST_RECORD: u64 = 1 << 16;

/// The configuration of the backend that starts in a place whose directory is ours alone.
pub(crate) struct Settled {
    pub(crate) config: Config,
    /// Whether it is to become the directory's.
    is_new: bool,
    /// Why what the directory had is not known.
    unreadable: Option<&'static str>,
}

/// Finds out which configuration a backend has.
pub(crate) fn settle(place: &Place) -> anyhow::Result<Settled> {
    let of_place =
        |is_new, unreadable| Settled { config: place.config.clone(), is_new, unreadable };
    Ok(match kept(&place.state_dir)? {
        Document::Nothing => of_place(true, None),
        Document::Readable(kept) if kept == place.sources => of_place(false, None),
        Document::Readable(kept) if !place.decides && holds(&kept) => {
            Settled { config: read(&kept)?, is_new: false, unreadable: None }
        }
        Document::Readable(_) => of_place(true, None),
        // Where it is may yet be known to another version, so only who decides writes over it.
        Document::Unreadable(why) => of_place(place.decides, Some(why)),
    })
}

impl Settled {
    /// Says what is to be said of it, in the log that it has begun, and makes it the directory's.
    pub(crate) fn hold(&self, place: &Place) {
        let path = place.state_dir.join(RECORD);
        let path = path.display();
        if let Some(why) = self.unreadable {
            tracing::warn!(
                "{path} {why}, so the backend has the configuration of whoever starts it; \
                 `hostler serve` gives it its own"
            );
        }
        if self.is_new
            && let Err(error) = keep(&place.state_dir, &place.sources)
        {
            // Then it is whoever starts the next backend that decides.
            tracing::warn!(%error, "{path} cannot be written");
        }
        if self.config != place.config && place.sources.named {
            tracing::warn!(
                "this backend has the configuration of its state directory, which differs from {}; \
                 `hostler serve` with that would change it",
                place.sources.files[0].display()
            );
        }
    }
}

/// What is to be said of a backend's configuration where it is not that of this command.
pub(crate) fn check(place: &Place) -> Option<Check> {
    let name = "configuration of the backend";
    let mend = "hostler serve, which gives it its own";
    match kept(&place.state_dir) {
        Ok(Document::Readable(kept)) if kept == place.sources => None,
        Ok(Document::Readable(kept)) if !holds(&kept) => Some(Check::bad(
            name,
            format!("{} is gone; it has that of whoever starts it next", shown(&kept)),
            mend,
        )),
        Ok(Document::Readable(kept)) => Some(match read(&kept) {
            Ok(_) => Check::good(name, shown(&kept)),
            Err(error) => Check::bad(name, format!("{error:#}"), mend),
        }),
        Ok(Document::Nothing) => None,
        Ok(Document::Unreadable(why)) => Some(Check::bad(
            name,
            format!(
                "{} {why}; it has that of whoever starts it",
                place.state_dir.join(RECORD).display()
            ),
            mend,
        )),
        Err(error) => Some(Check::bad(name, format!("{error:#}"), mend)),
    }
}

fn read(kept: &ConfigSources) -> anyhow::Result<Config> {
    let read = Config::read(kept).map_err(|_| {
        // Nothing of it is repeated: that a file is named there makes it no configuration.
        ConfigError(format!(
            "the backend here has the configuration {}, and that cannot be used; `hostler --config \
             FILE doctor` tells why, and `hostler serve` gives it another",
            shown(kept)
        ))
    });
    Ok(read?.0)
}

/// Whether what was named is there still.
fn holds(kept: &ConfigSources) -> bool {
    !kept.named || kept.files.iter().all(|file| file.exists())
}

fn shown(kept: &ConfigSources) -> String {
    let there = kept.files.iter().filter(|file| kept.named || file.exists());
    let files: Vec<_> = there.map(|file| file.display().to_string()).collect();
    if files.is_empty() { "none; the defaults hold".to_owned() } else { files.join(", ") }
}

fn kept(state_dir: &Path) -> anyhow::Result<Document<ConfigSources>> {
    let path = state_dir.join(RECORD);
    let found = plain::document(&path, LONGEST_RECORD, "where a configuration is");
    found.map_err(|why| anyhow::anyhow!(plain::refusal(&path, &why)))
}

fn keep(state_dir: &Path, sources: &ConfigSources) -> io::Result<()> {
    Folder::at(state_dir)?.write(RECORD, &serde_json::to_vec(sources)?)
}
