//! Connections as the kernel reports them, with what the kernel has after each event, for property tests.

use crate::{
    event::{
        Bytes, EndCause, Endpoints, Event, EventData, Nanos, PathStats, ProcessKey, ResetReason, SockRef,
        Task, TcpState, TimerStep, fixture,
    },
    socket::{
        Row, SockKind,
        network::{Network, SocketNetwork},
        snapshot::Snapshot,
    },
};
use TcpState::{
    Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent, TimeWait,
};
use hashbrown::{HashMap, HashSet};
use proptest::prelude::*;
use std::{net::Ipv4Addr, num::NonZeroU32};

pub(super) const NETNS: u32 = 4_026_531_840;
pub(super) const MILLI: u64 = 1_000_000;
pub(super) const SERVER_PORT: u16 = 80;
pub(super) const LISTENER_COOKIE: u64 = 1;

/// Which hooks tell of the states that the tracepoint hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Timers,
    Fentry,
}

/// One way to live and end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Script {
    /// `connect`, `close`, the peer's FIN later, TIME_WAIT to its end.
    ActiveClose,
    /// `connect`, `close`; the peer's FIN never comes.
    OrphanedFinWait2,
    /// `connect`, both close at once.
    SimultaneousClose,
    /// `connect`, `shutdown`, the peer's FIN later, TIME_WAIT to its end.
    HalfClose,
    Refused,
    /// `connect`, the peer resets.
    Reset,
    /// `connect`, `connect` to AF_UNSPEC, `connect` again on the same socket.
    Reconnect,
    /// A SYN, `accept`, the peer closes first.
    PassiveClose,
    /// A SYN whose ACK never comes.
    Abandoned,
}

pub(super) const SCRIPTS: [Script; 9] = [
    Script::ActiveClose,
    Script::OrphanedFinWait2,
    Script::SimultaneousClose,
    Script::HalfClose,
    Script::Refused,
    Script::Reset,
    Script::Reconnect,
    Script::PassiveClose,
    Script::Abandoned,
];

/// EventData the kernel's own table holds of one connection.
pub(super) type Truth = Option<(SockKind, TcpState)>;

/// One event, and the kernel's table after it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) event: Event,
    pub(super) connection: usize,
    pub(super) truth: Truth,
}

/// Writes one life.
pub(super) struct Lifecycle {
    connection: usize,
    plan: Plan,
    time: u64,
    pub(super) sock: SockRef,
    pub(super) endpoints: Endpoints,
    truth: Truth,
    pub(super) steps: Vec<Step>,
}

impl Lifecycle {
    pub(super) fn new(connection: usize, plan: Plan, start: u64) -> Self {
        let number = u32::try_from(connection).expect("few connections");
        let remote = Ipv4Addr::from(0x0a00_0000 + number);
        Self {
            connection,
            plan,
            time: start,
            sock: SockRef::new(100 + u64::from(number), address(0, number)),
            endpoints: Endpoints::new(
                (Ipv4Addr::new(10, 9, 9, 9).into(), SERVER_PORT),
                (remote.into(), 4000),
            ),
            truth: None,
            steps: Vec::new(),
        }
    }

    pub(super) fn wait(&mut self, nanos: u64) {
        self.time += nanos;
    }

    pub(super) fn report(&mut self, sock: SockRef, what: EventData, task: Option<Task>) {
        self.steps.push(Step {
            event: Event {
                time: Nanos(self.time),
                sock,
                endpoints: self.endpoints,
                netns: NETNS,
                protocol: 6,
                data: what,
                task,
                ..Event::default()
            },
            connection: self.connection,
            truth: self.truth,
        });
    }

    pub(super) fn state(&mut self, old: TcpState, new: TcpState) {
        if self.truth.is_none_or(|(kind, _)| kind != SockKind::Timewait) {
            self.truth = (new != Close).then_some((SockKind::Full, new));
        }
        let by_owner = matches!(new, SynSent | Listen | FinWait1 | LastAck);
        let what = EventData::State {
            old,
            new,
            error: 0,
            fin_received: matches!(new, CloseWait | LastAck | Closing),
            is_orphan: matches!(old, FinWait1 | FinWait2 | Closing | LastAck),
            bytes: Bytes::default(),
            path: PathStats {
                retransmits_total: (new == Close).then_some(2),
                srtt: NonZeroU32::new(361).filter(|_| new == Close),
            },
        };
        self.report(self.sock, what, by_owner.then(task));
    }

