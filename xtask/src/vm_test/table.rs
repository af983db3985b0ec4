//! The table at the end, from the line that each run's driver printed.

use serde_json::Value;
use std::fmt::{self, Write as _};

/// How the driver's line begins.
const LINE: &str = "plans: ";

/// How one kernel's run ended.
pub(crate) enum Verdict {
    /// The driver came to its end.
    Told {
        /// Its own words.
        line: Value,
        /// What the tests that failed printed, as libtest shows it.
        failures: String,
    },
    /// It did not.
    Silent,
    /// Not run, and why.
    Skipped(String),
}

impl Verdict {
    /// Reads what a run printed.
    pub(crate) fn of_output(text: &str) -> Self {
        let line = text
            .lines()
            .rev()
            .find_map(|line| line.trim_end().strip_prefix(LINE));
        match line.and_then(|line| serde_json::from_str(line).ok()) {
            Some(line) => Self::Told {
                line,
                failures: failures(text),
            },
            None => Self::Silent,
        }
    }
}

/// What libtest prints of tests that failed, of every program: from `failures:` to the result. What a test says while
/// others run stands before that.
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

/// One kernel.
pub(crate) struct Row {
    name: &'static str,
    release: String,
    verdict: Verdict,
}

impl Row {
    /// Takes it in, and prints it, so that what was wrong is known before the next guest boots.
    pub(crate) fn new(name: &'static str, release: String, verdict: Verdict) -> Self {
        let row = Self {
            name,
            release,
            verdict,
        };
        println!("{}", row.to_string().trim_end());
        row
    }

    /// Whether anything was not as it should be.
    pub(crate) fn has_failed(&self) -> bool {
        match &self.verdict {
            Verdict::Told { line, .. } => {
                line["failed"] != 0 || line["faults"].as_array().is_none_or(|list| !list.is_empty())
            }
            Verdict::Silent => true,
            Verdict::Skipped(_) => false,
        }
    }
}

/// The counts, and what was wrong in detail.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, release, .. } = self;
        match &self.verdict {
            Verdict::Told { line, failures } => {
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
            Verdict::Silent => writeln!(f, "{name} ({release}): the run did not come to its end"),
            Verdict::Skipped(reason) => writeln!(f, "{name}: skipped, {reason}"),
        }
    }
}

/// In Markdown, as `docs/kernels.md` shows it.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| kernel | plan | hooks and their hits | passed | skipped | failed | compared |\n|---|---|---|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let title = format!("{} {}", row.name, row.release);
        match &row.verdict {
            Verdict::Told { line, .. } => {
                let mut plans = plans(line);
                if plans.is_empty() {
                    plans.push(("untraced".to_owned(), String::new()));
                }
                for (plan, hooks) in plans {
                    let _ = writeln!(
                        text,
                        "| {} | {plan} | {hooks} | {} | {} | {} | {} |",
                        title.trim(),
                        line["passed"],
                        line["ignored"],
                        line["failed"],
                        line["compared"]
                    );
                }
            }
            Verdict::Silent => {
                let _ = writeln!(text, "| {} | | did not come to its end | | | | |", title.trim());
            }
            Verdict::Skipped(reason) => {
                let _ = writeln!(text, "| {} | | skipped: {reason} | | 1 | | |", title.trim());
            }
        }
    }
    text
}

fn plans(told: &Value) -> Vec<(String, String)> {
    let mut list = Vec::new();
    for (plan, hooks) in told["hits"].as_object().into_iter().flatten() {
        let hooks = hooks.as_array().into_iter().flatten();
        let hooks: Vec<String> = hooks
            .map(|pair| format!("{} {}", pair[0].as_str().unwrap_or_default(), pair[1]))
            .collect();
        list.push((plan.clone(), hooks.join(", ")));
    }
    for (plan, reason) in told["missing"].as_object().into_iter().flatten() {
        list.push((
            plan.clone(),
            format!("not to be had: {}", reason.as_str().unwrap_or_default()),
        ));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_s_line_is_found_among_the_console_s() {
        let said = "boot\r\nplans: {\"passed\":3,\"ignored\":0,\"failed\":0,\"compared\":2,\"hits\":{\"timers\":[[\"timer_start\",4]]},\"missing\":{},\"faults\":[]}\r\nthe tests ended with 0\r\n";
        let row = Row::new("6.1", "6.1.0".to_owned(), Verdict::of_output(said));
        assert!(!row.has_failed());
        assert!(table(&[row]).contains("| 6.1 6.1.0 | timers | timer_start 4 | 3 | 0 | 0 | 2 |"));
        assert!(Row::new("6.1", String::new(), Verdict::of_output("boot\r\n")).has_failed());
    }

    #[test]
    fn a_failure_shows_what_the_test_said() {
        let said = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b ----\nwhy it did\n\ntest result: FAILED. 1 passed; 1 failed\nrunning another\nplans: {\"passed\":1,\"ignored\":0,\"failed\":1,\"compared\":0,\"hits\":{},\"missing\":{},\"faults\":[\"b: exit status: 101\"]}\n";
        let row = Row::new("6.1", "6.1.0".to_owned(), Verdict::of_output(said));
        assert!(row.has_failed());
        assert_eq!(
            row.to_string(),
            "6.1 (6.1.0): 1 passed, 0 skipped, 1 failed; 0 connections compared, 1 differences\n  b: exit status: 101\nfailures:\n\n---- b ----\nwhy it did\n\n"
        );
    }
}
