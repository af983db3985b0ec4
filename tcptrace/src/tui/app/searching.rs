//! Goes to the next row that has a text in any of its cells.

use super::App;
use crate::tui::{
    columns::{Column, Looks, connections, endpoints, findings, processes},
    place::Place,
};

impl App {
    /// Goes to the next match after the chosen row, or to the one before it; from the end on at the beginning.
    pub(super) fn find_next(&mut self, is_forward: bool) {
        if self.search.is_empty() {
            return;
        }
        let count = self.rows.len();
        let at = self.stop().cursor.at;
        let wanted = self.search.to_lowercase();
        let found = (1..=count)
            .map(|step| {
                let step = if is_forward { step } else { count - step };
                (at + step) % count
            })
            .find(|place| self.has_text(*place, &wanted));
        match found {
            Some(place) => self.go(place),
            None => self.tell(format!("no row has \"{}\"", self.search), true),
        }
    }

    fn has_text(&self, at: usize, wanted: &str) -> bool {
        let Some(row) = self.rows.get(at) else {
            return false;
        };
        let row = *row as usize;
        let (content, looks) = (&self.content, self.looks());
        match self.stop().place {
            Place::Processes => shows(&content.view.processes, row, &processes::COLUMNS, &looks, wanted),
            Place::Connections(_) => shows(&content.connections, row, &connections::COLUMNS, &looks, wanted),
            Place::Endpoints => shows(&content.endpoints, row, &endpoints::COLUMNS, &looks, wanted),
            Place::Findings => shows(&content.findings, row, &findings::COLUMNS, &looks, wanted),
            Place::History(_) | Place::Transitions | Place::Histograms(_) | Place::Help => false,
        }
    }
}

fn shows<R>(rows: &[R], at: usize, columns: &[Column<R>], looks: &Looks<'_>, wanted: &str) -> bool {
    rows.get(at).is_some_and(|row| {
        columns
            .iter()
            .any(|column| (column.cell)(row, looks).text.to_lowercase().contains(wanted))
    })
}
