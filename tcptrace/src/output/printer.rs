//! Printers, one for each format of a list of changes or lifetimes.

use super::{
    csv, json, lifetimes,
    loss::{self, Loss},
    row::Line,
    text::Layout,
    times::Times,
};
use crate::{
    connection::{change::Change, lifetime::Lifetime},
    event::Nanos,
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

/// Terminals of this many columns have room for all of a lifetime's addresses.
const LIFETIME_COLUMNS: u16 = 240;

/// The printer of a form; text is written for a terminal of `columns`, if there is one, with its times as `times`.
pub(crate) fn printer(format: Format, columns: Option<u16>, times: Times) -> Box<dyn Printer> {
    match format {
        Format::Text { wide } => Box::new(Text {
            layout: Layout::new(wide, columns),
            has_wide_addresses: wide || columns >= Some(LIFETIME_COLUMNS),
            times,
            date: Cell::new(None),
        }),
        Format::Json => Box::new(Json),
        Format::Csv => Box::new(Csv),
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

struct Csv;

impl Csv {
    fn columns(rows: Rows) -> Vec<&'static str> {
        match rows {
            Rows::Changes => csv::titles::<Line<'_, Change>>(),
            Rows::Lifetimes => csv::titles::<Line<'_, Lifetime>>(),
        }
    }
}

impl Printer for Csv {
    fn titles(&self, rows: Rows) -> String {
        csv::line(Self::columns(rows))
    }

    fn change(&self, line: &Line<'_, Change>) -> String {
        csv::row(line)
    }

    fn lifetime(&self, line: &Line<'_, Lifetime>) -> String {
        csv::row(line)
    }

    fn loss(&self, loss: &Loss, rows: Rows, anchor: &ClockPair) -> String {
        loss::csv(loss, &Self::columns(rows), anchor)
    }
}
