//! The model: where the user is, what is chosen, in which order, and what a key makes of it. Pure: what it cannot do
//! itself it returns as wishes.

mod acting;
mod moving;
mod searching;
#[cfg(test)]
mod tests;

use super::{
    columns::{self, Looks, connections, endpoints, processes},
    content::Content,
    cursor::{Cursor, RowId},
    keys::{self, Binding, Scope},
    place::{Place, Tab},
    prompt::{Prompt, Question},
    theme::Theme,
    trend::Trend,
};
use crate::view::{Sort, connections::Of, connections::endpoint_of};
use ratatui::layout::Rect;
use std::time::Duration;

/// What only the caller can do.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// End.
    Quit,
    /// Back to the shell until it resumes us.
    Suspend,
    /// Draw the whole screen.
    Redraw,
    /// Gather the rows of the view that is open now.
    Rows,
    /// Show only connections that this text selects.
    Filter(String),
    /// Another time between frames.
    Delay(Duration),
    /// Write the histograms.
    Dump,
    /// Write what is seen.
    Export,
    /// Take the mouse, or give it back.
    Mouse(bool),
    /// Play this many times as fast.
    Speed(f64),
    /// Go so many seconds on, or back.
    Seek(i64),
}

/// What the user is told until the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The words.
    pub text: String,
    /// Whether something has failed.
    pub is_error: bool,
}

/// A table's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which column.
    pub column: usize,
    /// Whether it is the other way round.
    pub is_reversed: bool,
}

impl Order {
    const fn by(column: usize) -> Self {
        Self {
            column,
            is_reversed: false,
        }
    }
}

/// A view that is open, or waits below the one that is.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// Which.
    pub place: Place,
    /// Where in it.
    pub cursor: Cursor,
}

/// Where the latest drawing has put things, for the mouse and for pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    /// The rows of the table, or the lines of what is none.
    pub rows: Rect,
    /// Lines of what is no table.
    pub lines: usize,
    /// Titles of columns.
    pub titles: Vec<(Rect, usize)>,
    /// Tabs.
    pub tabs: Vec<(Rect, Tab)>,
}

/// Everything that is remembered.
#[derive(Debug)]
pub struct App {
    /// Styles.
    pub theme: Theme,
    /// What there is to see.
    pub content: Content,
    /// Sockets by state in the latest frames.
    pub trend: Trend,
    /// Whether the picture stands still.
    pub is_paused: bool,
    /// Time between frames.
    pub delay: Duration,
    /// The line in which the user writes, if any is open.
    pub prompt: Option<Prompt>,
    /// What was searched last.
    pub search: String,
    /// The filter as the user wrote it.
    pub filter: String,
    /// What the user is told.
    pub message: Option<Message>,
    /// Whether the mouse is ours.
    pub has_mouse: bool,
    /// Where the latest drawing has put things.
    pub areas: Areas,
    /// Views from the one at the bottom to the one that is open.
    stops: Vec<Stop>,
    saved: Vec<(Tab, Cursor)>,
    processes: Order,
    connections: Order,
    endpoints: Order,
    histograms_of: Of,
    rows: Vec<u32>,
}

impl App {
    /// Begins with the processes.
    #[must_use]
    pub fn new(theme: Theme, sort: Sort, delay: Duration, filter: String) -> Self {
        let column = match sort {
            Sort::CloseWait => processes::FINDING,
            Sort::TimeWait => processes::place_of::TIME_WAIT,
            Sort::Sockets => processes::place_of::ESTABLISHED,
            Sort::Rate => processes::place_of::OPENS,
            Sort::Pid => processes::place_of::PID,
            Sort::Comm => processes::place_of::COMMAND,
        };
        Self {
            theme,
            content: Content::default(),
            trend: Trend::default(),
            is_paused: false,
            delay,
            prompt: None,
            search: String::new(),
            filter,
            message: None,
            has_mouse: true,
            areas: Areas::default(),
            stops: vec![Stop {
                place: Place::Processes,
                cursor: Cursor::default(),
            }],
            saved: Vec::new(),
            processes: Order::by(column),
            connections: Order::by(connections::STATE),
            endpoints: Order::by(endpoints::ALL),
            histograms_of: Of::All,
            rows: Vec::new(),
        }
    }

