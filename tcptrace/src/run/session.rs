//! A live session: the kernel side, the engine, and what keeps the two in step. Drains on a timer, repairs after
//! losses, and waits for whatever comes first.

use super::{
    Failure,
    confine::{self, Extras},
    cost,
    losses::Alarm,
    messages,
    signals::Stop,
};
use crate::{
    connection::{
        audit::{self, Audit},
        hidden::Hidden,
        machine::Life,
        table::Change,
    },
    decode::Row,
    engine::Engine,
    event::{EndReason, Event, Nanos, TcpState},
    kernel::{
        clock,
        counters::Totals,
        hook::Purpose,
        loader::Settings,
        plan::{SocketReader, Way},
        refusal::Refusal,
        silence::{Silence, Ways},
    },
    output::header::{Dwells, GivenUp, Header, Summary},
    owner::{
        holders::Scan,
        schedule::{Cost, Schedule},
    },
    pace::Pace,
    priority,
    privileges::Held,
    record::{entry::Entry, tap::Tap},
    source::{
        live::{self, Live},
        namespaces, netstat,
        snapshot::{self, Reader, Snapshot, Wanted},
    },
    stacks::{book::Book, recorder::Recorder},
};
use anyhow::Context as _;
use hashbrown::HashMap;
use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, Interval, MissedTickBehavior, interval},
};

/// How often the buffer is emptied. At 450,000 records a second (`cargo xtask measure`) 1.2 MiB gather meanwhile; the
/// kernel wakes the reader earlier where a quarter of the buffer is full.
const DRAIN_EVERY: Duration = Duration::from_millis(20);

/// After so many rows of a snapshot the buffer is emptied: some 5 ms by netlink.
const DRAIN_ROWS: usize = 4_096;

/// How often the counters are read to see whether anything was lost.
const LOSS_CHECK_EVERY: Nanos = Nanos::from_millis(250);

/// Repairs take at most this share of the time: after one that took a while, the next waits this many times as
/// long.
const REPAIR_PAUSE: u64 = 20;

/// How often timewait socks in FIN_WAIT2 are looked at where no hook tells of their FIN, at most.
const LOOK_EVERY: Nanos = Nanos::from_millis(20);

/// Looking takes at most one part in this many of the time.
const LOOK_PAUSE: u64 = 20;

/// How often a command that runs for long compares its table with the kernel's, at most.
const AUDIT_EVERY: Nanos = Nanos::from_secs(10);

/// The first comparison comes sooner: what happened on another CPU while the hooks were being attached may be missing.
const FIRST_AUDIT: Nanos = Nanos::from_secs(1);

/// Comparing takes at most one part in this many of the time.
const AUDIT_PAUSE: u64 = 200;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Time to drain.
    Tick,
    /// SIGINT, SIGTERM, SIGQUIT or SIGHUP.
    Stop,
    /// The deadline.
    Deadline,
}

/// Everything that a command which traces needs.
pub struct Session {
    /// The engine.
    pub engine: Engine,
    /// When the start snapshot was complete.
    pub started: Nanos,
    /// What the engine is told goes here too.
    pub tap: Tap,
    stacks: Option<Recorder>,
    /// What the user is to be told goes here and not to standard error, where somebody draws on the terminal.
    pub notices: Option<Vec<String>>,
    live: Live,
    /// Events that were drained while sockets were read, and are not yet applied.
    pending: Vec<Event>,
    sockets: SocketReader,
    ring: AsyncFd<OwnedFd>,
    ticks: Interval,
    /// Until the run ends.
    stop: Option<Stop>,
    alarm: Alarm,
    losses: Losses,
    repairs: Pace,
    scans: Schedule,
    looks: Pace,
    knows_sockets_by_cookie: bool,
    audits: Pace,
    last_audit: Option<Audit>,
    snapshots_refused: Option<Refusal>,
    /// What of the network namespaces the latest snapshot could not read.
    unseen: Vec<String>,
    /// Whose files the latest scan could not list.
    unlisted: Option<String>,
    held: Option<Held>,
    silence: Silence,
    given_up: Vec<GivenUp>,
}

