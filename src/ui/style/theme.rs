//! The look: the one place that knows colours, how many the terminal has, and which glyphs it can
//! draw.
//!
//! A theme is a TOML file that gives each [`Role`] a colour and attributes. `NO_COLOR` and ASCII
//! are applied here, so that nothing else has to think of them: without colours the attributes
//! (bold, reverse, underlined) stay, and every state has a glyph and a word beside its colour.

use std::collections::BTreeMap;

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use crate::file;

/// What a piece of the screen means. Views name roles, never colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Ordinary text.
    Text,
    /// Text that matters less: units, labels, hints.
    Quiet,
    /// The program's name, titles, column headings.
    Title,
    /// Lines around panes.
    Border,
    /// Lines around the pane the keys go to.
    Focus,
    /// The selected row in the pane the keys go to.
    Selected,
    /// The selected row in another pane.
    SelectedQuiet,
    /// A marked row.
    Marked,
    /// The current tab.
    Tab,
    /// Something is well: running, done, present.
    Good,
    /// Something is under way.
    Busy,
    /// Something waits.
    Waiting,
    /// Something failed or is missing.
    Bad,
    /// Something rests: halted, free, inactive.
    Resting,
    /// A key that can be pressed.
    Key,
    /// What is being typed.
    Input,
    /// The done part of a progress bar, sparklines.
    Bar,
    /// The rest of a progress bar.
    BarRest,
    /// What a warning says.
    Warning,
}

/// Every role, for completeness checks.
const ROLES: [Role; 19] = [
    Role::Text,
    Role::Quiet,
    Role::Title,
    Role::Border,
    Role::Focus,
    Role::Selected,
    Role::SelectedQuiet,
    Role::Marked,
    Role::Tab,
    Role::Good,
    Role::Busy,
    Role::Waiting,
    Role::Bad,
    Role::Resting,
    Role::Key,
    Role::Input,
    Role::Bar,
    Role::BarRest,
    Role::Warning,
];

/// The characters that are not letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// The names say it; each is one column wide unless it says otherwise.
pub struct Glyphs {
    pub horizontal: &'static str,
    pub vertical: &'static str,
    pub top_left: &'static str,
    pub top_right: &'static str,
    pub bottom_left: &'static str,
    pub bottom_right: &'static str,
    pub tee_left: &'static str,
    pub tee_right: &'static str,
    pub tee_down: &'static str,
    pub tee_up: &'static str,
    pub good: &'static str,
    pub bad: &'static str,
    pub running: &'static str,
    pub resting: &'static str,
    pub busy: &'static str,
    pub paused: &'static str,
    pub play: &'static str,
    pub wait: &'static str,
    pub mark: &'static str,
    pub cursor: &'static str,
    pub more: &'static str,
    pub none: &'static str,
    pub dot: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub bar_done: &'static str,
    pub bar_rest: &'static str,
    pub secret: &'static str,
    /// From empty to full.
    pub spark: [&'static str; 8],
}

const UNICODE: Glyphs = Glyphs {
    horizontal: "─",
    vertical: "│",
    top_left: "┌",
    top_right: "┐",
    bottom_left: "└",
    bottom_right: "┘",
    tee_left: "├",
    tee_right: "┤",
    tee_down: "┬",
    tee_up: "┴",
    good: "✔",
    bad: "✖",
    running: "●",
    resting: "○",
    busy: "◐",
    paused: "‖",
    play: "▶",
    wait: "…",
    mark: "◆",
    cursor: "▶",
    more: "…",
    none: "—",
    dot: "·",
    up: "▲",
    down: "▼",
    bar_done: "█",
    bar_rest: "░",
    secret: "•",
    spark: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
};

const ASCII: Glyphs = Glyphs {
    horizontal: "-",
    vertical: "|",
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    tee_left: "+",
    tee_right: "+",
    tee_down: "+",
    tee_up: "+",
    good: "+",
    bad: "x",
    running: "*",
    resting: "o",
    busy: "%",
    paused: "=",
    play: ">",
    wait: "~",
    mark: "#",
    cursor: ">",
    more: "~",
    none: "-",
    dot: ",",
    up: "^",
    down: "v",
    bar_done: "#",
    bar_rest: ".",
    secret: "*",
    spark: ["_", ".", ".", "-", "-", "=", "=", "#"],
};

/// The themes that come with the program, by name.
const BUILT_IN: [(&str, &str); 3] = [
    ("terminal", include_str!("../../../assets/themes/terminal.toml")),
    ("dark", include_str!("../../../assets/themes/dark.toml")),
    ("light", include_str!("../../../assets/themes/light.toml")),
];

/// How one role looks, as written in a theme file.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleStyle {
    /// A colour's name, a number from 0 to 255, or `#rrggbb`.
    #[serde(default, deserialize_with = "colour")]
    fg: Option<Color>,
    #[serde(default, deserialize_with = "colour")]
    bg: Option<Color>,
    #[serde(default)]
    bold: bool,
    #[serde(default)]
    dim: bool,
    #[serde(default)]
    reverse: bool,
    #[serde(default)]
    underlined: bool,
}

