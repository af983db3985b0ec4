//! One connection's time line.

use super::View;
use crate::{
    connection::lifetime::{Lifetime, Role},
    duration::{human, human_age},
    event::{Age, Nanos, ProcessKey, TcpState, known_netns},
    output::{patience, sockets, text, times},
    plural::counted,
    tui::{
        app::App,
        content::{Content, ShownNetwork},
        draw::{Line, wrapped},
        gather::Sources,
    },
    view::{
        connections::Identity,
        history::{self, Step},
    },
};
use jiff::tz::TimeZone;

/// Cells of a whole line beside its bar.
const BESIDE_BAR: u16 = 48;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(in crate::tui) of: Identity,
}

impl View for History {
    fn name(&self) -> &'static str {
        "history"
    }

    fn caption(&self, _: &App) -> String {
        let (local, remote) = text::both(&self.of.endpoints);
        format!("history of {local} and {remote}")
    }

    fn process(&self, app: &App) -> Option<ProcessKey> {
        Some(app.content.history.as_ref()?.owner?.key)
    }

    fn gather(&self, content: &mut Content, sources: &Sources<'_>) {
        let Sources { engine, now, .. } = *sources;
        let of_ended = || {
            let is_it = |lifetime: &&Lifetime| {
                let ended = Identity {
                    id: lifetime.id,
                    netns: lifetime.netns,
                    endpoints: lifetime.endpoints,
                };
                self.of.is(&ended)
            };
            let lifetime = sources.gather.ended().rev().find(is_it)?;
            Some(history::of_ended(engine, lifetime))
        };
        content.history = history::of_living(engine, &self.of, now).or_else(of_ended);
    }

    fn lines(&self, app: &App, width: u16) -> Vec<Line> {
        lines(app, width)
    }
}

