//! Families of what tracing itself does: losses, audits, cost, hooks, versions.

use super::{
    Family,
    catalogue::{
        AUDIT_AGE, AUDIT_COMPARED, AUDIT_DIFFERENCES, BUILD, COLLECTION, CPU, EVICTED, HOOKS, IMPOSSIBLE,
        KERNEL, KERNEL_CPU, KERNEL_TRANSITIONS, LOST_RECORDS, OTLP_DROPPED, OTLP_EXPORTS, OTLP_REJECTED,
        PEAK, RECORDS, REPAIRED_RECORDS, RESIDENT, SCAN_CPU, SCANS, START_TIME, TRACKED, UNDECODED, UNKNOWN,
        UNSEEN, UNSEEN_ENDS,
    },
    seconds,
};
use crate::{
    connection::audit::Audit,
    event::Nanos,
    summary::{Header, LostBy, Summary},
    unseen::{Unseen, What},
    view::Share,
};

/// What a session reports of itself.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) header: Header,
    /// So far.
    pub(crate) summary: Summary,
    /// Lost records that a later snapshot has made up for.
    pub(crate) repaired: u64,
    pub(crate) audit: Option<Audit>,
    pub(crate) unseen: Vec<Unseen>,
    pub(crate) share: Share,
    /// Memory of this process; `None` where it cannot be read.
    pub(crate) resident_bytes: Option<u64>,
    /// Time that the collection before took; `None` of the first.
    pub(crate) collection: Option<Nanos>,
    /// When it was ready, wall time.
    pub(crate) started_wall_ns: u64,
    /// Connections in the table.
    pub(crate) tracked: u64,
    /// Pushes by OTLP, by what is pushed.
    pub(crate) exports: Vec<(&'static str, Exports)>,
    /// Log records that were dropped before they could be pushed; `None` where there are none.
    pub(crate) dropped_logs: Option<u64>,
}

/// What became of pushes by OTLP so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exports {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Data points or log records that the collector rejected of requests that it took.
    pub(crate) rejected: u64,
}

pub(super) fn families(own: &Own, now: Nanos) -> Vec<Family> {
    let summary = &own.summary;
    let mut families = vec![lost(&summary.lost_by)];
    for (what, count) in [
        (&REPAIRED_RECORDS, own.repaired),
        (&RECORDS, summary.events),
        (&UNDECODED, summary.undecoded),
        (&UNKNOWN, summary.unknown),
        (&IMPOSSIBLE, summary.impossible),
        (&EVICTED, summary.evicted),
        (&UNSEEN_ENDS, summary.unseen),
        (&TRACKED, own.tracked),
        (&KERNEL_TRANSITIONS, summary.kernel_transitions),
        (&SCANS, summary.scans.count),
        (&PEAK, summary.usage.peak_memory_bytes),
    ] {
        families.push(Family::single(what, count));
    }
    for (what, span) in [
        (&CPU, summary.usage.cpu_ns),
        (&SCAN_CPU, summary.scans.total_ns),
        (&START_TIME, own.started_wall_ns),
    ] {
        families.push(Family::single(what, seconds(Nanos(span))));
    }
    families.extend(own.resident_bytes.map(|bytes| Family::single(&RESIDENT, bytes)));
    families.extend(own.share.kernel.map(|share| Family::single(&KERNEL_CPU, share)));
    families.extend(
        own.collection
            .map(|span| Family::single(&COLLECTION, seconds(span))),
    );
    if let Some(audit) = &own.audit {
        families.extend([
            Family::single(&AUDIT_COMPARED, audit.compared),
            Family::single(&AUDIT_DIFFERENCES, audit.differences),
            Family::single(&AUDIT_AGE, seconds(now.since(audit.started))),
        ]);
    }
    families.push(unseen(&own.unseen));
    families.extend(exports(&own.exports));
    families.extend(own.dropped_logs.map(|count| Family::single(&OTLP_DROPPED, count)));
    families.extend(versions(&own.header));
    families
}

fn exports(by_signal: &[(&'static str, Exports)]) -> [Family; 2] {
    let [mut requests, mut rejected] = [&OTLP_EXPORTS, &OTLP_REJECTED].map(Family::new);
    for (signal, exports) in by_signal {
        requests.add([(*signal).into(), "success".into()], exports.succeeded);
        requests.add([(*signal).into(), "failure".into()], exports.failed);
        rejected.add([(*signal).into()], exports.rejected);
    }
    [requests, rejected]
}

fn lost(by: &LostBy) -> Family {
    let mut family = Family::new(&LOST_RECORDS);
    for (kind, count) in [
        ("transition", by.transition),
        ("timewait", by.timewait),
        ("request", by.request),
        ("other", by.other),
        ("skipped", by.skipped),
    ] {
        family.add([kind.into()], count);
    }
    family
}

fn unseen(list: &[Unseen]) -> Family {
    let mut family = Family::new(&UNSEEN);
    for (what, name) in [
        (What::NetworkNamespaces, "network-namespaces"),
        (What::Processes, "processes"),
        (What::Holders, "holders"),
        (What::Ages, "ages"),
        (What::Events, "events"),
    ] {
        let count = list.iter().filter(|unseen| unseen.what == what).count() as u64;
        family.add([name.into()], count);
    }
    family
}

fn versions(header: &Header) -> [Family; 3] {
    let [mut build, mut kernel, mut hooks] = [&BUILD, &KERNEL, &HOOKS].map(Family::new);
    build.add([header.version.into()], 1);
    kernel.add([header.kernel.clone().into(), header.machine.clone().into()], 1);
    for (feature, mechanism) in &header.hooks {
        hooks.add([(*feature).into(), (*mechanism).into()], 1);
    }
    [build, kernel, hooks]
}