fn colour<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Color>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(|_| {
        serde::de::Error::custom(format!(
            "'{text}' is no colour; write a name, a number from 0 to 255 or #rrggbb"
        ))
    })
}

/// The look of the whole screen.
#[derive(Debug, Clone)]
pub struct Theme {
    styles: BTreeMap<Role, Style>,
    /// The characters that are not letters.
    pub glyphs: Glyphs,
}

impl Theme {
    /// The theme named `name`: one that comes with the program, or a TOML file's path.
    ///
    /// # Errors
    /// One sentence that names the theme or file, and the key that is wrong.
    pub fn load(name: &str, colour: bool, ascii: bool) -> Result<Self, String> {
        let built_in = BUILT_IN.iter().find(|(built_in, _)| *built_in == name);
        match built_in {
            Some((name, text)) => Self::parse(name, text, colour, ascii),
            None if name.contains('/') || name.ends_with(".toml") => {
                let text = file::read_text(name)
                    .map_err(|error| format!("cannot read the theme {name}: {error}"))?;
                Self::parse(name, &text, colour, ascii)
            }
            None => Err(format!(
                "there is no theme '{name}'; there are terminal, dark and light, or give the path \
                 of a TOML file"
            )),
        }
    }

    /// Reads a theme.
    ///
    /// # Errors
    /// One sentence that names the file and what is wrong in it.
    pub fn parse(file: &str, text: &str, colour: bool, ascii: bool) -> Result<Self, String> {
        let looks: BTreeMap<Role, RoleStyle> = toml::from_str(text)
            .map_err(|error| format!("the theme {file} cannot be read: {}", error.message()))?;
        if let Some(role) = ROLES.iter().find(|role| !looks.contains_key(role)) {
            return Err(format!("the theme {file} says nothing about {role:?}"));
        }
        let styles = looks.into_iter().map(|(role, look)| (role, style(look, colour))).collect();
        Ok(Self { styles, glyphs: if ascii { ASCII } else { UNICODE } })
    }

    /// A theme without any look, for measuring.
    #[must_use]
    pub const fn plain() -> Self {
        Self { styles: BTreeMap::new(), glyphs: UNICODE }
    }

    /// How a role looks.
    #[must_use]
    pub fn style(&self, role: Role) -> Style {
        self.styles.get(&role).copied().unwrap_or_default()
    }

    /// Whether only ASCII may be drawn.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.glyphs == ASCII
    }
}

fn style(look: RoleStyle, colour: bool) -> Style {
    let mut style = Style::new();
    if colour {
        style.fg = look.fg;
        style.bg = look.bg;
    }
    for (wanted, modifier) in [
        (look.bold, Modifier::BOLD),
        (look.dim && colour, Modifier::DIM),
        (look.reverse, Modifier::REVERSED),
        (look.underlined, Modifier::UNDERLINED),
    ] {
        if wanted {
            style = style.add_modifier(modifier);
        }
    }
    // A background is how a selection is seen; without colours it is seen reversed.
    if !colour && look.bg.is_some() {
        style = style.add_modifier(Modifier::REVERSED);
    }
    style
}

/// Whether only ASCII should be drawn, from the environment: a terminal or locale without UTF-8.
#[must_use]
pub fn ascii_wanted(term: Option<&str>, locale: Option<&str>) -> bool {
    if term == Some("linux") {
        return true;
    }
    !locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_theme_is_whole() {
        for (name, _) in BUILT_IN {
            Theme::load(name, true, false).unwrap();
        }
    }

    #[test]
    fn without_colours_the_attributes_stay() {
        for (name, _) in BUILT_IN {
            let theme = Theme::load(name, false, false).unwrap();
            for role in ROLES {
                let style = theme.style(role);
                assert_eq!((style.fg, style.bg), (None, None), "{name} {role:?}");
            }
            assert_ne!(theme.style(Role::Selected), Style::new(), "{name}");
            assert_ne!(theme.style(Role::Tab), Style::new(), "{name}");
        }
    }

    #[test]
    fn a_wrong_theme_is_named() {
        let error = Theme::parse("mine.toml", "text = { fg = \"pinkish\" }", true, false);
        assert!(error.unwrap_err().contains("mine.toml"));
        let error = Theme::parse("mine.toml", "text = {}", true, false).unwrap_err();
        assert!(error.contains("Quiet"), "{error}");
        assert!(Theme::load("nope", true, false).unwrap_err().contains("'nope'"));
    }

    #[test]
    fn ascii_where_the_locale_or_terminal_asks() {
        assert!(ascii_wanted(Some("linux"), Some("C.UTF-8")));
        assert!(ascii_wanted(Some("xterm"), Some("C")));
        assert!(ascii_wanted(Some("xterm"), None));
        assert!(!ascii_wanted(Some("xterm"), Some("de_DE.utf8")));
    }
}
