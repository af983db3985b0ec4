//! Outputs in folders where other users prepare traps, by their links, files and pipes; and output files that are
//! renamed or deleted while they are written.

use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};
use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown, lchown, symlink},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};
use tcptrace_tests::{
    by_name,
    clock::poll_until,
    command::{self, Running, tcptrace},
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
};
use tempfile::TempDir;

/// The user who prepares the traps.
const NOBODY: u32 = 65_534;

/// Maximum time until an expected event.
const TIMEOUT: Duration = Duration::from_mins(1);

const RECORDING: &[u8] = include_bytes!("../../tcptrace/src/record/fixtures/format-3.arrows");

fn main() -> ExitCode {
    let hostile = |name: &str, body: fn()| LiveTest::new(name, &[Requirement::Root], body);
    let tracing = |name: &str, body: fn(Netns)| LiveTest::new(name, live::TRACING, move || Netns::run(body));
    let tests = by_name! {
        hostile =>
            links_in_shared_folders_are_not_followed,
            folders_are_not_found_by_way_of_others_links,
            others_files_and_pipes_are_refused_in_shared_folders,
            others_folders_that_all_can_write_to_are_refused,
            a_folder_of_the_user_of_sudo_is_trusted;
        tracing =>
            each_dump_that_is_reported_is_there,
            a_stream_that_is_removed_is_reported_and_ends,
            a_stream_that_is_renamed_is_reported_and_goes_on;
    };
    live::run(tests, Parallelism::One, || Ok(()))
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("web.arrows"), RECORDING).expect("there is room");
    folder
}

fn allow(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("our own folder");
}

/// A sticky, world-writable folder in it, like /tmp.
fn shared(folder: &TempDir) -> PathBuf {
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).expect("ours");
    allow(&shared, 0o1777);
    shared
}

/// Every command that writes `output`, in the folder of the recording.
fn commands(output: &str) -> [Vec<&str>; 12] {
    [
        vec!["export", "--format", "csv", "-o", output, "web.arrows"],
        vec!["export", "--format", "parquet", "-o", output, "web.arrows"],
        vec!["hist", "-o", output, "web.arrows"],
        vec!["hist", "--duration", "0.1", "-o", output],
        vec!["hist", "--format", "hlog", "--interval", "1", "-o", output],
        vec!["trace", "--duration", "0.1", "-o", output],
        vec!["snapshot", "-o", output],
        vec!["report", "--html", "-o", output, "web.arrows"],
        vec!["report", "--html", "--duration", "0.1", "-o", output],
        vec!["watch", "-b", "-n", "1", "--dump", output],
        vec!["record", "--duration", "0.1", "-o", output],
        vec![
            "record",
            "--duration",
            "0.1",
            "-o",
            "new.arrows",
            "--report",
            output,
        ],
    ]
}

/// Runs all of them, which must be refused with this message.
fn assert_refused(folder: &TempDir, output: &str, words: &str) {
    for arguments in commands(output) {
        let mut command = tcptrace(&arguments);
        command.current_dir(folder.path());
        let result = command::run(command);
        assert_eq!(result.code, Some(1), "{arguments:?}: {result:?}");
        assert!(
            result.err.contains(words) && result.err.contains("what to do: "),
            "{arguments:?}: {result:?}"
        );
    }
}

fn links_in_shared_folders_are_not_followed() {
    let folder = folder();
    let shared = shared(&folder);
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").expect("there is room");
    let link = shared.join("out");
    for target in [&precious, &folder.path().join("nowhere")] {
        symlink(target, &link).expect("ours");
        lchown(&link, Some(NOBODY), None).expect("root gives files away");
        for arguments in commands("shared/out") {
            let mut command = tcptrace(&arguments);
            command.current_dir(folder.path());
            let result = command::run(command);
            assert_eq!(result.code, Some(1), "{arguments:?}: {result:?}");
        }
        fs::remove_file(&link).expect("it is still there");
    }
    assert_eq!(fs::read_to_string(&precious).expect("it is there"), "precious");
    assert!(!folder.path().join("nowhere").exists());
    // Each state has a file in addition to that of all states.
    symlink(&precious, shared.join("dwell.CONNECTION.hgrm")).expect("ours");
    let arguments = [
        "hist",
        "--format",
        "hgrm",
        "-o",
        "shared/dwell.hgrm",
        "web.arrows",
    ];
    let mut command = tcptrace(&arguments);
    command.current_dir(folder.path());
    let result = command::run(command);
    assert!(result.err.contains("symbolic link"), "{result:?}");
    assert_eq!(fs::read_to_string(&precious).expect("it is there"), "precious");
}

