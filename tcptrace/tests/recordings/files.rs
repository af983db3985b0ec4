//! Which files a command reads, and how many.

use crate::*;
use std::{io::Write as _, process::Stdio};

#[test]
fn more_files_are_read_than_a_process_may_open() {
    const FILES: u64 = 100;
    const MOST_OPEN: u64 = 40;
    let folder = Folder::new();
    let files: Vec<String> = (0..FILES)
        .map(|segment| {
            let path = folder.file(&format!("run-{segment:06}.arrows"));
            let time = BEGAN + segment * SECOND;
            let begun = ClockPair {
                mono_ns: time,
                wall_ns: origin(1).clock.wall_ns + segment * SECOND,
            };
            let origin = Origin {
                segment,
                clock: begun,
                ..origin(1)
            };
            let mut writer = Writer::create(Path::new(&path), &origin).expect("a new file");
            let made = event(segment, time, Close, SynSent, task(PIDS[0]));
            writer.push(&Entry::Event(made)).expect("there is room");
            writer.flush().expect("there is room");
            path
        })
        .collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptrace"));
    command.args(["report", "--json"]).args(&files);
    // SAFETY: setrlimit(2) is a system call alone, and what it is given is on the stack.
    unsafe {
        command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NOFILE, MOST_OPEN, MOST_OPEN)?));
    }
    let output = command.output().expect("the command starts");
    let rows = rows(&text(&output.stdout));
    let summary = &rows.last().expect("a summary")["summary"];
    assert_eq!(
        (&summary["changes"], &summary["gaps"]),
        (&FILES.into(), &0.into()),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_file_that_gives_nothing_is_a_remark_of_the_result() {
    let folder = Folder::new();
    let [whole, _] = folder.two_hosts();
    let empty = folder.file("empty.arrows");
    fs::write(&empty, "").expect("there is room");
    let files = [whole, empty];
    for command in ["report", "trace", "doctor", "leaks"] {
        let output = bounded(&[command, "--json"], &files);
        let rows = rows(&text(&output.stdout));
        let remarks = &rows.last().expect("a summary")["summary"]["remarks"];
        let remark = remarks[0].as_str().expect("a remark");
        assert!(
            remark.ends_with("empty.arrows: it is empty"),
            "{command}: {remark}"
        );
    }
    let output = bounded(&["hist"], &files);
    let error = text(&output.stderr);
    assert_eq!(error.matches("empty.arrows: it is empty").count(), 1, "{error}");
    let output = bounded(&["report", "--at", "+1000s"], &files);
    let error = text(&output.stderr);
    assert!(error.contains("empty.arrows: it is empty"), "{error}");
}

#[test]
fn a_recording_is_read_from_a_pipe() {
    let folder = Folder::new();
    let [file, _] = folder.two_hosts();
    let bytes = fs::read(&file).expect("it was written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tcptrace"))
        .args(["report", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(&bytes).expect("it is read");
    drop(pipe);
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(text(&output.stdout), tcptrace(&["report"], &[file]));
}

#[test]
fn the_log_beside_the_recordings_of_a_directory_is_not_counted_too() {
    let folder = Folder::new();
    let [file, _] = folder.two_hosts();
    let saved = folder.file("saved");
    fs::create_dir(&saved).expect("there is room");
    let log = format!("{saved}/states.hlog");
    let _written = tcptrace(
        &["hist", "--format", "hlog", "-o", &log],
        std::slice::from_ref(&file),
    );
    fs::rename(&file, format!("{saved}/ring-000000.arrows")).expect("the same disk");
    let read = tcptrace(&["hist", "--json"], std::slice::from_ref(&saved));
    assert_eq!(
        close_waits(&read),
        BTreeSet::from([reported("\"web1\"", 2)]),
        "{read}"
    );
    // Given by name, they are refused.
    let both = [format!("{saved}/ring-000000.arrows"), log];
    let output = bounded(&["hist"], &both);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), out.as_str()), (Some(2), ""), "{error}");
    assert!(
        error.contains("states.hlog and a recording have the same time of web1"),
        "{error}"
    );
}
