//! Transitions between states: rates and counts.

use super::View;
use crate::{
    event::TcpState,
    tui::{app::App, draw::Line, format, route::Tab},
};
use ratatui::style::Style;

#[derive(Clone, Copy, Debug)]
pub(in crate::tui) struct Transitions;

impl View for Transitions {
    fn tab(&self) -> Option<Tab> {
        Some(Tab::Transitions)
    }

    fn caption(&self, app: &App) -> String {
        if app.filter.is_empty() {
            "state transitions of all connections".to_owned()
        } else {
            "state transitions of matching connections, since the filter was set".to_owned()
        }
    }

    fn is_filtered(&self) -> bool {
        true
    }

    fn lines(&self, app: &App, width: u16) -> Vec<Line> {
        lines(app, width)
    }
}

/// Columns of the matrix, five characters each.
const SHORT: [(TcpState, &str); TcpState::COUNT] = [
    (TcpState::SynSent, "SYN_S"),
    (TcpState::SynRecv, "SYN_R"),
    (TcpState::Established, "ESTAB"),
    (TcpState::FinWait1, "FIN_1"),
    (TcpState::FinWait2, "FIN_2"),
    (TcpState::Closing, "CLSNG"),
    (TcpState::TimeWait, "TIM_W"),
    (TcpState::CloseWait, "CLO_W"),
    (TcpState::LastAck, "LST_A"),
    (TcpState::Close, "CLOSE"),
    (TcpState::Listen, "LISTN"),
];

/// Cells of the first column.
const NAME: usize = 12;

/// Rates, then counts: side by side where there is room, else one below the other.
fn lines(app: &App, width: u16) -> Vec<Line> {
    let content = &app.content;
    if content.changes.as_flattened().iter().all(|count| *count == 0) {
        let text = "None yet. They appear as soon as a connection is opened or closed.";
        return vec![vec![(text.to_owned(), app.theme.plain())]];
    }
    let rates = matrix(app, "PER SECOND", |old, new| {
        let rate = content.rates[old][new];
        (rate > 0.0 && content.view.rate.is_some()).then(|| format::rate(rate))
    });
    let since = if app.filter.is_empty() {
        "SINCE START"
    } else {
        "SINCE FILTER"
    };
    let counts = matrix(app, since, |old, new| {
        let count = content.changes[old][new];
        (count > 0).then(|| format::count(count))
    });
    let needed = u16::try_from(2 * (NAME + 6 * SHORT.len()) + 3).unwrap_or(u16::MAX);
    if width < needed {
        let blank = vec![Vec::new()];
        return [rates, blank, counts].concat();
    }
    let between = (" ".repeat(3), Style::new());
    rates
        .into_iter()
        .zip(counts)
        .map(|(mut left, right)| {
            left.push(between.clone());
            left.extend(right);
            left
        })
        .collect()
}

fn matrix(app: &App, title: &str, value: impl Fn(usize, usize) -> Option<String>) -> Vec<Line> {
    let theme = app.theme;
    let mut titles = vec![(format!("{title:<NAME$}"), theme.strong())];
    titles.extend(SHORT.map(|(_, short)| (format!("{short:>6}"), theme.title())));
    let mut lines = vec![titles];
    for (old, _) in SHORT {
        let mut line = vec![(format!("{:<NAME$}", old.name()), theme.state(old))];
        for (new, _) in SHORT {
            let cell = value(old.index(), new.index());
            let style = if cell.is_some() {
                theme.state(new)
            } else {
                theme.dim()
            };
            line.push((format!("{:>6}", cell.as_deref().unwrap_or("·")), style));
        }
        lines.push(line);
    }
    lines
}
