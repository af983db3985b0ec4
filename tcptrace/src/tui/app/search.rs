//! Goes to the next row with a text in any of its cells.

use super::App;

impl App {
    /// Goes to the next match after the chosen row, or to the one before it, round the end.
    pub(super) fn find_next(&mut self, is_forward: bool) {
        let route = self.current().route;
        let (false, Some(table)) = (self.search.is_empty(), route.view().table()) else {
            return;
        };
        let count = self.rows.len();
        let from = self.current().cursor.at;
        let wanted = self.search.to_lowercase();
        let context = self.cell_context();
        let found = (1..=count)
            .map(|step| {
                let step = if is_forward { step } else { count - step };
                (from + step) % count
            })
            .find(|at| table.contains(self.rows[*at], &wanted, &context));
        match found {
            Some(at) => self.go(at),
            None => self.show_message(format!("no row contains \"{}\"", self.search), true),
        }
    }
}
