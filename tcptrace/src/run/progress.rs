//! A line at the bottom of a terminal that shows how far a command is that is silent until it ends.

use super::messages;
use crate::{options, quantity};
use std::{env, io, time::Duration};
use tokio::time::Instant;

/// Cells of the bar.
const CELLS: usize = 20;

/// How often the line is drawn, at most.
const EVERY: Duration = Duration::from_millis(200);

/// The line, which is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    activity: &'static str,
    began: Instant,
    duration: Duration,
    due: Instant,
}

impl Progress {
    /// Announces an activity on standard error: by a line that is drawn over on a terminal, in whose foreground this is,
    /// else by one that stays.
    pub(crate) fn start(activity: &'static str, duration: Duration) -> Option<Self> {
        let is_dumb = env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
        if is_dumb || !messages::is_in_foreground() {
            messages::tell_wait(activity, Some(duration));
            return None;
        }
        let began = Instant::now();
        let mut progress = Self {
            activity,
            began,
            duration,
            due: began,
        };
        progress.draw();
        Some(progress)
    }

    /// Draws the line if it is time to.
    pub(crate) fn draw(&mut self) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        let columns = options::columns_of(&io::stderr()).unwrap_or(80);
        messages::draw(&line(
            self.activity,
            now.duration_since(self.began),
            self.duration,
            columns.into(),
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        messages::draw("");
    }
}

/// The line, which leaves the last of `columns` free: a terminal may wrap behind it.
fn line(activity: &str, passed: Duration, duration: Duration, columns: usize) -> String {
    let (passed, all) = (passed.min(duration).as_millis(), duration.as_millis().max(1));
    let full = usize::try_from(passed * CELLS as u128 / all).unwrap_or_default();
    let text = format!(
        "[{:.<CELLS$}] {activity}: {} of {}; Ctrl-C ends it",
        "#".repeat(full),
        quantity::written(Duration::from_secs(
            u64::try_from(passed / 1_000).unwrap_or(u64::MAX)
        )),
        quantity::written(duration),
    );
    text.chars().take(columns.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_how_much_has_passed_and_fits() {
        let at = |millis, columns| {
            line(
                "watching",
                Duration::from_millis(millis),
                Duration::from_secs(10),
                columns,
            )
        };
        assert_eq!(
            at(0, 80),
            "[....................] watching: 0s of 10s; Ctrl-C ends it"
        );
        assert_eq!(
            at(5_400, 80),
            "[##########..........] watching: 5s of 10s; Ctrl-C ends it"
        );
        assert_eq!(at(99_000, 40), "[####################] watching: 10s of");
        assert_eq!(at(99_000, 0), "");
        let none = line("watching", Duration::ZERO, Duration::ZERO, 80);
        assert!(none.starts_with("[....................]"), "{none}");
    }
}
