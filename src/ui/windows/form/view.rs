//! A form: its fields, what is wrong with them, and what would happen.

use ratatui::layout::Rect;

use crate::domain::{Effect, FieldType, ResourceKind};
use crate::ui::input::action::Action;
use crate::ui::model::Model;
use crate::ui::model::layout::full;
use crate::ui::style::canvas::{Canvas, StyledLine};
use crate::ui::style::text;
use crate::ui::style::theme::Role;
use crate::ui::tab::Tab;
use crate::ui::windows::form::field::{FormField, Pick, Widget};
use crate::ui::windows::form::state::{Form, Purpose};

/// Goes back a page in what would happen.
pub const PREVIEW_BACK: Action = Action::Window("form_page_up");
/// Reads on a page in what would happen.
pub const PREVIEW_ON: Action = Action::Window("form_page_down");

/// Where everything of a form stands, worked out once for a frame.
struct Arrangement {
    /// The window.
    area: Rect,
    /// How wide the names of the fields are.
    label: u16,
    /// What is wrong with it as a whole.
    refusal: Vec<String>,
    /// Its fields that are shown, in order.
    fields: Vec<ArrangedField>,
    /// What would happen.
    preview: Vec<StyledLine>,
}

impl Arrangement {
    /// How many lines there are for what would happen.
    fn below_height(&self) -> u16 {
        let inside = self.area.height.saturating_sub(2);
        let least = u16::try_from(self.fields.len()).unwrap_or(u16::MAX).min(inside);
        let room = inside.saturating_sub(least + 2);
        u16::try_from(self.preview.len()).unwrap_or(u16::MAX).min(room)
    }
}

/// The first line shown of what would happen once it has gone on a page, or back one.
#[must_use]
pub fn page(model: &Model, form: &Form, forward: bool) -> usize {
    let arranged = arrange(model, form);
    // The last line says that there is more.
    let page = usize::from(arranged.below_height()).saturating_sub(1).max(1);
    let last = arranged.preview.len().saturating_sub(page);
    if forward { (form.preview_at + page).min(last) } else { form.preview_at.saturating_sub(page) }
}

/// A field that is shown.
struct ArrangedField {
    /// Its place among the entries.
    place: usize,
    /// How far in its name stands.
    indent: u16,
    /// Its name.
    name: String,
    /// How many lines what is in it takes.
    lines: usize,
    /// What stands below it.
    notes: Vec<(String, Role)>,
}

impl ArrangedField {
    /// How many lines it takes with what stands below it.
    const fn height(&self) -> usize {
        self.lines + self.notes.len()
    }
}

/// Draws it.
pub fn draw(model: &Model, form: &Form, canvas: &mut Canvas<'_>) {
    let mut arranged = arrange(model, form);
    let area = arranged.area;
    let inside = canvas.window(area, &title(model, form), Role::Focus);
    let x = inside.x + 1;
    let width = inside.width.saturating_sub(2);

    let below_height = arranged.below_height();
    let below = std::mem::take(&mut arranged.preview);
    let fields = Rect {
        x,
        y: inside.y,
        width,
        height: inside.height.saturating_sub(below_height + u16::from(below_height > 0)),
    };
    let picker = draw_fields(model, form, canvas, fields, &arranged);
    let y = inside.bottom() - below_height;
    // A list of choices that reaches over it would leave pieces of it in sight.
    let is_covered = picker.is_some_and(|(pick, room)| picker_area(pick, room).bottom() >= y);
    if below_height > 0 && !is_covered {
        canvas.horizontal(x, y - 1, width, Role::Border);
        let page = usize::from(below_height);
        let shown = if below.len() > page { page - 1 } else { page };
        let from = form.preview_at.min(below.len().saturating_sub(shown));
        for (line, y) in below.iter().skip(from).take(shown).zip(y..inside.bottom()) {
            canvas.line(x, y, width, line);
        }
        if below.len() > page {
            let more = canvas.glyphs().more;
            let key = |action| model.keymap.key(&action).unwrap_or_default();
            let told = match below.len() - from - shown {
                0 => format!("{more} {}: the lines before", key(PREVIEW_BACK)),
                left => format!("{more} {left} more lines: {}", key(PREVIEW_ON)),
            };
            canvas.text(x, inside.bottom() - 1, width, &told, Role::Quiet);
        }
    }
    if let Some((pick, room)) = picker {
        let wrong = form.entries.get(form.at).and_then(|entry| entry.error.as_deref());
        draw_picker(pick, wrong, canvas, room);
    }
    let told = match (form.sending, form.leaving) {
        (true, _) => Some((" queueing ", Role::Waiting)),
        (false, true) => Some((" changes are not kept: esc again closes ", Role::Warning)),
        (false, false) => None,
    };
    if let Some((told, role)) = told {
        canvas.text(area.x + 2, area.bottom() - 1, area.width.saturating_sub(3), told, role);
    }
}

