use super::*;
use crate::{
    event::{Endpoints, Nanos, SockRef},
    socket::network::{Congestion, SocketOptions, Timer, TimerPurpose},
};

const STUCK: Network = Network {
    rtt_us: Some(45_210),
    rtt_var_us: Some(20_000),
    rto: Some(Nanos(12_800_000_000)),
    mss: Some(1_348),
    send_window: Some(65_536),
    receive_window: Some(64_240),
    in_flight: Some(4),
    retransmitted_in_flight: Some(1),
    unacknowledged: Some(5_000),
    not_sent: Some(12_000),
    retransmits: Some(6),
    recoveries: None,
    retransmits_total: Some(9),
    backoff: Some(6),
    probes: Some(0),
    timer: Some(Timer::Running {
        purpose: TimerPurpose::Retransmit,
        expires_in: Nanos(4_200_000_000),
    }),
    congestion: Some(Congestion::Loss),
    send_memory: Some(20_480),
    receive_memory: Some(0),
    drops: Some(1),
    options: Some(SocketOptions {
        user_timeout_ms: 30_000,
        rto_max_ms: Some(1_000),
        has_keepalive: true,
        keepalive_time_ms: 77_000,
        keepalive_interval_ms: 7_000,
        keepalive_probes: 3,
        port_range: None,
    }),
};

fn row(cookie: u64) -> Row {
    let address = |text: &str| text.parse().expect("an address");
    Row::bare(
        Nanos(1),
        SockRef::new(cookie, 0),
        Endpoints::new((address("10.0.0.1"), 40_000), (address("10.0.0.2"), 443)),
        1,
        SockKind::Full,
        TcpState::Established,
    )
}

fn socket<'a>(row: &'a Row, network: &'a Network, locations: &'a Locations) -> Socket<'a> {
    Socket {
        row,
        network,
        age: None,
        owner: None,
        holders: &[],
        locations,
        netns_name: None,
        error: 0,
    }
}

fn column(name: &str) -> SocketColumn {
    SocketColumn::all()
        .find(|column| column.name == name)
        .expect("a column")
}

/// The same socket with each evidence, in every format.
fn in_every_format(network: &Network) -> String {
    let (row, locations) = (row(7), Locations::default());
    let socket = socket(&row, network, &locations);
    let some = [
        "state",
        "remote_addr",
        "rtt_ns",
        "timer_expires_ns",
        "not_sent_bytes",
        "keepalive",
        "timer",
    ];
    let chosen = || some.iter().map(|name| column(name)).collect();
    let formats = [
        SocketFormat::new(Format::Text { wide: false }, Vec::new()),
        SocketFormat::new(Format::Text { wide: true }, Vec::new()),
        SocketFormat::new(Format::Text { wide: false }, chosen()),
        SocketFormat::new(Format::Csv, chosen()),
        SocketFormat::new(Format::Csv, Vec::new()),
        SocketFormat::new(Format::Json, Vec::new()),
    ];
    let mut out = String::new();
    for format in formats {
        out.push_str(&format.titles());
        format.push(&mut out, &socket);
        out.push('\n');
    }
    out
}

#[test]
fn the_evidence_is_in_every_format() {
    insta::assert_snapshot!(in_every_format(&STUCK));
}

#[test]
fn what_is_unknown_is_left_out_or_empty_and_never_0() {
    insta::assert_snapshot!(in_every_format(&Network::default()));
}

#[test]
fn no_two_columns_have_one_name() {
    let mut names: Vec<&str> = SocketColumn::all().map(|column| column.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_list_is_sorted_by_any_column() {
    let format = SocketFormat::new(Format::Csv, vec![column("cookie")]);
    let of = |rtt_us| Network {
        rtt_us,
        ..Network::default()
    };
    let networks = [Some(20), None, Some(300), Some(20)].map(of);
    let order = |name: &str| {
        let mut lines = SortedLines::by(column(name));
        let locations = Locations::default();
        for (cookie, network) in (1..).zip(&networks) {
            lines.push(&format, &socket(&row(cookie), network, &locations));
        }
        lines.finish().replace('\n', " ")
    };
    // Numbers from the largest on, equal ones as they came, what is unknown last.
    assert_eq!(order("rtt_ns"), "3 1 4 2 ");
    assert_eq!(order("cookie"), "4 3 2 1 ");
    assert_eq!(order("remote_addr"), "1 2 3 4 ");
    assert_eq!(order("unit"), "1 2 3 4 ");
}
