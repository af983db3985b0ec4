//! The rules, one a file: each looks at a scene and says what is wrong in it. Their pages are `doctor --explain` and
//! `docs/rules`.

pub mod close_wait_leak;

use super::{Finding, scene::Scene};
use std::fmt::Write as _;

/// One rule.
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

/// Every rule.
pub static ALL: [&Rule; 1] = [&close_wait_leak::RULE];

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
