//! The text formats. They differ in the names of counters and the line of the unit.

use crate::metrics::{
    Family, Kind, Label, Sample, Value,
    distribution::{BOUNDS, Distribution},
    seconds,
};
use std::fmt::Write as _;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Prometheus,
    OpenMetrics,
}

pub(super) fn write(families: &[Family], dialect: Dialect) -> String {
    let mut text = String::new();
    for family in families {
        write_family(&mut text, family, dialect);
    }
    if dialect == Dialect::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_family(text: &mut String, family: &Family, dialect: Dialect) {
    let what = family.what;
    let total = match what.kind {
        Kind::Counter => "_total",
        Kind::Gauge | Kind::Histogram => "",
    };
    let of_family = match dialect {
        Dialect::Prometheus => total,
        Dialect::OpenMetrics => "",
    };
    let name = what.name;
    let _ = writeln!(text, "# HELP {name}{of_family} {}", what.help);
    let _ = writeln!(text, "# TYPE {name}{of_family} {}", what.kind.name());
    if dialect == Dialect::OpenMetrics
        && let Some(unit) = what.unit
    {
        let _ = writeln!(text, "# UNIT {name} {}", unit.name());
    }
    for sample in &family.samples {
        match &sample.value {
            Value::Integer(count) => {
                write_series(text, family, total, sample, None);
                let _ = writeln!(text, " {count}");
            }
            Value::Real(value) => {
                write_series(text, family, total, sample, None);
                let _ = writeln!(text, " {value}");
            }
            Value::Distribution(distribution) => write_histogram(text, family, sample, distribution),
        }
    }
}

fn write_histogram(text: &mut String, family: &Family, sample: &Sample, distribution: &Distribution) {
    for (bound, count) in BOUNDS.into_iter().zip(distribution.cumulative()) {
        // With a decimal point, as OpenMetrics has it: the label is the same in all formats.
        let bound = format!("{:?}", seconds(bound));
        write_series(text, family, "_bucket", sample, Some(&bound));
        let _ = writeln!(text, " {count}");
    }
    let count = distribution.count();
    write_series(text, family, "_bucket", sample, Some("+Inf"));
    let _ = writeln!(text, " {count}");
    write_series(text, family, "_sum", sample, None);
    let _ = writeln!(text, " {}", distribution.sum());
    write_series(text, family, "_count", sample, None);
    let _ = writeln!(text, " {count}");
}

/// The name and labels of a series.
fn write_series(text: &mut String, family: &Family, suffix: &str, sample: &Sample, bound: Option<&str>) {
    text.push_str(family.what.name);
    text.push_str(suffix);
    let bound = bound.map(|bound| ("le", bound));
    let labels = family.what.labels.iter().copied();
    let mut separator = '{';
    for (name, value) in labels.zip(sample.labels.iter().map(Label::as_ref)).chain(bound) {
        text.push(separator);
        text.push_str(name);
        text.push_str("=\"");
        write_escaped(text, value);
        text.push('"');
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
}

fn write_escaped(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}
