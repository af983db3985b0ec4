//! The configuration file of `serve`: its flags by their names, in TOML. Each is parsed as the flag is, so that both mean the
//! same, and a flag that is given takes precedence.

use super::read;
use crate::{
    cli::{Cli, Command, ServeArgs},
    options::{UsageError, wrong},
};
use clap::{Arg, ArgAction, FromArgMatches as _, parser::ValueSource};
use std::{env, ffi::OsString, path::Path};
use toml::de::{DeTable, DeValue};

const FLAG: &str = "--config";

/// The arguments of this process with those of the file, if one is given. Fails if the file cannot be read, or has what is
/// no option.
pub(crate) fn with_file(args: ServeArgs) -> Result<ServeArgs, UsageError> {
    match &args.config {
        None => Ok(args),
        Some(path) => merged(path, &read(FLAG, path)?, env::args_os().collect()),
    }
}

/// `arguments` are those of a process that were parsed before.
fn merged(path: &Path, text: &str, mut arguments: Vec<OsString>) -> Result<ServeArgs, UsageError> {
    let refuse = |at: usize, problem: &str, remedy: &str| {
        let line = text[..at.min(text.len())].matches('\n').count() + 1;
        wrong(
            FLAG,
            format!("{}, line {line}: {problem}", path.display()),
            remedy,
        )
    };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        refuse(at, error.message(), "write options as TOML: max-series = 2000")
    })?;
    let command = Cli::definition();
    let serve = command
        .find_subcommand("serve")
        .expect("it is a command of tcptrace");
    let given = command.clone().try_get_matches_from(&arguments);
    let given = given.ok().and_then(|mut given| given.remove_subcommand());
    for (key, value) in table.get_ref() {
        let name = key.get_ref().as_ref();
        let Some(option) = serve.get_arguments().find(|option| is_named(option, name)) else {
            let remedy = "give options of `tcptrace serve --help`, without the dashes";
            return Err(refuse(
                key.span().start,
                &format!("unknown option \"{name}\""),
                remedy,
            ));
        };
        let is_given = given.as_ref().is_some_and(|(_, given)| {
            given.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine)
        });
        let flags = flags_of(option, value.get_ref()).map_err(|expected| {
            refuse(
                value.span().start,
                &format!("{name}: expected {expected}"),
                "correct the value",
            )
        })?;
        let alone = ["tcptrace", "serve"].into_iter().map(OsString::from);
        if let Err(error) = command
            .clone()
            .try_get_matches_from(alone.chain(flags.iter().cloned()))
        {
            let message = error.to_string();
            let message = message
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            return Err(refuse(value.span().start, message, "correct the value"));
        }
        if !is_given {
            arguments.extend(flags);
        }
    }
    let parsed = command.try_get_matches_from(&arguments);
    let cli = parsed.and_then(|matches| Cli::from_arg_matches(&matches));
    match cli.map(|cli| cli.command) {
        Ok(Command::Serve(args)) => Ok(args),
        Ok(_) => unreachable!("these are the arguments of `serve`"),
        Err(error) => {
            let message = error.to_string();
            let message = message
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            Err(wrong(
                FLAG,
                format!("{}: {message}", path.display()),
                "omit one of them",
            ))
        }
    }
}

/// Whether this is the option's name in the file; another file cannot be named.
fn is_named(option: &Arg, name: &str) -> bool {
    let own = option.get_long().unwrap_or(option.get_id().as_str());
    own == name && !["config", "help", "version"].contains(&name)
}

/// The flags that stand for a value of the file. Fails with what it should be.
fn flags_of(option: &Arg, value: &DeValue<'_>) -> Result<Vec<OsString>, &'static str> {
    let flag = match (option.get_long(), option.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => return Err("no value"),
    };
    if !matches!(option.get_action(), ArgAction::Set | ArgAction::Append) {
        return match value {
            DeValue::Boolean(true) => Ok(vec![flag.into()]),
            DeValue::Boolean(false) => Ok(Vec::new()),
            _ => Err("true or false"),
        };
    }
    let values = match (value, option.get_action()) {
        (DeValue::Array(values), ArgAction::Append) => {
            values.iter().map(|value| word(value.get_ref())).collect()
        }
        (value, _) => word(value).map(|word| vec![word]),
    };
    let values: Option<Vec<String>> = values;
    let values = values.ok_or("a number, a text, or a list of them where the option may be repeated")?;
    Ok(values
        .into_iter()
        .map(|value| format!("{flag}={value}").into())
        .collect())
}

fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn of(text: &str, arguments: &[&str]) -> Result<ServeArgs, String> {
        let all = ["tcptrace", "serve"].iter().chain(arguments);
        let path = Path::new("serve.toml");
        merged(path, text, all.map(OsString::from).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_the_flags() {
        let text = "listen = \"0.0.0.0:80\"\nmax-series = 2500\nolder-than = \"2m\"\ncomm = [\"nginx\", \"envoy\"]\n\
                    localport = [80, 443]\nbuffer = \"64M\"\nipv4 = true\nall-protocols = false\n";
        let args = of(text, &[]).expect("all of them are options");
        assert_eq!(args.listen.to_string(), "0.0.0.0:80");
        assert_eq!(args.max_series, 2_500);
        assert_eq!(args.older_than, Some(Duration::from_mins(2)));
        assert_eq!(args.filter.comm, ["nginx", "envoy"]);
        assert_eq!(args.filter.localport, [80, 443]);
        assert_eq!(args.tracing.buffer, "64M");
        assert!(args.filter.ipv4 && !args.tracing.all_protocols);
    }

    #[test]
    fn what_is_given_takes_precedence() {
        let text = "max-series = 2500\ncomm = \"nginx\"\n";
        let args = of(text, &["--max-series", "3000", "-c", "envoy"]).expect("all of them are options");
        assert_eq!(
            (args.max_series, args.filter.comm),
            (3_000, vec!["envoy".to_owned()])
        );
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_line() {
        for (text, problem) in [
            (
                "max-series = 2500\nnonsense = 1\n",
                "line 2: unknown option \"nonsense\"",
            ),
            ("config = \"other.toml\"\n", "line 1: unknown option \"config\""),
            ("\n\nmax-series = \"many\"\n", "line 3: invalid value 'many'"),
            ("max-series = [1, 2]\n", "line 1: max-series: expected"),
            ("ipv4 = 4\n", "line 1: ipv4: expected true or false"),
            ("listen\n", "line 1"),
            ("[table]\n", "line 1: unknown option \"table\""),
            ("ipv4 = true\nipv6 = true\n", "cannot be used with"),
        ] {
            let error = of(text, &[]).expect_err(text);
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
