//! The table of results, from the line that the driver of each run printed.

use serde_json::Value;
use std::fmt::{self, Write as _};

/// Prefix of the driver's line.
const LINE: &str = "compare_mechanisms: ";

/// The result of one kernel's run.
pub(crate) enum Verdict {
    /// The driver completed.
    Completed {
        /// The driver's report.
        line: Value,
        /// The output of the tests that failed, as printed by libtest.
        failures: String,
    },
    /// The driver printed no report.
    Incomplete,
    /// Not run, with the reason.
    Skipped(String),
}

impl Verdict {
    /// Parses the output of a run.
    pub(crate) fn of_output(text: &str) -> Self {
        let line = text
            .lines()
            .rev()
            .find_map(|line| line.trim_end().strip_prefix(LINE));
        match line.and_then(|line| serde_json::from_str(line).ok()) {
            Some(line) => Self::Completed {
                line,
                failures: failures(text),
            },
            None => Self::Incomplete,
        }
    }
}

/// The failures that libtest reports, of every program: the lines from `failures:` to the result.
fn failures(text: &str) -> String {
    let mut found = String::new();
    let mut is_inside = false;
    for line in text.lines().map(str::trim_end) {
        is_inside = (is_inside || line == "failures:") && !line.starts_with("test result:");
        if is_inside {
            let _ = writeln!(found, "{line}");
        }
    }
    found
}

pub(crate) struct Row {
    name: &'static str,
    release: String,
    verdict: Verdict,
}

impl Row {
    /// Also prints the row, so that failures are known before the next guest boots.
    pub(crate) fn new(name: &'static str, release: String, verdict: Verdict) -> Self {
        let row = Self {
            name,
            release,
            verdict,
        };
        println!("{}", row.to_string().trim_end());
        row
    }

    pub(crate) fn has_failed(&self) -> bool {
        match &self.verdict {
            Verdict::Completed { line, .. } => {
                line["failed"] != 0 || line["faults"].as_array().is_none_or(|list| !list.is_empty())
            }
            Verdict::Incomplete => true,
            Verdict::Skipped(_) => false,
        }
    }
}

/// The counts, and the failures in detail.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, release, .. } = self;
        match &self.verdict {
            Verdict::Completed { line, failures } => {
                let faults = line["faults"].as_array().map_or(&[][..], Vec::as_slice);
                writeln!(
                    f,
                    "{name} ({release}): {} passed, {} skipped, {} failed; {} connections compared, {} differences",
                    line["passed"],
                    line["ignored"],
                    line["failed"],
                    line["compared"],
                    faults.len()
                )?;
                for fault in faults {
                    writeln!(f, "  {}", fault.as_str().unwrap_or_default())?;
                }
                f.write_str(failures)
            }
            Verdict::Incomplete => writeln!(f, "{name} ({release}): the run did not complete"),
            Verdict::Skipped(reason) => writeln!(f, "{name}: skipped, {reason}"),
        }
    }
}

/// The Markdown table of `docs/kernels.md`.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| kernel | mechanism | hooks and their hits | passed | skipped | failed | compared |\n|---|---|---|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let title = format!("{} {}", row.name, row.release);
        match &row.verdict {
            Verdict::Completed { line, .. } => {
                let mut mechanisms = mechanisms(line);
                if mechanisms.is_empty() {
                    mechanisms.push(("untraced".to_owned(), String::new()));
                }
                for (mechanism, hooks) in mechanisms {
                    let _ = writeln!(
                        text,
                        "| {} | {mechanism} | {hooks} | {} | {} | {} | {} |",
                        title.trim(),
                        line["passed"],
                        line["ignored"],
                        line["failed"],
                        line["compared"]
                    );
                }
            }
            Verdict::Incomplete => {
                let _ = writeln!(text, "| {} | | did not complete | | | | |", title.trim());
            }
            Verdict::Skipped(reason) => {
                let _ = writeln!(text, "| {} | | skipped: {reason} | | 1 | | |", title.trim());
            }
        }
    }
    text
}

fn mechanisms(report: &Value) -> Vec<(String, String)> {
    let mut list = Vec::new();
    for (mechanism, hooks) in report["hits"].as_object().into_iter().flatten() {
        let hooks = hooks.as_array().into_iter().flatten();
        let hooks: Vec<String> = hooks
            .map(|pair| format!("{} {}", pair[0].as_str().unwrap_or_default(), pair[1]))
            .collect();
        list.push((mechanism.clone(), hooks.join(", ")));
    }
    for (mechanism, reason) in report["missing"].as_object().into_iter().flatten() {
        list.push((
            mechanism.clone(),
            format!("not available: {}", reason.as_str().unwrap_or_default()),
        ));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_found_in_the_console_output() {
        let output = "boot\r\ncompare_mechanisms: {\"passed\":3,\"ignored\":0,\"failed\":0,\"compared\":2,\"hits\":{\"timers\":[[\"timer_start\",4]]},\"missing\":{},\"faults\":[]}\r\nexit status of the tests: 0\r\n";
        let row = Row::new("6.1", "6.1.0".to_owned(), Verdict::of_output(output));
        assert!(!row.has_failed());
        assert!(table(&[row]).contains("| 6.1 6.1.0 | timers | timer_start 4 | 3 | 0 | 0 | 2 |"));
        assert!(Row::new("6.1", String::new(), Verdict::of_output("boot\r\n")).has_failed());
    }

    #[test]
    fn a_failure_shows_the_output_of_the_test() {
        let output = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b ----\nwhy it did\n\ntest result: FAILED. 1 passed; 1 failed\nrunning another\ncompare_mechanisms: {\"passed\":1,\"ignored\":0,\"failed\":1,\"compared\":0,\"hits\":{},\"missing\":{},\"faults\":[\"b: exit status: 101\"]}\n";
        let row = Row::new("6.1", "6.1.0".to_owned(), Verdict::of_output(output));
        assert!(row.has_failed());
        assert_eq!(
            row.to_string(),
            "6.1 (6.1.0): 1 passed, 0 skipped, 1 failed; 0 connections compared, 1 differences\n  b: exit status: 101\nfailures:\n\n---- b ----\nwhy it did\n\n"
        );
    }
}
