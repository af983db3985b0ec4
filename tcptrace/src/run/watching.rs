//! Puts a scene together: from one look, or from watching for a while. For every command that judges.

use super::{
    Failure,
    confine::{self, Extras},
    runtime,
    session::{Session, Wake},
    snapshot::{closed_row, is_wanted, places_of},
};
use crate::{
    connection::table::Change,
    decode::Row,
    event::{Nanos, TcpState},
    filter::{Filter, Subject},
    findings::{
        gather::{self, Gathered},
        history::History,
        scene::{Process, Scene, Space},
    },
    kernel::{
        clock,
        loader::{Kernel, Settings},
        plan::SocketReader,
    },
    output::sockets::Places,
    owner::{holders::Scan, opened::Opened},
    source::{
        namespaces, process,
        snapshot::{self, Reader, Wanted},
        spaces::{self, Watched},
    },
    stacks::book::Book,
};
use std::time::Duration;
use tokio::time::Instant;

/// What is to be looked at.
pub struct Request<'a> {
    /// Which sockets.
    pub filter: &'a Filter,
    /// Which settings of each namespace.
    pub sysctls: &'a [&'a str],
    /// From which age on a CLOSE_WAIT is a leak, where the user has said it.
    pub older_than: Option<Nanos>,
}

/// A scene, and what was lost on the way.
pub struct Seen {
    /// The scene.
    pub scene: Scene,
    /// Records that the kernel could not deliver.
    pub lost: u64,
    /// What is not known, and why: a sentence each.
    pub shortfalls: Vec<String>,
    /// What of a recording was not read, or is not in it: a sentence each.
    pub remarks: Vec<String>,
    /// Where sockets were made, where that is wanted.
    pub stacks: Option<Book>,
}

/// Looks once, without tracing.
///
/// # Errors
/// Where sockets cannot be listed at all.
pub fn look(request: &Request<'_>, sockets: SocketReader) -> Result<Seen, Failure> {
    let mut shortfalls = Vec::new();
    let wanted = Wanted::of(&request.filter.netns);
    let mut kernel = Kernel::for_snapshots();
    confine::live([], Extras::default());
    let files = snapshot::open_holder_iterator(&mut kernel);
    shortfalls.extend(sockets.warning().map(str::to_owned));
    let snapshot = snapshot::sockets(Reader::without_session(sockets, &mut kernel)?, wanted)?;
    let scan = match files.and_then(snapshot::read_holders) {
        Ok(scan) => scan,
        Err(refusal) => {
            shortfalls.push(format!("holders come from /proc: {}", refusal.cause()));
            snapshot::holders_by_proc(&snapshot.rows)
        }
    };
    shortfalls.extend(scan.shortfall());
    shortfalls.extend(namespaces::shortfalls(&snapshot.failures));
    let now = clock::monotonic();
    let (rows, opened) = selected(snapshot.rows, scan, request.filter);
    let gathered = gather::of_rows(&rows, &opened, None, now);
    let spaces = spaces::read(wanted.netns, request.sysctls, now);
    Ok(Seen {
        scene: scene(request, gathered, spaces, History::default(), Nanos(0)),
        lost: 0,
        shortfalls,
        remarks: Vec::new(),
        stacks: None,
    })
}

/// What happens while a session watches, until a scene is made of it.
pub struct Watcher {
    history: History,
    began: Nanos,
    spaces: Watched,
}

impl Watcher {
    /// Begins now, with the counters of the namespaces that `filter` asks for.
    #[must_use]
    pub fn begin(filter: &Filter) -> Self {
        let began = clock::monotonic();
        let mut spaces = Watched::default();
        // For the counters as they are now; settings are wanted as they are at the end.
        let _ = spaces.read(netns(filter), &[], began);
        Self {
            history: History::default(),
            began,
            spaces,
        }
    }

