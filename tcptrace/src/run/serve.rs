//! `tcptrace serve`: traces, counts, and publishes metrics whenever somebody wants newer ones.

mod evaluate;
mod lifetimes;
mod resource;

use self::{evaluate::Evaluator, lifetimes::Lifetimes};
use super::{
    Failure,
    cost::Meter,
    messages, name_absent, runtime,
    session::{Session, Wake},
};
use crate::{
    cli::ServeArgs,
    duration::human,
    event::Nanos,
    filter::Filter,
    kernel::clock,
    metrics::{self, Own, counts::Counts},
    options::{
        self,
        serve::{TlsFiles, otlp::Otlp},
    },
    plural::counted,
    serve::{
        Board, Server,
        auth::Users,
        otlp::{Account, Pusher},
        tls::{Certificates, Tls},
    },
    source::{cgroups::Cgroups, kubernetes},
};
use nix::unistd::{SysconfVar, sysconf};
use std::{
    env, fs, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

/// Interval between checks for renewed certificates.
const LOOK_EVERY: Nanos = Nanos::from_secs(5);

/// Serves metrics until a signal or the duration ends it.
pub(crate) fn run(args: ServeArgs, verbose: u8) -> Result<(), Failure> {
    let args = options::serve::with_file(args)?;
    let settings = options::settings(&args.tracing, verbose)?;
    let filter = options::filter(&args.filter, &[])?;
    let web = options::serve::web(args.web_config.as_deref())?;
    let mut certificates = web.tls.map(certificates).transpose()?;
    let headers = env::var("OTEL_EXPORTER_OTLP_HEADERS").ok();
    let otlp = options::serve::otlp::otlp(&args, headers.as_deref())?;
    let pusher = otlp.map(pusher).transpose()?;
    name_absent(&filter);
    // Before tracing begins, which takes longer, and before privileges are dropped.
    let listener = listen(args.listen)?;
    let address = listener.local_addr().unwrap_or(args.listen);
    runtime()?.block_on(async {
        let mut session = Session::start(&settings, args.tracing.max_connections)?;
        session.select(&filter)?;
        let started = session.started;
        session.engine.select(&filter, started);
        let board = Arc::new(Board::new());
        let mut exports = Pushes::default();
        if let Some(pusher) = pusher {
            exports = Pushes::begin(&pusher, &mut session, &filter);
            let began = session.anchor().wall(started);
            pusher
                .start(Arc::clone(&board), began)
                .map_err(|error| cannot_start("the push of metrics", error))?;
        }
        let mut folders = kubernetes::folders(&args.host_root);
        folders
            .read
            .extend(certificates.iter().flat_map(Certificates::folders));
        session.confine_reading([], false, folders);
        if let Some(duration) = args.duration {
            session.end_after(duration);
        }
        let tls = certificates.as_ref().map(Certificates::server);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut collector = Collector::begin(&session, &args, filter, exports);
        start_server(listener, &board, tls, Users::new(web.users))?;
        collector.publish(&mut session, &board)?;
        messages::tell(format_args!("metrics: {scheme}://{address}/metrics"));
        let mut next_look = clock::monotonic().plus(LOOK_EVERY);
        loop {
            let woken = tokio::select! {
                biased;
                wake = session.wait(None) => Some(wake),
                () = board.wanted() => None,
            };
            collector.catch_up(&mut session)?;
            board.note_alive();
            collector.pushes.report();
            let now = clock::monotonic();
            if now >= next_look {
                next_look = now.plus(LOOK_EVERY);
                certificates.iter_mut().for_each(refresh);
            }
            match woken {
                None => collector.publish(&mut session, &board)?,
                Some(Wake::Stop) => break,
                Some(Wake::Tick | Wake::Deadline) => {}
            }
        }
        session.stop();
        let summary = session.summary(0)?;
        messages::print(format_args!(
            "{} in {} on this host, {} lost, {} evicted; {}\n",
            counted(summary.changes, "change"),
            human(Nanos(summary.watched_ns)),
            summary.lost,
            summary.evicted,
            summary.usage.words(),
        ));
        Ok(())
    })
}

fn certificates(files: TlsFiles) -> Result<Certificates, Failure> {
    Certificates::read(files).map_err(|error| {
        let remedy = "give a certificate and its key in PEM, in files that this user can read";
        Failure::Usage(options::wrong("--web-config", error.to_string(), remedy))
    })
}

/// Reads certificates that were renewed, and reports it.
fn refresh(certificates: &mut Certificates) {
    match certificates.refresh() {
        Ok(false) => {}
        Ok(true) => messages::tell("--web-config: the TLS files have changed and were read again"),
        Err(error) => messages::tell(format_args!(
            "--web-config: {error}; the certificate from before stays in use"
        )),
    }
}

fn start_server(
    listener: TcpListener,
    board: &Arc<Board>,
    tls: Option<Tls>,
    users: Users,
) -> Result<(), Failure> {
    let server = Server {
        listener,
        board: Arc::clone(board),
        tls,
        users,
    };
    server
        .start()
        .map_err(|error| cannot_start("the HTTP server", error))
}

fn cannot_start(what: &str, error: io::Error) -> Failure {
    Failure::Other(anyhow::Error::new(error).context(format!("cannot start {what}")))
}

fn pusher(otlp: Otlp) -> Result<Pusher, Failure> {
    Pusher::new(otlp, resource::attributes()).map_err(|error| {
        let remedy = "give the collector's authority in PEM with --otlp-ca";
        Failure::Usage(options::wrong("--otlp", error.to_string(), remedy))
    })
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        let (what_it_means, what_to_do) = match error.kind() {
            io::ErrorKind::AddrInUse => (
                "another process listens there, perhaps another tcptrace",
                format!("give another port with --listen, or find the process: ss -ltnp sport = {}", address.port()),
            ),
            io::ErrorKind::AddrNotAvailable => (
                "no interface of this network namespace has the address",
                "give one that `ip address` shows with --listen, or 0.0.0.0 for all".to_owned(),
            ),
            io::ErrorKind::PermissionDenied => (
                "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE",
                "give a port of 1024 or above with --listen".to_owned(),
            ),
            _ => ("the kernel refuses the address", "give another one with --listen".to_owned()),
        };
        Failure::Other(anyhow::anyhow!(
            "cannot listen on {address}: {error}\n  what it means: {what_it_means}\n  what to do: {what_to_do}"
        ))
    })
}

