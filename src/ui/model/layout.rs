//! Where everything stands on a screen of a given size. Pure: `update` needs it for page sizes and
//! mouse clicks, the views for drawing.

use ratatui::layout::Rect;

use crate::ui::model::{Focus, Model, special};
use crate::ui::tab::Tab;

/// The smallest screen that can be used.
pub const SMALLEST: (u16, u16) = (40, 10);

/// From this width on, what is selected is shown beside the list.
const BESIDE_FROM: u16 = 100;

/// How many lines the timeline takes, the one that sets it apart included.
const TIMELINE_ROWS: u16 = 4;

/// How many lines the list keeps, its headings included, where there is a timeline.
const LIST_KEEPS: u16 = 6;

/// The places of the main screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The first line.
    pub header: Rect,
    /// The line of tabs.
    pub tabs: Rect,
    /// The frame around everything below, lines included.
    pub frame: Rect,
    /// The list, within its lines: column headings and rows.
    pub list: Rect,
    /// The next 24 hours of tasks, under their list.
    pub timeline: Option<Rect>,
    /// What is selected, beside the list.
    pub detail: Option<Rect>,
    /// What is in flight, within its lines. May have no rows.
    pub flight: Rect,
    /// The last line.
    pub footer: Rect,
}

impl Layout {
    /// How many rows the list shows.
    #[must_use]
    pub const fn list_rows(&self) -> u16 {
        self.list.height.saturating_sub(1)
    }
}

/// Whether the screen is too small to draw on.
#[must_use]
pub const fn too_small(size: (u16, u16)) -> bool {
    size.0 < SMALLEST.0 || size.1 < SMALLEST.1
}

/// Where everything stands.
#[must_use]
pub fn layout(model: &Model) -> Layout {
    let (width, height) = model.size;
    let line = |y: u16| Rect { x: 0, y: y.min(height), width, height: u16::from(y < height) };
    let body = height.saturating_sub(3);
    let frame = Rect { x: 0, y: 2, width, height: body };
    let flights = u16::try_from(model.flight.operations.len()).unwrap_or(u16::MAX);
    // Three lines of the frame are lines; the list keeps its headings and most of the rest.
    let inner = body.saturating_sub(3);
    let share = if model.focus == Focus::Flight && height < 16 {
        inner.saturating_sub(2)
    } else if height < 14 {
        u16::from(flights > 0).min(inner / 3)
    } else {
        (inner / 3).max(2)
    };
    let flight_rows = flights.min(share);
    let list_rows = inner.saturating_sub(flight_rows);
    let detail_width = (width * 2 / 5).clamp(40, 72);
    let beside = width >= BESIDE_FROM;
    let list_width =
        if beside { width.saturating_sub(detail_width + 3) } else { width.saturating_sub(2) };
    let timeline = has_timeline(model) && list_rows >= LIST_KEEPS + TIMELINE_ROWS;
    let list = Rect { x: 1, y: frame.y + 1, width: list_width, height: list_rows };
    let above = list_rows - if timeline { TIMELINE_ROWS } else { 0 };
    Layout {
        header: line(0),
        tabs: line(1),
        frame,
        list: Rect { height: above, ..list },
        timeline: timeline.then_some(Rect { y: list.y + above, height: TIMELINE_ROWS, ..list }),
        detail: beside.then_some(Rect {
            x: list_width + 2,
            y: frame.y + 1,
            width: detail_width,
            height: list_rows,
        }),
        flight: Rect {
            x: 1,
            y: frame.y + 2 + list_rows,
            width: width.saturating_sub(2),
            height: flight_rows,
        },
        footer: line(height.saturating_sub(1)),
    }
}

/// Whether there is a timeline worth its room: some task exists.
fn has_timeline(model: &Model) -> bool {
    let fires = model.timeline.as_ref().map(|timeline| !timeline.tasks.is_empty());
    model.tab == Tab::Resources(special::TIMELINE)
        && fires.is_some_and(|fires| fires || model.pane().total > 0)
}

/// Where a window of a wished size stands: centred over the lists, as large as there is room.
#[must_use]
pub fn window(size: (u16, u16), width: u16, height: u16) -> Rect {
    let room = Rect { x: 0, y: 1, width: size.0, height: size.1.saturating_sub(2) };
    let (width, height) = (width.min(room.width), height.min(room.height));
    Rect {
        x: room.x + (room.width - width) / 2,
        y: room.y + (room.height - height) / 2,
        width,
        height,
    }
}

/// Where a full window stands: everything but the header and the footer.
#[must_use]
pub fn full(size: (u16, u16)) -> Rect {
    window(size, size.0, size.1)
}
