//! Where the user is: a view, and of what.

use super::keys::Scope;
use crate::view::connections::{Identity, Of};

/// The six views that have a key each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are their titles")]
pub enum Tab {
    Processes,
    Connections,
    Endpoints,
    Transitions,
    Histograms,
    Findings,
}

impl Tab {
    /// All, in the order of their keys.
    pub const ALL: [Self; 6] = [
        Self::Processes,
        Self::Connections,
        Self::Endpoints,
        Self::Transitions,
        Self::Histograms,
        Self::Findings,
    ];

    /// Its title.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processes => "Processes",
            Self::Connections => "Connections",
            Self::Endpoints => "Endpoints",
            Self::Transitions => "Transitions",
            Self::Histograms => "Histograms",
            Self::Findings => "Findings",
        }
    }
}

/// One view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A row a process.
    Processes,
    /// A row a connection.
    Connections(Of),
    /// One connection's time line.
    History(Identity),
    /// A row an endpoint.
    Endpoints,
    /// Changes from each state to each other.
    Transitions,
    /// How long states last.
    Histograms(Of),
    /// What is wrong.
    Findings,
    /// Every key.
    Help,
}

impl Place {
    /// The tab that it is under; a history and the help are under none.
    #[must_use]
    pub const fn tab(&self) -> Option<Tab> {
        match self {
            Self::Processes => Some(Tab::Processes),
            Self::Connections(_) => Some(Tab::Connections),
            Self::Endpoints => Some(Tab::Endpoints),
            Self::Transitions => Some(Tab::Transitions),
            Self::Histograms(_) => Some(Tab::Histograms),
            Self::Findings => Some(Tab::Findings),
            Self::History(_) | Self::Help => None,
        }
    }

    /// Whether it has rows to choose from.
    #[must_use]
    pub const fn is_table(&self) -> bool {
        match self {
            Self::Processes | Self::Connections(_) | Self::Endpoints | Self::Findings => true,
            Self::History(_) | Self::Transitions | Self::Histograms(_) | Self::Help => false,
        }
    }

    /// Whether a binding of this scope holds here, as far as that depends on the view.
    #[must_use]
    pub const fn has(&self, scope: Scope) -> bool {
        match scope {
            Scope::All => true,
            Scope::Tables | Scope::Openable => self.is_table(),
            Scope::Sortable => matches!(self, Self::Processes | Self::Connections(_) | Self::Endpoints),
            Scope::Histograms => matches!(self, Self::Histograms(_)),
            Scope::Opened | Scope::Recordings | Scope::Live => false,
        }
    }

    /// A word for file names.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Connections(_) => "connections",
            Self::History(_) => "history",
            Self::Endpoints => "endpoints",
            Self::Transitions => "transitions",
            Self::Histograms(_) => "histograms",
            Self::Findings => "findings",
            Self::Help => "help",
        }
    }
}
