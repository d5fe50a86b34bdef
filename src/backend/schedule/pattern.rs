//! A repetition as a pattern of minutes: the next that matches, and how many there are. Pure.

use std::iter::successors;

use croner::Cron;
use croner::parser::CronParser;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{Every, Repeat};

/// The length of a day on which no clock changes.
pub(super) const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// A repetition ready to be searched: read once, asked often.
pub(super) struct Pattern {
    cron: Cron,
    start: Option<Date>,
    end: Option<Date>,
}

impl Pattern {
    /// `None` when no day can match.
    pub(super) fn of(repeat: &Repeat) -> Option<Self> {
        let (first, last) = match repeat.week {
            Every::Any => (1, 31),
            Every::At(week @ 1..=5) => ((week - 1) * 7 + 1, (week * 7).min(31)),
            Every::At(_) => return None,
        };
        let days = match repeat.day {
            Every::Any => format!("{first}-{last}"),
            Every::At(day) if (first..=last).contains(&day) => day.to_string(),
            Every::At(_) => return None,
        };
        let days = if days == "1-31" { "*".to_owned() } else { days };
        let pattern = format!("{} {} {days} * {}", repeat.minute, repeat.hour, repeat.weekday);
        let cron = CronParser::builder().dom_and_dow(true).build().parse(&pattern).ok()?;
        Some(Self { cron, start: repeat.start, end: repeat.end })
    }

    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut from = after;
        if let Some(start) = self.start {
            // The first moment of that day may fire; the search is for later than `from`.
            let opens = start.to_zoned(zone.clone()).ok()?.timestamp();
            from = from.max(opens - SignedDuration::from_secs(1));
        }
        let found = self.cron.find_next_occurrence(&from.to_zoned(zone.clone()), false).ok()?;
        let late = self.end.is_some_and(|end| found.date() > end);
        (!late).then(|| found.timestamp())
    }
}

/// The first minute after `after` in which a task fires; `None` when it never does again.
#[must_use]
pub fn next(repeat: &Repeat, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    Pattern::of(repeat)?.next(after, zone)
}

/// How many firings there are after `after` and up to `until`, and the last of them. Days are
/// counted, and minutes only on those that are not like others: after ten years there are five
/// million.
pub(super) fn firings(
    repeat: &Repeat,
    pattern: &Pattern,
    after: Timestamp,
    until: Timestamp,
    zone: &TimeZone,
) -> Option<(u64, Timestamp)> {
    let in_a_day = match (repeat.hour, repeat.minute) {
        (Every::Any, Every::Any) => 24 * 60,
        (Every::Any, Every::At(_)) => 24,
        (Every::At(_), Every::Any) => 60,
        (Every::At(_), Every::At(_)) => 1,
    };
    let midnight = |date: Date| date.to_zoned(zone.clone()).ok().map(|it| it.timestamp());
    let search = |from: Timestamp, to: Timestamp| {
        successors(pattern.next(from, zone), |at| pattern.next(*at, zone))
            .take_while(move |at| *at <= to)
    };
    let moment = SignedDuration::from_secs(1);
    let (mut count, mut latest) = (0, None);
    let mut date = after.to_zoned(zone.clone()).date();
    let mut begin = midnight(date)?;
    while begin <= until {
        let end = date.tomorrow().ok().and_then(midnight)?;
        if falls_on(repeat, date) {
            let whole = begin > after && end <= until;
            if whole && end.duration_since(begin) == A_DAY {
                count += in_a_day;
                latest = Some((begin - moment, end - moment));
            } else {
                let (from, to) = (after.max(begin - moment), until.min(end - moment));
                let found = search(from, to).count() as u64;
                count += found;
                if found > 0 {
                    latest = Some((from, to));
                }
            }
        }
        (date, begin) = (date.tomorrow().ok()?, end);
    }
    let (from, to) = latest?;
    Some((count, search(from, to).last()?))
}

/// Whether a task fires at all on a day.
fn falls_on(repeat: &Repeat, date: Date) -> bool {
    let is = |every: Every, value: i8| match every {
        Every::Any => true,
        Every::At(at) => i64::from(at) == i64::from(value),
    };
    is(repeat.day, date.day())
        && is(repeat.week, (date.day() - 1) / 7 + 1)
        && is(repeat.weekday, date.weekday().to_sunday_zero_offset())
        && repeat.start.is_none_or(|start| date >= start)
        && repeat.end.is_none_or(|end| date <= end)
}
