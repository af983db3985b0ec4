//! All states with count, rate and trend.

use super::pen::Pen;
use crate::{
    event::TcpState,
    tui::{app::App, columns::Side, format},
};
use ratatui::layout::Rect;

/// In the order in which a connection may pass through them, a listener's first.
const ORDER: [TcpState; TcpState::COUNT] = [
    TcpState::Listen,
    TcpState::SynSent,
    TcpState::SynRecv,
    TcpState::Established,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::Closing,
    TcpState::TimeWait,
    TcpState::CloseWait,
    TcpState::LastAck,
    TcpState::Close,
];

/// Name, count, an arrow and a rate.
const NARROW: u16 = 26;
/// The same with a few bars.
const ROOMY: u16 = 32;
const NAME: u16 = 11;
const COUNT: u16 = 6;
const RATE: u16 = 7;

/// Draws the states in columns. Returns the line below.
pub(super) fn strip(app: &App, pen: &mut Pen<'_>, screen: Rect, y: u16) -> u16 {
    let least = if screen.width >= 3 * ROOMY { ROOMY } else { NARROW };
    let states = u16::try_from(TcpState::COUNT).unwrap_or(u16::MAX);
    let columns = (screen.width / least).clamp(1, states);
    let lines = states.div_ceil(columns);
    let field = screen.width / columns;
    for (number, state) in (0..).zip(ORDER) {
        let x = screen.x + number / lines * field;
        one(app, pen, state, x, y + number % lines, field);
    }
    y + lines
}

fn one(app: &App, pen: &mut Pen<'_>, state: TcpState, x: u16, y: u16, field: u16) {
    let theme = app.theme;
    let index = state.index();
    let count = app.content.view.counts[index];
    let style = if count > 0 {
        theme.state(state)
    } else {
        theme.dim()
    };
    pen.put(x, y, NAME, state.name(), style);
    pen.put_field(x + NAME, y, COUNT, Side::Right, &format::count(count), style);
    let entered = app.content.entered[index];
    if entered > 0.0 && app.content.view.rate.is_some() {
        let rate = format!("{}/s", format::rate(entered));
        pen.put_field(x + NAME + COUNT + 1, y, RATE, Side::Right, &rate, theme.plain());
    }
    let trend = x + NAME + COUNT + RATE + 1;
    let left = field.saturating_sub(NAME + COUNT + RATE + 2);
    if left >= 6 {
        let bars = app.trend.bars(index, usize::from(left - 1));
        pen.put(trend + 1, y, left - 1, &bars, style);
    } else {
        pen.put(x + NAME + COUNT, y, 1, &app.trend.arrow(index).to_string(), style);
    }
}
