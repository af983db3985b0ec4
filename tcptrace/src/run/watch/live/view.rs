//! `tcptrace watch` on a terminal: the live view of this machine.

use super::context;
use crate::{
    cli::WatchArgs,
    duty_cycle::DutyCycle,
    event::{Nanos, TcpState},
    filter::Filter,
    findings::{
        reading::{Queue, SocketEvidence},
        settings,
    },
    kernel::clock,
    options::{self, words},
    privileges::Held,
    run::{
        Failure,
        cost::Meter,
        dump::{Dumper, Signalled},
        session::{Session, Wake},
        watch::screen::{JobSignal, Screen},
    },
    source::{cgroups::Cgroups, netns_state::Watched, process},
    tui::{
        app::{App, Effect},
        content::ShownNetwork,
        gather::Gather,
        route::Route,
        theme::Theme,
    },
};
use hashbrown::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// How often the sockets' queues are read, at most.
const LOOK_EVERY: Nanos = Nanos::from_secs(1);

/// Reading them takes at most one part in this many of the time.
const LOOK_PAUSE: u64 = 50;

/// Maximum number of processes whose descriptors are counted.
const DESCRIPTORS_OF: usize = 200;

/// Shows the view until the user, a signal or the count ends it. Returns how many frames there were.
pub(super) async fn run(
    session: &mut Session,
    args: &WatchArgs,
    filter: Filter,
    delay: Duration,
    dumper: &mut Dumper,
) -> Result<u64, Failure> {
    session.notices = Some(Vec::new());
    let text = words::of(&args.filter, &args.state);
    let app = App::new(Theme::of_environment(), args.sort, delay, text);
    let gather = Gather::new(&mut session.engine, session.started, &filter);
    let mut live = LiveView {
        meter: Meter::new(clock::monotonic()),
        screen: Screen::open(app)?,
        gather,
        filter,
        cgroups: Cgroups::of_this_host(),
        looks: DutyCycle::new(LOOK_EVERY, LOOK_PAUSE),
        namespaces: Watched::default(),
        sysctls: settings::names(),
        frames: 0,
    };
    live.screen.set_zone();
    // What is logged would be written over the picture.
    let level = log::max_level();
    log::set_max_level(log::LevelFilter::Off);
    let shown = live.show(session, dumper, args.count).await;
    log::set_max_level(level);
    shown.map(|()| live.frames)
}

struct LiveView {
    screen: Screen,
    gather: Gather,
    filter: Filter,
    cgroups: Cgroups,
    meter: Meter,
    looks: DutyCycle,
    namespaces: Watched,
    sysctls: Vec<&'static str>,
    frames: u64,
}

enum Woken {
    Session(Signalled<Wake>),
    Terminal(JobSignal),
}

