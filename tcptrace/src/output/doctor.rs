//! `doctor`: findings, and the settings of each namespace that they are about, as text and as JSON lines.

use super::{duration::human, json};
use crate::{
    event::Nanos,
    findings::{
        Evidence, Finding, Level, Subject,
        scene::{Scene, Space},
        settings::{self, Found},
    },
};
use serde::Serialize;
use std::fmt::Write as _;

/// For people. `remarks` is what of a recording was not read: where there is any, an empty list of findings proves
/// nothing.
#[must_use]
pub fn text(findings: &[Finding], scene: &Scene, lost: u64, remarks: &[String]) -> String {
    let mut text = String::new();
    if scene.watched == Nanos(0) {
        text.push_str("looked once");
    } else {
        let _ = write!(text, "watched {}, lost {lost}", human(scene.watched));
    }
    let _ = match findings.len() {
        0 if !remarks.is_empty() => writeln!(
            text,
            ": nothing was found with {} sockets, and not all of the recording was there to look at",
            scene.sockets.len()
        ),
        0 => writeln!(text, ": nothing is wrong with {} sockets", scene.sockets.len()),
        1 => writeln!(text, ": 1 finding among {} sockets", scene.sockets.len()),
        count => writeln!(text, ": {count} findings among {} sockets", scene.sockets.len()),
    };
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
        let _ = writeln!(text, "  it means: {meaning}\n  what to do: {remedy}");
        let _ = writeln!(text, "  more: tcptrace doctor --explain {rule}");
    }
    for space in shown(findings, scene) {
        settings_of(&mut text, space, findings);
    }
    text
}

/// The namespaces that a finding is about, and the first where there is none.
fn shown<'a>(findings: &[Finding], scene: &'a Scene) -> Vec<&'a Space> {
    let mut about: Vec<u32> = findings
        .iter()
        .filter_map(|finding| netns(&finding.subject))
        .collect();
    if about.is_empty() {
        about.extend(scene.spaces.first().map(|space| space.netns));
    }
    scene
        .spaces
        .iter()
        .filter(|space| about.contains(&space.netns))
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

fn settings_of(text: &mut String, space: &Space, findings: &[Finding]) {
    let name = space
        .name
        .as_deref()
        .map_or_else(String::new, |name| format!(" ({name})"));
    let _ = writeln!(
        text,
        "\nsettings of network namespace {}{name}, below net:",
        space.netns
    );
    let _ = writeln!(
        text,
        "  {:<28} {:<22} {:<14} WHAT IT DOES",
        "SETTING", "HERE", "DEFAULT"
    );
    let all = settings::found(space, findings);
    for Found { setting, value, .. } in &all {
        let value = if value.is_empty() { "-" } else { value };
        let default = setting.default.unwrap_or("by memory");
        let default = if default.is_empty() { "-" } else { default };
        let _ = writeln!(
            text,
            "  {:<28} {value:<22} {default:<14} {}",
            setting.name, setting.does
        );
    }
    let called_for: Vec<&Found> = all.iter().filter(|found| found.advice.is_some()).collect();
    if called_for.is_empty() {
        text.push_str("nothing calls for another value\n");
    }
    for found in called_for {
        if let Some(advice) = found.advice {
            let _ = writeln!(
                text,
                "  net.{}: {}; it costs: {}",
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
    does: &'static str,
    change: Option<&'static str>,
    cost: Option<&'static str>,
}

#[derive(Serialize)]
struct SummaryJson<'a> {
    watched_ns: Nanos,
    sockets: usize,
    findings: usize,
    lost: u64,
    remarks: &'a [String],
}

/// A line for each finding, a line for each setting, and a summary.
#[must_use]
pub fn json(findings: &[Finding], scene: &Scene, lost: u64, remarks: &[String]) -> String {
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
    for space in shown(findings, scene) {
        for found in settings::found(space, findings) {
            text.push_str(&json::line(&SettingJson {
                setting: format!("net.{}", found.setting.name),
                netns: space.netns,
                netns_name: space.name.as_deref(),
                value: &found.value,
                default: found.setting.default,
                is_default: found.is_default,
                does: found.setting.does,
                change: found.advice.map(|advice| advice.change),
                cost: found.advice.map(|advice| advice.cost),
            }));
        }
    }
    text.push_str(&json::line(&Line {
        summary: SummaryJson {
            watched_ns: scene.watched,
            sockets: scene.sockets.len(),
            findings: findings.len(),
            lost,
            remarks,
        },
    }));
    text
}
