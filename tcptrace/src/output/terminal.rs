//! Text for people, as the terminal that shows it needs it: coloured, wrapped at its width, and in ASCII where its locale is
//! not UTF-8.

use crate::{event::TcpState, options};
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use std::{
    borrow::Cow,
    env,
    fmt::Write as _,
    io::{self, IsTerminal as _},
};
use textwrap::{Options, WordSeparator, WordSplitter};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Narrower terminals wrap by themselves.
const LEAST_COLUMNS: usize = 20;

/// How text on standard output looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    is_coloured: bool,
    is_ascii: bool,
    /// Whether it is shown by a terminal, whose width may change.
    is_on_terminal: bool,
}

impl Look {
    /// By `--color`, the terminal and the environment.
    pub(crate) fn of_stdout() -> Self {
        let is_on_terminal = io::stdout().is_terminal();
        Self {
            is_coloured: has_colour(),
            is_ascii: is_on_terminal && !is_utf8(),
            is_on_terminal,
        }
    }

    /// The lines in this look.
    pub(crate) fn apply(self, text: &str) -> Cow<'_, str> {
        let mut text = Cow::Borrowed(text);
        if self.is_on_terminal
            && let Some(columns) = options::columns_of(&io::stdout())
        {
            text = wrapped(&text, columns.into()).into_owned().into();
        }
        if self.is_ascii {
            text = ascii(&text).into_owned().into();
        }
        if self.is_coloured {
            coloured(&text).into()
        } else {
            text
        }
    }
}

/// Whether standard output is to have colours: by `--color`, else on terminals, unless `NO_COLOR`, `CLICOLOR` or `TERM`
/// says otherwise.
pub(crate) fn has_colour() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Whether the locale's characters are UTF-8: by the first variable that is set, as setlocale(3) chooses.
pub(crate) fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| env::var_os(name).filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| names_utf8(&locale.to_string_lossy()))
}

fn names_utf8(locale: &str) -> bool {
    let charset = locale.split('.').nth(1).unwrap_or_default();
    let charset = charset.split('@').next().unwrap_or_default();
    charset.eq_ignore_ascii_case("UTF-8") || charset.eq_ignore_ascii_case("UTF8")
}

/// The text with other characters instead of those that ASCII does not have, in as many columns.
pub(crate) fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0'..='\u{7f}' => plain.push(c),
            '→' => plain.push('>'),
            '←' => plain.push('<'),
            '↑' => plain.push('^'),
            '↓' => plain.push('v'),
            '…' => plain.push('~'),
            '×' => plain.push('x'),
            'µ' => plain.push('u'),
            '·' | '░' | '▁' | '▂' => plain.push('.'),
            '▃' | '▄' => plain.push(':'),
            '▅' | '▆' => plain.push('|'),
            '▇' | '█' => plain.push('#'),
            _ => plain.extend(std::iter::repeat_n('?', c.width().unwrap_or(0))),
        }
    }
    plain.into()
}

/// The colour of a state, by its role: in use, beginning, ending, or typical of incidents.
pub(crate) const fn colour_of(state: TcpState) -> Option<AnsiColor> {
    match state {
        TcpState::Established => Some(AnsiColor::Green),
        TcpState::Listen => Some(AnsiColor::Blue),
        TcpState::SynSent | TcpState::SynRecv => Some(AnsiColor::Cyan),
        TcpState::CloseWait => Some(AnsiColor::Red),
        TcpState::TimeWait => Some(AnsiColor::Yellow),
        TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck => {
            Some(AnsiColor::Magenta)
        }
        TcpState::Close => None,
    }
}

/// Names of states, and the levels of findings at the start of lines, in their colours.
fn coloured(text: &str) -> String {
    let mut all = String::with_capacity(text.len() * 2);
    for line in text.split_inclusive('\n') {
        let level = LEVELS.into_iter().find(|(level, _)| line.starts_with(level));
        let rest = match level {
            Some((level, colour)) => {
                let style = Style::new().bold().fg_color(Some(colour.into()));
                let _ = write!(all, "{style}{level}{style:#}");
                &line[level.len()..]
            }
            None => line,
        };
        colour_states(&mut all, rest);
    }
    all
}