impl LiveView {
    async fn show(
        &mut self,
        session: &mut Session,
        dumper: &mut Dumper,
        count: Option<u64>,
    ) -> Result<(), Failure> {
        let header = session.header();
        self.screen.app.content.host = header.host;
        self.screen.app.content.kernel = header.kernel;
        self.screen.app.content.anchor = session.anchor();
        self.screen.app.content.held = session.held().map(Held::line).unwrap_or_default();
        // The first frame is drawn immediately: existing sockets are already known.
        let mut next = Instant::now() + Duration::from_millis(50);
        while !self.screen.is_over() {
            let woken = tokio::select! {
                biased;
                woken = dumper.signalled_or(session.wait(Some(next))) => Woken::Session(woken),
                signal = self.screen.signals.next() => Woken::Terminal(signal),
            };
            let Self {
                gather,
                filter,
                cgroups,
                ..
            } = self;
            session.pump()?;
            dumper.count(session);
            if filter.asks_for_locations() {
                cgroups.find_locations(&mut session.engine.table.processes, clock::monotonic());
            }
            session.engine.count_selected();
            gather.count(&mut session.engine);
            gather.sample(&session.engine, clock::monotonic());
            match woken {
                Woken::Session(Signalled::Not(Wake::Stop)) => return Ok(()),
                Woken::Session(Signalled::Dump) => self.dump(session, dumper),
                Woken::Session(Signalled::Not(Wake::Tick | Wake::Deadline)) => {}
                Woken::Terminal(signal) => self.screen.obey(signal),
            }
            for effect in self.screen.take_inputs() {
                match effect {
                    Effect::Rows => self.rows(session),
                    Effect::Filter(text) => self.change_filter(session, text),
                    Effect::Delay(_) => next = Instant::now(),
                    Effect::Dump => self.dump(session, dumper),
                    // These are granted already, or about recordings.
                    Effect::Quit
                    | Effect::Suspend
                    | Effect::Redraw
                    | Effect::Export
                    | Effect::Mouse(_)
                    | Effect::Speed(_)
                    | Effect::Seek(_) => {}
                }
            }
            if Instant::now() >= next {
                next = Instant::now() + self.screen.app.delay;
                if !self.screen.app.is_paused || self.frames == 0 {
                    self.frame(session);
                    self.frames += 1;
                }
            }
            for notice in session.notices.iter_mut().flat_map(|notices| notices.drain(..)) {
                self.screen.app.show_message(notice, true);
                self.screen.refresh();
            }
            // Before the first picture there is nothing to draw, not nothing to see.
            if self.frames > 0 {
                self.screen.draw();
            }
            if count.is_some_and(|count| self.frames >= count) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A new picture.
    fn frame(&mut self, session: &mut Session) {
        let Self {
            gather,
            filter,
            cgroups,
            screen,
            meter,
            ..
        } = self;
        // What has been read by now is no younger.
        let now = clock::monotonic();
        let context = context(session, meter, now);
        cgroups.find_locations(&mut session.engine.table.processes, now);
        let app = &mut screen.app;
        gather.frame(&mut app.content, &mut session.engine, now, context, filter);
        app.trend.push(app.content.view.counts);
        self.count_descriptors();
        self.rows(session);
        let began = clock::monotonic();
        if self.gather.may_evaluate(began) {
            // A machine that keeps us waiting is one on which findings matter.
            let cpu = clock::thread_cpu();
            let app = &mut self.screen.app;
            let namespaces = self.namespaces.read(None, &[], &self.sysctls, began);
            self.gather
                .evaluate(&mut app.content, &session.engine, began, namespaces);
            self.gather
                .evaluated(clock::monotonic(), clock::thread_cpu().since(cpu));
            app.arrange();
        }
    }

    /// The rows of the view that is open, as they are now.
    fn rows(&mut self, session: &mut Session) {
        let now = clock::monotonic();
        self.screen
            .gather_rows(&self.gather, &session.engine, now, &self.filter);
        self.look_into_queues(session, now);
    }

    fn change_filter(&mut self, session: &mut Session, text: String) {
        match words::filter(&text, options::filter) {
            Ok(filter) => {
                self.filter = filter;
                let now = clock::monotonic();
                self.screen
                    .adopt_filter(text, &mut session.engine, now, &self.filter);
                self.rows(session);
            }
            Err(error) => self.screen.app.reject_filter(text, error),
        }
    }

    fn dump(&mut self, session: &Session, dumper: &Dumper) {
        let (text, is_error) = match dumper.write(session) {
            Ok(text) => (text, false),
            Err(text) => (text, true),
        };
        self.screen.app.show_message(text, is_error);
        self.screen.refresh();
    }

    /// Of all processes, or of those in sight where they are many.
    fn count_descriptors(&mut self) {
        let app = &mut self.screen.app;
        let processes = &app.content.view.processes;
        let seen: HashSet<usize> = match app.current().route {
            Route::Processes => {
                let rows = app.rows().iter().skip(app.current().cursor.top);
                let page = usize::from(app.areas.rows.height);
                rows.take(page).map(|row| *row as usize).collect()
            }
            _ => HashSet::new(),
        };
        let known: Vec<_> = processes
            .iter()
            .enumerate()
            .filter(|(at, _)| processes.len() <= DESCRIPTORS_OF || seen.contains(at))
            .filter_map(|(_, row)| row.key)
            .filter_map(|key| Some((key, process::descriptors_of(key)?)))
            .collect();
        app.content.descriptors = known.into_iter().collect();
    }

    /// Reads what waits in the sockets that are seen, and in those that findings are about: listeners, and what the
    /// peer has closed; and what the network does to the connection whose history is open, and to those that wait for
    /// their peers.
    fn look_into_queues(&mut self, session: &mut Session, now: Nanos) {
        if !self.looks.is_due(now) {
            return;
        }
        let cpu = clock::thread_cpu();
        let app = &mut self.screen.app;
        let seen: HashSet<u64> = app.cookies_in_sight().collect();
        let mut queues = HashMap::new();
        let mut unaccepted = HashSet::new();
        let shown = app.shown_connection();
        let mut network = None;
        let is_memory_short = app.content.is_memory_short;
        let mut evidence = SocketEvidence::default();
        let mut drops = Vec::new();
        let read = session.visit_sockets(&self.filter.netns, |socket| {
            let row = &socket.row;
            let cookie = row.sock.cookie;
            if row.state == TcpState::Listen
                && let Some(count) = socket.network.drops
            {
                drops.push((cookie, count));
            }
            evidence.note(socket, is_memory_short);
            if shown == Some(cookie) {
                network = Some(ShownNetwork {
                    cookie,
                    state: row.state,
                    is_orphan: row.is_orphan,
                    network: socket.network,
                    recorded: None,
                });
            }
            if row.waits_for_accept() {
                unaccepted.insert(cookie);
            }
            let is_wanted = match row.state {
                TcpState::CloseWait | TcpState::Listen => true,
                TcpState::TimeWait | TcpState::SynRecv => false,
                _ => seen.contains(&cookie),
            };
            if is_wanted {
                queues.insert(cookie, Queue::of(socket));
            }
        });
        // What cannot be read now is shown as it was.
        if read.is_ok() {
            self.gather.note_drops(&drops);
            app.content.queues = queues;
            app.content.unaccepted = unaccepted;
            app.content.network = network;
            app.content.evidence = evidence;
        }
        self.looks.finished(now, clock::thread_cpu().since(cpu));
    }
}
