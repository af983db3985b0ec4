//! Moments for the tests of model and drawing.

use super::{
    app::App,
    content::{self, Content, ShownNetwork},
    theme::Theme,
};
use crate::{
    connection::{audit::Audit, handshake::HandshakeEnd, lifetime::Role, since::Since},
    event::{Age, ConnectionId, EndReason, Endpoints, Nanos, PathStats, ProcessKey, TcpState, fixture::comm},
    findings::{
        Evidence as Figure, Finding, Level, Subject,
        reading::Queue,
        scene::{Descriptors, Netns},
    },
    kernel::clock::ClockPair,
    owner::{container::Location, policy::Evidence},
    socket::network::{Congestion, Network, Timer, TimerPurpose},
    stats::{
        bins::Bins,
        key::{By, Facts, Key},
        measure::{Kind, Measure},
    },
    view::{
        ProcessView, Sort, View,
        connections::{ConnectionView, Identity, OwnerView},
        endpoints::{EndpointView, Handshakes},
        history::{History, Step},
    },
};
use std::{num::NonZeroU32, sync::Arc, time::Duration};

/// What there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Empty,
    Ordinary,
    Overfull,
    Losses,
    LowerBounds,
}

impl Moment {
    pub(crate) const ALL: [Self; 5] = [
        Self::Empty,
        Self::Ordinary,
        Self::Overfull,
        Self::Losses,
        Self::LowerBounds,
    ];
}

const NOW: Nanos = Nanos::from_secs(3_600);

pub(crate) fn app(moment: Moment) -> App {
    let mut app = App::new(
        Theme::COLOUR,
        Sort::default(),
        Duration::from_secs(1),
        String::new(),
    );
    app.content = content(moment);
    for step in 0..9 {
        let counts = app.content.view.counts.map(|count| count * step / 8);
        app.trend.push(counts);
    }
    app.arrange();
    app
}

pub(crate) fn key(pid: u32) -> ProcessKey {
    ProcessKey::new(pid, 981)
}

pub(crate) fn content(moment: Moment) -> Content {
    let count = match moment {
        Moment::Empty => 0,
        Moment::Ordinary | Moment::Losses | Moment::LowerBounds => 4,
        Moment::Overfull => 200,
    };
    let processes: Vec<ProcessView> = (0..count).map(|number| process(number, moment)).collect();
    let mut counts = [0; TcpState::COUNT];
    for row in &processes {
        for (sum, count) in counts.iter_mut().zip(row.counts) {
            *sum += count;
        }
    }
    let connections: Vec<ConnectionView> = (0..count * 3).map(|number| connection(number, moment)).collect();
    let mut content = Content {
        host: "web-1".to_owned(),
        kernel: "6.18.1".to_owned(),
        now: NOW,
        anchor: ClockPair {
            mono_ns: NOW.0,
            wall_ns: 1_795_300_000_000_000_000,
        },
        network: connections.first().map(|row| ShownNetwork {
            cookie: row.identity.id.cookie,
            state: TcpState::CloseWait,
            is_orphan: false,
            network: network(),
            recorded: None,
        }),
        limits: content::limits(&[namespace()]),
        history: connections.first().map(|row| history(row.identity, moment)),
        queues: connections
            .iter()
            .filter(|row| row.state == TcpState::CloseWait)
            .map(|row| (row.identity.id.cookie, queue(1, 0)))
            .chain([(9_999, queue(3, 4))])
            .collect(),
        endpoints: endpoints(&connections),
        connections,
        ports: content::ports(&[namespace()]),
        descriptors: processes
            .iter()
            .filter_map(|row| row.key)
            .map(|key| {
                (
                    key,
                    Descriptors {
                        used: u64::from(key.pid % 1_000),
                        limit: 1_024,
                    },
                )
            })
            .collect(),
        view: View {
            watched: Nanos::from_secs(24),
            counts,
            rate: Some(if count == 0 { 0.0 } else { 98.4 }),
            processes,
            lost: if moment == Moment::Losses { 1_234 } else { 0 },
            evicted: if moment == Moment::Losses { 5 } else { 0 },
            now: NOW,
            audit: (count > 0).then(|| Audit {
                started: Nanos(NOW.0 - 3_000_000_000),
                compared: 536,
                differences: u64::from(moment == Moment::Losses),
                ..Audit::default()
            }),
            limitations: if moment == Moment::Losses {
                vec!["timewait (refused): TIME_WAIT is not seen".to_owned(); 2]
            } else {
                Vec::new()
            },
            ..View::default()
        },
        findings: if count == 0 { Vec::new() } else { findings() },
        ..Content::default()
    };
    if count > 0 {
        let (old, new) = (TcpState::Established.index(), TcpState::CloseWait.index());
        content.rates[old][new] = 9.7;
        content.changes[old][new] = 233;
        content.entered[new] = if moment == Moment::Overfull { 13_280.4 } else { 9.7 };
        content.histograms = vec![
            "STATE          COUNT    MIN    P50".to_owned(),
            "CLOSE_WAIT       543 10.2µs 46.8µs".to_owned(),
        ];
    }
    content.view.share.here = Some(0.012);
    content.view.share.memory = Some(45 << 20);
    content.view.share.kernel = Some(0.0034);
    content
}

