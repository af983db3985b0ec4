//! The lines above the view: who, since when, how fast, what is missing; the tabs; what the view shows.

use super::pen::{Pen, width};
use crate::{
    event::ProcessKey,
    output::{duration::human, json::rfc3339},
    printable::printable,
    stats::key::Named,
    tui::{
        app::{App, Areas},
        columns,
        cursor::RowId,
        place::{Place, Tab},
    },
    view::connections::{Identity, Of},
};
use ratatui::{layout::Rect, style::Style};

/// Two lines, one more where what the process may do does not fit into the first, and one where something is not
/// traced. Returns the line below.
pub(super) fn header(app: &App, pen: &mut Pen<'_>, screen: Rect) -> u16 {
    let view = &app.content.view;
    let theme = app.theme;
    let host = printable(app.content.host.as_bytes());
    let mut first: Vec<(String, Style)> = vec![
        (host.into_owned(), theme.strong()),
        (format!("Linux {}", app.content.kernel), theme.dim()),
        (format!("watched {}", human(view.watched)), theme.plain()),
    ];
    if let Some(play) = &app.content.play {
        let second = rfc3339(play.wall_ns);
        let second = second.split('.').next().unwrap_or_default().replace('T', " ");
        let which = if play.of > 1 {
            format!("recording {}/{} ", play.number, play.of)
        } else {
            String::new()
        };
        let end = if play.is_over { ", at its end" } else { "" };
        first.push((format!("{which}{second}Z ×{}{end}", play.speed), theme.title()));
    }
    if app.is_paused {
        first.push(("PAUSED".to_owned(), theme.chosen()));
    }
    if let Some(memory) = view.share.of_memory() {
        first.push((memory, theme.dim()));
    }
    let held = &app.content.held;
    let taken: usize = first.iter().map(|(text, _)| usize::from(width(text)) + 2).sum();
    let fits = taken + usize::from(width(held)) <= usize::from(screen.width);
    if fits && !held.is_empty() {
        first.push((held.clone(), theme.dim()));
    }
    put_all(pen, screen, screen.y, &first);
    let mut y = screen.y + 1;
    if !fits {
        pen.put(screen.x, y, screen.width, held, theme.dim());
        y += 1;
    }

    let total: u64 = view.counts.iter().sum();
    let mut second: Vec<(String, Style)> = vec![
        (format!("{total} sockets"), theme.strong()),
        (
            // A filter selects sockets; what has changed is of all that are traced.
            format!(
                "{} changes/s{}",
                columns::rate(view.rate),
                if app.filter.is_empty() { "" } else { " of all" }
            ),
            theme.plain(),
        ),
        (
            format!("lost {}", view.lost),
            if view.lost > 0 { theme.bad() } else { theme.good() },
        ),
    ];
    if view.evicted > 0 {
        second.push((format!("evicted {}", view.evicted), theme.bad()));
    }
    if let Some(share) = view.share.of_cpu() {
        second.push((share, theme.plain()));
    }
    if let Some(audit) = &view.audit {
        second.push(match audit.differences {
            0 => ("audit agrees".to_owned(), theme.dim()),
            differences => (
                format!("audit: {differences} of {} differ", audit.compared),
                theme.warning(),
            ),
        });
    }
    put_all(pen, screen, y, &second);
    y += 1;
    let Some(shortfall) = view.shortfalls.first() else {
        return y;
    };
    let more = match view.shortfalls.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    pen.put(
        screen.x,
        y,
        screen.width,
        &format!("not traced{more}: {shortfall}"),
        theme.warning(),
    );
    y + 1
}

fn put_all(pen: &mut Pen<'_>, screen: Rect, y: u16, parts: &[(String, Style)]) {
    let mut x = screen.x;
    for (text, style) in parts {
        if x > screen.x {
            x += 2;
        }
        x = pen.put(x, y, screen.right().saturating_sub(x), text, *style);
    }
}

