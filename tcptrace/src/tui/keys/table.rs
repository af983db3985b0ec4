//! The key bindings. Dispatch, footer and help all read this table.

use super::{
    Action, Binding,
    Key::{
        self, BackTab, Backspace, Char, Ctrl, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp, Right,
        Tab, Up,
    },
    Scope,
};

/// In the order of footer and help.
pub(crate) const BINDINGS: [Binding; 39] = [
    bind(
        &[Enter],
        Scope::Openable,
        Action::Open,
        "open",
        "open the selected row: the connections of a process, the history of a connection",
    ),
    bind(
        &[Esc, Backspace],
        Scope::Opened,
        Action::Back,
        "back",
        "go back to the previous view",
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
        "endpoints: local server ports and remote destinations",
    ),
    bind(
        &[Char('4')],
        Scope::All,
        Action::Transitions,
        "",
        "transitions between states: rates and counts",
    ),
    bind(
        &[Char('5'), Char('h')],
        Scope::All,
        Action::Histograms,
        "histograms",
        "histograms of the selected row: time in each state",
    ),
    bind(
        &[Char('6')],
        Scope::All,
        Action::Findings,
        "",
        "findings and remedies",
    ),
    bind(&[Tab], Scope::All, Action::NextView, "", "next view"),
    bind(&[BackTab], Scope::All, Action::PreviousView, "", "previous view"),
    bind(&[Up, Char('k')], Scope::All, Action::Up, "", "one row up"),
    bind(&[Down, Char('j')], Scope::All, Action::Down, "", "one row down"),
    bind(
        &[PageUp, Ctrl('b')],
        Scope::All,
        Action::PageUp,
        "",
        "one page up",
    ),
    bind(
        &[PageDown, Ctrl('f')],
        Scope::All,
        Action::PageDown,
        "",
        "one page down",
    ),
    bind(&[Home, Char('g')], Scope::All, Action::First, "", "first row"),
    bind(&[End, Char('G')], Scope::All, Action::Last, "", "last row"),
    bind(
        &[Char('/')],
        Scope::Tables,
        Action::Search,
        "search",
        "search: go to the next row that contains a text",
    ),
    bind(&[Char('n')], Scope::Tables, Action::NextMatch, "", "next match"),
    bind(
        &[Char('N')],
        Scope::Tables,
        Action::PreviousMatch,
        "",
        "previous match",
    ),
    bind(
        &[Char('f')],
        Scope::All,
        Action::Filter,
        "filter",
        "filter, with the flags of the command line: -c nginx --state close-wait -D 443",
    ),
    bind(
        &[Char('>'), Char('s'), F(6)],
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
        "sort by the previous column",
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
        Action::AllProcesses,
        "all",
        "switch between all processes and the selected row",
    ),
    bind(
        &[Char(' ')],
        Scope::All,
        Action::Pause,
        "pause",
        "pause the display; tracing continues",
    ),
    bind(
        &[Char('d')],
        Scope::All,
        Action::Delay,
        "",
        "change the refresh interval",
    ),
    bind(
        &[Char('+'), Char('=')],
        Scope::Recordings,
        Action::Faster,
        "faster",
        "play at double speed",
    ),
    bind(
        &[Char('-')],
        Scope::Recordings,
        Action::Slower,
        "slower",
        "play at half speed",
    ),
    bind(&[Left], Scope::Recordings, Action::SeekBack, "", "seek back 10 s"),
    bind(
        &[Right],
        Scope::Recordings,
        Action::SeekForward,
        "±10 s",
        "seek forward 10 s; at the end, go to the next recording",
    ),
    bind(
        &[Char('[')],
        Scope::Recordings,
        Action::SeekFarBack,
        "",
        "seek back one minute",
    ),
    bind(
        &[Char(']')],
        Scope::Recordings,
        Action::SeekFarForward,
        "",
        "seek forward one minute",
    ),
    bind(
        &[Char('D')],
        Scope::Live,
        Action::Dump,
        "",
        "write the histograms to a .hlog file",
    ),
    bind(
        &[Char('e')],
        Scope::All,
        Action::Export,
        "",
        "export the view to a file: a table as CSV, with all its rows",
    ),
    bind(
        &[Char('m')],
        Scope::All,
        Action::Mouse,
        "",
        "release the mouse, to select text, or capture it again",
    ),
    bind(&[Ctrl('l')], Scope::All, Action::Redraw, "", "redraw the screen"),
    bind(
        &[Ctrl('z')],
        Scope::All,
        Action::Suspend,
        "",
        "suspend; fg resumes",
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
