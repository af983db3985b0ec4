//! The call sites of leaked sockets: lines of `leaks`, and its part of the JSON.

use crate::stacks::{
    call_sites::{CallSite, CallSites},
    frames::End,
    names::{self, Frame},
};
use serde::Serialize;
use std::fmt::Write as _;
use tcptrace_common::Call;

/// Frames of a stack in a line; with `--all` all of them.
const FRAMES: usize = 32;

/// Adds the lines of one process; more than `limit` sockets means all frames.
pub(super) fn push(text: &mut String, call_sites: &CallSites, limit: usize) {
    let frames = if limit == usize::MAX { limit } else { FRAMES };
    for call_site in call_sites.opened.iter().chain(&call_sites.read) {
        let _ = writeln!(
            text,
            "  {}\n    {}",
            heading(call_site),
            names::line(&call_site.named, call_site.end, frames)
        );
        for limitation in &call_site.named.limitations {
            let _ = writeln!(text, "    {limitation}");
        }
    }
    if call_sites.before > 0 {
        let _ = writeln!(
            text,
            "  {} were opened before tracing began: call site unknown",
            call_sites.before
        );
    }
}

fn heading(call_site: &CallSite) -> String {
    let CallSite {
        leaked,
        younger,
        calls,
        ..
    } = call_site;
    let younger = if *younger > 0 {
        format!(", {younger} more in CLOSE_WAIT")
    } else {
        String::new()
    };
    match call_site.call {
        Call::Connect => format!("{leaked} leaked of {calls} connected here{younger}:"),
        Call::Accept => format!("{leaked} leaked of {calls} accepted here{younger}:"),
        Call::Read => format!("{leaked} leaked, last read here{younger}:"),
    }
}

#[derive(Serialize)]
pub(super) struct StacksJson<'a> {
    opened: Vec<CallSiteJson<'a>>,
    last_read: Vec<CallSiteJson<'a>>,
    opened_before: usize,
}

#[derive(Serialize)]
struct CallSiteJson<'a> {
    call: &'static str,
    leaked: usize,
    younger: usize,
    calls: u64,
    end: End,
    limitations: &'a [String],
    frames: &'a [Frame],
}

pub(super) fn json(call_sites: &CallSites) -> StacksJson<'_> {
    StacksJson {
        opened: call_sites.opened.iter().map(call_site).collect(),
        last_read: call_sites.read.iter().map(call_site).collect(),
        opened_before: call_sites.before,
    }
}

fn call_site(call_site: &CallSite) -> CallSiteJson<'_> {
    CallSiteJson {
        call: call_site.call.name(),
        leaked: call_site.leaked,
        younger: call_site.younger,
        calls: call_site.calls,
        end: call_site.end,
        limitations: &call_site.named.limitations,
        frames: &call_site.named.frames,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::names::NamedStack;

    fn call_site(call: Call, functions: &[&str], end: End) -> CallSite {
        CallSite {
            call,
            leaked: 12,
            younger: 0,
            calls: 14,
            named: NamedStack {
                frames: functions
                    .iter()
                    .map(|function| Frame {
                        function: Some((*function).to_owned()),
                        ..Frame::default()
                    })
                    .collect(),
                limitations: end.limitation().map(str::to_owned).into_iter().collect(),
            },
            end,
        }
    }

    #[test]
    fn a_place_has_its_counts_its_stack_and_what_is_missing() {
        let call_sites = CallSites {
            opened: vec![
                call_site(Call::Accept, &["accept", "take", "main"], End::Root),
                CallSite {
                    leaked: 0,
                    younger: 3,
                    ..call_site(Call::Connect, &["connect", "fetch"], End::NoFramePointers)
                },
            ],
            read: vec![call_site(Call::Read, &["recv", "parse"], End::Root)],
            before: 2,
        };
        let mut text = String::new();
        push(&mut text, &call_sites, 10);
        assert_eq!(
            text,
            "  12 leaked of 14 accepted here:\n    \
                 main → take → accept\n  \
               0 leaked of 14 connected here, 3 more in CLOSE_WAIT:\n    \
                 … → fetch → connect\n    \
                 outer frames are missing: the stack is larger than the 2 KiB that are copied, and the program has no frame pointers (-fno-omit-frame-pointer)\n  \
               12 leaked, last read here:\n    \
                 parse → recv\n  \
               2 were opened before tracing began: call site unknown\n"
        );
        let value = serde_json::to_value(json(&call_sites)).expect("JSON");
        assert_eq!(value["opened"][1]["end"], "no-frame-pointers");
        assert_eq!(value["opened"][0]["frames"][1]["function"], "take");
        assert_eq!(value["last_read"][0]["call"], "read");
        assert_eq!(value["opened_before"], 2);
    }

    #[test]
    fn only_wide_output_has_all_frames_of_a_deep_stack() {
        let functions = (0..40).map(|at| ["f", "g"][at % 2]).collect::<Vec<_>>();
        let call_sites = CallSites {
            opened: vec![call_site(Call::Connect, &functions, End::Root)],
            ..CallSites::default()
        };
        let arrows = |limit| {
            let mut text = String::new();
            push(&mut text, &call_sites, limit);
            text.matches(" → ").count()
        };
        assert_eq!((arrows(10), arrows(usize::MAX)), (32, 39));
    }
}