    /// The view that is open.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        self.stops.last().expect("the bottom stop is never taken away")
    }

    /// The views that it was opened from, the bottom one first.
    #[must_use]
    pub fn opened_from(&self) -> &[Stop] {
        &self.stops[..self.stops.len() - 1]
    }

    /// The tab that is open: that of the view at the bottom, or nearest to it.
    #[must_use]
    pub fn tab(&self) -> Option<Tab> {
        self.stops.iter().rev().find_map(|stop| stop.place.tab())
    }

    /// Which order the open table is in.
    #[must_use]
    pub const fn order_of(&self, place: &Place) -> Option<Order> {
        match place {
            Place::Processes => Some(self.processes),
            Place::Connections(_) => Some(self.connections),
            Place::Endpoints => Some(self.endpoints),
            Place::History(_) | Place::Transitions | Place::Histograms(_) | Place::Findings | Place::Help => {
                None
            }
        }
    }

    /// Places of the rows, among those of the content, in the order in which they are shown.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// What cells may look at.
    #[must_use]
    pub const fn looks(&self) -> Looks<'_> {
        Looks {
            theme: self.theme,
            content: &self.content,
        }
    }

    /// Whether a binding of this scope holds now.
    #[must_use]
    pub fn holds(&self, scope: Scope) -> bool {
        match scope {
            Scope::Opened => self.stops.len() > 1,
            Scope::Recordings => self.content.play.is_some(),
            Scope::Live => self.content.play.is_none(),
            Scope::Openable => self.stop().place.is_table() && !self.rows.is_empty(),
            Scope::All | Scope::Tables | Scope::Sortable | Scope::Histograms => self.stop().place.has(scope),
        }
    }

    /// Bindings that hold now and have a word for the footer.
    pub fn hints(&self) -> impl Iterator<Item = &'static Binding> {
        keys::BINDINGS
            .iter()
            .filter(|binding| !binding.short.is_empty() && self.holds(binding.scope))
    }

    /// Puts the rows in order, after they or the order have changed; the chosen one stays chosen.
    pub fn arrange(&mut self) {
        let looks = self.looks();
        let content = &self.content;
        let order = self.order_of(&self.stop().place).unwrap_or(Order::by(usize::MAX));
        let (by, is_reversed) = (order.column, order.is_reversed);
        self.rows = match self.stop().place {
            Place::Processes => columns::order(
                &content.view.processes,
                &processes::COLUMNS,
                by,
                is_reversed,
                &looks,
            ),
            Place::Connections(_) => columns::order(
                &content.connections,
                &connections::COLUMNS,
                by,
                is_reversed,
                &looks,
            ),
            Place::Endpoints => {
                columns::order(&content.endpoints, &endpoints::COLUMNS, by, is_reversed, &looks)
            }
            Place::Findings => columns::order(
                &content.findings,
                &columns::findings::COLUMNS,
                by,
                is_reversed,
                &looks,
            ),
            Place::History(_) | Place::Transitions | Place::Histograms(_) | Place::Help => Vec::new(),
        };
        if self.stop().place.is_table() {
            let mut cursor = std::mem::take(&mut self.stop_mut().cursor);
            cursor.follow(self.rows.len(), |at| self.id_at(at));
            cursor.keep_in_sight(self.rows.len(), self.page());
            self.stop_mut().cursor = cursor;
        }
    }

    /// Tells the user something.
    pub fn tell(&mut self, text: impl Into<String>, is_error: bool) {
        self.message = Some(Message {
            text: text.into(),
            is_error,
        });
    }

    /// Asks for the filter again, which could not be obeyed.
    pub fn refuse_filter(&mut self, text: String, error: String) {
        self.prompt = Some(Prompt {
            question: Question::Filter,
            text,
            error: Some(error),
        });
    }

    /// What a chosen row's histograms are of.
    fn of_chosen(&self) -> Of {
        match &self.stop().cursor.chosen {
            Some(RowId::Process(key)) => Of::Process(*key),
            Some(RowId::Endpoint(key)) => Of::Endpoint(*key),
            Some(RowId::Connection(identity)) => {
                let row = self
                    .content
                    .connections
                    .iter()
                    .find(|row| row.identity.is(identity));
                let key = row.and_then(|row| endpoint_of(&identity.ends, identity.netns, row.role));
                key.map_or(Of::All, Of::Endpoint)
            }
            Some(RowId::Finding(..)) => self.found_process().map_or(Of::All, |key| Of::Process(Some(key))),
            None => Of::All,
        }
    }

    /// Cookies of the sockets that are in sight, and of all listeners among the endpoints.
    pub fn cookies_in_sight(&self) -> impl Iterator<Item = u64> {
        let cursor = &self.stop().cursor;
        let page = usize::from(self.areas.rows.height);
        let content = &self.content;
        let rows = self.rows.iter().skip(cursor.top).take(page);
        let connections = rows.filter_map(|row| content.connections.get(*row as usize));
        let listeners = content.endpoints.iter().filter_map(|row| row.listener);
        let history = content.history.iter().map(|history| history.identity.id.cookie);
        connections
            .map(|row| row.identity.id.cookie)
            .chain(listeners)
            .chain(history)
    }

    /// What the row at a place of the table is of.
    fn id_at(&self, at: usize) -> Option<RowId> {
        let row = *self.rows.get(at)? as usize;
        let content = &self.content;
        Some(match self.stop().place {
            Place::Processes => RowId::Process(content.view.processes.get(row)?.key),
            Place::Connections(_) => RowId::Connection(content.connections.get(row)?.identity),
            Place::Endpoints => RowId::Endpoint(content.endpoints.get(row)?.key),
            Place::Findings => {
                let found = content.findings.get(row)?;
                RowId::Finding(found.rule, found.subject.to_string())
            }
            Place::History(_) | Place::Transitions | Place::Histograms(_) | Place::Help => return None,
        })
    }

    fn stop_mut(&mut self) -> &mut Stop {
        self.stops
            .last_mut()
            .expect("the bottom stop is never taken away")
    }
}
