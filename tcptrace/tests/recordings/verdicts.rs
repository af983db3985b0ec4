//! What commands say of a recording: what was not read of it, what it does not hold, and what they find in it.

use crate::*;

/// The commands that read recordings, each as text and as JSON where it has both.
pub(crate) const READERS: [&[&str]; 12] = [
    &["report"],
    &["report", "--json"],
    &["report", "--html"],
    &["doctor"],
    &["doctor", "--json"],
    &["leaks"],
    &["leaks", "--json"],
    &["hist"],
    &["hist", "--json"],
    &["export", "--format", "jsonl"],
    &["export", "--format", "csv"],
    &["watch", "-b", "--speed", "0", "--delay", "10"],
];

#[test]
fn a_recording_of_a_run_that_was_killed_is_called_truncated_by_every_command() {
    let folder = Folder::new();
    let [whole, _] = folder.two_hosts();
    let bytes = fs::read(&whole).expect("it was written");
    // Killed between two batches, and in the middle of one.
    let between = folder.file("between.arrows");
    let mut writer = Writer::create(Path::new(&between), &origin(1)).expect("a new file");
    writer
        .push(&Entry::Settled(Nanos(BEGAN + SECOND)))
        .and_then(|()| writer.flush())
        .expect("there is room");
    let within = folder.file("within.arrows");
    fs::write(&within, &bytes[..bytes.len() - 9]).expect("there is room");
    for arguments in READERS {
        let printed = |file: &str| {
            let output = bounded(arguments, &[file.to_owned()]);
            (text(&output.stdout), text(&output.stderr))
        };
        for file in [&between, &within] {
            let (out, error) = printed(file);
            // Commands report it in their result if that has a place for it, else on standard error.
            let has_result = ["report", "doctor"].contains(&arguments[0]) || arguments.contains(&"--json");
            let place = if has_result { &out } else { &error };
            assert!(
                place.contains("truncated at 2026-"),
                "{arguments:?}: {out}{error}"
            );
            assert!(
                !out.contains("no findings")
                    || out.contains(", but parts of the recording could not be read"),
                "{out}"
            );
        }
        let (out, error) = printed(&whole);
        assert!(!(out + &error).contains("truncated"), "{arguments:?}");
    }
}

#[test]
fn what_no_recording_has_is_named_beside_the_verdict() {
    let folder = Folder::new();
    let [file, _] = folder.two_hosts();
    let output = bounded(&["doctor"], std::slice::from_ref(&file));
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(out.contains("\nnot checked: queues, "), "{out}{error}");
    let json = text(&bounded(&["doctor", "--json"], &[file]).stdout);
    let rows = rows(&json);
    let summary = &rows.last().expect("a summary")["summary"];
    assert_eq!(
        (&summary["recorded"], &summary["unseen"]),
        (&true.into(), &serde_json::json!([]))
    );
}

/// What names processes and namespaces that no recording has.
const NAMING_NOTHING: [[&str; 2]; 5] = [
    ["-p", "999999"],
    ["-c", "nosuchname"],
    ["--container", "nosuch"],
    ["--cgroup", "/nosuch.slice"],
    ["-N", "12345"],
];

#[test]
fn a_filter_that_names_nothing_in_the_recording_is_refused() {
    let folder = Folder::new();
    let files = folder.two_hosts();
    for command in [
        &["report"][..],
        &["doctor"],
        &["leaks"],
        &["export", "--format", "jsonl"],
        &["hist"],
        &["watch", "-b", "--speed", "0", "--delay", "10"],
    ] {
        for filter in NAMING_NOTHING {
            let output = bounded(&[command, &filter].concat(), &files);
            let (out, error) = (text(&output.stdout), text(&output.stderr));
            assert_eq!(
                output.status.code(),
                Some(2),
                "{command:?} {filter:?}: {out}{error}"
            );
            assert!(
                error.contains("web1.arrows contains no such process or network namespace"),
                "{error}"
            );
            assert!(
                !out.contains("no findings") && !out.contains("as soon as"),
                "{out}"
            );
        }
        let (unit, container) = (["--container", "nginx"], container(2));
        for filter in [
            ["-c", "server"],
            ["-p", "4001"],
            unit,
            ["--container", &container],
            ["-N", "4026531840"],
        ] {
            let output = bounded(&[command, &filter].concat(), &files);
            let error = text(&output.stderr);
            assert_ne!(output.status.code(), Some(2), "{command:?} {filter:?}: {error}");
        }
    }
}

#[test]
fn leaks_are_those_at_the_end_of_a_recording() {
    let folder = Folder::new();
    let file = folder.file("long.arrows");
    record_by(Path::new(&file), 1, &origin(1), 3_600, &[]);
    let leaked = |more: &[&str]| {
        let arguments = [&["leaks", "--json"], more].concat();
        let output = bounded(&arguments, std::slice::from_ref(&file));
        let rows = rows(&text(&output.stdout));
        let summary = rows.last().expect("a summary")["summary"].clone();
        assert_eq!(summary["recorded"], true);
        (output.status.code(), summary["leaked"].clone(), rows.len() - 1)
    };
    assert_eq!(leaked(&[]), (Some(3), (2 * LEAKED).into(), 2));
    assert_eq!(leaked(&["-p", "4001"]), (Some(3), LEAKED.into(), 1));
    assert_eq!(leaked(&["--older-than", "2h"]), (Some(0), 0.into(), 0));
    let output = text(&bounded(&["leaks"], &[file]).stdout);
    assert!(output.contains(": not closed"), "{output}");
}

