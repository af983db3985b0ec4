//! `tcptrace snapshot`: every socket that exists now, in one pass and without tracing.

use super::{
    Answer, Failure,
    confine::{self, Extras},
    ignore_broken_pipe, messages, services,
};
use crate::{
    cli::SnapshotArgs,
    connection::kernel_age,
    event::{Age, TcpState},
    filter::{Candidate, Filter, FilterInput},
    kernel::{clock, loader::Kernel, plan::SocketReader, refusal::Refusal},
    options::{self, Format, Output, UsageError},
    outfile::Inputs,
    output::{
        self,
        sink::{Sink, SinkError},
        sockets::{Locations, Socket, SocketColumn, SocketFormat, SortedLines},
    },
    owner::opened::Opened,
    socket::{
        Holder, Listed, Row, SockKind,
        network::Network,
        scan::{Keeper, Scan},
        snapshot::{Snapshot, leave_first_paths},
    },
    source::{
        cgroups::Cgroups,
        namespaces::Names,
        sight,
        snapshot::{self, Reader, Wanted},
    },
    unseen::{Unseen, What},
};
use hashbrown::HashSet;
use std::sync::Arc;

/// Prints the sockets.
///
/// # Errors
/// Wrong flags, a kernel that refuses, an output that cannot be written.
pub(crate) fn run(args: &SnapshotArgs) -> Result<Answer, Failure> {
    let filter = options::filter(&args.filter, &args.state)?;
    options::require_present(&filter)?;
    let output = options::output(&args.output);
    let ports = services(&args.output.ports, output.is_text())?;
    let format = SocketFormat::new(output.format, columns(&args.columns)?);
    let sorted = args
        .sort
        .as_deref()
        .map(|name| column("--sort", name).map(SortedLines::by))
        .transpose()?;
    let wanted = Wanted {
        network: format.shows_network() || sorted.as_ref().is_some_and(SortedLines::needs_network),
        ..Wanted::of(&filter.netns)
    };
    let sink = Sink::open(output.file.as_deref(), &Inputs::default())?
        .shown(output.is_text())
        .naming(ports);
    let mut kernel = Kernel::for_snapshots();
    confine::live(output.file.as_deref(), Extras::default());
    let mut listing = Listing::new(filter.clone(), output, format, sorted, sink);
    let files = snapshot::open_holder_iterator(&mut kernel);
    if let Some(warning) = args.sockets.sockets.warning() {
        messages::tell(warning);
    }
    let sockets = args.sockets.sockets;
    let reader = Reader::without_session(sockets, &mut kernel)?;
    let mut unseen = Vec::new();
    let (mut snapshot, keepers) = match files {
        Ok(files) => {
            let (snapshot, listed) = snapshot::stream(reader, wanted, |found| {
                let scan = snapshot::read_holders(files)?;
                let keepers = scan.keepers();
                listing.open(scan);
                listing.add_all(found);
                Ok::<_, Refusal>(keepers)
            })?;
            (snapshot, listed?)
        }
        Err(refusal) => {
            messages::tell(format_args!("holders come from /proc: {}", refusal.cause()));
            let (mut snapshot, mut found) = snapshot::listed(reader, wanted)?;
            let mut scan = snapshot::holders_by_proc(&rows(&found));
            let keepers = scan.keepers();
            if let Some((more, listed)) = missed(&snapshot, &keepers, wanted, sockets, &mut kernel)? {
                snapshot.add(more);
                found.extend(listed);
                scan = snapshot::holders_by_proc(&rows(&found));
            }
            unseen.extend(sight::of_holders(&scan));
            listing.open(scan);
            listing.add_all(&mut found.into_iter());
            (snapshot, keepers)
        }
    };
    if let Some((more, found)) = missed(&snapshot, &keepers, wanted, sockets, &mut kernel)? {
        listing.add_all(&mut found.into_iter());
        snapshot.add(more);
    }
    listing.add_paths(&snapshot);
    listing.add_closed();
    unseen.extend(sight::of_sockets(&snapshot, wanted.netns));
    // What was requested by name is answered completely or not at all.
    let is_asked_for = |unseen: &Unseen| wanted.netns.is_some() && unseen.what == What::NetworkNamespaces;
    let is_answered = listing.count > 0 && !unseen.iter().any(is_asked_for);
    let answer = Answer::of(false, is_answered || unseen.is_empty());
    ignore_broken_pipe(listing.finish(&unseen))?;
    Ok(answer)
}

