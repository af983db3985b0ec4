//! The lines above the view: what is traced, since when, rates, what is missing; the tabs; the view's caption.

use super::pen::{Pen, width};
use crate::{
    duration::human,
    output::json::rfc3339,
    plural,
    printable::printable,
    tui::{
        app::{App, Areas},
        format,
        route::Tab,
    },
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
        (plural::counted(total, "socket"), theme.strong()),
        (
            match view.rate {
                Some(rate) => format!("{} changes/s", format::rate(rate)),
                None => "- changes/s".to_owned(),
            },
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
        let age = view.now.since(audit.started);
        let ago = match age.0 / 1_000_000_000 {
            seconds @ ..60 => format!("{seconds}s"),
            _ => human(age),
        };
        let of = view.audited.map_or_else(String::new, |of| format!(", {of}"));
        second.push(match audit.differences {
            0 if audit.unread_namespaces > 0 => (format!("audit ok {ago} ago{of}, in part"), theme.dim()),
            0 => (format!("audit ok {ago} ago{of}"), theme.dim()),
            differences => (
                format!("audit {ago} ago: {differences} of {} differ{of}", audit.compared),
                theme.warning(),
            ),
        });
    }
    put_all(pen, screen, y, &second);
    y += 1;
    let Some(limitation) = view.limitations.first() else {
        return y;
    };
    let more = match view.limitations.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    pen.put(
        screen.x,
        y,
        screen.width,
        &format!("not seen{more}: {limitation}"),
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
            Tab::Findings if found > 0 => format!("{} {found}", tab.title()),
            _ => tab.title(),
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
    let route = app.current().route;
    let view = route.view();
    let mut x = pen.put(screen.x, y, screen.width, &view.caption(app), app.theme.strong());
    if view.is_filtered() && !app.filter.is_empty() {
        x = pen.put(
            x,
            y,
            screen.right().saturating_sub(x),
            &format!("  filter: {}", app.filter),
            app.theme.warning(),
        );
    }
    let position = position(app, areas);
    let start = screen.right().saturating_sub(width(&position));
    if start > x {
        pen.put(start, y, width(&position), &position, app.theme.dim());
    }
    let process = view.process(app);
    if let Some(found) = app.content.worst(process) {
        let room = start.saturating_sub(x + 4);
        pen.put(x + 2, y, room, &found.title, app.theme.level(found.level));
    }
}

/// Where among the rows the chosen one is, and which of the lines are seen where they are not all.
fn position(app: &App, areas: &Areas) -> String {
    let open = app.current();
    let page = usize::from(areas.rows.height);
    if open.route.view().table().is_some() && !app.rows().is_empty() {
        format!("{}/{}", open.cursor.at + 1, app.rows().len())
    } else if areas.lines > page {
        let last = (open.cursor.top + page).min(areas.lines);
        format!("lines {}-{last} of {}, ↓", open.cursor.top + 1, areas.lines)
    } else {
        String::new()
    }
}
