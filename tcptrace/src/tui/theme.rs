//! Styles in the sixteen colours that every terminal has, or in none.

use crate::{event::TcpState, findings::Level, output::terminal};
use anstyle::AnsiColor;
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

    /// With colours unless `--color` or the environment says otherwise.
    #[must_use]
    pub fn of_environment() -> Self {
        if terminal::has_colour() {
            Self::COLOUR
        } else {
            Self::PLAIN
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

    /// A state, in the colour that it has in text.
    #[must_use]
    pub fn state(self, state: TcpState) -> Style {
        terminal::colour_of(state).map_or(Style::new(), |colour| {
            self.colour(screen_colour(colour), Style::new())
        })
    }
}

const fn screen_colour(colour: AnsiColor) -> Color {
    match colour {
        AnsiColor::Red => Color::Red,
        AnsiColor::Green => Color::Green,
        AnsiColor::Yellow => Color::Yellow,
        AnsiColor::Blue => Color::Blue,
        AnsiColor::Magenta => Color::Magenta,
        AnsiColor::Cyan => Color::Cyan,
        _ => Color::Reset,
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
