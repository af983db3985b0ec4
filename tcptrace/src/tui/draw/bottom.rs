//! The last line: what is being asked, what the user is told, or the keys that matter here.

use super::pen::{Pen, width};
use crate::tui::{app::App, keys::Key};
use ratatui::layout::Rect;

/// Draws it.
pub(super) fn footer(app: &App, pen: &mut Pen<'_>, screen: Rect) {
    let theme = app.theme;
    let y = screen.bottom() - 1;
    let room = |x: u16| screen.right().saturating_sub(x);
    if let Some(prompt) = &app.prompt {
        let mut x = pen.put(screen.x, y, screen.width, prompt.question.title(), theme.title());
        // The end of what is written stays in sight.
        let excess = usize::from((width(&prompt.text) + 1).saturating_sub(room(x)));
        let shown: String = prompt.text.chars().skip(excess).collect();
        x = pen.put(x, y, room(x), &shown, theme.strong());
        x = pen.put(x, y, room(x), " ", theme.chosen());
        let (hint, style) = match &prompt.error {
            Some(error) => (error.as_str(), theme.bad()),
            None => (prompt.question.hint(), theme.dim()),
        };
        pen.put(x + 1, y, room(x + 1), hint, style);
        return;
    }
    if let Some(message) = &app.message {
        let style = if message.is_error {
            theme.bad()
        } else {
            theme.good()
        };
        pen.put(screen.x, y, screen.width, &message.text, style);
        return;
    }
    let mut x = screen.x;
    for binding in app.hints() {
        let name = binding
            .keys
            .first()
            .map_or_else(String::new, |key| Key::name(*key));
        if width(&name) + width(binding.short) + 1 > room(x) {
            continue;
        }
        x = pen.put(x, y, room(x), &name, theme.key());
        x = pen.put(x + 1, y, room(x + 1), binding.short, theme.plain()) + 2;
    }
}
