//! A live session: the kernel side, the engine, and what keeps the two in step. Drains on a timer, repairs after
//! losses, and waits for whichever event comes first.

mod account;
mod sockets;
mod upkeep;
mod watchdog;

use self::{upkeep::Upkeep, watchdog::Watchdog};
use super::{
    Failure,
    confine::{self, Extras},
    losses::Alarm,
    messages,
    progress::Progress,
    signals::Stop,
};
use crate::{
    connection::change::Change,
    engine::{Engine, Input},
    event::{Event, Nanos, TcpState},
    filter::Filter,
    kernel::{
        clock,
        counters::LOSS_CHECK_EVERY,
        hook::Feature,
        loader::Settings,
        plan::{Mechanism, SocketReader},
        refusal::Refusal,
    },
    options,
    plural::{counted, was},
    priority,
    privileges::Held,
    record::recorder::Recorder,
    socket::scan::Keeper,
    source::{
        kubernetes::Folders,
        live::{self, Live, Records},
    },
    stacks::reader::StackReader,
    unseen::Unseen,
};
use anyhow::Context as _;
use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep_until},
};

/// How often the buffer is drained. At 450,000 records a second (`cargo xtask measure`) 1.4 MiB gather meanwhile; the
/// kernel wakes the reader for the first record after a drain, and earlier than that if a quarter of the buffer is full.
const DRAIN_EVERY: Duration = Duration::from_millis(20);

/// The same after [`QUIET_AFTER`] drains that found nothing: the first record ends the wait.
const DRAIN_EVERY_IF_QUIET: Duration = Duration::from_millis(250);
const QUIET_AFTER: u32 = 3;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Time to drain.
    Tick,
    /// SIGINT, SIGTERM, SIGQUIT or SIGHUP.
    Stop,
    /// `--duration` has passed.
    Deadline,
}

/// Everything that a command which traces needs.
pub(crate) struct Session {
    /// The engine that all input is applied to.
    pub(crate) engine: Engine,
    /// When the start snapshot was complete.
    pub(crate) started: Nanos,
    /// Receives the input that the engine applies.
    pub(crate) recorder: Recorder,
    stacks: Option<StackReader>,
    /// What the user is to be told goes here and not to standard error, where somebody draws on the terminal.
    pub(crate) notices: Option<Vec<String>>,
    live: Live,
    /// Events that were drained while sockets were read, and are not yet applied.
    pending: Vec<Event>,
    /// The network namespaces whose sockets are compared; all of them where there are none.
    compared: Vec<u32>,
    sockets: SocketReader,
    ring: AsyncFd<OwnedFd>,
    /// When the buffer was drained last.
    drained: Instant,
    /// The latest drains in a row that found nothing.
    empty_drains: u32,
    /// Until the run ends.
    stop: Option<Stop>,
    /// When it ends by itself.
    end: Option<Instant>,
    alarm: Alarm,
    losses: Losses,
    upkeep: Upkeep,
    progress: Option<Progress>,
    knows_sockets_by_cookie: bool,
    snapshots_refused: Option<Refusal>,
    /// What the latest snapshot could not read.
    unseen: Vec<Unseen>,
    /// What the latest scan could not find.
    unlisted: Vec<Unseen>,
    /// Descriptors that lead to network namespaces, as the latest scan found them.
    keepers: Vec<Keeper>,
    held: Option<Held>,
    watchdog: Watchdog,
}

#[derive(Debug, Default)]
struct Losses {
    seen: u64,
    repaired: u64,
    checked: Nanos,
}

/// Forgets the stacks of a socket that no process can leak any more.
#[inline]
fn forget_stacks(stacks: &mut Option<StackReader>, change: &Change) {
    if let Some(stacks) = stacks
        && is_given_up(change.new)
    {
        stacks.end(change.id.cookie);
    }
}

/// Whether a socket in this state can no longer be leaked by its process, which has closed it or shut it down.
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

/// Resolves at this time, if there is one.
async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Completes when the buffer has records and `due` has come, or earlier if it is filling up.
async fn drain_is_due(ring: &AsyncFd<OwnedFd>, records: &Records, due: Instant) {
    let mut has_records = false;
    loop {
        tokio::select! {
            () = sleep_until(due), if has_records => return,
            ready = ring.readable() => {
                if let Ok(mut guard) = ready {
                    guard.clear_ready();
                }
                if records.is_filling() {
                    return;
                }
                has_records = true;
            }
        }
    }
}

/// What inputs go to.
struct Intake<'a> {
    engine: &'a mut Engine,
    recorder: &'a mut Recorder,
    stacks: &'a mut Option<StackReader>,
    watchdog: &'a mut Watchdog,
}

