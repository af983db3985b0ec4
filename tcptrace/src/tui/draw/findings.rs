//! The findings, and below them the chosen one in full: what to do, what it means, what it rests on.

use super::{
    lines::{Line, wrapped},
    pen::Pen,
    table,
};
use crate::{
    findings::Finding,
    tui::{
        app::{App, Areas},
        columns::Column,
    },
};
use ratatui::{layout::Rect, style::Style};

/// Draws both.
pub(super) fn draw(app: &App, pen: &mut Pen<'_>, body: Rect, columns: &[Column<Finding>], areas: &mut Areas) {
    let chosen = app.rows().get(app.stop().cursor.at);
    let chosen = chosen.and_then(|row| app.content.findings.get(*row as usize));
    let Some(found) = chosen else {
        table::draw(app, pen, body, &app.content.findings, columns, areas);
        return;
    };
    let detail = detail(app, found, body.width);
    let needed = u16::try_from(detail.len() + 1).unwrap_or(u16::MAX);
    let below = needed.min(body.height.saturating_sub(4));
    let list = Rect {
        height: body.height - below,
        ..body
    };
    table::draw(app, pen, list, &app.content.findings, columns, areas);
    for (y, line) in (list.bottom() + 1..body.bottom()).zip(&detail) {
        let mut x = body.x;
        for (text, style) in line {
            x = pen.put(x, y, body.right().saturating_sub(x), text, *style);
        }
    }
}

fn detail(app: &App, found: &Finding, width: u16) -> Vec<Line> {
    let theme = app.theme;
    let mut lines = vec![vec![
        (format!("{}: ", found.subject), theme.strong()),
        (found.title.clone(), theme.level(found.level)),
    ]];
    for (title, text) in [("what to do", &found.remedy), ("it means", &found.meaning)] {
        lines.push(vec![(title.to_owned(), theme.title())]);
        lines.extend(paragraph(text, width, theme.plain()));
    }
    lines.push(vec![("it rests on".to_owned(), theme.title())]);
    for evidence in &found.evidence {
        lines.extend(paragraph(&evidence.text, width, theme.plain()));
    }
    lines
}

fn paragraph(text: &str, width: u16, style: Style) -> Vec<Line> {
    wrapped(text, width, 2)
        .into_iter()
        .map(|line| vec![(line, style)])
        .collect()
}
