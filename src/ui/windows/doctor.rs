//! What the box can and cannot do, and how to mend it.

use super::scroll;
use super::window::{Response, Window, WindowKind};
use crate::domain::ToolState;
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::model::Model;
use crate::ui::model::layout::full;
use crate::ui::msg::Cmd;
use crate::ui::style::canvas::{Canvas, StyledLine};
use crate::ui::style::text;
use crate::ui::style::theme::{Glyphs, Role, Theme};
use crate::ui::view::hints::{self, KeyHint};

/// Opens it.
pub const OPEN: Action = Action::Window("doctor");

const ACTIONS: &[ActionRow] = &[(
    OPEN,
    "doctor",
    "doctor",
    "Show what this box can and cannot do, and how to mend it.",
    Scope::Everywhere,
    0,
)];

/// The doctor.
pub const KIND: WindowKind =
    WindowKind { actions: ACTIONS, open: |_, _, _| Some(Box::new(Doctor::default())) };

/// What the box can do.
#[derive(Debug, Default)]
pub struct Doctor {
    /// The first line shown.
    at: u16,
}

impl Window for Doctor {
    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        vec![Scope::Everywhere]
    }

    fn action(&mut self, action: &Action, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        // Only their number matters here, and it does not depend on the glyphs.
        let lines = lines(model, Theme::plain().glyphs).len();
        scroll::action(&mut self.at, lines, action, model)
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        scroll::draw(model, "Doctor", &lines(model, canvas.glyphs()), self.at, canvas);
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        hints::of(model, &[(&[Action::Down, Action::Up], "scroll"), (&[Action::Back], "close")])
    }
}

/// What this box can and cannot do.
fn lines(model: &Model, g: Glyphs) -> Vec<StyledLine> {
    let Some(host) = &model.host else {
        return vec![StyledLine::new("the box is being looked at", Role::Quiet)];
    };
    let width = usize::from(full(model.size).width.saturating_sub(6));
    let mut lines = vec![
        StyledLine::new(format!("hostler {} on {}", host.version, host.name), Role::Title),
        StyledLine::new("state in ", Role::Quiet)
            .with(host.state_dir.display().to_string(), Role::Text),
        StyledLine::empty(),
    ];
    match &host.accelerator {
        Some(accelerator) => {
            let (glyph, role) = if accelerator.name == "kvm" {
                (g.good, Role::Good)
            } else {
                (g.dot, Role::Waiting)
            };
            lines.push(StyledLine::new(format!("{glyph} accelerator {}", accelerator.name), role));
            for part in text::wrap(&accelerator.why, width) {
                lines.push(StyledLine::new(format!("  {part}"), Role::Quiet));
            }
        }
        None => lines.push(StyledLine::new("accelerator not known yet", Role::Quiet)),
    }
    lines.push(StyledLine::empty());
    for tool in &host.tools {
        match &tool.state {
            ToolState::Present { version } => lines.push(
                StyledLine::new(format!("{} ", g.good), Role::Good)
                    .with(format!("{:<22} ", tool.name), Role::Text)
                    .with(version.clone(), Role::Quiet),
            ),
            ToolState::Missing { mend } => {
                lines.push(
                    StyledLine::new(format!("{} ", g.bad), Role::Bad)
                        .with(format!("{:<22} ", tool.name), Role::Text)
                        .with("missing", Role::Bad),
                );
                for part in text::wrap(&format!("without it: {}", tool.purpose), width) {
                    lines.push(StyledLine::new(format!("    {part}"), Role::Quiet));
                }
                for part in text::wrap(mend, width) {
                    lines.push(StyledLine::new(format!("    $ {part}"), Role::Key));
                }
            }
        }
    }
    lines
}
