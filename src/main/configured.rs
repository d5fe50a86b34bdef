//! Which configuration the backend of a state directory has.
//!
//! It is the directory's, whoever starts the backend: that of the last `hostler serve`, or, where
//! nobody has served it yet, that of its first owner. A command that takes the place of a backend
//! that died brings no other, or its settings would hold for what is not its own: the trash of the
//! whole box. Only where the configuration is read from is kept, beside the store; what it says is
//! read at every start.

use std::io;
use std::path::Path;

use hostler::backend::engine::store::plain;
use hostler::backend::state_files::beneath::Folder;
use hostler::cli::Check;
use hostler::config::{Config, ConfigError, ConfigSources};

use super::Place;

/// The file in the state directory.
const RECORD: &str = "hostler.config";
/// The most bytes it has.
const LONGEST_RECORD: u64 = 1 << 16;

/// The configuration of the backend that starts in a place whose directory is ours alone; from now
/// on it is the directory's.
pub(crate) fn settle(place: &Place) -> anyhow::Result<Config> {
    let kept = kept(&place.state_dir)?;
    match kept.as_ref().filter(|kept| !place.decides && holds(kept)) {
        Some(kept) if *kept != place.sources => read(kept),
        _ => {
            if kept.as_ref() != Some(&place.sources)
                && let Err(error) = keep(&place.state_dir, &place.sources)
            {
                let path = place.state_dir.join(RECORD);
                // Then it is whoever starts the next backend that decides.
                tracing::warn!(%error, "{} cannot be written", path.display());
            }
            Ok(place.config.clone())
        }
    }
}

/// What is to be said of a backend's configuration where it is not that of this command.
pub(crate) fn check(place: &Place) -> Option<Check> {
    let name = "configuration of the backend";
    let mend = "hostler serve, which gives it its own";
    match kept(&place.state_dir) {
        Ok(Some(kept)) if kept == place.sources => None,
        Ok(Some(kept)) if !holds(&kept) => Some(Check::bad(
            name,
            format!("{} is gone; it has that of whoever starts it next", shown(&kept)),
            mend,
        )),
        Ok(Some(kept)) => Some(match read(&kept) {
            Ok(_) => Check::good(name, shown(&kept)),
            Err(error) => Check::bad(name, format!("{error:#}"), mend),
        }),
        Ok(None) => None,
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

fn kept(state_dir: &Path) -> anyhow::Result<Option<ConfigSources>> {
    let path = state_dir.join(RECORD);
    let found = plain::read(&path, LONGEST_RECORD).and_then(|found| {
        let text = found.unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        let sources = serde_json::from_slice(&text);
        sources.map(Some).map_err(|_| "says of no configuration where it is".to_owned())
    });
    found.map_err(|why| anyhow::anyhow!(plain::refusal(&path, &why)))
}

fn keep(state_dir: &Path, sources: &ConfigSources) -> io::Result<()> {
    Folder::at(state_dir)?.write(RECORD, &serde_json::to_vec(sources)?)
}
