//! `doctor`: what this machine can and cannot do, and the exact command that mends it.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde::Serialize;

use super::{CliError, json, one_line};
use crate::domain::{Host, ToolState};

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, in one sentence.
    pub found: String,
    /// The command or change that mends it; empty where nothing needs to be mended.
    pub mend: String,
}

impl Check {
    /// It is as it should be.
    pub fn good(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), ok: true, found: found.into(), mend: String::new() }
    }

    /// It is not, and this mends it.
    pub fn bad(name: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name: name.into(), ok: false, found: found.into(), mend: mend.into() }
    }
}

/// Looks at everything that needs no backend: the state directory, the terminal, the locale.
/// `config` is what became of reading the configuration: its files, or the error.
#[must_use]
pub fn checks(state_dir: &Path, config: Result<&[&Path], &str>) -> Vec<Check> {
    let env = |name: &str| std::env::var(name).unwrap_or_default();
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(env).into_iter().find(|set| !set.is_empty());
    vec![
        configuration(config),
        directory(state_dir),
        terminal(&env("TERM")),
        characters(&locale.unwrap_or_default()),
    ]
}

/// Writes what was found, and fails when something is not as it should be.
///
/// # Errors
/// [`CliError::Failed`] when anything needs mending.
pub fn doctor(
    host: &Host,
    checks: &[Check],
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let all: Vec<Check> = machine(host).into_iter().chain(checks.iter().cloned()).collect();
    tell(&all, as_json, out)
}

/// Writes checks, and fails when one is not as it should be.
///
/// # Errors
/// [`CliError::Failed`] when anything needs mending.
pub fn tell(all: &[Check], as_json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    if as_json {
        json(out, &all)?;
    } else {
        for check in all {
            let mark = if check.ok { '✔' } else { '✖' };
            writeln!(out, "{mark} {}: {}", check.name, one_line(&check.found))?;
            if !check.mend.is_empty() {
                writeln!(out, "    {}", one_line(&check.mend))?;
            }
        }
    }
    match all.iter().filter(|check| !check.ok).count() {
        0 => Ok(()),
        1 => Err(CliError::Failed("1 thing needs mending".to_owned())),
        many => Err(CliError::Failed(format!("{many} things need mending"))),
    }
}

/// The accelerator and the tools.
fn machine(host: &Host) -> Vec<Check> {
    let accelerator = host.accelerator.as_ref().map(|accelerator| {
        // Slow is not broken: guests run under TCG as well.
        Check::good("accelerator", format!("{}: {}", accelerator.name, accelerator.why))
    });
    let tools = host.tools.iter().map(|tool| match &tool.state {
        ToolState::Present { version } => Check::good(&tool.name, version),
        ToolState::Missing { mend } => {
            Check::bad(&tool.name, format!("missing; without it: no {}", tool.purpose), mend)
        }
    });
    accelerator.into_iter().chain(tools).collect()
}

fn configuration(config: Result<&[&Path], &str>) -> Check {
    match config {
        Ok([]) => Check::good("configuration", "none; the defaults hold"),
        Ok(files) => {
            let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            Check::good("configuration", files.join(", "))
        }
        Err(error) => Check::bad("configuration", error, "change that line in an editor"),
    }
}

fn directory(dir: &Path) -> Check {
    let name = "state directory";
    let shown = dir.display();
    let metadata = match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            return Check::bad(
                name,
                format!("{shown} is no directory"),
                "hostler --state OTHER_DIR",
            );
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // It is made at the first start, if the directory above lets us.
            let above = dir.ancestors().skip(1).find(|above| above.exists());
            return match above.map(writable) {
                Some(Ok(())) => Check::good(name, format!("{shown} will be made")),
                _ => Check::bad(
                    name,
                    format!("{shown} is not there and cannot be made"),
                    format!("sudo install -d -m 0700 -o \"$USER\" {shown}"),
                ),
            };
        }
        Err(error) => {
            let mend = format!("sudo chown \"$USER\" {shown}");
            return Check::bad(name, format!("{shown}: {error}"), mend);
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let found = format!("{shown} belongs to user {}", metadata.uid());
        Check::bad(name, found, format!("sudo -u '#{}' hostler", metadata.uid()))
    } else if let Err(error) = writable(dir) {
        let mend = match error.kind() {
            std::io::ErrorKind::ReadOnlyFilesystem => {
                format!("mount its filesystem for writing, or choose another with --state: {shown}")
            }
            _ => format!("chmod 0700 {shown}"),
        };
        Check::bad(name, format!("{shown}: {error}"), mend)
    } else if mode & 0o022 != 0 {
        let found = format!("{shown} has mode {mode:04o}: others may write to it");
        Check::bad(name, found, format!("chmod 0700 {shown}"))
    } else {
        Check::good(name, format!("{shown}, mode {mode:04o}"))
    }
}

fn writable(dir: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)?)
}

fn terminal(term: &str) -> Check {
    match term {
        "" | "dumb" => Check::bad(
            "terminal",
            format!("TERM is '{term}': the console cannot draw there"),
            "export TERM=xterm-256color",
        ),
        term => Check::good("terminal", term),
    }
}

fn characters(locale: &str) -> Check {
    let flat = locale.to_ascii_lowercase().replace('-', "");
    if flat.contains("utf8") {
        Check::good("locale", locale)
    } else {
        // The console draws with ASCII then: poorer, not broken.
        Check {
            mend: "export LC_ALL=C.UTF-8".to_owned(),
            ..Check::good("locale", format!("'{locale}' is not UTF-8: the console draws in ASCII"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Tool;

    #[test]
    fn what_is_wrong_is_told_with_what_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        assert!(directory(&path).ok, "it can be made");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let open = directory(&path);
        assert!(!open.ok && open.found.contains("0777"), "{open:?}");
        assert_eq!(open.mend, format!("chmod 0700 {}", path.display()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(directory(&path).ok);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(!directory(&file).ok);
        assert!(!terminal("dumb").ok && terminal("tmux-256color").ok);
        assert!(!characters("C").mend.is_empty() && characters("de_DE.utf8").mend.is_empty());
        assert!(!configuration(Err("c.toml, line 3: nonsense")).ok);
    }

    #[test]
    fn a_missing_tool_is_told_and_fails() {
        let missing = ToolState::Missing { mend: "apt-get install ffmpeg".into() };
        let host = Host {
            tools: vec![Tool {
                name: "ffmpeg".into(),
                purpose: "encodings".into(),
                state: missing,
            }],
            ..Host::default()
        };
        let mut out = Vec::new();
        let error = doctor(&host, &[], false, &mut out).unwrap_err();
        assert_eq!(error.status(), 1);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("✖ ffmpeg") && text.contains("apt-get install ffmpeg"), "{text}");

        let mut out = Vec::new();
        doctor(&host, &[], true, &mut out).unwrap_err();
        let all: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(all[0]["ok"], false);
        doctor(&Host::default(), &[], false, &mut Vec::new()).unwrap();
    }
}
