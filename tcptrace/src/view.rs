//! The data that outputs of one moment read: immutable, built from the engine.

pub(crate) mod connections;
pub(crate) mod endpoints;
pub(crate) mod history;
pub(crate) mod left_over;
pub(crate) mod population;
mod sort;
pub(crate) mod unanswered;

use crate::{
    connection::audit::Audit,
    engine::Engine,
    event::{Age, Nanos, ProcessKey, TcpState},
    filter::{Filter, FilterInput},
    owner::{container::Location, processes::ProcessId, schedule::Cost},
};
use hashbrown::HashMap;
pub use sort::Sort;
use std::{sync::Arc, time::Duration};

/// How many sockets are in each state.
pub(crate) type Counts = [u64; TcpState::COUNT];

/// One process and its sockets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessView {
    /// Process id; `None` for sockets whose owner is not known, and where the row is of several processes.
    pub pid: Option<u32>,
    /// PID and start time, which distinguish it from later processes with the same PID.
    pub key: Option<ProcessKey>,
    /// Its name, printable.
    pub comm: String,
    /// Its name as the kernel has it, zero-padded.
    pub name: [u8; 16],
    /// How many other processes of this name are in the row, see `View::with_left_over_merged`.
    pub others: u64,
    /// Sockets by state.
    pub counts: Counts,
    /// Those of them that a process may have open: all but what is left over of connections, as TIME_WAITs are.
    pub held: u64,
    /// How many other processes have one of its sockets open too, at most.
    pub sharers: u64,
    /// Changes of state per second, as the other rates: of no meaning where [`View::rate`] is `None`.
    pub rate: f64,
    /// Handshakes done per second.
    pub opens: f64,
    /// Connections closed by this side, or reset, per second.
    pub closes: f64,
    /// TIME_WAITs made per second.
    pub timewaits: f64,
    /// Where it runs, as far as anybody has asked.
    pub location: Option<Arc<Location>>,
    /// The socket that has been in a state other than LISTEN and ESTABLISHED for longest, CLOSE_WAIT before all
    /// others. A lower bound where any of those is: that one may be older.
    pub oldest: Option<(TcpState, Age)>,
}

impl ProcessView {
    /// Sockets in all states.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn oldest_close_wait(&self) -> Option<Age> {
        let (_, age) = self.oldest.filter(|(state, _)| *state == TcpState::CloseWait)?;
        Some(age)
    }
}

/// What tracing costs: shares of one CPU, 0 to 1, and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Of the kernel programs; `None` if the kernel does not report it.
    pub kernel: Option<f64>,
    /// Of this process; `None` for a recording.
    pub here: Option<f64>,
    /// The most memory that this process had at a time, bytes.
    pub memory: Option<u64>,
}

impl Share {
    /// The shares in a few words.
    pub(crate) fn of_cpu(&self) -> Option<String> {
        let percent = |share: f64| format!("{:.1}", share * 100.0);
        let here = self.here.map(|share| format!("{} here", percent(share)));
        let kernel = self.kernel.map(|share| format!("{} kernel", percent(share)));
        let parts: Vec<String> = kernel.into_iter().chain(here).collect();
        (!parts.is_empty()).then(|| format!("CPU %: {}", parts.join(" + ")))
    }

    /// The memory in a few words.
    pub(crate) fn of_memory(&self) -> Option<String> {
        self.memory.map(|bytes| format!("memory {} MiB", bytes >> 20))
    }
}

/// The shortest time of which a rate is made: of a shorter one, a single change would be dozens a second.
pub(crate) const SHORTEST: Nanos = Nanos::from_millis(100);

/// Everything that is shown of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// When it was built.
    pub now: Nanos,
    /// Time watched so far.
    pub watched: Nanos,
    /// Sockets by state, of all processes shown.
    pub counts: Counts,
    /// Changes of state per second; `None` where less than `SHORTEST` was watched for them.
    pub rate: Option<f64>,
    /// Processes, in the requested order.
    pub processes: Vec<ProcessView>,
    /// Records that the kernel could not deliver.
    pub lost: u64,
    /// The latest comparison with the kernel's own table.
    pub audit: Option<Audit>,
    /// Whose sockets it compared, where those are more than what is shown.
    pub audited: Option<&'static str>,
    /// Rows evicted because the table was full.
    pub evicted: u64,
    /// Cost of the owner lookup.
    pub scans: Cost,
    /// What tracing costs.
    pub share: Share,
    /// What was not seen, and why.
    pub limitations: Vec<String>,
}

impl View {
    /// The same with one row for all processes of a name that have nothing open.
    pub(crate) fn with_left_over_merged(mut self, sort: Sort) -> Self {
        self.processes = left_over::merge(self.processes);
        sort.apply(&mut self.processes);
        self
    }
}

/// What a view needs besides the engine.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Time watched so far.
    pub watched: Nanos,
    /// Number of records lost so far.
    pub lost: u64,
    /// The latest comparison with the kernel's own table.
    pub audit: Option<Audit>,
    /// Cost of the owner lookup.
    pub scans: Cost,
    /// What tracing costs.
    pub share: Share,
    /// What was not seen, and why.
    pub limitations: Vec<String>,
}

