//! Moves between views, rows and sort orders.

use super::{App, Effect, OpenView, Order};
use crate::{
    tui::{
        columns::ColumnId,
        cursor::Cursor,
        route::{Route, Tab},
    },
    view::connections::Selection,
};

impl App {
    pub(super) fn page(&self) -> usize {
        usize::from(self.areas.rows.height).max(1)
    }

    pub(super) fn page_step(&self) -> isize {
        isize::try_from(self.page())
            .unwrap_or(isize::MAX)
            .saturating_sub(1)
            .max(1)
    }

    pub(super) fn open_tab(&mut self, tab: Tab) -> Vec<Effect> {
        let bottom = &self.stack[0];
        if let Some(tab) = bottom.route.view().tab() {
            self.cursors.insert(tab, bottom.cursor.clone());
        }
        self.stack = vec![OpenView {
            route: tab.route(),
            cursor: self.cursors.get(&tab).cloned().unwrap_or_default(),
        }];
        vec![Effect::Rows]
    }

    /// So many tabs on.
    pub(super) fn turn(&mut self, by: usize) -> Vec<Effect> {
        let tab = self.stack[0].route.view().tab().unwrap_or(Tab::Processes);
        let at = Tab::ALL.iter().position(|other| *other == tab).unwrap_or(0);
        self.open_tab(Tab::ALL[(at + by) % Tab::ALL.len()])
    }

    pub(super) fn push(&mut self, route: Route) -> Vec<Effect> {
        if self.current().route == route {
            return Vec::new();
        }
        self.stack.push(OpenView {
            route,
            cursor: Cursor::default(),
        });
        vec![Effect::Rows]
    }

    pub(super) fn back(&mut self) -> Vec<Effect> {
        self.stack.pop();
        vec![Effect::Rows]
    }

    /// What the chosen row leads to.
    pub(super) fn open(&mut self) -> Vec<Effect> {
        let route = self.current().route;
        let Some((table, row)) = self.chosen_row(&route) else {
            return Vec::new();
        };
        if let Some(route) = table.opens(row, &self.content) {
            return self.push(route);
        }
        self.show_message("this finding is not about a single process", false);
        Vec::new()
    }

    /// Of the selected row if there is one, else of all processes.
    pub(super) fn open_histograms(&mut self) -> Vec<Effect> {
        let route = self.current().route;
        if route.view().table().is_none() {
            return self.open_tab(Tab::Histograms);
        }
        let chosen = self.chosen_row(&route);
        let of = chosen.and_then(|(table, row)| table.selection(row, &self.content));
        self.histograms_of = of.unwrap_or(Selection::All);
        self.push(Route::histograms(self.histograms_of))
    }

    pub(super) fn toggle_all(&mut self) -> Vec<Effect> {
        let of_all = Route::histograms(Selection::All);
        let of_chosen = Route::histograms(self.histograms_of);
        let open = self.current_mut();
        open.route = if open.route == of_all { of_chosen } else { of_all };
        open.cursor = Cursor::default();
        vec![Effect::Rows]
    }

    /// Moves down by this number of rows, or of lines in views that are not tables.
    pub(crate) fn step(&mut self, by: isize) {
        if self.current().route.view().table().is_some() {
            self.go(self.current().cursor.at.saturating_add_signed(by));
        } else {
            let last = self.areas.lines.saturating_sub(self.page());
            let cursor = &mut self.current_mut().cursor;
            cursor.top = cursor.top.saturating_add_signed(by).min(last);
        }
    }

    /// Chooses a row by where it is in the table's order.
    pub(super) fn go(&mut self, at: usize) {
        self.move_cursor(|cursor, count, id_at| cursor.go(at, count, id_at));
    }

    /// By this column, or the other way round where it is by it already.
    pub(super) fn sort_by(&mut self, column: ColumnId) {
        if let Some(order) = self.order()
            && self.sortable().contains(&column)
        {
            self.set_order(Order {
                column,
                is_reversed: order.column == column && !order.is_reversed,
            });
        }
    }

    /// By the next column that is shown, or by the one before.
    pub(super) fn sort_beside(&mut self, is_next: bool) {
        let sortable = self.sortable();
        let Some(order) = self.order() else { return };
        let at = sortable.iter().position(|column| *column == order.column);
        let count = sortable.len().max(1);
        let next = match (at, is_next) {
            (None, _) => 0,
            (Some(at), true) => (at + 1) % count,
            (Some(at), false) => (at + count - 1) % count,
        };
        if let Some(column) = sortable.get(next) {
            self.set_order(Order::by(*column));
        }
    }

    pub(super) fn reverse(&mut self) {
        if let Some(order) = self.order() {
            self.set_order(Order {
                is_reversed: !order.is_reversed,
                ..order
            });
        }
    }

    fn set_order(&mut self, order: Order) {
        if let Some(tab) = self.current().route.view().tab() {
            self.orders.insert(tab, order);
            self.arrange();
        }
    }

    /// The columns that are shown and can be sorted by.
    fn sortable(&self) -> Vec<ColumnId> {
        let Some(table) = self.current().route.view().table() else {
            return Vec::new();
        };
        let sorted_by = self.order().map(|order| order.column);
        let fits = table.fit(self.areas.rows.width, sorted_by).into_iter();
        fits.filter(|fit| fit.is_sortable).map(|fit| fit.id).collect()
    }
}
