//! One connection's time line.

use super::lines::{Line, wrapped};
use crate::{
    connection::lifetime::Role,
    event::{Age, TcpState},
    output::{
        duration::{human, human_age},
        text,
    },
    tui::app::App,
    view::{
        connections::Identity,
        history::{History, Step},
    },
};
use jiff::tz::TimeZone;

/// Cells of a whole line beside its bar.
const BESIDE_BAR: u16 = 48;

/// Who, then a line a stay, then how it ended or stands.
pub(super) fn lines(app: &App, width: u16) -> Vec<Line> {
    let theme = app.theme;
    let Some(history) = &app.content.history else {
        return vec![vec![(
            "This connection has ended, too long ago to be remembered. Esc goes back.".to_owned(),
            theme.plain(),
        )]];
    };
    let mut lines = vec![ends(app, history), who(app, history), Vec::new()];
    lines.push(vec![(
        format!("{:<15} {:<11} {:>9}", "ENTERED", "STATE", "FOR"),
        theme.title(),
    )]);
    let most = history
        .steps
        .iter()
        .map(|step| step.stay.span().0)
        .max()
        .unwrap_or(0);
    let room = u64::from(width.saturating_sub(BESIDE_BAR));
    let last = history.steps.len().saturating_sub(1);
    let mut is_bounded = false;
    for (number, step) in history.steps.iter().enumerate() {
        let goes_on = history.ended.is_none() && number == last;
        // What follows from a lower bound is one itself: it was entered at this time or before.
        is_bounded |= history.steps[number..].iter().any(|later| !later.stay.is_exact());
        let cells = u128::from(step.stay.span().0) * u128::from(room) / u128::from(most.max(1));
        lines.push(stay(app, step, goes_on, usize::try_from(cells).unwrap_or(0)));
    }
    lines.push(Vec::new());
    lines.extend(ending(app, history, width));
    if is_bounded {
        let remark = "> and < mark what began before it was watched: it lasted longer, from an earlier time";
        lines.extend(
            wrapped(remark, width, 0)
                .into_iter()
                .map(|line| vec![(line, theme.dim())]),
        );
    }
    lines
}

fn ends(app: &App, history: &History) -> Line {
    let (local, remote) = text::both(&history.identity.ends);
    let arrow = match history.role {
        Role::Client => "→",
        Role::Server => "←",
    };
    vec![
        (format!("{local} {arrow} {remote}"), app.theme.strong()),
        (format!("  {} here", history.role.name()), app.theme.plain()),
    ]
}

fn who(app: &App, history: &History) -> Line {
    let owner = history.owner.map_or_else(
        || "owner not known".to_owned(),
        |owner| {
            let evidence = owner.evidence.map_or("holder", |evidence| evidence.name());
            format!("{}/{}, known by {evidence}", owner.key.pid, owner.name())
        },
    );
    let Identity { id, netns, .. } = history.identity;
    vec![
        (owner, app.theme.plain()),
        (format!("  cookie {}  netns {netns}", id.cookie), app.theme.dim()),
    ]
}

fn stay(app: &App, step: &Step, goes_on: bool, cells: usize) -> Line {
    let theme = app.theme;
    let zone = app.content.zone.clone().unwrap_or(TimeZone::UTC);
    let time = text::wall(step.entered, &app.content.anchor, &zone);
    let before = if step.stay.is_exact() { ' ' } else { '<' };
    let mark = if goes_on { "░" } else { "█" };
    vec![
        (format!("{before}{} ", time.strftime("%H:%M:%S%.5f")), theme.dim()),
        (format!("{:<11}", step.state.name()), theme.state(step.state)),
        (format!(" {:>9} ", human_age(step.stay)), theme.strong()),
        (mark.repeat(cells.max(1)), theme.state(step.state)),
        (
            if goes_on {
                " still".to_owned()
            } else {
                String::new()
            },
            theme.plain(),
        ),
    ]
}

fn ending(app: &App, history: &History, width: u16) -> Vec<Line> {
    let theme = app.theme;
    let life = match history.life {
        Age::Exact(span) => human(span),
        Age::AtLeast(span) => format!("more than {}", human(span)),
    };
    let paragraph = |text: &str, style| {
        let lines = wrapped(text, width, 0).into_iter();
        lines.map(move |line| vec![(line, style)]).collect::<Vec<Line>>()
    };
    if history.ended.is_none() {
        let mut lines = paragraph(&format!("It has lived for {life}."), theme.plain());
        if let Some(why) = stands(app, history) {
            lines.extend(paragraph(&why, theme.warning()));
        }
        return lines;
    }
    let reason = history
        .reason
        .map_or_else(String::new, |reason| format!(", {}", reason.name()));
    let carried = match history.bytes {
        (Some(sent), Some(received)) => format!(" It sent {sent} bytes and received {received}."),
        _ => String::new(),
    };
    paragraph(
        &format!("It has ended after {life}{reason}.{carried}"),
        theme.plain(),
    )
}

/// What the state that it is in says.
fn stands(app: &App, history: &History) -> Option<String> {
    let state = history.steps.last()?.state;
    let waiting = app.content.queues.get(&history.identity.id.cookie);
    Some(match state {
        TcpState::CloseWait => match waiting.map(|queue| queue.unread) {
            None => "Its peer has closed, the program has not.".to_owned(),
            Some(0) => "Its peer has closed; the program has read everything and has not closed.".to_owned(),
            Some(1) => {
                "Its peer has closed; the program has not read the end of file: nobody reads this socket."
                    .to_owned()
            }
            Some(bytes) => format!(
                "Its peer has closed; {} bytes wait unread: its reader has stalled.",
                bytes - 1
            ),
        },
        TcpState::FinWait2 => "The program has closed, its peer has not.".to_owned(),
        TcpState::Established => {
            let queue = waiting?;
            format!(
                "{} bytes wait unread, {} not acknowledged.",
                queue.unread, queue.unsent
            )
        }
        _ => return None,
    })
}
