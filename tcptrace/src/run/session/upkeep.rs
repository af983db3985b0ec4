//! Keeps the table in step with the kernel: snapshots after losses, scans of open files, polls of timewait sockets,
//! audits. Each has its own interval.

use super::Session;
use crate::{
    connection::{
        audit::{self, Audit, Comparison, Meanwhile},
        state::ConnectionState,
    },
    duty_cycle::DutyCycle,
    engine::Input,
    event::{Nanos, TcpState},
    kernel::{clock, hook::Feature, plan::Mechanism},
    owner::schedule::Schedule,
    run::Failure,
    socket::{Row, snapshot::Snapshot},
    source::{
        sight,
        snapshot::{self, Wanted},
    },
};
use hashbrown::HashSet;

/// Repairs take at most this share of the time: after one that took a while, the next waits this many times as
/// long.
const REPAIR_PAUSE: u64 = 20;

/// Shortest interval of polls of timewait sockets in FIN_WAIT2, if no hook reports their FIN.
const POLL_EVERY: Nanos = Nanos::from_millis(20);

/// Looking takes at most one part in this many of the time.
const POLL_PAUSE: u64 = 20;

/// How often a command that runs for long compares its table with the kernel's, at most.
const AUDIT_EVERY: Nanos = Nanos::from_secs(10);

/// The first comparison comes sooner: what happened on another CPU while the hooks were being attached may be missing.
const FIRST_AUDIT: Nanos = Nanos::from_secs(1);

/// Comparing takes at most one part in this many of the time.
const AUDIT_PAUSE: u64 = 200;

/// When each part of the upkeep is due.
pub(super) struct Upkeep {
    pub(super) repairs: DutyCycle,
    pub(super) scans: Schedule,
    pub(super) polls: DutyCycle,
    audits: DutyCycle,
    last_audit: Option<Audit>,
}

impl Upkeep {
    /// That of a session that begins at `now`.
    pub(super) fn new(now: Nanos) -> Self {
        Self {
            repairs: DutyCycle::new(Nanos(0), REPAIR_PAUSE),
            scans: Schedule::default(),
            polls: DutyCycle::new(POLL_EVERY, POLL_PAUSE),
            audits: DutyCycle::new(AUDIT_EVERY, AUDIT_PAUSE).not_before(now.plus(FIRST_AUDIT)),
            last_audit: None,
        }
    }
}

impl Session {
    /// Takes a snapshot and a scan; another one where the scan leads to namespaces that nothing else leads to. Where the
    /// kernel refuses an iterator, the tracing goes on without what it would tell.
    pub(crate) fn take_snapshot(&mut self) {
        for _ in 0..2 {
            let wanted = Wanted {
                network: self.recorder.is_open(),
                ..Wanted::default()
            };
            let (mut snapshot, events) = match self.snapshot_and_events(wanted) {
                Ok(read) => read,
                Err(refusal) => {
                    self.snapshots_refused = Some(refusal);
                    return;
                }
            };
            self.unseen = sight::of_sockets(&snapshot, None);
            self.cover_vanished(&mut snapshot);
            self.apply(Input::Snapshot(&snapshot, &events));
            self.scan_holders(Some(&snapshot.rows));
            if snapshot.missed(&self.keepers, None).is_empty() {
                return;
            }
        }
    }

    /// Where events were lost, the end of a network namespace may be among them: one that cannot be found any more, and
    /// of which nobody has a socket open, has none.
    pub(super) fn cover_vanished(&mut self, snapshot: &mut Snapshot) {
        if !self.engine.table.has_losses() || !self.unseen.is_empty() {
            return;
        }
        let mut vanished: HashSet<u32> = self.engine.table.iter().map(|row| row.netns).collect();
        vanished.retain(|netns| *netns != 0 && !snapshot.covered.contains(netns));
        if vanished.is_empty() {
            return;
        }
        if let Ok(scan) = snapshot::holders(&mut self.live.kernel) {
            for holder in &scan.holders {
                vanished.remove(&holder.netns);
            }
            snapshot.covered.extend(vanished);
        }
    }

    pub(super) fn repair(&mut self) {
        let begun = clock::monotonic();
        self.losses.repaired = self.losses.seen;
        if self.live.kernel.mechanism(Feature::Transitions) == Some(Mechanism::Classic) {
            // Its events have neither cookie nor namespace, so that a snapshot's rows would be connections of their own.
            return;
        }
        self.take_snapshot();
        self.upkeep
            .repairs
            .finished(begun, clock::monotonic().since(begun));
    }

