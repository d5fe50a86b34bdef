//! What a configuration file may say, and what is said of one that is wrong.

use std::collections::BTreeSet;

use super::*;

fn read(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    config
        .merge(Path::new("c.toml"), text, &mut Origin::default())
        .map(|()| config)
        .map_err(|error| error.to_string())
}

#[test]
fn the_example_says_what_holds_without_it() {
    let example = read(EXAMPLE).unwrap();
    // What these are by default stands with those who use them; `tests/settings.rs` compares.
    let told = Config {
        share_mib: example.share_mib,
        trash_days: example.trash_days,
        stop_timeout_s: example.stop_timeout_s,
        lanes: example.lanes.clone(),
        keep_operations: example.keep_operations,
        ..Config::default()
    };
    assert_eq!(example, told);
}

#[test]
fn every_key_stands_in_the_example() {
    // A '#' right before a key puts it out of force; prose has a space after it.
    let all: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
            _ => line,
        })
        .fold(String::new(), |all, line| all + line + "\n");
    let mut origin = Origin::default();
    Config::default().merge(Path::new("c.toml"), &all, &mut origin).unwrap();
    let there: BTreeSet<&str> = origin.lines.keys().map(String::as_str).collect();
    assert_eq!(there, KEYS.iter().copied().collect());
}

#[test]
fn what_is_said_is_taken() {
    let config = read(
        "share_mib = 0x200\nascii = 'always'\n[lanes]\nencode = 3\n[keymap]\nnew = 'N'\n\
         quit = ['q', 'ctrl-c']",
    )
    .unwrap();
    assert_eq!(config.share_mib, Some(512));
    assert_eq!(config.trash_days, None);
    assert_eq!(config.ascii, Some(true));
    assert_eq!(config.lanes, BTreeMap::from([("encode".to_owned(), 3)]));
    assert_eq!(config.keymap["quit"], ["q", "ctrl-c"]);
    assert_eq!(config.keymap["new"], ["N"]);
}

#[test]
fn every_error_names_file_line_and_key() {
    for (text, said) in [
        (
            "\nshare_mib = 10",
            "c.toml, line 2: share_mib is 10; it must be a whole number from 64 to 65536",
        ),
        (
            "share_mib = -1",
            "c.toml, line 1: share_mib is -1; it must be a whole number from 64 to 65536",
        ),
        ("mouse = 'yes'", "c.toml, line 1: mouse is \"yes\"; it must be true or false"),
        (
            "state_dir = 'here'",
            "c.toml, line 1: state_dir is \"here\"; it must be an absolute path in quotes",
        ),
        (
            "\n\nshare_mb = 1",
            "c.toml, line 3: share_mb is no key hostler knows; did you mean share_mib?",
        ),
        (
            "[lane]\nvm = 1",
            "c.toml, line 1: lane is no key hostler knows; config.example.toml has all of \
             them, remove it",
        ),
        (
            "[lanes]\nmv = 1",
            "c.toml, line 2: lanes.mv is no key hostler knows; did you mean lanes.vm?",
        ),
        ("lanes = 3", "c.toml, line 1: lanes is no key hostler knows; did you mean lanes.vm?"),
        (
            "[log]\nlevel = 'loud'",
            "c.toml, line 2: log.level is \"loud\"; it must be one of \"error\", \"warn\", \
             \"info\", \"debug\", \"trace\"",
        ),
        (
            "[keymap]\nquit = 3",
            "c.toml, line 2: keymap.quit is 3; it must be a key in quotes, or a list of them",
        ),
        ("theme = { a = 1 }", "c.toml, line 1: theme is a TOML table; it must be a text in quotes"),
    ] {
        assert_eq!(read(text), Err(said.to_owned()), "{text}");
    }
    let broken = read("mouse = true\nshare_mib =").unwrap_err();
    assert!(broken.starts_with("c.toml, line 2: ") && !broken.contains('\n'), "{broken}");
    let twice = read("mouse = true\nmouse = false").unwrap_err();
    assert!(twice.starts_with("c.toml, line 2: "), "{twice}");
}

#[test]
fn a_named_file_must_be_there() {
    let error = Config::load(Some(Path::new("/nonexistent/c.toml"))).unwrap_err();
    assert!(error.to_string().starts_with("cannot read /nonexistent/c.toml: "), "{error}");
}

#[test]
fn what_is_no_configuration_is_said_and_neither_waited_for_nor_swallowed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
    std::fs::write(at("huge"), " ".repeat(2 << 20)).unwrap();
    std::fs::write(at("binary"), b"mouse = \xff\xfe").unwrap();
    std::fs::write(at("nul"), "mouse = true\0").unwrap();
    std::fs::write(at("deep"), format!("theme = {}", "[".repeat(100_000))).unwrap();
    std::fs::write(at("tables"), format!("[{}a]", "a.".repeat(50_000))).unwrap();
    std::os::unix::fs::symlink("huge", at("link")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
    for (name, why) in [
        ("pipe", "it is no regular file"),
        ("device", "it is no regular file"),
        ("", "it is no regular file"),
        ("huge", "it has more than 1024 KiB"),
        ("link", "it has more than 1024 KiB"),
        ("binary", "valid UTF-8"),
        ("nul", "line 1"),
        ("deep", "line 1"),
        ("tables", "line 1"),
    ] {
        let complaint = Config::load(Some(&at(name))).unwrap_err().to_string();
        assert!(complaint.contains(why), "{name}: {complaint}");
        assert!(complaint.len() < 1000, "{name}: {} bytes", complaint.len());
        assert!(!complaint.contains(char::is_control), "{complaint}");
    }
}

#[test]
fn others_report_errors_in_the_same_way() {
    let mut origin = Origin::default();
    let text = "mouse = true\ntheme = 'plaid'";
    Config::default().merge(Path::new("c.toml"), text, &mut origin).unwrap();
    assert_eq!(origin.error("theme", "is no theme").0, "c.toml, line 2: theme is no theme");
    assert_eq!(origin.files(), [Path::new("c.toml")]);
}
