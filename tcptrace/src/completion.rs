//! Completion in shells: the shell calls tcptrace with the words that were typed, and gets what may follow. Values come
//! from this host where listing them is cheap.

use crate::{
    event::{StateSet, TcpState},
    findings::rules,
    source::{cgroups, namespaces, users},
};
use clap_complete::{engine::CompletionCandidate, env::Shells};
use std::{collections::BTreeSet, fs, io};

/// The environment variable by which a shell's script asks for completions.
pub(crate) const VARIABLE: &str = "TCPTRACE_COMPLETE";
pub(crate) const COMMAND: &str = "tcptrace";

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// Elvish
    Elvish,
}

impl Shell {
    /// The script that makes this shell ask tcptrace for completions.
    ///
    /// # Errors
    /// None in practice: it is written to memory.
    pub(crate) fn script(self) -> io::Result<String> {
        let name = match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Elvish => "elvish",
        };
        let shells = Shells::builtins();
        let shell = shells
            .completer(name)
            .ok_or_else(|| io::Error::other("an unknown shell"))?;
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, COMMAND, COMMAND, COMMAND, &mut script)?;
        String::from_utf8(script).map_err(io::Error::other)
    }
}

/// The states, as `ss` spells them, and their groups.
pub(crate) fn states() -> Vec<CompletionCandidate> {
    let states = TcpState::ALL
        .iter()
        .map(|state| state.name().to_lowercase().replace('_', "-"));
    let groups = StateSet::GROUPS.into_iter().map(str::to_owned);
    states.chain(groups).map(CompletionCandidate::new).collect()
}

/// The rules of `doctor`.
pub(crate) fn rule_names() -> Vec<CompletionCandidate> {
    rules::ALL
        .into_iter()
        .map(|rule| CompletionCandidate::new(rule.id).help(Some(rule.title.into())))
        .collect()
}

/// The rules, and `all`.
pub(crate) fn triggers() -> Vec<CompletionCandidate> {
    let mut names = rule_names();
    names.push(CompletionCandidate::new("all").help(Some("any rule".into())));
    names
}

/// Running processes, with their names.
pub(crate) fn pids() -> Vec<CompletionCandidate> {
    processes()
        .map(|(pid, name)| CompletionCandidate::new(pid).help(Some(name.into())))
        .collect()
}

/// Names of running processes.
pub(crate) fn names() -> Vec<CompletionCandidate> {
    let names: BTreeSet<String> = processes().map(|(_, name)| name).collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn processes() -> impl Iterator<Item = (String, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        pid.parse::<u32>().ok()?;
        Some((pid, name.trim_end().to_owned()))
    })
}

/// Users of this host.
pub(crate) fn users() -> Vec<CompletionCandidate> {
    users::names().into_iter().map(CompletionCandidate::new).collect()
}

/// Named network namespaces.
pub(crate) fn network_namespaces() -> Vec<CompletionCandidate> {
    namespaces::all_names()
        .into_iter()
        .map(CompletionCandidate::new)
        .collect()
}

/// IDs of containers and pods, and systemd units, in which processes run.
pub(crate) fn containers() -> Vec<CompletionCandidate> {
    let locations = cgroups::locations_of_all_processes();
    let words: BTreeSet<String> = locations
        .into_iter()
        .flat_map(|location| {
            [
                location.container.map(|container| container.id),
                location.pod,
                location.unit,
            ]
        })
        .flatten()
        .collect();
    words.into_iter().map(CompletionCandidate::new).collect()
}
