//! The output of `doctor --json` for one namespace.

use serde_json::Value;
use std::collections::BTreeSet;
use tcptrace_tests::{
    command::{self, Output, tcptrace},
    netns::Netns,
};

#[derive(Debug)]
pub(crate) struct Diagnosis {
    /// Findings, worst first.
    pub(crate) findings: Vec<Value>,
    pub(crate) settings: Vec<Value>,
    pub(crate) code: Option<i32>,
}

impl Diagnosis {
    /// Runs it for the namespace, with additional arguments.
    pub(crate) fn of(netns: Netns, arguments: &[&str]) -> Self {
        let inode = netns.inode.to_string();
        let arguments = [&["doctor", "--json", "--netns", &inode], arguments].concat();
        let Output { code, out, err } = command::run(tcptrace(&arguments));
        let lines = out.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let (mut findings, mut settings) = (Vec::new(), Vec::new());
        let mut is_whole = false;
        for line in lines {
            let line: Value = line;
            is_whole |= line.get("summary").is_some();
            if line.get("rule").is_some() {
                findings.push(line);
            } else if line.get("setting").is_some() {
                settings.push(line);
            }
        }
        assert!(is_whole, "no summary:\n{out}\n{err}");
        // The sysctl files of this machine are not tested here.
        findings.retain(|finding| finding["rule"] != "harmful-settings");
        Self {
            findings,
            settings,
            code,
        }
    }

    /// The names of the rules that fired.
    pub(crate) fn rules(&self) -> BTreeSet<&str> {
        self.findings
            .iter()
            .map(|finding| finding["rule"].as_str().expect("a name"))
            .collect()
    }

    /// The finding of a rule, which must have fired once.
    pub(crate) fn finding(&self, rule: &str) -> &Value {
        let mut found = self.findings.iter().filter(|finding| finding["rule"] == rule);
        match (found.next(), found.next()) {
            (Some(finding), None) => finding,
            _ => panic!("not one finding of {rule}: {self:#?}"),
        }
    }
}

/// A number in a finding's evidence.
pub(crate) fn figure(finding: &Value, name: &str) -> f64 {
    let evidence = finding["evidence"].as_array().expect("a list");
    let found = evidence.iter().find(|evidence| evidence["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {finding:#}"));
    found["value"].as_f64().expect("a number")
}

/// The catalogue for a namespace with default settings.
pub(crate) fn defaults_are_those_of_a_new_namespace(netns: Netns) {
    let diagnosis = Diagnosis::of(netns, &["--once"]);
    assert_eq!(diagnosis.findings, Vec::<Value>::new());
    assert_eq!(diagnosis.code, Some(0));
    let changed: Vec<&Value> = diagnosis
        .settings
        .iter()
        .filter(|setting| setting["is_default"] == false)
        .collect();
    assert!(changed.is_empty(), "{changed:#?}");
    // tcp_max_orphans and tcp_mem are the host's: a namespace does not have them.
    assert!(diagnosis.settings.len() >= 18, "{:#?}", diagnosis.settings);
}
