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

/// What a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This machine, while it is traced.
    Machine,
    /// Recordings, of any day and of one or several hosts.
    Recordings,
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
pub(crate) struct ColumnChoice {
    /// Places in the list of all.
    places: Vec<usize>,
    names: Vec<&'static str>,
}

impl ColumnChoice {
    /// All columns of these rows, as CSV has them; recordings have a host.
    pub(crate) fn all(rows: Rows, source: Source) -> Self {
        let names = match rows {
            Rows::Changes => csv::titles::<Line<'_, Change>>(),
            Rows::Lifetimes => csv::titles::<Line<'_, Lifetime>>(),
        };
        let all = names.into_iter().enumerate();
        let (places, names) = all
            .filter(|(_, name)| source == Source::Recordings || *name != "host")
            .unzip();
        Self { places, names }
    }

    /// The columns with these names, in this order. Fails with the first name that no column has.
    pub(crate) fn of<'n>(rows: Rows, source: Source, names: &'n [String]) -> Result<Self, &'n str> {
        let all = Self::all(rows, source);
        let find = |name: &'n String| {
            let place = all.names.iter().position(|known| known == name);
            place
                .map(|place| (all.places[place], all.names[place]))
                .ok_or(name.as_str())
        };
        let columns = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let (places, names) = columns.into_iter().unzip();
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
    (rows, source): (Rows, Source),
    chosen: Option<ColumnChoice>,
) -> Box<dyn Printer> {
    let dates = Dates {
        times,
        has_first: source == Source::Recordings,
        day: Cell::new(None),
    };
    match (format, chosen) {
        (Format::Text { .. }, Some(chosen)) => Box::new(Table { chosen, dates }),
        (Format::Text { wide }, None) => Box::new(Text {
            layout: Layout::new(wide, columns),
            has_wide_addresses: wide || columns >= Some(LIFETIME_COLUMNS),
            dates,
        }),
        (Format::Json, _) => Box::new(Json),
        (Format::Csv, chosen) => Box::new(Csv {
            chosen: chosen.unwrap_or_else(|| ColumnChoice::all(rows, source)),
        }),
    }
}

/// The times of lines, and the days that they do not name.
struct Dates {
    times: Times,
    /// Whether the first line has its date before it: its day need not be today.
    has_first: bool,
    /// The day of the line before.
    day: Cell<Option<Date>>,
}

impl Dates {
    /// The line, after one with the date if it is another day than that of the line before.
    fn dated(&self, time: Nanos, anchor: &ClockPair, line: String) -> String {
        let Some(day) = self.times.date(time, anchor) else {
            return line;
        };
        match self.day.replace(Some(day)) {
            Some(before) if before == day => line,
            None if !self.has_first => line,
            Some(_) | None => format!("{day}\n{line}"),
        }
    }
}

struct Text {
    layout: Layout,
    /// Of lifetimes.
    has_wide_addresses: bool,
    dates: Dates,
}

impl Printer for Text {
    fn shows_places(&self) -> bool {
        self.layout == Layout::All
    }

    fn titles(&self, rows: Rows) -> String {
        match rows {
            Rows::Changes => self.layout.titles(&self.dates.times),
            Rows::Lifetimes => lifetimes::titles(self.has_wide_addresses, &self.dates.times),
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
        let text = self
            .layout
            .line(of, engine, netns_name, anchor, &self.dates.times);
        self.dates.dated(of.time, anchor, text)
    }

    fn lifetime(&self, line: &Line<'_, Lifetime>) -> String {
        let Line {
            of, engine, anchor, ..
        } = *line;
        let text = lifetimes::line(of, engine, anchor, &self.dates.times, self.has_wide_addresses);
        self.dates.dated(of.ended, anchor, text)
    }

    fn loss(&self, loss: &Loss, _: Rows, anchor: &ClockPair) -> String {
        loss::line(loss, anchor, &self.dates.times)
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
    chosen: ColumnChoice,
    dates: Dates,
}

impl Table {
    fn line<'r, T>(&'r self, row: &'r Line<'r, T>, time: Nanos) -> String
    where
        Line<'r, T>: TableRow,
    {
        let mut line = String::new();
        let names = self.chosen.names();
        let guess = self.place_of_guess(row);
        let values = self.chosen.values(row).enumerate();
        let cells = values.map(|(place, value)| {
            let name = names[place];
            let value = match value {
                Value::Time(_) => self.dates.times.micros(time, row.anchor).into(),
                value if guess == Some(place) => format!("{}?", value.text()).into(),
                value if is_exact(row, name) => value,
                value => table::lower_bound(&value),
            };
            (name, value)
        });
        table::push_line(&mut line, cells);
        if names.contains(&"time") {
            self.dates.dated(time, row.anchor, line)
        } else {
            line
        }
    }

    /// Which column marks the owner as a guess, if it is one: that of the PID, or else that of the name.
    fn place_of_guess<T>(&self, row: &Line<'_, T>) -> Option<usize> {
        let (_, evidence) = row.process()?;
        let names = self.chosen.names();
        let place_of = |name| names.iter().position(|known| *known == name);
        evidence
            .is_provisional()
            .then(|| place_of("pid").or_else(|| place_of("comm")))?
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
        self.line(line, line.of.time)
    }

    fn lifetime(&self, line: &Line<'_, Lifetime>) -> String {
        self.line(line, line.of.ended)
    }

    fn loss(&self, loss: &Loss, _: Rows, anchor: &ClockPair) -> String {
        loss::line(loss, anchor, &self.dates.times)
    }
}

struct Csv {
    chosen: ColumnChoice,
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
        loss::csv(loss, self.chosen.names(), anchor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connection::change::fixture::change_of,
        engine::Engine,
        event::{
            Age, ProcessKey,
            fixture::{comm, endpoints, task},
        },
        owner::policy::{Evidence, Owner},
    };

    #[test]
    fn chosen_columns_mark_an_owner_that_is_a_guess() {
        let mut engine = Engine::new(1);
        let process = task(ProcessKey::new(7, 1), comm("nginx"));
        let process = engine.table.processes.intern(&process);
        let change = change_of(endpoints("10.0.0.1:80", "10.0.0.2:4000"), Age::Exact(Nanos(5)));
        let line_of = |evidence, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let chosen = ColumnChoice::of(Rows::Changes, Source::Machine, &names).unwrap();
            let printer = printer(
                Format::Text { wide: false },
                None,
                Times::Epoch,
                (Rows::Changes, Source::Machine),
                Some(chosen),
            );
            let owner = Some(Owner {
                process,
                evidence,
                since: Nanos(0),
            });
            printer.change(&Line {
                of: &change,
                owner,
                engine: &engine,
                host: None,
                netns_name: None,
                anchor: &ClockPair::default(),
            })
        };
        assert_eq!(
            line_of(Evidence::Listener, &["comm", "pid"]),
            "nginx               7?\n"
        );
        assert_eq!(
            line_of(Evidence::Listener, &["old", "comm"]),
            "ESTABLISHED nginx?\n"
        );
        assert_eq!(
            line_of(Evidence::Accept, &["comm", "pid"]),
            "nginx                7\n"
        );
    }
}