fn age(span: Nanos, moment: Moment) -> Age {
    if moment == Moment::LowerBounds {
        Age::AtLeast(span)
    } else {
        Age::Exact(span)
    }
}

/// Names with wide characters, a combining one and one that was made printable are among them.
fn process(number: u32, moment: Moment) -> ProcessView {
    let names = [
        "leaky-server",
        "short-client",
        "wide-名前名前",
        "e\u{301}vil\u{fffd}[2J",
    ];
    let mut counts = [0; TcpState::COUNT];
    counts[TcpState::Established.index()] = u64::from(number) + 1;
    counts[TcpState::TimeWait.index()] = if number == 1 { 198 } else { 0 };
    counts[TcpState::CloseWait.index()] = if number == 0 { 21 } else { 0 };
    counts[TcpState::Listen.index()] = u64::from(number == 0);
    if moment == Moment::Overfull {
        counts = counts.map(|count| count * 1_234_567);
    }
    let pid = if moment == Moment::Overfull {
        4_194_104
    } else {
        29_879
    } + number;
    ProcessView {
        pid: Some(pid),
        key: Some(key(pid)),
        comm: names[number as usize % names.len()].to_owned(),
        name: [0; 16],
        others: 0,
        counts,
        sharers: if number == 0 { 2 } else { 0 },
        held: counts.iter().sum::<u64>() - counts[TcpState::TimeWait.index()],
        rate: f64::from(number) * 11.0,
        opens: f64::from(number) * 2.5,
        closes: f64::from(number) * 2.25,
        timewaits: if number == 1 { 3.3 } else { 0.0 },
        location: (number == 0).then(|| Arc::new(Location::of_path(b"/system.slice/leaky.service"))),
        oldest: (number == 0).then(|| (TcpState::CloseWait, age(Nanos::from_millis(22_500), moment))),
    }
}

pub(crate) fn connection(number: u32, moment: Moment) -> ConnectionView {
    let states = [
        TcpState::CloseWait,
        TcpState::Established,
        TcpState::TimeWait,
        TcpState::SynRecv,
    ];
    let state = states[number as usize % states.len()];
    let host = if moment == Moment::Overfull {
        "2001:db8:1111:2222:3333:4444:5555:6666"
    } else {
        "10.0.0.1"
    };
    let cookie = if state == TcpState::SynRecv {
        0
    } else {
        u64::from(number) + 100
    };
    let port = 40_000 + u16::try_from(number).unwrap();
    ConnectionView {
        identity: Identity {
            id: ConnectionId::first(cookie),
            netns: 4_026_531_840,
            endpoints: Endpoints::new((host.parse().unwrap(), 80), (host.parse().unwrap(), port)),
        },
        state,
        age: Some(age(Nanos::from_millis(u64::from(number) * 1_500 + 7), moment)),
        began: Since::before(Nanos(0)),
        role: if state == TcpState::TimeWait {
            Role::Client
        } else {
            Role::Server
        },
        owner: (state != TcpState::TimeWait).then_some(OwnerView {
            key: key(29_879),
            comm: comm("leaky-server"),
            evidence: Some(if state == TcpState::SynRecv {
                Evidence::Listener
            } else {
                Evidence::Holder
            }),
        }),
        sharers: if state == TcpState::CloseWait { 2 } else { 0 },
        may_be_held: state != TcpState::TimeWait,
        is_kernel_socket: false,
    }
}

fn queue(unread: u32, unsent: u32) -> Queue {
    Queue {
        unread,
        unsent,
        drops: Some(unsent),
    }
}