/// What stands over it: what is done, and to what.
fn title(model: &Model, form: &Form) -> String {
    let what = &form.spec.title;
    let of = form.spec.resource.map_or("", |of| &*of.spec().one);
    if let Some(owner) = &form.owner {
        return match form.things().as_slice() {
            [only] => format!("{what} · {only} of {}", owner.name),
            _ => format!("{what} · {of} of {}", owner.name),
        };
    }
    match &form.purpose {
        Purpose::New if what.to_lowercase().contains(&of.to_lowercase()) => what.to_string(),
        Purpose::New => format!("{what} · {of}"),
        Purpose::Relaunch { uid, .. } => match model.flight.get(*uid) {
            Some(operation) => {
                format!("{what} {} · relaunch {uid}", crate::ui::view::in_flight::about(operation))
            }
            None => format!("{what} · relaunch {uid}"),
        },
        Purpose::Many { things, .. } => format!("{what} · {} {of}s", things.len()),
    }
}

/// Works out where it stands. Its upper edge stays where it is while what it says grows and
/// shrinks, and it is only as high as that takes.
fn arrange(model: &Model, form: &Form) -> Arrangement {
    const WIDEST: u16 = 84;
    /// Enough to open a list of choices in.
    const LEAST: usize = 10;
    let whole = full(model.size);
    // A little of what is behind stays in sight, where there is room for that.
    let width = if whole.width > 60 { (whole.width - 4).min(WIDEST) } else { whole.width };
    let inner = width.saturating_sub(4);
    let (label, fields) = fields(form, inner);
    let refusal = refusal_lines(form, inner);
    let preview = preview(form, inner);
    let lines: usize = fields.iter().map(|field| field.lines).sum();
    let notes: usize = fields.iter().map(|field| field.notes.len()).sum();
    // Notes of up to three lines come and go as the keys move from field to field.
    let wanted = lines + notes.max(3) + refusal.len() + preview.len().max(3) + 3;
    // The tabs stay in sight, where there is room for that.
    let tabs = u16::from(whole.height > 16);
    let most = whole.height - tabs;
    let height = u16::try_from(wanted.max(LEAST)).unwrap_or(u16::MAX).min(most);
    let above = tabs + (most - height).min(most / 8);
    let x = whole.x + (whole.width - width) / 2;
    let area = Rect { x, y: whole.y + above, width, height };
    Arrangement { area, label, refusal, fields, preview }
}

/// The fields that are shown in a window so wide within, and how wide their names are.
fn fields(form: &Form, width: u16) -> (u16, Vec<ArrangedField>) {
    let rows: Vec<usize> = form.rows().collect();
    let labels: Vec<(usize, String)> = rows.iter().map(|place| form.label(*place)).collect();
    let widest = labels.iter().map(|(indent, name)| indent + text::width(name)).max();
    let label = u16::try_from(widest.unwrap_or(8).clamp(6, 14)).unwrap_or(8);
    let arranged = |(&place, (indent, name)): (&usize, (usize, String))| ArrangedField {
        place,
        indent: u16::try_from(indent).unwrap_or(0).min(label),
        name,
        lines: lines(&form.entries[place]),
        notes: notes_below(form, place, width.saturating_sub(label + 5)),
    };
    let fields = rows.iter().zip(labels).map(arranged).collect();
    (label, fields)
}

