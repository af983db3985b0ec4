//! What went missing of a run, and which part of it: the file that it is asked of, and no other.

use crate::{pages::lossy, *};
use serde_json::Value;

/// The last line of what a command prints as JSON.
fn summary(arguments: &[&str], file: &str) -> Value {
    let output = bounded(arguments, &[file.to_owned()]);
    let rows = rows(&text(&output.stdout));
    rows.last().expect("a summary")["summary"].clone()
}

#[test]
fn losses_before_a_file_of_a_run_are_not_its_own() {
    const BEFORE: u32 = 19;
    let folder = Folder::new();
    let origin = Origin {
        segment: 3,
        lost: BEFORE.into(),
        event_lost: BEFORE,
        ..origin(1)
    };
    let made = |name: &str, total| {
        let file = folder.file(name);
        let mut writer = Writer::create(Path::new(&file), &origin).expect("a new file");
        let mut push = |entry| writer.push(&entry).expect("there is room");
        for (after, old, new) in [
            (1, Close, SynSent),
            (2, SynSent, Established),
            (3, Established, CloseWait),
        ] {
            push(Entry::Event(Event {
                lost: BEFORE,
                ..event(1, BEGAN + after, old, new, task(PIDS[0]))
            }));
        }
        let time = Nanos(BEGAN + 60 * SECOND);
        push(Entry::Lost { time, total });
        push(Entry::Stopped(time));
        writer.flush().expect("there is room");
        file
    };
    for (own, is_exact) in [(0, true), (7, false)] {
        let file = made(&format!("{own}.arrows"), u64::from(BEFORE) + own);
        for command in ["trace", "report", "doctor", "leaks"] {
            assert_eq!(summary(&[command, "--json"], &file)["lost"], own, "{command}");
        }
        let of_histograms = summary(&["hist", "--json"], &file);
        assert_eq!(of_histograms["runs"][0]["lost"], own);
        let exported = rows(&tcptrace(&["export", "--format", "jsonl"], &[file]));
        let exact: Vec<&Value> = exported.iter().map(|row| &row["dwell_exact"]).collect();
        let (open, ended) = exact.split_last().expect("a connection");
        assert_eq!(ended[1..], [true, true]);
        assert_eq!(**open, is_exact);
    }
}

#[test]
fn every_command_that_reads_recordings_reports_gaps_and_losses() {
    const GAP: &str = "the recording has 1 gap; entries known to be missing: 3";
    let folder = Folder::new();
    let file = lossy(&folder);
    for command in ["trace", "doctor", "leaks"] {
        let remarks = summary(&[command, "--json"], &file)["remarks"].clone();
        assert_eq!(remarks, serde_json::json!([GAP]), "{command}");
    }
    let error = |arguments: &[&str]| text(&bounded(arguments, std::slice::from_ref(&file)).stderr);
    assert!(error(&["watch", "-b", "--speed", "0", "--delay", "10"]).contains(GAP));
    let export = ["export", "--format", "csv"];
    let exported = error(&export);
    assert!(exported.contains(GAP), "{exported}");
    assert!(
        exported.contains("lossy.arrows: 7 records were lost in the kernel"),
        "{exported}"
    );
    assert!(!exported.contains("not seen"), "{exported}");
    let later = error(&[&export[..], &["--from", "+5s"]].concat());
    assert!(!later.contains("gap") && !later.contains("lost"), "{later}");
    // Those with a field for gaps have no second word of them.
    assert_eq!(
        summary(&["report", "--json"], &file)["remarks"],
        serde_json::json!([])
    );
    assert_eq!(
        summary(&["hist", "--json"], &file)["runs"][0]["remarks"],
        serde_json::json!([])
    );
}

#[test]
fn export_reports_what_the_recorder_could_not_see() {
    let folder = Folder::new();
    let blind = folder.file("blind.arrows");
    let origin = Origin {
        limitations: vec!["sockets of another namespace".to_owned()],
        ..origin(3)
    };
    record_by(Path::new(&blind), 3, &origin, 60, &[]);
    let error = text(&bounded(&["export", "--format", "csv"], &[blind]).stderr);
    assert!(
        error.contains("not seen: sockets of another namespace\n"),
        "{error}"
    );
}
