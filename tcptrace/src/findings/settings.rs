//! The settings that people turn when sockets pile up: what each has here, what the kernel's default is, what it really
//! does, and, only where a warning calls for it, what to change and what that costs. Pure.
//!
//! Meanings and defaults are those of Documentation/networking/ip-sysctl.rst and of `tcp_sk_init` (net/ipv4/tcp_ipv4.c),
//! read in Linux 6.18 and held against a fresh network namespace of it.

use super::{Finding, Level, scene::Netns};

/// A setting of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name below `net`, as in `ipv4.tcp_fin_timeout`.
    pub name: &'static str,
    /// The kernel's default; `None` where that depends on the machine's memory.
    pub default: Option<&'static str>,
    /// What it does, and what it does not.
    pub does: &'static str,
    /// What warnings of these rules call for, and what that costs.
    pub advice: Option<Advice>,
}

/// What to change.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// The rules that call for it.
    pub rules: &'static [&'static str],
    /// Whether this value is already what is advised.
    pub is_done: fn(&str) -> bool,
    /// What to change.
    pub change: &'static str,
    /// What it costs.
    pub cost: &'static str,
}

fn never(_: &str) -> bool {
    false
}

fn is_one(value: &str) -> bool {
    value == "1"
}

/// `TCP_TIMEWAIT_LEN`, include/net/tcp.h.
const TIME_WAIT_SECONDS: u32 = 60;

/// How long a FIN_WAIT2 that no process has lasts by `tcp_fin_timeout`. Beyond `TCP_TIMEWAIT_LEN` the full socket waits for
/// what exceeds it (`tcp_close`, `tcp_rcv_state_process`), and a timewait sock for as long again (`tcp_keepalive_timer`;
/// Linux 6.18).
const fn fin_wait2_seconds(setting: u32) -> u32 {
    if setting <= TIME_WAIT_SECONDS {
        setting
    } else {
        (setting - TIME_WAIT_SECONDS).saturating_mul(2)
    }
}