/// The tabs with their keys. Returns where they are.
pub(super) fn tabs(app: &App, pen: &mut Pen<'_>, screen: Rect, y: u16) -> Vec<(Rect, Tab)> {
    let mut x = screen.x;
    let mut areas = Vec::new();
    for (number, tab) in Tab::ALL.into_iter().enumerate() {
        if number > 0 {
            x += 1;
        }
        let found = app.content.findings.len();
        let name = match tab {
            Tab::Findings if found > 0 => format!("{} {found}", tab.name()),
            _ => tab.name().to_owned(),
        };
        let begin = x;
        let key = format!("{}", number + 1);
        x = pen.put(x, y, screen.right().saturating_sub(x), &key, app.theme.key());
        let style = if app.tab() == Some(tab) {
            app.theme.chosen()
        } else {
            app.theme.plain()
        };
        x = pen.put(x + 1, y, screen.right().saturating_sub(x + 1), &name, style);
        areas.push((Rect::new(begin, y, x - begin, 1), tab));
    }
    areas
}

/// What the view shows: how many, of what, in which order, by which filter.
pub(super) fn caption(app: &App, pen: &mut Pen<'_>, screen: Rect, y: u16, areas: &Areas) {
    let what = match &app.stop().place {
        Place::Processes => counted(app, "process", "processes"),
        Place::Connections(Of::All) => counted(app, "connection", "connections"),
        Place::Connections(of) => format!(
            "{} of {}",
            counted(app, "connection", "connections"),
            name_of(app, *of)
        ),
        Place::Endpoints => counted(app, "endpoint", "endpoints"),
        Place::Findings => format!("{}, worst first", counted(app, "finding", "findings")),
        Place::Transitions => "changes of state, of all connections".to_owned(),
        Place::Histograms(of) => format!("how long states of {} lasted, and last", name_of(app, *of)),
        Place::History(identity) => format!("history of {}", connection(identity)),
        Place::Help => "every key; Esc goes back".to_owned(),
    };
    let mut x = pen.put(screen.x, y, screen.width, &what, app.theme.strong());
    if let (false, Place::Processes | Place::Connections(_) | Place::Endpoints) =
        (app.filter.is_empty(), app.stop().place)
    {
        x = pen.put(
            x,
            y,
            screen.right().saturating_sub(x),
            &format!("  filter: {}", app.filter),
            app.theme.warning(),
        );
    }
    let place = position(app, areas);
    let start = screen.right().saturating_sub(width(&place));
    if start > x {
        pen.put(start, y, width(&place), &place, app.theme.dim());
    }
    if let Some(found) = whose(app).and_then(|process| app.content.worst(Some(process))) {
        let room = start.saturating_sub(x + 4);
        pen.put(x + 2, y, room, &found.title, app.theme.level(found.level));
    }
}

/// The process that is chosen, or whose connections are shown, or whose connection.
fn whose(app: &App) -> Option<ProcessKey> {
    match &app.stop().place {
        Place::Connections(Of::Process(process)) => *process,
        Place::History(_) => Some(app.content.history.as_ref()?.owner?.key),
        Place::Processes => match &app.stop().cursor.chosen {
            Some(RowId::Process(process)) => *process,
            _ => None,
        },
        Place::Connections(Of::All | Of::Endpoint(_))
        | Place::Endpoints
        | Place::Transitions
        | Place::Histograms(_)
        | Place::Findings
        | Place::Help => None,
    }
}

fn counted(app: &App, one: &str, many: &str) -> String {
    match app.rows().len() {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

/// Where among the rows the chosen one is, and which of the lines are seen where they are not all.
fn position(app: &App, areas: &Areas) -> String {
    let stop = app.stop();
    let page = usize::from(areas.rows.height);
    if stop.place.is_table() && !app.rows().is_empty() {
        format!("{}/{}", stop.cursor.at + 1, app.rows().len())
    } else if areas.lines > page {
        let last = (stop.cursor.top + page).min(areas.lines);
        format!("lines {}-{last} of {}, ↓", stop.cursor.top + 1, areas.lines)
    } else {
        String::new()
    }
}

fn connection(identity: &Identity) -> String {
    let (local, remote) = crate::output::text::both(&identity.ends);
    format!("{local} and {remote}")
}

/// Whom it is about, in words.
fn name_of(app: &App, of: Of) -> String {
    match of {
        Of::All => "everybody".to_owned(),
        Of::Process(None) => "no known process".to_owned(),
        Of::Process(Some(key)) => {
            let is_it = |row: &&crate::view::ProcessView| row.key == Some(key);
            let known = app.content.view.processes.iter().find(is_it);
            known.map_or_else(|| key.pid.to_string(), |row| format!("{}/{}", key.pid, row.comm))
        }
        Of::Endpoint(key) => Named { key, comm: [0; 16] }.to_string(),
    }
}
