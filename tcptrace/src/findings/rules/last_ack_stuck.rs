//! Peers that do not acknowledge our FIN after theirs.

use super::{Rule, unacknowledged};
use crate::{
    event::TcpState,
    findings::{Finding, scene::Scene},
};

/// `last-ack-stuck`
pub static RULE: Rule = Rule {
    id: "last-ack-stuck",
    title: "a peer closed, and does not acknowledge that we did too",
    fires: "A socket is in LAST_ACK and nothing has been received from its peer for 30 s: a note; a warning from 100 sockets with one peer.",
    means: "The peer closed first, this side has closed too, and its FIN is not acknowledged: the peer was killed or rebooted in
between, has long forgotten the connection behind a firewall that drops its RST, or this side took so long to close that
nobody is left to answer. The kernel gives up after `tcp_orphan_retries`.

Where the sockets are read live, the evidence shows how often the FIN was retransmitted, whether it waits behind data for a
closed receive window, and when the kernel gives up.",
    remedy: "Harmless in small numbers. Many from one process mean that it closes late: see `close-wait-leak`.",
    spares: "LAST_ACK if something was received from the peer within 30 s; idle connections.",
    check,
};

fn check(scene: &Scene) -> Vec<Finding> {
    unacknowledged::check(
        scene,
        RULE.id,
        TcpState::LastAck,
        "the peer closed first, and was gone before this side closed too",
        "harmless in small numbers; many mean that this side closes late: see `tcptrace leaks`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_past_half_a_minute_is_reported_and_less_is_not() {
        insta::assert_snapshot!(unacknowledged::tests::holds(&RULE, TcpState::LastAck));
    }
}
