//! The model: the open view, the selection, the sort order, and how keys change them. Pure: what it cannot do itself it
//! returns as effects.

mod actions;
mod navigation;
mod search;
#[cfg(test)]
mod tests;

use super::{
    columns::{CellContext, ColumnId},
    content::Content,
    cursor::{Cursor, RowId},
    keys::{self, Binding, Scope},
    prompt::{Prompt, Question},
    route::{Route, Tab},
    table::AnyTable,
    theme::Theme,
    trend::Trend,
    views::processes,
};
use crate::view::{Sort, connections::Selection};
use hashbrown::HashMap;
use ratatui::layout::Rect;
use std::time::Duration;

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// End the live view.
    Quit,
    /// Stop the process until the shell resumes it.
    Suspend,
    /// Redraw the whole screen.
    Redraw,
    /// Gather the rows of the view that is open now.
    Rows,
    /// Show only connections that this text selects.
    Filter(String),
    /// Change the refresh interval.
    Delay(Duration),
    /// Write the histograms to a file.
    Dump,
    /// Export the open view to a file.
    Export,
    /// Capture the mouse, or release it.
    Mouse(bool),
    /// Play at this multiple of the recorded speed.
    Speed(f64),
    /// Seek forward by this number of seconds, or back.
    Seek(i64),
}

/// Shown until the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) is_error: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) column: ColumnId,
    pub(crate) is_reversed: bool,
}

impl Order {
    const fn by(column: ColumnId) -> Self {
        Self {
            column,
            is_reversed: false,
        }
    }
}

/// A view that is open, or waits below the one that is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OpenView {
    pub(crate) route: Route,
    pub(crate) cursor: Cursor,
}

/// Where the latest drawing has put things: for the mouse, and for scrolling by pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    /// The rows of the table, or the lines of what is none.
    pub(crate) rows: Rect,
    /// Lines of what is no table.
    pub(crate) lines: usize,
    pub(crate) titles: Vec<(Rect, ColumnId)>,
    pub(crate) tabs: Vec<(Rect, Tab)>,
}

/// The model of the live view.
#[derive(Debug)]
pub struct App {
    pub(crate) theme: Theme,
    /// What the open view shows.
    pub content: Content,
    /// Sockets by state in the latest frames.
    pub(crate) trend: Trend,
    pub(crate) is_paused: bool,
    pub(crate) delay: Duration,
    /// The line in which the user writes, if any is open.
    pub(crate) prompt: Option<Prompt>,
    pub(crate) search: String,
    /// The filter as the user wrote it.
    pub(crate) filter: String,
    pub(crate) message: Option<Message>,
    pub(crate) has_mouse: bool,
    /// Where the latest drawing has put things.
    pub areas: Areas,
    /// Views from the one at the bottom to the one that is open.
    stack: Vec<OpenView>,
    /// Cursors of the tabs that were left.
    cursors: HashMap<Tab, Cursor>,
    /// Orders other than those that tables have at first.
    orders: HashMap<Tab, Order>,
    histograms_of: Selection,
    /// Numbers of the rows, in the order in which they are shown.
    rows: Vec<u32>,
}