/// Every setting that `doctor` describes, in the order of its output.
pub static ALL: [Setting; 22] = [
    Setting {
        name: "ipv4.ip_local_port_range",
        default: Some("32768 60999"),
        does: "the ports that connect chooses from, separately for each destination",
        advice: Some(Advice {
            rules: &["ephemeral-ports"],
            is_done: |value| {
                value
                    .split_whitespace()
                    .next()
                    .is_some_and(|low| low.parse().is_ok_and(|low: u32| low <= 16_384))
            },
            change: "widen it: 16384 60999",
            cost: "ports that services listen on must then be reserved in ip_local_reserved_ports",
        }),
    },
    Setting {
        name: "ipv4.ip_local_reserved_ports",
        default: Some(""),
        does: "ports of that range that connect never chooses",
        advice: None,
    },
    Setting {
        name: "ipv4.tcp_tw_reuse",
        default: Some("2"),
        does: "whether connect may reuse a port in TIME_WAIT after a second: 1 always, 2 on loopback only, 0 never; requires \
            timestamps, and has no effect on the accepting side",
        advice: Some(Advice {
            rules: &["ephemeral-ports"],
            is_done: is_one,
            change: "set 1, if connections to one destination cannot be kept open",
            cost: "relies on timestamps to detect late segments; no effect with peers that send none",
        }),
    },
    Setting {
        name: "ipv4.tcp_timestamps",
        default: Some("1"),
        does: "measures round trips, detects wrapped sequence numbers and late segments; tcp_tw_reuse requires it",
        advice: Some(Advice {
            rules: &["ephemeral-ports"],
            is_done: |value| value != "0",
            change: "set 1, or tcp_tw_reuse does nothing",
            cost: "12 bytes a segment",
        }),
    },
    Setting {
        name: "ipv4.tcp_max_tw_buckets",
        default: None,
        does: "maximum number of sockets in TIME_WAIT; beyond it, connections skip that state, and late segments can reach \
            the next connection",
        advice: Some(Advice {
            rules: &["time-wait-overflow"],
            is_done: never,
            change: "raise it",
            cost: "some 250 bytes for each socket in TIME_WAIT, and no descriptor",
        }),
    },
    Setting {
        name: "ipv4.tcp_fin_timeout",
        default: Some("60"),
        does: "how long an orphaned socket stays in FIN_WAIT2, up to 60 s; of a greater value, twice the excess over 60 counts: \
            61 is 2 s, 90 is 60 s, 120 is 120 s; no effect on TIME_WAIT, which is always 60 s",
        advice: Some(Advice {
            rules: &["fin-wait2-peers"],
            is_done: |value| {
                value
                    .parse()
                    .is_ok_and(|setting| fin_wait2_seconds(setting) <= 30)
            },
            change: "30 drops peers that never close sooner",
            cost: "a peer that closes after that is answered by a RST",
        }),
    },
    Setting {
        name: "ipv4.tcp_syncookies",
        default: Some("1"),
        does: "whether SYNs are answered without storing a request: 1 if a listener's queue is full, 2 always, 0 never",
        advice: Some(Advice {
            rules: &["syn-backlog", "listener-drops"],
            is_done: is_one,
            change: "set 1",
            cost: "while the queue is full, connections without timestamps lose window scaling and SACK",
        }),
    },
    Setting {
        name: "ipv4.tcp_max_syn_backlog",
        default: None,
        does: "maximum number of pending handshakes of a listener without SYN cookies; with them, its backlog is the limit",
        advice: None,
    },
    Setting {
        name: "core.somaxconn",
        default: Some("4096"),
        does: "upper limit of the backlog passed to listen, for the accept queue and pending handshakes",
        advice: Some(Advice {
            rules: &["accept-queue-full", "syn-backlog"],
            is_done: |value| value.parse().is_ok_and(|length: u32| length >= 4096),
            change: "set 4096 or more, and the program's own backlog with it",
            cost: "a longer queue only delays connections that are not accepted",
        }),
    },
    Setting {
        name: "ipv4.tcp_abort_on_overflow",
        default: Some("0"),
        does: "whether connections are reset, instead of dropped, if the accept queue is full; 1 turns a burst into errors",
        advice: None,
    },
    Setting {
        name: "ipv4.tcp_synack_retries",
        default: Some("5"),
        does: "how often a SYN-ACK is retransmitted: 5 keeps SYN_RECV for 63 s, 2 for 7 s",
        advice: Some(Advice {
            rules: &["syn-backlog"],
            is_done: |value| value.parse().is_ok_and(|retries: u32| retries <= 2),
            change: "2 frees the queue of a flood sooner",
            cost: "clients over lossy paths fail to connect more often",
        }),
    },
    Setting {
        name: "ipv4.tcp_syn_retries",
        default: Some("6"),
        does: "how often connect retransmits its SYN with doubled timeouts; Linux 6.5 and later first retransmit it \
            tcp_syn_linear_timeouts (4) times, a second apart: 6 gives up after 127 s, or 131 s",
        advice: Some(Advice {
            rules: &["connect-unanswered"],
            is_done: |value| value.parse().is_ok_and(|retries: u32| retries <= 3),
            change: "prefer a timeout in the program; 3 gives up after 15 s, or 19 s since Linux 6.5, for the whole host",
            cost: "slow or lossy destinations become unreachable",
        }),
    },
    Setting {
        name: "ipv4.tcp_retries1",
        default: Some("3"),
        does: "number of unanswered retransmissions after which the route is checked; does not end connections",
        advice: None,
    },
    Setting {
        name: "ipv4.tcp_retries2",
        default: Some("15"),
        does: "how long an open connection retransmits without an answer before it fails: 15 is at least 924 s",
        advice: Some(Advice {
            rules: &["dead-peer"],
            is_done: |value| value.parse().is_ok_and(|retries: u32| retries <= 8),
            change: "prefer TCP_USER_TIMEOUT in the program; 8 gives up after about 100 s, for the whole host",
            cost: "connections do not survive outages that are longer",
        }),
    },
    Setting {
        name: "ipv4.tcp_rto_max_ms",
        default: Some("120000"),
        does: "the longest retransmission timeout, milliseconds; lower ones end dead connections sooner (Linux 6.15)",
        advice: None,
    },
    Setting {
        name: "ipv4.tcp_orphan_retries",
        default: Some("0"),
        does: "the same for orphaned sockets; 0 means 8, and none once the timeout has reached its maximum",
        advice: Some(Advice {
            rules: &["orphans", "fin-wait1-stuck", "last-ack-stuck"],
            is_done: |value| value.parse().is_ok_and(|retries: u32| (1..=3).contains(&retries)),
            change: "3 gives up on unresponsive peers sooner",
            cost: "data that a slow peer would still have received is lost",
        }),
    },
    Setting {
        name: "ipv4.tcp_max_orphans",
        default: None,
        does: "maximum number of orphaned sockets; beyond it, they are reset at once, and their data is lost",
        advice: Some(Advice {
            rules: &["orphans"],
            is_done: never,
            change: "raise it; never lower it",
            cost: "up to about 64 KB of unswappable memory for each",
        }),
    },
    Setting {
        name: "ipv4.tcp_keepalive_time",
        default: Some("7200"),
        does: "idle seconds after which a socket with SO_KEEPALIVE is probed; detects dead peers, does not end CLOSE_WAIT",
        advice: Some(Advice {
            rules: &["unnoticed-death"],
            is_done: |value| value.parse().is_ok_and(|seconds: u32| seconds <= 600),
            change: "600, and SO_KEEPALIVE in the program, without which it does nothing",
            cost: "a probe for each idle connection every ten minutes",
        }),
    },
    Setting {
        name: "ipv4.tcp_keepalive_intvl",
        default: Some("75"),
        does: "seconds between two such probes",
        advice: None,
    },
    Setting {
        name: "ipv4.tcp_keepalive_probes",
        default: Some("9"),
        does: "number of unanswered probes that end the connection",
        advice: None,
    },
    Setting {
        name: "ipv4.tcp_rfc1337",
        default: Some("0"),
        does: "whether a RST is ignored in TIME_WAIT (1) or ends it",
        advice: None,
    },
    Setting {
        name: "ipv4.tcp_mem",
        default: None,
        does: "pages of memory for all TCP sockets: no memory pressure below the first, pressure above the second, hard limit at the third",
        advice: Some(Advice {
            rules: &["tcp-memory"],
            is_done: never,
            change: "raise it, if so many connections are meant to be there",
            cost: "memory that cannot be swapped",
        }),
    },
];