/// The endpoints and the owner, a line for each state, then how it ended or what it waits for.
fn lines(app: &App, width: u16) -> Vec<Line> {
    let theme = app.theme;
    let Some(history) = &app.content.history else {
        return vec![vec![(
            "This connection ended too long ago: its history is no longer kept. Esc goes back.".to_owned(),
            theme.plain(),
        )]];
    };
    let mut lines = vec![endpoints(app, history), who(app, history), Vec::new()];
    lines.push(vec![(
        format!("{:<15} {:<11} {:>9}", "ENTERED", "STATE", "DWELL"),
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
        let remark = "> and < mark lower bounds: the state was entered earlier, before tracing began";
        lines.extend(
            wrapped(remark, width, 0)
                .into_iter()
                .map(|line| vec![(line, theme.dim())]),
        );
    }
    lines
}

fn endpoints(app: &App, history: &history::History) -> Line {
    let (local, remote) = text::both(&history.identity.endpoints);
    let arrow = match history.role {
        Role::Client => "→",
        Role::Server => "←",
    };
    vec![
        (format!("{local} {arrow} {remote}"), app.theme.strong()),
        (format!("  {} here", history.role.name()), app.theme.plain()),
    ]
}

fn who(app: &App, history: &history::History) -> Line {
    let owner = history.owner.map_or_else(
        || "owner unknown".to_owned(),
        |owner| {
            let evidence = owner.evidence.map_or("holder", |evidence| evidence.name());
            let shared = match history.sharers {
                0 => String::new(),
                count => format!("; {} have it open too", counted(count, "other process")),
            };
            format!("{}/{}, evidence: {evidence}{shared}", owner.key.pid, owner.name())
        },
    );
    let Identity { id, netns, .. } = history.identity;
    let netns = known_netns(netns).map_or_else(|| "-".to_owned(), |netns| netns.to_string());
    vec![
        (owner, app.theme.plain()),
        (format!("  cookie {}  netns {netns}", id.cookie), app.theme.dim()),
    ]
}

fn stay(app: &App, step: &Step, goes_on: bool, cells: usize) -> Line {
    let theme = app.theme;
    let zone = app.content.zone.clone().unwrap_or(TimeZone::UTC);
    let time = times::wall(step.entered, &app.content.anchor, &zone);
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

fn ending(app: &App, history: &history::History, width: u16) -> Vec<Line> {
    let theme = app.theme;
    let lifetime = match history.total {
        Age::Exact(span) => human(span),
        Age::AtLeast(span) => format!("more than {}", human(span)),
    };
    let paragraph = |text: &str, style| {
        let lines = wrapped(text, width, 0).into_iter();
        lines.map(move |line| vec![(line, style)]).collect::<Vec<Line>>()
    };
    if history.ended.is_none() {
        let mut lines = paragraph(&format!("Open for {lifetime}."), theme.plain());
        if let Some(why) = stands(app, history) {
            lines.extend(paragraph(&why, theme.warning()));
        }
        for (text, is_trouble) in network(app, history) {
            let style = if is_trouble {
                theme.warning()
            } else {
                theme.plain()
            };
            lines.extend(paragraph(&text, style));
        }
        return lines;
    }
    let reason = history.reason.map_or_else(String::new, |reason| {
        format!(", {}", text::end_reason(reason, history.reset_reason.as_deref()))
    });
    let carried = match history.bytes {
        (Some(sent), Some(received)) => format!(" {sent} bytes sent, {received} received."),
        _ => String::new(),
    };
    let retransmitted = history.path.retransmits_total.map_or_else(String::new, |count| {
        format!(" {} retransmitted.", counted(count, "segment"))
    });
    let rtt = history.path.rtt_ns().map_or_else(String::new, |rtt| {
        format!(" Round-trip time {}.", human(Nanos(rtt)))
    });
    paragraph(
        &format!("Ended after {lifetime}{reason}.{carried}{retransmitted}{rtt}"),
        theme.plain(),
    )
}

/// What the network does to it: what that means, and whether the peer is to be waited for; then the evidence.
fn network(app: &App, history: &history::History) -> Vec<(String, bool)> {
    let Identity { id, netns, .. } = history.identity;
    let Some((step, shown)) = history
        .steps
        .last()
        .zip(app.content.network.filter(|shown| shown.cookie == id.cookie))
    else {
        return Vec::new();
    };
    let ShownNetwork {
        state,
        is_orphan,
        network,
        recorded,
        ..
    } = shown;
    // What a snapshot shows of a state that is over explains nothing of this one.
    let is_current = recorded.is_none_or(|read| step.entered <= read);
    let recorded = recorded.map(|read| (as_of(app, read), false));
    let limits = app.content.limits.get(&netns).copied().unwrap_or_default();
    let verdict = patience::sentence(&network, state, is_orphan, &limits)
        .filter(|_| is_current)
        .map(|text| (text, network.is_stuck()));
    let evidence = sockets::network_text(&network);
    let evidence = (!evidence.is_empty()).then_some((evidence, false));
    // Without anything to date, a date says nothing.
    let recorded = recorded.filter(|_| verdict.is_some() || evidence.is_some());
    recorded.into_iter().chain(verdict).chain(evidence).collect()
}

/// When a snapshot of the recording read what follows.
fn as_of(app: &App, read: Nanos) -> String {
    let zone = app.content.zone.clone().unwrap_or(TimeZone::UTC);
    let time = times::wall(read, &app.content.anchor, &zone);
    format!(
        "By the recording's snapshot at {}, {} before:",
        time.strftime("%H:%M:%S"),
        human(app.content.now.since(read))
    )
}

/// What its state means.
fn stands(app: &App, history: &history::History) -> Option<String> {
    let state = history.steps.last()?.state;
    let waiting = app.content.queues.get(&history.identity.id.cookie);
    Some(match state {
        TcpState::CloseWait => match waiting.map(|queue| queue.unread) {
            None => "The peer has closed, the program has not.".to_owned(),
            Some(0) => "The peer has closed; the program has read everything and has not closed.".to_owned(),
            Some(1) => {
                "The peer has closed; the program has not read the end of file: nothing reads this socket."
                    .to_owned()
            }
            Some(bytes) => format!(
                "The peer has closed; {} bytes are unread: the reader has stalled.",
                bytes - 1
            ),
        },
        TcpState::FinWait2 => "The program has closed, the peer has not.".to_owned(),
        TcpState::Established => {
            let queue = waiting?;
            format!("{} bytes unread, {} unacknowledged.", queue.unread, queue.unsent)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::examples::{self, Moment};

    #[test]
    fn evidence_of_a_recording_has_its_time_and_explains_no_later_state() {
        let mut app = examples::app(Moment::Ordinary);
        let mut said = |seconds_ago| {
            let now = app.content.now.0;
            let shown = app.content.network.as_mut().expect("the example has evidence");
            shown.recorded = Some(Nanos(now - Nanos::from_secs(seconds_ago).0));
            let history = app.content.history.clone().expect("the example has a history");
            network(&app, &history)
        };
        let current = said(3);
        let date = &current[0].0;
        assert!(
            date.starts_with("By the recording's snapshot at ") && date.ends_with(", 3.00s before:"),
            "{date}"
        );
        assert!(current[1].0.contains("has not acknowledged"), "{current:?}");
        assert!(current[2].0.contains("7 timeouts"), "{current:?}");
        // The peer had not closed yet.
        let earlier = said(25);
        assert_eq!(earlier.len(), 2, "{earlier:?}");
        assert_eq!(earlier[1], current[2]);
    }
}