/// What is wrong with it as a whole.
fn refusal_lines(form: &Form, width: u16) -> Vec<String> {
    const MOST: usize = 3;
    let lines = form.refusal.iter().flat_map(|told| text::wrap(told, usize::from(width.max(8))));
    lines.take(MOST).collect()
}

/// How many lines what is in a field takes.
const fn lines(entry: &FormField) -> usize {
    match &entry.widget {
        Widget::Lines { lines, .. } => lines.len(),
        _ => 1,
    }
}

/// What stands below a field: what is wrong with it, or what it is, while it has the keys.
fn notes_below(form: &Form, place: usize, width: u16) -> Vec<(String, Role)> {
    /// Nothing worth saying about a field is longer.
    const MOST: usize = 3;
    let entry = &form.entries[place];
    let (note, role) = match &entry.error {
        Some(error) => (error.as_str(), Role::Bad),
        None if place == form.at => (entry.field.doc.as_ref(), Role::Quiet),
        None => return Vec::new(),
    };
    let lines = text::wrap(note, usize::from(width));
    lines.into_iter().take(MOST).map(|line| (line, role)).collect()
}

/// Draws the fields. Returns the list to choose from that is open, and the room it has: it goes
/// over what stands below.
fn draw_fields<'a>(
    model: &Model,
    form: &'a Form,
    canvas: &mut Canvas<'_>,
    area: Rect,
    arranged: &Arrangement,
) -> Option<(&'a Pick, Rect)> {
    let (fields, label) = (&arranged.fields, arranged.label);
    let here = fields.iter().position(|field| field.place == form.at).unwrap_or(0);
    let mut y = area.y;
    for line in &arranged.refusal {
        canvas.text(area.x, y, area.width, line, Role::Bad);
        y += 1;
    }
    // As many fields before the one with the keys as leave it in sight.
    let room = usize::from(area.bottom().saturating_sub(y));
    let mut from = here;
    let mut used = fields.get(here).map_or(0, ArrangedField::height);
    for (at, field) in fields.iter().enumerate().take(here).rev() {
        used += field.height();
        if used > room {
            break;
        }
        from = at;
    }
    let (mut picker, mut drawn) = (None, 0);
    for field in fields.iter().skip(from) {
        if y >= area.bottom() {
            break;
        }
        drawn += 1;
        let entry = &form.entries[field.place];
        let active = field.place == form.at;
        let role = if active { Role::Title } else { Role::Quiet };
        let cursor = if active { canvas.glyphs().cursor } else { " " };
        canvas.text(area.x, y, 1, cursor, Role::Key);
        let star = if entry.field.required && !form.is_item(entry) { "*" } else { "" };
        let (indent, name) = (field.indent, &field.name);
        let room = label + 1 - indent;
        canvas.text(area.x + 2 + indent, y, room, &format!("{name}{star}"), role);
        let x = area.x + label + 5;
        let width = area.right().saturating_sub(x);
        let at = Rect { x, y, width, height: 1 };
        let lines = match entry.widget {
            Widget::Items => draw_items(form, entry, active, canvas, at),
            Widget::Pick(ref pick) => draw_pick(model, entry, pick, active, canvas, at),
            _ => draw_value(entry, active, canvas, at, area.bottom()),
        };
        if active
            && let Widget::Pick(pick) = &entry.widget
            && pick.search.is_some()
        {
            // It may reach over what would happen, down to the window's last line.
            let bottom = canvas.area().bottom().saturating_sub(2);
            let y = y + 1;
            picker = Some((pick, Rect { x, y, width, height: bottom.saturating_sub(y) }));
        }
        y += lines;
        for (note, role) in &field.notes {
            if y < area.bottom() {
                canvas.text(x, y, width, note, *role);
                y += 1;
            }
        }
    }
    canvas.shown(arranged.area, from, drawn, fields.len());
    picker
}

