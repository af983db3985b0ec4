//! The input line: a search, a filter, or the refresh interval.

use super::keys::Key;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Search,
    Filter,
    Delay,
}

impl Question {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Search => "search: ",
            Self::Filter => "filter: ",
            Self::Delay => "refresh interval: ",
        }
    }

    pub(crate) const fn hint(self) -> &'static str {
        match self {
            Self::Search => "text in any column; Enter goes to the next match, n to the one after",
            Self::Filter => {
                "-p PID -c NAME -L PORT -D PORT -4 -6 -N NETNS --state STATE --container ID --cgroup PATH; empty: all"
            }
            Self::Delay => "seconds, or a time such as 500ms or 1m",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) question: Question,
    pub(crate) text: String,
    /// Why the last answer was rejected.
    pub(crate) error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Writing,
    Given(String),
    Dropped,
}

impl Prompt {
    pub(crate) const fn new(question: Question, text: String) -> Self {
        Self {
            question,
            text,
            error: None,
        }
    }

    pub(crate) fn press(&mut self, key: Key) -> Answer {
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
