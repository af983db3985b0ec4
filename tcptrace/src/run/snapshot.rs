//! `tcptrace snapshot`: every socket that exists now, in one pass and without tracing.

use super::{
    Failure,
    confine::{self, Extras},
    messages, unless_closed,
};
use crate::{
    cli::SnapshotArgs,
    connection::kept_age,
    decode::{Holder, Row, SockKind},
    event::{Age, TcpState},
    filter::{Candidate, Filter, Subject},
    kernel::{clock, loader::Kernel, refusal::Refusal},
    options::{self, Format, Output},
    outfile::Inputs,
    output::{
        sink::{Sink, SinkError},
        sockets::{self, Places, Socket},
    },
    owner::{holders::Scan, opened::Opened},
    source::{
        cgroups::Cgroups,
        namespaces::{self, Names},
        snapshot::{self, Reader, Wanted},
    },
};
use hashbrown::HashSet;
use std::sync::Arc;

/// Prints the sockets.
///
/// # Errors
/// Wrong flags, a kernel that refuses, an output that cannot be written.
pub fn run(args: &SnapshotArgs) -> Result<(), Failure> {
    let filter = options::filter(&args.filter, &args.state)?;
    let output = options::output(&args.output);
    let wanted = Wanted::of(&filter.netns);
    let sink = Sink::open(output.file.as_deref(), &Inputs::default())?;
    let mut kernel = Kernel::for_snapshots();
    confine::live(output.file.as_deref(), Extras::default());
    let mut listing = Listing::new(filter.clone(), output, sink);
    let files = snapshot::open_holder_iterator(&mut kernel);
    if let Some(warning) = args.sockets.sockets.warning() {
        messages::tell(warning);
    }
    let reader = Reader::without_session(args.sockets.sockets, &mut kernel)?;
    let snapshot = match files {
        Ok(files) => {
            let (snapshot, listed) = snapshot::stream(reader, wanted, |rows| {
                listing.open(snapshot::read_holders(files)?);
                listing.add_all(rows);
                Ok::<(), Refusal>(())
            })?;
            listed?;
            snapshot
        }
        Err(refusal) => {
            messages::tell(format_args!("holders come from /proc: {}", refusal.cause()));
            let mut snapshot = snapshot::sockets(reader, wanted)?;
            let scan = snapshot::holders_by_proc(&snapshot.rows);
            if let Some(shortfall) = scan.shortfall() {
                messages::tell(shortfall);
            }
            listing.open(scan);
            listing.add_all(&mut std::mem::take(&mut snapshot.rows).into_iter());
            snapshot
        }
    };
    listing.add_closed();
    unless_closed(listing.finish())?;
    for shortfall in namespaces::shortfalls(&snapshot.failures) {
        messages::tell(shortfall);
    }
    Ok(())
}

/// How much text is gathered before it is written.
const BATCH_BYTES: usize = 32 << 10;

/// The sockets that are wanted, on their way out.
struct Listing {
    filter: Filter,
    output: Output,
    opened: Opened,
    places: Places,
    names: Names,
    sink: Sink,
    text: String,
    written: Result<(), SinkError>,
}

impl Listing {
    fn new(filter: Filter, output: Output, sink: Sink) -> Self {
        let text = match output.format {
            Format::Text { wide } if output.header => sockets::text_titles(wide),
            Format::Csv if output.header => sockets::CSV_TITLES.to_owned(),
            Format::Text { .. } | Format::Csv | Format::Json => String::new(),
        };
        Self {
            filter,
            output,
            opened: Opened::default(),
            places: Places::default(),
            names: Names::default(),
            sink,
            text,
            written: Ok(()),
        }
    }

    /// Takes in who holds which socket, and where those run if anybody asks.
    fn open(&mut self, scan: Scan) {
        let is_narrow = self.output.format == Format::Text { wide: false };
        if !is_narrow || self.filter.asks_for_places() {
            self.places = places_of(&scan.holders);
        }
        self.opened = Opened::new(scan);
    }