    pub(super) fn timewait_sock(&self) -> SockRef {
        SockRef::new(
            self.sock.cookie,
            address(1, u32::try_from(self.connection).expect("few connections")),
        )
    }

    pub(super) fn timewait_start(&mut self, substate: TcpState) {
        self.truth = Some((SockKind::Timewait, substate));
        let what = match self.plan {
            Plan::Timers => EventData::TimewaitTimer {
                step: TimerStep::Start,
                substate,
            },
            Plan::Fentry => EventData::TimewaitStart(substate),
        };
        self.report(self.timewait_sock(), what, None);
    }

    pub(super) fn timewait_segment(&mut self, substate: TcpState) {
        self.truth = Some((SockKind::Timewait, substate));
        let what = EventData::TimewaitSegment {
            substate,
            is_reset: false,
        };
        self.report(self.timewait_sock(), what, None);
    }

    pub(super) fn timewait_expires(&mut self, substate: TcpState) {
        self.truth = None;
        let sock = self.timewait_sock();
        match self.plan {
            Plan::Timers => {
                for step in [TimerStep::Cancel, TimerStep::Expire] {
                    self.report(sock, EventData::TimewaitTimer { step, substate }, None);
                }
            }
            Plan::Fentry => {
                let how = EndCause::Expired;
                self.report(sock, EventData::TimewaitEnd { substate, cause: how }, None);
            }
        }
    }

    pub(super) fn request_sock(&self) -> SockRef {
        SockRef::new(
            0,
            address(2, u32::try_from(self.connection).expect("few connections")),
        )
    }

    pub(super) fn request_start(&mut self) {
        self.truth = Some((SockKind::Request, SynRecv));
        let listener = LISTENER_COOKIE;
        let what = match self.plan {
            Plan::Timers => EventData::RequestTimer {
                step: TimerStep::Start,
                listener,
            },
            Plan::Fentry => EventData::RequestStart { listener },
        };
        self.report(self.request_sock(), what, None);
    }

    pub(super) fn request_timer(&mut self, steps: &[TimerStep]) {
        for step in steps {
            // Trampolines see no cancel.
            if self.plan == Plan::Timers || *step != TimerStep::Cancel {
                let what = EventData::RequestTimer {
                    step: *step,
                    listener: LISTENER_COOKIE,
                };
                self.report(self.request_sock(), what, None);
            }
        }
    }

    /// The final ACK: the child is made and the request dropped in one run.
    pub(super) fn handshake_done(&mut self) {
        let sock = self.sock;
        self.sock.cookie = 0;
        let before = self.truth;
        self.state(Listen, SynRecv);
        self.truth = before;
        if let Some(made) = self.steps.last_mut() {
            made.truth = before;
        }
        self.sock = sock;
        self.state(SynRecv, Established);
        if self.plan == Plan::Timers {
            self.request_timer(&[TimerStep::Cancel]);
        }
    }

    /// The kernel chooses the local port after it has reported the state.
    pub(super) fn begin_to_connect(&mut self) {
        let endpoints = self.endpoints;
        self.endpoints.local_port = 0;
        self.state(Close, SynSent);
        self.endpoints = endpoints;
    }

    pub(super) fn connect(&mut self, gap: u64) {
        self.begin_to_connect();
        self.wait(gap);
        self.state(SynSent, Established);
    }

