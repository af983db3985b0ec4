//! The processes and their sockets at the end, and the settings of network namespaces.

use super::{UNKNOWN, moment};
use crate::{
    duration::{human, human_age},
    event::TcpState,
    findings::{
        Finding,
        scene::Netns,
        settings::{self, Found},
    },
    output::{sockets::network_text, text},
    plural::counted,
    report::page::Host,
    view::{Counts, ProcessView, unanswered::Unanswered},
};
use hashbrown::HashMap;
use maud::{Markup, html};

/// Processes that are listed; the others are counted.
const MOST_PROCESSES: usize = 50;

/// Tables of settings, and network namespaces that are named above each; the others are counted.
const MOST_TABLES: usize = 20;
const MOST_NAMED: usize = 8;

/// The states that have a column everywhere; the others are added up.
const SHOWN: [TcpState; 7] = [
    TcpState::Listen,
    TcpState::SynSent,
    TcpState::SynRecv,
    TcpState::Established,
    TcpState::CloseWait,
    TcpState::FinWait2,
    TcpState::TimeWait,
];

pub(super) fn count_titles() -> Markup {
    html! { @for state in SHOWN { th.n { (state) } } th.n { "Others" } }
}

pub(super) fn count_cells(counts: &Counts) -> Markup {
    let others: u64 = TcpState::ALL
        .iter()
        .filter(|state| !SHOWN.contains(state))
        .map(|state| counts[state.index()])
        .sum();
    html! {
        @for state in SHOWN { (count_cell(counts[state.index()], state.name())) }
        (count_cell(others, "others"))
    }
}

fn count_cell(count: u64, state: &str) -> Markup {
    let class = if count == 0 { "n zero" } else { "n" };
    html! { td class=(class) data-state=(state) { (count) } }
}

pub(super) fn processes(host: &Host, id: &str) -> Markup {
    let view = &host.report.view;
    html! {
        section aria-labelledby=(format!("{id}-processes")) {
            h3 id=(format!("{id}-processes")) { "Sockets by process at the end" }
            p.note {
                "At " (moment(host.report.to_ns)) " UTC. Choose a process to see its connections alone. The oldest socket \
                is one in CLOSE_WAIT if there is any; LISTEN and ESTABLISHED do not count."
            }
            div.scroll { table.processes {
                thead { tr {
                    th { "Process" } th.n { "PID" } (count_titles())
                    th.n { "Transitions/s" } th { "Oldest" } th {}
                } }
                tbody {
                    tr.total {
                        th scope="row" { a.narrow href=(format!("#{id}-p0")) { "all processes" } } td {}
                        (count_cells(&view.counts))
                        td.n { @if let Some(rate) = view.rate { (format!("{rate:.1}")) } } td {} td {}
                    }
                    @for process in view.processes.iter().take(MOST_PROCESSES) { (row(host, process, id)) }
                }
            } }
            @if view.processes.len() > MOST_PROCESSES {
                p.note { "and " (counted(view.processes.len() - MOST_PROCESSES, "more process")) ", which the totals include" }
            }
        }
    }
}

fn row(host: &Host, process: &ProcessView, id: &str) -> Markup {
    let part = match process.key {
        Some(key) => host.part_of(key.pid, key.start_ns),
        None => host.part_of_unknown().filter(|_| process.pid.is_none()),
    };
    let name = match process.pid {
        Some(_) => process.comm.as_str(),
        None => UNKNOWN,
    };
    html! {
        tr data-process=[process.pid] {
            th scope="row" {
                @if let Some(part) = part {
                    a.narrow href=(format!("#{id}-p{part}")) { (name) }
                } @else { (name) }
            }
            td.n { @if let Some(pid) = process.pid { (pid) } }
            (count_cells(&process.counts))
            td.n { @if host.report.view.rate.is_some() { (format!("{:.1}", process.rate)) } }
            td.left { @if let Some((state, age)) = process.oldest { (state) " " (human_age(age)) } }
            td.left {
                @if process.sharers > 0 { "shared with " (counted(process.sharers, "process")) }
            }
        }
    }
}

/// Connections whose peers did not answer, as the text of a report has them; nothing where there is none.
pub(super) fn unanswered(host: &Host) -> Markup {
    let list = &host.report.unanswered;
    let Some(first) = list.worst.first() else {
        return html! {};
    };
    let age = host.report.to.since(first.read);
    let rest = list.count.saturating_sub(list.worst.len() as u64);
    html! {
        section {
            h3 { "Peers that did not answer" }
            p.note {
                (counted(list.count, "connection")) " had unanswered segments or probes at the snapshot " (human(age))
                " before the end."
            }
            div.scroll { table {
                thead { tr { th { "Local" } th { "Remote" } th { "State" } th { "Owner" } th { "Evidence" } } }
                tbody {
                    @for Unanswered { row, network, .. } in &list.worst {
                        @let (local, remote) = text::both(&row.identity.endpoints);
                        tr {
                            th scope="row" { (local) } td.left { (remote) } td.left { (row.state) }
                            td.left {
                                @if let Some(owner) = row.owner { (owner.name()) " (" (owner.key.pid) ")" }
                            }
                            td.text { (network_text(network)) }
                        }
                    }
                }
            } }
            @if rest > 0 { p.note { "and " (counted(rest, "other connection")) } }
        }
    }
}

