//! Ports towards one destination: who has them, how many are left, and for how long.

use super::{
    RULE, level_of,
    usage::{Taken, Usable, reuses},
};
use crate::{
    duration::human,
    event::Nanos,
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        history::{Destination, OfDestination},
        scene::{Netns, Scene},
        slope::Slope,
        waiting,
    },
    plural::{counted, is, was},
};
use std::{ops::RangeInclusive, time::Duration};

/// How long a TIME_WAIT keeps its port, seconds.
const TIME_WAIT: f64 = 60.0;

/// Maximum number of processes named.
const PROCESSES: usize = 3;

/// How many ports `connect` may choose for the sockets towards a destination.
pub(super) fn available(taken: &Taken, usable: &Usable) -> usize {
    Supply::of(taken, usable).available
}

/// What there is for the sockets towards one destination.
struct Supply {
    /// Number of ports that `connect` may choose for them.
    available: usize,
    /// The range that the program has set, if all of them have one.
    own: Option<RangeInclusive<u16>>,
}

impl Supply {
    fn of(taken: &Taken, usable: &Usable) -> Self {
        let own = taken.own_range(&usable.range);
        Self {
            available: own
                .as_ref()
                .map_or_else(|| usable.count(), |own| usable.count_in(own)),
            own,
        }
    }
}

/// `usable` are the ports of the namespace that `connect` may choose.
pub(super) fn finding(
    scene: &Scene,
    destination: &Destination,
    taken: &Taken,
    usable: &Usable,
) -> Option<Finding> {
    let namespace = scene.namespace(destination.netns)?;
    let supply = Supply::of(taken, usable);
    let available = supply.available;
    let blocked = taken.blocked();
    let of = scene.history.by_destination.get(destination);
    let failed = of.map_or(0, |of| of.without_port);
    let level = if failed > 0 {
        Level::Critical
    } else {
        level_of(blocked, available)?
    };
    // What was in use at any time of the watch; ports of one program's own range are far fewer than the host's.
    let most = of.map_or(0, |of| of.in_use.most()).max(taken.ports.len() as u64);
    let is_full = level_of(usize::try_from(most).unwrap_or(usize::MAX), available).is_some();
    if failed > 0 && most > 0 && !is_full {
        return Some(narrowed(scene, destination, taken, &supply, failed));
    }
    let free = available.saturating_sub(blocked);
    let mut evidence = evidence(scene, destination, taken, &supply);
    let text = format!("{} {} left for this destination", counted(free, "port"), is(free));
    evidence.insert(1, Evidence::new("ports_left", free, text));
    let whose = match &supply.own {
        Some(own) => format!("of {available} local ports from {} to {}", own.start(), own.end()),
        None => format!("of {available} local ports"),
    };
    let title = if failed > 0 {
        format!(
            "connect failed {} because no port was free",
            counted(failed, "time")
        )
    } else {
        format!("{blocked} {whose} are in use")
    };
    Some(Finding {
        rule: RULE.id,
        level,
        subject: subject(destination),
        title,
        evidence,
        meaning: "to this address and port every connection needs a local port of its own, and keeps it for another 60 s \
            if this side closes first; without one, connect fails with EADDRNOTAVAIL, \"Cannot assign requested address\""
            .to_owned(),
        remedy: remedy(namespace, destination, taken, &supply),
        weight: blocked.figure(),
    })
}

const fn subject(destination: &Destination) -> Subject {
    Subject::Destination {
        netns: destination.netns,
        addr: destination.remote,
        port: Some(destination.port),
    }
}

/// A `connect` that found no port while most were free, for a reason that the sockets do not show.
fn narrowed(
    scene: &Scene,
    destination: &Destination,
    taken: &Taken,
    supply: &Supply,
    failed: u64,
) -> Finding {
    let mut evidence = evidence(scene, destination, taken, supply);
    if let (Some(low), Some(high)) = (taken.ports.iter().min(), taken.ports.iter().max()) {
        evidence.push(Evidence::new(
            "port_range_in_use",
            usize::from(high - low) + 1,
            format!("they lie between {low} and {high}"),
        ));
    }
    Finding {
        rule: RULE.id,
        level: Level::Critical,
        subject: subject(destination),
        title: format!(
            "connect failed {} because no port was free, although only {} of {} are in use",
            counted(failed, "time"),
            taken.ports.len(),
            supply.available,
        ),
        evidence,
        meaning: "the host has free ports for this destination, so the program limits its own range (IP_LOCAL_PORT_RANGE), or \
            other sockets are bound to the rest"
            .to_owned(),
        remedy: "widen the range that the program sets by IP_LOCAL_PORT_RANGE (Linux 6.3), or keep connections open and reuse \
            them; net.ipv4.ip_local_port_range is not the limit here"
            .to_owned(),
        weight: failed.figure(),
    }
}

