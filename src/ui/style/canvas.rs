//! A buffer with a theme: text that is cleaned and cut, lines, bars, plots.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use tui_input::Input;

use crate::ui::style::text::{self, clean, fit};
use crate::ui::style::theme::{Glyphs, Role, Theme};

/// A line of text in pieces, each with its meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StyledLine(pub Vec<(String, Role)>);

impl StyledLine {
    /// A line of one piece.
    pub fn new(text: impl Into<String>, role: Role) -> Self {
        Self(vec![(text.into(), role)])
    }

    /// An empty line.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// The line with another piece at its end.
    #[must_use]
    pub fn with(mut self, text: impl Into<String>, role: Role) -> Self {
        self.0.push((text.into(), role));
        self
    }
}

/// Where views draw.
pub struct Canvas<'a> {
    buffer: &'a mut Buffer,
    /// The look.
    pub theme: &'a Theme,
    /// Where the terminal's cursor is to stand.
    pub cursor: Option<Position>,
}

impl<'a> Canvas<'a> {
    /// A canvas on a buffer.
    pub const fn new(buffer: &'a mut Buffer, theme: &'a Theme) -> Self {
        Self { buffer, theme, cursor: None }
    }

    /// Everything.
    #[must_use]
    pub const fn area(&self) -> Rect {
        self.buffer.area
    }

    /// The characters that are not letters.
    #[must_use]
    pub const fn glyphs(&self) -> Glyphs {
        self.theme.glyphs
    }

    /// The buffer itself, for widgets that draw on one.
    pub const fn buffer(&mut self) -> &mut Buffer {
        self.buffer
    }

    /// Empties an area.
    pub fn fill(&mut self, area: Rect, role: Role) {
        let area = area.intersection(self.buffer.area);
        for position in area.positions() {
            if let Some(cell) = self.buffer.cell_mut(position) {
                cell.reset();
            }
        }
        self.buffer.set_style(area, self.theme.style(role));
    }

    /// Lays a look over what is drawn.
    pub fn restyle(&mut self, area: Rect, role: Role) {
        let area = area.intersection(self.buffer.area);
        self.buffer.set_style(area, self.theme.style(role));
    }

    /// Writes text into at most `max` columns, in its own look alone, whatever it is written over.
    /// Returns the column after it.
    pub fn text(&mut self, x: u16, y: u16, max: u16, text: &str, role: Role) -> u16 {
        let area = self.buffer.area;
        if x >= area.right() || y >= area.bottom() {
            return x;
        }
        let max = max.min(area.right() - x);
        let text = clean(text);
        let text = if self.theme.is_ascii() { plain(&text) } else { text.into_owned() };
        let cut = fit(&text, usize::from(max), self.theme.glyphs.more);
        let plain = Style::reset().patch(self.theme.style(Role::Text));
        let style = plain.patch(self.theme.style(role));
        self.buffer.set_stringn(x, y, &cut, usize::from(max), style).0
    }

    /// Writes text so that it ends at the right edge of `max` columns.
    pub fn text_right(&mut self, x: u16, y: u16, max: u16, text: &str, role: Role) {
        let wide = u16::try_from(text::width(&clean(text))).unwrap_or(u16::MAX);
        let gap = max.saturating_sub(wide);
        self.text(x + gap, y, max - gap, text, role);
    }

    /// Writes a line in pieces. Returns the column after it.
    pub fn line(&mut self, x: u16, y: u16, max: u16, line: &StyledLine) -> u16 {
        let end = x.saturating_add(max);
        let mut at = x;
        for (piece, role) in &line.0 {
            if at >= end {
                break;
            }
            at = self.text(at, y, end - at, piece, *role);
        }
        at
    }

    /// Draws a horizontal line.
    pub fn horizontal(&mut self, x: u16, y: u16, width: u16, role: Role) {
        let line = self.glyphs().horizontal.repeat(usize::from(width));
        self.text(x, y, width, &line, role);
    }

    /// Draws a vertical line.
    pub fn vertical(&mut self, x: u16, y: u16, height: u16, role: Role) {
        let glyph = self.glyphs().vertical;
        for y in y..y.saturating_add(height) {
            self.text(x, y, 1, glyph, role);
        }
    }

    /// Says in the lower edge of a window which of its rows are shown, if these are not all.
    pub fn shown(&mut self, area: Rect, from: usize, rows: usize, all: usize) {
        if rows >= all {
            return;
        }
        let place = format!(" {}-{} of {all} ", from + 1, (from + rows).min(all));
        let wide = text::columns(&place).min(area.width.saturating_sub(2));
        let x = area.right().saturating_sub(wide + 2).max(area.x + 1);
        self.text(x, area.bottom().saturating_sub(1), wide, &place, Role::Quiet);
    }

