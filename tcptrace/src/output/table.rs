//! Tables of chosen columns for people: titles, widths and units follow from the columns' names in CSV.

use super::{bytes::human_bytes, field::Padded, row::Value};
use crate::{duration::human, event::Nanos};
use std::{borrow::Cow, fmt::Write as _};

/// The line of titles, whose values have their unit with them: `RTT` for `rtt_ns`.
pub(crate) fn titles<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut out = String::new();
    push_cells(&mut out, names.map(|name| (name, Cow::Owned(title(name)))));
    out
}

/// Appends a line of values, `-` for unknown ones.
pub(crate) fn push_line<'v>(out: &mut String, cells: impl Iterator<Item = (&'v str, Value<'v>)>) {
    push_cells(out, cells.map(|(name, value)| (name, text(name, value))));
}

/// A time that is a lower bound, `>5.00s`.
pub(crate) fn lower_bound<'v>(value: &Value<'v>) -> Value<'v> {
    match value {
        Value::Number(ns) => format!(">{}", human(Nanos(*ns))).into(),
        other => other.clone(),
    }
}

/// Whether a column shows where a process runs.
pub(crate) fn is_of_location(name: &str) -> bool {
    matches!(name, "runtime" | "container" | "pod" | "unit" | "cgroup_path")
}

fn push_cells<'v>(out: &mut String, cells: impl Iterator<Item = (&'v str, Cow<'v, str>)>) {
    let mut cells = cells.peekable();
    while let Some((name, text)) = cells.next() {
        let width = width(name);
        let _ = match (is_word(name), cells.peek()) {
            (true, None) => write!(out, "{text}"),
            (true, Some(_)) => write!(out, "{} ", Padded(&text, width)),
            (false, None) => write!(out, "{text:>width$}"),
            (false, Some(_)) => write!(out, "{text:>width$} "),
        };
    }
    out.push('\n');
}

fn title(name: &str) -> String {
    let Unit { suffix, .. } = Unit::of(name);
    name.strip_suffix(suffix).unwrap_or(name).to_uppercase()
}

fn text<'v>(name: &str, value: Value<'v>) -> Cow<'v, str> {
    match value {
        Value::Null => "-".into(),
        Value::Number(number) => (Unit::of(name).text)(number).into(),
        Value::Flag(flag) => if flag { "yes" } else { "no" }.into(),
        other @ (Value::Text(_) | Value::Address(_) | Value::Time(_)) => other.text(),
    }
}

/// Width of a column; what is wider shifts the rest of its line.
fn width(name: &str) -> usize {
    let least = match name {
        "time" | "mono_ns" | "host" | "local_addr" | "remote_addr" | "comm" | "netns_name" | "unit" => 15,
        "container" | "pod" => 12,
        "netns" | "state" | "old" | "new" | "timer" | "reason" => 11,
        "runtime" | "congestion" | "evidence" | "dwell_ns" => 8,
        "oldest" => 18,
        "cgroup_path" => 24,
        _ => 6,
    };
    least.max(title(name).len())
}

/// Whether a column is aligned to the left.
fn is_word(name: &str) -> bool {
    is_of_location(name)
        || matches!(
            name,
            "time"
                | "host"
                | "family"
                | "local_addr"
                | "remote_addr"
                | "state"
                | "old"
                | "new"
                | "reason"
                | "reset_reason"
                | "error"
                | "role"
                | "oldest"
                | "comm"
                | "netns_name"
                | "evidence"
                | "timer"
                | "congestion"
        )
}

/// Whether a number is a time of a clock, and no duration.
fn is_of_clock(name: &str) -> bool {
    name == "mono_ns"
}

/// The unit of a number, which the name of its column ends with.
struct Unit {
    suffix: &'static str,
    text: fn(u64) -> String,
}

impl Unit {
    fn of(name: &str) -> Self {
        let units = [
            Self {
                suffix: "_ns",
                text: |ns| human(Nanos(ns)),
            },
            Self {
                suffix: "_bytes",
                text: human_bytes,
            },
        ];
        let none = Self {
            suffix: "",
            text: |number| number.to_string(),
        };
        units
            .into_iter()
            .find(|unit| name.ends_with(unit.suffix) && !is_of_clock(name))
            .unwrap_or(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_a_clock_is_a_number() {
        let mut lines = titles(["mono_ns"].into_iter());
        push_line(
            &mut lines,
            [("mono_ns", Value::Number(31_716_000_000_001))].into_iter(),
        );
        assert_eq!(lines, "        MONO_NS\n 31716000000001\n");
    }

    #[test]
    fn titles_stand_above_their_values() {
        let names = ["state", "comm", "recv_q", "rtt_ns", "accepted"];
        let mut lines = titles(names.into_iter());
        for (comm, rtt) in [("nginx", Value::Number(1_500_000)), ("名前", Value::Null)] {
            let values = [
                Value::from("ESTABLISHED"),
                comm.into(),
                7_u32.into(),
                rtt,
                true.into(),
            ];
            push_line(&mut lines, names.into_iter().zip(values));
        }
        assert_eq!(
            lines,
            "STATE       COMM            RECV_Q    RTT ACCEPTED\n\
             ESTABLISHED nginx                7 1.50ms      yes\n\
             ESTABLISHED 名前                 7      -      yes\n"
        );
    }
}
