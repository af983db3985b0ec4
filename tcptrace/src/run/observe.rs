//! Builds a scene from a snapshot, or by watching for a while. For `leaks`, `doctor` and the flight recorder.

pub(crate) mod recorded;

pub(crate) use recorded::recorded;

use super::{
    Failure,
    confine::{self, Extras},
    runtime,
    session::{Session, Wake},
    snapshot::{closed_row, is_meant, is_wanted, locations_of},
};
use crate::{
    engine::Engine,
    event::{Nanos, TcpState},
    filter::Filter,
    findings::{
        gather::{self, GatheredSockets, Look},
        history::{self, History},
        peers::Peers,
        scene::{InFlight, Netns, Process, Scene, Socket},
        scope,
        unknown_ages::unknown_ages,
    },
    kernel::{
        clock,
        loader::{Kernel, Settings},
        plan::SocketReader,
    },
    output::sockets::Locations,
    owner::opened::Opened,
    privileges::capabilities,
    socket::{
        Holder, Networks, Row,
        scan::{Scan, ScanMechanism},
    },
    source::{
        cgroups::Cgroups,
        in_flight,
        netns_state::{self, Watched},
        process, sight,
        snapshot::{self, Reader, Wanted},
    },
    stacks::book::Book,
    unseen::Unseen,
};
use hashbrown::HashSet;
use std::{path::Path, time::Duration};

/// What is to be looked at.
pub(crate) struct Request<'a> {
    /// The filter, which limits findings and counts.
    pub(crate) filter: &'a Filter,
    /// Which settings of each namespace.
    pub(crate) sysctls: &'a [&'a str],
    /// Age from which a CLOSE_WAIT is a leak, if given (`--older-than`).
    pub(crate) older_than: Option<Nanos>,
}

/// A scene, and what was lost on the way.
pub(crate) struct Observed {
    /// What rules evaluate.
    pub(crate) scene: Scene,
    /// Records that the kernel could not deliver.
    pub(crate) lost: u64,
    /// What is known less well, and why: a sentence each.
    pub(crate) limitations: Vec<String>,
    /// What of a recording was not read, or is not in it: a sentence each.
    pub(crate) remarks: Vec<String>,
    /// Call stacks that opened sockets, if requested.
    pub(crate) stacks: Option<Book>,
}

/// Looks once, without tracing.
pub(crate) fn once(request: &Request<'_>, sockets: SocketReader) -> Result<Observed, Failure> {
    let mut limitations = Vec::new();
    let wanted = Wanted {
        network: true,
        ..Wanted::of(&request.filter.netns)
    };
    let mut kernel = Kernel::for_snapshots();
    confine::live([], Extras::default());
    let files = snapshot::open_holder_iterator(&mut kernel);
    limitations.extend(sockets.warning().map(str::to_owned));
    let mut snapshot = snapshot::sockets(Reader::without_session(sockets, &mut kernel)?, wanted)?;
    let mut scan = match files.and_then(snapshot::read_holders) {
        Ok(mut scan) => {
            snapshot::find_paths(&mut scan, &snapshot.rows);
            scan
        }
        Err(refusal) => {
            limitations.push(format!("holders come from /proc: {}", refusal.cause()));
            snapshot::holders_by_proc(&snapshot.rows)
        }
    };
    let keepers = scan.keepers();
    let missed = snapshot.missed(&keepers, wanted.netns);
    if !missed.is_empty() {
        let wanted = Wanted {
            netns: Some(&missed),
            keepers: &keepers,
            ..wanted
        };
        snapshot.add(snapshot::sockets(
            Reader::without_session(sockets, &mut kernel)?,
            wanted,
        )?);
        if scan.mechanism == ScanMechanism::Proc {
            scan = snapshot::holders_by_proc(&snapshot.rows);
        }
    }
    let mut unseen = sight::of_sockets(&snapshot, wanted.netns);
    unseen.extend(sight::of_holders(&scan));
    unseen.extend(sight::of_mptcp(&snapshot));
    snapshot.see_mptcp();
    let now = clock::monotonic();
    let look = selected(snapshot.rows, snapshot.network.notable(), scan, request.filter);
    let history = History::default();
    let gathered = gather::of_look(&look, None, &history, now);
    let namespaces = netns_state::read(wanted.netns, &keepers, request.sysctls, now);
    Ok(Observed {
        scene: scene(request, None, look, gathered, namespaces, history, unseen),
        lost: 0,
        limitations,
        remarks: Vec::new(),
        stacks: None,
    })
}