fn folders_are_not_found_by_way_of_others_links() {
    let folder = folder();
    let shared = shared(&folder);
    let private = folder.path().join("private");
    fs::create_dir(&private).expect("ours");
    let link = shared.join("way");
    symlink(&private, &link).expect("ours");
    lchown(&link, Some(NOBODY), None).expect("root gives files away");
    assert_refused(
        &folder,
        "shared/way/out",
        "is a symbolic link owned by user 65534",
    );
    let mut ring = tcptrace(&["record", "--flight-recorder", "1", "-o", "shared/way/ring"]);
    ring.current_dir(folder.path());
    let result = command::run(ring);
    assert!(
        result.err.contains("is a symbolic link owned by user 65534"),
        "{result:?}"
    );
    assert_eq!(fs::read_dir(&private).expect("it is there").count(), 0);
    // A link of the same user may lead there.
    fs::remove_file(&link).expect("it is there");
    symlink(&private, &link).expect("ours");
    let mut command = tcptrace(&commands("shared/way/out")[0]);
    command.current_dir(folder.path());
    assert_eq!(command::run(command).code, Some(0));
    assert!(private.join("out").exists());
}

fn others_files_and_pipes_are_refused_in_shared_folders() {
    let folder = folder();
    let shared = shared(&folder);
    let out = shared.join("out");
    fs::write(&out, "bait").expect("there is room");
    chown(&out, Some(NOBODY), None).expect("root gives files away");
    let words = "in a directory that others can write to";
    for arguments in commands("shared/out") {
        let mut command = tcptrace(&arguments);
        command.current_dir(folder.path());
        let result = command::run(command);
        assert_eq!(result.code, Some(1), "{arguments:?}: {result:?}");
        assert!(result.err.contains(words), "{arguments:?}: {result:?}");
    }
    assert_eq!(fs::read_to_string(&out).expect("it is there"), "bait");
    fs::remove_file(&out).expect("it is there");
    // The reader of a pipe would receive what only its user may read.
    mkfifo(&out, Mode::from_bits_truncate(0o666)).expect("ours");
    chown(&out, Some(NOBODY), None).expect("root gives files away");
    let mut command = tcptrace(&commands("shared/out")[0]);
    command.current_dir(folder.path());
    let result = command::run(command);
    assert!(result.err.contains(words), "{result:?}");
}

fn others_folders_that_all_can_write_to_are_refused() {
    let folder = folder();
    let open = folder.path().join("open");
    fs::create_dir(&open).expect("ours");
    chown(&open, Some(NOBODY), None).expect("root gives folders away");
    allow(&open, 0o777);
    let words = "is owned by user 65534 and world-writable";
    assert_refused(&folder, "open/out", words);
    let mut ring = tcptrace(&["record", "--flight-recorder", "1", "-o", "open"]);
    ring.current_dir(folder.path());
    let result = command::run(ring);
    assert_eq!(result.code, Some(1), "{result:?}");
    assert!(result.err.contains(words), "{result:?}");
    assert_eq!(fs::read_dir(&open).expect("it is there").count(), 0);
    allow(&open, 0o755);
    let mut command = tcptrace(&commands("open/out")[0]);
    command.current_dir(folder.path());
    assert_eq!(
        command::run(command).code,
        Some(0),
        "its owner alone can replace the file"
    );
}

