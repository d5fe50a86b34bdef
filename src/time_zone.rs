//! The time zone of the box. It knows nobody.

use std::sync::LazyLock;

use jiff::tz::TimeZone;

/// Returns the time zone here, as it was when it was first asked for.
///
/// Read from its file, of which every system has one: jiff's own way looks through all the zones
/// there are for its name as well, which takes as long as a script's command or a first frame.
#[must_use]
pub fn here() -> TimeZone {
    static HERE: LazyLock<TimeZone> = LazyLock::new(|| {
        let is_told = std::env::var_os("TZ").is_some();
        let file = if is_told { None } else { std::fs::read("/etc/localtime").ok() };
        let zone = file.and_then(|file| TimeZone::tzif("Local", &file).ok());
        zone.unwrap_or_else(TimeZone::system)
    });
    HERE.clone()
}
