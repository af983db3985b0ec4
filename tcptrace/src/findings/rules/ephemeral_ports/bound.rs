//! Ports of a local address that sockets were bound to before they connected.

use super::{RULE, level_of, usage::Bound};
use crate::{
    findings::{Evidence, Figure as _, Finding, scene::Scene},
    plural::counted,
};
use std::net::IpAddr;

/// The ports of `local`, of which `available` exist.
pub(super) fn finding(
    scene: &Scene,
    netns: u32,
    local: IpAddr,
    bound: &Bound,
    available: usize,
) -> Option<Finding> {
    if !bound.is_by_bind() {
        return None;
    }
    let count = bound.ports.len();
    let level = level_of(count, available)?;
    let left = available.saturating_sub(count);
    let mut evidence = vec![
        Evidence::new(
            "ports_in_use",
            count,
            format!("from {local}: {count} of {available} ports in use, {left} left for all destinations"),
        ),
        Evidence::new(
            "destinations",
            bound.destinations.len(),
            format!(
                "{} to {}, and no two of them share a port",
                counted(bound.connections, "connection"),
                counted(bound.destinations.len(), "destination")
            ),
        ),
    ];
    if bound.binds_early > 0 {
        let text = format!(
            "{} without IP_BIND_ADDRESS_NO_PORT",
            counted(bound.binds_early, "open socket")
        );
        evidence.push(Evidence::new("bound_before_connect", bound.binds_early, text));
    }
    Some(Finding {
        rule: RULE.id,
        level,
        subject: scene.netns_subject(netns),
        title: format!("{count} of {available} local ports of {local} are in use, each for all destinations"),
        evidence,
        meaning: "sockets that are bound to an address before connect take a port for all destinations; without one, bind fails \
            with EADDRINUSE, \"Address already in use\""
            .to_owned(),
        remedy: "set IP_BIND_ADDRESS_NO_PORT on the socket before bind, so that connect chooses the port for each destination \
            anew; or leave bind out, and let routes choose the address"
            .to_owned(),
        weight: count.figure(),
    })
}