/// Draws what is in a field. Returns how many lines it took.
fn draw_value(
    entry: &FormField,
    active: bool,
    canvas: &mut Canvas<'_>,
    at: Rect,
    bottom: u16,
) -> u16 {
    let g = canvas.glyphs();
    match &entry.widget {
        Widget::Line(input) => {
            let unit = match &entry.field.of {
                FieldType::Integer { min, max, unit } => format!("{unit}  {min}–{max}"),
                FieldType::Every { min, max } => format!("*, {min}–{max}"),
                _ => String::new(),
            };
            let short =
                matches!(entry.field.of, FieldType::Integer { .. } | FieldType::Every { .. });
            let width = if short { at.width.min(12) } else { at.width.min(60) };
            if active {
                canvas.input(at.x, at.y, width, input, false);
                if entry.selected {
                    let typed = text::columns(input.value()).min(width.saturating_sub(1));
                    canvas.restyle(Rect { width: typed, ..at }, Role::Selected);
                }
                if let Some(path) = entry.paths.first() {
                    let typed = u16::try_from(text::width(input.value())).unwrap_or(0);
                    let rest = path.strip_prefix(input.value()).unwrap_or_default();
                    let more = match entry.paths.len() {
                        1 => rest.to_owned(),
                        number => format!("{rest}  ({number}; tab completes)"),
                    };
                    let room = at.width.saturating_sub(typed);
                    canvas.text(at.x + typed, at.y, room, &more, Role::Quiet);
                }
            } else {
                canvas.text(at.x, at.y, width, input.value(), Role::Text);
            }
            if short {
                canvas.text(
                    at.x + width + 1,
                    at.y,
                    at.width.saturating_sub(width + 1),
                    &unit,
                    Role::Quiet,
                );
            }
        }
        Widget::Secret { input, shown } => {
            let width = at.width.min(40);
            if active {
                canvas.input(at.x, at.y, width, input, !shown);
            } else {
                let masked = g.secret.repeat(input.value().chars().count());
                canvas.text(at.x, at.y, width, &masked, Role::Text);
            }
        }
        Widget::Flag(flag) => {
            let shown = if *flag { "[x] yes" } else { "[ ] no" };
            canvas.text(at.x, at.y, at.width, shown, if active { Role::Input } else { Role::Text });
        }
        Widget::Lines { lines, at: here } => {
            let room = bottom.saturating_sub(at.y);
            for ((number, line), y) in lines.iter().enumerate().zip(at.y..at.y + room) {
                if active && number == *here {
                    canvas.input(at.x, y, at.width, line, false);
                } else {
                    canvas.text(at.x, y, at.width, line.value(), Role::Text);
                }
            }
            return u16::try_from(lines.len()).unwrap_or(room).min(room);
        }
        Widget::Nested => return 0,
        Widget::Pick(_) | Widget::Group | Widget::Items => {}
    }
    1
}

/// Draws what a list has, in its own line. Returns how many lines it took.
fn draw_items(
    form: &Form,
    entry: &FormField,
    active: bool,
    canvas: &mut Canvas<'_>,
    at: Rect,
) -> u16 {
    let told = match form.items(&entry.path) {
        0 => "none; space adds one".to_owned(),
        1 => "1 item".to_owned(),
        number => format!("{number} items"),
    };
    let role = if active { Role::Input } else { Role::Quiet };
    canvas.text(at.x, at.y, at.width, &told, role);
    1
}

/// Draws what is chosen, in its own line. Returns how many lines it took.
fn draw_pick(
    model: &Model,
    entry: &FormField,
    pick: &Pick,
    active: bool,
    canvas: &mut Canvas<'_>,
    at: Rect,
) -> u16 {
    if let Some(search) = pick.search.as_ref().filter(|_| active) {
        canvas.input(at.x, at.y, at.width.min(40), search, false);
        return 1;
    }
    let Some(chosen) = &pick.chosen else {
        let told = match (&pick.live, pick.options.is_empty()) {
            (Some((of, _)), true) => nothing_to_choose(model, *of),
            _ if entry.field.required => "enter opens the list; or type".to_owned(),
            _ => "none; space opens the list".to_owned(),
        };
        let role = if active { Role::Input } else { Role::Quiet };
        canvas.text(at.x, at.y, at.width, &told, role);
        return 1;
    };
    let shown = if active { format!("‹ {} ›", chosen.label) } else { chosen.label.clone() };
    let role = if active { Role::Input } else { Role::Text };
    let end = canvas.text(at.x, at.y, at.width, &shown, role);
    let room = at.right().saturating_sub(end + 2);
    canvas.text(end + 2, at.y, room, &chosen.note, Role::Quiet);
    1
}

