//! Every way through the TCP states, forced by a scripted peer, against what `tcptrace trace --json` tells:
//! path, reason, ends, owner, and each dwell time. Each case is played in IPv4 and in IPv6, each time in a
//! network namespace of its own; all are played side by side, because most of their time is the kernel's.

mod closes;
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
    let themes: [(&str, &[Case]); 6] = [
        ("closes", closes::CASES),
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