/// The sockets of the namespaces that only open files lead to, where there are such.
fn missed(
    snapshot: &Snapshot,
    keepers: &[Keeper],
    wanted: Wanted<'_>,
    sockets: SocketReader,
    kernel: &mut Result<Kernel, Refusal>,
) -> Result<Option<(Snapshot, Vec<Listed>)>, Refusal> {
    let missed = snapshot.missed(keepers, wanted.netns);
    if missed.is_empty() {
        return Ok(None);
    }
    let wanted = Wanted {
        keepers,
        network: wanted.network,
        ..Wanted::of(&missed)
    };
    snapshot::listed(Reader::without_session(sockets, kernel)?, wanted).map(Some)
}

fn rows(found: &[Listed]) -> Vec<Row> {
    found.iter().map(|socket| socket.row).collect()
}

/// The columns with these names.
fn columns(names: &[String]) -> Result<Vec<SocketColumn>, UsageError> {
    names.iter().map(|name| column("--columns", name)).collect()
}

fn column(flag: &'static str, name: &str) -> Result<SocketColumn, UsageError> {
    SocketColumn::all()
        .find(|column| column.name == name)
        .ok_or_else(|| {
            let known: Vec<&str> = SocketColumn::all().map(|column| column.name).collect();
            options::unknown_column(flag, name, &known)
        })
}

/// How much text is gathered before it is written.
const BATCH_BYTES: usize = 32 << 10;

/// The selected sockets, on their way to the output.
struct Listing {
    filter: Filter,
    output: Output,
    format: SocketFormat,
    sorted: Option<SortedLines>,
    opened: Opened,
    /// The kernel's sockets that may be paths of a program's MPTCP socket, and who has such sockets open.
    paths: Vec<Listed>,
    mptcp: Scan,
    locations: Locations,
    names: Names,
    sink: Sink,
    text: String,
    count: usize,
    written: Result<(), SinkError>,
}

impl Listing {
    fn new(
        filter: Filter,
        output: Output,
        format: SocketFormat,
        sorted: Option<SortedLines>,
        sink: Sink,
    ) -> Self {
        let titles = output.header.then(|| format.titles());
        Self {
            filter,
            output,
            format,
            sorted,
            opened: Opened::default(),
            paths: Vec::new(),
            mptcp: Scan::default(),
            locations: Locations::default(),
            names: Names::default(),
            sink,
            text: titles.unwrap_or_default(),
            count: 0,
            written: Ok(()),
        }
    }

    /// Takes in who holds which socket, and where those run if anybody asks.
    fn open(&mut self, mut scan: Scan) {
        let sorts_by_location = self.sorted.as_ref().is_some_and(SortedLines::needs_locations);
        if self.format.shows_locations() || sorts_by_location || self.filter.asks_for_locations() {
            self.locations = locations_of(&scan.holders);
        }
        let mptcp = scan.holders.extract_if(.., |holder| holder.is_mptcp);
        self.mptcp.holders = mptcp.collect();
        self.opened = Opened::new(scan);
    }

    /// Stops where the output takes no more.
    fn add_all(&mut self, found: &mut dyn Iterator<Item = Listed>) {
        for socket in found {
            if socket.row.is_kernel_socket {
                self.paths.push(socket);
            } else {
                self.add(&socket);
            }
            if self.written.is_err() {
                return;
            }
        }
    }

    /// Adds what had to wait until it was known who holds it.
    fn add_paths(&mut self, snapshot: &Snapshot) {
        let mut paths = std::mem::take(&mut self.paths);
        if paths.is_empty() || self.written.is_err() {
            return;
        }
        leave_first_paths(paths.iter_mut().map(|path| &mut path.row), &snapshot.mptcp);
        let mut scan = std::mem::take(&mut self.mptcp);
        snapshot::find_paths(&mut scan, &rows(&paths));
        self.opened.add(scan);
        for path in &paths {
            self.add(path);
        }
    }

    fn add(&mut self, Listed { row, network }: &Listed) {
        let row = &Row {
            is_kernel_socket: self.opened.is_kernel_s(row),
            ..*row
        };
        self.opened.notice(row);
        let owner = self.opened.owner(row);
        let holders = self.opened.holders(row.sock.cookie);
        let named = owner.map(|(holder, _)| holder);
        if !is_wanted(&self.filter, row, holders, named, &self.locations) {
            return;
        }
        // Netlink does not report the options; whoever scans the open files reads them.
        let of_holder = holders.iter().find_map(|holder| holder.options);
        let network = &Network {
            options: network.options.or(of_holder),
            ..*network
        };
        let socket = Socket {
            row,
            network,
            age: age(row),
            owner,
            holders,
            locations: &self.locations,
            netns_name: self.names.of(row.netns, row.time),
            error: 0,
        };
        push(&self.format, &mut self.sorted, &mut self.text, &socket);
        self.count += 1;
        if self.text.len() > BATCH_BYTES {
            self.written = self.sink.lines(&self.text);
            self.text.clear();
        }
    }