    /// Draws a pane with a title. What is behind steps back, but for the first line and the last,
    /// which go with whatever is in front. Returns its inside.
    pub fn window(&mut self, area: Rect, title: &str, role: Role) -> Rect {
        let quiet = self.theme.style(Role::Text).patch(self.theme.style(Role::Quiet));
        let whole = self.buffer.area;
        let behind = Rect { y: whole.y + 1, height: whole.height.saturating_sub(2), ..whole };
        self.buffer.set_style(behind, Style::reset().patch(quiet));
        let inside = self.pane(area, role);
        if area.width > 4 {
            let title = format!(" {title} ");
            self.text(area.x + 2, area.y, area.width - 4, &title, Role::Title);
        }
        inside
    }

    /// Draws a frame and empties what is in it, and a gap beside it that keeps its edges apart
    /// from what is behind. Returns its inside.
    pub fn pane(&mut self, area: Rect, role: Role) -> Rect {
        let gap = Rect { x: area.x.saturating_sub(1), width: area.width + 2, ..area };
        self.fill(if area.x > 0 { gap } else { area }, Role::Text);
        self.frame(area, role);
        Rect {
            x: area.x + 1,
            y: area.y + 1,
            width: area.width.saturating_sub(2),
            height: area.height.saturating_sub(2),
        }
    }

    /// Draws a frame.
    pub fn frame(&mut self, area: Rect, role: Role) {
        if area.width < 2 || area.height < 2 {
            return;
        }
        let g = self.glyphs();
        let (right, bottom) = (area.right() - 1, area.bottom() - 1);
        self.horizontal(area.x + 1, area.y, area.width - 2, role);
        self.horizontal(area.x + 1, bottom, area.width - 2, role);
        self.vertical(area.x, area.y + 1, area.height - 2, role);
        self.vertical(right, area.y + 1, area.height - 2, role);
        for (x, y, glyph) in [
            (area.x, area.y, g.top_left),
            (right, area.y, g.top_right),
            (area.x, bottom, g.bottom_left),
            (right, bottom, g.bottom_right),
        ] {
            self.text(x, y, 1, glyph, role);
        }
    }

    /// Draws a progress bar.
    pub fn bar(&mut self, x: u16, y: u16, width: u16, fraction: f64) {
        let g = self.glyphs();
        let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
        let done = (f64::from(width) * fraction).round() as u16;
        self.text(x, y, done, &g.bar_done.repeat(usize::from(done)), Role::Bar);
        let rest = width - done.min(width);
        self.text(x + done, y, rest, &g.bar_rest.repeat(usize::from(rest)), Role::BarRest);
    }

    /// Draws a line being typed, with the terminal's cursor in it. Returns how many columns of it
    /// are out of sight on the left.
    pub fn input(&mut self, x: u16, y: u16, width: u16, input: &Input, masked: bool) -> usize {
        let room = usize::from(width.max(1)).saturating_sub(1).max(1);
        let shown: String = if masked {
            self.glyphs().secret.repeat(input.value().chars().count())
        } else {
            clean(input.value()).into_owned()
        };
        let before = if masked {
            input.cursor()
        } else {
            let typed: String = input.value().chars().take(input.cursor()).collect();
            text::width(&clean(&typed))
        };
        // The end being typed at stays in sight.
        let skip = before.saturating_sub(room);
        let mut dropped = 0;
        let visible: String = shown
            .chars()
            .skip_while(|c| {
                let drop = dropped < skip;
                dropped += if drop { text::width(c.encode_utf8(&mut [0; 4])) } else { 0 };
                drop
            })
            .collect();
        self.restyle(Rect { x, y, width, height: 1 }, Role::Input);
        let visible = fit(&visible, usize::from(width), "").into_owned();
        self.text(x, y, width, &visible, Role::Input);
        let at = u16::try_from(before - skip.min(before)).unwrap_or(0).min(width.saturating_sub(1));
        self.cursor = Some(Position { x: x + at, y });
        dropped
    }
}

/// A small plot of figures from 0 to 100, the newest on the right, at most `width` wide.
pub fn spark(
    glyphs: &Glyphs,
    figures: impl DoubleEndedIterator<Item = f32>,
    width: usize,
) -> String {
    let newest: Vec<f32> = figures.rev().take(width).collect();
    newest
        .iter()
        .rev()
        .map(|figure| {
            let level = (figure.clamp(0.0, 100.0) / 100.0 * 7.0).round() as usize;
            glyphs.spark[level.min(7)]
        })
        .collect()
}

/// Text for a terminal that has only ASCII.
fn plain(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '·' | '…' => '.',
            '×' => 'x',
            '→' => '>',
            '↑' => '^',
            '↓' => 'v',
            '—' | '–' | '‹' | '›' => '-',
            '\u{fffd}' => '?',
            other if other.is_ascii() => other,
            _ => '?',
        })
        .collect()
}
