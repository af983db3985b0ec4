//! Styles in the sixteen colours that every terminal has, or in none.

use crate::{event::TcpState, findings::Level};
use ratatui::style::{Color, Modifier, Style};

/// The styles of the live view, with or without colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    has_colour: bool,
}

impl Theme {
    /// With the terminal's own sixteen colours.
    pub const COLOUR: Self = Self { has_colour: true };
    /// Without: bold, reversed and underlined do what colours would.
    pub const PLAIN: Self = Self { has_colour: false };

    /// No colour where `NO_COLOR` is set to anything (no-color.org).
    #[must_use]
    pub fn of_environment() -> Self {
        if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            Self::PLAIN
        } else {
            Self::COLOUR
        }
    }

    const fn colour(self, colour: Color, style: Style) -> Style {
        if self.has_colour { style.fg(colour) } else { style }
    }

    /// Ordinary text.
    #[must_use]
    pub const fn plain(self) -> Style {
        Style::new()
    }

    /// Text that matters less.
    #[must_use]
    pub const fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Text that matters more.
    #[must_use]
    pub const fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The titles of columns.
    #[must_use]
    pub const fn title(self) -> Style {
        self.colour(Color::Cyan, Style::new().add_modifier(Modifier::BOLD))
    }

    /// The chosen row, tab or sort column.
    #[must_use]
    pub const fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A key in the footer.
    #[must_use]
    pub const fn key(self) -> Style {
        self.colour(Color::Yellow, Style::new().add_modifier(Modifier::BOLD))
    }

    /// All is well.
    #[must_use]
    pub const fn good(self) -> Style {
        self.colour(Color::Green, Style::new())
    }

    /// A problem.
    #[must_use]
    pub const fn bad(self) -> Style {
        self.colour(Color::Red, Style::new().add_modifier(Modifier::BOLD))
    }

    /// A possible problem.
    #[must_use]
    pub const fn warning(self) -> Style {
        self.colour(Color::Yellow, Style::new())
    }

    /// A finding.
    #[must_use]
    pub const fn level(self, level: Level) -> Style {
        match level {
            Level::Note => self.colour(Color::Cyan, Style::new()),
            Level::Warning => self.colour(Color::Yellow, Style::new().add_modifier(Modifier::BOLD)),
            Level::Critical => self.bad(),
        }
    }

    /// A state, by its role: in use, beginning, ending, or typical of incidents.
    #[must_use]
    pub const fn state(self, state: TcpState) -> Style {
        let colour = match state {
            TcpState::Established => Color::Green,
            TcpState::Listen => Color::Blue,
            TcpState::SynSent | TcpState::SynRecv => Color::Cyan,
            TcpState::CloseWait => Color::Red,
            TcpState::TimeWait => Color::Yellow,
            TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck => Color::Magenta,
            TcpState::Close => Color::Reset,
        };
        self.colour(colour, Style::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_nothing_has_one() {
        let theme = Theme::PLAIN;
        let styles = TcpState::ALL.map(|state| theme.state(state));
        let others = [
            theme.title(),
            theme.key(),
            theme.bad(),
            theme.level(Level::Critical),
        ];
        for style in styles.iter().chain(&others) {
            assert_eq!((style.fg, style.bg), (None, None));
        }
        assert_ne!(theme.bad(), theme.plain());
    }
}
