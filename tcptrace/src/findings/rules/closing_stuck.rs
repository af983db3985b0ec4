//! Both sides closed at once, and an acknowledgement is missing.

use super::{Rule, unacknowledged};
use crate::{
    event::TcpState,
    findings::{Finding, scene::Scene},
};

/// The rule.
pub static RULE: Rule = Rule {
    id: "closing-stuck",
    title: "both sides closed at once, and the peer's acknowledgement is missing",
    fires: "A socket is in CLOSING and nothing has come from its peer for 30 s: a note, from 100 sockets with one peer on a warning.",
    means: "Both FINs crossed, and the peer's acknowledgement of ours was lost or is dropped. The kernel sends the FIN again until
`tcp_orphan_retries` is through.",
    remedy: "Look at the path to this peer for what drops bare acknowledgements. Nothing needs to be done on this host.",
    spares: "CLOSING of which the peer was heard within 30 s; connections at rest.",
    check,
};

fn check(scene: &Scene) -> Vec<Finding> {
    unacknowledged::check(
        scene,
        RULE.id,
        TcpState::Closing,
        "both sides closed at once, and the peer does not acknowledge this side's FIN",
        "look at the path to this peer for what drops bare acknowledgements; this host needs nothing",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_past_half_a_minute_is_told_and_less_is_not() {
        insta::assert_snapshot!(unacknowledged::tests::holds(&RULE, TcpState::Closing));
    }
}
