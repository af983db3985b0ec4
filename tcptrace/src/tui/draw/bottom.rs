//! The last line: a prompt, a message, or the keys of the current view.

use super::pen::{Pen, width};
use crate::tui::{
    app::App,
    keys::{Action, Binding, Key},
};
use ratatui::layout::Rect;

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
    // How to learn more and how to leave are always there.
    let (last, first): (Vec<&Binding>, Vec<&Binding>) = app
        .hints()
        .partition(|binding| matches!(binding.action, Action::Help | Action::Quit));
    let kept: u16 = last.iter().map(|binding| taken(binding)).sum();
    let mut x = screen.x;
    let mut left = screen.width.saturating_sub(kept);
    for binding in first {
        if taken(binding) <= left {
            left -= taken(binding);
            x = hint(app, pen, binding, x, y, screen);
        }
    }
    for binding in last {
        x = hint(app, pen, binding, x, y, screen);
    }
}

/// Cells of a key, its word and the blanks behind.
fn taken(binding: &Binding) -> u16 {
    width(&name(binding)) + width(binding.short) + 3
}

fn name(binding: &Binding) -> String {
    binding
        .keys
        .first()
        .map_or_else(String::new, |key| Key::name(*key))
}

fn hint(app: &App, pen: &mut Pen<'_>, binding: &Binding, x: u16, y: u16, screen: Rect) -> u16 {
    let room = |x: u16| screen.right().saturating_sub(x);
    let x = pen.put(x, y, room(x), &name(binding), app.theme.key());
    pen.put(x + 1, y, room(x + 1), binding.short, app.theme.plain()) + 2
}
