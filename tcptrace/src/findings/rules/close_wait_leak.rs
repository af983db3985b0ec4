//! Sockets in CLOSE_WAIT that their program does not close.

use super::Rule;
use crate::{
    duration::human,
    event::Nanos,
    findings::{
        Evidence, Finding, Level,
        leak::{self, Endpoint, Leak, Threshold},
        scene::{Carrier, Scene},
    },
    plural::{counted, is},
};
use std::time::Duration;

/// `close-wait-leak`
pub static RULE: Rule = Rule {
    id: "close-wait-leak",
    title: "a process forgets to close sockets that its peers have closed",
    fires: "A process has at least one socket in CLOSE_WAIT for longer than a threshold, and for ten seconds has not sent
anything that the peer acknowledged. The threshold is `--older-than`, if given. Otherwise, after a watch in which the process
closed at least 50 of its CLOSE_WAITs itself, it is the greatest of ten times their 99th percentile, twice the longest, and
five seconds; else 60 s.

Answers to keep-alive probes do not count as use of the connection. Once the peer's kernel has forgotten the connection, it
answers by RST, and the socket goes to CLOSE with EPIPE and stays open: this is the same leak, and its age counts from
CLOSE_WAIT on. A single snapshot does not show that age; ten such sockets of a process are then required. Answers to probes
also hide the age of a CLOSE_WAIT from before the watch, which is then known to be at least as old as the watch.

It is a note for fewer than ten sockets whose number does not grow, else a warning. It is critical if descriptors run out
within an hour, or nine tenths of them are used.

Growth is counted every second during the watch, of sockets that have been in CLOSE_WAIT for two seconds. If the counts
are inconclusive, as for a leak of one per hour, it is derived from the ages of at least eight leaked sockets that appeared
over ten seconds or more. Growth has ended after a pause more than twice as long as every earlier one, if fewer sockets
appeared since than that rate predicts. It is zero if within twice its error, and without growth there is no forecast.",
    means: "The peer has sent its FIN. The kernel waits indefinitely for the program to call `close`. Each such socket keeps
a file descriptor; at the limit `accept`, `open` and `socket` fail with EMFILE, \"Too many open files\".

The kernel's own counters say why: `rcv_nxt - copied_seq`, which `ss` shows as Recv-Q.

| Recv-Q | verdict | look for |
| --- | --- | --- |
| 0 | read everything and has not closed | a path that returns without `close`: an exception, an early return, a response body not closed |
| 1 | end of file never read | nothing reads: a pool that keeps stale connections, a thread that waits for something else |
| more | data unread | a reader that has stalled |
| a few, received long after the program last sent | late data unread, such as TLS's `close_notify` | nothing reads: an idle pool |
| the same for an accepted connection | short data and end of file unread | late data as above, or a request and a stalled reader |
| any, and no process has a descriptor | no process has it open | a message in flight (SCM_RIGHTS) whose receiver is stuck, or an io_uring; processes that have one are named. Or the kernel uses it, as for NFS |
| 1, and another program listens there | inherited, never accepted by this program | a descriptor without FD_CLOEXEC in the program that accepted it, which is named |
| CLOSE with EPIPE | reset since, and still open | as for 0 and 1 |
| no owner | never accepted | a program that does not call `accept` any more |
| unknown | not closed | a path that returns without `close`; no kernel reports Recv-Q of MPTCP sockets, and of a recording only its snapshots have it |

An MPTCP socket has a state of its own, different from those of its subflows, which the peer keeps open for a while.",
    remedy: "Only the program can fix it: it must close. Find the socket by its descriptor (`lsof -p PID -a -d FD`, or in a
debugger), and the code path by the verdict. A restart releases the descriptors, and so does, for one socket,
`ss --kill state close-wait` where the kernel has `CONFIG_INET_DIAG_DESTROY`.

No sysctl helps. Keep-alive does not: the peer's kernel answers its probes, or has already forgotten the connection and
resets it, and either way the descriptor stays open. `tcp_fin_timeout` is about FIN_WAIT2.",
    spares: "CLOSE_WAITs younger than the threshold, as in a slow service or a burst that drains; half-closed connections that
are in use, whose peers still acknowledge what is sent; the kernel's own sockets. `leaks` reports the younger ones, and those
past the threshold that wait for their peer: this program has read everything, and the peer, on this host, is open in FIN_WAIT2; the
peer has closed its window; it does not acknowledge what was sent.",
    check,
};

