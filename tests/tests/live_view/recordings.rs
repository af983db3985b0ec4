//! Recordings on the same screen.

use super::traffic::{LEAKED, Traffic};
use std::{process, thread, time::Duration};
use tcptrace_tests::{
    netns::Netns,
    recording::Recording,
    screen::{Screen, cell},
};

/// Duration of the recording: the time that is replayed, not a time that is waited for.
const RECORDED: Duration = Duration::from_secs(5);

pub(crate) fn a_recording_is_replayed_with_speed_pause_and_seek(_netns: Netns) {
    let folder = tempfile::tempdir().expect("a folder for the test can be made");
    let file = folder.path().join("film.arrows");
    let recording = Recording::start(&file, &file, &[]);
    let traffic = Traffic::start();
    thread::sleep(RECORDED);
    drop(traffic);
    recording.stop();

    let pid = process::id().to_string();
    let screen = Screen::tcptrace(&format!("watch -d 0.5 -p {pid} {}", file.display()), 160, 40);
    // At normal speed, to the connections.
    screen.wait_for_text("×1");
    screen.wait_for("the leak", |text| {
        (cell(text, &pid, "CLOSE_W")? == LEAKED.to_string()).then_some(())
    });
    screen.press(&["Space"]);
    screen.wait_for_text("PAUSED");
    let paused = second(&screen.text());
    screen.press(&["+", "+"]);
    screen.wait_for_text("×4");
    assert_eq!(second(&screen.text()), paused, "the picture stands still");

    // To the end, and back to the first frame.
    screen.press(&["Right"]);
    screen.wait_for_text("at its end");
    screen.press(&["["]);
    screen.wait_for("the first picture", |text| {
        (text.contains("watched 500ms") && !text.contains("at its end")).then_some(())
    });
    screen.press(&["-", "-", "Space"]);
    screen.wait_for("the leak again, at its own speed", |text| {
        (text.contains("×1")
            && !text.contains("PAUSED")
            && cell(text, &pid, "CLOSE_W")? == LEAKED.to_string())
        .then_some(())
    });
    screen.press(&["Enter"]);
    screen.wait_for_text(&format!("connections of {pid}/"));
    screen.press(&["q"]);
    screen.wait_for_text("ended with 0");
}

/// The time of the frame, from the header.
fn second(screen: &str) -> Option<String> {
    let header = screen.lines().next()?;
    let words: Vec<&str> = header.split_whitespace().collect();
    let speed = words.iter().position(|word| word.starts_with('×'))?;
    words.get(speed.checked_sub(1)?).map(|&word| word.to_owned())
}
