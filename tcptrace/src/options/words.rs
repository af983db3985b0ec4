//! A filter as entered in the live view: flags of the command line.

use super::UsageError;
use crate::{cli::FilterArgs, event::StateSet, filter::Filter};
use clap::Parser;
use std::fmt::Display;

/// The flags that select connections, on a line of their own; a word that is none is part of a name.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[arg(short = 's', long, value_delimiter = ',', value_name = "STATE")]
    state: Vec<StateSet>,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Reads such a line; `look_up` makes a filter of its flags. Errors: what is wrong with it, in a line.
pub(crate) fn filter(
    text: &str,
    look_up: impl FnOnce(&FilterArgs, &[StateSet]) -> Result<Filter, UsageError>,
) -> Result<Filter, String> {
    let mut line = Line::try_parse_from(text.split_whitespace()).map_err(|error| first_line(&error))?;
    line.filter.comm.append(&mut line.names);
    look_up(&line.filter, &line.state).map_err(|error| error.problem)
}

/// The line that the flags of the command would have been written as.
pub(crate) fn of(args: &FilterArgs, states: &[StateSet]) -> String {
    let mut words: Vec<String> = Vec::new();
    push(&mut words, "-p", &args.pid);
    push(&mut words, "-c", &args.comm);
    push(&mut words, "-u", &args.user);
    push(&mut words, "-L", &args.localport);
    push(&mut words, "-D", &args.remoteport);
    push(&mut words, "--local", &args.local);
    push(&mut words, "--remote", &args.remote);
    push(&mut words, "--state", &StateSet::states(states));
    push(&mut words, "-N", &args.netns);
    push(&mut words, "--container", &args.container);
    for path in &args.cgroup {
        words.push(format!("--cgroup {path}"));
    }
    for (is_set, word) in [(args.ipv4, "-4"), (args.ipv6, "-6")] {
        if is_set {
            words.push(word.to_owned());
        }
    }
    words.join(" ")
}

fn push<T: Display>(words: &mut Vec<String>, flag: &str, values: &[T]) {
    if !values.is_empty() {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        words.push(format!("{flag} {}", values.join(",")));
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::TcpState, options::recording};

    #[test]
    fn a_filter_is_written_in_the_words_of_the_flags() {
        let read = |text: &str| filter(text, recording::filter);
        let made = read("-c nginx,curl -D 443 --state close-wait,TIME_WAIT -4").unwrap();
        assert_eq!(made.comms, ["nginx", "curl"]);
        assert_eq!(made.remote_ports, [443]);
        assert_eq!(made.states, [TcpState::CloseWait, TcpState::TimeWait]);
        assert_eq!(read("nginx").unwrap().comms, ["nginx"]);
        assert_eq!(read("").unwrap(), Filter::default());
        assert!(read("-D x").unwrap_err().contains("invalid value 'x'"));
        assert!(read("--nonsense").is_err());
    }

    #[test]
    fn what_the_flags_were_can_be_written_again() {
        let line = Line::try_parse_from(
            "-s estab -p 7,8 -c a -u 33 -L 80 --local fe80::/10 -6 --cgroup /x --cgroup /y".split(' '),
        )
        .unwrap();
        let text = of(&line.filter, &line.state);
        assert_eq!(
            text,
            "-p 7,8 -c a -u 33 -L 80 --local fe80::/10 --state ESTABLISHED --cgroup /x --cgroup /y -6"
        );
        assert!(Line::try_parse_from(text.split(' ')).is_ok());
    }
}
