//! What keys, clicks and answers do to the model.

use super::{App, Effect};
use crate::{
    quantity,
    tui::{
        keys::{self, Action, Key},
        prompt::{Answer, Prompt, Question},
        route::{Route, Tab},
    },
};
use ratatui::layout::Position;

impl App {
    /// Returns what the caller has to do about it.
    pub fn press(&mut self, key: Key) -> Vec<Effect> {
        self.message = None;
        if let Some(mut prompt) = self.prompt.take() {
            return match prompt.press(key) {
                Answer::Writing => {
                    self.prompt = Some(prompt);
                    Vec::new()
                }
                Answer::Dropped => Vec::new(),
                Answer::Given(text) => self.answered(prompt.question, text),
            };
        }
        let binding = keys::binding(key, |scope| self.is_active(scope));
        binding.map_or_else(Vec::new, |binding| self.act(binding.action))
    }

    /// A click: on a tab, on a title, on a row; on the chosen row, it opens it.
    pub(crate) fn click(&mut self, column: u16, row: u16) -> Vec<Effect> {
        self.message = None;
        let position = Position::new(column, row);
        let tab = self.areas.tabs.iter().find(|(area, _)| area.contains(position));
        if let Some((_, tab)) = tab {
            return self.open_tab(*tab);
        }
        let title = self.areas.titles.iter().find(|(area, _)| area.contains(position));
        if let Some((_, column)) = title.copied() {
            self.sort_by(column);
            return Vec::new();
        }
        if !self.areas.rows.contains(position) || self.current().route.view().table().is_none() {
            return Vec::new();
        }
        let at = self.current().cursor.top + usize::from(row - self.areas.rows.y);
        if at >= self.rows.len() {
            return Vec::new();
        }
        if at == self.current().cursor.at && self.current().cursor.has_moved {
            return self.act(Action::Open);
        }
        self.go(at);
        Vec::new()
    }

    fn act(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Processes => return self.open_tab(Tab::Processes),
            Action::Connections => return self.open_tab(Tab::Connections),
            Action::Endpoints => return self.open_tab(Tab::Endpoints),
            Action::Transitions => return self.open_tab(Tab::Transitions),
            Action::Histograms => return self.open_histograms(),
            Action::Findings => return self.open_tab(Tab::Findings),
            Action::NextView => return self.turn(1),
            Action::PreviousView => return self.turn(Tab::ALL.len() - 1),
            Action::Open => return self.open(),
            Action::Back => return self.back(),
            Action::Up => self.step(-1),
            Action::Down => self.step(1),
            Action::PageUp => self.step(-self.page_step()),
            Action::PageDown => self.step(self.page_step()),
            Action::First => self.step(isize::MIN),
            Action::Last => self.step(isize::MAX),
            Action::Search => self.prompt = Some(Prompt::new(Question::Search, String::new())),
            Action::NextMatch => self.find_next(true),
            Action::PreviousMatch => self.find_next(false),
            Action::Filter => {
                // Adding a flag is more common than replacing those there.
                let blank = if self.filter.is_empty() { "" } else { " " };
                let text = format!("{}{blank}", self.filter);
                self.prompt = Some(Prompt::new(Question::Filter, text));
            }
            Action::SortNext => self.sort_beside(true),
            Action::SortPrevious => self.sort_beside(false),
            Action::Reverse => self.reverse(),
            Action::Pause => self.is_paused = !self.is_paused,
            Action::Delay => self.prompt = Some(Prompt::new(Question::Delay, String::new())),
            Action::AllProcesses => return self.toggle_all(),
            Action::Faster => return self.speed(2.0),
            Action::Slower => return self.speed(0.5),
            Action::SeekBack => return vec![Effect::Seek(-10)],
            Action::SeekForward => return vec![Effect::Seek(10)],
            Action::SeekFarBack => return vec![Effect::Seek(-60)],
            Action::SeekFarForward => return vec![Effect::Seek(60)],
            Action::Dump => return vec![Effect::Dump],
            Action::Export => return vec![Effect::Export],
            Action::Mouse => {
                self.has_mouse = !self.has_mouse;
                return vec![Effect::Mouse(self.has_mouse)];
            }
            Action::Redraw => return vec![Effect::Redraw],
            Action::Suspend => return vec![Effect::Suspend],
            Action::Help => return self.push(Route::Help),
            Action::Quit => return vec![Effect::Quit],
        }
        Vec::new()
    }

    fn answered(&mut self, question: Question, text: String) -> Vec<Effect> {
        match question {
            Question::Search => {
                self.search = text;
                self.find_next(true);
                Vec::new()
            }
            Question::Filter => vec![Effect::Filter(text)],
            Question::Delay => match quantity::time(&text) {
                Ok(delay) => {
                    self.delay = delay;
                    vec![Effect::Delay(delay)]
                }
                Err(remedy) => {
                    self.prompt = Some(Prompt {
                        error: Some(format!("invalid interval \"{text}\": {remedy}")),
                        ..Prompt::new(Question::Delay, text)
                    });
                    Vec::new()
                }
            },
        }
    }

    /// The model has the new speed at once, so that each of two keys before the next frame counts.
    fn speed(&mut self, factor: f64) -> Vec<Effect> {
        let Some(play) = &mut self.content.play else {
            return Vec::new();
        };
        play.speed = (play.speed * factor).clamp(1.0 / 64.0, 4_096.0);
        vec![Effect::Speed(play.speed)]
    }
}