/// Fewer than this, and not growing: a note.
const MANY: usize = 10;

/// It is critical if descriptors run out within this time.
const SOON: Nanos = Nanos::from_secs(3600);

/// Endpoints named.
const ENDPOINTS: usize = 3;

fn check(scene: &Scene) -> Vec<Finding> {
    leak::leaks(scene).iter().map(finding).collect()
}

/// The finding of a leak.
#[must_use]
pub fn finding(leak: &Leak<'_>) -> Finding {
    let count = leak.sockets.len();
    let verdicts = leak.verdicts();
    let remedies: Vec<&str> = verdicts
        .iter()
        .map(|(verdict, _)| verdict.remedy(leak.is_accepted()))
        .collect();
    Finding {
        rule: RULE.id,
        level: level(leak),
        title: title(leak),
        evidence: evidence(leak),
        meaning: meaning(leak),
        remedy: remedies.join("; "),
        weight: crate::findings::Figure::figure(count),
        subject: leak.subject(),
    }
}

fn title(leak: &Leak<'_>) -> String {
    let (count, reset) = (leak.sockets.len(), leak.reset());
    let (age, oldest) = (human(leak.threshold.age()), human(leak.oldest()));
    match reset {
        0 => format!(
            "{} in CLOSE_WAIT for longer than {age}, the oldest for {oldest}",
            sockets(count)
        ),
        _ if reset == count => format!(
            "{} closed by their peers, since reset, and still open",
            sockets(count)
        ),
        _ => format!(
            "{}: {} in CLOSE_WAIT for longer than {age}, the oldest for {oldest}, and {reset} since reset and still open",
            sockets(count),
            count - reset
        ),
    }
}

fn level(leak: &Leak<'_>) -> Level {
    let descriptors = leak.process.and_then(|process| process.descriptors);
    let is_nearly_full = descriptors.is_some_and(|fds| fds.used * 10 >= fds.limit * 9);
    if is_nearly_full || leak.exhausted_in.is_some_and(|left| left < SOON) {
        Level::Critical
    } else if leak.sockets.len() >= MANY || leak.growth.is_some_and(|growth| growth.per_minute.is_rising()) {
        Level::Warning
    } else {
        Level::Note
    }
}

fn evidence(leak: &Leak<'_>) -> Vec<Evidence> {
    let count = leak.sockets.len();
    let mut list = vec![Evidence::new("leaked_sockets", count, threshold(leak))];
    if leak.oldest() > Nanos(0) {
        list.push(Evidence::new(
            "oldest_seconds",
            Duration::from_nanos(leak.oldest().0).as_secs_f64(),
            format!("the oldest has been in CLOSE_WAIT for {}", human(leak.oldest())),
        ));
    }
    let unsent: u64 = leak
        .sockets
        .iter()
        .map(|leaked| u64::from(leaked.socket.unsent.unwrap_or(0)))
        .sum();
    if unsent > 0 {
        let (bytes, are) = (counted(unsent, "byte"), is(unsent));
        let text = format!("{bytes} {are} not acknowledged by the peers");
        list.push(Evidence::new("unsent_bytes", unsent, text));
    }
    if leak.is_guess {
        let text = "the owner is a guess: it owns the listener, and no process has these sockets open";
        list.push(Evidence::new("guessed", leak.sockets.len(), text));
    }
    if let Some(shared) = leak.shared() {
        list.push(Evidence::new("other_holders", leak.sharers.len(), shared));
    }
    if let Some(process) = leak.accepted_by {
        let text = format!("accepted by {} ({})", process.comm, process.key.pid);
        list.push(Evidence::new("accepted_by", u64::from(process.key.pid), text));
    }
    for (verdict, count) in leak.verdicts() {
        list.push(Evidence::new(
            verdict.evidence_name(),
            count,
            format!("{count}: {verdict}"),
        ));
    }
    if let Some(growth) = leak.growth {
        list.push(Evidence::new(
            "growth_per_minute",
            growth.per_minute.rounded().per_unit,
            growth.to_string(),
        ));
    }
    if let Some(fds) = leak.process.and_then(|process| process.descriptors) {
        list.push(Evidence::new(
            "descriptors_used",
            fds.used,
            format!("{} of {} file descriptors are used", fds.used, fds.limit),
        ));
    }
    if let Some(left) = leak.exhausted_in {
        list.push(Evidence::new(
            "exhausted_in_seconds",
            Duration::from_nanos(left.0).as_secs_f64(),
            format!("\"Too many open files\" in {} at this growth", human(left)),
        ));
    }
    for socket in leak.in_flight {
        let files = match socket.carrier {
            Carrier::Queue { files } => files,
            Carrier::Ring { sockets } => sockets as u64,
        };
        list.push(Evidence::new("in_flight", files, socket.to_string()));
    }
    for endpoint in leak.endpoints.iter().take(ENDPOINTS) {
        list.push(Evidence::new(
            "sockets_of_endpoint",
            endpoint.count,
            comes(endpoint),
        ));
    }
    list
}