    /// Open sockets in CLOSE, which are in none of the kernel's tables: if requested.
    fn add_closed(&mut self) {
        if !self.filter.states.contains(&TcpState::Close) {
            return;
        }
        for holders in self.opened.closed() {
            let Some(first) = holders.first() else { continue };
            let row = closed_row(first);
            if !is_wanted(&self.filter, &row, holders, None, &self.locations) {
                continue;
            }
            let socket = Socket {
                row: &row,
                network: &Network::default(),
                age: None,
                owner: Opened::chosen(holders).map(|holder| (holder, self.opened.evidence())),
                holders,
                locations: &self.locations,
                netns_name: self.names.of(row.netns, row.time),
                error: first.error,
            };
            push(&self.format, &mut self.sorted, &mut self.text, &socket);
            self.count += 1;
        }
    }

    /// Ends the list with what could not be seen; for formats that cannot contain it, on standard error.
    fn finish(mut self, unseen: &[Unseen]) -> Result<(), SinkError> {
        self.written?;
        if let Some(sorted) = self.sorted {
            self.text.push_str(&sorted.finish());
        }
        match self.output.format {
            _ if unseen.is_empty() => {}
            Format::Text { .. } if self.output.header => output::unseen::push(&mut self.text, unseen),
            Format::Text { .. } | Format::Csv | Format::Json => {
                for unseen in unseen {
                    messages::tell(format_args!("not seen: {}", unseen.text));
                }
            }
        }
        if self.output.format == Format::Json && !unseen.is_empty() {
            self.text.push_str(&output::unseen::summary(self.count, unseen));
        }
        self.sink.lines(&self.text)?;
        self.sink.finish()
    }
}

/// Adds a socket to the lines that are sorted at the end, else to the text.
fn push(format: &SocketFormat, sorted: &mut Option<SortedLines>, text: &mut String, socket: &Socket<'_>) {
    match sorted {
        Some(sorted) => sorted.push(format, socket),
        None => format.push(text, socket),
    }
}

pub(super) fn closed_row(holder: &Holder) -> Row {
    Row::bare(
        clock::monotonic(),
        crate::event::SockRef {
            cookie: holder.cookie,
            address: 0,
        },
        holder.endpoints,
        holder.netns,
        SockKind::Full,
        TcpState::Close,
    )
}

/// Matches any holder; without a holder, the owner of the listener.
pub(super) fn is_wanted(
    filter: &Filter,
    row: &Row,
    holders: &[Holder],
    owner: Option<&Holder>,
    locations: &Locations,
) -> bool {
    let by_ends = filter.accepts_ends(&FilterInput {
        endpoints: &row.endpoints,
        netns: row.netns,
        states: &[row.state],
        owner: None,
    });
    let is_meant = |holder: &Holder| is_meant(filter, holder, locations);
    by_ends && (!filter.asks_for_processes() || holders.iter().chain(owner).any(is_meant))
}

/// Whether the filter selects the holder's process.
pub(super) fn is_meant(filter: &Filter, holder: &Holder, locations: &Locations) -> bool {
    filter.accepts_process(&Candidate {
        key: holder.process,
        comm: &holder.comm,
        uid: holder.uid,
        cgroup: holder.cgroup,
        location: locations.get(&holder.process).map(Arc::as_ref),
    })
}

/// Where the holders run, asked once for each process.
pub(super) fn locations_of(holders: &[Holder]) -> Locations {
    let mut cgroups = Cgroups::of_this_host();
    let now = clock::monotonic();
    let mut asked = HashSet::new();
    holders
        .iter()
        .filter(|holder| asked.insert(holder.process))
        .filter_map(|holder| {
            let location = cgroups.location(holder.process, holder.cgroup, now)?;
            Some((holder.process, location))
        })
        .collect()
}

/// How old a state is, as far as the kernel keeps that.
fn age(row: &Row) -> Option<Age> {
    Some(kernel_age::entered(row)?.age(clock::monotonic()))
}
