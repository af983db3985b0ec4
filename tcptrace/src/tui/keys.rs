//! What keys mean: actions, where each can be asked for, and which key asks for it there.

mod key;
mod table;

pub use key::Key;
pub use table::BINDINGS;

/// What a key asks for.
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
    Everybody,
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

/// Where a binding holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    All,
    /// Where there are rows to choose from.
    Tables,
    /// Where a row leads further.
    Openable,
    /// Where the rows can be put in another order.
    Sortable,
    /// In what was opened from somewhere else.
    Opened,
    /// In the histograms.
    Histograms,
    /// Where a recording is played.
    Recordings,
    /// Where this machine is watched.
    Live,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Keys that do the same, the one to show first.
    pub keys: &'static [Key],
    /// Where.
    pub scope: Scope,
    /// What.
    pub action: Action,
    /// For the footer, in a word or two; nothing where the footer does not need it.
    pub short: &'static str,
    /// For the help.
    pub long: &'static str,
}

/// The binding of a key where these scopes hold.
#[must_use]
pub fn binding(key: Key, holds: impl Fn(Scope) -> bool) -> Option<&'static Binding> {
    BINDINGS
        .iter()
        .find(|binding| binding.keys.contains(&key) && holds(binding.scope))
}