/// The settings of each namespace, as `doctor` has them.
pub(super) fn settings(namespaces: &[Netns], findings: &[Finding]) -> Markup {
    let groups = grouped(namespaces, findings);
    let rest: usize = groups
        .iter()
        .skip(MOST_TABLES)
        .map(|(namespaces, _)| namespaces.len())
        .sum();
    html! {
        section.settings {
            h3 { "Settings" }
            @if groups.is_empty() {
                p.none { "A recording has no settings. " code { "tcptrace doctor --settings" } " shows them on the host itself." }
            }
            @for (namespaces, all) in groups.iter().take(MOST_TABLES) { (settings_of(namespaces, all)) }
            @if rest > 0 { p.note { "and those of " (counted(rest, "other network namespace")) } }
        }
    }
}

/// Namespaces with equal settings, and these; those where something should be changed come first, then those where
/// something was.
fn grouped<'a>(namespaces: &'a [Netns], findings: &[Finding]) -> Vec<(Vec<&'a Netns>, Vec<Found>)> {
    let mut groups: Vec<(Vec<&Netns>, Vec<Found>)> = Vec::new();
    let mut places: HashMap<Vec<(&'static str, String)>, usize> = HashMap::new();
    for namespace in namespaces {
        let all = settings::found(namespace, findings);
        let values = all.iter().map(|found| (found.setting.name, found.value.clone()));
        let at = *places.entry(values.collect()).or_insert(groups.len());
        match groups.get_mut(at) {
            Some((namespaces, _)) => namespaces.push(namespace),
            None => groups.push((vec![namespace], all)),
        }
    }
    groups.sort_by_key(|(_, all)| {
        (
            !all.iter().any(|found| found.advice.is_some()),
            !all.iter().any(|found| found.is_default == Some(false)),
        )
    });
    groups
}

/// `7 (web), 8, and 12 more`.
fn names_of(namespaces: &[&Netns]) -> String {
    let mut names: Vec<String> = namespaces
        .iter()
        .take(MOST_NAMED)
        .map(|namespace| match &namespace.name {
            Some(name) => format!("{} ({name})", namespace.netns),
            None => namespace.netns.to_string(),
        })
        .collect();
    if namespaces.len() > MOST_NAMED {
        names.push(format!("and {} more", namespaces.len() - MOST_NAMED));
    }
    names.join(", ")
}

fn settings_of(namespaces: &[&Netns], all: &[Found]) -> Markup {
    let advised: Vec<&Found> = all.iter().filter(|found| found.advice.is_some()).collect();
    let noun = if namespaces.len() == 1 {
        "namespace"
    } else {
        "namespaces"
    };
    let names = names_of(namespaces);
    html! {
        h4 { "Network " (noun) " " (names) }
        @if advised.is_empty() { p.none { "No setting needs changing." } }
        @for found in &advised {
            @if let Some(advice) = found.advice {
                p { code { "net." (found.setting.name) } ": " (advice.change) "; cost: " (advice.cost) }
            }
        }
        details.numbers {
            summary { "Table: settings of network " (noun) " " (names) }
            div.scroll { table {
                thead { tr { th { "Setting, below net" } th { "Here" } th { "Default" } th { "What it does" } } }
                tbody {
                    @for Found { setting, value, is_default, .. } in all {
                        tr.changed[*is_default == Some(false)] {
                            th scope="row" { (setting.name) }
                            td { (value) @if *is_default == Some(false) { " (changed)" } }
                            td { (setting.default.unwrap_or("by memory")) }
                            td.text { (setting.does) }
                        }
                    }
                }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{self, fixture, scene::Scene};

    #[test]
    fn namespaces_with_equal_settings_share_a_table_and_what_has_to_change_comes_first() {
        let mut scene = fixture::scene();
        scene.set("ipv4.tcp_max_tw_buckets", "16");
        let with_timeout = |scene: &Scene, netns: u32, timeout: u32| {
            let mut namespace = scene.namespaces[0].clone();
            namespace.netns = netns;
            let sysctls = &mut namespace.sysctls;
            sysctls.insert("ipv4.tcp_fin_timeout".to_owned(), timeout.to_string());
            namespace
        };
        let equal: Vec<Netns> = (1..=30).map(|netns| with_timeout(&scene, netns, 60)).collect();
        let text = settings(&equal, &[]).into_string();
        assert_eq!(text.matches("<table>").count(), 1);
        assert!(
            text.contains("namespaces 1, 2, 3, 4, 5, 6, 7, 8, and 22 more<"),
            "{text}"
        );

        scene.counted("TCPTimeWaitOverflow", 0, 3);
        let findings = findings::evaluate(&scene);
        let different = (1..=25).map(|netns| with_timeout(&scene, netns, 60 + netns));
        let mut different: Vec<Netns> = different.collect();
        // Too small for what was counted in the last one alone.
        for namespace in &mut different[..24] {
            namespace.sysctls.remove("ipv4.tcp_max_tw_buckets");
        }
        let text = settings(&different, &findings).into_string();
        assert_eq!(text.matches("<table>").count(), MOST_TABLES);
        let (_, first) = text.split_once("<h4>").expect("a heading");
        assert!(first.starts_with("Network namespace 25</h4><p>"), "{first}");
        assert!(text.contains("and those of 5 other network namespaces"), "{text}");
    }
}
