//! `tcptrace snapshot`: every socket that exists now, in one pass and without tracing.

use super::{Failure, unless_closed};
use crate::{
    cli::{ReadBy, SnapshotArgs},
    connection::timewait_age,
    decode::{Holder, Row},
    filter::{Filter, Subject},
    kernel::{clock, loader::Kernel, refusal::Refusal},
    options::{self, Format},
    output::{
        sink::Sink,
        sockets::{self, Socket},
    },
    owner::processes::comm_text,
    source::snapshot::{self, Reader},
};
use hashbrown::HashMap;

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
    let holders = by_cookie(held.unwrap_or_default());
    let reader = match &mut kernel {
        Ok(kernel) => Reader::Iterator(kernel),
        Err(refusal) => Reader::Netlink(refusal.clone()),
    };
    let mut sink = Sink::open(output.file.as_deref()).map_err(Failure::Output)?;
    let mut text = match output.format {
        Format::Text { .. } if output.header => sockets::text_titles(),
        Format::Csv if output.header => sockets::CSV_TITLES.to_owned(),
        Format::Text { .. } | Format::Csv | Format::Json => String::new(),
    };
    let mut written = Ok(());
    let snapshot = snapshot::visit(reader, wanted, |row| {
        let held_by = holders.get(&row.sock.cookie).map_or(&[][..], Vec::as_slice);
        if written.is_err() || !is_wanted(&filter, &row, held_by) {
            return;
        }
        let socket = Socket {
            row: &row,
            age: age(&row),
            holders: held_by,
        };
        match output.format {
            Format::Text { .. } => sockets::text(&mut text, &socket),
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

/// Any holder may be the one that is asked for.
fn is_wanted(filter: &Filter, row: &Row, holders: &[Holder]) -> bool {
    let ends_filter = Filter {
        pids: Vec::new(),
        comms: Vec::new(),
        cgroups: Vec::new(),
        ..filter.clone()
    };
    let by_ends = ends_filter.accepts(&Subject {
        ends: &row.ends,
        netns: row.netns,
        states: &[row.state],
        owner: None,
    });
    let by_holder = filter.pids.is_empty() && filter.comms.is_empty()
        || holders.iter().any(|holder| {
            (filter.pids.is_empty() || filter.pids.contains(&holder.process.pid))
                && (filter.comms.is_empty()
                    || filter
                        .comms
                        .iter()
                        .any(|comm| comm_text(&holder.comm).contains(comm.as_str())))
        });
    by_ends && by_holder
}

/// TIME_WAIT's age follows from the timewait sock; how old another state is, the kernel does not keep.
fn age(row: &Row) -> Option<crate::event::Age> {
    Some(timewait_age::entered(row)?.age(clock::monotonic()))
}