    /// Plays the script, with a span of `gaps` between two bursts; what one CPU does in one go has one time.
    pub(super) fn live(mut self, script: Script, gaps: [u64; 6]) -> Vec<Step> {
        match script {
            Script::ActiveClose | Script::OrphanedFinWait2 => {
                self.connect(gaps[0]);
                self.wait(gaps[1]);
                self.state(Established, FinWait1);
                self.wait(gaps[2]);
                self.state(FinWait1, FinWait2);
                self.timewait_start(FinWait2);
                self.state(FinWait2, Close);
                self.wait(gaps[3]);
                if matches!(script, Script::ActiveClose) {
                    self.timewait_segment(TimeWait);
                    self.wait(gaps[4]);
                    self.timewait_expires(TimeWait);
                } else {
                    self.timewait_expires(FinWait2);
                }
            }
            Script::SimultaneousClose => {
                self.connect(gaps[0]);
                self.wait(gaps[1]);
                self.state(Established, FinWait1);
                self.wait(gaps[2]);
                self.state(FinWait1, Closing);
                self.wait(gaps[3]);
                self.timewait_start(TimeWait);
                self.state(Closing, Close);
                self.wait(gaps[4]);
                self.timewait_expires(TimeWait);
            }
            Script::HalfClose => {
                self.connect(gaps[0]);
                self.wait(gaps[1]);
                self.state(Established, FinWait1);
                self.wait(gaps[2]);
                self.state(FinWait1, FinWait2);
                self.wait(gaps[3]);
                self.timewait_start(TimeWait);
                self.state(FinWait2, Close);
                self.wait(gaps[4]);
                self.timewait_expires(TimeWait);
            }
            Script::Refused => {
                self.begin_to_connect();
                self.wait(gaps[0]);
                self.report(self.sock, EventData::ResetReceived, None);
                self.state(SynSent, Close);
            }
            Script::Reset => {
                self.connect(gaps[0]);
                self.wait(gaps[1]);
                self.report(self.sock, EventData::ResetReceived, None);
                self.state(Established, Close);
            }
            Script::Reconnect => {
                self.connect(gaps[0]);
                self.wait(gaps[1]);
                self.state(Established, Close);
                self.report(
                    self.sock,
                    EventData::ResetSent(ResetReason::from_kernel(11)),
                    None,
                );
                self.wait(gaps[2]);
                self.connect(gaps[3]);
                self.wait(gaps[4]);
                self.report(self.sock, EventData::ResetReceived, None);
                self.state(Established, Close);
            }
            Script::PassiveClose => {
                self.request_start();
                self.wait(gaps[0]);
                self.handshake_done();
                if self.plan == Plan::Fentry {
                    self.report(self.sock, EventData::Accept, Some(task()));
                }
                self.wait(gaps[1]);
                self.state(Established, CloseWait);
                self.wait(gaps[2]);
                self.state(CloseWait, LastAck);
                self.wait(gaps[3]);
                self.state(LastAck, Close);
            }
            Script::Abandoned => {
                self.request_start();
                for gap in &gaps[..2] {
                    self.wait(*gap);
                    self.request_timer(&[TimerStep::Cancel, TimerStep::Expire, TimerStep::Start]);
                }
                self.wait(gaps[2]);
                self.truth = None;
                self.request_timer(&[TimerStep::Cancel, TimerStep::Expire]);
            }
        }
        self.steps
    }
}

/// An address of kernel memory that no other sock has.
pub(super) fn address(kind: u64, number: u32) -> u64 {
    0xffff_8880_0000_0000 + (kind << 32) + (u64::from(number) << 12)
}

pub(super) fn task() -> Task {
    fixture::task(ProcessKey::new(4242, 1), fixture::comm("peer"))
}

/// Several lives side by side, in the order of time, and when they are looked at.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(super) steps: Vec<Step>,
    pub(crate) end: Nanos,
}

impl Workload {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.steps.iter().map(|step| step.event).collect()
    }

    /// EventData the kernel's table holds after everything up to `time`.
    pub(super) fn truth(&self, time: Nanos) -> Vec<Row> {
        let mut last: HashMap<usize, &Step> = HashMap::new();
        for step in self.steps.iter().take_while(|step| step.event.time <= time) {
            last.insert(step.connection, step);
        }
        let mut rows: Vec<Row> = last
            .values()
            .filter_map(|step| Some(row(step, step.truth?, time)))
            .collect();
        rows.sort_by_key(|row| row.sock.cookie);
        rows
    }

    pub(crate) fn snapshot(&self, time: Nanos) -> Snapshot {
        let rows = self.truth(time);
        let full = rows.iter().filter(|row| row.kind == SockKind::Full);
        let network = full.map(|row| SocketNetwork {
            cookie: row.sock.cookie,
            network: Network {
                rtt_us: Some(45),
                retransmits: row.sock.cookie.try_into().ok(),
                ..Network::default()
            },
        });
        Snapshot {
            started: time.plus(Nanos(1)),
            network: network.collect(),
            rows: rows
                .into_iter()
                .map(|row| Row {
                    time: time.plus(Nanos(2)),
                    read_by: time.plus(Nanos(2)),
                    ..row
                })
                .collect(),
            covered: HashSet::from([NETNS]),
            ..Snapshot::default()
        }
    }
}

