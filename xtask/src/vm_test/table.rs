//! The table at the end, from the line that each run's driver printed.

use serde_json::Value;
use std::fmt::Write as _;

/// How the driver's line begins.
const LINE: &str = "plans: ";

/// How one kernel's run ended.
pub(crate) enum Verdict {
    /// The driver's own words.
    Told(Value),
    /// The driver did not come to its end.
    Silent,
    /// Not run, and why.
    Skipped(String),
}

impl Verdict {
    /// Reads what a run printed, and shows what failed in it.
    pub(crate) fn of_output(text: &str) -> Self {
        let line = text
            .lines()
            .rev()
            .find_map(|line| line.trim_end().strip_prefix(LINE));
        match line.and_then(|line| serde_json::from_str(line).ok()) {
            Some(told) => Self::Told(told),
            None => Self::Silent,
        }
    }
}

/// One kernel.
pub(crate) struct Row {
    name: &'static str,
    release: String,
    verdict: Verdict,
}

impl Row {
    /// Takes it in, and prints what was wrong, so that it is known before the next guest boots.
    pub(crate) fn new(name: &'static str, release: String, verdict: Verdict) -> Self {
        let row = Self {
            name,
            release,
            verdict,
        };
        println!("{}", row.counts());
        if let Verdict::Told(told) = &row.verdict {
            for fault in told["faults"].as_array().into_iter().flatten() {
                println!("  {}", fault.as_str().unwrap_or_default());
            }
        }
        row
    }

    /// Whether anything was not as it should be.
    pub(crate) fn has_failed(&self) -> bool {
        match &self.verdict {
            Verdict::Told(told) => {
                told["failed"] != 0 || told["faults"].as_array().is_none_or(|list| !list.is_empty())
            }
            Verdict::Silent => true,
            Verdict::Skipped(_) => false,
        }
    }

    fn counts(&self) -> String {
        match &self.verdict {
            Verdict::Told(told) => format!(
                "{} ({}): {} passed, {} skipped, {} failed; {} connections compared, {} differences",
                self.name,
                self.release,
                told["passed"],
                told["ignored"],
                told["failed"],
                told["compared"],
                told["faults"].as_array().map_or(0, Vec::len)
            ),
            Verdict::Silent => format!(
                "{} ({}): the run did not come to its end",
                self.name, self.release
            ),
            Verdict::Skipped(reason) => format!("{}: skipped, {reason}", self.name),
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
            Verdict::Told(told) => {
                for (plan, hooks) in plans(told) {
                    let _ = writeln!(
                        text,
                        "| {} | {plan} | {hooks} | {} | {} | {} | {} |",
                        title.trim(),
                        told["passed"],
                        told["ignored"],
                        told["failed"],
                        told["compared"]
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
}
