//! One connection's time line.

use super::lines::Line;
use crate::{
    event::{Age, EndReason, TcpState},
    output::{
        duration::{human, human_age},
        text,
    },
    tui::app::App,
    view::history::{History, Step},
};
use jiff::tz::TimeZone;

/// Cells of a whole line beside its bar.
const BESIDE_BAR: u16 = 40;

/// Who, then a line a stay, then how it ended or stands.
pub(super) fn lines(app: &App, width: u16) -> Vec<Line> {
    let theme = app.theme;
    let Some(history) = &app.content.history else {
        return vec![vec![(
            "This connection has ended, too long ago to be remembered. Esc goes back.".to_owned(),
            theme.plain(),
        )]];
    };
    let mut lines = vec![who(app, history), Vec::new()];
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
    lines.push(ending(app, history));
    if is_bounded {
        lines.push(vec![(
            "> and < mark what began before it was watched: it lasted longer, from an earlier time"
                .to_owned(),
            theme.dim(),
        )]);
    }
    lines
}

fn who(app: &App, history: &History) -> Line {
    let theme = app.theme;
    let (local, remote) = text::both(&history.identity.ends);
    let arrow = match history.role {
        crate::connection::lifetime::Role::Client => "→",
        crate::connection::lifetime::Role::Server => "←",
    };
    let owner = history.owner.map_or_else(
        || "owner not known".to_owned(),
        |owner| {
            let evidence = owner.evidence.map_or("holder", |evidence| evidence.name());
            format!("{}/{} by {evidence}", owner.key.pid, owner.name())
        },
    );
    vec![
        (format!("{local} {arrow} {remote}"), theme.strong()),
        (format!("  {}  {owner}", history.role.name()), theme.plain()),
        (
            format!(
                "  cookie {}  netns {}",
                history.identity.id.cookie, history.identity.netns
            ),
            theme.dim(),
        ),
    ]
}

fn stay(app: &App, step: &Step, goes_on: bool, cells: usize) -> Line {
    let theme = app.theme;
    let time = text::wall(step.entered, &app.content.anchor, &TimeZone::system());
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

fn ending(app: &App, history: &History) -> Line {
    let theme = app.theme;
    let life = match history.life {
        Age::Exact(span) => human(span),
        Age::AtLeast(span) => format!("more than {}", human(span)),
    };
    let Some(_) = history.ended else {
        let mut line = vec![(format!("It has lived for {life}."), theme.plain())];
        if let Some(why) = stands(app, history) {
            line.push((format!(" {why}"), theme.warning()));
        }
        return line;
    };
    let why = history.reason.map_or("", EndReason::name);
    let carried = match history.bytes {
        (Some(sent), Some(received)) => format!(" It sent {sent} bytes and received {received}."),
        _ => String::new(),
    };
    let reason = if why.is_empty() {
        String::new()
    } else {
        format!(", {why}")
    };
    vec![(
        format!("It has ended after {life}{reason}.{carried}"),
        theme.plain(),
    )]
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