impl Intake<'_> {
    #[inline]
    fn apply(&mut self, input: Input<'_>) {
        self.recorder.record(&input);
        for change in self.engine.apply(input) {
            self.watchdog.observe(change);
            forget_stacks(self.stacks, change);
        }
    }
}

impl Session {
    /// Attaches first and takes the snapshot second, so that nothing falls between.
    pub(crate) fn start(settings: &Settings, max_connections: usize) -> Result<Self, Failure> {
        Self::start_recorded(settings, max_connections, Recorder::default())
    }

    /// The same, and records every input of the engine.
    pub(crate) fn start_recorded(
        settings: &Settings,
        max_connections: usize,
        mut recorder: Recorder,
    ) -> Result<Self, Failure> {
        let context = "cannot wait for events";
        priority::raise_priority();
        if let Some(warning) = settings.sockets.warning() {
            messages::tell(warning);
        }
        let mut live = Live::attach(settings)?;
        let stacks = live.kernel.stacks.take();
        recorder.begin(live.anchor);
        let knows_sockets_by_cookie = live.kernel.attached.iter().all(|part| {
            part.feature != Feature::Cookies
                && (part.feature != Feature::Transitions || part.mechanism == Mechanism::TpBtf)
        });
        let descriptor = live.as_fd().try_clone_to_owned().context(context)?;
        // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives.
        let ring = unsafe { AsyncFd::register(descriptor) }.context(context)?;
        let mut session = Self {
            engine: Engine::new(max_connections),
            started: Nanos(0),
            recorder,
            stacks: stacks.map(|source| StackReader::new(source, max_connections)),
            notices: None,
            live,
            pending: Vec::new(),
            compared: Vec::new(),
            sockets: settings.sockets,
            ring,
            drained: Instant::now(),
            empty_drains: 0,
            stop: Some(Stop::catch()?),
            end: None,
            alarm: Alarm::default(),
            losses: Losses::default(),
            upkeep: Upkeep::new(clock::monotonic()),
            progress: None,
            knows_sockets_by_cookie,
            snapshots_refused: None,
            unseen: Vec::new(),
            unlisted: Vec::new(),
            keepers: Vec::new(),
            held: None,
            watchdog: Watchdog::default(),
        };
        session.engine.reset_reasons = session.live.kernel.reset_reasons.clone();
        session.engine.begin_frame(Nanos(session.live.anchor.mono_ns));
        session.note_blindspots();
        session.take_snapshot();
        session.engine.complete_batch();
        session.started = clock::monotonic();
        Ok(session)
    }