    /// Finds the holders of sockets; without an iterator of open files, through `/proc`, for `rows`.
    pub(super) fn scan_holders(&mut self, rows: Option<&[Row]>) {
        let was_wanted = self.engine.table.wants_scan();
        // Before the first scan the program is loaded, which is none of what scans cost, and takes far longer than one on
        // Linux 5.10.
        let files = self.live.kernel.open_holder_iterator();
        let begun = clock::thread_cpu();
        let mut elsewhere = Nanos(0);
        let scan = match files.and_then(snapshot::read_holders) {
            Ok(mut scan) => {
                let known = self.engine.table.iter();
                scan.find_paths(known.map(|row| (row.netns, row.endpoints, row.id().cookie)));
                scan
            }
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
        self.unlisted = sight::of_holders(&scan);
        self.keepers = scan.keepers();
        let cost = || elsewhere.plus(clock::thread_cpu().since(begun));
        self.apply(Input::Holders { scan, cost: cost() });
        let unsettled = self.engine.holders.unsettled;
        self.upkeep
            .scans
            .done(clock::monotonic(), cost(), was_wanted, unsettled);
    }

    /// Reads the timewait socks of the namespaces where some are in FIN_WAIT2: whether their FIN has come, no hook
    /// tells on this kernel.
    pub(super) fn poll_timewaits(&mut self) -> Result<(), Failure> {
        let begun = clock::monotonic();
        let is_waiting = |state: &ConnectionState| {
            state.is_timewait && state.tcp == TcpState::FinWait2 && state.pending.is_none()
        };
        let mut namespaces: Vec<u32> = self
            .engine
            .table
            .iter()
            .filter(|row| is_waiting(&row.state))
            .map(|row| row.netns)
            .collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let mut rows = Vec::new();
        let mut events = Vec::new();
        if !namespaces.is_empty() {
            let wanted = Wanted {
                netns: Some(&namespaces),
                state: Some(TcpState::TimeWait),
                ..Wanted::default()
            };
            let snapshot;
            (snapshot, events) = self.snapshot_and_events(wanted)?;
            rows = snapshot.rows;
            let table = &self.engine.table;
            rows.retain(|row| {
                let known = table
                    .slot_of_cookie(row.sock.cookie)
                    .and_then(|slot| table.row(slot));
                known.is_some_and(|known| is_waiting(&known.state))
            });
        }
        self.apply(Input::Poll {
            begun,
            rows: &rows,
            events: &events,
        });
        self.upkeep.polls.finished(begun, clock::monotonic().since(begun));
        Ok(())
    }

    /// Compares the table with the kernel's own, unless sockets are not known by their cookies; those that change
    /// meanwhile are left out. Losses are repaired first.
    pub(crate) fn audit(&mut self) -> Result<Option<Audit>, Failure> {
        self.collect()?;
        if !self.knows_sockets_by_cookie {
            return Ok(None);
        }
        let total = self.live.totals()?.all_lost();
        self.note_losses(clock::monotonic(), total);
        if self.losses.seen > self.losses.repaired {
            self.repair();
        }
        self.compare().map(Some)
    }

    /// The latest comparison of the table with the kernel's own, where there was one.
    pub(crate) const fn last_audit(&self) -> Option<&Audit> {
        self.upkeep.last_audit.as_ref()
    }

    /// Compares the table with the kernel's now and then, and heals what differs. Nothing is compared where sockets have
    /// no cookie, which is what rows and sockets are matched by, or while events are being lost. The pause is long
    /// against what the comparison took.
    pub(super) fn audit_itself(&mut self, now: Nanos) -> Result<(), Failure> {
        let is_calm = self.losses.seen == self.losses.repaired && self.upkeep.repairs.is_due(now);
        if !self.knows_sockets_by_cookie || !is_calm || !self.upkeep.audits.is_due(now) {
            return Ok(());
        }
        let cpu = clock::thread_cpu();
        let audit = self.compare()?;
        if audit.differences > 0 {
            self.take_snapshot();
        }
        self.upkeep.last_audit = Some(audit);
        self.upkeep
            .audits
            .finished(clock::monotonic(), clock::thread_cpu().since(cpu));
        Ok(())
    }

    /// What differs is compared once more: only what lasts is a difference.
    pub(super) fn compare(&mut self) -> Result<Audit, Failure> {
        let mut first = self.compare_once()?;
        if first.has_differences() {
            first.confirm(&self.compare_once()?);
        }
        Ok(Audit {
            netns: self.compared.clone(),
            ..first.audit()
        })
    }

    pub(super) fn compare_once(&mut self) -> Result<Comparison, Failure> {
        let compared = self.compared.clone();
        let (snapshot, events) = self.snapshot_and_events(Wanted::of(&compared))?;
        let meanwhile = Meanwhile::of(&events);
        self.pending = events;
        self.apply_pending();
        Ok(audit::compare(&self.engine.table, &snapshot, &meanwhile))
    }
}
