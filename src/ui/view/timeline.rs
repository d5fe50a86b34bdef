//! The next 24 hours of tasks under their list: how much fires when, and when the selected one
//! does.
//!
//! ```text
//! ├─ Next 24 hours ── ▲ nightly ─────┤
//! │  ▂     ▂  ▂  ▂  ▅▅▂  ▂  ▂        │   the more fires in a cell, the higher
//! │  ┬────────┬─────▲──┬────────┬    │   where the selected one fires
//! │  00:00    03:00    06:00    09:00│
//! ```
//!
//! Cells are equally long stretches of real time, so on a day on which clocks change an hour is
//! missing from the labels or there twice.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use ratatui::layout::Rect;

use crate::domain::Timeline;
use crate::ui::model::{Model, Row};
use crate::ui::style::canvas::Canvas;
use crate::ui::style::text::columns;
use crate::ui::style::theme::Role;

/// How many cells an hour may have; the first that fits is taken.
const CELLS_PER_HOUR: [u16; 5] = [6, 4, 3, 2, 1];

/// How many hours lie between two labels.
const LABEL_EVERY: i8 = 3;

/// A day cut into cells.
#[derive(Debug)]
struct Scale {
    /// Where the first cell begins: on the wall's clock a multiple of a cell's length.
    begin: Timestamp,
    /// How long a cell is, in minutes.
    minutes: u16,
    /// How many there are: one more than a day has, for now is seldom where a cell begins.
    cells: u16,
    zone: TimeZone,
}

impl Scale {
    /// The finest that is at most `width` cells wide.
    fn fit(from: Timestamp, zone: &TimeZone, width: u16) -> Option<Self> {
        let per_hour = CELLS_PER_HOUR.into_iter().find(|cells| 24 * cells < width)?;
        let minutes = 60 / per_hour;
        let past = i64::from(zone.to_datetime(from).minute()) % i64::from(minutes);
        let begin = from - SignedDuration::from_mins(past);
        Some(Self { begin, minutes, cells: 24 * per_hour + 1, zone: zone.clone() })
    }

    /// How often the tasks that count fire in each cell.
    fn firings(&self, timeline: &Timeline, counts: impl Fn(u64) -> bool) -> Vec<u32> {
        let mut cells = vec![0; usize::from(self.cells)];
        let past = timeline.from.duration_since(self.begin).as_mins();
        let wanted = timeline.tasks.iter().filter(|it| counts(it.task));
        for minute in wanted.flat_map(|it| &it.minutes) {
            let cell = (past + i64::from(*minute)) / i64::from(self.minutes);
            if let Some(count) = usize::try_from(cell).ok().and_then(|cell| cells.get_mut(cell)) {
                *count += 1;
            }
        }
        cells
    }

    /// The hours that are written below it, and below which cell; none touches another, and none
    /// reaches beyond `width`.
    fn labels(&self, width: u16) -> Vec<(u16, String)> {
        let form = if self.minutes < 60 { "%H:%M" } else { "%H" };
        let mut labels = Vec::new();
        let mut free = 0;
        for cell in 0..self.cells {
            let begins = self.begin + SignedDuration::from_mins(i64::from(cell * self.minutes));
            let short = (60 - i64::from(self.zone.to_datetime(begins).minute())) % 60;
            if short >= i64::from(self.minutes) {
                continue;
            }
            let hour = self.zone.to_datetime(begins + SignedDuration::from_mins(short));
            let label = hour.strftime(form).to_string();
            let end = cell + label.len() as u16;
            if hour.hour() % LABEL_EVERY == 0 && cell >= free && end <= width {
                labels.push((cell, label));
                free = end + 1;
            }
        }
        labels
    }
}

