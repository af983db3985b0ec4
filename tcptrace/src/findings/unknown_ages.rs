//! Sockets of which the time in CLOSE_WAIT is unknown.

use super::{scene::Scene, spared};
use crate::{
    event::TcpState,
    unseen::{Unseen, What},
};

/// Of what a verdict on leaked sockets takes: their ages, and whose they are.
#[must_use]
pub fn unknown_ages(scene: &Scene) -> Vec<Unseen> {
    let ageless = scene
        .in_state(TcpState::CloseWait)
        .filter(|socket| socket.age.is_none() && !socket.is_kernel_socket)
        .count();
    let probed = spared::younger(scene).map_or(0, |younger| younger.unsure);
    [
        (ageless, "this kernel does not show it"),
        (
            probed,
            "their peers answer probes since, which hides it; a longer --duration shows it",
        ),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, why)| {
        let have = if count == 1 {
            "1 socket has".to_owned()
        } else {
            format!("{count} sockets have")
        };
        let text = format!("how long {have} been in CLOSE_WAIT: {why}");
        Unseen::counted(What::Ages, count, text)
    })
    .collect()
}