/// Builds the view at `now`. Its rates are over the frame: that of the filter, if the engine was given it.
pub(crate) fn build(engine: &Engine, now: Nanos, context: Context, filter: &Filter, sort: Sort) -> View {
    let frame = now.since(engine.shown().frame_began);
    let seconds = Duration::from_nanos(frame.0.max(1)).as_secs_f64();
    let mut by_process: HashMap<Option<ProcessId>, ProcessView> = HashMap::new();
    let mut counts = [0; TcpState::COUNT];
    let processes = &engine.table.processes;
    let mut count =
        |id: Option<ProcessId>, state: TcpState, age: Option<Age>, cookie: u64, may_be_held: bool| {
            counts[state.index()] += 1;
            let row = by_process
                .entry(id)
                .or_insert_with(|| process_view(engine, id, seconds));
            row.counts[state.index()] += 1;
            row.held += u64::from(may_be_held);
            let sharers = engine.holders.of(cookie).len().saturating_sub(1) as u64;
            row.sharers = row.sharers.max(sharers);
            row.oldest = oldest(row.oldest, age.map(|age| (state, age)));
        };
    for connection in engine.table.iter() {
        let state = connection.state.tcp;
        if let Some(id) = engine.accepted_row(connection, filter) {
            let age = connection.state.since.age(now);
            count(
                id,
                state,
                Some(age),
                connection.id().cookie,
                connection.may_be_held(),
            );
        }
    }
    for closed in engine.holders.closed() {
        let is_wanted = filter.accepts(&FilterInput {
            endpoints: &closed.endpoints,
            netns: closed.netns,
            states: &[TcpState::Close],
            owner: processes.get(closed.process),
        });
        if is_wanted {
            count(Some(closed.process), TcpState::Close, None, closed.cookie, true);
        }
    }
    // Of two processes that had the same id the older comes first, whatever order the map has them in.
    let mut rows: Vec<(Option<ProcessId>, ProcessView)> = by_process.into_iter().collect();
    rows.sort_by_key(|(id, _)| {
        id.and_then(|id| processes.get(id))
            .map(|process| process.key.start_ns)
    });
    let mut processes: Vec<ProcessView> = rows.into_iter().map(|(_, row)| row).collect();
    sort.apply(&mut processes);
    View {
        now,
        watched: context.watched,
        counts,
        rate: (frame >= SHORTEST)
            .then(|| per_second(engine.shown().in_frame.iter().flatten().sum(), seconds)),
        processes,
        lost: context.lost,
        audited: context.audit.as_ref().and_then(|audit| audit.beyond(filter)),
        audit: context.audit,
        evicted: engine.table.tally.evicted,
        scans: context.scans,
        share: context.share,
        limitations: context.limitations,
    }
}

/// A process without any sockets yet.
fn process_view(engine: &Engine, id: Option<ProcessId>, seconds: f64) -> ProcessView {
    let process = id.and_then(|id| engine.table.processes.get(id));
    let flow = engine.shown().in_frame_of(id);
    ProcessView {
        pid: process.map(|process| process.key.pid),
        key: process.map(|process| process.key),
        comm: process.map_or_else(|| "(unknown)".to_owned(), |process| process.name().into_owned()),
        name: process.map_or([0; 16], |process| process.comm),
        rate: per_second(flow.changes, seconds),
        opens: per_second(flow.opens, seconds),
        closes: per_second(flow.closes, seconds),
        timewaits: per_second(flow.timewaits, seconds),
        location: process.and_then(|process| process.location.clone()),
        ..ProcessView::default()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate of 2^52 events a second is out of reach"
)]
pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// The older of two sockets, CLOSE_WAIT before all others; LISTEN and ESTABLISHED are none. Of two that are compared by
/// their ages it is a lower bound where either is.
pub(crate) fn oldest(
    known: Option<(TcpState, Age)>,
    candidate: Option<(TcpState, Age)>,
) -> Option<(TcpState, Age)> {
    let candidate = candidate.filter(|(state, _)| !matches!(state, TcpState::Listen | TcpState::Established));
    let (Some(known), Some(candidate)) = (known, candidate) else {
        return known.or(candidate);
    };
    let is_close_wait = |(state, _): (TcpState, Age)| state == TcpState::CloseWait;
    let rank = |socket: (TcpState, Age)| (is_close_wait(socket), socket.1.span());
    let (state, age) = if rank(candidate) > rank(known) {
        candidate
    } else {
        known
    };
    let is_certain =
        is_close_wait(known) != is_close_wait(candidate) || (known.1.is_exact() && candidate.1.is_exact());
    let age = if is_certain { age } else { Age::AtLeast(age.span()) };
    Some((state, age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use TcpState::{CloseWait, Established, LastAck};

    #[test]
    fn the_oldest_is_a_lower_bound_where_any_is_that_it_is_compared_with() {
        let exact = |seconds| Age::Exact(Nanos::from_secs(seconds));
        let at_least = |seconds| Age::AtLeast(Nanos::from_secs(seconds));
        for (sockets, expected) in [
            (vec![], None),
            (vec![(Established, exact(9))], None),
            (
                vec![(LastAck, exact(3)), (LastAck, exact(5))],
                Some((LastAck, exact(5))),
            ),
            (
                vec![(LastAck, exact(5)), (LastAck, at_least(2))],
                Some((LastAck, at_least(5))),
            ),
            (
                vec![(LastAck, at_least(9)), (CloseWait, exact(5))],
                Some((CloseWait, exact(5))),
            ),
            (
                vec![
                    (CloseWait, at_least(1)),
                    (LastAck, exact(9)),
                    (CloseWait, exact(5)),
                ],
                Some((CloseWait, at_least(5))),
            ),
        ] {
            let found = sockets
                .iter()
                .fold(None, |known, socket| oldest(known, Some(*socket)));
            assert_eq!(found, expected, "{sockets:?}");
        }
    }
}
