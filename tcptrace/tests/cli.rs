//! The help of the command, and its errors on invalid flags. Needs no privileges: flags are parsed
//! before the kernel is accessed.

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    process::{Command, Stdio},
    thread,
};

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
    let commands: [&[&str]; 14] = [
        &[],
        &["watch"],
        &["man"],
        &["completions"],
        &["trace"],
        &["snapshot"],
        &["hist"],
        &["leaks"],
        &["doctor"],
        &["record"],
        &["report"],
        &["export"],
        &["serve"],
        &["check"],
    ];
    for command in commands {
        let result = tcptrace(&[command, &["--help"]].concat());
        assert_eq!((result.code, result.err.as_str()), (Some(0), ""), "{command:?}");
        let name = command.first().unwrap_or(&"tcptrace");
        insta::assert_snapshot!(format!("help-{name}"), result.out);
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
    let table: [&[&str]; 27] = [
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
        &["watch", "--buffer", "18014398509481992K"],
        &["trace", "--duration", "inf"],
        &["record", "-o", "x", "--flight-recorder", "1e308"],
        &["watch", "--speed", "1e-300", "x.arrows"],
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
        let result = tcptrace(arguments);
        assert_eq!(result.code, Some(2), "{arguments:?}");
        assert_eq!(result.out, "", "{arguments:?}");
        all.extend(["$ tcptrace ", &arguments.join(" "), "\n", &result.err, "\n"]);
    }
    insta::assert_snapshot!("wrong-usage", all);
}

fn full() -> File {
    let device = File::options().write(true).open("/dev/full");
    device.expect("Linux has /dev/full")
}

fn without_a_reader() -> io::PipeWriter {
    let (_, writer) = io::pipe().expect("a pipe can be had");
    writer
}

#[test]
fn an_error_that_cannot_be_printed_is_still_the_exit_status() {
    let run = |arguments: &[&str], messages: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tcptrace"));
        command.args(arguments).stderr(messages);
        command.status().expect("the command starts").code()
    };
    for (arguments, code) in [
        (&["nonsense"][..], 2),
        (&["trace", "--duration", "0"], 2),
        (&["report", "/nowhere"], 1),
    ] {
        assert_eq!(run(arguments, full().into()), Some(code), "{arguments:?}");
        assert_eq!(
            run(arguments, without_a_reader().into()),
            Some(code),
            "{arguments:?}"
        );
    }
}

#[test]
fn help_that_nobody_takes_is_a_clean_end_and_a_full_disk_a_failure() {
    let run = |output: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tcptrace"));
        command.arg("--help").stdout(output);
        command.status().expect("the command starts").code()
    };
    assert_eq!(run(without_a_reader().into()), Some(0));
    assert_eq!(run(full().into()), Some(1));
}

#[test]
fn an_output_that_does_not_block_is_waited_for() {
    let (mut reader, mut writer) = io::pipe().expect("a pipe can be had");
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("our own pipe");
    let mut before = 0;
    while let Ok(written) = writer.write(&[b' '; 4096]) {
        before += written;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptrace"));
    command
        .args(["trace", "--help"])
        .env_remove("COLUMNS")
        .stdout(writer);
    let mut child = command.spawn().expect("the command starts");
    // It holds the pipe's other end.
    drop(command);
    // Nothing is read before it waits: the third field of proc_pid_stat(5).
    let stat = format!("/proc/{}/stat", child.id());
    let is_waiting = || fs::read_to_string(&stat).is_ok_and(|text| text.contains(") S "));
    while !is_waiting() && child.try_wait().expect("our own child").is_none() {
        thread::yield_now();
    }
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("it writes UTF-8");
    assert_eq!(child.wait().expect("our own child").code(), Some(0));
    assert_eq!(text[before..], tcptrace(&["trace", "--help"]).out);
}
