//! The one table of keys: what is pressed, where, and what it does. Dispatch, footer and help read it.

use super::{
    Action, Binding,
    Key::{
        self, BackTab, Backspace, Char, Ctrl, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp, Right,
        Tab, Up,
    },
    Scope,
};

/// Every key. What comes first comes first in footer and help.
pub const BINDINGS: [Binding; 39] = [
    bind(
        &[Enter],
        Scope::Openable,
        Action::Open,
        "open",
        "open the chosen row: a process's connections, a connection's history",
    ),
    bind(
        &[Esc, Backspace],
        Scope::Opened,
        Action::Back,
        "back",
        "back to where it was opened from",
    ),
    bind(
        &[Char('1')],
        Scope::All,
        Action::Processes,
        "",
        "processes, those with a finding first",
    ),
    bind(
        &[Char('2')],
        Scope::All,
        Action::Connections,
        "",
        "connections of all processes",
    ),
    bind(
        &[Char('3')],
        Scope::All,
        Action::Endpoints,
        "",
        "endpoints: ports served, and destinations",
    ),
    bind(
        &[Char('4')],
        Scope::All,
        Action::Transitions,
        "",
        "transitions: changes from each state to each other",
    ),
    bind(
        &[Char('5'), Char('h')],
        Scope::All,
        Action::Histograms,
        "histograms",
        "histograms of the chosen row: how long its states last",
    ),
    bind(
        &[Char('6')],
        Scope::All,
        Action::Findings,
        "",
        "findings, and what to do about them",
    ),
    bind(&[Tab], Scope::All, Action::NextView, "", "the next of these six"),
    bind(&[BackTab], Scope::All, Action::PreviousView, "", "the one before"),
    bind(&[Up, Char('k')], Scope::All, Action::Up, "", "a row up"),
    bind(&[Down, Char('j')], Scope::All, Action::Down, "", "a row down"),
    bind(&[PageUp, Ctrl('b')], Scope::All, Action::PageUp, "", "a page up"),
    bind(
        &[PageDown, Ctrl('f')],
        Scope::All,
        Action::PageDown,
        "",
        "a page down",
    ),
    bind(
        &[Home, Char('g')],
        Scope::All,
        Action::First,
        "",
        "to the first row",
    ),
    bind(&[End, Char('G')], Scope::All, Action::Last, "", "to the last row"),
    bind(
        &[Char('/')],
        Scope::Tables,
        Action::Search,
        "search",
        "search: go to the next row with this text",
    ),
    bind(
        &[Char('n')],
        Scope::Tables,
        Action::NextMatch,
        "",
        "the next match",
    ),
    bind(
        &[Char('N')],
        Scope::Tables,
        Action::PreviousMatch,
        "",
        "the match before",
    ),
    bind(
        &[Char('f')],
        Scope::All,
        Action::Filter,
        "filter",
        "filter, in the words of the flags: -c nginx --state close-wait -D 443",
    ),
    bind(
        &[Char('>'), Char('s')],
        Scope::Sortable,
        Action::SortNext,
        "sort",
        "sort by the next column",
    ),
    bind(
        &[Char('<'), Char('S')],
        Scope::Sortable,
        Action::SortPrevious,
        "",
        "sort by the column before",
    ),
    bind(
        &[Char('r')],
        Scope::Sortable,
        Action::Reverse,
        "reverse",
        "reverse the order",
    ),
    bind(
        &[Char('a')],
        Scope::Histograms,
        Action::Everybody,
        "everybody",
        "of everybody, and back to the chosen row",
    ),
    bind(
        &[Char(' ')],
        Scope::All,
        Action::Pause,
        "pause",
        "pause the picture; a live trace goes on behind it",
    ),
    bind(
        &[Char('d')],
        Scope::All,
        Action::Delay,
        "",
        "seconds between two frames",
    ),
    bind(
        &[Char('+'), Char('=')],
        Scope::Recordings,
        Action::Faster,
        "faster",
        "play twice as fast",
    ),
    bind(
        &[Char('-')],
        Scope::Recordings,
        Action::Slower,
        "slower",
        "play half as fast",
    ),
    bind(&[Left], Scope::Recordings, Action::SeekBack, "", "10 s back"),
    bind(
        &[Right],
        Scope::Recordings,
        Action::SeekForward,
        "±10 s",
        "10 s on; at the end, to the next recording",
    ),
    bind(
        &[Char('[')],
        Scope::Recordings,
        Action::SeekFarBack,
        "",
        "a minute back",
    ),
    bind(
        &[Char(']')],
        Scope::Recordings,
        Action::SeekFarForward,
        "",
        "a minute on",
    ),
    bind(
        &[Char('D')],
        Scope::Live,
        Action::Dump,
        "",
        "write how long states lasted to a .hlog file",
    ),
    bind(
        &[Char('e')],
        Scope::All,
        Action::Export,
        "",
        "export what is seen to a file: a table as CSV with all its rows",
    ),
    bind(
        &[Char('m')],
        Scope::All,
        Action::Mouse,
        "",
        "give the mouse to the terminal, to mark text, and back",
    ),
    bind(
        &[Ctrl('l')],
        Scope::All,
        Action::Redraw,
        "",
        "draw the whole screen anew",
    ),
    bind(
        &[Ctrl('z')],
        Scope::All,
        Action::Suspend,
        "",
        "back to the shell; fg returns",
    ),
    bind(&[Char('?'), F(1)], Scope::All, Action::Help, "help", "this help"),
    bind(
        &[Char('q'), Ctrl('c'), F(10)],
        Scope::All,
        Action::Quit,
        "quit",
        "quit",
    ),
];

const fn bind(
    keys: &'static [Key],
    scope: Scope,
    action: Action,
    short: &'static str,
    long: &'static str,
) -> Binding {
    Binding {
        keys,
        scope,
        action,
        short,
        long,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        for (number, binding) in BINDINGS.iter().enumerate() {
            for key in binding.keys {
                let others = BINDINGS[number + 1..]
                    .iter()
                    .filter(|other| other.keys.contains(key));
                assert_eq!(others.count(), 0, "{} is bound twice", key.name());
            }
        }
    }

    #[test]
    fn every_action_has_one_line() {
        for (number, binding) in BINDINGS.iter().enumerate() {
            assert!(
                BINDINGS[number + 1..]
                    .iter()
                    .all(|other| other.action != binding.action)
            );
            assert!(!binding.long.is_empty() && !binding.keys.is_empty());
        }
    }
}
