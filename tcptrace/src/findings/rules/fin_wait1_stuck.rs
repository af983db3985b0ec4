//! Peers that do not acknowledge our FIN.

use super::{Rule, unacknowledged};
use crate::{
    event::TcpState,
    findings::{Finding, scene::Scene},
};

/// `fin-wait1-stuck`
pub static RULE: Rule = Rule {
    id: "fin-wait1-stuck",
    title: "a peer does not acknowledge that we have closed",
    fires: "A socket is in FIN_WAIT1 and nothing has been received from its peer for 30 s: a note; a warning from 100 sockets with one peer.",
    means: "This side has closed, and the peer acknowledges neither the FIN nor the data before it: it is gone, a firewall drops its
segments, or its receive window is full. The kernel sends again, for as long as `tcp_orphan_retries` says (0 means 8, some
100 s and more), or `tcp_retries2` while a process still has it open; meanwhile the data takes memory.

Where the sockets are read live, the evidence shows how often the FIN was retransmitted, whether it waits behind data for a
closed receive window, and when the kernel gives up.",
    remedy: "Look at the path to this peer: firewalls that forget idle connections, peers that disappear. Many at once count against
`net.ipv4.tcp_max_orphans`; `net.ipv4.tcp_orphan_retries` at 2 or 3 gives up sooner, at the price of data that a slow
but living peer would still have taken.",
    spares: "FIN_WAIT1 if something was received from the peer within 30 s, as from one that reads slowly; idle connections.",
    check,
};

fn check(scene: &Scene) -> Vec<Finding> {
    unacknowledged::check(
        scene,
        RULE.id,
        TcpState::FinWait1,
        "this side has closed, and the peer neither acknowledges nor resets: it is gone, or something on the way drops its segments",
        "look at the path to this peer; net.ipv4.tcp_orphan_retries sets how long the kernel retries",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_past_half_a_minute_is_reported_and_less_is_not() {
        insta::assert_snapshot!(unacknowledged::tests::holds(&RULE, TcpState::FinWait1));
    }
}
