//! `tcptrace snapshot`: every socket that exists now, in one pass and without tracing.

use super::{Failure, unless_closed};
use crate::{
    cli::{ReadBy, SnapshotArgs},
    connection::machine::Since,
    connection::table::stamp_time,
    decode::{Holder, Row, SockKind},
    event::TcpState,
    filter::{Candidate, Filter, Subject},
    kernel::{clock, loader::Kernel, refusal::Refusal},
    options::{self, Format},
    output::{
        sink::Sink,
        sockets::{self, Places, Socket},
    },
    source::{
        cgroups::Cgroups,
        namespaces::Names,
        snapshot::{self, Reader},
    },
};
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

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
    let held = kernel
        .as_mut()
        .map_err(|refusal| refusal.clone())
        .and_then(snapshot::holders);
    if let Err(refusal) = &held {
        eprintln!("tcptrace: holders and ages are not known: {}", refusal.cause());
    }
    let held = held.unwrap_or_default();
    let is_narrow = output.format == Format::Text { wide: false };
    let places = if is_narrow && !filter.asks_for_places() {
        Places::default()
    } else {
        places_of(&held)
    };
    let mut names = Names::default();
    let holders = by_cookie(held);
    let reader = match &mut kernel {
        Ok(kernel) => Reader::Iterator(kernel),
        Err(refusal) => Reader::Netlink(refusal.clone()),
    };
    let mut sink = Sink::open(output.file.as_deref()).map_err(Failure::Output)?;
    let mut text = match output.format {
        Format::Text { wide } if output.header => sockets::text_titles(wide),
        Format::Csv if output.header => sockets::CSV_TITLES.to_owned(),
        Format::Text { .. } | Format::Csv | Format::Json => String::new(),
    };
    let mut written = Ok(());
    let snapshot = snapshot::visit(reader, wanted, |row| {
        let held_by = holders.get(&row.sock.cookie).map_or(&[][..], Vec::as_slice);
        if written.is_err() || !is_wanted(&filter, &row, held_by, &places) {
            return;
        }
        let socket = Socket {
            row: &row,
            age: age(&row),
            holders: held_by,
            places: &places,
            netns_name: names.of(row.netns, row.time),
        };
        match output.format {
            Format::Text { wide } => sockets::text(&mut text, &socket, wide),
            Format::Json => text.push_str(&sockets::json(&socket)),
            Format::Csv => sockets::csv(&mut text, &socket),
        }
        if text.len() > BATCH_BYTES {
            written = sink.lines(&text);
            text.clear();
        }
    })?;
    unless_closed(
        written
            .and_then(|()| sink.lines(&text))
            .and_then(|()| sink.flush()),
    )?;
    for (netns, why) in &snapshot.failures {
        eprintln!("tcptrace: network namespace {netns} could not be read: {why}");
    }
    Ok(())
}

/// How much text is gathered before it is written.
const BATCH_BYTES: usize = 32 << 10;

fn by_cookie(holders: Vec<Holder>) -> HashMap<u64, Vec<Holder>> {
    let mut map: HashMap<u64, Vec<Holder>> = HashMap::new();
    for holder in holders {
        map.entry(holder.cookie).or_default().push(holder);
    }
    map
}

/// Where the holders run, asked once for each process.
fn places_of(holders: &[Holder]) -> Places {
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

/// Any holder may be the one that is asked for.
fn is_wanted(filter: &Filter, row: &Row, holders: &[Holder], places: &Places) -> bool {
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
    by_ends && (!filter.asks_for_processes() || holders.iter().any(is_meant))
}

/// TIME_WAIT's age is in the timewait sock; how old another state is, the kernel does not keep.
fn age(row: &Row) -> Option<crate::event::Age> {
    let is_stamped =
        row.kind == SockKind::Timewait && row.state == TcpState::TimeWait && row.entry_stamp_ms != 0;
    is_stamped.then(|| Since::At(stamp_time(row.time, row.entry_stamp_ms)).age(clock::monotonic()))
}
