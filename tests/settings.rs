//! What holds by default, and what the configuration changes: the same everywhere it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a panic is the report")]

#[path = "support/hostler.rs"]
mod hostler_box;

use std::collections::BTreeMap;
use std::path::Path;

use hostler::backend::settings::Settings;
use hostler::config::{Config, EXAMPLE, Origin};
use hostler_box::Sandbox;

#[test]
fn the_example_says_what_holds_without_it() {
    let mut example = Config::default();
    example.merge(Path::new("example"), EXAMPLE, &mut Origin::default()).unwrap();
    let settings = Settings::new("/nowhere".into());
    assert_eq!(example.share_mib, Some(settings.share_mib));
    assert_eq!(example.trash_days, Some(settings.trash_days));
    assert_eq!(example.keep_operations.map(u64::from), Some(settings.keep_operations));
    assert_eq!(example.keep_operations_days, settings.keep_operations_days);
    assert_eq!(example.stop_timeout_s.map(u64::from), Some(settings.stop_timeout.as_secs()));
    assert_eq!(example.lanes, BTreeMap::from_iter(settings.lanes));
}

#[test]
fn the_help_says_what_holds_here() {
    let place = Sandbox::new();
    let help = |arguments: &[&str]| {
        let said = place.ok(arguments);
        let field = said.split("timeout_s").nth(1).expect(&said);
        field
            .split("unless given")
            .next()
            .unwrap()
            .split_whitespace()
            .next_back()
            .map(str::to_owned)
    };
    let (stop, man) = (&["run", "vm_stop", "--help"][..], &["man"][..]);
    assert_eq!((help(stop), help(man)), (Some("120".to_owned()), Some("120".to_owned())));
    std::fs::write(place.config(), "stop_timeout_s = 77\n").unwrap();
    assert_eq!((help(stop), help(man)), (Some("77".to_owned()), Some("77".to_owned())));
    // Named on the command line, before or after what is asked.
    let other = place.dir().join("other.toml");
    std::fs::write(&other, "stop_timeout_s = 99\n").unwrap();
    let other = other.to_str().unwrap();
    assert_eq!(help(&["--config", other, "run", "vm_stop", "--help"]).unwrap(), "99");
    assert_eq!(help(&["run", "vm_stop", &format!("--config={other}"), "--help"]).unwrap(), "99");
    // Help is given even where the configuration cannot be used.
    std::fs::write(place.config(), "stop_timeout_s = 1\n").unwrap();
    assert_eq!(help(stop).unwrap(), "120");
}
