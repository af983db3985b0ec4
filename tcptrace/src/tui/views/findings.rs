//! The findings, worst first, and the selected one in full.

use super::{View, counted};
use crate::{
    findings::Finding,
    tui::{
        app::App,
        columns::{Cell, Column, ColumnId},
        content::{self, Content},
        cursor::RowId,
        draw::{Line, wrapped},
        route::Tab,
        table::{AnyTable, Table},
    },
    view::connections::Selection,
};
use ratatui::style::Style;

#[derive(Clone, Copy, Debug)]
pub(in crate::tui) struct Findings;

impl View for Findings {
    fn tab(&self) -> Option<Tab> {
        Some(Tab::Findings)
    }

    fn caption(&self, app: &App) -> String {
        let count = counted(app, "finding");
        if app.filter.is_empty() {
            format!("{count}, worst first")
        } else {
            // Rules evaluate all connections.
            format!("{count} on this host, worst first; the filter does not apply")
        }
    }

    fn table(&self) -> Option<&dyn AnyTable> {
        Some(self)
    }
}

impl Table for Findings {
    type Row = Finding;

    fn columns(&self) -> &'static [Column<Finding>] {
        &COLUMNS
    }

    fn sorted_by(&self) -> Option<ColumnId> {
        None
    }

    fn rows<'a>(&self, content: &'a Content) -> &'a [Finding] {
        &content.findings
    }

    fn id(&self, row: &Finding) -> RowId {
        RowId::Finding(row.rule, row.subject.to_string())
    }

    fn selection(&self, row: &Finding) -> Selection {
        content::process_of(row).map_or(Selection::All, |key| Selection::Process(Some(key)))
    }

    fn empty(&self, app: &App) -> Vec<String> {
        let first = if app.content.view.limitations.is_empty() {
            "No findings."
        } else {
            "No findings, but not everything could be seen."
        };
        let then =
            "Findings appear when sockets pile up, stay in a state for too long, or come near a limit.";
        vec![first.to_owned(), then.to_owned()]
    }

    fn detail(&self, row: &Finding, app: &App, width: u16) -> Vec<Line> {
        detail(app, row, width)
    }
}

static COLUMNS: [Column<Finding>; 3] = [
    Column::left(ColumnId::Level, "LEVEL", 8, 0, |row, context| {
        Cell::new(row.level.name(), context.theme.level(row.level))
    }),
    Column::left(ColumnId::Subject, "SUBJECT", 26, 0, |row, context| {
        Cell::new(row.subject.to_string(), context.theme.strong())
    }),
    Column {
        grows: true,
        ..Column::left(ColumnId::Finding, "FINDING", 20, 0, |row, _| {
            Cell::plain(row.title.as_str())
        })
    },
];

fn detail(app: &App, found: &Finding, width: u16) -> Vec<Line> {
    let theme = app.theme;
    let mut lines = vec![vec![
        (format!("{}: ", found.subject), theme.strong()),
        (found.title.clone(), theme.level(found.level)),
    ]];
    for (title, text) in [("what to do", &found.remedy), ("what it means", &found.meaning)] {
        lines.push(vec![(title.to_owned(), theme.title())]);
        lines.extend(paragraph(text, width, theme.plain()));
    }
    lines.push(vec![("evidence".to_owned(), theme.title())]);
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
