//! What the live view shows of a finding.

use crate::event::ProcessKey;

/// How bad it is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Worth knowing; nothing fails.
    Note,
    /// Something is wrong, and will fail if it goes on.
    Warning,
    /// Connections are being lost, or will be soon.
    Critical,
}

impl Level {
    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The rule that found it.
    pub rule: &'static str,
    /// How bad.
    pub level: Level,
    /// The process that it is about, if it is about one.
    pub process: Option<ProcessKey>,
    /// Whom it is about, in words.
    pub subject: String,
    /// One line that says it.
    pub title: String,
    /// What it rests on, a sentence each.
    pub evidence: Vec<String>,
    /// What it means.
    pub meaning: String,
    /// What to do.
    pub remedy: String,
}
