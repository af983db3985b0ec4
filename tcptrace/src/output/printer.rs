//! Printers, one for each format of a list of changes or lifetimes.

use super::{
    csv, json, lifetimes,
    loss::{self, Loss},
    row::{Line, TableRow, Value},
    table,
    text::Layout,
    times::Times,
};
use crate::{
    connection::{change::Change, lifetime::Lifetime},
    event::{Nanos, TcpState},
    kernel::clock::ClockPair,
    options::Format,
    summary::{Header, Summary},
    unseen::Unseen,
};
use jiff::civil::Date;
use std::cell::Cell;

/// What a list has a line of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Changes,
    Lifetimes,
}

impl Rows {
    /// What a line is of.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Changes => "change",
            Self::Lifetimes => "connection",
        }
    }
}

/// Writes the lines of a list, each with its newline.
pub(crate) trait Printer {
    /// Whether lines show where processes run, and the names of network namespaces.
    fn shows_places(&self) -> bool {
        true
    }

    /// Empty in a form without titles.
    fn titles(&self, rows: Rows) -> String;

    fn change(&self, line: &Line<'_, Change>) -> String;

    fn lifetime(&self, line: &Line<'_, Lifetime>) -> String;

    /// What is missing at this place in a list of `rows`.
    fn loss(&self, loss: &Loss, rows: Rows, anchor: &ClockPair) -> String;

    /// What comes first in a form that describes itself.
    fn header(&self, _header: &Header, _unseen: &[Unseen]) -> String {
        String::new()
    }

    /// What comes last in a form that describes itself.
    fn summary(&self, _summary: &Summary) -> String {
        String::new()
    }
}

/// Columns of rows, in the order in which they are printed.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// Places in the list of all.
    places: Vec<usize>,
    names: Vec<&'static str>,
}

impl Chosen {
    /// All columns of these rows, as CSV has them.
    pub(crate) fn all(rows: Rows) -> Self {
        let names = match rows {
            Rows::Changes => csv::titles::<Line<'_, Change>>(),
            Rows::Lifetimes => csv::titles::<Line<'_, Lifetime>>(),
        };
        Self {
            places: (0..names.len()).collect(),
            names,
        }
    }

    /// Those of these names. Fails with the first name that none has.
    pub(crate) fn of<'n>(rows: Rows, names: &'n [String]) -> Result<Self, &'n str> {
        let all = Self::all(rows).names;
        let place = |name: &'n String| all.iter().position(|known| known == name).ok_or(name.as_str());
        let places = names.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let names = places.iter().map(|place| all[*place]).collect();
        Ok(Self { places, names })
    }

    pub(crate) fn names(&self) -> &[&'static str] {
        &self.names
    }

    fn values<'r, R: TableRow>(&'r self, row: &'r R) -> impl Iterator<Item = Value<'r>> {
        self.places.iter().map(|place| R::columns()[*place].1(row))
    }

    fn has_places(&self) -> bool {
        let mut names = self.names.iter();
        names.any(|name| table::is_of_location(name) || *name == "netns_name")
    }
}

/// Whether a time is none that is a lower bound: the column of a name with `exact` says so, that of all states for theirs.
fn is_exact<R: TableRow>(row: &R, name: &str) -> bool {
    let Some(stem) = name.strip_suffix("_ns") else {
        return true;
    };
    let of = |title: &str| R::columns().iter().find(|(known, _)| *known == title);
    let is_of_state = TcpState::ALL
        .into_iter()
        .any(|state| state.name().eq_ignore_ascii_case(stem));
    let column = if is_of_state {
        of("states_exact")
    } else {
        of(&format!("{stem}_exact"))
    };
    column.is_none_or(|(_, value)| value(row) != Value::Flag(false))
}

/// Terminals of this many columns have room for all of a lifetime's addresses.
const LIFETIME_COLUMNS: u16 = 240;

/// The printer of a form; text is written for a terminal of `columns`, if there is one, with its times as `times`.
/// `chosen` columns, if any, replace those of the form, which is not JSON.
pub(crate) fn printer(
    format: Format,
    columns: Option<u16>,
    times: Times,
    rows: Rows,
    chosen: Option<Chosen>,
) -> Box<dyn Printer> {
    match (format, chosen) {
        (Format::Text { .. }, Some(chosen)) => Box::new(Table { chosen, times }),
        (Format::Text { wide }, None) => Box::new(Text {
            layout: Layout::new(wide, columns),
            has_wide_addresses: wide || columns >= Some(LIFETIME_COLUMNS),
            times,
            date: Cell::new(None),
        }),
        (Format::Json, _) => Box::new(Json),
        (Format::Csv, chosen) => Box::new(Csv {
            chosen: chosen.unwrap_or_else(|| Chosen::all(rows)),
        }),
    }
}