fn a_folder_of_the_user_of_sudo_is_trusted() {
    let folder = folder();
    let home = folder.path().join("home");
    fs::create_dir(&home).expect("ours");
    chown(&home, Some(NOBODY), None).expect("root gives folders away");
    let out = home.join("out");
    fs::write(&out, "old").expect("there is room");
    chown(&out, Some(NOBODY), None).expect("root gives files away");
    let export = |as_sudo: bool| -> Command {
        let mut command = tcptrace(&commands("home/out")[0]);
        command.current_dir(folder.path());
        if as_sudo {
            command.env("SUDO_UID", NOBODY.to_string());
        } else {
            command.env_remove("SUDO_UID");
        }
        command
    };
    assert_eq!(command::run(export(false)).code, Some(1));
    assert_eq!(command::run(export(true)).code, Some(0));
    assert!(
        fs::read_to_string(&out)
            .expect("it is there")
            .starts_with("host,")
    );
}

fn each_dump_that_is_reported_is_there(_netns: Netns) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = tcptrace(&["watch", "-b", "-d", "0.1"]);
    command.current_dir(folder.path()).stdout(Stdio::piped());
    let mut watch = Running::start(command);
    let mut stdout = watch.stdout();
    assert!(!command::first_line(&mut stdout).is_empty());
    let frames = thread::spawn(move || command::rest_of(stdout));
    for _ in 0..26 {
        watch.signal(Signal::SIGUSR1);
        // The rate of the signals is what is tested.
        thread::sleep(Duration::from_millis(75));
    }
    watch.signal(Signal::SIGINT);
    assert!(watch.status().success());
    drop(frames.join());
    let messages = watch.messages();
    let reported: Vec<&str> = messages
        .lines()
        .filter_map(|line| line.strip_prefix("tcptrace: histograms written to "))
        .collect();
    println!("{} of 26 signals wrote a file", reported.len());
    assert!(reported.len() > 10, "{messages}");
    let reported_names: BTreeSet<String> = reported.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        reported_names.len(),
        reported.len(),
        "no name is reported twice: {messages}"
    );
    let there: BTreeSet<String> = fs::read_dir(folder.path())
        .expect("it is there")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
        .collect();
    assert_eq!(there, reported_names);
}

/// A stream to `events` in a folder, once it has begun.
fn stream(folder: &TempDir) -> (Running, PathBuf) {
    let path = folder.path().join("events");
    let mut trace = Running::start(tcptrace(&["trace", "--json", "-o", path.to_str().expect("text")]));
    let begun = poll_until(TIMEOUT, || {
        assert!(!trace.has_ended(), "{}", trace.messages());
        fs::metadata(&path).is_ok_and(|file| file.len() > 0).then_some(())
    });
    assert!(begun.is_some(), "the stream does not begin");
    (trace, path)
}

fn a_stream_that_is_removed_is_reported_and_ends(_netns: Netns) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut trace, path) = stream(&folder);
    fs::remove_file(&path).expect("it is there");
    assert_eq!(trace.status().code(), Some(1));
    let messages = trace.messages();
    assert!(
        messages.contains("it was removed while it was being written"),
        "{messages}"
    );
    assert!(messages.contains("the output is lost"), "{messages}");
}

fn a_stream_that_is_renamed_is_reported_and_goes_on(_netns: Netns) {
    const MESSAGE: &str = "was renamed or replaced: further output goes to the original file";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut trace, path) = stream(&folder);
    let messages = trace.lines_of_messages();
    let renamed = folder.path().join("renamed");
    fs::rename(&path, &renamed).expect("it is there");
    let is_reported = |line: &String| line.contains(MESSAGE);
    let first = poll_until(TIMEOUT, || {
        // Whether there are lines to write or not.
        drop(TcpListener::bind("127.0.0.1:0").expect("loopback"));
        messages.try_iter().find(is_reported)
    });
    assert!(first.is_some(), "it is not reported");
    // It checks once per second.
    thread::sleep(Duration::from_secs(2));
    trace.signal(Signal::SIGINT);
    assert!(trace.status().success());
    assert_eq!(messages.iter().find(is_reported), None, "once is enough");
    let text = fs::read_to_string(&renamed).expect("it is there");
    assert!(
        text.lines()
            .last()
            .is_some_and(|line| line.contains("\"summary\"")),
        "{text}"
    );
}
