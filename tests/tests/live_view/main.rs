//! The live view on a real terminal: keys go in through tmux, the screen is read back and compared with what was done
//! on the network; and terminals that go away.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    process::{self, Child, ExitCode, ExitStatus},
    time::Duration,
};
use tcptrace_tests::{
    clock::poll_until,
    command::tcptrace,
    live::{self, LiveTest, Parallelism, Requirement},
    netns::Netns,
    pty::Pty,
    screen::{Screen, cell},
};

/// Connections whose peer has closed them.
const LEAKED: usize = 7;

/// Connections in use.
const USED: usize = 3;

/// Bytes that each peer has sent before it closed.
const UNREAD: usize = 10;

fn main() -> ExitCode {
    let screens = [live::TRACING, &[Requirement::Tmux]].concat();
    let tests = vec![
        LiveTest::new(
            "keys_lead_from_the_first_screen_to_one_connection_and_back",
            &screens,
            || Netns::run(keys_lead_from_the_first_screen_to_one_connection_and_back),
        ),
        LiveTest::new("it_is_resized", &screens, || {
            Netns::run(it_is_resized);
        }),
        LiveTest::new("a_terminal_that_goes_away_ends_it", live::TRACING, || {
            Netns::run(|_| a_terminal_that_goes_away_ends_it());
        }),
        LiveTest::new("a_signal_gives_the_terminal_back", live::TRACING, || {
            Netns::run(|_| a_signal_gives_the_terminal_back());
        }),
    ];
    live::run(tests, Parallelism::One, || Ok(()))
}

/// Both ends of all connections; the leaked ones' clients have gone.
struct Traffic {
    _listener: TcpListener,
    _used: Vec<(TcpStream, TcpStream)>,
    _leaked: Vec<TcpStream>,
    leaked_ports: Vec<u16>,
}

fn traffic() -> Traffic {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback takes a listener");
    let address = listener.local_addr().expect("it has one");
    let connect = || {
        let client = TcpStream::connect(address).expect("the listener takes a connection");
        (client, listener.accept().expect("it waits").0)
    };
    let used = (0..USED).map(|_| connect()).collect();
    let mut leaked_ports = Vec::new();
    let leaked = (0..LEAKED)
        .map(|_| {
            let (mut client, server) = connect();
            client.write_all(&[b'x'; UNREAD]).expect("the buffers have room");
            leaked_ports.push(client.local_addr().expect("it has one").port());
            server
        })
        .collect();
    Traffic {
        _listener: listener,
        _used: used,
        _leaked: leaked,
        leaked_ports,
    }
}

fn keys_lead_from_the_first_screen_to_one_connection_and_back(netns: Netns) {
    let screen = Screen::tcptrace(&format!("watch -d 0.5 -N {}", netns.inode), 160, 40);
    screen.wait_for_text("Nothing matches the filter");
    let traffic = traffic();
    let pid = process::id().to_string();

    // The first screen: this process, with what was made.
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
        (is_it && at.is_sorted() && at[0].is_some() && text.contains(&format!("{UNREAD} bytes wait unread")))
            .then_some(())
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
    screen.wait_for_text("every key");
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
    assert!(screen.messages().contains("changes in"), "{}", screen.messages());
}

fn it_is_resized(netns: Netns) {
    let screen = Screen::tcptrace(&format!("watch -N {}", netns.inode), 80, 24);
    screen.wait_for_text("Nothing matches the filter");
    screen.resize(120, 30);
    screen.wait_for("footer in the last line", |text| {
        text.lines()
            .nth(29)
            .is_some_and(|line| line.contains("quit"))
            .then_some(())
    });
    screen.press(&["q"]);
    screen.wait_for_text("ended with 0");
}

fn a_terminal_that_goes_away_ends_it() {
    for is_controlling in [true, false] {
        let mut command = tcptrace(&["watch"]);
        command.env("TERM", "xterm");
        let (mut pty, mut child) = Pty::spawn(&mut command, is_controlling);
        pty.read_until("watched");
        drop(pty);
        let status = ended(&mut child);
        assert!(status.success(), "{status}");
    }
}

fn a_signal_gives_the_terminal_back() {
    let mut command = tcptrace(&["watch"]);
    command.env("TERM", "xterm");
    let (mut pty, mut child) = Pty::spawn(&mut command, true);
    pty.read_until("watched");
    let pid = i32::try_from(child.id()).expect("process ids fit i32");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("our own child takes a signal");
    // The alternate screen is left (DECRST 1049), the cursor shown, and the summary written where it can be read.
    pty.read_until("evicted");
    let text = pty.text();
    let left = text.rfind("\x1b[?1049l").expect("it leaves its screen");
    assert!(
        text[left..].contains("\x1b[?25h") && text[left..].contains("changes in"),
        "{text:?}"
    );
    assert!(ended(&mut child).success());
}

fn ended(child: &mut Child) -> ExitStatus {
    poll_until(Duration::from_secs(30), || {
        child.try_wait().expect("our own child")
    })
    .expect("it ends soon")
}