/// Draws it, with the line that sets it apart from the list.
pub fn draw(model: &Model, timeline: &Timeline, canvas: &mut Canvas<'_>, area: Rect) {
    let g = canvas.glyphs();
    // Below the first letters of the list.
    let (x, room) = (area.x + 2, area.width.saturating_sub(3));
    let Some(scale) = Scale::fit(timeline.from, &model.zone, room) else { return };
    let all = scale.firings(timeline, |_| true);
    let current = model.pane().current();
    let own = scale.firings(timeline, |task| current.is_some_and(|row| row.id() == task));

    canvas.horizontal(area.x, area.y, area.width, Role::Border);
    canvas.text(area.x.saturating_sub(1), area.y, 1, g.tee_left, Role::Border);
    canvas.text(area.right(), area.y, 1, g.tee_right, Role::Border);
    let at = canvas.text(x - 1, area.y, room, " Next 24 hours ", Role::Quiet);
    if let Some(name) = current.map(Row::name).filter(|_| own.iter().any(|count| *count > 0)) {
        let legend = format!(" {} {name} ", g.up);
        let place = Rect { x: at + 2, y: area.y, width: columns(&legend), height: 1 };
        let place = place.intersection(Rect { width: area.width - 1, ..area });
        // Looks are laid over each other: the line would colour it.
        canvas.fill(place, Role::Text);
        canvas.text(place.x, place.y, place.width, &legend, Role::Title);
    }

    let (marks, axis) = (area.y + 1, area.y + 2);
    let labels = scale.labels(room);
    for (cell, label) in &labels {
        canvas.text(x + cell, axis + 1, room - cell, label, Role::Quiet);
    }
    if timeline.tasks.is_empty() {
        canvas.text(x, marks, room, "nothing fires", Role::Quiet);
    }
    for (cell, (all, own)) in (0..).zip(all.into_iter().zip(own)) {
        let role = if own > 0 { Role::Title } else { Role::Bar };
        if all > 0 {
            canvas.text(x + cell, marks, 1, g.spark[level(all)], role);
        }
        let is_labelled = labels.iter().any(|(at, _)| *at == cell);
        let (glyph, role) = match (own, is_labelled) {
            (1.., _) => (g.up, Role::Title),
            (0, true) => (g.tee_down, Role::Border),
            (0, false) => (g.horizontal, Role::Border),
        };
        canvas.text(x + cell, axis, 1, glyph, role);
    }
}

