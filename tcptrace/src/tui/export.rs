//! What is seen, as a file: a table with all its rows and columns as CSV, any other view as text.

use super::{
    app::App,
    columns::{Column, Looks, connections, endpoints, findings, processes},
    draw,
    place::Place,
};
use crate::output::csv::quoted;

/// The text, and the extension of its file.
#[must_use]
pub fn text(app: &App) -> (String, &'static str) {
    let content = &app.content;
    let table = match app.stop().place {
        Place::Processes => Some(csv(app, &content.view.processes, &processes::COLUMNS)),
        Place::Connections(_) => Some(csv(app, &content.connections, &connections::COLUMNS)),
        Place::Endpoints => Some(csv(app, &content.endpoints, &endpoints::COLUMNS)),
        Place::Findings => Some(csv(app, &content.findings, &findings::COLUMNS)),
        Place::History(_) | Place::Transitions | Place::Histograms(_) | Place::Help => None,
    };
    table.map_or_else(|| (draw::text_of_lines(app), "txt"), |table| (table, "csv"))
}

fn csv<R>(app: &App, rows: &[R], columns: &[Column<R>]) -> String {
    let looks: Looks<'_> = app.looks();
    let mut text = String::new();
    let titles = columns.iter().map(|column| column.title.to_lowercase());
    push_line(&mut text, titles);
    for row in app.rows() {
        if let Some(row) = rows.get(*row as usize) {
            push_line(
                &mut text,
                columns.iter().map(|column| (column.cell)(row, &looks).text),
            );
        }
    }
    text
}

fn push_line(text: &mut String, fields: impl Iterator<Item = String>) {
    for (number, field) in fields.enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&quoted(&field));
    }
    text.push('\n');
}
