//! What becomes of files that are named as outputs: recordings and inputs are refused by every command, what fails leaves
//! what was there, and the words fit the error. Needs no privileges: outputs are looked at before the kernel is.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;

const RECORDING: &[u8] = include_bytes!("../src/record/fixtures/format-3.arrows");

struct Said {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

fn tcptrace(folder: &TempDir, arguments: &[&str], stdout: Stdio) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_tcptrace"))
        .args(arguments)
        .current_dir(folder.path())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("the command runs");
    Said {
        code: output.status.code(),
        out: output.stdout,
        err: String::from_utf8(output.stderr).expect("it writes UTF-8"),
    }
}

/// A folder with two recordings.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["web1.arrows", "web2.arrows"] {
        fs::write(folder.path().join(name), RECORDING).expect("there is room");
    }
    folder
}

fn names_in(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("it is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

/// Runs what would overwrite `web1.arrows`, and asserts that it does not.
fn assert_refused(folder: &TempDir, arguments: &[&str], words: &str) {
    let result = tcptrace(folder, arguments, Stdio::piped());
    assert_eq!(result.code, Some(1), "{arguments:?}: {}", result.err);
    assert!(
        result.err.contains("cannot write web1.arrows"),
        "{arguments:?}: {}",
        result.err
    );
    assert!(result.err.contains(words), "{arguments:?}: {}", result.err);
    assert!(
        result.err.contains("an existing file is unchanged"),
        "{}",
        result.err
    );
    assert_eq!(
        fs::read(folder.path().join("web1.arrows")).expect("it is there"),
        RECORDING
    );
    assert_eq!(names_in(folder), ["web1.arrows", "web2.arrows"]);
}

#[test]
fn no_command_overwrites_a_recording() {
    let folder = folder();
    for arguments in [
        // As the shell expands -o web*.arrows.
        &["export", "--format", "csv", "-o", "web1.arrows", "web2.arrows"][..],
        &["export", "--format", "jsonl", "-o", "web1.arrows", "web2.arrows"],
        &[
            "export",
            "--format",
            "parquet",
            "-o",
            "web1.arrows",
            "web2.arrows",
        ],
        &["hist", "-o", "web1.arrows", "web2.arrows"],
        &["hist", "-o", "web1.arrows"],
        &["hist", "--format", "hlog", "--interval", "1", "-o", "web1.arrows"],
        &["trace", "-o", "web1.arrows"],
        &["snapshot", "-o", "web1.arrows"],
        &["watch", "-b", "--dump", "web1.arrows"],
        &["record", "-o", "new.arrows", "--report", "web1.arrows"],
    ] {
        assert_refused(&folder, arguments, "it is a recording");
    }
}

#[test]
fn no_command_overwrites_what_it_reads() {
    let folder = folder();
    for arguments in [
        &["export", "--format", "csv", "-o", "web1.arrows", "web1.arrows"][..],
        &[
            "export",
            "--format",
            "parquet",
            "-o",
            "web1.arrows",
            "web2.arrows",
            "./web1.arrows",
        ],
        &["hist", "-o", "web1.arrows", "web1.arrows"],
    ] {
        assert_refused(&folder, arguments, "it is also an input");
    }
    let log = ["hist", "--format", "hlog", "-o", "both.hlog", "web1.arrows"];
    assert_eq!(tcptrace(&folder, &log, Stdio::piped()).code, Some(0));
    let written = fs::read(folder.path().join("both.hlog")).expect("it was written");
    let over_itself = ["hist", "--format", "hlog", "-o", "both.hlog", "both.hlog"];
    let result = tcptrace(&folder, &over_itself, Stdio::piped());
    assert_eq!(result.code, Some(1), "{}", result.err);
    assert_eq!(
        fs::read(folder.path().join("both.hlog")).expect("it is there"),
        written
    );
}

#[test]
fn a_file_beside_the_output_that_is_refused_leaves_the_output_as_it_was() {
    let folder = folder();
    let (all, one) = (
        folder.path().join("d.hgrm"),
        folder.path().join("d.CONNECTION.hgrm"),
    );
    fs::write(&all, "before").expect("there is room");
    fs::write(&one, RECORDING).expect("there is room");
    let result = tcptrace(
        &folder,
        &["hist", "web2.arrows", "--format", "hgrm", "-o", "d.hgrm"],
        Stdio::piped(),
    );
    assert_eq!(result.code, Some(1), "{}", result.err);
    assert!(result.err.contains("d.CONNECTION.hgrm"), "{}", result.err);
    assert_eq!(fs::read(&all).expect("it is there"), b"before");
    assert_eq!(fs::read(&one).expect("it is there"), RECORDING);
}

#[test]
fn a_report_is_not_one_of_the_files_in_turn() {
    let folder = folder();
    for report in ["r-000007.arrows", "r.arrows"] {
        let result = tcptrace(
            &folder,
            &["record", "-o", "r.arrows", "--rotate", "1M", "--report", report],
            Stdio::piped(),
        );
        assert_eq!(result.code, Some(2), "{report}: {}", result.err);
        assert!(
            result.err.contains("it is the name of the recording"),
            "{}",
            result.err
        );
    }
}

#[test]
fn a_recording_is_not_appended_to() {
    let folder = folder();
    let path = folder.path().join("web1.arrows");
    for arguments in [
        &["export", "--format", "csv", "web1.arrows"][..],
        &["export", "--format", "csv", "web2.arrows"],
        &["export", "--format", "csv", "-o", "/dev/stdout", "web2.arrows"],
        &["report", "web1.arrows"],
        &["doctor", "--explain", "close-wait-leak"],
    ] {
        let append = File::options().append(true).open(&path).expect("ours");
        let result = tcptrace(&folder, arguments, append.into());
        assert_eq!(result.code, Some(1), "{arguments:?}: {}", result.err);
        assert_eq!(fs::read(&path).expect("it is there"), RECORDING, "{arguments:?}");
    }
}

#[test]
fn what_fails_leaves_what_was_there() {
    let folder = folder();
    fs::write(folder.path().join("out.csv"), "last month's").expect("there is room");
    fs::write(folder.path().join("damaged.arrows"), &RECORDING[..100]).expect("there is room");
    for arguments in [
        &["export", "--format", "csv", "-o", "out.csv", "nosuch.arrows"][..],
        &["export", "--format", "parquet", "-o", "out.csv", "nosuch.arrows"],
        &["export", "--format", "csv", "-o", "out.csv", "damaged.arrows"],
        &["hist", "-o", "out.csv", "nosuch.arrows"],
        &["trace", "-o", "out.csv", "--netns", "/nowhere"],
    ] {
        let result = tcptrace(&folder, arguments, Stdio::piped());
        assert!(result.code != Some(0), "{arguments:?}");
        let left = fs::read_to_string(folder.path().join("out.csv")).expect("it is there");
        assert_eq!(left, "last month's", "{arguments:?}");
    }
    assert_eq!(
        names_in(&folder),
        ["damaged.arrows", "out.csv", "web1.arrows", "web2.arrows"]
    );
}

#[test]
fn what_succeeds_is_for_its_user_alone() {
    let folder = folder();
    let path = folder.path().join("out");
    for arguments in [
        &["export", "--format", "csv", "-o", "out", "web1.arrows"][..],
        &["export", "--format", "jsonl", "-o", "out", "web1.arrows"],
        &["export", "--format", "parquet", "-o", "out", "web1.arrows"],
        &["hist", "--format", "hgrm", "-o", "out", "web1.arrows"],
        &[
            "hist",
            "--format",
            "hlog",
            "--interval",
            "1",
            "-o",
            "out",
            "web1.arrows",
        ],
    ] {
        let mut old = File::create(&path).expect("ours");
        old.write_all(b"old").expect("there is room");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        let result = tcptrace(&folder, arguments, Stdio::piped());
        assert_eq!(result.code, Some(0), "{arguments:?}: {}", result.err);
        assert!(fs::read(&path).expect("it is there") != b"old", "{arguments:?}");
        for name in names_in(&folder).iter().filter(|name| name.starts_with("out")) {
            let made = fs::metadata(folder.path().join(name)).expect("it is there");
            assert_eq!(made.permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
    assert!(names_in(&folder).iter().all(|name| !name.contains("part")));
}

#[test]
fn standard_output_has_its_names() {
    let folder = folder();
    let plain = tcptrace(
        &folder,
        &["export", "--format", "csv", "web1.arrows"],
        Stdio::piped(),
    );
    assert!(!plain.out.is_empty());
    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let arguments = ["export", "--format", "csv", "-o", name, "web1.arrows"];
        let result = tcptrace(&folder, &arguments, Stdio::piped());
        assert_eq!(
            (result.code, &result.out),
            (Some(0), &plain.out),
            "{name}: {}",
            result.err
        );
        let file = File::create(folder.path().join("redirected")).expect("ours");
        assert_eq!(tcptrace(&folder, &arguments, file.into()).code, Some(0));
        let redirected = fs::read(folder.path().join("redirected")).expect("it is there");
        assert_eq!(redirected, plain.out, "{name}");
    }
    let null = ["export", "--format", "parquet", "-o", "/dev/null", "web1.arrows"];
    assert_eq!(tcptrace(&folder, &null, Stdio::piped()).code, Some(0));
}

#[test]
fn the_words_fit_the_error() {
    let folder = folder();
    let long = "n".repeat(300);
    symlink("web1.arrows", folder.path().join("link")).expect("ours");
    for (output, words) in [
        (".", "give a file"),
        ("new/", "give a file"),
        ("nowhere/out.csv", "create the directory first"),
        ("web1.arrows/out.csv", "a part of this one is a file"),
        (long.as_str(), "choose a shorter name"),
        ("link", "give the file that it points to"),
        ("/dev/full", "free some space"),
        ("/dev/fd/987", "was not passed to tcptrace"),
    ] {
        let arguments = ["export", "--format", "csv", "-o", output, "web2.arrows"];
        let result = tcptrace(&folder, &arguments, Stdio::piped());
        assert_eq!(result.code, Some(1), "{output}: {}", result.err);
        assert!(result.err.contains(words), "{output}: {}", result.err);
        let is_full = output == "/dev/full";
        assert_eq!(
            result.err.contains("free some space"),
            is_full,
            "{output}: {}",
            result.err
        );
        assert_eq!(
            result.err.contains("the output is incomplete"),
            is_full,
            "{}",
            result.err
        );
    }
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    let result = tcptrace(
        &folder,
        &["export", "--format", "jsonl", "web1.arrows"],
        full.into(),
    );
    assert!(
        result.err.contains("may end in the middle of a line"),
        "{}",
        result.err
    );
    assert!(Path::new("/dev/full").exists());
}
