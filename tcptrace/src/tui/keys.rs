//! Key bindings: actions, the scopes they are available in, and their keys.

mod key;
mod table;

pub use key::Key;
pub(crate) use table::BINDINGS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Processes,
    Connections,
    Endpoints,
    Transitions,
    Histograms,
    Findings,
    NextView,
    PreviousView,
    Open,
    Back,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Search,
    NextMatch,
    PreviousMatch,
    Filter,
    SortNext,
    SortPrevious,
    Reverse,
    Pause,
    Delay,
    AllProcesses,
    Faster,
    Slower,
    SeekBack,
    SeekForward,
    SeekFarBack,
    SeekFarForward,
    Dump,
    Export,
    Mouse,
    Redraw,
    Suspend,
    Help,
    Quit,
}

/// Where a binding is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Tables,
    /// Where a row can be opened.
    Openable,
    /// Where rows can be sorted.
    Sortable,
    /// In views opened from another.
    Opened,
    Histograms,
    Recordings,
    /// Where this machine is watched.
    Live,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    /// Keys that do the same, the one to show first.
    pub(crate) keys: &'static [Key],
    pub(crate) scope: Scope,
    pub(crate) action: Action,
    /// For the footer, in a word or two; empty where the footer leaves it out.
    pub(crate) short: &'static str,
    /// The description in the help.
    pub(crate) long: &'static str,
}

/// The binding of a key among the active scopes.
pub(crate) fn binding(key: Key, holds: impl Fn(Scope) -> bool) -> Option<&'static Binding> {
    BINDINGS
        .iter()
        .find(|binding| binding.keys.contains(&key) && holds(binding.scope))
}
