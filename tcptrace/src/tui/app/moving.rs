//! From view to view, from row to row, from order to order.

use super::{App, Order, Stop, Wish};
use crate::{
    event::ProcessKey,
    tui::{
        columns::{self, Column, connections, endpoints, processes},
        content,
        cursor::{Cursor, RowId},
        place::{Place, Tab},
    },
    view::connections::Of,
};

impl App {
    /// Rows that fit.
    pub(super) fn page(&self) -> usize {
        usize::from(self.areas.rows.height).max(1)
    }

    pub(super) fn page_step(&self) -> isize {
        isize::try_from(self.page())
            .unwrap_or(isize::MAX)
            .saturating_sub(1)
            .max(1)
    }

    pub(super) fn open_tab(&mut self, tab: Tab) -> Vec<Wish> {
        self.leave();
        let place = match tab {
            Tab::Processes => Place::Processes,
            Tab::Connections => Place::Connections(Of::All),
            Tab::Endpoints => Place::Endpoints,
            Tab::Transitions => Place::Transitions,
            Tab::Histograms => Place::Histograms(Of::All),
            Tab::Findings => Place::Findings,
        };
        let known = self.saved.iter().find(|(saved, _)| *saved == tab);
        let cursor = known.map(|(_, cursor)| cursor.clone()).unwrap_or_default();
        self.stops = vec![Stop { place, cursor }];
        vec![Wish::Rows]
    }

    /// Remembers where in the bottom view the user was.
    fn leave(&mut self) {
        let bottom = &self.stops[0];
        if let Some(tab) = bottom.place.tab() {
            let cursor = bottom.cursor.clone();
            self.saved.retain(|(saved, _)| *saved != tab);
            self.saved.push((tab, cursor));
        }
    }

    /// So many tabs on.
    pub(super) fn turn(&mut self, by: usize) -> Vec<Wish> {
        let tab = self.stops[0].place.tab().unwrap_or(Tab::Processes);
        let at = Tab::ALL.iter().position(|other| *other == tab).unwrap_or(0);
        self.open_tab(Tab::ALL[(at + by) % Tab::ALL.len()])
    }

    pub(super) fn push(&mut self, place: Place) -> Vec<Wish> {
        if self.stop().place == place {
            return Vec::new();
        }
        self.stops.push(Stop {
            place,
            cursor: Cursor::default(),
        });
        vec![Wish::Rows]
    }

    pub(super) fn back(&mut self) -> Vec<Wish> {
        self.stops.pop();
        vec![Wish::Rows]
    }

    pub(super) fn open(&mut self) -> Vec<Wish> {
        match self.stop().cursor.chosen.clone() {
            Some(RowId::Process(key)) => self.push(Place::Connections(Of::Process(key))),
            Some(RowId::Connection(identity)) => self.push(Place::History(identity)),
            Some(RowId::Endpoint(key)) => self.push(Place::Connections(Of::Endpoint(key))),
            Some(RowId::Finding(..)) => {
                if let Some(key) = self.found_process() {
                    return self.push(Place::Connections(Of::Process(Some(key))));
                }
                self.tell("this is about no single process", false);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// The process of the chosen finding.
    pub(super) fn found_process(&self) -> Option<ProcessKey> {
        let row = *self.rows.get(self.stop().cursor.at)?;
        content::process_of(self.content.findings.get(row as usize)?)
    }

    /// Of the chosen row where there is one, else of everybody.
    pub(super) fn open_histograms(&mut self) -> Vec<Wish> {
        if !self.stop().place.is_table() {
            return self.open_tab(Tab::Histograms);
        }
        self.histograms_of = self.of_chosen();
        self.push(Place::Histograms(self.histograms_of))
    }

    pub(super) fn everybody(&mut self) -> Vec<Wish> {
        let chosen = self.histograms_of;
        let stop = self.stop_mut();
        stop.place = match stop.place {
            Place::Histograms(Of::All) => Place::Histograms(chosen),
            _ => Place::Histograms(Of::All),
        };
        stop.cursor = Cursor::default();
        vec![Wish::Rows]
    }

    /// So many rows down, or lines of what is no table.
    pub fn step(&mut self, by: isize) {
        if self.stop().place.is_table() {
            self.go(self.stop().cursor.at.saturating_add_signed(by));
        } else {
            let last = self.areas.lines.saturating_sub(self.page());
            let cursor = &mut self.stop_mut().cursor;
            cursor.top = cursor.top.saturating_add_signed(by).min(last);
        }
    }

    /// Chooses the row at a place of the table.
    pub(super) fn go(&mut self, at: usize) {
        let mut cursor = std::mem::take(&mut self.stop_mut().cursor);
        cursor.go(at, self.rows.len(), |at| self.id_at(at));
        cursor.keep_in_sight(self.rows.len(), self.page());
        self.stop_mut().cursor = cursor;
    }

    fn order_mut(&mut self) -> Option<&mut Order> {
        match self.stop().place {
            Place::Processes => Some(&mut self.processes),
            Place::Connections(_) => Some(&mut self.connections),
            Place::Endpoints => Some(&mut self.endpoints),
            Place::History(_) | Place::Transitions | Place::Histograms(_) | Place::Findings | Place::Help => {
                None
            }
        }
    }

    /// By this column, or the other way round where it is by it already.
    pub(super) fn sort_by(&mut self, column: usize) {
        let is_sortable = self.sortable().contains(&column);
        if let Some(order) = self.order_mut()
            && is_sortable
        {
            *order = Order {
                column,
                is_reversed: order.column == column && !order.is_reversed,
            };
            self.arrange();
        }
    }

    pub(super) fn sort_beside(&mut self, is_next: bool) {
        let sortable = self.sortable();
        let Some(order) = self.order_mut() else { return };
        let at = sortable.iter().position(|column| *column == order.column);
        let count = sortable.len().max(1);
        let next = match (at, is_next) {
            (None, _) => 0,
            (Some(at), true) => (at + 1) % count,
            (Some(at), false) => (at + count - 1) % count,
        };
        if let Some(column) = sortable.get(next) {
            *order = Order::by(*column);
            self.arrange();
        }
    }

    pub(super) fn reverse(&mut self) {
        if let Some(order) = self.order_mut() {
            order.is_reversed = !order.is_reversed;
            self.arrange();
        }
    }

    /// The columns that are seen and can be sorted by.
    fn sortable(&self) -> Vec<usize> {
        let width = self.areas.rows.width;
        match self.stop().place {
            Place::Processes => sortable(&processes::COLUMNS, width),
            Place::Connections(_) => sortable(&connections::COLUMNS, width),
            Place::Endpoints => sortable(&endpoints::COLUMNS, width),
            Place::History(_) | Place::Transitions | Place::Histograms(_) | Place::Findings | Place::Help => {
                Vec::new()
            }
        }
    }
}

fn sortable<R>(columns: &[Column<R>], width: u16) -> Vec<usize> {
    columns::fit(columns, width)
        .into_iter()
        .map(|fit| fit.column)
        .filter(|at| columns[*at].key.is_some())
        .collect()
}