    /// Gives up what is not needed to go on, where only these files and folders are written to; `links` where files are
    /// linked into folders below them. To be called before any thread is started.
    pub(crate) fn confine<'a>(&mut self, outputs: impl IntoIterator<Item = &'a Path>, links: bool) {
        self.confine_reading(outputs, links, Folders::default());
    }

    /// The same, but for these directories, which it goes on to read.
    pub(crate) fn confine_reading<'a>(
        &mut self,
        outputs: impl IntoIterator<Item = &'a Path>,
        links: bool,
        folders: Folders,
    ) {
        let extras = Extras {
            reads_code: self.stacks.is_some(),
            links,
            folders,
        };
        self.held = Some(confine::live(outputs, extras));
    }

    /// What the process may still do, once it was confined.
    pub(crate) const fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// Compares only the sockets that `filter` selects by their namespace. Fails if it selects namespaces, and the
    /// events do not name theirs.
    pub(crate) fn select(&mut self, filter: &Filter) -> Result<(), Failure> {
        if !filter.netns.is_empty()
            && self.live.kernel.mechanism(Feature::Transitions) == Some(Mechanism::Classic)
        {
            return Err(Failure::Usage(options::wrong(
                "--netns",
                "the classic tracepoint, the source of transitions here, does not report network namespaces",
                "omit --netns or --hooks tracepoint; a kernel without BTF supports nothing else",
            )));
        }
        self.compared.clone_from(&filter.netns);
        Ok(())
    }

    /// Ends the run after this time, as a signal would.
    pub(crate) fn end_after(&mut self, duration: Duration) {
        self.end = Some(Instant::now() + duration);
    }

    /// Ends the run after this time, if there is one, and reports on standard error what goes on, and on a terminal how far it is.
    pub(crate) fn announce(&mut self, activity: &'static str, duration: Option<Duration>) {
        match duration {
            None => messages::tell_wait(activity, None),
            Some(duration) => {
                self.progress = Progress::start(activity, duration);
                self.end_after(duration);
            }
        }
    }

    /// Whether that time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Waits for the next tick, an early wake-up by a filling buffer, a signal or the deadline.
    pub(crate) async fn wait(&mut self, deadline: Option<Instant>) -> Wake {
        let every = if self.is_quiet() {
            DRAIN_EVERY_IF_QUIET
        } else {
            DRAIN_EVERY
        };
        let next = self.drained + every;
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
            () = reached(self.end) => Wake::Stop,
            () = reached(deadline) => Wake::Deadline,
            () = drain_is_due(&self.ring, &self.live.records, self.drained + DRAIN_EVERY) => Wake::Tick,
            () = sleep_until(next) => Wake::Tick,
        }
    }

    /// Whether nothing has happened for a while, and nothing but the buffer is read at every drain.
    fn is_quiet(&self) -> bool {
        self.empty_drains >= QUIET_AFTER && self.stacks.is_none() && !self.engine.table.blindspots.segments
    }

    /// Applies what has happened, and finishes the engine's batch of changes. Fails if the kernel's counters or
    /// iterators fail.
    pub(crate) fn pump(&mut self) -> Result<(), Failure> {
        self.collect()?;
        self.engine.finish_batch();
        if let Some(progress) = &mut self.progress {
            progress.draw();
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<(), Failure> {
        let now = clock::monotonic();
        if let Some(stacks) = &mut self.stacks {
            stacks.drain(now);
        }
        let read = self.live.records.read;
        self.drain(now);
        self.drained = Instant::now();
        self.empty_drains = if self.live.records.read == read {
            self.empty_drains.saturating_add(1)
        } else {
            0
        };
        if self.upkeep.polls.is_due(now) && self.engine.table.blindspots.segments {
            self.poll_timewaits()?;
        }
        if now.since(self.losses.checked) >= LOSS_CHECK_EVERY {
            self.losses.checked = now;
            let totals = self.live.totals()?;
            self.find_silent_hooks(&totals, now)?;
            self.note_losses(now, totals.all_lost());
            let owed = self.losses.seen > self.losses.repaired
                || self.engine.table.has_unexplained_children(now)
                || self.recorder.owes_snapshot();
            if owed && self.upkeep.repairs.is_due(now) {
                self.repair();
            }
        }
        if self.upkeep.scans.is_due(now, self.engine.table.wants_scan()) {
            self.scan_holders(None);
        }
        self.audit_itself(now)?;
        self.recorder.hand_over();
        Ok(())
    }

    /// Takes in the events that are in the buffer, and ends what has waited for long enough.
    fn drain(&mut self, now: Nanos) {
        self.apply_pending();
        let (live, mut intake) = self.intake();
        live.drain(|events| intake.apply(Input::Events(events)));
        intake.apply(Input::Settle(now));
    }

    /// Applies the events that were drained while sockets were read.
    fn apply_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let (_, mut intake) = self.intake();
        for events in pending.chunks(live::BATCH) {
            intake.apply(Input::Events(events));
        }
    }

    fn apply(&mut self, input: Input<'_>) {
        self.intake().1.apply(input);
    }

    fn intake(&mut self) -> (&mut Live, Intake<'_>) {
        let Self {
            live,
            engine,
            recorder,
            stacks,
            watchdog,
            ..
        } = self;
        let intake = Intake {
            engine,
            recorder,
            stacks,
            watchdog,
        };
        (live, intake)
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
                "{} {} lost in the kernel; a larger --buffer loses fewer",
                counted(new, "record"),
                was(new)
            ));
        }
        if total != self.losses.seen {
            self.losses.seen = total;
            self.apply(Input::Lost { time: now, total });
        }
    }

    /// Detaches, and takes in what was reported until then, so that what the kernel side counted is what was read.
    pub(crate) fn stop(&mut self) {
        self.progress = None;
        // Where the counters cannot be read, what was lost before is all that is known to be owed.
        if let Ok(totals) = self.live.totals() {
            self.note_losses(clock::monotonic(), totals.all_lost());
        }
        // A recording ends with what the network does to the sockets.
        if self.losses.seen > self.losses.repaired || self.recorder.is_open() {
            self.drain(clock::monotonic());
            self.repair();
        }
        self.live.kernel.detach();
        let Self { live, pending, .. } = self;
        live.records.catch_up(|events| pending.extend_from_slice(events));
        let now = clock::monotonic();
        self.drain(now);
        if let Ok(totals) = self.live.totals() {
            self.note_losses(now, totals.all_lost());
        }
        self.apply(Input::Stop(now));
        self.engine.finish_batch();
    }

    /// From now on the signals that end a run end this process at once: what is left is to wait for a reader.
    pub(crate) fn release_signals(&mut self) {
        self.stop = None;
    }
}
