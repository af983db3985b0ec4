//! Where in its program a leak was made: the lines of `leaks`, and its part of the JSON.

use crate::stacks::{
    names::{self, Frame},
    places::{Place, Places},
    taken::{Call, End},
};
use serde::Serialize;
use std::fmt::Write as _;

/// Frames of a stack in a line; with `-w` all of them.
const FRAMES: usize = 32;

/// Adds the lines of one process; more than `limit` sockets means all frames.
pub(super) fn push(text: &mut String, places: &Places, limit: usize) {
    let frames = if limit == usize::MAX { limit } else { FRAMES };
    for place in places.opened.iter().chain(&places.read) {
        let _ = writeln!(
            text,
            "  {}\n    {}",
            heading(place),
            names::line(&place.named, place.end, frames)
        );
        for shortfall in &place.named.shortfalls {
            let _ = writeln!(text, "    {shortfall}");
        }
    }
    if places.before > 0 {
        let _ = writeln!(
            text,
            "  {} were opened before this watch: where is not known",
            places.before
        );
    }
}

fn heading(place: &Place) -> String {
    let Place {
        leaked,
        younger,
        calls,
        ..
    } = place;
    let younger = if *younger > 0 {
        format!(", {younger} more in CLOSE_WAIT")
    } else {
        String::new()
    };
    match place.call {
        Call::Connect => format!("{leaked} forgotten of {calls} connected here{younger}:"),
        Call::Accept => format!("{leaked} forgotten of {calls} accepted here{younger}:"),
        Call::Read => format!("{leaked} forgotten, last read here{younger}:"),
    }
}

/// Part of a leak's JSON.
#[derive(Serialize)]
pub(super) struct StacksJson<'a> {
    opened: Vec<PlaceJson<'a>>,
    last_read: Vec<PlaceJson<'a>>,
    before: usize,
}

#[derive(Serialize)]
struct PlaceJson<'a> {
    call: Call,
    leaked: usize,
    younger: usize,
    calls: u64,
    end: End,
    shortfalls: &'a [String],
    frames: &'a [Frame],
}

/// The places of one leak.
pub(super) fn json(places: &Places) -> StacksJson<'_> {
    StacksJson {
        opened: places.opened.iter().map(place).collect(),
        last_read: places.read.iter().map(place).collect(),
        before: places.before,
    }
}

fn place(place: &Place) -> PlaceJson<'_> {
    PlaceJson {
        call: place.call,
        leaked: place.leaked,
        younger: place.younger,
        calls: place.calls,
        end: place.end,
        shortfalls: &place.named.shortfalls,
        frames: &place.named.frames,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::names::Named;

    fn place(call: Call, functions: &[&str], end: End) -> Place {
        Place {
            call,
            leaked: 12,
            younger: 0,
            calls: 14,
            named: Named {
                frames: functions
                    .iter()
                    .map(|function| Frame {
                        function: Some((*function).to_owned()),
                        ..Frame::default()
                    })
                    .collect(),
                shortfalls: end.shortfall().map(str::to_owned).into_iter().collect(),
            },
            end,
        }
    }

    #[test]
    fn a_place_has_its_counts_its_stack_and_what_is_missing() {
        let places = Places {
            opened: vec![
                place(Call::Accept, &["accept", "take", "main"], End::Root),
                Place {
                    leaked: 0,
                    younger: 3,
                    ..place(Call::Connect, &["connect", "fetch"], End::NoFramePointers)
                },
            ],
            read: vec![place(Call::Read, &["recv", "parse"], End::Root)],
            before: 2,
        };
        let mut text = String::new();
        push(&mut text, &places, 10);
        assert_eq!(
            text,
            "  12 forgotten of 14 accepted here:\n    \
                 main → take → accept\n  \
               0 forgotten of 14 connected here, 3 more in CLOSE_WAIT:\n    \
                 … → fetch → connect\n    \
                 outer frames are missing: the stack is deeper than the 2 KiB that are copied, and the program keeps no frame pointers (-fno-omit-frame-pointer)\n  \
               12 forgotten, last read here:\n    \
                 parse → recv\n  \
               2 were opened before this watch: where is not known\n"
        );
        let value = serde_json::to_value(json(&places)).expect("JSON");
        assert_eq!(value["opened"][1]["end"], "no-frame-pointers");
        assert_eq!(value["opened"][0]["frames"][1]["function"], "take");
        assert_eq!(value["last_read"][0]["call"], "read");
        assert_eq!(value["before"], 2);
    }

    #[test]
    fn only_wide_output_has_all_frames_of_a_deep_stack() {
        let functions = (0..40).map(|at| ["f", "g"][at % 2]).collect::<Vec<_>>();
        let places = Places {
            opened: vec![place(Call::Connect, &functions, End::Root)],
            ..Places::default()
        };
        let arrows = |limit| {
            let mut text = String::new();
            push(&mut text, &places, limit);
            text.matches(" → ").count()
        };
        assert_eq!((arrows(10), arrows(usize::MAX)), (32, 39));
    }
}
