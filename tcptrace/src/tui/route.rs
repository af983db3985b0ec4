//! The open view and its subject.

use super::views::{
    View, connections::Connections, endpoints::Endpoints, findings::Findings, help::Help,
    histograms::Histograms, history::History, processes::Processes, transitions::Transitions,
};
use crate::view::connections::{Identity, Selection};

/// The six views that have a key each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tab {
    Processes,
    Connections,
    Endpoints,
    Transitions,
    Histograms,
    Findings,
}

impl Tab {
    /// All, in the order of their keys.
    pub(super) const ALL: [Self; 6] = [
        Self::Processes,
        Self::Connections,
        Self::Endpoints,
        Self::Transitions,
        Self::Histograms,
        Self::Findings,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Connections => "connections",
            Self::Endpoints => "endpoints",
            Self::Transitions => "transitions",
            Self::Histograms => "histograms",
            Self::Findings => "findings",
        }
    }

    pub(super) fn title(self) -> String {
        let (first, rest) = self.name().split_at(1);
        first.to_uppercase() + rest
    }

    /// The view that its key opens.
    pub(super) const fn route(self) -> Route {
        match self {
            Self::Processes => Route::Processes,
            Self::Connections => Route::connections(Selection::All),
            Self::Endpoints => Route::Endpoints,
            Self::Transitions => Route::Transitions,
            Self::Histograms => Route::histograms(Selection::All),
            Self::Findings => Route::Findings,
        }
    }
}

/// A view that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Processes,
    Connections(Connections),
    History(History),
    Endpoints,
    Transitions,
    Histograms(Histograms),
    Findings,
    Help,
}

impl Route {
    pub(super) const fn connections(of: Selection) -> Self {
        Self::Connections(Connections { of })
    }

    pub(super) const fn history(of: Identity) -> Self {
        Self::History(History { of })
    }

    pub(super) const fn histograms(of: Selection) -> Self {
        Self::Histograms(Histograms { of })
    }

    /// What it shows, and how.
    pub(super) fn view(&self) -> &dyn View {
        match self {
            Self::Processes => &Processes,
            Self::Connections(connections) => connections,
            Self::History(history) => history,
            Self::Endpoints => &Endpoints,
            Self::Transitions => &Transitions,
            Self::Histograms(histograms) => histograms,
            Self::Findings => &Findings,
            Self::Help => &Help,
        }
    }
}