/// As netlink has it: a sock without a cookie is given one, and its address is not known.
pub(super) fn row(step: &Step, (kind, state): (SockKind, TcpState), time: Nanos) -> Row {
    let number = u32::try_from(step.connection).expect("few connections");
    Row::bare(
        time,
        SockRef::new(100 + u64::from(number), 0),
        step.event.endpoints,
        NETNS,
        kind,
        state,
    )
}

pub(super) fn workloads(plan: Plan) -> impl Strategy<Value = Workload> {
    let gap = || prop_oneof![0..10_000u64, 0..5 * MILLI, 0..3_000 * MILLI];
    let life = (
        prop::sample::select(&SCRIPTS[..]),
        0..500 * MILLI,
        [gap(), gap(), gap(), gap(), gap(), gap()],
    );
    (prop::collection::vec(life, 1..12), 0.0..1.2f64).prop_map(move |(lives, share)| {
        let mut steps: Vec<Step> = lives
            .into_iter()
            .enumerate()
            .flat_map(|(connection, (script, start, gaps))| {
                Lifecycle::new(connection, plan, 1_000 * MILLI + start).live(script, gaps)
            })
            .collect();
        steps.sort_by_key(|step| step.event.time);
        let last = steps.last().map_or(0, |step| step.event.time.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of some seconds"
        )]
        let end = Nanos(1_000 * MILLI + ((last - 1_000 * MILLI) as f64 * share) as u64);
        steps.retain(|step| step.event.time <= end);
        Workload { steps, end }
    })
}

pub(super) fn plans() -> impl Strategy<Value = Plan> {
    prop_oneof![Just(Plan::Timers), Just(Plan::Fentry)]
}

pub(crate) fn any_workload() -> impl Strategy<Value = Workload> {
    plans().prop_flat_map(workloads)
}

/// EventData happens to one event on its way: how often it arrives, and how much later.
pub(crate) type Fate = (usize, Nanos);

/// Events are lost, doubled, and up to `skew` nanoseconds late.
pub(crate) fn fates(skew: u64) -> impl Strategy<Value = Vec<Fate>> {
    let copies = prop_oneof![8 => Just(1), 1 => Just(0), 1 => Just(2)];
    let delay = prop_oneof![3 => Just(0), 1 => 0..=skew].prop_map(Nanos);
    prop::collection::vec((copies, delay), 1..160)
}

pub(crate) fn perturbed(events: &[Event], fates: &[Fate]) -> Vec<Event> {
    let intact = (1, Nanos(0));
    let mut arrivals: Vec<(Nanos, Event)> = events
        .iter()
        .zip(fates.iter().chain(std::iter::repeat(&intact)))
        .flat_map(|(event, (copies, delay))| std::iter::repeat_n((event.time.plus(*delay), *event), *copies))
        .collect();
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    arrivals.into_iter().map(|(_, event)| event).collect()
}

/// EventData is left without the events that are lost, with the kernel's mark of a loss, and one event about no socket at
/// the end, for the mark of what is lost there.
pub(super) fn without(events: &[Event], is_lost: &[bool]) -> Vec<Event> {
    let mut left = Vec::new();
    let mut lost = 0;
    for (event, is_lost) in events.iter().zip(is_lost.iter().chain(std::iter::repeat(&false))) {
        if *is_lost {
            lost += 1;
        } else {
            left.push(Event { lost, ..*event });
        }
    }
    left.push(Event {
        time: events.last().map_or(Nanos(0), |event| event.time),
        lost,
        ..Event::default()
    });
    left
}
