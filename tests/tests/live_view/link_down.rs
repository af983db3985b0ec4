//! A link that goes down under a busy client: the live view names the dead peer, and the page of the connection counts
//! down to the moment at which the kernel gives it up.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tcptrace_tests::{interface, netns::Netns, screen::Screen};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 98, 1, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 98, 1, 2);

/// Retransmissions until the kernel gives up: 25.4 s and more.
const RETRIES: &str = "6";

/// Maximum time until the peer is reported as dead.
const NAMED_WITHIN: Duration = Duration::from_secs(10);

/// How long the client may wait for the end, once the link is down.
const TIMEOUT: Duration = Duration::from_mins(2);

/// What the client's namespace tells the server's, and the other way round.
enum Order {
    Listen,
    LinkDown,
    End,
}

pub(crate) fn a_peer_behind_a_link_that_went_down_is_named_and_given_up_as_forecast(netns: Netns) {
    netns
        .set("ipv4/tcp_retries2", RETRIES)
        .expect("a namespace takes its sysctls");
    let (orders, for_server) = mpsc::channel();
    let (reports, from_server) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || Netns::run(move |_| serve(&for_server, &reports)));
        let thread = from_server.recv().expect("the server's thread has an id");
        let link = [
            "link", "add", "client0", "type", "veth", "peer", "name", "server0",
        ];
        ip(&[&link[..], &["netns", &thread]].concat());
        interface::add_address("client0", CLIENT.into()).expect("our own device");
        interface::bring_up("client0").expect("our own device");
        orders.send(Order::Listen).expect("the server waits");
        from_server.recv().expect("it listens");
        let screen = Screen::tcptrace(&format!("watch -d 0.5 -N {}", netns.inode), 160, 40);
        screen.wait_for_text("Nothing matches the filter");
        let (ends, ended) = mpsc::channel();
        scope.spawn(move || {
            let error = converse(SocketAddr::new(SERVER.into(), 7_000));
            ends.send((Instant::now(), error)).expect("the test waits");
        });
        screen.wait_for_text("1 process");
        screen.press(&["6"]);
        screen.wait_for_text(", worst first");
        orders.send(Order::LinkDown).expect("the server waits");
        from_server.recv().expect("the link is down");
        let down = Instant::now();

        screen.wait_for_text("has stopped answering");
        let named = down.elapsed();
        eprintln!("named after {named:.1?}:\n{}", screen.text().trim_end());
        assert!(named <= NAMED_WITHIN, "named after {named:?}");

        screen.press(&["Enter"]);
        screen.wait_for_text("ESTABLISHED ");
        screen.press(&["Enter"]);
        screen.wait_for_text("gives up in about");
        let mut forecasts: Vec<(Instant, Duration)> = Vec::new();
        let (end, error) = loop {
            if let Some(left) = forecast(&screen.text()) {
                let is_new = forecasts.last().is_none_or(|(_, latest)| *latest != left);
                if is_new {
                    eprintln!("{:5.1?} after: gives up in {left:.1?}", down.elapsed());
                    forecasts.push((Instant::now(), left));
                }
            }
            match ended.recv_timeout(Duration::from_millis(200)) {
                Ok(end) => break end,
                Err(mpsc::RecvTimeoutError::Timeout) => assert!(down.elapsed() < TIMEOUT, "it never ends"),
                Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the client's thread panicked"),
            }
        };
        let lasted = end - down;
        eprintln!("the client failed {lasted:.1?} after the link: {error}");
        assert!(
            matches!(error.raw_os_error(), Some(libc::ETIMEDOUT | libc::EHOSTUNREACH)),
            "{error}"
        );
        assert!(forecasts.len() >= 5, "it counts down: {forecasts:?}");
        let tenth = lasted / 10;
        for (at, left) in &forecasts {
            let forecast = *at + *left;
            let error = forecast.max(end) - forecast.min(end);
            assert!(
                error <= tenth,
                "{:?} after: in {left:?}, wrong by {error:?}",
                *at - down
            );
        }
        screen.press(&["q"]);
        screen.wait_for_text("ended with 0");
        orders.send(Order::End).expect("the server waits");
    });
}

/// The server's namespace: answers what the client sends, until the link is taken down.
fn serve(orders: &mpsc::Receiver<Order>, reports: &mpsc::Sender<String>) {
    reports
        .send(nix::unistd::gettid().to_string())
        .expect("the test waits");
    let next = || orders.recv().unwrap_or(Order::End);
    assert!(matches!(next(), Order::Listen));
    interface::add_address("server0", SERVER.into()).expect("our own device");
    interface::bring_up("server0").expect("our own device");
    let listener = TcpListener::bind((SERVER, 7_000)).expect("the address is this namespace's");
    reports.send("listens".to_owned()).expect("the test waits");
    let (server, _) = listener.accept().expect("a client comes");
    let mut echo = server.try_clone().expect("a descriptor");
    // It ends with its peer, or with the namespace.
    thread::spawn(move || {
        let mut buffer = [0; 100];
        while let Ok(count @ 1..) = echo.read(&mut buffer) {
            if echo.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    });
    assert!(matches!(next(), Order::LinkDown));
    ip(&["link", "set", "server0", "down"]);
    reports.send("down".to_owned()).expect("the test waits");
    assert!(matches!(next(), Order::End));
    // Best effort: the connection has no peer any more.
    let _ = server.shutdown(std::net::Shutdown::Both);
}

/// Sends and receives until that fails, which it does when the kernel gives up.
fn converse(server: SocketAddr) -> std::io::Error {
    let mut client = TcpStream::connect(server).expect("it listens");
    let mut buffer = [7; 100];
    loop {
        let turn = client
            .write_all(&buffer)
            .and_then(|()| client.read_exact(&mut buffer));
        if let Err(error) = turn {
            return error;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The time left in the sentence on the page, which may be wrapped.
fn forecast(screen: &str) -> Option<Duration> {
    let text: Vec<&str> = screen.split_whitespace().collect();
    let text = text.join(" ");
    let (_, rest) = text.split_once("gives up in about ")?;
    let word = rest.split([' ', ',', ';']).next()?.trim_end_matches('.');
    if let Some(ms) = word.strip_suffix("ms") {
        return Some(Duration::from_secs_f64(ms.parse::<f64>().ok()? / 1e3));
    }
    let (minutes, seconds) = word.split_once('m').unwrap_or(("0", word));
    let seconds: f64 = seconds.strip_suffix('s')?.parse().ok()?;
    Some(Duration::from_secs_f64(
        minutes.parse::<f64>().ok()? * 60.0 + seconds,
    ))
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip can be started");
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
}
