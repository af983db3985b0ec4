//! The line in which the user writes: what to search, what to filter by, how long to wait.

use super::keys::Key;

/// What is being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// A text to go to.
    Search,
    /// Which connections.
    Filter,
    /// Seconds between frames.
    Delay,
}

impl Question {
    /// What stands before the answer.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Search => "search: ",
            Self::Filter => "filter: ",
            Self::Delay => "seconds between frames: ",
        }
    }

    /// What would do.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Search => "any text in a row; Enter goes there, n to the next",
            Self::Filter => {
                "-p PID -c NAME -L PORT -D PORT -4 -6 -N NETNS --state STATE --container ID --cgroup PATH; nothing: all"
            }
            Self::Delay => "as in 0.5 or 10",
        }
    }
}

/// The line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What is asked.
    pub question: Question,
    /// What was written so far.
    pub text: String,
    /// What was wrong with the answer before.
    pub error: Option<String>,
}

/// What a key made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The user still writes.
    Writing,
    /// That is it.
    Given(String),
    /// Never mind.
    Dropped,
}

impl Prompt {
    /// Asks, with an answer to begin from.
    #[must_use]
    pub const fn new(question: Question, text: String) -> Self {
        Self {
            question,
            text,
            error: None,
        }
    }

    /// Takes a key.
    pub fn press(&mut self, key: Key) -> Answer {
        match key {
            Key::Enter => return Answer::Given(self.text.trim().to_owned()),
            Key::Esc | Key::Ctrl('c') => return Answer::Dropped,
            Key::Backspace => {
                self.text.pop();
            }
            Key::Ctrl('u') => self.text.clear(),
            Key::Ctrl('w') => {
                let kept = self.text.trim_end().rfind(' ').map_or(0, |blank| blank + 1);
                self.text.truncate(kept);
            }
            Key::Char(c) => self.text.push(c),
            _ => {}
        }
        self.error = None;
        Answer::Writing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_written_corrected_and_given() {
        let mut prompt = Prompt::new(Question::Filter, "-c nginx".to_owned());
        for key in [Key::Ctrl('w'), Key::Char('x'), Key::Backspace, Key::Char('j')] {
            assert_eq!(prompt.press(key), Answer::Writing);
        }
        assert_eq!(prompt.press(Key::Enter), Answer::Given("-c j".to_owned()));
        assert_eq!(prompt.press(Key::Esc), Answer::Dropped);
    }
}
