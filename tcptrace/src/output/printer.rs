//! Printers, one for each format of a list of changes or lifetimes.

use super::{
    csv, json, lifetimes,
    loss::{self, Loss},
    row::Line,
    text,
};
use crate::{
    connection::{change::Change, lifetime::Lifetime},
    kernel::clock::ClockPair,
    options::Format,
    summary::{Header, Summary},
    unseen::Unseen,
};
use jiff::tz::TimeZone;

/// What a list has a line of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Changes,
    Lifetimes,
}

/// Writes the lines of a list, each with its newline.
pub(crate) trait Printer {
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

/// The printer of a form; `zone` is that of the times for people.
pub(crate) fn printer(format: Format, zone: TimeZone) -> Box<dyn Printer> {
    match format {
        Format::Text { wide } => Box::new(Text { wide, zone }),
        Format::Json => Box::new(Json),
        Format::Csv => Box::new(Csv),
    }
}

struct Text {
    wide: bool,
    zone: TimeZone,
}

impl Printer for Text {
    fn titles(&self, rows: Rows) -> String {
        match rows {
            Rows::Changes => text::titles(self.wide),
            Rows::Lifetimes => lifetimes::titles(self.wide),
        }
    }

    fn change(&self, line: &Line<'_, Change>) -> String {
        text::change(
            line.of,
            line.engine,
            line.netns_name,
            line.anchor,
            &self.zone,
            self.wide,
        )
    }

    fn lifetime(&self, line: &Line<'_, Lifetime>) -> String {
        lifetimes::line(line.of, line.engine, line.anchor, &self.zone, self.wide)
    }

    fn loss(&self, loss: &Loss, _: Rows, anchor: &ClockPair) -> String {
        loss::line(loss, anchor, &self.zone)
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
