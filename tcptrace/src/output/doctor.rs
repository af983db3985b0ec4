//! `doctor`: findings, and the settings of each namespace that they are about, as text and as JSON lines.

use super::{json, unseen};
use crate::{
    duration::human,
    event::Nanos,
    findings::{
        Evidence, Finding, Level, Subject,
        scene::{Netns, Scene},
        settings::{self, Found},
    },
    plural::counted,
    summary::SCHEMA_VERSION,
    unseen::Unseen,
};
use serde::Serialize;
use std::fmt::Write as _;

/// For people. `remarks` is what of a recording was not read: where there is any, an empty list of findings proves
/// nothing. Settings are those that a finding advises to change, or all.
pub(crate) fn text(
    findings: &[Finding],
    scene: &Scene,
    lost: u64,
    remarks: &[String],
    all_settings: bool,
) -> String {
    let mut text = String::new();
    if scene.watched == Nanos(0) {
        text.push_str("one snapshot");
    } else {
        let _ = write!(text, "watched {}, lost {lost}", human(scene.watched));
    }
    let sockets = counted(scene.asked_for().count(), "socket");
    let _ = match findings.len() {
        0 if !scene.has_matched() => {
            writeln!(text, ": nothing matched, so nothing was checked")
        }
        0 if !remarks.is_empty() => writeln!(
            text,
            ": no findings among {sockets}, but parts of the recording could not be read"
        ),
        0 if !scene.unseen.is_empty() => writeln!(
            text,
            ": no findings among {sockets}, but not everything could be seen"
        ),
        0 if scene.is_recorded => {
            writeln!(text, ": no findings among {sockets}, as far as a recording shows")
        }
        0 => writeln!(text, ": no findings among {sockets}"),
        count => writeln!(text, ": {} among {sockets}", counted(count, "finding")),
    };
    if scene.is_recorded {
        let queues = if scene.sockets.iter().any(|socket| socket.unread.is_some()) {
            ""
        } else {
            "queues, "
        };
        let _ = writeln!(
            text,
            "not checked: {queues}descriptors, settings and counters, which the recording does not contain"
        );
    }
    unseen::push(&mut text, &scene.unseen);
    for remark in remarks {
        let _ = writeln!(text, "not read: {remark}");
    }
    for finding in findings {
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
        let _ = writeln!(text, "\n{level}: {subject}: {title}");
        for Evidence { text: sentence, .. } in evidence {
            let _ = writeln!(text, "  - {sentence}");
        }
        let _ = writeln!(text, "  what it means: {meaning}\n  what to do: {remedy}");
        let _ = writeln!(text, "  more: tcptrace doctor --explain {rule}");
    }
    for namespace in shown(findings, scene) {
        settings_of(&mut text, namespace, findings, all_settings);
    }
    text
}

/// The namespaces that a finding is about, and the first where there is none. Of those that were asked for: the scene has
/// no others.
fn shown<'a>(findings: &[Finding], scene: &'a Scene) -> Vec<&'a Netns> {
    let mut about: Vec<u32> = findings
        .iter()
        .filter_map(|finding| netns(&finding.subject))
        .collect();
    if about.is_empty() {
        about.extend(scene.namespaces.first().map(|namespace| namespace.netns));
    }
    scene
        .namespaces
        .iter()
        .filter(|namespace| about.contains(&namespace.netns))
        .collect()
}

const fn netns(subject: &Subject) -> Option<u32> {
    match subject {
        Subject::Listener { netns, .. }
        | Subject::Destination { netns, .. }
        | Subject::Netns { netns, .. } => Some(*netns),
        Subject::Process { .. } | Subject::Host => None,
    }
}

fn settings_of(text: &mut String, namespace: &Netns, findings: &[Finding], all_settings: bool) {
    let all = settings::found(namespace, findings);
    let advised: Vec<&Found> = all.iter().filter(|found| found.advice.is_some()).collect();
    let shown: Vec<&Found> = if all_settings {
        all.iter().collect()
    } else {
        advised.clone()
    };
    if shown.is_empty() {
        return;
    }
    let name = namespace
        .name
        .as_deref()
        .map_or_else(String::new, |name| format!(" ({name})"));
    let _ = writeln!(
        text,
        "\nsettings of network namespace {}{name}, below net:",
        namespace.netns
    );
    let _ = writeln!(
        text,
        "  {:<28} {:<22} {:<14} WHAT IT DOES",
        "SETTING", "HERE", "DEFAULT"
    );
    for Found { setting, value, .. } in shown {
        let value = if value.is_empty() { "-" } else { value };
        let default = setting.default.unwrap_or("by memory");
        let default = if default.is_empty() { "-" } else { default };
        let _ = writeln!(
            text,
            "  {:<28} {value:<22} {default:<14} {}",
            setting.name, setting.does
        );
    }
    if advised.is_empty() {
        text.push_str("no setting needs changing\n");
    }
    for found in advised {
        if let Some(advice) = found.advice {
            let _ = writeln!(
                text,
                "  net.{}: {}; cost: {}",
                found.setting.name, advice.change, advice.cost
            );
        }
    }
}

#[derive(Serialize)]
struct FindingJson<'a> {
    rule: &'static str,
    level: Level,
    subject: &'a Subject,
    title: &'a str,
    evidence: &'a [Evidence],
    meaning: &'a str,
    remedy: &'a str,
}

#[derive(Serialize)]
struct SettingJson<'a> {
    setting: String,
    netns: u32,
    netns_name: Option<&'a str>,
    value: &'a str,
    default: Option<&'static str>,
    is_default: Option<bool>,
    effect: &'static str,
    change: Option<&'static str>,
    cost: Option<&'static str>,
}

#[derive(Serialize)]
struct SummaryJson<'a> {
    schema_version: u32,
    watched_ns: Nanos,
    sockets: usize,
    matched: bool,
    findings: usize,
    lost: u64,
    remarks: &'a [String],
    unseen: &'a [Unseen],
    recorded: bool,
}

/// A line for each finding, a line for each setting, and a summary.
pub(crate) fn json(findings: &[Finding], scene: &Scene, lost: u64, remarks: &[String]) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        summary: SummaryJson<'a>,
    }
    let mut text = String::new();
    for finding in findings {
        text.push_str(&json::line(&FindingJson {
            rule: finding.rule,
            level: finding.level,
            subject: &finding.subject,
            title: &finding.title,
            evidence: &finding.evidence,
            meaning: &finding.meaning,
            remedy: &finding.remedy,
        }));
    }
    for namespace in shown(findings, scene) {
        for found in settings::found(namespace, findings) {
            text.push_str(&json::line(&SettingJson {
                setting: format!("net.{}", found.setting.name),
                netns: namespace.netns,
                netns_name: namespace.name.as_deref(),
                value: &found.value,
                default: found.setting.default,
                is_default: found.is_default,
                effect: found.setting.does,
                change: found.advice.map(|advice| advice.change),
                cost: found.advice.map(|advice| advice.cost),
            }));
        }
    }
    text.push_str(&json::line(&Line {
        summary: SummaryJson {
            schema_version: SCHEMA_VERSION,
            watched_ns: scene.watched,
            sockets: scene.asked_for().count(),
            matched: scene.has_matched(),
            findings: findings.len(),
            lost,
            remarks,
            unseen: &scene.unseen,
            recorded: scene.is_recorded,
        },
    }));
    text
}