    /// Takes a change. Whose it is is told later, and not asked here.
    pub fn take(&mut self, change: &Change, filter: &Filter) {
        let subject = Subject {
            ends: &change.ends,
            netns: change.netns,
            states: &[],
            owner: None,
        };
        if filter.accepts_ends(&subject) {
            self.history.take(change);
        }
    }

    /// Counts the changes taken, whose processes are known by now.
    pub fn sort(&mut self, session: &Session) {
        self.history.sort(&session.engine, clock::monotonic());
    }

    /// Looks at the sockets, and puts the scene together.
    ///
    /// # Errors
    /// Where sockets cannot be listed.
    pub fn scene(mut self, session: &mut Session, request: &Request<'_>) -> Result<Scene, Failure> {
        let (snapshot, scan) = session.look(&request.filter.netns)?;
        session.pump(&mut |change| self.take(change, request.filter))?;
        let now = clock::monotonic();
        self.history.sort(&session.engine, now);
        let (rows, opened) = selected(snapshot.rows, scan, request.filter);
        let gathered = gather::of_rows(&rows, &opened, Some(&session.engine), now);
        let spaces = self.spaces.read(netns(request.filter), request.sysctls, now);
        let watched = now.since(self.began);
        Ok(scene(request, gathered, spaces, self.history, watched))
    }
}

/// Watches for this long, or until a signal, and then looks.
///
/// # Errors
/// Where tracing is refused, or sockets cannot be listed.
pub fn watch(
    request: &Request<'_>,
    settings: &Settings,
    max_connections: usize,
    duration: Duration,
) -> Result<Seen, Failure> {
    runtime()?.block_on(async {
        let mut session = Session::start(settings, max_connections)?;
        session.confine([], false);
        let mut watcher = Watcher::begin(request.filter);
        let deadline = Instant::now() + duration;
        loop {
            let wake = session.wait(Some(deadline)).await;
            session.pump(&mut |change| watcher.take(change, request.filter))?;
            watcher.sort(&session);
            match wake {
                Wake::Tick => {}
                Wake::Stop | Wake::Deadline => break,
            }
        }
        let scene = watcher.scene(&mut session, request)?;
        let mut shortfalls = session.shortfalls();
        let stacks = session.take_book()?.map(|(book, missing)| {
            shortfalls.extend(missing);
            book
        });
        Ok(Seen {
            scene,
            lost: session.lost(),
            shortfalls,
            remarks: Vec::new(),
            stacks,
        })
    })
}

fn netns(filter: &Filter) -> Option<&[u32]> {
    (!filter.netns.is_empty()).then_some(filter.netns.as_slice())
}

/// The rows that the filter wants, and the listeners, which say what came to them.
fn selected(mut rows: Vec<Row>, mut scan: Scan, filter: &Filter) -> (Vec<Row>, Opened) {
    let places = if filter.asks_for_places() {
        places_of(&scan.holders)
    } else {
        Places::default()
    };
    scan.holders.retain(|holder| {
        let only = std::slice::from_ref(holder);
        holder.state != TcpState::Close || is_wanted(filter, &closed_row(holder), only, None, &places)
    });
    let mut opened = Opened::new(scan);
    for row in &rows {
        opened.notice(row);
    }
    rows.retain(|row| {
        let owner = opened.owner(row).map(|(holder, _)| holder);
        let holders = opened.holders(row.sock.cookie);
        row.state == TcpState::Listen || is_wanted(filter, row, holders, owner, &places)
    });
    (rows, opened)
}

fn scene(
    request: &Request<'_>,
    gathered: Gathered,
    spaces: Vec<Space>,
    history: History,
    watched: Nanos,
) -> Scene {
    let Gathered {
        sockets,
        mut processes,
        ..
    } = gathered;
    count_descriptors(&mut processes);
    Scene {
        configured: Vec::new(),
        watched,
        sockets,
        processes,
        spaces,
        history,
        older_than: request.older_than,
    }
}

fn count_descriptors(processes: &mut [Process]) {
    for process in processes {
        process.descriptors = process::descriptors_of(process.key);
    }
}
