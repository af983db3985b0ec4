//! The table of findings, which are worst first as they come.

use super::{Cell, Column, Side};
use crate::findings::Finding;

/// Its columns.
pub static COLUMNS: [Column<Finding>; 3] = [
    Column {
        title: "LEVEL",
        width: 8,
        side: Side::Left,
        rank: 0,
        grows: false,
        cell: |row, looks| Cell::new(row.level.name(), looks.theme.level(row.level)),
        key: None,
    },
    Column {
        title: "WHOM",
        width: 26,
        side: Side::Left,
        rank: 0,
        grows: false,
        cell: |row, looks| Cell::new(row.subject.to_string(), looks.theme.strong()),
        key: None,
    },
    Column {
        title: "FINDING",
        width: 20,
        side: Side::Left,
        rank: 0,
        grows: true,
        cell: |row, _| Cell::plain(row.title.as_str()),
        key: None,
    },
];
