//! Property tests of the table: lives of connections as the kernel reports them, with what the kernel has after
//! each event. Played as they are, and with events that are lost, doubled and out of order.

use super::{
    hidden::Hidden,
    machine::HOLD,
    table::{Change, Table},
};
use crate::{
    decode::{Row, SockKind},
    engine::{Engine, Healed},
    event::{
        Age, Bytes, ConnectionId, EndReason, Ends, Event, How, Nanos, ProcessKey, SockRef, Task, TcpState,
        TimerStep, What,
    },
    source::snapshot::Snapshot,
};
use TcpState::{
    Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent, TimeWait,
};
use hashbrown::{HashMap, HashSet};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

const NETNS: u32 = 4_026_531_840;
const MILLI: u64 = 1_000_000;
const SERVER_PORT: u16 = 80;
const LISTENER_COOKIE: u64 = 1;

/// Which hooks tell of the states that the tracepoint hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Timers,
    Fentry,
}

/// One way to live and end.
#[derive(Clone, Copy, Debug)]
enum Script {
    /// `connect`, `close`, the peer's FIN later, TIME_WAIT to its end.
    ActiveClose,
    /// `connect`, `close`; the peer's FIN never comes.
    OrphanedFinWait2,
    /// `connect`, both close at once.
    SimultaneousClose,
    /// `connect`, `shutdown`, the peer's FIN later, TIME_WAIT to its end.
    HalfClose,
    /// `connect`, refused.
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

const SCRIPTS: [Script; 9] = [
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

/// What the kernel's own table holds of one connection.
type Truth = Option<(SockKind, TcpState)>;

/// One event, and the kernel's table after it.
#[derive(Clone, Debug)]
struct Step {
    event: Event,
    connection: usize,
    truth: Truth,
}

/// Writes one life.
struct Life {
    connection: usize,
    plan: Plan,
    time: u64,
    sock: SockRef,
    ends: Ends,
    truth: Truth,
    steps: Vec<Step>,
}

impl Life {
    fn new(connection: usize, plan: Plan, start: u64) -> Self {
        let number = u32::try_from(connection).expect("few connections");
        let remote = Ipv4Addr::from(0x0a00_0000 + number);
        Self {
            connection,
            plan,
            time: start,
            sock: SockRef {
                cookie: 100 + u64::from(number),
                address: address(0, number),
            },
            ends: Ends::new(
                (Ipv4Addr::new(10, 9, 9, 9).into(), SERVER_PORT),
                (remote.into(), 4000),
            ),
            truth: None,
            steps: Vec::new(),
        }
    }

    /// Time passes.
    fn wait(&mut self, nanos: u64) {
        self.time += nanos;
    }

    fn report(&mut self, sock: SockRef, what: What, task: Option<Task>) {
        self.steps.push(Step {
            event: Event {
                time: Nanos(self.time),
                sock,
                ends: self.ends,
                netns: NETNS,
                protocol: 6,
                what,
                task,
                is_kernel_socket: false,
                lost: 0,
            },
            connection: self.connection,
            truth: self.truth,
        });
    }

    fn state(&mut self, old: TcpState, new: TcpState) {
        if !self.truth.is_some_and(|(kind, _)| kind == SockKind::Timewait) {
            self.truth = (new != Close).then_some((SockKind::Full, new));
        }
        let by_owner = matches!(new, SynSent | Listen | FinWait1 | LastAck);
        let what = What::State {
            old,
            new,
            error: 0,
            fin_received: matches!(new, CloseWait | LastAck | Closing),
            is_orphan: matches!(old, FinWait1 | FinWait2 | Closing | LastAck),
            bytes: Bytes::default(),
        };
        self.report(self.sock, what, by_owner.then(task));
    }

    fn timewait_sock(&self) -> SockRef {
        SockRef {
            cookie: self.sock.cookie,
            address: address(1, u32::try_from(self.connection).expect("few connections")),
        }
    }

    fn timewait_start(&mut self, substate: TcpState) {
        self.truth = Some((SockKind::Timewait, substate));
        let what = match self.plan {
            Plan::Timers => What::TimewaitTimer {
                step: TimerStep::Start,
                substate,
            },
            Plan::Fentry => What::TimewaitStart(substate),
        };
        self.report(self.timewait_sock(), what, None);
    }

    fn timewait_segment(&mut self, substate: TcpState) {
        self.truth = Some((SockKind::Timewait, substate));
        let what = What::TimewaitSegment {
            substate,
            is_reset: false,
        };
        self.report(self.timewait_sock(), what, None);
    }

    fn timewait_expires(&mut self, substate: TcpState) {
        self.truth = None;
        let sock = self.timewait_sock();
        match self.plan {
            Plan::Timers => {
                for step in [TimerStep::Cancel, TimerStep::Expire] {
                    self.report(sock, What::TimewaitTimer { step, substate }, None);
                }
            }
            Plan::Fentry => {
                let how = How::Expired;
                self.report(sock, What::TimewaitEnd { substate, how }, None);
            }
        }
    }

    fn request_sock(&self) -> SockRef {
        SockRef {
            cookie: 0,
            address: address(2, u32::try_from(self.connection).expect("few connections")),
        }
    }

    fn request_start(&mut self) {
        self.truth = Some((SockKind::Request, SynRecv));
        let listener = LISTENER_COOKIE;
        let what = match self.plan {
            Plan::Timers => What::RequestTimer {
                step: TimerStep::Start,
                listener,
            },
            Plan::Fentry => What::RequestStart { listener },
        };
        self.report(self.request_sock(), what, None);
    }

    fn request_timer(&mut self, steps: &[TimerStep]) {
        for step in steps {
            // Trampolines see no cancel.
            if self.plan == Plan::Timers || *step != TimerStep::Cancel {
                let what = What::RequestTimer {
                    step: *step,
                    listener: LISTENER_COOKIE,
                };
                self.report(self.request_sock(), what, None);
            }
        }
    }

    /// The final ACK: the child is made and the request dropped in one run.
    fn handshake_done(&mut self) {
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
    fn begin_to_connect(&mut self) {
        let ends = self.ends;
        self.ends.local_port = 0;
        self.state(Close, SynSent);
        self.ends = ends;
    }

    fn connect(&mut self, gap: u64) {
        self.begin_to_connect();
        self.wait(gap);
        self.state(SynSent, Established);
    }

    /// Plays the script, with a span of `gaps` between two bursts; what one CPU does in one go has one time.
    fn live(mut self, script: Script, gaps: [u64; 6]) -> Vec<Step> {
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
                self.report(self.sock, What::ResetReceived, None);
                self.state(SynSent, Close);
            }
            Script::Reset => {
                self.connect(gaps[0]);
                self.wait(gaps[1]);
                self.report(self.sock, What::ResetReceived, None);
                self.state(Established, Close);
            }
            Script::Reconnect => {
                self.connect(gaps[0]);
                self.wait(gaps[1]);
                self.state(Established, Close);
                self.report(self.sock, What::ResetSent, None);
                self.wait(gaps[2]);
                self.connect(gaps[3]);
                self.wait(gaps[4]);
                self.report(self.sock, What::ResetReceived, None);
                self.state(Established, Close);
            }
            Script::PassiveClose => {
                self.request_start();
                self.wait(gaps[0]);
                self.handshake_done();
                if self.plan == Plan::Fentry {
                    self.report(self.sock, What::Accept, Some(task()));
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
fn address(kind: u64, number: u32) -> u64 {
    0xffff_8880_0000_0000 + (kind << 32) + (u64::from(number) << 12)
}

fn task() -> Task {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"peer");
    Task {
        process: ProcessKey {
            pid: 4242,
            start_ns: 1,
        },
        comm,
        cgroup: 0,
        is_kernel_thread: false,
    }
}

/// Several lives side by side, in the order of time, and when they are looked at.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    steps: Vec<Step>,
    pub(crate) end: Nanos,
}

impl Workload {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.steps.iter().map(|step| step.event).collect()
    }

    /// What the kernel's table holds after everything up to `time`.
    fn truth(&self, time: Nanos) -> Vec<Row> {
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
        Snapshot {
            started: time.plus(Nanos(1)),
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
fn row(step: &Step, (kind, state): (SockKind, TcpState), time: Nanos) -> Row {
    let number = u32::try_from(step.connection).expect("few connections");
    Row {
        time,
        read_by: time,
        sock: SockRef {
            cookie: 100 + u64::from(number),
            address: 0,
        },
        ends: step.event.ends,
        netns: NETNS,
        kind,
        state,
        uid: 0,
        is_orphan: false,
        is_kernel_socket: false,
        unread: 0,
        unsent: 0,
        listener: 0,
        entry_stamp_ms: 0,
        expires_in_ns: None,
        idle: None,
        inode: 0,
    }
}

fn workloads(plan: Plan) -> impl Strategy<Value = Workload> {
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
                Life::new(connection, plan, 1_000 * MILLI + start).live(script, gaps)
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

fn plans() -> impl Strategy<Value = Plan> {
    prop_oneof![Just(Plan::Timers), Just(Plan::Fentry)]
}

pub(crate) fn any_workload() -> impl Strategy<Value = Workload> {
    plans().prop_flat_map(workloads)
}

/// What happens to one event on its way: how often it arrives, and how much later.
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

/// What is left without the events that are lost, with the kernel's mark of a loss, and one event about no socket at
/// the end, for the mark of what is lost there.
fn without(events: &[Event], is_lost: &[bool]) -> Vec<Event> {
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

/// An engine, and what it has said so far.
struct Run {
    engine: Engine,
    changes: Vec<Change>,
    begun_by_snapshot: u64,
}

impl Run {
    fn new(capacity: usize) -> Self {
        Self {
            engine: Engine::new(capacity),
            changes: Vec::new(),
            begun_by_snapshot: 0,
        }
    }

    /// As a session does: a batch of events, then what waited long enough.
    fn ingest(&mut self, events: &[Event]) {
        let Self { engine, changes, .. } = self;
        for event in events {
            engine.ingest(event, &mut |change| changes.push(*change));
            engine.settle(event.time, &mut |change| changes.push(*change));
        }
    }

    fn settle(&mut self, now: Nanos) {
        let Self { engine, changes, .. } = self;
        engine.settle(now, &mut |change| changes.push(*change));
    }

    fn merge(&mut self, snapshot: &Snapshot) -> Healed {
        let before = self.changes.len();
        let Self { engine, changes, .. } = self;
        let healed = engine.merge(snapshot, &[], &mut |change| changes.push(*change));
        let said = (self.changes.len() - before) as u64;
        self.begun_by_snapshot += healed.corrected - (said - healed.retired);
        healed
    }

    fn table(&self) -> &Table {
        &self.engine.table
    }

    /// The books balance.
    fn check_totals(&self) -> Result<(), TestCaseError> {
        let tally = &self.table().tally;
        let count =
            |test: fn(&Change) -> bool| self.changes.iter().filter(|change| test(change)).count() as u64;
        prop_assert_eq!(tally.changes, self.changes.len() as u64);
        let begun = count(|change| change.dwell.is_none()) + tally.unknown + self.begun_by_snapshot;
        let ended = count(|change| change.new == Close);
        prop_assert_eq!(self.table().len() as u64 + ended + tally.evicted, begun);
        prop_assert_eq!(self.table().len(), self.table().iter().count());
        let unseen = count(|change| change.reason == Some(EndReason::Unseen));
        prop_assert_eq!(tally.unseen, unseen);
        Ok(())
    }

    /// From a connection's beginning to its end, time does not run backwards and each change starts where the
    /// last one ended.
    fn check_order(&self) -> Result<(), TestCaseError> {
        let mut known: HashMap<(ConnectionId, IpAddr), (Nanos, TcpState)> = HashMap::new();
        for change in &self.changes {
            prop_assert!(change.old != change.new, "{:?}", change);
            let name = (change.id, change.ends.remote());
            if let Some((time, state)) = known.get(&name)
                && change.dwell.is_some()
            {
                prop_assert!(change.time >= *time, "{:?} after {:?}", change, time);
                prop_assert_eq!(change.old, *state, "{:?}", change);
            }
            if change.new == Close {
                known.remove(&name);
            } else {
                known.insert(name, (change.time, change.new));
            }
        }
        Ok(())
    }

    /// The table holds what the kernel's does, no more and no less.
    fn check_equals(&self, truth: &[Row]) -> Result<(), TestCaseError> {
        for row in truth {
            let slot = self.table().find_row(row);
            let found = slot.and_then(|slot| self.table().row(slot));
            prop_assert_eq!(
                found.map(|found| (found.life.state, found.ends.remote())),
                Some((row.state, row.ends.remote())),
                "{:?}",
                row
            );
        }
        let held: Vec<_> = self.table().iter().map(|row| (row.id(), row.life)).collect();
        prop_assert_eq!(held.len(), truth.len(), "{:?}", held);
        Ok(())
    }
}

proptest! {
    #[test]
    fn undisturbed_events_give_the_kernels_table(workload in any_workload()) {
        let mut run = Run::new(1_000);
        run.ingest(&workload.events());
        run.settle(workload.end.plus(HOLD));
        run.check_equals(&workload.truth(workload.end))?;
        run.check_totals()?;
        run.check_order()?;
        prop_assert_eq!(run.table().tally.impossible, 0);
        prop_assert_eq!(run.table().tally.unknown, 0);
        for change in &run.changes {
            prop_assert!(change.dwell.is_none_or(Age::is_exact), "{:?}", change);
        }
    }

    #[test]
    fn a_snapshot_of_what_is_known_changes_nothing(workload in any_workload()) {
        let mut run = Run::new(1_000);
        run.ingest(&workload.events());
        run.settle(workload.end.plus(HOLD));
        let snapshot = workload.snapshot(workload.end.plus(HOLD));
        let healed = run.merge(&snapshot);
        prop_assert_eq!(healed.compared, snapshot.rows.len() as u64);
        prop_assert_eq!((healed.corrected, healed.retired), (0, 0));
    }

    #[test]
    fn disturbed_events_keep_the_books_and_the_time(
        workload in any_workload(),
        fates in fates(3 * MILLI),
    ) {
        let mut run = Run::new(1_000);
        run.ingest(&perturbed(&workload.events(), &fates));
        run.settle(Nanos(u64::MAX));
        run.check_totals()?;
        run.check_order()?;
    }

    #[test]
    fn what_is_called_exact_is_so_whatever_was_lost(
        workload in any_workload(),
        is_lost in prop::collection::vec(prop::bool::weighted(0.3), 0..160),
    ) {
        let mut undisturbed = Run::new(1_000);
        undisturbed.ingest(&workload.events());
        undisturbed.settle(Nanos(u64::MAX));
        let name = |change: &Change| (change.ends.remote(), change.time, change.old, change.new, change.dwell);
        let real: Vec<_> = undisturbed.changes.iter().map(name).collect();
        // Such a socket goes through the same states again: a loss can hide all that was between.
        let is_reconnected = |change: &Change| {
            let mut all = undisturbed.changes.iter();
            all.any(|other| other.ends.remote() == change.ends.remote() && other.id.incarnation > 0)
        };

        let mut lossy = Run::new(1_000);
        lossy.ingest(&without(&workload.events(), &is_lost));
        lossy.settle(Nanos(u64::MAX));
        for change in &lossy.changes {
            let is_exact = change.dwell.is_some_and(Age::is_exact);
            prop_assert!(!is_exact || is_reconnected(change) || real.contains(&name(change)), "{:?}", change);
        }
    }

    #[test]
    fn a_snapshot_always_heals(
        workload in any_workload(),
        fates in fates(3 * MILLI),
    ) {
        let mut run = Run::new(1_000);
        run.ingest(&perturbed(&workload.events(), &fates));
        run.settle(Nanos(u64::MAX));
        run.merge(&workload.snapshot(workload.end.plus(Nanos(10 * MILLI))));
        run.check_equals(&workload.truth(workload.end))?;
        run.check_totals()?;
    }

    #[test]
    fn a_snapshot_at_any_moment_does_no_harm(
        workload in any_workload(),
        share in 0..100usize,
    ) {
        let events = workload.events();
        let begin = workload.steps.first().map_or(0, |step| step.event.time.0);
        let moment = Nanos(begin + (workload.end.0 - begin.min(workload.end.0)) / 100 * share as u64);
        let before = events.partition_point(|event| event.time <= moment);
        // Everything that happened before is missed, as by a tracer that starts then.
        let mut run = Run::new(1_000);
        run.merge(&workload.snapshot(moment));
        run.ingest(&events[before..]);
        run.settle(workload.end.plus(HOLD));
        run.check_equals(&workload.truth(workload.end))?;
        run.check_totals()?;
        run.check_order()?;
    }

    #[test]
    fn a_full_table_evicts_and_counts(
        workload in any_workload(),
        fates in fates(3 * MILLI),
        capacity in 1..6usize,
    ) {
        let mut run = Run::new(capacity);
        for event in perturbed(&workload.events(), &fates) {
            run.ingest(&[event]);
            prop_assert!(run.table().len() <= capacity);
        }
        run.settle(Nanos(u64::MAX));
        run.check_totals()?;
        run.merge(&workload.snapshot(workload.end.plus(Nanos(10 * MILLI))));
        prop_assert!(run.table().len() <= capacity);
        run.check_totals()?;
    }
}

/// The only step of the life of connection 0 by `script` that `what` picks.
fn pick(script: Script, plan: Plan, what: impl Fn(&What) -> bool) -> Event {
    let gaps = [10 * MILLI; 6];
    let steps = Life::new(0, plan, 1_000 * MILLI).live(script, gaps);
    let mut found = steps.iter().filter(|step| what(&step.event.what));
    found.next().expect("the script has such a step").event
}

fn moves(old: TcpState, new: TcpState) -> impl Fn(&What) -> bool {
    move |what| matches!(what, What::State { old: from, new: to, .. } if *from == old && *to == new)
}

fn is_request_start(what: &What) -> bool {
    matches!(what, What::RequestStart { .. })
}

fn paths(changes: &[Change]) -> Vec<(TcpState, TcpState, Option<EndReason>)> {
    changes
        .iter()
        .map(|change| (change.old, change.new, change.reason))
        .collect()
}

#[test]
fn a_request_whose_end_was_lost_is_retired() {
    let mut run = Run::new(10);
    let start = pick(Script::Abandoned, Plan::Fentry, is_request_start);
    run.ingest(&[start]);
    let empty = Snapshot {
        started: start.time.plus(Nanos::from_secs(100)),
        covered: HashSet::from([NETNS]),
        ..Snapshot::default()
    };
    assert_eq!(run.merge(&empty).retired, 1);
    assert_eq!(run.table().len(), 0);
}

#[test]
fn a_request_that_a_snapshot_showed_becomes_its_child() {
    let steps = Life::new(0, Plan::Timers, 1_000 * MILLI).live(Script::PassiveClose, [10 * MILLI; 6]);
    let workload = Workload {
        end: steps[3].event.time,
        steps,
    };
    let events = workload.events();
    let mut run = Run::new(10);
    run.merge(&workload.snapshot(events[0].time));
    // LISTEN → SYN_RECV, SYN_RECV → ESTABLISHED, the request's timer is cancelled.
    run.ingest(&events[1..4]);
    run.settle(events[3].time.plus(HOLD));
    assert_eq!(paths(&run.changes), [(SynRecv, Established, None)]);
    assert_eq!(run.table().len(), 1);
}

/// The child's events are lost, up to the cancelled timer of its timewait sock; then a SYN takes the four-tuple over.
#[test]
fn a_request_that_a_snapshot_showed_ends_once_where_a_syn_takes_its_timewait_sock_over() {
    let passive = Life::new(0, Plan::Timers, 1_000 * MILLI).live(Script::PassiveClose, [10 * MILLI; 6]);
    let shown = Workload {
        end: passive[0].event.time,
        steps: passive[..1].to_vec(),
    };
    let substate = TimeWait;
    let timer = |step, after: u64| Event {
        time: passive[0].event.time.plus(Nanos(after * MILLI)),
        sock: passive[1..]
            .iter()
            .map(|step| step.event.sock)
            .find(|sock| sock.cookie != 0)
            .expect("a child"),
        what: What::TimewaitTimer { step, substate },
        lost: 1,
        ..passive[0].event
    };
    let start = pick(Script::PassiveClose, Plan::Fentry, is_request_start);
    let mut run = Run::new(10);
    run.merge(&shown.snapshot(shown.end));
    run.ingest(&[
        timer(TimerStep::Start, 20),
        timer(TimerStep::Cancel, 30),
        Event {
            time: passive[0].event.time.plus(Nanos(30 * MILLI)),
            lost: 1,
            ..start
        },
    ]);
    assert_eq!(
        paths(&run.changes),
        [
            (SynRecv, TimeWait, None),
            (TimeWait, Close, Some(EndReason::TimewaitReused)),
            (Listen, SynRecv, None),
        ]
    );
    assert_eq!(run.table().len(), 1);
}

#[test]
fn a_timewait_start_that_comes_after_its_segment_tells_nothing_new() {
    let mut run = Run::new(10);
    let start = pick(Script::ActiveClose, Plan::Timers, |what| {
        matches!(
            what,
            What::TimewaitTimer {
                step: TimerStep::Start,
                ..
            }
        )
    });
    let segment = pick(Script::ActiveClose, Plan::Timers, |what| {
        matches!(what, What::TimewaitSegment { .. })
    });
    run.ingest(&[
        pick(Script::ActiveClose, Plan::Timers, moves(FinWait1, FinWait2)),
        segment,
        start,
    ]);
    assert_eq!(
        paths(&run.changes),
        [(FinWait1, FinWait2, None), (FinWait2, TimeWait, None)]
    );
}

#[test]
fn a_segment_proves_that_a_timewait_sock_took_over() {
    let mut run = Run::new(10);
    let close = pick(Script::ActiveClose, Plan::Timers, moves(FinWait2, Close));
    let segment = pick(Script::ActiveClose, Plan::Timers, |what| {
        matches!(what, What::TimewaitSegment { .. })
    });
    let segment = Event {
        time: close.time.plus(Nanos::from_millis(1)),
        ..segment
    };
    run.ingest(&[
        pick(Script::ActiveClose, Plan::Timers, moves(FinWait1, FinWait2)),
        close,
        segment,
    ]);
    run.settle(Nanos(u64::MAX));
    assert_eq!(
        paths(&run.changes),
        [(FinWait1, FinWait2, None), (FinWait2, TimeWait, None)]
    );
}

#[test]
fn an_end_that_was_overtaken_is_not_before_its_beginning() {
    let mut run = Run::new(10);
    let start = pick(Script::Abandoned, Plan::Fentry, is_request_start);
    let late = Event {
        time: Nanos(start.time.0 - 1),
        what: What::RequestEnd,
        ..start
    };
    run.ingest(&[start, late]);
    run.settle(Nanos(u64::MAX));
    let times: Vec<Nanos> = run.changes.iter().map(|change| change.time).collect();
    assert_eq!(times, [start.time, start.time]);
}

/// A listener's child that takes `until_established` from its making, and no request before it.
fn child_without_request(
    hidden: Hidden,
    until_established: Nanos,
) -> Vec<(TcpState, TcpState, Option<EndReason>)> {
    let mut run = Run::new(10);
    run.engine.table.hidden = hidden;
    let made = pick(Script::PassiveClose, Plan::Timers, moves(Listen, SynRecv));
    let done = Event {
        time: made.time.plus(until_established),
        ..pick(Script::PassiveClose, Plan::Timers, moves(SynRecv, Established))
    };
    run.ingest(&[made, done]);
    paths(&run.changes)
}

#[test]
fn a_child_without_a_request_is_fast_open_s_after_a_while() {
    let all = Hidden::default();
    let unshown = Hidden {
        requests: true,
        ..all
    };
    let at_once = [(Listen, Established, None)];
    let after_a_while = [(Listen, SynRecv, None), (SynRecv, Established, None)];
    assert_eq!(child_without_request(all, Nanos(5_000)), at_once);
    assert_eq!(child_without_request(all, Nanos(100_000)), after_a_while);
    assert_eq!(child_without_request(unshown, Nanos(100_000)), at_once);
    assert_eq!(child_without_request(unshown, Nanos(5_000_000)), after_a_while);
}

#[test]
fn where_segments_are_not_shown_a_timer_that_is_set_anew_tells_of_a_fin_before_it() {
    let starts = |what: &What| {
        matches!(
            what,
            What::TimewaitTimer {
                step: TimerStep::Start,
                ..
            }
        )
    };
    let closed = pick(Script::OrphanedFinWait2, Plan::Timers, moves(FinWait1, FinWait2));
    let started = pick(Script::OrphanedFinWait2, Plan::Timers, starts);
    let set_anew = Event {
        time: closed.time.plus(Nanos::from_millis(600)),
        what: What::TimewaitTimer {
            step: TimerStep::Start,
            substate: TimeWait,
        },
        ..started
    };
    for (segments, expected) in [
        (false, Age::Exact(Nanos::from_millis(600))),
        (true, Age::AtLeast(Nanos::from_millis(20))),
    ] {
        let mut run = Run::new(10);
        run.engine.table.hidden.segments = segments;
        run.engine.table.looked_before = closed.time.plus(Nanos::from_millis(20));
        run.ingest(&[closed, started, set_anew]);
        let last = run.changes.last().expect("it is told");
        assert_eq!(
            (last.old, last.new, last.dwell),
            (FinWait2, TimeWait, Some(expected))
        );
    }
}