/// Notes what the kernel has dropped at listeners until now.
fn note_drops(history: &mut History, session: &mut Session, filter: &Filter) {
    if let Some(drops) = session.listener_drops(&filter.netns) {
        history.note_drops(&drops);
    }
}

/// What happens while a session watches, until a scene is made of it.
pub(crate) struct Observer {
    history: History,
    began: Nanos,
    namespaces: Watched,
    /// Finds out where processes run, if the filter asks for it.
    cgroups: Option<Cgroups>,
}

impl Observer {
    /// Starts a session that counts what `filter` selects, writes to `output`, and is observed. Fails if tracing is refused.
    pub(crate) fn start(
        settings: &Settings,
        max_connections: usize,
        filter: &Filter,
        output: Option<&Path>,
    ) -> Result<(Session, Self), Failure> {
        let mut session = Session::start(settings, max_connections)?;
        session.select(filter)?;
        let started = session.started;
        session.engine.select(filter, started);
        session.confine(output, false);
        let observer = Self::begin(&mut session, filter);
        Ok((session, observer))
    }

    /// Begins now, with what `filter` selects and the counters of the namespaces that it asks for.
    pub(crate) fn begin(session: &mut Session, filter: &Filter) -> Self {
        let began = clock::monotonic();
        let mut history = History::of(filter);
        // Those of the namespaces are read between them: what those have is then in these.
        note_drops(&mut history, session, filter);
        let mut namespaces = Watched::default();
        // For the counters as they are now; settings are wanted as they are at the end.
        let _ = namespaces.read(netns(filter), &[], &[], began);
        Self {
            history,
            began,
            namespaces,
            cgroups: filter.asks_for_locations().then(Cgroups::of_this_host),
        }
    }

    /// Counts what happens until the session is to end, and calls `each` after every batch.
    pub(crate) async fn watch(
        &mut self,
        session: &mut Session,
        mut each: impl FnMut(&Session),
    ) -> Result<(), Failure> {
        loop {
            let wake = session.wait(None).await;
            session.pump()?;
            self.count(session);
            each(session);
            if matches!(wake, Wake::Stop | Wake::Deadline) {
                return Ok(());
            }
        }
    }

    /// Counts the changes of the engine's present batch.
    pub(crate) fn count(&mut self, session: &mut Session) {
        let now = clock::monotonic();
        if let Some(cgroups) = &mut self.cgroups {
            cgroups.find_locations(&mut session.engine.table.processes, now);
        }
        session.engine.count_selected();
        self.history.count(&session.engine);
        self.history.sample(&session.engine, now);
    }

    /// Looks at the sockets, and puts the scene together.
    pub(crate) fn scene(mut self, session: &mut Session, request: &Request<'_>) -> Result<Scene, Failure> {
        let (mut snapshot, scan) = session.look(&request.filter.netns)?;
        session.pump()?;
        self.count(session);
        let now = clock::monotonic();
        let mut unseen = sight::of_sockets(&snapshot, netns(request.filter));
        unseen.extend(sight::of_holders(&scan));
        unseen.extend(sight::of_mptcp(&snapshot));
        unseen.extend(session.untraced());
        snapshot.see_mptcp();
        let keepers = scan.keepers();
        let look = selected(snapshot.rows, snapshot.network.notable(), scan, request.filter);
        let gathered = gather::of_look(&look, Some(&session.engine), &self.history, now);
        let namespaces = self
            .namespaces
            .read(netns(request.filter), &keepers, request.sysctls, now);
        note_drops(&mut self.history, session, request.filter);
        let watched = now.since(self.began);
        let engine = Some(&session.engine);
        Ok(Scene {
            watched,
            ..scene(request, engine, look, gathered, namespaces, self.history, unseen)
        })
    }
}

