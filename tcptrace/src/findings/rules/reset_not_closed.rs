//! Sockets that were reset and that their program still has open.

use super::Rule;
use crate::{
    event::TcpState,
    findings::{
        Evidence, Figure as _, Finding, Level, Subject,
        scene::{Scene, Socket},
    },
};
use hashbrown::HashMap;

/// `reset-not-closed`
pub static RULE: Rule = Rule {
    id: "reset-not-closed",
    title: "a process keeps sockets open whose connections were reset",
    fires: "A process has at least ten sockets open that were connected once and are in CLOSE: a note; a warning from 100 on, or if
nine tenths of its descriptors are used.",
    means: "A RST, a timeout or an ICMP error ended these connections, and the program has not closed its descriptors: it does
not read the sockets, as a pool that never tests its connections, or it has ignored the error. Each keeps a descriptor.
They are in none of the kernel's tables, so `ss` and `netstat` cannot show them; `lsof` calls them \"can't identify
protocol\".",
    remedy: "Close on every error. Let the pool test connections before use and evict those that have ended. `tcptrace snapshot
-s close` lists these sockets with their descriptors.",
    spares: "Sockets in CLOSE that were never connected, which a program makes before it connects; those whose peers
had closed them before, which are counted as close-wait-leak; fewer than ten, since a program
may not have handled an error yet.",
    check,
};

const FEW: usize = 10;
const MANY: usize = 100;

fn check(scene: &Scene) -> Vec<Finding> {
    let mut by_process: HashMap<usize, Vec<&Socket>> = HashMap::new();
    for socket in scene.in_state(TcpState::Close) {
        if let Some(owner) = socket.owner
            && socket.endpoints.remote_port != 0
            && !socket.left_close_wait
        {
            by_process.entry(owner.process).or_default().push(socket);
        }
    }
    by_process
        .into_iter()
        .filter(|(_, sockets)| sockets.len() >= FEW)
        .filter_map(|(process, sockets)| finding(scene, process, &sockets))
        .collect()
}

fn finding(scene: &Scene, process: usize, sockets: &[&Socket]) -> Option<Finding> {
    let process = scene.processes.get(process)?;
    let count = sockets.len();
    let untold = sockets.iter().filter(|socket| socket.error != 0).count();
    let mut evidence = vec![Evidence::new(
        "pending_errors",
        untold,
        format!("{untold} of {count} have a pending error that the program has not read"),
    )];
    let mut fds: Vec<u32> = sockets
        .iter()
        .filter_map(|socket| socket.fds.first().copied())
        .collect();
    fds.sort_unstable();
    if let Some(first) = fds.first() {
        evidence.push(Evidence::new(
            "lowest_fd",
            u64::from(*first),
            format!("their lowest descriptor is {first}"),
        ));
    }
    let is_nearly_full = process
        .descriptors
        .is_some_and(|fds| fds.used * 10 >= fds.limit * 9);
    if let Some(fds) = process.descriptors {
        let text = format!("{} of {} file descriptors are used", fds.used, fds.limit);
        evidence.push(Evidence::new("descriptors_used", fds.used, text));
    }
    Some(Finding {
        rule: RULE.id,
        level: if count >= MANY || is_nearly_full {
            Level::Warning
        } else {
            Level::Note
        },
        subject: Subject::process(process.key, &process.comm),
        title: match count {
            1 => "1 socket is open whose connection was reset or failed".to_owned(),
            count => format!("{count} sockets are open whose connections were reset or failed"),
        },
        evidence,
        meaning: "the connections have ended, and their descriptors are still open; tools that read the kernel's tables do not \
            show them"
            .to_owned(),
        remedy: "close on every error, and let pools test connections before use; `tcptrace snapshot -s close` lists them"
            .to_owned(),
        weight: count.figure(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{
        evaluate_by,
        fixture::{rendered, scene, socket},
    };

    fn reset(owner: usize) -> Socket {
        Socket {
            age: None,
            error: 104,
            ..socket(TcpState::Close, "10.0.0.1:80", "10.0.0.2:4000", 0, Some(owner))
        }
    }

    #[test]
    fn ten_are_reported_and_nine_are_not() {
        let mut scene = scene();
        let owner = scene.process_at(5, "pool");
        scene.add(9, &reset(owner));
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
        scene.add(1, &reset(owner));
        insta::assert_snapshot!(rendered(&evaluate_by(&[&RULE], &scene)[0]));
        scene.add(90, &reset(owner));
        assert_eq!(evaluate_by(&[&RULE], &scene)[0].level, Level::Warning);
    }

    #[test]
    fn sockets_that_were_never_connected_and_a_pool_at_rest_are_no_trouble() {
        let mut scene = scene();
        let owner = scene.process_at(5, "pool");
        for _ in 0..200 {
            scene.add(
                1,
                &socket(TcpState::Close, "0.0.0.0:0", "0.0.0.0:0", 0, Some(owner)),
            );
        }
        scene.add(
            200,
            &socket(
                TcpState::Established,
                "10.0.0.1:4000",
                "10.0.0.2:80",
                600,
                Some(owner),
            ),
        );
        assert_eq!(evaluate_by(&[&RULE], &scene), []);
    }
}
