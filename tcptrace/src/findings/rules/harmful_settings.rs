//! Harmful settings in this host's configuration.

use super::Rule;
use crate::findings::{
    Evidence, Finding, Level, Subject,
    scene::{Configured, Scene},
};

/// `harmful-settings`
pub static RULE: Rule = Rule {
    id: "harmful-settings",
    title: "the configuration has harmful settings",
    fires: "A line of `/etc/sysctl.conf` or `/etc/sysctl.d/*.conf` sets one of these:

| setting | level |
| --- | --- |
| `net.ipv4.tcp_tw_recycle`, whatever value | note; 1 is a warning |
| `net.ipv4.tcp_syncookies` 0 | warning |
| `net.ipv4.tcp_max_tw_buckets` below 16,384 | warning |
| `net.ipv4.tcp_max_orphans` below 4,096 | warning |
| `net.ipv4.tcp_abort_on_overflow` 1 | note |
| `net.ipv4.tcp_timestamps` 0 | note |
| `net.ipv4.tcp_retries2` below 8 | note |",
    means: "These come from lists of tuning advice, and do not do what those claim.

`tcp_tw_recycle` dropped the SYNs of clients behind one NAT, whose timestamps differ, and was removed in Linux 4.12: today
`sysctl --system` reports the line as an error. A small `tcp_max_tw_buckets` saves 250 bytes a socket and lets late segments
reach new connections. Without SYN cookies, a few hundred forged SYNs make a service unreachable. A small `tcp_max_orphans` resets
connections with their data. `tcp_abort_on_overflow` turns a burst into errors, where clients would only have waited.
Without timestamps, round trips are measured less precisely and `tcp_tw_reuse` does nothing. `tcp_retries2` below 8 gives up
before the 100 s that RFC 1122 requires.",
    remedy: "Delete the line, and set the kernel's default, which `tcptrace doctor` lists in its table of settings.",
    spares: "Values at or beyond the kernel's defaults, comments, other settings.",
    check,
};

struct Harm {
    name: &'static str,
    level: fn(&str) -> Option<Level>,
    why: &'static str,
}

fn below(value: &str, least: u64) -> bool {
    value.parse().is_ok_and(|number: u64| number < least)
}

static HARMS: [Harm; 7] = [
    Harm {
        name: "net.ipv4.tcp_tw_recycle",
        level: |value| Some(if value == "1" { Level::Warning } else { Level::Note }),
        why: "it broke clients behind NAT and was removed in Linux 4.12; the line is an error now",
    },
    Harm {
        name: "net.ipv4.tcp_syncookies",
        level: |value| (value == "0").then_some(Level::Warning),
        why: "without SYN cookies, a few hundred forged SYNs make a service unreachable",
    },
    Harm {
        name: "net.ipv4.tcp_max_tw_buckets",
        level: |value| below(value, 16_384).then_some(Level::Warning),
        why: "beyond it, connections skip TIME_WAIT, and late segments can reach the next one; it saves 250 bytes a socket",
    },
    Harm {
        name: "net.ipv4.tcp_max_orphans",
        level: |value| below(value, 4_096).then_some(Level::Warning),
        why: "beyond it, closed connections are reset, and their data is lost",
    },
    Harm {
        name: "net.ipv4.tcp_abort_on_overflow",
        level: |value| (value == "1").then_some(Level::Note),
        why: "a burst causes errors, where clients would have been accepted a second later",
    },
    Harm {
        name: "net.ipv4.tcp_timestamps",
        level: |value| (value == "0").then_some(Level::Note),
        why: "tcp_tw_reuse does nothing without timestamps, and round trips are measured less precisely",
    },
    Harm {
        name: "net.ipv4.tcp_retries2",
        level: |value| below(value, 8).then_some(Level::Note),
        why: "connections over a bad path fail before the 100 s that RFC 1122 requires",
    },
];

fn check(scene: &Scene) -> Vec<Finding> {
    scene.configured.iter().filter_map(finding).collect()
}

fn finding(line: &Configured) -> Option<Finding> {
    let harm = HARMS.iter().find(|harm| harm.name == line.name)?;
    Some(Finding {
        rule: RULE.id,
        level: (harm.level)(&line.value)?,
        subject: Subject::Host,
        title: format!(
            "{} line {} sets {} = {}",
            line.file, line.line, line.name, line.value
        ),
        evidence: vec![Evidence::new(
            "line",
            line.line,
            format!("{}:{}: {} = {}", line.file, line.line, line.name, line.value),
        )],
        meaning: harm.why.to_owned(),
        remedy: "delete the line, and set the kernel's default".to_owned(),
        weight: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        evaluate_by,
        fixture::{rendered, scene},
    };

    fn evaluated(name: &str, value: &str) -> Vec<Finding> {
        let mut scene = scene();
        scene.configured.push(Configured {
            file: "/etc/sysctl.d/99-tuning.conf".to_owned(),
            line: 4,
            name: name.to_owned(),
            value: value.to_owned(),
        });
        evaluate_by(&[&RULE], &scene)
    }

    #[test]
    fn folklore_is_reported_with_its_file_and_line() {
        insta::assert_snapshot!(rendered(&evaluated("net.ipv4.tcp_tw_recycle", "1")[0]));
    }

    #[test]
    fn only_values_that_do_harm_are_reported() {
        for (name, harmful, harmless) in [
            ("net.ipv4.tcp_syncookies", "0", "1"),
            ("net.ipv4.tcp_max_tw_buckets", "16383", "16384"),
            ("net.ipv4.tcp_max_orphans", "4095", "4096"),
            ("net.ipv4.tcp_abort_on_overflow", "1", "0"),
            ("net.ipv4.tcp_timestamps", "0", "1"),
            ("net.ipv4.tcp_retries2", "7", "8"),
        ] {
            assert_eq!(evaluated(name, harmful).len(), 1, "{name} = {harmful}");
            assert_eq!(evaluated(name, harmless), [], "{name} = {harmless}");
        }
        assert_eq!(evaluated("net.ipv4.tcp_tw_reuse", "1"), []);
        assert_eq!(evaluated("vm.swappiness", "1"), []);
    }
}