struct Text {
    layout: Layout,
    /// Of lifetimes.
    has_wide_addresses: bool,
    times: Times,
    /// The day of the line before.
    date: Cell<Option<Date>>,
}

impl Text {
    /// The line, after one with the date if it is another day than that of the line before.
    fn dated(&self, time: Nanos, anchor: &ClockPair, line: String) -> String {
        let date = self.times.date(time, anchor);
        match (self.date.replace(date), date) {
            (Some(before), Some(date)) if before < date => format!("{date}\n{line}"),
            _ => line,
        }
    }
}

impl Printer for Text {
    fn shows_places(&self) -> bool {
        self.layout == Layout::All
    }

    fn titles(&self, rows: Rows) -> String {
        match rows {
            Rows::Changes => self.layout.titles(&self.times),
            Rows::Lifetimes => lifetimes::titles(self.has_wide_addresses, &self.times),
        }
    }

    fn change(&self, line: &Line<'_, Change>) -> String {
        let Line {
            of,
            engine,
            netns_name,
            anchor,
            ..
        } = *line;
        let text = self.layout.line(of, engine, netns_name, anchor, &self.times);
        self.dated(of.time, anchor, text)
    }

    fn lifetime(&self, line: &Line<'_, Lifetime>) -> String {
        let Line {
            of, engine, anchor, ..
        } = *line;
        let text = lifetimes::line(of, engine, anchor, &self.times, self.has_wide_addresses);
        self.dated(of.ended, anchor, text)
    }

    fn loss(&self, loss: &Loss, _: Rows, anchor: &ClockPair) -> String {
        loss::line(loss, anchor, &self.times)
    }
}

struct Json;

impl Printer for Json {
    fn titles(&self, _: Rows) -> String {
        String::new()
    }

    fn change(&self, line: &Line<'_, Change>) -> String {
        json::change(line.of, line.engine, line.netns_name, line.anchor)
    }

    fn lifetime(&self, line: &Line<'_, Lifetime>) -> String {
        lifetimes::json(line.of, line.engine, line.netns_name, line.anchor)
    }

    fn loss(&self, loss: &Loss, _: Rows, anchor: &ClockPair) -> String {
        loss::json(loss, anchor)
    }

    fn header(&self, header: &Header, unseen: &[Unseen]) -> String {
        json::header(header, unseen)
    }

    fn summary(&self, summary: &Summary) -> String {
        json::summary(summary)
    }
}

/// Chosen columns for people.
struct Table {
    chosen: Chosen,
    times: Times,
}

impl Table {
    fn line<R: TableRow>(&self, row: &R, time: Nanos, anchor: &ClockPair) -> String {
        let mut line = String::new();
        let names = self.chosen.names().iter().copied();
        let cells = names
            .zip(self.chosen.values(row))
            .map(|(name, value)| match value {
                Value::Time(_) => (name, self.times.micros(time, anchor).into()),
                value if is_exact(row, name) => (name, value),
                value => (name, table::lower_bound(&value)),
            });
        table::push_line(&mut line, cells);
        line
    }
}

impl Printer for Table {
    fn shows_places(&self) -> bool {
        self.chosen.has_places()
    }

    fn titles(&self, _: Rows) -> String {
        table::titles(self.chosen.names().iter().copied())
    }

    fn change(&self, line: &Line<'_, Change>) -> String {
        self.line(line, line.of.time, line.anchor)
    }

    fn lifetime(&self, line: &Line<'_, Lifetime>) -> String {
        self.line(line, line.of.ended, line.anchor)
    }

    fn loss(&self, loss: &Loss, _: Rows, anchor: &ClockPair) -> String {
        loss::line(loss, anchor, &self.times)
    }
}

struct Csv {
    chosen: Chosen,
}

impl Csv {
    fn line<R: TableRow>(&self, row: &R) -> String {
        csv::line(self.chosen.values(row).map(Value::text))
    }
}

impl Printer for Csv {
    fn shows_places(&self) -> bool {
        self.chosen.has_places()
    }

    fn titles(&self, _: Rows) -> String {
        csv::line(self.chosen.names())
    }

    fn change(&self, line: &Line<'_, Change>) -> String {
        self.line(line)
    }

    fn lifetime(&self, line: &Line<'_, Lifetime>) -> String {
        self.line(line)
    }

    fn loss(&self, loss: &Loss, _: Rows, anchor: &ClockPair) -> String {
        // Standard error reports it too.
        if !self.chosen.names().contains(&"reason") {
            return String::new();
        }
        loss::csv(loss, self.chosen.names(), anchor)
    }
}
