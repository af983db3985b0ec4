//! The rules, one per file: each evaluates a scene and returns findings. Their pages are `doctor --explain` and
//! `docs/rules`.

pub mod accept_queue_full;
pub mod close_wait_leak;
pub mod closing_stuck;
pub mod connect_unanswered;
pub mod connections_only_grow;
pub mod dead_peer;
pub mod ephemeral_ports;
pub mod fin_wait1_stuck;
pub mod fin_wait2_peers;
pub mod harmful_settings;
pub mod last_ack_stuck;
pub mod listener_drops;
pub mod orphans;
pub mod peer_not_reading;
pub mod reset_not_closed;
pub mod reset_unread;
pub mod syn_backlog;
pub mod tcp_memory;
pub mod time_wait_makers;
pub mod time_wait_overflow;
mod unacknowledged;
pub mod unnoticed_death;

use super::{Finding, scene::Scene};
use std::fmt::Write as _;

/// A rule: a pure function from a scene to findings, and the texts of its page.
#[derive(Debug)]
pub struct Rule {
    /// Its name in every output, in kebab case.
    pub id: &'static str,
    /// What it looks for, in a few words.
    pub title: &'static str,
    /// When it fires, with its thresholds: Markdown.
    pub fires: &'static str,
    /// What that means: Markdown.
    pub means: &'static str,
    /// What to do, and what not to: Markdown.
    pub remedy: &'static str,
    /// What looks like it and is not: Markdown.
    pub spares: &'static str,
    /// Its findings in a scene, in any order.
    pub check: fn(&Scene) -> Vec<Finding>,
}

/// Every rule, in the order in which they are listed.
pub static ALL: [&Rule; 21] = [
    &close_wait_leak::RULE,
    &reset_not_closed::RULE,
    &connections_only_grow::RULE,
    &dead_peer::RULE,
    &peer_not_reading::RULE,
    &unnoticed_death::RULE,
    &accept_queue_full::RULE,
    &syn_backlog::RULE,
    &listener_drops::RULE,
    &ephemeral_ports::RULE,
    &connect_unanswered::RULE,
    &time_wait_overflow::RULE,
    &time_wait_makers::RULE,
    &tcp_memory::RULE,
    &orphans::RULE,
    &fin_wait1_stuck::RULE,
    &last_ack_stuck::RULE,
    &closing_stuck::RULE,
    &fin_wait2_peers::RULE,
    &reset_unread::RULE,
    &harmful_settings::RULE,
];

/// The rule of an id.
#[must_use]
pub fn named(id: &str) -> Option<&'static Rule> {
    ALL.into_iter().find(|rule| rule.id == id)
}

impl Rule {
    /// Its page, in Markdown.
    #[must_use]
    pub fn page(&self) -> String {
        let mut text = format!("# {}: {}\n", self.id, self.title);
        for (title, body) in [
            ("When it fires", self.fires),
            ("What it means", self.means),
            ("What to do", self.remedy),
            ("What it leaves alone", self.spares),
        ] {
            let _ = write!(text, "\n## {title}\n\n{}\n", body.trim());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, fs, path::Path};

    /// `TCPTRACE_WRITE_DOCS=1` writes them.
    #[test]
    fn the_pages_in_the_documentation_are_those_of_the_rules() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules");
        let expected: BTreeMap<String, String> = ALL
            .iter()
            .map(|rule| (format!("{}.md", rule.id), rule.page()))
            .collect();
        if std::env::var_os("TCPTRACE_WRITE_DOCS").is_some() {
            for (name, page) in &expected {
                fs::write(folder.join(name), page).unwrap();
            }
        }
        let found: BTreeMap<String, String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_rule_has_a_name_of_its_own_and_is_found_by_it() {
        for rule in ALL {
            assert!(std::ptr::eq(named(rule.id).unwrap(), rule), "{}", rule.id);
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(rule.id.chars().all(is_plain), "{}", rule.id);
        }
        assert!(named("no-such-rule").is_none());
    }
}
