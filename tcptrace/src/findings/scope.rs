//! Limits findings to the filter: others are removed, and wider ones marked. Pure.

use super::{
    Evidence, Finding, Subject,
    history::Destination,
    scene::{Asked, Netns, Scene},
};
use crate::event::{ProcessKey, TcpState};
use hashbrown::HashSet;

/// Removes findings about subjects that the filter excludes, and marks those that are wider; without a filter, changes
/// nothing.
pub(super) fn limit(findings: &mut Vec<Finding>, scene: &Scene) {
    let Some(asked) = &scene.asked else {
        return;
    };
    findings.retain(|finding| is_about(&finding.subject, scene, asked));
    for finding in findings {
        let whose = match finding.subject {
            Subject::Host => "host",
            Subject::Netns { .. } if asked.is_part => "network namespace",
            Subject::Netns { .. }
            | Subject::Process { .. }
            | Subject::Listener { .. }
            | Subject::Destination { .. } => continue,
        };
        let text = format!("this covers the whole {whose}, regardless of the filter");
        let name = "unfiltered";
        finding.evidence.insert(0, Evidence::new(name, 1_u64, text));
    }
}

/// Removes the network namespaces in which nothing matches the filter.
pub fn keep_namespaces(namespaces: &mut Vec<Netns>, scene: &Scene) {
    let Some(asked) = scene.asked.as_ref().filter(|asked| asked.is_part) else {
        return;
    };
    let mut kept: HashSet<u32> = scene.asked_for().map(|socket| socket.netns).collect();
    let history = &scene.history;
    let destinations = history.by_destination.iter();
    kept.extend(
        destinations
            .filter(|(_, of)| {
                of.process
                    .map_or(asked.processes.is_none(), |process| asked.wants(process))
            })
            .map(|(to, _)| to.netns),
    );
    if asked.processes.is_none() {
        kept.extend(history.by_listener.keys().map(|(netns, _)| *netns));
    }
    namespaces.retain(|namespace| kept.contains(&namespace.netns));
}

impl Asked {
    fn wants(&self, process: ProcessKey) -> bool {
        self.processes
            .as_ref()
            .is_none_or(|processes| processes.contains(&process))
    }
}

fn is_about(subject: &Subject, scene: &Scene, asked: &Asked) -> bool {
    match subject {
        Subject::Process { pid, start_ns, .. } => asked.wants(ProcessKey {
            pid: *pid,
            start_ns: *start_ns,
        }),
        Subject::Listener {
            netns, addr, port, ..
        } => scene.asked_for().any(|socket| {
            socket.state == TcpState::Listen
                && (
                    socket.netns,
                    socket.endpoints.local(),
                    socket.endpoints.local_port,
                ) == (*netns, *addr, *port)
        }),
        Subject::Destination { netns, addr, port } => {
            let goes_there =
                |at: u32, remote, to| (at, remote) == (*netns, *addr) && port.is_none_or(|port| port == to);
            let has_socket = scene.asked_for().any(|socket| {
                goes_there(
                    socket.netns,
                    socket.endpoints.remote(),
                    socket.endpoints.remote_port,
                )
            });
            let connects = |to: &Destination| goes_there(to.netns, to.remote, to.port);
            has_socket
                || scene.history.by_destination.iter().any(|(to, of)| {
                    let is_wanted = of
                        .process
                        .map_or(asked.processes.is_none(), |process| asked.wants(process));
                    connects(to) && is_wanted
                })
        }
        Subject::Netns { .. } | Subject::Host => true,
    }
}

#[cfg(test)]
mod tests;
