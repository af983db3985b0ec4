//! What a fleet is set up with: manifests that Kubernetes' published schemas allow, and commands of the documentation that
//! tcptrace has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tcptrace_tests::{
    command::{self, tcptrace},
    kubernetes,
    live::{self, LiveTest, Parallelism, Requirement},
};

fn main() -> ExitCode {
    let tests = vec![
        LiveTest::new(
            "the_manifests_are_those_of_the_published_schemas",
            &[Requirement::KubernetesSchemas],
            the_manifests_are_those_of_the_published_schemas,
        ),
        LiveTest::new(
            "options_in_the_documentation_exist",
            &[],
            options_in_the_documentation_exist,
        ),
    ];
    live::run(tests, Parallelism::One, || Ok(()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn the_manifests_are_those_of_the_published_schemas() {
    let manifest = root().join("tcptrace/packaging/kubernetes/daemonset.yaml");
    // From the first that has appArmorProfile.
    for version in ["1.30", "1.37"] {
        kubernetes::validate(&manifest, version).unwrap_or_else(|problem| panic!("{version}: {problem}"));
    }
    let broken = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file of its own");
    let text = fs::read_to_string(&manifest).expect("it is text");
    let broken_text = text.replace("hostPID:", "hostPids:");
    assert_ne!(text, broken_text);
    fs::write(broken.path(), broken_text).expect("the file is ours");
    assert!(
        kubernetes::validate(broken.path(), "1.37").is_err(),
        "the check finds nothing"
    );
}

/// Every option that a line of `docs/fleet.md` gives to a command is in its help.
fn options_in_the_documentation_exist() {
    let page = fs::read_to_string(root().join("docs/fleet.md")).expect("there is the page");
    let mut found = 0;
    let mut is_code = false;
    for line in page.lines() {
        is_code ^= line.starts_with("```");
        let is_command = is_code
            && ["# ", "$ ", "tcptrace "]
                .iter()
                .any(|start| line.starts_with(start));
        let Some((_, rest)) = line.split_once("tcptrace ").filter(|_| is_command) else {
            continue;
        };
        // Up to what the shell does with it.
        let rest = rest.split(['|', '>', ';', '&']).next().unwrap_or_default();
        let mut words = rest.split_whitespace();
        let Some(name) = words.next() else { continue };
        let help = command::run(tcptrace(&[name, "--help"]));
        assert_eq!(help.code, Some(0), "{line}: {}", help.err);
        for option in words.filter(|word| word.starts_with("--")) {
            let option = option.split('=').next().unwrap_or_default();
            let is_there = help
                .out
                .split(|c: char| c.is_whitespace() || c == ',')
                .any(|word| word == option);
            assert!(is_there, "{line}: no {option} in the help of {name}");
            found += 1;
        }
    }
    assert!(found > 5, "only {found} options were found");
}