#[derive(Debug, Default)]
struct Losses {
    seen: u64,
    repaired: u64,
    checked: Nanos,
}

/// Notes what a connection did without a hidden state that it should have had.
fn note(silence: &mut Silence, change: &Change) {
    if change.reason == Some(EndReason::TimewaitOverflow) {
        silence.timewait_skipped(change.netns, change.time);
    }
    if change.old == TcpState::Listen && change.new != TcpState::Close {
        silence.request_skipped(change.netns, change.time);
    }
}

/// Whether no process can forget a socket in this state any more.
const fn is_given_up(state: TcpState) -> bool {
    match state {
        TcpState::FinWait1 | TcpState::Closing | TcpState::TimeWait | TcpState::LastAck | TcpState::Close => {
            true
        }
        TcpState::Listen
        | TcpState::SynSent
        | TcpState::SynRecv
        | TcpState::Established
        | TcpState::FinWait2
        | TcpState::CloseWait => false,
    }
}

fn farewell(purpose: Purpose, from: Way, to: Way) -> String {
    let found = format!(
        "the {} hooks for {} are attached and do not fire on this kernel",
        from.name(),
        purpose.name()
    );
    match to {
        Way::Missing(_) => format!("{found}; without them {}", purpose.lost_without()),
        to => format!("{found}; from now on: {}", to.name()),
    }
}

impl Session {
    /// Attaches first and takes the snapshot second, so that nothing falls between.
    ///
    /// # Errors
    /// Where tracing is refused.
    pub fn start(settings: &Settings, max_connections: usize) -> Result<Self, Failure> {
        Self::start_tapped(settings, max_connections, Tap::default())
    }

    /// The same, and tells `tap` everything that the engine is told.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_tapped(settings: &Settings, max_connections: usize, mut tap: Tap) -> Result<Self, Failure> {
        let context = "cannot wait for events";
        priority::be_urgent();
        if let Some(warning) = settings.sockets.warning() {
            messages::tell(warning);
        }
        let mut live = Live::attach(settings)?;
        let stacks = live.kernel.stacks.take();
        tap.begin(live.anchor);
        let knows_sockets_by_cookie = live.kernel.attached.iter().all(|part| {
            part.purpose != Purpose::Cookies
                && (part.purpose != Purpose::Transitions || part.way == Way::TpBtf)
        });
        let descriptor = live.as_fd().try_clone_to_owned().context(context)?;
        // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives.
        let ring = unsafe { AsyncFd::register(descriptor) }.context(context)?;
        let mut ticks = interval(DRAIN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut session = Self {
            engine: Engine::new(max_connections),
            started: Nanos(0),
            tap,
            stacks: stacks.map(|source| Recorder::new(source, max_connections)),
            notices: None,
            live,
            pending: Vec::new(),
            sockets: settings.sockets,
            ring,
            ticks,
            stop: Some(Stop::catch()?),
            alarm: Alarm::default(),
            losses: Losses::default(),
            repairs: Pace::new(Nanos(0), REPAIR_PAUSE),
            scans: Schedule::default(),
            looks: Pace::new(LOOK_EVERY, LOOK_PAUSE),
            knows_sockets_by_cookie,
            audits: Pace::new(AUDIT_EVERY, AUDIT_PAUSE).not_before(clock::monotonic().plus(FIRST_AUDIT)),
            last_audit: None,
            snapshots_refused: None,
            unseen: Vec::new(),
            unlisted: None,
            held: None,
            silence: Silence::default(),
            given_up: Vec::new(),
        };
        session.follow_way();
        session.take_snapshot(&mut |_| {});
        session.started = clock::monotonic();
        Ok(session)
    }