    /// Stops where the output takes no more.
    fn add_all(&mut self, rows: &mut dyn Iterator<Item = Row>) {
        for row in rows {
            self.add(&row);
            if self.written.is_err() {
                return;
            }
        }
    }

    fn add(&mut self, row: &Row) {
        self.opened.notice(row);
        let owner = self.opened.owner(row);
        let holders = self.opened.holders(row.sock.cookie);
        let named = owner.map(|(holder, _)| holder);
        if !is_wanted(&self.filter, row, holders, named, &self.places) {
            return;
        }
        let socket = Socket {
            row,
            age: age(row),
            owner,
            holders,
            places: &self.places,
            netns_name: self.names.of(row.netns, row.time),
            error: 0,
        };
        self.output.format.append(&mut self.text, &socket);
        if self.text.len() > BATCH_BYTES {
            self.written = self.sink.lines(&self.text);
            self.text.clear();
        }
    }

    /// Sockets that are CLOSE and still open, which no table of the kernel's has: where they are asked for.
    fn add_closed(&mut self) {
        if !self.filter.states.contains(&TcpState::Close) {
            return;
        }
        for holders in self.opened.closed() {
            let Some(first) = holders.first() else { continue };
            let row = closed_row(first);
            if !is_wanted(&self.filter, &row, holders, None, &self.places) {
                continue;
            }
            let socket = Socket {
                row: &row,
                age: None,
                owner: Opened::chosen(holders).map(|holder| (holder, self.opened.evidence())),
                holders,
                places: &self.places,
                netns_name: self.names.of(row.netns, row.time),
                error: first.error,
            };
            self.output.format.append(&mut self.text, &socket);
        }
    }

    fn finish(mut self) -> Result<(), SinkError> {
        self.written?;
        self.sink.lines(&self.text)?;
        self.sink.finish()
    }
}

impl Format {
    fn append(self, text: &mut String, socket: &Socket<'_>) {
        match self {
            Self::Text { wide } => sockets::text(text, socket, wide),
            Self::Json => text.push_str(&sockets::json(socket)),
            Self::Csv => sockets::csv(text, socket),
        }
    }
}

pub(super) fn closed_row(holder: &Holder) -> Row {
    Row {
        time: clock::monotonic(),
        read_by: clock::monotonic(),
        sock: crate::event::SockRef {
            cookie: holder.cookie,
            address: 0,
        },
        ends: holder.ends,
        netns: holder.netns,
        kind: SockKind::Full,
        state: TcpState::Close,
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

/// Any holder may be the one that is asked for; where nobody holds the socket, the owner of its listener.
pub(super) fn is_wanted(
    filter: &Filter,
    row: &Row,
    holders: &[Holder],
    owner: Option<&Holder>,
    places: &Places,
) -> bool {
    let by_ends = filter.accepts_ends(&Subject {
        ends: &row.ends,
        netns: row.netns,
        states: &[row.state],
        owner: None,
    });
    let is_meant = |holder: &Holder| {
        filter.accepts_process(&Candidate {
            key: holder.process,
            comm: &holder.comm,
            cgroup: holder.cgroup,
            place: places.get(&holder.process).map(Arc::as_ref),
        })
    };
    by_ends && (!filter.asks_for_processes() || holders.iter().chain(owner).any(is_meant))
}

/// Where the holders run, asked once for each process.
pub(super) fn places_of(holders: &[Holder]) -> Places {
    let mut cgroups = Cgroups::of_this_host();
    let now = clock::monotonic();
    let mut asked = HashSet::new();
    holders
        .iter()
        .filter(|holder| asked.insert(holder.process))
        .filter_map(|holder| {
            let place = cgroups.place(holder.process, holder.cgroup, now)?;
            Some((holder.process, place))
        })
        .collect()
}

/// How old a state is, as far as the kernel keeps that.
fn age(row: &Row) -> Option<Age> {
    Some(kept_age::entered(row)?.age(clock::monotonic()))
}
