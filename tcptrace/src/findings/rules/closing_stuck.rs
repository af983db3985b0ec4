//! Both sides closed at once, and the peer does not acknowledge the FIN.

use super::{Rule, unacknowledged};
use crate::{
    event::TcpState,
    findings::{Finding, scene::Scene},
};

/// `closing-stuck`
pub static RULE: Rule = Rule {
    id: "closing-stuck",
    title: "both sides closed at once, and the peer's acknowledgement is missing",
    fires: "A socket is in CLOSING and nothing has been received from its peer for 30 s: a note; a warning from 100 sockets with one peer.",
    means: "Both FINs crossed, and the peer's acknowledgement of ours was lost or is dropped. The kernel retransmits the FIN
`tcp_orphan_retries` times.

Where the sockets are read live, the evidence shows how often the FIN was retransmitted, whether it waits behind data for a
closed receive window, and when the kernel gives up.",
    remedy: "Find what drops pure ACKs on the path to this peer. Nothing needs to be done on this host.",
    spares: "CLOSING if something was received from the peer within 30 s; idle connections.",
    check,
};

fn check(scene: &Scene) -> Vec<Finding> {
    unacknowledged::check(
        scene,
        RULE.id,
        TcpState::Closing,
        "both sides closed at once, and the peer does not acknowledge this side's FIN",
        "find what drops pure ACKs on the path to this peer; nothing needs to be done on this host",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_past_half_a_minute_is_reported_and_less_is_not() {
        insta::assert_snapshot!(unacknowledged::tests::holds(&RULE, TcpState::Closing));
    }
}
