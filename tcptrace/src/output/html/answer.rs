//! The answer: what was found, who, how sure, what to do; and what the page cannot know.

use crate::{
    duration::human,
    event::Nanos,
    findings::{Evidence, Finding, Level, Subject},
    plural::counted,
    record::run_stats::Ending,
    report::{gatherer::MOST_PROCESSES, page::Host},
};
use maud::{Markup, html};

/// Findings, and messages, that are shown; the others are counted.
const MOST_SHOWN: usize = 40;

/// Findings that are shown in full; the others are opened by a click.
const OPEN: usize = 4;

/// For a row of hosts: `2 critical, 1 note`.
pub(super) fn in_brief(host: &Host) -> String {
    let counts = [Level::Critical, Level::Warning, Level::Note].map(|level| {
        let count = host
            .findings
            .iter()
            .filter(|finding| finding.level == level)
            .count();
        (count, level)
    });
    let words: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, level)| format!("{count} {level}"))
        .collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

pub(super) fn findings(host: &Host, id: &str) -> Markup {
    let findings = &host.findings;
    let heading = format!("{id}-findings");
    html! {
        section.findings aria-labelledby=(heading) {
            h3 id=(heading) { "What was found" }
            @if findings.is_empty() { p.none { (nothing(host)) } } @else { p.note { (sources(host)) } }
            p.note.hidden-findings hidden role="status" {}
            @for (at, finding) in findings.iter().take(MOST_SHOWN).enumerate() { (one(host, finding, id, at < OPEN)) }
            @if findings.len() > MOST_SHOWN { p.note { "and " (counted(findings.len() - MOST_SHOWN, "more finding")) } }
        }
    }
}

/// No more than is known: as `doctor` words it.
fn nothing(host: &Host) -> String {
    let Host { scene, report, .. } = host;
    let sockets = counted(scene.asked_for().count(), "socket");
    if !scene.has_matched() {
        "Nothing matched the filter, so nothing was checked.".to_owned()
    } else if !report.remarks.is_empty() || report.gaps > 0 {
        format!("No findings among {sockets}, but parts of the recording are missing.")
    } else if !scene.unseen.is_empty() {
        format!("No findings among {sockets}, but not everything could be seen.")
    } else if scene.is_recorded {
        format!("No findings among {sockets}, as far as a recording shows.")
    } else {
        format!("No findings among {sockets}.")
    }
}

fn one(host: &Host, finding: &Finding, id: &str, is_open: bool) -> Markup {
    let Finding {
        rule,
        level,
        subject,
        title,
        evidence,
        meaning,
        remedy,
        ..
    } = finding;
    let part = match subject {
        Subject::Process { pid, start_ns, .. } => host.part_of(*pid, *start_ns),
        Subject::Listener { .. } | Subject::Destination { .. } | Subject::Netns { .. } | Subject::Host => {
            None
        }
    };
    let part = part.map(|number| format!("{id}-p{number}"));
    let heading = html! {
        h4 {
            span.level { (mark(*level)) " " (level) } " "
            @if let Some(part) = &part { a.narrow href=(format!("#{part}")) { (subject) } } @else { (subject) }
            ": " (title)
        }
    };
    let content = html! {
        dl {
            dt { "What to do" } dd { (remedy) }
            dt { "What it means" } dd { (meaning) }
            dt { "Evidence" } dd { ul { @for Evidence { text, .. } in evidence { li { (text) } } } }
            @if let Some(certainty) = certainty(subject) { dt { "How sure" } dd { (certainty) } }
            dt { "More" } dd { code { "tcptrace doctor --explain " (rule) } }
        }
    };
    if is_open {
        html! { article.finding.(level.name()) data-part=[part.as_ref()] { (heading) (content) } }
    } else {
        html! {
            details.finding.(level.name()) data-part=[part.as_ref()] { summary { (heading) } (content) }
        }
    }
}

/// A shape for each level, so that the colour is not all.
const fn mark(level: Level) -> &'static str {
    match level {
        Level::Critical => "▲",
        Level::Warning => "◆",
        Level::Note => "●",
    }
}