/// The names of all settings, without `net.`.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|setting| setting.name).collect()
}

/// A setting as it is in one namespace.
#[derive(Clone, Debug)]
pub struct Found {
    /// The entry of the catalogue.
    pub setting: &'static Setting,
    /// Its value here.
    pub value: String,
    /// Whether it is the kernel's default; `None` where that depends on memory.
    pub is_default: Option<bool>,
    /// What to change, where a warning calls for it.
    pub advice: Option<&'static Advice>,
}

/// The settings of a namespace, as findings see them.
#[must_use]
pub fn found(namespace: &Netns, findings: &[Finding]) -> Vec<Found> {
    ALL.iter()
        .filter_map(|setting| {
            let words: Vec<&str> = namespace.sysctls.get(setting.name)?.split_whitespace().collect();
            let value = words.join(" ");
            let is_called_for = |advice: &&Advice| {
                let calls = |finding: &Finding| {
                    finding.level >= Level::Warning && advice.rules.contains(&finding.rule)
                };
                findings.iter().any(calls) && !(advice.is_done)(&value)
            };
            Some(Found {
                setting,
                is_default: setting.default.map(|default| default == value),
                advice: setting.advice.as_ref().filter(is_called_for),
                value,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{evaluate, fixture, rules};

    #[test]
    fn advice_names_rules_that_exist() {
        for setting in &ALL {
            for rule in setting.advice.iter().flat_map(|advice| advice.rules) {
                assert!(rules::named(rule).is_some(), "{}: {rule}", setting.name);
            }
        }
    }

    #[test]
    fn nothing_is_advised_without_a_finding_however_odd_the_value() {
        let mut scene = fixture::scene();
        scene.set("ipv4.tcp_tw_reuse", "0");
        scene.set("ipv4.tcp_max_tw_buckets", "16");
        let listed = found(&scene.namespaces[0], &evaluate(&scene));
        assert_eq!(listed.len(), 2);
        assert!(listed.iter().all(|found| found.advice.is_none()));
        assert_eq!(listed[0].is_default, Some(false));
        assert_eq!(listed[1].is_default, None);
        scene.counted("TCPTimeWaitOverflow", 0, 3);
        let listed = found(&scene.namespaces[0], &evaluate(&scene));
        assert!(listed[0].advice.is_none());
        assert_eq!(listed[1].advice.map(|advice| advice.change), Some("raise it"));
    }

    #[test]
    fn above_a_minute_fin_wait2_lasts_twice_the_excess() {
        let table = [(30, 30), (60, 60), (61, 2), (75, 30), (90, 60), (120, 120)];
        for (setting, seconds) in table {
            assert_eq!(fin_wait2_seconds(setting), seconds);
        }
    }

    #[test]
    fn what_is_advised_already_is_not_advised_again() {
        let mut scene = fixture::scene();
        scene.set("ipv4.tcp_tw_reuse", "1");
        let finding = Finding {
            rule: "ephemeral-ports",
            level: Level::Warning,
            subject: crate::findings::Subject::Host,
            title: String::new(),
            evidence: Vec::new(),
            meaning: String::new(),
            remedy: String::new(),
            weight: 0.0,
        };
        assert!(
            found(&scene.namespaces[0], std::slice::from_ref(&finding))[0]
                .advice
                .is_none()
        );
        scene.set("ipv4.tcp_tw_reuse", "2");
        assert!(found(&scene.namespaces[0], &[finding])[0].advice.is_some());
    }
}
