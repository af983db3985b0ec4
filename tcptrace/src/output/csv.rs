//! Comma-separated values, RFC 4180: quoted where needed, below one line of titles.

use super::row::{Column, Line, TableRow, line_columns};
use crate::{connection::change::Change, event::Age};
use std::borrow::Cow;

pub(crate) fn titles<R: TableRow>() -> Vec<&'static str> {
    R::columns().iter().map(|(title, _)| *title).collect()
}

pub(crate) fn line(fields: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut text = String::new();
    push(&mut text, fields);
    text
}

/// Appends the line of a row.
pub(crate) fn push_row<R: TableRow>(text: &mut String, row: &R) {
    push(text, R::columns().iter().map(|(_, value)| value(row).text()));
}

/// Appends a line of fields.
pub(crate) fn push(text: &mut String, fields: impl IntoIterator<Item = impl AsRef<str>>) {
    let buffer = std::mem::take(text).into_bytes();
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .buffer_capacity(LINE_BYTES)
        .from_writer(buffer);
    for field in fields {
        let written = writer.write_field(unformulated(field.as_ref()).as_bytes());
        written.expect("a vector takes whatever is written");
    }
    let ended = writer.write_record(None::<&[u8]>);
    ended.expect("a vector takes whatever is written");
    let buffer = writer.into_inner().expect("a vector takes whatever is written");
    *text = String::from_utf8(buffer).expect("text in quotes is text");
}

const LINE_BYTES: usize = 1 << 10;

/// Characters at the beginning of a text that a spreadsheet interprets as a formula; texts have no control characters.
const FORMULAS: [char; 4] = ['=', '+', '-', '@'];

/// The text, behind an apostrophe where a spreadsheet would run it as a formula: programs choose their names. What reads
/// as a number is no formula.
fn unformulated(field: &str) -> Cow<'_, str> {
    let is_formula = field.starts_with(FORMULAS) && field != "-" && field.parse::<f64>().is_err();
    if is_formula {
        format!("'{field}").into()
    } else {
        field.into()
    }
}

impl TableRow for Line<'_, Change> {
    fn columns<'r>() -> &'r [Column<Self>]
    where
        Self: 'r,
    {
        line_columns!(
            time,
            [
                ("old", |line| line.of.old.name().into()),
                ("new", |line| line.of.new.name().into()),
                ("dwell_ns", |line| line.of.dwell.map(|age| age.span().0).into()),
                ("dwell_exact", |line| {
                    line.of.dwell.is_some_and(Age::is_exact).into()
                }),
            ],
            []
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        output::row::{Value, location},
        owner::container::Location,
    };

    fn written(field: &str) -> String {
        let mut text = String::new();
        push(&mut text, ["", field]);
        text.trim_end().trim_start_matches(',').to_owned()
    }

    #[test]
    fn a_place_is_five_columns_known_or_not() {
        let fields = |known: Option<&Location>| {
            let mut text = String::new();
            let of = [
                location::runtime,
                location::container,
                location::pod,
                location::unit,
                location::cgroup_path,
            ];
            push(&mut text, of.map(|value| Value::from(value(known)).text()));
            text
        };
        assert_eq!(fields(None), ",,,,\n");
        assert_eq!(fields(Some(&Location::of_path(b"/"))), ",,,,/\n");
        assert_eq!(
            fields(Some(&Location::of_path(b"/lxc/a,b/c.service"))),
            "lxc,\"a,b\",,c.service,\"/lxc/a,b/c.service\"\n"
        );
    }

    #[test]
    fn fields_with_commas_and_quotes_survive() {
        assert_eq!(written("plain"), "plain");
        assert_eq!(written("a,b"), "\"a,b\"");
        assert_eq!(written("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn a_text_is_no_formula_and_a_number_stays_one() {
        assert_eq!(written("=1+1"), "'=1+1");
        assert_eq!(
            written("=HYPERLINK(\"http://x\",1)"),
            "\"'=HYPERLINK(\"\"http://x\"\",1)\""
        );
        for formula in ["+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "-.mount"] {
            assert_eq!(written(formula), format!("'{formula}"));
        }
        for plain in ["", "-", "-5", "+5", "-0.25", "1=1", "a-b", "nginx"] {
            assert_eq!(written(plain), plain);
        }
    }
}