/// Whether the process is a guess; `None` where the finding is not about one.
const fn certainty(subject: &Subject) -> Option<&'static str> {
    match subject {
        Subject::Process { is_guess: true, .. } => Some(
            "The process is a guess: it owns the listener that the connections came to, and nothing shows that it has them.",
        ),
        Subject::Process { .. } => Some("The kernel's own evidence shows that the process had the sockets."),
        Subject::Listener { .. } | Subject::Destination { .. } | Subject::Netns { .. } | Subject::Host => {
            None
        }
    }
}

/// What all findings are based on.
fn sources(host: &Host) -> String {
    let Host { scene, .. } = host;
    let mut text = if !scene.is_recorded {
        "Queues, descriptors, settings and counters were read from the running kernel."
    } else if scene.networks.is_empty() {
        "From a recording, which has the states and their durations, and no queues, descriptors, settings and counters: why \
         sockets are not closed is less certain than live."
    } else {
        "From a recording, which has the states and their durations, the queues of its last snapshot, and no descriptors, \
         settings and counters: why sockets are not closed is less certain than live."
    }
    .to_owned();
    if !scene.unseen.is_empty() {
        text.push_str(" Not everything could be seen: see below.");
    }
    text
}

/// Everything that is missing or less certain; nothing where nothing is.
pub(super) fn unknowns(host: &Host) -> Markup {
    let list = missing(host);
    let rest = list.len().saturating_sub(MOST_SHOWN);
    if list.is_empty() {
        return html! { p.complete { "Nothing was lost and everything requested was seen." } };
    }
    html! {
        section.unknowns aria-label="What this page cannot know" {
            h3 { "What this page cannot know" }
            ul {
                @for sentence in list.iter().take(MOST_SHOWN) { li { (sentence) } }
                @if rest > 0 { li { "and " (counted(rest, "more message")) } }
            }
        }
    }
}

fn missing(host: &Host) -> Vec<String> {
    let Host { report, scene, .. } = host;
    let mut list = Vec::new();
    if report.view.lost > 0 {
        list.push(format!(
            "{} lost in the kernel: states after a loss are lower bounds",
            counted(report.view.lost, "record")
        ));
    }
    if report.gaps > 0 {
        list.push(format!(
            "the recording has {}; entries known to be missing: {}",
            counted(report.gaps, "gap"),
            report.missing
        ));
    }
    let tally = &report.tally;
    for (count, noun, what) in [
        (
            report.view.evicted,
            "connection",
            "evicted because the table was full",
        ),
        (
            tally.unseen,
            "end",
            "not seen: the socket was missing from a snapshot",
        ),
        (tally.unknown, "event", "of previously unknown sockets"),
        (tally.impossible, "event", "in an impossible order"),
    ] {
        if count > 0 {
            list.push(format!("{} {what}", counted(count, noun)));
        }
    }
    if host.is_folded {
        list.push(format!(
            "there were more than {MOST_PROCESSES} processes: those with the least to see were added up as other processes, \
             and one that was, and was active again later, begins at 0 then"
        ));
    }
    if report.is_filtered {
        list.push("a filter was given: the page shows what it selects and nothing else".to_owned());
    }
    if report.is_whole && report.ending == Ending::Open && !report.is_ended {
        list.push("the recording ends abruptly".to_owned());
    }
    if scene.watched < Nanos::from_secs(10) {
        list.push(format!(
            "only {} were watched: growth needs more",
            human(scene.watched)
        ));
    }
    list.extend(scene.unseen.iter().map(|unseen| match unseen.count {
        Some(count) => format!("not seen: {} ({count})", unseen.text),
        None => format!("not seen: {}", unseen.text),
    }));
    let shown: Vec<String> = scene.unseen.iter().map(|unseen| unseen.text.clone()).collect();
    let limitations = report
        .view
        .limitations
        .iter()
        .filter(|text| !shown.contains(text));
    list.extend(limitations.map(|text| format!("not seen: {text}")));
    list.extend(
        report
            .notes
            .iter()
            .map(|text| format!("while it was recorded: {text}")),
    );
    list.extend(report.remarks.iter().map(|text| format!("not read: {text}")));
    list
}
