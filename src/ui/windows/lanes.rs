//! The lanes: how many operations run at once in each, and whether any may start.

use ratatui::layout::Rect;

use super::window::{Response, Window, WindowKind};
use crate::domain::{Control, Lane, LaneChange, LaneState};
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::model::Model;
use crate::ui::model::layout::window;
use crate::ui::msg::{Cmd, Fetch};
use crate::ui::style::canvas::Canvas;
use crate::ui::style::theme::Role;
use crate::ui::view::columns::lane_state;
use crate::ui::view::hints::{self, KeyHint};

const SCOPE: Scope = Scope::Window("In the lanes");

/// Opens it.
pub const OPEN: Action = Action::Window("lanes");
const PAUSE: Action = Action::Window("lane_pause");
const RESUME: Action = Action::Window("lane_resume");
const DRAIN: Action = Action::Window("lane_drain");
const WIDEN: Action = Action::Window("lane_widen");
const NARROW: Action = Action::Window("lane_narrow");

const ACTIONS: &[ActionRow] = &[
    (OPEN, "lanes", "lanes", "Pause, drain or widen what runs at once.", Scope::Everywhere, 0),
    (PAUSE, "lane_pause", "pause", "Pause the lane, or let it go on.", SCOPE, 0),
    (RESUME, "lane_resume", "resume", "Let the lane go on.", SCOPE, 0),
    (
        DRAIN,
        "lane_drain",
        "drain",
        "Start nothing more in the lane; it is paused once nothing runs.",
        SCOPE,
        0,
    ),
    (WIDEN, "lane_widen", "wider", "Let one more run at once.", SCOPE, 0),
    (NARROW, "lane_narrow", "narrower", "Let one less run at once.", SCOPE, 0),
];

/// The lanes.
pub const KIND: WindowKind = WindowKind {
    actions: ACTIONS,
    open: |_, _, cmds| {
        cmds.push(Cmd::Fetch(Fetch::Lanes));
        Some(Box::new(LanesWindow::default()))
    },
};

/// The lanes.
#[derive(Debug, Default)]
pub struct LanesWindow {
    /// The selected one.
    at: usize,
}

impl Window for LanesWindow {
    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        vec![Scope::Everywhere, SCOPE]
    }

    fn action(&mut self, action: &Action, model: &mut Model, cmds: &mut Vec<Cmd>) -> Response {
        let last = model.lanes.len().saturating_sub(1);
        match *action {
            Action::Up => self.at = self.at.saturating_sub(1),
            Action::Down => self.at = (self.at + 1).min(last),
            Action::Back | Action::Open | Action::Quit | OPEN => return Response::Close,
            _ => {
                let changed = model.lanes.get(self.at).and_then(|lane| change(lane, action));
                if let Some(control) = changed
                    && !model.refuses()
                {
                    cmds.push(Cmd::Control(control));
                }
            }
        }
        Response::Taken
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        let g = canvas.glyphs();
        let height = u16::try_from(model.lanes.len().max(1) + 3).unwrap_or(u16::MAX);
        let inside = canvas.window(window(model.size, 40, height), "Lanes", Role::Focus);
        let x = inside.x + 2;
        let room = inside.width.saturating_sub(3);
        // Narrow enough for the smallest screen.
        let heading = "LANE    STATE      WIDTH RUN WAIT";
        canvas.text(x, inside.y, room, heading, Role::Quiet);
        for ((number, lane), y) in model.lanes.iter().enumerate().zip(inside.y + 1..inside.bottom())
        {
            let (sign, role) = lane_state(&g, lane.state);
            let state = match lane.state {
                LaneState::Open => format!("{sign} open"),
                LaneState::Paused => format!("{sign} paused"),
                LaneState::Draining => format!("{sign} draining"),
            };
            canvas.text(x, y, 7, &lane.name, Role::Text);
            canvas.text(x + 8, y, 10, &state, role);
            for (place, figure) in [(19, lane.width), (23, lane.running), (28, lane.waiting)] {
                let column = room.saturating_sub(place).min(5);
                canvas.text_right(x + place, y, column, &figure.to_string(), Role::Text);
            }
            if number == self.at {
                canvas.restyle(
                    Rect { x: inside.x, y, width: inside.width, height: 1 },
                    Role::Selected,
                );
            }
        }
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        if model.read_only {
            return hints::of(model, &[(&[Action::Back], "close")]);
        }
        let lane = model.lanes.get(self.at).map(|lane| lane.state);
        let turn = if lane == Some(LaneState::Paused) { "resume" } else { "pause" };
        hints::of(
            model,
            &[
                (&[PAUSE], turn),
                (&[DRAIN], "drain"),
                (&[WIDEN, NARROW], "width"),
                (&[Action::Back], "close"),
            ],
        )
    }
}

/// What an action changes about a lane.
fn change(lane: &Lane, action: &Action) -> Option<Control> {
    let change = match *action {
        PAUSE if lane.state == LaneState::Paused => LaneChange::Resume,
        PAUSE => LaneChange::Pause,
        RESUME => LaneChange::Resume,
        DRAIN => LaneChange::Drain,
        WIDEN => LaneChange::Width((lane.width + 1).min(64)),
        NARROW => LaneChange::Width(lane.width.saturating_sub(1).max(1)),
        _ => return None,
    };
    Some(Control::Lane { name: lane.name.clone(), change })
}