/// Watches for this long, or until a signal, and then looks. Fails if tracing is refused, or sockets cannot be listed.
pub(crate) fn during(
    request: &Request<'_>,
    settings: &Settings,
    max_connections: usize,
    duration: Duration,
) -> Result<Observed, Failure> {
    runtime()?.block_on(async {
        let (mut session, mut observer) = Observer::start(settings, max_connections, request.filter, None)?;
        session.announce("watching", Some(duration));
        observer.watch(&mut session, |_| ()).await?;
        let scene = observer.scene(&mut session, request)?;
        let mut limitations = Vec::new();
        let stacks = session.take_book()?.map(|(book, missing)| {
            limitations.extend(missing);
            book
        });
        Ok(Observed {
            scene,
            lost: session.lost(),
            limitations,
            remarks: Vec::new(),
            stacks,
        })
    })
}

fn netns(filter: &Filter) -> Option<&[u32]> {
    (!filter.netns.is_empty()).then_some(filter.netns.as_slice())
}

/// The rows that the filter selects, and other listeners as context.
fn selected(mut rows: Vec<Row>, networks: Networks, mut scan: Scan, filter: &Filter) -> Look {
    let peers = Peers::of_rows(&rows);
    let sees_all = scan.hidden == 0 && !capabilities::in_pid_namespace();
    let locations = if filter.asks_for_locations() {
        locations_of(&scan.holders)
    } else {
        Locations::default()
    };
    let is_asked_for = |holder: &&Holder| is_meant(filter, holder, &locations);
    let processes = filter.asks_for_processes().then(|| {
        let wanted = scan.holders.iter().filter(is_asked_for);
        wanted.map(|holder| holder.process).collect()
    });
    scan.holders.retain(|holder| {
        let only = std::slice::from_ref(holder);
        holder.state != TcpState::Close || is_wanted(filter, &closed_row(holder), only, None, &locations)
    });
    let mut opened = Opened::new(scan);
    for row in &rows {
        opened.notice(row);
    }
    let mut listeners = Vec::new();
    rows.retain(|row| {
        let owner = opened.owner(row).map(|(holder, _)| holder);
        let holders = opened.holders(row.sock.cookie);
        let is_wanted = is_wanted(filter, row, holders, owner, &locations);
        if !is_wanted && row.state == TcpState::Listen {
            listeners.push(*row);
        }
        is_wanted
    });
    Look {
        rows,
        networks,
        listeners,
        opened,
        peers,
        sees_all,
        processes,
    }
}

fn scene(
    request: &Request<'_>,
    engine: Option<&Engine>,
    look: Look,
    gathered: GatheredSockets,
    mut namespaces: Vec<Netns>,
    history: History,
    unseen: Vec<Unseen>,
) -> Scene {
    let GatheredSockets {
        sockets,
        mut processes,
        networks,
        port_ranges,
        ..
    } = gathered;
    count_descriptors(&mut processes);
    let mut scene = Scene {
        configured: Vec::new(),
        watched: Nanos(0),
        processes,
        namespaces: Vec::new(),
        history,
        older_than: request.older_than,
        unseen,
        is_recorded: false,
        in_flight: in_flight(request, &look.rows, &sockets),
        asked: gather::asked(request.filter, look.processes, engine),
        sockets,
        networks,
        port_ranges,
    };
    scope::keep_namespaces(&mut namespaces, &scene);
    scene.namespaces = namespaces;
    scene.unseen.extend(unknown_ages(&scene));
    scene
}

/// Where sockets may be that have been in CLOSE_WAIT for some time and that no process has open.
fn in_flight(request: &Request<'_>, rows: &[Row], sockets: &[Socket]) -> Vec<InFlight> {
    // One that is just being closed is no reason to inspect every process.
    let least = request
        .older_than
        .map_or(history::SETTLED, |given| given.min(history::SETTLED));
    let is_lost =
        |socket: &&Socket| socket.is_unheld && socket.state == TcpState::CloseWait && socket.span() >= least;
    let cookies: HashSet<u64> = sockets
        .iter()
        .filter(is_lost)
        .map(|socket| socket.cookie)
        .collect();
    if cookies.is_empty() {
        return Vec::new();
    }
    let lost = rows.iter().filter(|row| cookies.contains(&row.sock.cookie));
    in_flight::find(lost.map(|row| row.inode).collect())
}

fn count_descriptors(processes: &mut [Process]) {
    for process in processes {
        process.descriptors = process::descriptors_of(process.key);
    }
}