/// What is counted beside the session, and how metrics are made of both.
struct Collector {
    filter: Filter,
    max_series: usize,
    counts: Counts,
    evaluator: Evaluator,
    cgroups: Cgroups,
    kubernetes: kubernetes::Finder,
    meter: Meter,
    page_bytes: u64,
    /// Time that the latest collection took.
    took: Option<Nanos>,
    pushes: Pushes,
}

/// What is pushed by OTLP.
#[derive(Default)]
struct Pushes {
    accounts: Vec<(&'static str, Arc<Account>)>,
    lifetimes: Option<Lifetimes>,
}

impl Pushes {
    fn begin(pusher: &Pusher, session: &mut Session, filter: &Filter) -> Self {
        let logs = pusher.logs();
        let metrics = ("metrics", Arc::clone(pusher.metrics()));
        let accounts = logs.map(|logs| ("logs", Arc::clone(&logs.account)));
        Self {
            accounts: [Some(metrics), accounts].into_iter().flatten().collect(),
            lifetimes: logs.map(|logs| Lifetimes::begin(session, filter, Arc::clone(&logs.queue), pusher)),
        }
    }

    /// Reports to the user what has become of pushes.
    fn report(&self) {
        for line in self
            .accounts
            .iter()
            .flat_map(|(_, account)| account.take_messages())
        {
            messages::tell(line);
        }
    }
}

impl Collector {
    fn begin(session: &Session, args: &ServeArgs, filter: Filter, pushes: Pushes) -> Self {
        let older_than = args
            .older_than
            .map(|age| Nanos(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)));
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        Self {
            counts: Counts::new(&filter, args.max_series),
            evaluator: Evaluator::begin(&filter, older_than, args.max_series, session.started),
            filter,
            max_series: args.max_series,
            cgroups: Cgroups::of_this_host(),
            kubernetes: kubernetes::Finder::new(&args.host_root),
            meter: Meter::new(clock::monotonic()),
            page_bytes: page.map_or(4096, i64::unsigned_abs),
            took: None,
            pushes,
        }
    }

    fn count(&mut self, session: &mut Session) {
        let now = clock::monotonic();
        if self.filter.asks_for_locations() {
            self.cgroups
                .find_locations(&mut session.engine.table.processes, now);
        }
        session.engine.count_selected();
        self.counts.count(&session.engine);
        self.evaluator.count(session, now);
        if let Some(lifetimes) = &mut self.pushes.lifetimes {
            lifetimes.take(session, &mut self.cgroups, now);
        }
    }

    /// Applies what has happened, and counts its changes.
    fn catch_up(&mut self, session: &mut Session) -> Result<(), Failure> {
        session.pump()?;
        self.count(session);
        Ok(())
    }

    fn publish(&mut self, session: &mut Session, board: &Board) -> Result<(), Failure> {
        let began = clock::monotonic();
        self.cgroups
            .find_locations(&mut session.engine.table.processes, began);
        let located = session.engine.table.processes.located();
        self.kubernetes
            .find(located.map(|(_, location)| &**location), began);
        // The buffer is drained after each part.
        self.evaluator.read_sockets(session);
        self.catch_up(session)?;
        self.evaluator.evaluate(session);
        self.catch_up(session)?;
        // What was read meanwhile is no younger.
        let now = clock::monotonic();
        let own = Own {
            header: session.header(),
            summary: session.summary(0)?,
            repaired: session.repaired(),
            audit: session.last_audit().cloned(),
            unseen: session.unseen(),
            share: self.meter.read(session, now),
            resident_bytes: resident_pages().map(|pages| pages * self.page_bytes),
            collection: self.took,
            started_wall_ns: session.anchor().wall(session.started),
            tracked: session.engine.table.len() as u64,
            exports: self
                .pushes
                .accounts
                .iter()
                .map(|(signal, account)| (*signal, account.exports()))
                .collect(),
            dropped_logs: self.pushes.lifetimes.as_ref().map(Lifetimes::dropped),
        };
        let source = metrics::Source {
            engine: &session.engine,
            filter: &self.filter,
            counts: &mut self.counts,
            evaluation: self.evaluator.latest(),
            own: &own,
            names: self.kubernetes.names(),
            max_series: self.max_series,
        };
        board.publish(metrics::collect(source, now));
        self.took = Some(clock::monotonic().since(began));
        Ok(())
    }
}

/// The second number of `/proc/self/statm`; see proc(5).
fn resident_pages() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    text.split(' ').nth(1)?.parse().ok()
}