/// How high so many firings stand: one step for each doubling, whatever else there is, so that a
/// single one always looks the same.
const fn level(firings: u32) -> usize {
    let doublings = firings.ilog2() as usize;
    if doublings < 6 { doublings + 1 } else { 7 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Firings;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The cells in which something fires, and how often.
    fn marks(scale: &Scale, from: Timestamp, minutes: &[u16]) -> Vec<(usize, u32)> {
        let tasks = vec![Firings { task: 1, minutes: minutes.to_vec() }];
        let counts = scale.firings(&Timeline { from, tasks }, |_| true);
        counts.into_iter().enumerate().filter(|(_, count)| *count > 0).collect()
    }

    fn label(scale: &Scale, cell: u16) -> Option<String> {
        scale.labels(200).into_iter().find(|(at, _)| *at == cell).map(|(_, label)| label)
    }

    #[test]
    fn the_finest_scale_that_fits_is_taken() {
        let from = at("2026-03-01T12:00:00Z");
        let cells = |width| Scale::fit(from, &TimeZone::UTC, width).map(|scale| scale.cells);
        let widths = [24, 25, 48, 49, 73, 97, 145, 300];
        let expected =
            [None, Some(25), Some(25), Some(49), Some(73), Some(97), Some(145), Some(145)];
        assert_eq!(widths.map(cells), expected);
    }

    #[test]
    fn a_mark_stands_over_the_hour_it_fires_at_also_behind_midnight() {
        let from = at("2026-03-01T22:47:00Z");
        let scale = Scale::fit(from, &TimeZone::UTC, 75).unwrap();
        assert_eq!(scale.begin, at("2026-03-01T22:40:00Z"));
        // 22:59, 23:00, 23:59, 00:00 and 00:19 of the next day, 22:47 of the next day.
        let found = marks(&scale, from, &[12, 13, 72, 73, 92, 1440]);
        assert_eq!(found, [(0, 1), (1, 1), (3, 1), (4, 2), (72, 1)]);
        assert_eq!(label(&scale, 4).as_deref(), Some("00:00"));
        assert_eq!(label(&scale, 13).as_deref(), Some("03:00"));
    }

    #[test]
    fn a_task_of_every_minute_fills_every_cell() {
        let from = at("2026-03-01T12:10:00Z");
        let every: Vec<u16> = (1..=1440).collect();
        for (width, minutes) in [(25, 60), (49, 30), (73, 20), (97, 15), (145, 10)] {
            let scale = Scale::fit(from, &TimeZone::UTC, width).unwrap();
            let found = marks(&scale, from, &every);
            let full = found.iter().filter(|(_, count)| *count == minutes).count();
            assert!(full >= found.len() - 2, "{width}: {found:?}");
            assert_eq!(found.iter().map(|(_, count)| count).sum::<u32>(), 1440, "{width}");
        }
    }

    #[test]
    fn an_hour_that_is_left_out_has_no_label_and_shifts_none() {
        let paris = zone("Europe/Paris");
        // From 22:00; clocks go from 02:00 to 03:00, four real hours later.
        let from = at("2026-03-28T21:00:00Z");
        let scale = Scale::fit(from, &paris, 75).unwrap();
        let labels: Vec<_> = scale.labels(75).into_iter().take(3).collect();
        let expected = [(6, "00:00"), (12, "03:00"), (21, "06:00")];
        assert_eq!(labels, expected.map(|(cell, label)| (cell, label.to_owned())));
        // 01:59, and a minute later 03:00.
        assert_eq!(marks(&scale, from, &[239, 240]), [(11, 1), (12, 1)]);
    }

    #[test]
    fn an_hour_that_comes_twice_stands_there_twice() {
        let santiago = zone("America/Santiago");
        // From 21:00; at 24:00 clocks go back to 23:00, three real hours later.
        let from = at("2026-04-05T00:00:00Z");
        let scale = Scale::fit(from, &santiago, 49).unwrap();
        let labels: Vec<_> = scale.labels(60).into_iter().take(3).collect();
        let expected = [(0, "21:00"), (8, "00:00"), (14, "03:00")];
        assert_eq!(labels, expected.map(|(cell, label)| (cell, label.to_owned())));
        // Half past eleven, and once more an hour later.
        assert_eq!(marks(&scale, from, &[150, 210]), [(5, 1), (7, 1)]);
    }

    #[test]
    fn cells_begin_with_the_hours_of_the_wall() {
        for (name, begin) in [
            ("Asia/Kathmandu", "2026-03-01T12:15:00Z"),
            ("Australia/Adelaide", "2026-03-01T12:30:00Z"),
        ] {
            let zone = zone(name);
            let scale = Scale::fit(at("2026-03-01T12:44:00Z"), &zone, 25).unwrap();
            assert_eq!(scale.begin, at(begin), "{name}");
        }
    }

    #[test]
    fn labels_keep_apart_and_within() {
        for width in [25, 49, 73, 97, 145] {
            let zone = zone("Australia/Lord_Howe");
            let scale = Scale::fit(at("2026-04-04T13:21:00Z"), &zone, width).unwrap();
            let labels = scale.labels(width);
            assert!(labels.len() >= 7, "{labels:?}");
            for pair in labels.windows(2) {
                assert!(usize::from(pair[0].0) + pair[0].1.len() < usize::from(pair[1].0));
            }
            let last = &labels[labels.len() - 1];
            assert!(usize::from(last.0) + last.1.len() <= usize::from(width), "{labels:?}");
        }
    }

    #[test]
    fn more_firings_stand_higher() {
        let levels = [1, 2, 3, 4, 15, 30, 60, 100_000].map(level);
        assert_eq!(levels, [1, 2, 2, 3, 4, 5, 6, 7]);
    }
}