fn meaning(leak: &Leak<'_>) -> String {
    let holds = leak
        .verdicts()
        .iter()
        .any(|(verdict, _)| *verdict != crate::findings::verdict::Verdict::NeverAccepted);
    if holds {
        "the peers have closed and the program has not: each of these sockets keeps a descriptor until the program closes it or exits"
            .to_owned()
    } else {
        "the peers closed before the program accepted their connections".to_owned()
    }
}

/// The number of sockets past the threshold, and the source of the threshold.
#[must_use]
pub fn threshold(leak: &Leak<'_>) -> String {
    let reset = leak.reset();
    if reset == leak.sockets.len() {
        return format!(
            "{} in CLOSE after a reset; {} younger in CLOSE_WAIT",
            sockets(reset),
            leak.younger
        );
    }
    let count = sockets(leak.sockets.len());
    match leak.threshold {
        Threshold::Given(age) => format!("{count} older than {} (--older-than)", human(age)),
        Threshold::Default(age) => format!("{count} older than {}; {} younger", human(age), leak.younger),
        Threshold::Learned {
            threshold,
            finished,
            longest,
        } => format!(
            "{count} older than {}, learned from {finished} that ended, the longest after {}; {} younger",
            human(threshold),
            human(longest),
            leak.younger
        ),
    }
}

/// The endpoint at which leaked connections were accepted, or to which they were connected.
#[must_use]
pub fn comes(endpoint: &Endpoint) -> String {
    let Endpoint {
        end,
        is_accepted,
        count,
        peer,
        other_peers,
    } = endpoint;
    let others = if *other_peers == 0 {
        String::new()
    } else {
        format!(" and {}", counted(*other_peers, "more address"))
    };
    if *is_accepted {
        format!("{count} accepted on {end}, from {peer}{others}")
    } else {
        format!("{count} connected to {end}")
    }
}

