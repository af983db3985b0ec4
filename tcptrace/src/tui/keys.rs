//! Key bindings: actions, the scopes they are available in, and their keys.

mod key;
mod table;

pub use key::Key;
pub use table::BINDINGS;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says what each does")]
pub enum Action {
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
pub enum Scope {
    /// In every view.
    All,
    /// In views that are tables.
    Tables,
    /// Where a row can be opened.
    Openable,
    /// Where rows can be sorted.
    Sortable,
    /// In views opened from another.
    Opened,
    /// In the histograms.
    Histograms,
    /// Where a recording is played.
    Recordings,
    /// Where this machine is watched.
    Live,
}

/// One entry of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Keys that do the same, the one to show first.
    pub keys: &'static [Key],
    /// Where the keys are bound.
    pub scope: Scope,
    /// The action of its keys.
    pub action: Action,
    /// For the footer, in a word or two; empty where the footer leaves it out.
    pub short: &'static str,
    /// The description in the help.
    pub long: &'static str,
}

/// The binding of a key among the active scopes.
#[must_use]
pub fn binding(key: Key, holds: impl Fn(Scope) -> bool) -> Option<&'static Binding> {
    BINDINGS
        .iter()
        .find(|binding| binding.keys.contains(&key) && holds(binding.scope))
}
