//! Manual pages and completions, from the definition of the command line.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

const BINARY: &str = env!("CARGO_BIN_EXE_tcptrace");

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .output()
        .expect("it can be started")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn every_command_has_a_page_that_names_its_options() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    assert_eq!(text(&run(&["man", "--directory", path])), "");
    let written: BTreeSet<String> = fs::read_dir(folder.path())
        .expect("it exists")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
        .collect();
    for name in [
        "watch", "trace", "snapshot", "hist", "leaks", "doctor", "record", "report", "export", "check",
    ] {
        assert!(written.contains(&format!("tcptrace-{name}.1")), "{written:?}");
        let page = text(&run(&["man", name]));
        assert!(page.contains(&format!(".TH tcptrace-{name} 1")), "{page}");
        let help = text(&run(&[name, "--help"]));
        let options = help
            .split_whitespace()
            .filter(|word| word.starts_with("--") && word.len() > 3)
            .map(|word| word.trim_end_matches(|c: char| !c.is_ascii_lowercase()));
        for option in options {
            let written = option.replace('-', r"\-");
            assert!(page.contains(&written), "{name} {option} is not in its page");
        }
    }
    assert!(text(&run(&["man"])).contains(".TH tcptrace 1"));
}

#[test]
fn an_unknown_command_has_no_page() {
    let output = run(&["man", "nothing"]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("\"nothing\" is not a command"), "{message}");
    assert!(message.contains("give one of watch, trace"), "{message}");
}

/// What Bash offers for the last of these words.
fn completed(words: &[&str]) -> BTreeSet<String> {
    let script = r#"
        source <(tcptrace completions bash)
        COMP_WORDS=("$@") COMP_LINE="$*" COMP_CWORD=$(($# - 1))
        $(complete -p tcptrace | sed 's/.* -F \([^ ]*\) .*/\1/') tcptrace "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let folder = Path::new(BINARY).parent().expect("a file has a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").expect("text"));
    let output = Command::new("bash")
        .env("PATH", path)
        .args(["-c", script, "bash"])
        .args(words)
        .output()
        .expect("bash is installed");
    text(&output).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let all = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(completed(&["tcptrace", "sn"]), all(&["snapshot"]));
    assert_eq!(completed(&["tcptrace", "trace", "--life"]), all(&["--lifetimes"]));
    assert_eq!(
        completed(&["tcptrace", "snapshot", "-s", "time"]),
        all(&["time-wait"])
    );
    assert_eq!(
        completed(&["tcptrace", "watch", "--state", "time-wait,clo"]),
        all(&["time-wait,close", "time-wait,close-wait", "time-wait,closing"])
    );
    assert_eq!(
        completed(&["tcptrace", "doctor", "--explain", "fin-wait"]),
        all(&["fin-wait1-stuck", "fin-wait2-peers"])
    );
    assert!(completed(&["tcptrace", "record", "--fire-on", ""]).contains("all"));
    let pid = std::process::id().to_string();
    assert!(completed(&["tcptrace", "watch", "--pid", &pid]).contains(&pid));
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish"] {
        assert!(
            text(&run(&["completions", shell])).contains("TCPTRACE_COMPLETE"),
            "{shell}"
        );
    }
}