fn sockets(count: usize) -> String {
    counted(count, "socket")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::TcpState,
        findings::{
            Subject, evaluate_by,
            fixture::{key, rendered, scene, socket},
            history::CLOSE_WAITS,
            scene::{Descriptors, Socket},
        },
    };

    fn in_close_wait(seconds: u64, owner: Option<usize>) -> Socket {
        socket(
            TcpState::CloseWait,
            "10.0.0.1:8080",
            "10.0.0.2:40000",
            seconds,
            owner,
        )
    }

    fn evaluated(scene: &Scene) -> Vec<Finding> {
        evaluate_by(&[&RULE], scene)
    }

    /// A service whose CLOSE_WAITs take this many seconds, and end.
    fn has_habit(scene: &mut Scene, pid: u32, seconds: u64) {
        let (measure, kind) = CLOSE_WAITS;
        let of = scene.history.by_process.entry(Some(key(pid))).or_default();
        for _ in 0..100 {
            of.close_wait_dwells
                .record(measure, kind, Nanos::from_secs(seconds));
        }
    }

    #[test]
    fn a_leak_is_reported_with_its_verdicts_growth_and_end() {
        let mut scene = scene();
        let owner = scene.process_at(77, "leaky");
        scene.processes[owner].descriptors = Some(Descriptors {
            used: 124,
            limit: 1024,
        });
        let listener = socket(TcpState::Listen, "10.0.0.1:8080", "0.0.0.0:0", 0, Some(owner));
        scene.add(1, &listener);
        // One every six seconds, from two minutes ago on.
        for index in 0..30 {
            scene.add(1, &in_close_wait(180 - 6 * index, Some(owner)));
        }
        scene.add(
            1,
            &Socket {
                unread: Some(1),
                ..in_close_wait(61, Some(owner))
            },
        );
        let findings = evaluated(&scene);
        let [finding] = findings.as_slice() else {
            panic!("one finding: {findings:?}");
        };
        insta::assert_snapshot!(rendered(finding));
    }

    #[test]
    fn just_below_the_threshold_nothing_is_said() {
        let mut scene = scene();
        let owner = scene.process_at(77, "slow");
        scene.add(50, &in_close_wait(59, Some(owner)));
        assert_eq!(evaluated(&scene), []);
        scene.older_than = Some(Nanos::from_secs(59));
        assert_eq!(evaluated(&scene).len(), 1);
    }

    #[test]
    fn a_slow_and_healthy_service_teaches_its_own_threshold() {
        let mut scene = scene();
        let owner = scene.process_at(77, "slow");
        scene.add(50, &in_close_wait(300, Some(owner)));
        assert_eq!(evaluated(&scene).len(), 1);
        has_habit(&mut scene, 77, 40);
        assert_eq!(evaluated(&scene), []);
    }

    #[test]
    fn a_fast_service_is_known_to_leak_sooner() {
        let mut scene = scene();
        let owner = scene.process_at(77, "fast");
        scene.add(2, &in_close_wait(6, Some(owner)));
        assert_eq!(evaluated(&scene), []);
        has_habit(&mut scene, 77, 0);
        let findings = evaluated(&scene);
        assert_eq!(findings[0].level, Level::Note);
        assert_eq!(
            findings[0].title,
            "2 sockets in CLOSE_WAIT for longer than 5.00s, the oldest for 6.00s"
        );
    }

    #[test]
    fn a_half_closed_connection_in_use_a_pool_at_rest_and_the_kernel_s_own_are_left_alone() {
        let mut scene = scene();
        let owner = scene.process_at(77, "healthy");
        let old = in_close_wait(600, Some(owner));
        let acknowledged = Socket {
            quiet: Some(Nanos::from_secs(2)),
            ..old.clone()
        };
        let kernel = Socket {
            is_kernel_socket: true,
            ..old.clone()
        };
        let pooled = Socket {
            state: TcpState::Established,
            ..old
        };
        for spared in [acknowledged, kernel, pooled] {
            scene.add(20, &spared);
        }
        assert_eq!(evaluated(&scene), []);
    }

    #[test]
    fn what_was_never_accepted_is_its_listener_s_and_takes_no_descriptor() {
        let mut scene = scene();
        let owner = scene.process_at(77, "busy");
        for index in 0..20 {
            let waiting = Socket {
                is_orphan: Some(true),
                ..in_close_wait(180 - 6 * index, Some(owner))
            };
            scene.add(1, &waiting);
        }
        let findings = evaluated(&scene);
        assert!(findings[0].remedy.contains("accept()"), "{findings:?}");
        assert!(
            findings[0]
                .evidence
                .iter()
                .all(|evidence| evidence.name != "exhausted_in_seconds")
        );
    }

    #[test]
    fn descriptors_that_are_nearly_used_up_are_critical() {
        let mut scene = scene();
        let owner = scene.process_at(77, "leaky");
        scene.add(3, &in_close_wait(61, Some(owner)));
        let with = |scene: &mut Scene, used| {
            scene.processes[owner].descriptors = Some(Descriptors { used, limit: 1000 });
            evaluated(scene)[0].level
        };
        assert_eq!(with(&mut scene, 899), Level::Note);
        assert_eq!(with(&mut scene, 900), Level::Critical);
        scene.add(7, &in_close_wait(61, Some(owner)));
        assert_eq!(with(&mut scene, 899), Level::Warning);
    }

    #[test]
    fn the_leak_with_more_sockets_comes_first() {
        let mut scene = scene();
        for (pid, count) in [(1, 12), (2, 30), (3, 20)] {
            let owner = scene.process_at(pid, "leaky");
            scene.add(count, &in_close_wait(61, Some(owner)));
        }
        let order: Vec<Subject> = evaluated(&scene)
            .into_iter()
            .map(|finding| finding.subject)
            .collect();
        let expected = [2, 3, 1].map(|pid| Subject::process(key(pid), "leaky"));
        assert_eq!(order, expected);
    }
}
