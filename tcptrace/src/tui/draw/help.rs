//! Every key, from the table that dispatches them.

use super::lines::Line;
use crate::tui::{
    app::App,
    keys::{BINDINGS, Key, Scope},
};

/// The scopes and what stands above their keys.
const PARTS: [(Scope, &str); 8] = [
    (Scope::Openable, "Rows"),
    (Scope::Opened, "What was opened"),
    (Scope::All, "Everywhere"),
    (Scope::Tables, "Tables"),
    (Scope::Sortable, "Order"),
    (Scope::Histograms, "Histograms"),
    (Scope::Live, "This machine"),
    (Scope::Recordings, "Recordings"),
];

/// A line a binding, under the title of its scope.
pub(super) fn lines(app: &App) -> Vec<Line> {
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
    lines.push(vec![("The mouse".to_owned(), theme.title())]);
    for (what, does) in [
        (
            "click",
            "choose a row, and on the chosen row open it; sort by a title; go to a tab",
        ),
        ("wheel", "rows up and down"),
    ] {
        lines.push(vec![
            (format!("  {what:<16}"), theme.key()),
            (does.to_owned(), theme.plain()),
        ]);
    }
    lines
}
