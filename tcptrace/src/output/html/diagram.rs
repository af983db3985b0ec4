//! TCP's state diagram (RFC 9293 section 3.3.2), from the left to the right: opening, open, closing. Each arrow has how
//! often it was taken, and the median of the time in the state before it. Ends that are no arrow of it, as by a reset,
//! are written below their state.

use super::plot::{class, short};
use crate::{
    duration::human,
    event::TcpState::{
        self, Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent,
        TimeWait,
    },
    report::{arrows::Arrow, page::Part},
};
use maud::{Markup, html};

const WIDTH: u32 = 1_240;
const HEIGHT: u32 = 440;

/// Half of a state's box.
const HALF: (i32, i32) = (62, 21);

/// The middle of each state's box.
const PLACES: [(TcpState, i32, i32); 11] = [
    (Close, 75, 160),
    (Listen, 75, 390),
    (SynSent, 280, 90),
    (SynRecv, 280, 390),
    (Established, 500, 240),
    (FinWait1, 720, 120),
    (CloseWait, 720, 390),
    (FinWait2, 930, 55),
    (Closing, 930, 200),
    (LastAck, 930, 390),
    (TimeWait, 1_150, 120),
];

/// Where connections end, besides where they begin.
const END: (i32, i32) = (1_150, 390);

/// The arrows of the diagram, and which part of each has its label, in hundredths.
const ARROWS: [(TcpState, TcpState, i32); 17] = [
    (Close, SynSent, 50),
    (Close, Listen, 50),
    (Listen, SynRecv, 50),
    (Listen, Established, 40),
    (SynSent, SynRecv, 38),
    (SynSent, Established, 50),
    (SynRecv, Established, 50),
    (Established, FinWait1, 50),
    (Established, CloseWait, 50),
    (FinWait1, FinWait2, 50),
    (FinWait1, Closing, 50),
    (FinWait1, TimeWait, 50),
    (FinWait2, TimeWait, 50),
    (Closing, TimeWait, 50),
    (CloseWait, LastAck, 50),
    (TimeWait, Close, 45),
    (LastAck, Close, 50),
];

/// Drawn only where they occur: the handshake was done before it was seen, or by a cookie, or both SYNs crossed.
const RARE: [(TcpState, TcpState); 3] = [(Listen, Established), (SynSent, SynRecv), (Close, Listen)];

/// `id` is the part's.
pub(super) fn draw(part: &Part, id: &str) -> Markup {
    let arrows = &part.arrows;
    if arrows.is_empty() {
        return html! { section.diagram { h4 { "State diagram" } p.none { "There was no transition." } } };
    }
    let now = part.series.now();
    html! {
        section.diagram {
            h4 { "State diagram" }
            p.note {
                "Each arrow: how often it was taken, and the median time in the state before it, of those seen from \
                beginning to end."
            }
            figure.scroll {
                svg.states viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img"
                    aria-label="TCP's state diagram with the number of transitions. The table below has the numbers." {
                    defs {
                        marker id=(format!("{id}-tip")) viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" {
                            path d="M0 0L8 4L0 8z" {}
                        }
                    }
                    @for (from, to, at) in ARROWS {
                        @let taken = arrows.iter().find(|arrow| arrow.from == from && arrow.to == to);
                        @if taken.is_some() || !RARE.contains(&(from, to)) { (arrow(from, to, at, taken, id)) }
                    }
                    @for (state, x, y) in PLACES { (node(part, state, (x, y), now[state.index()])) }
                    (end_node())
                }
            }
            (table(arrows))
        }
    }
}

fn place(state: TcpState) -> (i32, i32) {
    let known = PLACES.iter().find(|(other, ..)| *other == state);
    known.map_or(END, |(_, x, y)| (*x, *y))
}

/// The point at which the line from the middle of a box to `other` leaves the box.
fn edge((x, y): (i32, i32), other: (i32, i32), gap: i32) -> (i32, i32) {
    let (dx, dy) = (other.0 - x, other.1 - y);
    let (half_x, half_y) = (HALF.0 + gap, HALF.1 + gap);
    if dx.abs() * half_y > dy.abs() * half_x {
        (x + half_x * dx.signum(), y + dy * half_x / dx.abs().max(1))
    } else {
        (x + dx * half_y / dy.abs().max(1), y + half_y * dy.signum())
    }
}

fn arrow(from: TcpState, to: TcpState, label_at: i32, taken: Option<&Arrow>, id: &str) -> Markup {
    let begin = place(from);
    let end = if to == Close { END } else { place(to) };
    let (x1, y1) = edge(begin, end, 0);
    let (x2, y2) = edge(end, begin, 3);
    let (x, y) = (x1 + (x2 - x1) * label_at / 100, y1 + (y2 - y1) * label_at / 100);
    let weight = taken.map_or(0, |arrow| arrow.count.ilog10().min(4));
    html! {
        line.arrow.taken[taken.is_some()].(format!("w{weight}"))
            x1=(x1) y1=(y1) x2=(x2) y2=(y2) marker-end=(format!("url(#{id}-tip)")) {}
        @if let Some(arrow) = taken {
            text.label x=(x) y=(y - 3) {
                tspan.count { (short(arrow.count)) }
                @if let Some(median) = arrow.median { tspan x=(x) dy="14" { (human(median)) } }
                title { (sentence(arrow)) }
            }
        }
    }
}

fn sentence(arrow: &Arrow) -> String {
    let Arrow {
        from,
        to,
        count,
        median,
    } = arrow;
    match median {
        Some(median) => format!(
            "{from} to {to}: {count}, after {} in {from} (median)",
            human(*median)
        ),
        None => format!("{from} to {to}: {count}"),
    }
}

fn node(part: &Part, state: TcpState, (x, y): (i32, i32), now: u64) -> Markup {
    let early = part.arrows.iter().find(|arrow| {
        arrow.from == state && arrow.to == Close && !matches!(state, TimeWait | LastAck | Listen)
    });
    html! {
        g.node {
            rect class=(class(state)) x=(x - HALF.0) y=(y - HALF.1) width=(HALF.0 * 2) height=(HALF.1 * 2) rx="6" {}
            text x=(x) y=(y - 2) { (state) }
            text.now x=(x) y=(y + 13) { @if state == Close { "begins" } @else { (short(now)) " now" } }
            @if let Some(early) = early {
                text.early x=(x) y=(if state == FinWait2 { y - HALF.1 - 8 } else { y + HALF.1 + 16 }) {
                    "✕ ended " (short(early.count))
                    @if let Some(median) = early.median { " after " (human(median)) }
                    title { (sentence(early)) }
                }
            }
        }
    }
}

fn end_node() -> Markup {
    let (x, y) = END;
    html! {
        g.node {
            rect class=(class(Close)) x=(x - HALF.0) y=(y - HALF.1) width=(HALF.0 * 2) height=(HALF.1 * 2) rx="6" {}
            text x=(x) y=(y - 2) { (Close) }
            text.now x=(x) y=(y + 13) { "has ended" }
        }
    }
}

fn table(arrows: &[Arrow]) -> Markup {
    html! {
        details.numbers {
            summary { "Table: transitions" }
            div.scroll { table {
                thead { tr { th { "From" } th { "To" } th.n { "Count" } th.n { "Median time in the state before" } } }
                tbody {
                    @for Arrow { from, to, count, median } in arrows {
                        tr {
                            th scope="row" { (from) } td.left { (to) } td { (count) }
                            td { @if let Some(median) = median { (human(*median)) } }
                        }
                    }
                }
            } }
        }
    }
}