/// That there is nothing to choose, and which keys make something.
fn nothing_to_choose(model: &Model, of: ResourceKind) -> String {
    let one = &of.spec().one;
    let makes = model.catalogue.iter().find_map(|spec| {
        let is_it = spec.resource == Some(of) && spec.effect == Effect::Creates;
        is_it.then(|| model.keymap.key(&Action::Do(spec.kind.to_string())))?
    });
    let tab = model.keymap.key(&Action::Tab(Tab::Resources(of)));
    match tab.zip(makes) {
        Some((tab, key)) => format!("no {one} to choose: esc {tab} {key} makes one"),
        None => format!("no {one} to choose"),
    }
}

/// Where what matches stands in that room.
fn picker_area(pick: &Pick, room: Rect) -> Rect {
    const HIGHEST: u16 = 12;
    let number = u16::try_from(pick.matches.len().max(1)).unwrap_or(u16::MAX);
    Rect { height: number.saturating_add(2).min(room.height).min(HIGHEST), ..room }
}

/// Draws what matches below the field being searched in.
fn draw_picker(pick: &Pick, wrong: Option<&str>, canvas: &mut Canvas<'_>, room: Rect) {
    let area = picker_area(pick, room);
    if area.height < 3 {
        return;
    }
    let inside = canvas.pane(area, Role::Focus);
    let from = (pick.at + 1).saturating_sub(usize::from(inside.height));
    canvas.shown(area, from, inside.height.into(), pick.matches.len());
    for ((number, option), y) in
        pick.matches.iter().enumerate().skip(from).zip(inside.y..inside.bottom())
    {
        let width = (inside.width / 2).max(12).min(inside.width);
        canvas.text(inside.x + 1, y, width.saturating_sub(2), &option.label, Role::Text);
        let note = inside.x + width;
        canvas.text(note, y, inside.right().saturating_sub(note), &option.note, Role::Quiet);
        if number == pick.at {
            canvas.restyle(Rect { y, height: 1, ..inside }, Role::Selected);
        }
    }
    if pick.matches.is_empty() {
        let (told, role) = wrong.map_or(("nothing matches", Role::Quiet), |why| (why, Role::Bad));
        canvas.text(inside.x + 1, inside.y, inside.width.saturating_sub(1), told, role);
    }
}

/// What would happen.
fn preview(form: &Form, width: u16) -> Vec<StyledLine> {
    let room = usize::from(width).max(8);
    let mut lines = Vec::new();
    // What is refused does none of what it would do. What is wrong was left out of it, and nothing
    // of it depends on a secret.
    let is_wrong =
        form.entries.iter().any(|entry| entry.error.is_some() && !entry.field.is_secret());
    let preview = form.preview.as_ref().filter(|_| !is_wrong);
    let allowed = preview.filter(|preview| preview.refusal.is_none());
    let preview = allowed.cloned().unwrap_or_default();
    for effect in &preview.effects {
        lines.extend(text::wrap(effect, room).into_iter().map(|l| StyledLine::new(l, Role::Text)));
    }
    if let Some(space) = preview.space {
        lines.push(StyledLine::new("takes ", Role::Quiet).with(text::bytes(space), Role::Text));
    }
    for command in &preview.commands {
        for (number, part) in text::wrap(command, room.saturating_sub(2)).into_iter().enumerate() {
            let mark = if number == 0 { "$ " } else { "  " };
            lines.push(StyledLine::new(format!("{mark}{part}"), Role::Quiet));
        }
    }
    if lines.is_empty() {
        return text::wrap(&form.spec.doc, room)
            .into_iter()
            .map(|l| StyledLine::new(l, Role::Quiet))
            .collect();
    }
    lines
}