    /// Gives up what is not needed to go on, where only these files and folders are written to; `links` where files are
    /// linked into folders below them. To be called before any thread is started.
    pub fn confine<'a>(&mut self, outputs: impl IntoIterator<Item = &'a Path>, links: bool) {
        let reads_code = self.stacks.is_some();
        self.held = Some(confine::live(outputs, Extras { reads_code, links }));
    }

    /// What the process may still do, once it was confined.
    #[must_use]
    pub const fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// The stream's first line.
    #[must_use]
    pub fn header(&self) -> Header {
        Header::new(&self.live.kernel, self.live.anchor)
    }

    /// Both clocks at the start.
    #[must_use]
    pub const fn anchor(&self) -> clock::Anchor {
        self.live.anchor
    }

    /// Waits for the next tick, an early wake-up by a filling buffer, a signal or the deadline.
    pub async fn wait(&mut self, deadline: Option<Instant>) -> Wake {
        let deadline_passes = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let stop = &mut self.stop;
        let stop_comes = async {
            match stop {
                Some(stop) => stop.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop_comes => Wake::Stop,
            () = deadline_passes => Wake::Deadline,
            ready = self.ring.readable() => {
                if let Ok(mut guard) = ready {
                    guard.clear_ready();
                }
                Wake::Tick
            }
            _ = self.ticks.tick() => Wake::Tick,
        }
    }

    /// Takes in what has happened; `emit` gets every change.
    ///
    /// # Errors
    /// Where the kernel's counters or iterators fail.
    pub fn pump(&mut self, emit: &mut impl FnMut(&Change)) -> Result<(), Failure> {
        let now = clock::monotonic();
        if let Some(stacks) = &mut self.stacks {
            stacks.drain(now);
        }
        self.drain(now, emit);
        if self.looks.is_due(now) && self.engine.table.hidden.segments {
            self.look_for_late_fins(emit)?;
        }
        if now.since(self.losses.checked) >= LOSS_CHECK_EVERY {
            self.losses.checked = now;
            let totals = self.live.totals()?;
            self.find_silent_hooks(&totals, now, emit)?;
            self.note_losses(now, totals.all_lost());
            let owed = self.losses.seen > self.losses.repaired
                || self.engine.table.has_unexplained_children(now)
                || self.tap.owes_snapshot();
            if owed && self.repairs.is_due(now) {
                self.repair(emit);
            }
        }
        if self.scans.is_due(now, self.engine.table.wants_scan()) {
            self.scan_holders(None);
        }
        self.tap.hand_over();
        Ok(())
    }

    fn drain(&mut self, now: Nanos, emit: &mut impl FnMut(&Change)) {
        let Self {
            live,
            pending,
            engine,
            tap,
            stacks,
            silence,
            ..
        } = self;
        let mut witness = |change: &Change| {
            note(silence, change);
            if let Some(stacks) = stacks
                && is_given_up(change.new)
            {
                stacks.end(change.id.cookie);
            }
            emit(change);
        };
        let mut apply = |events: &[Event]| {
            for event in events {
                tap.event(event);
            }
            engine.ingest_all(events, &mut witness);
        };
        for events in pending.chunks(live::BATCH) {
            apply(events);
        }
        pending.clear();
        live.drain(apply);
        tap.tell(Entry::Settled(now));
        engine.settle(now, &mut witness);
    }

    /// Passes every socket to `each`, and meanwhile drains the ring buffer, which would fill up beside a large table.
    fn read_sockets(&mut self, wanted: Wanted<'_>, mut each: impl FnMut(Row)) -> Result<Snapshot, Refusal> {
        let Live { kernel, records, .. } = &mut self.live;
        let pending = &mut self.pending;
        let mut drain = || records.drain(|events| pending.extend_from_slice(events));
        let reader = Reader::new(self.sockets, kernel);
        let (snapshot, ()) = snapshot::stream(reader, wanted, |rows| {
            for (count, row) in rows.enumerate() {
                each(row);
                if count % DRAIN_ROWS == 0 {
                    drain();
                }
            }
        })?;
        drain();
        Ok(snapshot)
    }

    /// The sockets as they are read.
    fn list_sockets(&mut self, wanted: Wanted<'_>) -> Result<Snapshot, Refusal> {
        let mut rows = Vec::new();
        let snapshot = self.read_sockets(wanted, |row| rows.push(row))?;
        Ok(Snapshot { rows, ..snapshot })
    }

    /// The sockets, each placed among the events that came meanwhile, and those events.
    fn snapshot_and_events(&mut self, wanted: Wanted<'_>) -> Result<(Snapshot, Vec<Event>), Refusal> {
        let mut snapshot = self.list_sockets(wanted)?;
        let events = std::mem::take(&mut self.pending);
        snapshot.place_among(&events);
        Ok((snapshot, events))
    }

    /// Tells the user something while the run goes on.
    fn notify(&mut self, text: String) {
        match &mut self.notices {
            Some(notices) => notices.push(text),
            None => messages::tell(text),
        }
    }

    fn note_losses(&mut self, now: Nanos, total: u64) {
        if let Some(new) = self.alarm.due(total, now) {
            self.notify(format!(
                "{new} records of the kernel were lost; a larger --buffer loses fewer"
            ));
        }
        if total != self.losses.seen {
            self.losses.seen = total;
            self.tap.tell(Entry::Lost { time: now, total });
        }
    }

    /// Detaches, and takes in what was reported until then, so that what the kernel side counted is what was read.
    pub fn stop(&mut self, emit: &mut impl FnMut(&Change)) {
        self.live.kernel.detach();
        let now = clock::monotonic();
        self.drain(now, emit);
        self.tap.tell(Entry::Stopped(now));
        self.engine.settle(Nanos(u64::MAX), emit);
    }

    /// Compares the table with a fresh snapshot of the namespaces `netns`, or of all where there are none; sockets
    /// that change meanwhile are left out. Losses are repaired first.
    ///
    /// # Errors
    /// Where the iterators fail.
    pub fn audit(&mut self, netns: &[u32], emit: &mut impl FnMut(&Change)) -> Result<Audit, Failure> {
        self.pump(emit)?;
        let total = self.live.totals()?.all_lost();
        self.note_losses(clock::monotonic(), total);
        if self.losses.seen > self.losses.repaired {
            self.repair(emit);
        }
        let snapshot = self.list_sockets(Wanted::of(netns))?;
        self.drain(clock::monotonic(), emit);
        Ok(audit::audit(
            &self.engine.table,
            &snapshot.rows,
            snapshot.started,
            &snapshot.covered,
        ))
    }

    /// Compares the table with the kernel's now and then, heals what differs, and returns the latest comparison.
    /// Nothing is compared where sockets have no cookie, which is what rows and sockets are matched by.
    /// The pause is long against what the comparison took, and nothing is compared while events are being lost.
    ///
    /// # Errors
    /// Where the iterators fail.
    pub fn self_audit(
        &mut self,
        netns: &[u32],
        emit: &mut impl FnMut(&Change),
    ) -> Result<Option<Audit>, Failure> {
        let now = clock::monotonic();
        if !self.knows_sockets_by_cookie {
            return Ok(None);
        }
        let is_calm = self.losses.seen == self.losses.repaired && self.repairs.is_due(now);
        if is_calm && self.audits.is_due(now) {
            let cpu = clock::thread_cpu();
            let audit = self.audit(netns, emit)?;
            if audit.differences > 0 {
                self.take_snapshot(emit);
            }
            self.last_audit = Some(audit);
            self.audits
                .rest(clock::monotonic(), clock::thread_cpu().since(cpu));
        }
        Ok(self.last_audit.clone())
    }

    /// From now on the signals that end a run end this process at once: what is left is to wait for a reader.
    pub fn release_signals(&mut self) {
        self.stop = None;
    }

    /// What the kernel side counted.
    ///
    /// # Errors
    /// Where the counters cannot be read.
    pub fn totals(&self) -> Result<Totals, Failure> {
        Ok(self.live.totals()?)
    }

    /// What finding out who holds which socket has cost.
    #[must_use]
    pub const fn scan_cost(&self) -> Cost {
        self.scans.cost
    }

    /// Losses seen so far.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.losses.seen
    }

    /// Time that the kernel has spent in our programs since they were loaded, as far as somebody has it counted; `None`
    /// where the kernel does not say.
    #[must_use]
    pub fn kernel_time(&self) -> Option<Duration> {
        self.live.kernel.run_time()
    }

    /// Hands over the sockets of the namespaces `netns`, or of all where there are none, as the kernel has them now.
    ///
    /// # Errors
    /// Where the iterators fail.
    pub fn visit_sockets(&mut self, netns: &[u32], each: impl FnMut(Row)) -> Result<(), Failure> {
        self.read_sockets(Wanted::of(netns), each)?;
        Ok(())
    }

    /// What is not traced, and why: a sentence each. Without the accept hook everything is traced, and each row
    /// says how its owner is known.
    #[must_use]
    pub fn shortfalls(&self) -> Vec<String> {
        let mut list: Vec<String> = self
            .header()
            .missing
            .iter()
            .filter(|missing| missing.purpose != Purpose::Accept.name())
            .map(|missing| format!("{} ({}): {}", missing.purpose, missing.reason, missing.lost))
            .collect();
        list.extend(self.unseen.iter().chain(&self.unlisted).cloned());
        if let Some(refusal) = &self.snapshots_refused {
            list.push(format!(
                "snapshots ({}): sockets from before, or who holds them, are not known",
                refusal.cause()
            ));
        }
        list
    }

    /// The book of stacks, and what is missing in it: a sentence each.
    ///
    /// # Errors
    /// Where the counters cannot be read.
    pub fn take_book(&mut self) -> Result<Option<(Book, Vec<String>)>, Failure> {
        let lost = self.totals()?.lost_stacks;
        Ok(self.stacks.take().map(|recorder| {
            let shortfalls = recorder.shortfalls(lost);
            (recorder.book, shortfalls)
        }))
    }

    /// The stream's last line.
    ///
    /// # Errors
    /// Where the counters cannot be read.
    pub fn summary(&self, printed: u64) -> Result<Summary, Failure> {
        let mut summary = Summary::new(
            clock::monotonic().since(self.started).0,
            self.live.records.read,
            self.live.records.unknown,
            printed,
            &self.engine.table.tally,
            &self.totals()?,
        );
        summary.usage = cost::used();
        summary.scans = self.scans.cost;
        summary.given_up.clone_from(&self.given_up);
        summary.dwells = self
            .engine
            .stats
            .dwells()
            .map(|(state, histogram)| (state, Dwells::of(&histogram)))
            .collect();
        Ok(summary)
    }

    /// Tells the engine what the hooks do not show.
    fn follow_way(&mut self) {
        let way = |purpose| self.live.kernel.way(purpose);
        let hidden = Hidden {
            segments: way(Purpose::Timewait) == Some(Way::PolledTimers),
            requests: matches!(way(Purpose::Requests), Some(Way::Missing(_)) | None),
        };
        self.tap.tell(Entry::Hidden(hidden));
        self.engine.table.hidden = hidden;
    }

    /// Reads the timewait socks of the namespaces where some are in FIN_WAIT2: whether their FIN has come, no hook
    /// tells on this kernel.
    fn look_for_late_fins(&mut self, emit: &mut impl FnMut(&Change)) -> Result<(), Failure> {
        let begun = clock::monotonic();
        let is_waiting =
            |life: &Life| life.is_timewait && life.state == TcpState::FinWait2 && life.held.is_none();
        let mut spaces: Vec<u32> = self
            .engine
            .table
            .iter()
            .filter(|row| is_waiting(&row.life))
            .map(|row| row.netns)
            .collect();
        spaces.sort_unstable();
        spaces.dedup();
        if !spaces.is_empty() {
            let wanted = Wanted {
                netns: Some(&spaces),
                state: Some(TcpState::TimeWait),
            };
            let (snapshot, events) = self.snapshot_and_events(wanted)?;
            let mut rows = snapshot.rows;
            let table = &self.engine.table;
            rows.retain(|row| {
                let known = table
                    .slot_of_cookie(row.sock.cookie)
                    .and_then(|slot| table.row(slot));
                known.is_some_and(|known| is_waiting(&known.life))
            });
            self.tap.look(begun, &rows, &events);
            self.engine.observe(&rows, &events, emit);
        }
        self.tap.tell(Entry::Looked(begun));
        self.engine.table.looked_before = begun;
        self.looks.rest(begun, clock::monotonic().since(begun));
        Ok(())
    }

    /// Where hooks have contradicted what connections did, goes on without them, and says so.
    fn find_silent_hooks(
        &mut self,
        totals: &Totals,
        now: Nanos,
        emit: &mut impl FnMut(&Change),
    ) -> Result<(), Failure> {
        let way = |purpose| {
            self.live
                .kernel
                .way(purpose)
                .unwrap_or(Way::Missing("not planned"))
        };
        let ways = Ways {
            timewait: way(Purpose::Timewait),
            requests: way(Purpose::Requests),
        };
        let excuses = if self.silence.needs_excuses(ways, &totals.hits) {
            netstat::excuses()
        } else {
            HashMap::new()
        };
        let Some(purpose) = self
            .silence
            .judge(ways, &totals.hits, &excuses, clock::monotonic())
        else {
            return Ok(());
        };
        let from = way(purpose);
        let next = self.live.kernel.give_up(purpose)?;
        self.silence = Silence::default();
        self.follow_way();
        let farewell = farewell(purpose, from, next);
        self.notify(farewell.clone());
        self.tap.tell(Entry::Note {
            time: now,
            text: farewell.into(),
        });
        self.given_up.push(GivenUp {
            mono_ns: now.0,
            purpose: purpose.name(),
            from: from.name(),
            to: next.name(),
        });
        self.repair(emit);
        Ok(())
    }

    fn repair(&mut self, emit: &mut impl FnMut(&Change)) {
        let begun = clock::monotonic();
        self.losses.repaired = self.losses.seen;
        if self.live.kernel.way(Purpose::Transitions) == Some(Way::Classic) {
            // Its events have neither cookie nor namespace, so that a snapshot's rows would be connections of their own.
            return;
        }
        self.take_snapshot(emit);
        self.repairs.rest(begun, clock::monotonic().since(begun));
    }

    /// Takes a snapshot and a scan. Where the kernel refuses an iterator, the tracing goes on without what it would tell.
    pub fn take_snapshot(&mut self, emit: &mut impl FnMut(&Change)) {
        let (snapshot, events) = match self.snapshot_and_events(Wanted::default()) {
            Ok(read) => read,
            Err(refusal) => {
                self.snapshots_refused = Some(refusal);
                return;
            }
        };
        self.unseen = namespaces::shortfalls(&snapshot.failures);
        self.tap.snapshot(&snapshot, &events);
        self.engine.merge(&snapshot, &events, emit);
        self.scan_holders(Some(&snapshot.rows));
    }

    /// The sockets of the namespaces `netns`, or of all where there are none, and who holds them: as they are now,
    /// beside the table.
    ///
    /// # Errors
    /// Where the kernel refuses to list sockets.
    pub fn look(&mut self, netns: &[u32]) -> Result<(Snapshot, Scan), Failure> {
        let snapshot = self.list_sockets(Wanted::of(netns))?;
        let scan = snapshot::holders(&mut self.live.kernel)
            .unwrap_or_else(|_| snapshot::holders_by_proc(&snapshot.rows));
        Ok((snapshot, scan))
    }

    /// Finds out who holds which socket. Where the kernel has no iterator of open files, `/proc` tells it of `rows`.
    fn scan_holders(&mut self, rows: Option<&[Row]>) {
        let was_wanted = self.engine.table.wants_scan();
        let begun = clock::thread_cpu();
        let mut elsewhere = Nanos(0);
        let scan = match snapshot::holders(&mut self.live.kernel) {
            Ok(scan) => scan,
            Err(_) => match rows {
                Some(rows) => snapshot::holders_by_proc(rows),
                None => match self.list_sockets(Wanted::default()) {
                    Ok(snapshot) => {
                        elsewhere = snapshot.cpu;
                        snapshot::holders_by_proc(&snapshot.rows)
                    }
                    Err(_) => return,
                },
            },
        };
        elsewhere = elsewhere.plus(scan.cpu);
        self.unlisted = scan.shortfall();
        let took = || elsewhere.plus(clock::thread_cpu().since(begun));
        self.tap.scan(&scan, took());
        let unsettled = self.engine.hold(scan);
        self.scans.done(clock::monotonic(), took(), was_wanted, unsettled);
    }
}
