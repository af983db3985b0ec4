//! The live view on a real terminal: tmux sends the keys, and the screen is compared with the traffic; terminals that
//! close; recordings.

mod link_down;
mod recordings;
mod terminals;
mod traffic;

use std::{
    fs,
    process::{self, ExitCode},
};
use tcptrace_tests::{
    by_name,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    screen::{Screen, cell},
};
use traffic::{LEAKED, Traffic, UNREAD, USED};

fn main() -> ExitCode {
    let screens = [live::TRACING, &[Requirement::Tmux]].concat();
    let on_a_screen = |name, test: fn(Netns)| LiveTest::new(name, &screens, move || Netns::run(test));
    let with_a_link = [&screens[..], &[Requirement::Ip]].concat();
    let behind_a_link = |name, test: fn(Netns)| LiveTest::new(name, &with_a_link, move || Netns::run(test));
    let on_a_pty = |name, test: fn()| LiveTest::new(name, live::TRACING, move || Netns::run(move |_| test()));
    let tests = by_name! {
        on_a_screen =>
            keys_lead_from_the_first_screen_to_one_connection_and_back,
            three_keys_lead_to_the_leaking_connections_and_their_verdict,
            recordings::a_recording_is_replayed_with_speed_pause_and_seek,
            terminals::it_is_resized,
            terminals::it_is_suspended_and_resumed,
            terminals::suspend_is_ignored_without_a_shell,
            terminals::no_color_is_obeyed;
        behind_a_link =>
            link_down::a_peer_behind_a_link_that_went_down_is_named_and_given_up_as_forecast;
        on_a_pty =>
            terminals::a_terminal_that_goes_away_ends_it,
            terminals::a_signal_gives_the_terminal_back,
            terminals::a_locale_without_utf_8_gets_ascii,
            terminals::what_kills_it_from_within_gives_the_terminal_back,
            terminals::a_terminal_that_takes_nothing_does_not_keep_it_from_ending;
    };
    live::run(tests, Parallelism::One, || Ok(()))
}