impl App {
    /// Begins with the processes.
    #[must_use]
    pub fn new(theme: Theme, sort: Sort, delay: Duration, filter: String) -> Self {
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
            stack: vec![OpenView {
                route: Route::Processes,
                cursor: Cursor::default(),
            }],
            cursors: HashMap::new(),
            orders: HashMap::from([(Tab::Processes, Order::by(processes::column_of(sort)))]),
            histograms_of: Selection::All,
            rows: Vec::new(),
        }
    }

    pub(crate) fn current(&self) -> &OpenView {
        self.stack.last().expect("the bottom view is never closed")
    }

    fn current_mut(&mut self) -> &mut OpenView {
        self.stack.last_mut().expect("the bottom view is never closed")
    }

    /// The views that it was opened from, the bottom one first.
    pub(crate) fn opened_from(&self) -> &[OpenView] {
        &self.stack[..self.stack.len() - 1]
    }

    /// The tab that is open: that of the view at the bottom, or nearest to it.
    pub(crate) fn tab(&self) -> Option<Tab> {
        let mut tabs = self.stack.iter().rev().map(|open| open.route.view().tab());
        tabs.find_map(|tab| tab)
    }

    /// The order of the open table; `None` where there is none, or where its rows keep theirs.
    pub(crate) fn order(&self) -> Option<Order> {
        let view = self.current().route.view();
        let first = Order::by(view.table()?.sorted_by()?);
        Some(*self.orders.get(&view.tab()?).unwrap_or(&first))
    }

    /// Numbers of the rows among those of the content, in the order in which they are shown.
    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The number of the row that the cursor is on.
    pub(super) fn row_at_cursor(&self) -> Option<u32> {
        self.rows.get(self.current().cursor.at).copied()
    }

    /// Where the cursor is in a table: the table, and the row that is chosen there.
    fn chosen_row<'a>(&self, route: &'a Route) -> Option<(&'a dyn AnyTable, u32)> {
        let table = route.view().table()?;
        let row = self.row_at_cursor()?;
        let id = table.id(row, &self.content)?;
        // Until the rows of a newly opened view arrive, those of the previous view are shown.
        let is_chosen = self
            .current()
            .cursor
            .chosen
            .as_ref()
            .is_some_and(|chosen| chosen.is(&id));
        is_chosen.then_some((table, row))
    }

    pub(super) const fn cell_context(&self) -> CellContext<'_> {
        CellContext {
            theme: self.theme,
            content: &self.content,
        }
    }

    /// Whether a binding of this scope is active now.
    pub(super) fn is_active(&self, scope: Scope) -> bool {
        let view = self.current().route.view();
        match scope {
            Scope::All => true,
            Scope::Tables => view.table().is_some(),
            Scope::Openable => view.table().is_some() && !self.rows.is_empty(),
            Scope::Sortable => self.order().is_some(),
            Scope::Histograms => matches!(self.current().route, Route::Histograms(_)),
            Scope::Opened => self.stack.len() > 1,
            Scope::Recordings => self.content.play.is_some(),
            Scope::Live => self.content.play.is_none(),
        }
    }

    /// Active bindings that have a word for the footer.
    pub(super) fn hints(&self) -> impl Iterator<Item = &'static Binding> {
        keys::BINDINGS
            .iter()
            .filter(|binding| !binding.short.is_empty() && self.is_active(binding.scope))
    }

    /// Puts the rows in order, after they or the order have changed; the chosen one stays chosen.
    pub(crate) fn arrange(&mut self) {
        let route = self.current().route;
        let Some(table) = route.view().table() else {
            self.rows.clear();
            return;
        };
        self.rows = table.sort(self.order(), &self.cell_context());
        self.move_cursor(|cursor, count, id_at| cursor.follow(count, id_at));
    }

    /// Moves the cursor of the open table, and scrolls to where it is.
    fn move_cursor(&mut self, act: impl FnOnce(&mut Cursor, usize, &dyn Fn(usize) -> Option<RowId>)) {
        let mut cursor = std::mem::take(&mut self.current_mut().cursor);
        let count = self.rows.len();
        let route = self.current().route;
        let id_at = |at: usize| {
            let row = *self.rows.get(at)?;
            route.view().table()?.id(row, &self.content)
        };
        act(&mut cursor, count, &id_at);
        cursor.keep_in_sight(count, self.page());
        self.current_mut().cursor = cursor;
    }

    /// Shows a message until the next key.
    pub(crate) fn show_message(&mut self, text: impl Into<String>, is_error: bool) {
        self.message = Some(Message {
            text: text.into(),
            is_error,
        });
    }

    /// Asks for the filter again, after one that is invalid.
    pub(crate) fn reject_filter(&mut self, text: String, error: String) {
        self.prompt = Some(Prompt {
            question: Question::Filter,
            text,
            error: Some(error),
        });
    }

    /// Cookie of the connection whose history is open.
    pub(crate) fn shown_connection(&self) -> Option<u64> {
        let history = self.content.history.as_ref()?;
        Some(history.identity.id.cookie)
    }

    /// Cookies of the sockets that are in sight, and of all listeners among the endpoints.
    pub(crate) fn cookies_in_sight(&self) -> impl Iterator<Item = u64> {
        let cursor = &self.current().cursor;
        let page = usize::from(self.areas.rows.height);
        let content = &self.content;
        let rows = self.rows.iter().skip(cursor.top).take(page);
        let connections = rows.filter_map(|row| content.connections.get(*row as usize));
        let listeners = content.endpoints.iter().filter_map(|row| row.listener);
        connections
            .map(|row| row.identity.id.cookie)
            .chain(listeners)
            .chain(self.shown_connection())
    }
}