/// The levels of findings with what follows them.
const LEVELS: [(&str, AnsiColor); 3] = [
    ("critical:", AnsiColor::Red),
    ("warning:", AnsiColor::Yellow),
    ("note:", AnsiColor::Cyan),
];

fn colour_states(all: &mut String, line: &str) {
    let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut rest = line;
    while let Some(start) = rest.find(is_of_name) {
        let end = rest[start..]
            .find(|c| !is_of_name(c))
            .map_or(rest.len(), |length| start + length);
        let word = &rest[start..end];
        all.push_str(&rest[..start]);
        let state = TcpState::ALL.into_iter().find(|state| state.name() == word);
        match state.and_then(colour_of) {
            Some(colour) => {
                let style = Style::new().fg_color(Some(colour.into()));
                let _ = write!(all, "{style}{word}{style:#}");
            }
            None => all.push_str(word),
        }
        rest = &rest[end..];
    }
    all.push_str(rest);
}

/// The lines wrapped between words at `columns`, what follows indented by two more than its line.
pub(crate) fn wrapped(text: &str, columns: usize) -> Cow<'_, str> {
    let columns = columns.max(LEAST_COLUMNS);
    let fits = |line: &str| line.trim_end().width() <= columns;
    if text.lines().all(fits) {
        return text.into();
    }
    let mut all = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if fits(line) {
            all.push_str(line);
            continue;
        }
        let indent = line.len() - line.trim_start_matches([' ', '-']).len();
        let indent = " ".repeat(if line.trim_start().starts_with('-') {
            indent
        } else {
            indent + 2
        });
        let options = Options::new(columns)
            .subsequent_indent(&indent)
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation)
            .break_words(false);
        for piece in textwrap::wrap(line.trim_end_matches('\n'), options) {
            all.push_str(&piece);
            all.push('\n');
        }
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_takes_as_many_columns() {
        assert_eq!(
            ascii("SYN_SENT→CLOSE 10µs █░ 名 ×2…"),
            "SYN_SENT>CLOSE 10us #. ?? x2~"
        );
        assert!(matches!(ascii("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn a_locale_names_its_characters_after_a_dot() {
        assert!(names_utf8("C.UTF-8") && names_utf8("de_DE.utf8@euro"));
        assert!(!names_utf8("C") && !names_utf8("POSIX") && !names_utf8("de_DE.ISO-8859-1"));
    }

    #[test]
    fn states_and_levels_have_colours() {
        let text = coloured("warning: nginx: 5 in CLOSE_WAIT\n  CLOSE_WAITS, note: LISTEN\n");
        assert_eq!(
            text,
            "\u{1b}[1m\u{1b}[33mwarning:\u{1b}[0m nginx: 5 in \u{1b}[31mCLOSE_WAIT\u{1b}[0m\n  CLOSE_WAITS, note: \u{1b}[34mLISTEN\u{1b}[0m\n"
        );
        let look = Look::default();
        assert_eq!(look.apply("note: LISTEN→CLOSE"), "note: LISTEN→CLOSE");
    }

    #[test]
    fn wrapped_lines_are_indented_below_their_text() {
        let text =
            "  - one two three four five six seven\n  what to do: eight nine ten eleven twelve\nend\n\n";
        assert_eq!(
            wrapped(text, 24),
            "  - one two three four\n    five six seven\n  what to do: eight nine\n    ten eleven twelve\nend\n\n"
        );
        assert_eq!(
            wrapped("  what to do: sysctl net.ipv4.tcp-keepalive-time", 40),
            "  what to do: sysctl\n    net.ipv4.tcp-keepalive-time\n",
            "a command is not broken at a hyphen"
        );
        assert!(matches!(
            wrapped("  fits\nas it is", 24),
            Cow::Borrowed("  fits\nas it is")
        ));
    }
}
