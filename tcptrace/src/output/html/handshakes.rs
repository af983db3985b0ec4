//! How handshakes ended, by destination and by port of this host, and the local ports in use towards each destination.

use crate::{
    connection::handshake::HandshakeEnd,
    duration::human,
    event::TcpState,
    findings::scene::Scene,
    report::page::{EndpointHandshakes, Host, MOST_ENDPOINTS, Part, Selection},
    stats::key::{Key, NamedKey},
    view::endpoints::{EndpointView, Handshakes},
};
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Ports that `connect` chooses from by the kernel's default, 32768 to 60999.
const DEFAULT_PORTS: u64 = 28_232;

pub(super) fn draw(part: &Part) -> Markup {
    html! {
        section.handshakes {
            h4 { "Handshakes by endpoint and outcome" }
            @if matches!(part.subject, Selection::Others) {
                p.none { "Not known of processes that were added up." }
            } @else if part.handshakes.is_empty() && part.other_handshakes.total() == 0 {
                p.none { "No handshake ended." }
            } @else {
                p.note {
                    "Those with the most failures first, at most " (MOST_ENDPOINTS) ". Of a client's connections the \
                    endpoint is the destination, of a server's its port."
                }
                (table(part))
            }
        }
    }
}

fn table(part: &Part) -> Markup {
    let rows = &part.handshakes;
    let others = &part.other_handshakes;
    let names_netns = is_in_several(rows.iter().map(|row| &row.key));
    let is_bounded = rows.iter().any(|row| row.is_lower_bound);
    let all = || rows.iter().map(|row| &row.ended).chain([others]);
    let ends: Vec<HandshakeEnd> = HandshakeEnd::ALL
        .into_iter()
        .filter(|end| all().any(|of| of.count(*end) > 0))
        .collect();
    html! {
        ul.legend {
            @for end in &ends {
                li {
                    svg.key viewBox="0 0 12 12" aria-hidden="true" {
                        rect class=(format!("e-{}", end.name())) width="12" height="12" {}
                    }
                    (end.name())
                }
            }
        }
        div.scroll { table {
            thead { tr {
                th { "Endpoint" } th { "Outcomes" }
                @for end in &ends { th.n { (end.name()) } }
                th.n { "Median, if established" }
            } }
            tbody {
                @for EndpointHandshakes { key, ended, is_lower_bound } in rows {
                    tr {
                        th scope="row" { (name(key, names_netns)) }
                        (cells(ended, &ends, *is_lower_bound))
                    }
                }
                @if others.total() > 0 { tr { th scope="row" { "other endpoints" } (cells(others, &ends, false)) } }
            }
        } }
        @if is_bounded {
            p.note { "≥ marks a lower bound: there were too many endpoints, and some of these may be among the other ones." }
        }
    }
}

fn cells(of: &Handshakes, ends: &[HandshakeEnd], is_lower_bound: bool) -> Markup {
    html! {
        td { (bar(of)) }
        @for end in ends { td { @if is_lower_bound { "≥" } (of.count(*end)) } }
        td { @if let Some(median) = of.median { (human(median)) } }
    }
}

/// The outcomes as parts of a whole.
fn bar(of: &Handshakes) -> Markup {
    let total = of.total().max(1);
    let mut sum = 0;
    let parts: Vec<(HandshakeEnd, u64, u64, u64)> = HandshakeEnd::ALL
        .into_iter()
        .filter(|end| of.count(*end) > 0)
        .map(|end| {
            let from = sum * 1_000 / total;
            sum += of.count(end);
            (end, of.count(end), from, sum * 1_000 / total - from)
        })
        .collect();
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            @for (end, count, from, width) in parts {
                rect class=(format!("e-{}", end.name())) x=(from) width=(width) height="10" {
                    title { (end.name()) ": " (count) }
                }
            }
        }
    }
}

/// Whether endpoints are in more than one network namespace.
fn is_in_several<'a>(keys: impl Iterator<Item = &'a Key>) -> bool {
    keys.filter_map(Key::netns).collect::<BTreeSet<u32>>().len() > 1
}

fn name(key: &Key, names_netns: bool) -> String {
    let named = NamedKey {
        key: *key,
        comm: [0; 16],
    };
    match key.netns().filter(|_| names_netns) {
        Some(netns) => format!("{named} in {netns}"),
        None => named.to_string(),
    }
}

/// The ports that may be used towards a destination, and whether that is known.
fn limit(scene: &Scene, key: &Key) -> (u64, bool) {
    let namespace = key.netns().and_then(|netns| scene.namespace(netns));
    namespace.map_or((DEFAULT_PORTS, false), |namespace| {
        (namespace.free_ports() as u64, true)
    })
}

/// The destinations to which the most local ports are in use.
pub(super) fn ports(host: &Host) -> Markup {
    let used: Vec<(&EndpointView, (u64, bool))> = host
        .endpoints
        .iter()
        .filter(|row| row.ports_used > 0)
        .map(|row| (row, limit(&host.scene, &row.key)))
        .collect();
    let names_netns = is_in_several(used.iter().map(|(row, _)| &row.key));
    let is_default = used.iter().any(|(_, (_, is_known))| !is_known);
    html! {
        section.ports {
            h4 { "Local ports by destination at the end" }
            @if used.is_empty() { p.none { "No connection to another endpoint was there." } } @else {
                p.note {
                    "Ports run out for each local address, remote address and remote port."
                    @if is_default {
                        " The limit is that of the kernel's default range, 32768 to 60999: a recording has no settings."
                    }
                }
                div.scroll { table {
                    thead { tr {
                        th { "Destination" } th { "Share" } th.n { "In use" } th.n { "Limit" } th.n { "Of those TIME_WAIT" }
                    } }
                    tbody {
                        @for (row, (limit, _)) in &used {
                            tr {
                                th scope="row" { (name(&row.key, names_netns)) }
                                td { (share(row.ports_used, *limit)) }
                                td { (row.ports_used) } td { (limit) }
                                td { (row.counts[TcpState::TimeWait.index()]) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn share(used: u64, limit: u64) -> Markup {
    let width = (used * 1_000 / limit.max(1)).clamp(4, 1_000);
    let percent = used * 100 / limit.max(1);
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.whole width="1000" height="10" {}
            rect class=(if percent >= 80 { "e-refused" } else { "e-connected" }) width=(width) height="10" {
                title { (percent) "%" }
            }
        }
        " " span.percent { (percent) "%" }
    }
}
