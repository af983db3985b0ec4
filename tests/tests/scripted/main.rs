//! Every path through the TCP states, forced by a scripted peer, compared with the events of `tcptrace trace --json`:
//! path, reason, endpoints, owner, and each dwell time. Each case runs over IPv4 and over IPv6, in a network namespace
//! of its own; all run at the same time, because most of their time is the kernel's timers.

mod closes;
mod connects;
mod destroyed;
mod handshakes;
mod reconnects;
mod replay;
mod resets;
mod script;
mod timeouts;
mod timewaits;

use script::{Case, Script};
use std::process::ExitCode;
use tcptrace_tests::{
    live::{self, LiveTest, Parallelism, Requirement},
    peer::Family,
    shared,
};

fn main() -> ExitCode {
    let mut requirements = live::TRACING.to_vec();
    requirements.push(Requirement::Tun);
    let themes: [(&str, &[Case]); 8] = [
        ("closes", closes::CASES),
        ("connects", connects::CASES),
        ("destroyed", destroyed::CASES),
        ("handshakes", handshakes::CASES),
        ("reconnects", reconnects::CASES),
        ("resets", resets::CASES),
        ("timeouts", timeouts::CASES),
        ("timewaits", timewaits::CASES),
    ];
    let mut tests = Vec::new();
    for (theme, cases) in themes {
        for case in cases {
            for family in Family::ALL {
                let mut requirements = requirements.clone();
                // Where an end has no hook, a poll that is late does not see what it was.
                if theme == "destroyed" {
                    requirements.push(Requirement::Speed);
                }
                if family == Family::V6 {
                    requirements.push(Requirement::Ipv6);
                }
                let name = format!("{theme}::{}::{family}", case.name);
                tests.push(LiveTest::new(name, &requirements, move || {
                    Script::play(case, family);
                }));
            }
        }
    }
    live::run(tests, Parallelism::All, || shared::stop().and(replay::compare()))
}
