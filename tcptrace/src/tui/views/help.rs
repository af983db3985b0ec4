//! All keys, from the table that dispatches them.

use super::View;
use crate::tui::{
    app::App,
    draw::Line,
    keys::{BINDINGS, Key, Scope},
};

#[derive(Clone, Copy, Debug)]
pub(in crate::tui) struct Help;

impl View for Help {
    fn caption(&self, _: &App) -> String {
        "all keys; Esc goes back".to_owned()
    }

    fn lines(&self, app: &App, _: u16) -> Vec<Line> {
        lines(app)
    }
}

/// Scopes, and the headings of their keys.
const PARTS: [(Scope, &str); 8] = [
    (Scope::Openable, "Rows"),
    (Scope::Opened, "Opened views"),
    (Scope::All, "Everywhere"),
    (Scope::Tables, "Tables"),
    (Scope::Sortable, "Sorting"),
    (Scope::Histograms, "Histograms"),
    (Scope::Live, "Live"),
    (Scope::Recordings, "Recordings"),
];

fn lines(app: &App) -> Vec<Line> {
    let theme = app.theme;
    let mut lines = Vec::new();
    for (scope, title) in PARTS {
        lines.push(vec![(title.to_owned(), theme.title())]);
        for binding in BINDINGS.iter().filter(|binding| binding.scope == scope) {
            let names: Vec<String> = binding.keys.iter().map(|key| Key::name(*key)).collect();
            lines.push(vec![
                (format!("  {:<16}", names.join(" ")), theme.key()),
                (binding.long.to_owned(), theme.plain()),
            ]);
        }
    }
    lines.push(vec![("Mouse".to_owned(), theme.title())]);
    for (what, does) in [
        (
            "click",
            "select a row, open the selected row, sort by a column, switch to a tab",
        ),
        ("wheel", "scroll"),
    ] {
        lines.push(vec![
            (format!("  {what:<16}"), theme.key()),
            (does.to_owned(), theme.plain()),
        ]);
    }
    lines
}
