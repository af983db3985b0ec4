//! Recordings that unpack to gigabytes, have wild times, or texts that are commands to a terminal.

use crate::*;
use tcptrace::record::{
    bounds::MOST_ROWS,
    format, frame,
    message::{MessageEncoder, Storage},
    write::Encoder,
};

/// A message whose rows are all zeros.
fn zeros(rows: usize) -> Vec<u8> {
    let mut encoder = MessageEncoder::new().expect("there is memory");
    encoder.begin(rows);
    for field in format::fields() {
        let column = |width: usize| vec![0; rows * width];
        let width = field.data_type().primitive_width();
        let result = if field.name() == "text" {
            encoder.column(&[(&column(4), Storage::Patterns), (&[], Storage::Patterns)])
        } else {
            encoder.column(&[(&column(width.unwrap_or(16)), Storage::Patterns)])
        };
        result.expect("zstd takes all bytes");
    }
    frame::seal(encoder.finish())
}

#[test]
fn a_recording_that_unpacks_to_gigabytes_is_read_in_little_memory() {
    let folder = Folder::new();
    let file = folder.file("bomb.arrows");
    let mut bytes = Encoder::new(&origin(1)).expect("there is memory").header();
    let bomb = zeros(20 * MOST_ROWS);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    bytes.extend(bomb.repeat(10));
    let mut encoder = Encoder::new(&origin(1)).expect("there is memory");
    encoder.push(&Entry::Stopped(Nanos(BEGAN + SECOND)));
    bytes.extend(encoder.batch().expect("zstd takes all bytes"));
    fs::write(&file, bytes).expect("there is room");
    for arguments in READERS {
        let output = bounded(arguments, std::slice::from_ref(&file));
        let printed = text(&output.stdout) + &text(&output.stderr);
        // Where not all was there to look at, nothing found proves nothing.
        let is_verdict = ["doctor", "hist", "leaks"].contains(&arguments[0]);
        let expected = if is_verdict { 4 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {printed}");
        assert_eq!(
            printed.matches("damaged or hostile").count() % 10,
            0,
            "{arguments:?}: {printed}"
        );
        assert!(printed.contains("damaged or hostile"), "{arguments:?}: {printed}");
    }
}

#[test]
fn times_that_are_wild_are_skipped_and_reported() {
    let folder = Folder::new();
    let file = folder.file("wild.arrows");
    let mut writer = Writer::create(Path::new(&file), &origin(1)).expect("a new file");
    let century = 136 * 365 * 86_400 * SECOND;
    let mut push = |entry| writer.push(&entry).expect("there is room");
    for (number, begin) in [0, century / 2, century].into_iter().enumerate() {
        for event in life(1, 1, number as u64) {
            let time = Nanos(event.time.0 + begin);
            push(Entry::Event(Event { time, ..event }));
            push(Entry::Settled(time));
        }
    }
    push(Entry::Stopped(Nanos(BEGAN + century + 60 * SECOND)));
    writer.finish().expect("there is room");
    let files = [file];
    let frames = tcptrace(&["watch", "-b", "--speed", "0"], &files);
    assert_eq!(frames.matches(" without entries").count(), 2, "{frames}");
    assert!(frames.matches("COMMAND").count() < 200, "{frames}");
    let output = bounded(&["hist", "--interval", "1", "--format", "hlog"], &files);
    let (log, error) = (text(&output.stdout), text(&output.stderr));
    assert!(log.lines().count() < 500, "{} lines", log.lines().count());
    assert!(
        error.contains("intervals without a change are omitted"),
        "{error}"
    );
    // What is left out is nothing: the log holds what the recording does.
    let of_log = folder.file("wild.hlog");
    fs::write(&of_log, log).expect("there is room");
    let by_state = ["hist", "--json"];
    assert_eq!(
        close_waits(&tcptrace(&by_state, &[of_log])),
        close_waits(&tcptrace(&by_state, &files))
    );
}

#[test]
fn a_time_zone_that_never_ends_is_not_read() {
    let folder = Folder::new();
    let [file, _] = folder.two_hosts();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcptrace"));
    command
        .args(["report", "--at", "2026-11-22 02:30", &file])
        .env("TZ", ":/dev/zero");
    // SAFETY: as above.
    unsafe {
        command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_AS, MOST_MEMORY, MOST_MEMORY)?));
    }
    let output = command.output().expect("the command starts");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("TZ=:/dev/zero"), "{error}");
}

#[test]
fn no_text_of_a_recording_reaches_the_terminal_as_a_command() {
    let folder = Folder::new();
    let file = folder.file("hostile.arrows");
    let hostile = "a\u{1b}]0;b\u{7}\u{202e}\u{2028}\u{200b}";
    let name = || hostile.to_owned();
    let origin = Origin {
        host: name(),
        kernel: name(),
        machine: name(),
        version: name(),
        command: name(),
        limitations: vec![name()],
        ..origin(1)
    };
    let mut writer = Writer::create(Path::new(&file), &origin).expect("a new file");
    let task = Task {
        comm: *b"a\x1b[2Jb\xe2\x80\xa8\0\0\0\0\0\0\0",
        ..task(1)
    };
    let mut push = |entry| writer.push(&entry).expect("there is room");
    for event in life(1, 1, 0) {
        push(Entry::Event(Event {
            task: event.task.map(|_| task),
            ..event
        }));
    }
    push(Entry::Location {
        task,
        path: format!("/{hostile}.service").into(),
    });
    push(Entry::Note {
        time: Nanos(BEGAN),
        text: hostile.into(),
    });
    writer.flush().expect("there is room");
    for arguments in READERS
        .into_iter()
        .chain([&["hist", "--by", "cgroup"][..], &["hist", "--format", "hlog"]])
    {
        let output = bounded(arguments, std::slice::from_ref(&file));
        let printed = text(&output.stdout) + &text(&output.stderr);
        let left: Vec<char> = hostile.chars().filter(|c| !c.is_ascii_graphic()).collect();
        assert!(!printed.contains(&left[..]), "{arguments:?}: {printed:?}");
    }
}
