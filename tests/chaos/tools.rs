//! The tools as chaos lets hostler see them: a folder of wrappers before the real ones. Each start
//! is written down; two that work on one thing at once give themselves away by a lock; and a mood
//! makes a tool fail, hang or be missing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The tools that are wrapped, with what the shell makes of their arguments to say what they work
/// on: two processes with the same must never live at once.
const WRAPPED: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "for a; do [ \"$was\" = -uuid ] && thing=$a; was=$a; done"),
    (
        "ffmpeg",
        "for a; do last=$a; done\ncase $last in *out-*) thing=${last##*out-}; \
            thing=${thing%%[!0-9]*};; esac",
    ),
    ("ffprobe", ""),
    ("qemu-img", ""),
    ("mke2fs", ""),
];

/// How a tool behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Fails,
    Hangs,
    Missing,
}

impl Mood {
    pub const ALL: [Self; 3] = [Self::Fails, Self::Hangs, Self::Missing];
}

/// A start of a tool.
#[derive(Debug)]
pub struct Start {
    /// When, in nanoseconds since 1970.
    pub at: i128,
    pub tool: String,
    pub arguments: Vec<String>,
}

/// The folder of the wrappers and what they write.
pub struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// Makes the wrappers in a folder of their own.
    pub fn new(dir: &Path) -> Self {
        let tools = Self { dir: dir.to_owned() };
        for folder in ["bin", "rest", "mood", "locks"] {
            fs::create_dir(dir.join(folder)).expect("a folder");
        }
        // What is not wrapped is found as well, and what is wrapped only there.
        for place in ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"] {
            for program in fs::read_dir(place).into_iter().flatten().flatten() {
                let name = program.file_name();
                if !WRAPPED.iter().any(|(tool, _)| name == *tool) {
                    let _ = symlink(program.path(), dir.join("rest").join(name));
                }
            }
        }
        for (tool, thing) in WRAPPED {
            tools.wrap(tool, thing);
        }
        tools
    }

    fn wrap(&self, tool: &str, thing: &str) {
        let here = self.dir.display();
        let real = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join(tool))
            .find(|file| file.exists())
            .unwrap_or_else(|| panic!("{tool} is not installed; `make test` installs it"));
        let real = real.display();
        let script = format!(
            r#"#!/bin/sh
line="$(date +%s%N) {tool}"
tab=$(printf '\037')
for a; do line="$line$tab$a"; done
printf '%s\n' "$line" >>{here}/starts
mood=
[ -e {here}/mood/{tool} ] && read -r mood <{here}/mood/{tool}
[ "$mood" = Fails ] && {{ echo "{tool}: the dice say no" >&2; exit 1; }}
thing=
was=
{thing}
if [ -n "$thing" ]; then
    exec 9>>"{here}/locks/{tool}-$thing"
    # Only its own word counts: chaos may kill flock as well, and that says nothing.
    flock -n -E 75 9
    case $? in
    0) echo "${{mood:-usual}} $$" >"{here}/locks/{tool}-$thing.holder" ;;
    75)
        read -r holder <"{here}/locks/{tool}-$thing.holder"
        printf '%s\n' "holder $holder: $line" >>{here}/twice
        ;;
    esac
fi
if [ "$mood" = Hangs ]; then
    # Nobody can know this for the guest that it never was.
    [ {tool} = qemu-system-x86_64 ] && exec 9>&-
    exec sleep 3600
fi
exec {real} "$@"
"#
        );
        let file = self.program(tool);
        fs::write(&file, script).expect("a wrapper");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it can be run");
    }

    fn program(&self, tool: &str) -> PathBuf {
        self.dir.join("bin").join(tool)
    }

    /// Where hostler looks for programs.
    pub fn path(&self) -> String {
        format!("{}:{}", self.dir.join("bin").display(), self.dir.join("rest").display())
    }

    /// The wrapped tools.
    pub fn names() -> [&'static str; 5] {
        WRAPPED.map(|(tool, _)| tool)
    }

    /// Puts a tool into a mood, or back into its usual one.
    pub fn mood(&self, tool: &str, mood: Option<Mood>) {
        let (file, program) = (self.dir.join("mood").join(tool), self.program(tool));
        let away = program.with_extension("away");
        // Gone already, or still there, is as well.
        let _ = fs::remove_file(&file);
        let _ = fs::rename(&away, &program);
        match mood {
            Some(Mood::Missing) => fs::rename(&program, &away).expect("it goes away"),
            Some(mood) => fs::write(&file, format!("{mood:?}\n")).expect("a mood"),
            None => {}
        }
    }

    /// Every start there was.
    pub fn starts(&self) -> Vec<Start> {
        let text = fs::read(self.dir.join("starts")).unwrap_or_default();
        let start = |line: &str| {
            let (said, arguments) = line.split_once('\u{1f}').unwrap_or((line, ""));
            let (at, tool) = said.split_once(' ')?;
            let arguments = arguments.split('\u{1f}').map(str::to_owned).collect();
            Some(Start { at: at.parse().ok()?, tool: tool.to_owned(), arguments })
        };
        String::from_utf8_lossy(&text).lines().filter_map(start).collect()
    }

    /// The starts that found another at work on the same thing.
    pub fn twice(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("twice")).unwrap_or_default();
        text.lines().map(|line| line.replace('\u{1f}', " ")).collect()
    }
}
