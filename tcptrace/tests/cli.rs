//! What the command says of itself, and of flags that it cannot obey. Needs no privileges: flags are looked at
//! before the kernel is.

use std::process::Command;

/// Above `PID_MAX_LIMIT` of `include/linux/threads.h`, so no process has it.
const NO_PID: &str = "4194305";

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn tcptrace(arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_tcptrace"))
        .args(arguments)
        .env_remove("COLUMNS")
        .output()
        .expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
    Said {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

#[test]
fn every_command_explains_itself() {
    let commands: [&[&str]; 11] = [
        &[],
        &["watch"],
        &["trace"],
        &["snapshot"],
        &["hist"],
        &["leaks"],
        &["doctor"],
        &["record"],
        &["report"],
        &["export"],
        &["check"],
    ];
    for command in commands {
        let said = tcptrace(&[command, &["--help"]].concat());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{command:?}");
        let name = command.first().unwrap_or(&"tcptrace");
        insta::assert_snapshot!(format!("help-{name}"), said.out);
    }
}

#[test]
fn every_command_is_in_the_help() {
    let help = tcptrace(&["--help"]).out;
    for command in ["watch", "trace", "snapshot", "hist", "leaks", "doctor", "check"] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{command} is not in {help}"
        );
    }
}

#[test]
fn a_flag_that_cannot_be_obeyed_is_wrong_usage_and_says_what_would_do() {
    let table: [&[&str]; 23] = [
        &[],
        &["wacth"],
        &["trace", "--jsn"],
        &["trace", "--state"],
        &["trace", "--json", "--csv"],
        &["snapshot", "-4", "-6"],
        &["trace", "--state", "OPEN"],
        &["watch", "--hooks", "kprobes"],
        &["watch", "--sort", "age"],
        &["trace", "-n", "many"],
        &["trace", "--duration", "0"],
        &["watch", "--delay", "0"],
        &["watch", "--buffer", "3M"],
        &["watch", "--max-connections", "0"],
        &["trace", "--pid", NO_PID],
        &["snapshot", "--netns", "nowhere"],
        &["trace", "--cgroup", "nowhere.slice"],
        &["hist", "--by", "host"],
        &["hist", "--format", "xml"],
        &["hist", "--format", "hgrm", "--json"],
        &["hist", "--interval", "5"],
        &["hist", "--from", "+1s"],
        &["hist", "dump.hlog", "--duration", "1"],
    ];
    let mut all = String::new();
    for arguments in table {
        let said = tcptrace(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}");
        assert_eq!(said.out, "", "{arguments:?}");
        all.extend(["$ tcptrace ", &arguments.join(" "), "\n", &said.err, "\n"]);
    }
    insta::assert_snapshot!("wrong-usage", all);
}