#[test]
fn doctor_evaluates_what_a_filter_lets_pass_of_a_recording() {
    let folder = Folder::new();
    let file = folder.file("long.arrows");
    let listener = Event {
        endpoints: Endpoints::new(
            ("10.0.0.1".parse().expect("an address"), 80),
            ("0.0.0.0".parse().expect("an address"), 0),
        ),
        ..event(998, BEGAN, Close, Listen, task(PIDS[0]))
    };
    record_by(Path::new(&file), 1, &origin(1), 3_600, &[Entry::Event(listener)]);
    let evaluated = |filter: &[&str]| {
        let output = bounded(
            &[&["doctor", "--json"], filter].concat(),
            std::slice::from_ref(&file),
        );
        let mut rows = rows(&text(&output.stdout));
        let summary = rows.pop().expect("a summary")["summary"].clone();
        let pids: Vec<u64> = rows
            .iter()
            .map(|row| row["subject"]["pid"].as_u64().expect("of a process"))
            .collect();
        let (sockets, matched) = (summary["sockets"].clone(), summary["matched"].clone());
        (output.status.code(), pids, sockets, matched)
    };
    // With the listener, of which nobody is known to be the owner.
    let all = 2 * LEAKED + 1;
    assert_eq!(
        evaluated(&[]),
        (Some(3), vec![4_001, 4_002], all.into(), true.into())
    );
    let of_one = (Some(3), vec![4_001], LEAKED.into(), true.into());
    assert_eq!(evaluated(&["-p", "4001"]), of_one);
    assert_eq!(evaluated(&["-L", "80"]), (Some(0), vec![], 1.into(), true.into()));
    for filter in [["-L", "1"], ["-D", "1"], ["-p", "4001"]] {
        let filter = [&filter[..], &["-6"]].concat();
        let nothing = (Some(4), vec![], 0.into(), false.into());
        assert_eq!(evaluated(&filter), nothing, "{filter:?}");
    }
    let output = bounded(&["doctor", "-L", "1"], std::slice::from_ref(&file));
    let out = text(&output.stdout);
    assert!(
        out.contains(": nothing matched, so nothing was checked\n"),
        "{out}"
    );
}

#[test]
fn what_a_recording_could_not_see_stands_beside_what_hist_finds() {
    let folder = Folder::new();
    let [sighted, _] = folder.two_hosts();
    let blind = folder.file("blind.arrows");
    let origin = Origin {
        limitations: vec!["sockets of another namespace".to_owned()],
        ..origin(3)
    };
    record_by(Path::new(&blind), 3, &origin, 60, &[]);
    let hist = |file: &String, arguments: &[&str]| {
        let output = bounded(&[&["hist"], arguments].concat(), std::slice::from_ref(file));
        (output.status.code(), text(&output.stdout))
    };
    let sentence = "\nnot seen: sockets of another namespace\n";
    for (arguments, code) in [(&[][..], 0), (&["-L", "1"], 4)] {
        let (exited, out) = hist(&blind, arguments);
        assert_eq!(exited, Some(code), "{out}");
        assert!(out.ends_with(sentence), "{out}");
        let (exited, out) = hist(&sighted, arguments);
        assert_eq!(exited, Some(0), "{out}");
        assert!(!out.contains("not seen"), "{out}");
    }
    for format in ["json", "csv", "hlog", "hgrm"] {
        let (exited, out) = hist(&blind, &["-L", "1", "--format", format]);
        assert_eq!(exited, Some(4), "{format}: {out}");
    }
    let by_interval = ["--interval", "10", "--format", "hlog"];
    assert_eq!(hist(&blind, &by_interval).0, Some(0));
    assert_eq!(
        hist(&blind, &[&by_interval[..], &["-L", "1"]].concat()).0,
        Some(4)
    );
    let (_, json) = hist(&blind, &["--json"]);
    let rows = rows(&json);
    let run = &rows.last().expect("a summary")["summary"]["runs"][0];
    assert_eq!(run["unseen"][0]["text"], "sockets of another namespace");
}

#[test]
fn a_report_says_what_is_of_the_whole_recording_and_where_its_span_ends() {
    let folder = Folder::new();
    let file = folder.file("late.arrows");
    let odd = [(BEGAN, Close, SynSent), (BEGAN + 1, CloseWait, LastAck)]
        .map(|(time, old, new)| Entry::Event(event(999, time, old, new, task(PIDS[0]))));
    record_by(Path::new(&file), 1, &origin(1), 60, &odd);
    let files = [file];
    let unfiltered = tcptrace(&["report"], &files);
    assert!(
        unfiltered.contains("\n1 event was in an impossible order\n"),
        "{unfiltered}"
    );
    let filtered = tcptrace(&["report", "-L", "1"], &files);
    assert!(
        filtered.contains("\n1 event was in an impossible order, regardless of the filter\n"),
        "{filtered}"
    );
    let begin = tcptrace(&["report", "--to", "+0s"], &files);
    assert!(!begin.contains("where the recording"), "{begin}");
    assert!(
        unfiltered.contains("where the recording was stopped"),
        "{unfiltered}"
    );
}

#[test]
fn a_file_that_was_ended_for_another_to_follow_is_not_called_truncated() {
    let folder = Folder::new();
    let file = folder.file("first.arrows");
    let mut writer = Writer::create(Path::new(&file), &origin(1)).expect("a new file");
    writer
        .push(&Entry::Settled(Nanos(BEGAN + SECOND)))
        .expect("there is room");
    writer.finish().expect("there is room");
    let report = tcptrace(&["report"], &[file]);
    assert!(!report.contains("truncated"), "{report}");
    assert!(!report.contains("breaks off"), "{report}");
}