fn evidence(scene: &Scene, destination: &Destination, taken: &Taken, supply: &Supply) -> Vec<Evidence> {
    let available = supply.available;
    let free = available.saturating_sub(taken.blocked());
    let mut list = vec![Evidence::new(
        "ports_in_use",
        taken.ports.len(),
        format!(
            "from {}: {} of {available} ports in use, {} of them in TIME_WAIT, {} of which connect may reuse",
            destination.local,
            taken.ports.len(),
            taken.time_waits,
            taken.reusable
        ),
    )];
    if let Some(own) = &supply.own {
        let text = format!(
            "the program limits its ports to {} to {} (IP_LOCAL_PORT_RANGE)",
            own.start(),
            own.end()
        );
        list.push(Evidence::new("own_port_range", own.len(), text));
    }
    list.extend(processes(scene, taken));
    let Some(of) = scene.history.by_destination.get(destination) else {
        return list;
    };
    if of.without_port > 0 {
        list.push(Evidence::new(
            "connects_without_free_port",
            of.without_port,
            format!(
                "{} to connect found no free port in {}",
                counted(of.without_port, "call"),
                human(scene.watched)
            ),
        ));
    }
    let rate = of.connects.figure() / scene.seconds().max(1e-9);
    let sustainable = available.figure() / TIME_WAIT;
    list.push(Evidence::new(
        "connects_per_second",
        rate,
        format!("{rate:.1} connects a second; {sustainable:.1} are sustainable if each leaves a TIME_WAIT"),
    ));
    if of.reused > 0 {
        let text = format!(
            "{} {} reused by connect in {}",
            counted(of.reused, "TIME_WAIT"),
            was(of.reused),
            human(scene.watched)
        );
        list.push(Evidence::new("time_waits_reused", of.reused, text));
    }
    if let Some(left) = time_left(of, rate, free, available) {
        list.push(Evidence::new(
            "exhausted_in_seconds",
            waiting::seconds(left),
            format!("none will be left in {} at this growth", human(left)),
        ));
    }
    if let Some(process) = of.process {
        let subject = scene.process_subject(process);
        list.push(Evidence::new(
            "pid",
            u64::from(process.pid),
            format!("opened by {subject}"),
        ));
    }
    list
}

/// Who has the ports, those with the most first.
fn processes(scene: &Scene, taken: &Taken) -> Vec<Evidence> {
    let largest = scene.largest(&taken.by_process, PROCESSES).into_iter();
    largest
        .map(|(process, count)| {
            let text = format!("{count} of {} ({})", process.comm, process.key.pid);
            Evidence::new("ports_of_process", count, text)
        })
        .collect()
}

/// `None` where use will level off before the ports are gone: after a minute as many TIME_WAITs end as are made.
fn time_left(of: &OfDestination, rate: f64, free: usize, available: usize) -> Option<Nanos> {
    let growth = of.in_use.per_minute().filter(Slope::is_rising)?;
    if rate * TIME_WAIT < available.figure() {
        return None;
    }
    let left = Duration::try_from_secs_f64(free.figure() / growth.per_unit * 60.0).ok()?;
    Some(Nanos(u64::try_from(left.as_nanos()).ok()?))
}

fn remedy(namespace: &Netns, destination: &Destination, taken: &Taken, supply: &Supply) -> String {
    let mut text = "keep connections open and reuse them: keep-alive, or a pool".to_owned();
    let is_loopback = destination.remote.is_loopback();
    if taken.time_waits * 2 > taken.ports.len() && !reuses(namespace, is_loopback) {
        text.push_str(
            "; until then net.ipv4.tcp_tw_reuse=1 (with timestamps on both sides) lets connect take a port after a second \
             of TIME_WAIT",
        );
    }
    if supply.own.is_some() {
        text.push_str(
            "; widen the range that the program sets by IP_LOCAL_PORT_RANGE: the host's is not the limit",
        );
    } else if namespace.ports().len() < 28_232 {
        text.push_str("; net.ipv4.ip_local_port_range is narrower than the kernel's default, 32768 60999");
    }
    text
}