fn keys_lead_from_the_first_screen_to_one_connection_and_back(netns: Netns) {
    let screen = Screen::tcptrace(&format!("watch -d 0.5 -N {}", netns.inode), 160, 40);
    screen.wait_for_text("Nothing matches the filter");
    let traffic = Traffic::start();
    let pid = process::id().to_string();

    // The first screen: this process, with its sockets.
    let expected = [("CLOSE_W", LEAKED), ("ESTAB", 2 * USED), ("FIN_2", LEAKED)];
    screen.wait_for("process with its sockets", |text| {
        expected
            .iter()
            .all(|(title, count)| cell(text, &pid, title) == Some(count.to_string()))
            .then_some(())
    });

    // A process, its connections, those of a state.
    screen.press(&["Enter"]);
    screen.wait_for_text(&format!("connections of {pid}/"));
    let states = |text: &str| -> Vec<String> {
        let rows = text.lines().skip_while(|line| !line.starts_with("STATE")).skip(1);
        rows.filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .take_while(|word| {
                word.chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
            })
            .collect()
    };
    screen.wait_for("CLOSE_WAIT first", |text| {
        let states = states(text);
        (states.first().map(String::as_str) == Some("CLOSE_WAIT")
            && states.iter().filter(|state| *state == "CLOSE_WAIT").count() == LEAKED)
            .then_some(())
    });
    screen.press(&["r"]);
    screen.wait_for("the order turned round", |text| {
        (states(text).first().map(String::as_str) == Some("LISTEN")).then_some(())
    });
    screen.press(&["r", "f"]);
    screen.write("--state close-wait");
    screen.press(&["Enter"]);
    screen.wait_for_text(&format!("{LEAKED} connections of {pid}/"));
    let unread = format!(" {} data unread", UNREAD + 1);
    screen.wait_for("what is unread", |text| {
        (text.matches(&unread).count() == LEAKED).then_some(())
    });

    // One connection's history.
    let port = traffic.leaked_ports[2];
    screen.press(&["/"]);
    screen.write(&format!(":{port}"));
    screen.press(&["Enter", "Enter"]);
    screen.wait_for("the connection's time line", |text| {
        let is_it = text.contains("history of") && text.contains(&format!("127.0.0.1:{port} "));
        let steps = ["SYN_RECV", "ESTABLISHED", "CLOSE_WAIT"];
        let body = text.split("ENTERED").nth(1)?;
        let at = steps.map(|step| body.find(step));
        (is_it && at.is_sorted() && at[0].is_some() && text.contains(&format!("{UNREAD} bytes are unread")))
            .then_some(())
    });
    screen.wait_for("what the network does to it", |text| {
        (text.contains("rtt ") && text.contains("receive window ")).then_some(())
    });
    screen.press(&["Escape"]);
    screen.wait_for_text(&format!("{LEAKED} connections of {pid}/"));
    screen.press(&["Escape"]);
    screen.wait_for_text("1 process");

    // The other views.
    screen.press(&["f", "C-u", "Enter", "3"]);
    screen.wait_for_text("ACCEPT QUEUE");
    screen.press(&["4"]);
    screen.wait_for_text("SINCE START");
    screen.press(&["6"]);
    screen.wait_for_text(", worst first");
    screen.press(&["?"]);
    screen.wait_for_text("all keys");
    screen.press(&["Escape", "1"]);
    screen.wait_for_text("OPEN/S");

    // Files.
    screen.press(&["D"]);
    screen.wait_for_text("histograms written to");
    screen.press(&["e"]);
    screen.wait_for_text("-processes.csv");
    let files = screen.files();
    let find = |end: &str| {
        files
            .iter()
            .find(|path| path.to_string_lossy().ends_with(end))
            .expect(end)
    };
    let table = fs::read_to_string(find("-processes.csv")).expect("it was written");
    assert!(
        table.lines().any(|line| line.starts_with(&format!("{pid},"))),
        "{table}"
    );
    let log = fs::read_to_string(find(".hlog")).expect("it was written");
    assert!(log.contains("Tag=ESTABLISHED"), "{log}");

    screen.press(&["q"]);
    screen.wait_for_text("ended with 0");
    assert!(
        !screen.text().contains("OPEN/S"),
        "the screen is as it was before"
    );
    assert!(
        screen.messages().contains(" on this host, "),
        "{}",
        screen.messages()
    );
}

/// The verdict is two keys away, Enter and Enter, and the advice one more.
fn three_keys_lead_to_the_leaking_connections_and_their_verdict(netns: Netns) {
    let screen = Screen::tcptrace(&format!("watch -N {}", netns.inode), 120, 30);
    screen.wait_for_text("Nothing matches the filter");
    let traffic = Traffic::start();
    let pid = process::id().to_string();
    // From the usual durations in this program, longer ones are known to be leaks.
    traffic.close_many_in_time();

    let finding = format!("{LEAKED} sockets in CLOSE_WAIT");
    screen.wait_for("the finding beside the process, which is chosen", |text| {
        let row = text
            .lines()
            .find(|line| line.split_whitespace().next() == Some(&pid))?;
        row.contains(&finding).then_some(())
    });
    screen.press(&["Enter"]);
    screen.wait_for("the leaking connections, and the finding above them", |text| {
        let rows = text
            .lines()
            .filter(|line| line.starts_with("CLOSE_WAIT ") && line.contains("data unread"));
        (rows.count() == LEAKED && text.contains(&finding)).then_some(())
    });
    screen.press(&["Enter"]);
    screen.wait_for_text("reader has stalled");
    screen.press(&["6"]);
    screen.wait_for("what to do", |text| {
        (text.contains("what to do") && text.contains(&finding)).then_some(())
    });
    screen.press(&["q"]);
    screen.wait_for_text("ended with 0");
}
