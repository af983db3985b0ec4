//! What ends the help of each command: examples.

/// Ends a short help, which leaves flags out.
pub(crate) const MORE: &str = "More filters and options, and examples: --help";

/// The same of a command without filters.
pub(crate) const MORE_OPTIONS: &str = "More options, and examples: --help";

pub(crate) const PROGRAM: &str = "\
Times are in seconds, or have a unit: 500ms, 10s, 5m, 1h. Sizes are 64K, 8M, 2G.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 something found, 4 kernel or privileges insufficient, or nothing found although not everything could be seen.

Examples:
  tcptrace watch                            processes and their sockets, live
  tcptrace leaks                            who leaks CLOSE_WAIT now, and why
  tcptrace record -o incident.arrows        everything, for report and export
  tcptrace doctor                           findings, with what to do";

pub(crate) const MAN: &str = "\
Examples:
  tcptrace man trace | man -l -             the page of one command
  tcptrace man --directory man1             all pages";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  tcptrace completions bash > /etc/bash_completion.d/tcptrace
  tcptrace completions fish > ~/.config/fish/completions/tcptrace.fish";

pub(crate) const WATCH: &str = "\
Examples:
  tcptrace watch                            live view; ? shows its keys
  tcptrace watch -S time_wait -c nginx      one program, most TIME_WAITs
  tcptrace watch -b -n 1 -d 10 > frame.txt  one frame after ten seconds
  tcptrace watch --speed 10 incident.arrows a recording, ten times as fast";

pub(crate) const TRACE: &str = "\
Examples:
  tcptrace trace -D 443                     connections to port 443
  tcptrace trace -s cw,tw --json            into and out of these two states
  tcptrace trace incident.arrows -u 33      what was recorded of a user
  tcptrace trace --lifetimes --remote 10.0.0.0/8 --csv -o ended.csv";

pub(crate) const SNAPSHOT: &str = "\
Examples:
  tcptrace snapshot -s ending               sockets being closed
  tcptrace snapshot -w -L 443               with what the network does to each
  tcptrace snapshot --columns state,remote_addr,rtt_ns --csv";

pub(crate) const HIST: &str = "\
Examples:
  tcptrace hist --duration 1m               how long each state lasts
  tcptrace hist -s syn-sent --by endpoint   handshakes by destination
  tcptrace hist --from 17:00 --to 17:10 incident.arrows";

pub(crate) const LEAKS: &str = "\
Examples:
  tcptrace leaks                            who leaks now, and why
  tcptrace leaks --once -p 4242             one process, at once
  tcptrace leaks --stacks --duration 1m     with the code that opened them
  tcptrace leaks incident.arrows            who leaked at the end of a recording";

pub(crate) const DOCTOR: &str = "\
Filters select what is evaluated and counted: sockets, listeners, destinations, processes. Findings on this host or a network namespace as a whole are marked as such. Where nothing matches, nothing is evaluated, and the exit status is 4.

Examples:
  tcptrace doctor                           findings, worst first
  tcptrace doctor --once --json             for a monitoring system
  tcptrace doctor --explain ephemeral-ports what a rule means and what to do";

pub(crate) const RECORD: &str = "\
There are no filters: owners, snapshots and findings rest on all sockets, and what an incident needs is known after it. report, trace, export, hist, leaks and doctor filter what was recorded.

Examples:
  tcptrace record -o incident.arrows --duration 10m
  tcptrace record -o host.arrows --rotate 1h --keep 24
  tcptrace record -o /var/lib/tcptrace --flight-recorder 10 --fire-on all";

pub(crate) const REPORT: &str = "\
Examples:
  tcptrace report incident.arrows           the state at its end
  tcptrace report --at 17:52 web1.arrows web2.arrows
  tcptrace report --at -5m host.arrows      five minutes ago
  tcptrace report --html -o page.html incident.arrows
  tcptrace report --html --redact --duration 30s -o page.html   this machine";

pub(crate) const EXPORT: &str = "\
Examples:
  tcptrace export --format parquet -o changes.parquet incident.arrows
  tcptrace export --format csv --from +10s --to +20s incident.arrows";

pub(crate) const SERVE: &str = "\
Metrics are at /metrics; / says what else there is. A scrape takes what is at most a second old, and none delays tracing.

Examples:
  tcptrace serve                            for a Prometheus on this host
  tcptrace serve --listen 0.0.0.0:9105 --web-config web.yml
  tcptrace serve --config /etc/tcptrace/serve.toml
  curl -s http://127.0.0.1:9105/metrics     what it serves";

pub(crate) const CHECK: &str = "\
Examples:
  tcptrace check                            what can be traced here
  tcptrace check --hooks tracepoint         the same with the least";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser as _;

    #[test]
    fn every_example_is_a_command() {
        let all = [
            WATCH,
            TRACE,
            SNAPSHOT,
            HIST,
            LEAKS,
            DOCTOR,
            RECORD,
            REPORT,
            EXPORT,
            SERVE,
            CHECK,
            MAN,
            COMPLETIONS,
            PROGRAM,
        ];
        for help in all {
            let examples = help.lines().filter(|line| line.starts_with("  tcptrace"));
            let mut count = 0;
            for example in examples {
                let command = example.trim_start().split("  ").next().unwrap_or_default();
                let command = command.split(['|', '>']).next().unwrap_or_default();
                let parsed = Cli::try_parse_from(command.split_whitespace());
                assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
                assert!(example.len() <= 80, "{example}");
                count += 1;
            }
            assert!(count >= 2, "{help}");
        }
    }
}
