//! Which files a run finds, continues after and deletes.

use super::*;
use crate::{
    cli::{Cli, Command},
    options::recording,
};
use clap::Parser as _;
use std::{fs::File, time::SystemTime};
use tempfile::TempDir;

const RECORDING: &[u8] = b"\xff\xff\xff\xff\x78\x03\x00\x00schema";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn files(output: &Path, arguments: &[&str]) -> Files {
    let fixed = ["tcptrace", "record", "-o", output.to_str().unwrap()];
    let Command::Record(args) = Cli::parse_from([&fixed, arguments].concat()).command else {
        panic!("record is what was given")
    };
    Files::new(&args, recording::files(&args).unwrap())
}

/// Begins another file, and makes it as the writing thread does.
fn make(files: &mut Files) -> String {
    let path = files.begin();
    fs::write(&path, RECORDING).unwrap();
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn names_in(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_run_goes_on_after_the_highest_number_and_keeps_as_many_as_are_set() {
    let folder = folder();
    let output = folder.path().join("web.arrows");
    let keep = ["--rotate", "1s", "--keep", "3"];
    for number in [0, 1, 7] {
        fs::write(folder.path().join(format!("web-{number:06}.arrows")), RECORDING).unwrap();
    }
    let mut run = files(&output, &keep);
    run.prepare().unwrap();
    assert_eq!(make(&mut run), "web-000008.arrows");
    run.delete_old();
    assert_eq!(
        names_in(&folder),
        ["web-000001.arrows", "web-000007.arrows", "web-000008.arrows"]
    );
    let mut ring = files(folder.path(), &["--flight-recorder", "1"]);
    ring.prepare().unwrap();
    assert_eq!(make(&mut ring), "ring-000000.arrows");
    let mut ring = files(folder.path(), &["--flight-recorder", "1"]);
    ring.prepare().unwrap();
    assert_eq!(make(&mut ring), "ring-000001.arrows");
}

#[test]
fn only_recordings_of_the_run_s_name_are_counted_and_deleted() {
    let folder = folder();
    let output = folder.path().join("web.arrows");
    let others = [
        "db-000001.arrows",
        "web-000004.arrows.bak",
        "web-000005.arrows",
        "web-1.arrows",
        "web-9999999999999999999999.arrows",
        "web.arrows",
    ];
    for name in others {
        fs::write(folder.path().join(name), "a user's").unwrap();
    }
    fs::write(folder.path().join("web-000002.arrows"), "").unwrap();
    std::os::unix::fs::symlink("db-000001.arrows", folder.path().join("web-000006.arrows")).unwrap();
    let mut run = files(&output, &["--rotate", "1s", "--keep", "1"]);
    run.prepare().unwrap();
    assert_eq!(make(&mut run), "web-000007.arrows", "no name is used twice");
    run.delete_old();
    let left = names_in(&folder);
    assert_eq!(left.len(), others.len() + 2, "{left:?}");
    assert!(
        !left.contains(&"web-000002.arrows".to_owned()),
        "it was empty: {left:?}"
    );
}

#[test]
fn a_name_that_was_taken_meanwhile_is_passed_over() {
    let folder = folder();
    let mut run = files(
        &folder.path().join("web.arrows"),
        &["--rotate", "1s", "--keep", "1"],
    );
    run.prepare().unwrap();
    assert_eq!(make(&mut run), "web-000000.arrows");
    fs::write(folder.path().join("web-000001.arrows"), "a user's").unwrap();
    assert_eq!(make(&mut run), "web-000002.arrows");
    run.delete_old();
    assert_eq!(names_in(&folder), ["web-000001.arrows", "web-000002.arrows"]);
}

#[test]
fn nothing_counts_as_there_before_it_is() {
    let folder = folder();
    let mut run = files(&folder.path().join("web.arrows"), &["--rotate", "1s"]);
    run.prepare().unwrap();
    assert!(run.are_there(0));
    let _first = run.begin();
    assert!(!run.are_there(0) && run.are_there(1));
}

#[test]
fn a_folder_that_another_process_records_to_is_refused() {
    let folder = folder();
    let path = folder.path().join("ring-000003.arrows");
    fs::write(&path, RECORDING).unwrap();
    let other = File::open(&path).unwrap();
    other.lock().unwrap();
    let mut ring = files(folder.path(), &["--flight-recorder", "1"]);
    let refused = ring.prepare().unwrap_err();
    assert!(
        matches!(&refused, Cause::Busy(name) if name == "ring-000003.arrows"),
        "{refused}"
    );
    drop(other);
    ring.prepare().unwrap();
}

#[test]
fn runs_that_end_early_push_nothing_out_of_the_time_that_a_ring_keeps() {
    let folder = folder();
    let mut ring = files(folder.path(), &["--flight-recorder", "1"]);
    ring.prepare().unwrap();
    let made: Vec<String> = (0..12).map(|_| make(&mut ring)).collect();
    ring.delete_old();
    assert_eq!(names_in(&folder), made);
    for name in &made[..8] {
        let file = File::options()
            .write(true)
            .open(folder.path().join(name))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_mins(2))
            .unwrap();
    }
    ring.delete_old();
    assert_eq!(names_in(&folder), made[7..], "as many as without early ends");
}

#[test]
fn the_ring_is_saved_as_far_as_it_is_there_each_time_in_a_folder_of_its_own() {
    let folder = folder();
    let output = folder.path().join("fr");
    let mut ring = files(&output, &["--flight-recorder", "1"]);
    ring.prepare().unwrap();
    for _ in 0..3 {
        make(&mut ring);
    }
    fs::remove_file(output.join("ring-000000.arrows")).unwrap();
    let saved: Vec<(PathBuf, usize)> = (0..20).map(|_| ring.save().unwrap()).collect();
    for (path, count) in &saved {
        assert_eq!(*count, 1);
        assert!(path.join("ring-000001.arrows").exists());
        assert_eq!(fs::read_dir(path).unwrap().count(), 1);
    }
    assert_eq!(fs::read_dir(&output).unwrap().count(), saved.len() + 2);
}

#[test]
fn histograms_never_have_the_name_of_the_recording() {
    for (output, histograms) in [
        ("web.arrows", "web.hlog"),
        ("web", "web.hlog"),
        ("web.hlog", "web.states.hlog"),
    ] {
        assert_eq!(files(Path::new(output), &[]).histograms(), Path::new(histograms));
    }
}

#[test]
fn histograms_of_a_run_are_written_over_nothing_that_was_there_before_it() {
    let folder = folder();
    let run = files(&folder.path().join("web.arrows"), &[]);
    fs::write(folder.path().join("web.hlog"), "somebody's").unwrap();
    assert_eq!(run.histograms(), folder.path().join("web.2.hlog"));
}

#[test]
fn files_follow_each_other_by_size_at_most_every_ten_seconds() {
    let folder = folder();
    let mut run = files(&folder.path().join("web.arrows"), &["--rotate", "1M"]);
    run.begin();
    assert!(!run.is_full(2 << 20));
    run.current_since -= LEAST_TIME;
    assert!(run.is_full(1 << 20) && !run.is_full((1 << 20) - 1));
    run.begin();
    assert!(!run.is_full(2 << 20));
}