fn endpoints(connections: &[ConnectionView]) -> Vec<EndpointView> {
    let mut rows: Vec<EndpointView> = Vec::new();
    for row in connections {
        let facts = Facts {
            endpoints: &row.identity.endpoints,
            netns: row.identity.netns,
            role: row.role,
            owner: None,
        };
        let key = Key::of(By::Endpoint, &facts).unwrap();
        let at = rows.iter().position(|known| known.key == key).unwrap_or_else(|| {
            rows.push(EndpointView {
                oldest: row.age.map(|age| (row.state, age)),
                listener: (row.role == Role::Server).then_some(9_999),
                handshakes: handshakes(row.role),
                oldest_wait: (row.role == Role::Server).then_some(Age::AtLeast(Nanos::from_millis(12_340))),
                ..EndpointView::new(key)
            });
            rows.len() - 1
        });
        rows[at].counts[row.state.index()] += 1;
        rows[at].ports_used += u64::from(row.role == Role::Client);
    }
    rows
}

fn handshakes(role: Role) -> Handshakes {
    let ends = match role {
        Role::Client => vec![
            (HandshakeEnd::Connected, 40, Nanos::from_millis(20)),
            (HandshakeEnd::Cancelled, 12, Nanos::from_secs(2)),
            (HandshakeEnd::Refused, 3, Nanos::from_millis(20)),
        ],
        Role::Server => vec![
            (HandshakeEnd::Completed, 900, Nanos::from_millis(31)),
            (HandshakeEnd::Abandoned, 7, Nanos::from_secs(63)),
        ],
    };
    let mut cells = Bins::default();
    for (end, count, after) in ends {
        for _ in 0..count {
            cells.record(Measure::Handshake(end), Kind::Finished, after);
        }
    }
    Handshakes::of(&cells)
}

fn namespace() -> Netns {
    let range = ("ipv4.ip_local_port_range".to_owned(), "32768\t60999".to_owned());
    Netns {
        netns: 4_026_531_840,
        sysctls: [range, ("ipv4.tcp_retries2".to_owned(), "15".to_owned())].into(),
        ..Netns::default()
    }
}

fn network() -> Network {
    Network {
        rtt_us: Some(45_210),
        rtt_var_us: Some(20_000),
        rto: Some(Nanos::from_millis(25_600)),
        mss: Some(1_348),
        send_window: Some(65_536),
        receive_window: Some(64_240),
        in_flight: Some(4),
        unacknowledged: Some(5_120),
        not_sent: Some(0),
        retransmits: Some(7),
        retransmits_total: Some(9),
        backoff: Some(7),
        timer: Some(Timer::Running {
            purpose: TimerPurpose::Retransmit,
            expires_in: Nanos::from_millis(12_800),
        }),
        congestion: Some(Congestion::Loss),
        send_memory: Some(20_480),
        ..Network::default()
    }
}

fn history(identity: Identity, moment: Moment) -> History {
    let stays = [
        (TcpState::SynRecv, Nanos(38_200)),
        (TcpState::Established, Nanos::from_millis(7_100)),
        (TcpState::CloseWait, Nanos::from_millis(22_500)),
    ];
    let has_ended = moment == Moment::Losses;
    let mut at = NOW.0 - 29_600_038_200;
    let steps = stays
        .into_iter()
        .map(|(state, stay)| {
            let entered = Nanos(at);
            at += stay.0;
            Step {
                state,
                entered,
                stay: age(stay, moment),
            }
        })
        .collect();
    History {
        identity,
        role: Role::Server,
        owner: connection(0, moment).owner,
        sharers: 2,
        total: age(Nanos(29_600_038_200), moment),
        steps,
        ended: has_ended.then_some(NOW),
        reason: has_ended.then_some(EndReason::ResetSent),
        reset_reason: has_ended.then(|| "tcp-abort-on-close".into()),
        path: PathStats {
            retransmits_total: has_ended.then_some(3),
            srtt: NonZeroU32::new(361).filter(|_| has_ended),
        },
        bytes: if has_ended {
            (Some(4_096), Some(312))
        } else {
            (None, None)
        },
    }
}

fn findings() -> Vec<Finding> {
    let finding = |rule, level, subject, title: &str| {
        Finding {
        rule,
        level,
        subject,
        title: title.to_owned(),
        evidence: vec![Figure::new("sockets", 21_u64, "21 sockets in CLOSE_WAIT, the oldest for 22.5 s")],
        meaning: "the peers have closed these connections and the program has not".to_owned(),
        remedy: "close the connection on the path that returns early; no setting of the kernel does it for the program".to_owned(),
        weight: 1.0,
    }
    };
    vec![
        finding(
            "close-wait-leak",
            Level::Critical,
            Subject::process(key(29_879), "leaky-server"),
            "leaks connections",
        ),
        finding("time-wait", Level::Note, Subject::Host, "many TIME_WAIT"),
    ]
}
