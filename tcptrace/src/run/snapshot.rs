//! `tcptrace snapshot`: every socket that exists now, in one pass and without tracing.

use super::{Failure, unless_closed};
use crate::{
    cli::{ReadBy, SnapshotArgs},
    connection::machine::Since,
    connection::table::stamp_time,
    decode::{Holder, Row, SockKind},
    event::{Age, TcpState},
    filter::{Filter, Subject},
    kernel::{clock, loader::Kernel, refusal::Refusal},
    options::{self, Format, Output},
    output::{
        sink::{Sink, SinkError},
        sockets::{self, Socket},
    },
    owner::{holders::Scan, opened::Opened, processes::comm_text},
    source::snapshot::{self, Reader},
};

/// Prints the sockets.
///
/// # Errors
/// Wrong flags, a kernel that refuses, an output that cannot be written.
pub fn run(args: &SnapshotArgs) -> Result<(), Failure> {
    let filter = options::filter(&args.filter, &args.state)?;
    let output = options::output(&args.output);
    let wanted = (!filter.netns.is_empty()).then_some(filter.netns.as_slice());
    let mut kernel = match args.by {
        ReadBy::Auto => Kernel::for_snapshots(),
        ReadBy::Netlink => Err(Refusal::NotAsked),
    };
    let scan = kernel
        .as_mut()
        .map_err(|refusal| refusal.clone())
        .and_then(snapshot::holders);
    let sink = Sink::open(output.file.as_deref()).map_err(Failure::Output)?;
    let mut listing = Listing::new(filter.clone(), output, sink);
    let snapshot = match scan {
        Ok(scan) => {
            listing.opened = Opened::new(scan);
            let reader = match &mut kernel {
                Ok(kernel) => Reader::Iterator(kernel),
                Err(refusal) => Reader::Netlink(refusal.clone()),
            };
            snapshot::visit(reader, wanted, |row| listing.add(&row))?
        }
        Err(refusal) => {
            eprintln!(
                "tcptrace: holders come from /proc, and ages are not known: {}",
                refusal.cause()
            );
            let mut rows = Vec::new();
            let snapshot = snapshot::visit(Reader::Netlink(refusal), wanted, |row| rows.push(row))?;
            listing.opened = Opened::new(snapshot::holders_by_proc(&rows));
            for row in &rows {
                listing.add(row);
            }
            snapshot
        }
    };
    listing.add_closed();
    unless_closed(listing.finish())?;
    for (netns, why) in &snapshot.failures {
        eprintln!("tcptrace: network namespace {netns} could not be read: {why}");
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
    sink: Sink,
    text: String,
    written: Result<(), SinkError>,
}

impl Listing {
    fn new(filter: Filter, output: Output, sink: Sink) -> Self {
        let text = match output.format {
            Format::Text { .. } if output.header => sockets::text_titles(),
            Format::Csv if output.header => sockets::CSV_TITLES.to_owned(),
            Format::Text { .. } | Format::Csv | Format::Json => String::new(),
        };
        Self {
            filter,
            output,
            opened: Opened::new(Scan::default()),
            sink,
            text,
            written: Ok(()),
        }
    }

    fn add(&mut self, row: &Row) {
        self.opened.notice(row);
        let owner = self.opened.owner(row);
        let holders = self.opened.holders(row.sock.cookie);
        if self.written.is_err() || !is_wanted(&self.filter, row, holders, owner.map(|(holder, _)| holder)) {
            return;
        }
        let socket = Socket {
            row,
            age: age(row),
            owner,
            holders,
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
            if !is_wanted(&self.filter, &row, holders, None) {
                continue;
            }
            let socket = Socket {
                row: &row,
                age: None,
                owner: Opened::chosen(holders).map(|holder| (holder, self.opened.evidence())),
                holders,
                error: first.error,
            };
            self.output.format.append(&mut self.text, &socket);
        }
    }

    fn finish(mut self) -> Result<(), SinkError> {
        self.written?;
        self.sink.lines(&self.text)?;
        self.sink.flush()
    }
}

impl Format {
    fn append(self, text: &mut String, socket: &Socket<'_>) {
        match self {
            Self::Text { .. } => sockets::text(text, socket),
            Self::Json => text.push_str(&sockets::json(socket)),
            Self::Csv => sockets::csv(text, socket),
        }
    }
}

fn closed_row(holder: &Holder) -> Row {
    Row {
        time: clock::monotonic(),
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
        expires_in_jiffies: 0,
        idle_jiffies: 0,
        inode: 0,
    }
}

/// Any holder may be the one that is asked for; where nobody holds the socket, the owner of its listener.
fn is_wanted(filter: &Filter, row: &Row, holders: &[Holder], owner: Option<&Holder>) -> bool {
    let by_ends = filter.accepts_ends(&Subject {
        ends: &row.ends,
        netns: row.netns,
        states: &[row.state],
        owner: None,
    });
    let has_process = |holder: &Holder| {
        (filter.pids.is_empty() || filter.pids.contains(&holder.process.pid))
            && (filter.comms.is_empty()
                || filter
                    .comms
                    .iter()
                    .any(|comm| comm_text(&holder.comm).contains(comm.as_str())))
            && (filter.cgroups.is_empty() || filter.cgroups.contains(&holder.cgroup))
    };
    let asks_for_process = !filter.pids.is_empty() || !filter.comms.is_empty() || !filter.cgroups.is_empty();
    by_ends && (!asks_for_process || holders.iter().chain(owner).any(has_process))
}

/// TIME_WAIT's age is in the timewait sock; how old another state is, the kernel does not keep.
fn age(row: &Row) -> Option<Age> {
    let is_stamped =
        row.kind == SockKind::Timewait && row.state == TcpState::TimeWait && row.entry_stamp_ms != 0;
    is_stamped.then(|| Since::At(stamp_time(row.time, row.entry_stamp_ms)).age(clock::monotonic()))
}
