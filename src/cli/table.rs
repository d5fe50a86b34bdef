//! Lists as aligned columns that fit the terminal.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::one_line;
use crate::domain::display::bytes;
use crate::domain::{
    Column, Lane, LaneState, Operation, Quantity, ResourceId, Rows, Subject, Value,
};
use crate::time_zone;

/// Between two columns.
const GAP: usize = 2;
/// The narrowest a column is made.
const NARROWEST: usize = 6;

/// What resources are called that rows refer to by number.
pub(super) type Names = BTreeMap<ResourceId, String>;

/// Writes rows with the columns that matter for their kind.
pub(super) fn rows(
    out: &mut dyn Write,
    rows: &Rows,
    names: &Names,
    width: Option<u16>,
) -> std::io::Result<()> {
    let of = match rows {
        Rows::Operations(_) => Subject::Operations,
        Rows::Resources(resources) => match resources.first() {
            Some(resource) => Subject::Resources(resource.kind()),
            None => return Ok(()),
        },
    };
    let columns: Vec<&Column> = of.columns().iter().filter(|column| column.listed).collect();
    let mut heads: Vec<String> = columns.iter().map(|column| column.head()).collect();
    let cells: Vec<Vec<String>> = match rows {
        Rows::Resources(resources) => resources
            .iter()
            .map(|it| {
                columns.iter().map(|column| text(it.field(&column.name), column, names)).collect()
            })
            .collect(),
        Rows::Operations(operations) => {
            heads.push("COMMENT".to_owned());
            let cells = |it: &Operation| {
                let own = columns.iter().map(|column| text(it.field(&column.name), column, names));
                own.chain([it.message().to_owned()]).collect()
            };
            operations.iter().map(cells).collect()
        }
    };
    table(out, heads, &cells, width)
}

/// Writes lanes.
pub(super) fn lanes(
    out: &mut dyn Write,
    lanes: &[Lane],
    width: Option<u16>,
) -> std::io::Result<()> {
    let heads = ["NAME", "STATE", "WIDTH", "RUNNING", "WAITING"].map(str::to_owned);
    let cells: Vec<Vec<String>> = lanes
        .iter()
        .map(|lane| {
            let state = match lane.state {
                LaneState::Open => "open",
                LaneState::Paused => "paused",
                LaneState::Draining => "draining",
            };
            let numbers = [lane.width, lane.running, lane.waiting].map(|number| number.to_string());
            [lane.name.clone(), state.to_owned()].into_iter().chain(numbers).collect()
        })
        .collect();
    table(out, heads.to_vec(), &cells, width)
}

/// A column's value for people: in the unit of its column, and what it refers to by its name.
pub(super) fn text(value: Option<Value<'_>>, column: &Column, names: &Names) -> String {
    let referred = value.as_ref().and_then(|value| column.referred(value));
    if let Some(name) = referred.and_then(|id| names.get(&id)) {
        return name.clone();
    }
    let number = match value {
        None => return "—".to_owned(),
        Some(Value::Text(text)) => return text.into_owned(),
        Some(Value::Number(number)) => number,
    };
    match column.holds {
        Quantity::Moment => time(number as i64),
        Quantity::Bytes => bytes(number as u64),
        Quantity::Mib => bytes((number * 1024.0 * 1024.0) as u64),
        Quantity::Percent => format!("{number:.0}%"),
        Quantity::Seconds => format!("{number:.1} s"),
        Quantity::Number | Quantity::Text => number.to_string(),
    }
}

fn time(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(
        |_| "—".to_owned(),
        |at| at.to_zoned(time_zone::here()).strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

fn table(
    out: &mut dyn Write,
    heads: Vec<String>,
    cells: &[Vec<String>],
    width: Option<u16>,
) -> std::io::Result<()> {
    if cells.is_empty() {
        return Ok(());
    }
    let columns = heads.len();
    let mut lines = vec![heads];
    lines.extend(cells.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()));
    let mut widths: Vec<usize> = (0..columns)
        .map(|at| lines.iter().map(|line| line[at].width()).max().unwrap_or_default())
        .collect();
    if let Some(width) = width {
        fit(&mut widths, usize::from(width));
    }
    // Standard output writes every line by itself.
    let mut out = BufWriter::new(out);
    for line in lines {
        let mut text = String::new();
        for (cell, &width) in line.iter().zip(&widths) {
            let cell = cut(cell, width);
            text += &cell;
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + GAP));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    out.flush()
}

/// Takes from the widest columns until they fit.
fn fit(widths: &mut [usize], width: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => return,
        }
    }
}

/// Cuts a text to so many columns of the terminal, with an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or_default();
        if used > width {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rows: &[[&str; 2]], width: Option<u16>) -> String {
        let mut out = Vec::new();
        let heads = ["A", "B"].map(str::to_owned).to_vec();
        let cells: Vec<_> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        table(&mut out, heads, &cells, width).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up_by_what_the_terminal_shows() {
        assert_eq!(
            shown(&[["日本", "x"], ["é", "y\u{1b}[31m"]], None),
            "A     B\n日本  x\né     y\u{fffd}[31m\n"
        );
    }

    #[test]
    fn the_widest_column_gives_way() {
        let text = shown(&[["web-1", "a very long sentence that does not fit"]], Some(24));
        assert_eq!(text.lines().map(UnicodeWidthStr::width).max(), Some(24), "{text}");
        assert!(text.contains("web-1  a very long sent…"), "{text}");
    }
}
