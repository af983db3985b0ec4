//! The table of findings, which are worst first as they come.

use super::{Cell, Column, Side};
use crate::findings::Finding;

/// Its columns.
pub static COLUMNS: [Column<Finding>; 3] = [
    Column::new("LEVEL", 8, Side::Left, 0, |row, looks| {
        Cell::new(row.level.name(), looks.theme.level(row.level))
    }),
    Column::new("WHOM", 26, Side::Left, 0, |row, looks| {
        Cell::new(row.subject.to_string(), looks.theme.strong())
    }),
    Column {
        grows: true,
        ..Column::new("FINDING", 20, Side::Left, 0, |row, _| {
            Cell::plain(row.title.as_str())
        })
    },
];
