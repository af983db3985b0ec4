//! Draws the model into cells, and says where it has put things. Reads nothing else, and formats only what is seen.

mod bottom;
mod findings;
mod help;
mod history;
mod lines;
mod pen;
mod states;
mod table;
#[cfg(test)]
mod tests;
mod top;
mod transitions;

use super::{
    app::{App, Areas},
    columns::{connections, endpoints, findings as found_columns, processes},
    place::Place,
};
use lines::Line;
use pen::Pen;
use ratatui::{buffer::Buffer, layout::Rect};

/// Lines of the terminal below which the states have none.
const ROOM_FOR_STATES: u16 = 16;

/// Draws everything.
pub fn draw(app: &App, buffer: &mut Buffer) -> Areas {
    let screen = buffer.area;
    let mut pen = Pen::new(buffer);
    let mut y = top::header(app, &mut pen, screen);
    if screen.height >= ROOM_FOR_STATES {
        y = states::strip(app, &mut pen, screen, y);
    }
    let mut areas = Areas {
        tabs: top::tabs(app, &mut pen, screen, y),
        ..Areas::default()
    };
    y += 1;
    let caption = y;
    y += 1;
    let body = Rect {
        x: screen.x,
        y: y.min(screen.bottom()),
        width: screen.width,
        height: screen.bottom().saturating_sub(y + 1),
    };
    match app.stop().place {
        Place::Processes => table::draw(
            app,
            &mut pen,
            body,
            &app.content.view.processes,
            &processes::COLUMNS,
            &mut areas,
        ),
        Place::Connections(_) => table::draw(
            app,
            &mut pen,
            body,
            &app.content.connections,
            &connections::COLUMNS,
            &mut areas,
        ),
        Place::Endpoints => table::draw(
            app,
            &mut pen,
            body,
            &app.content.endpoints,
            &endpoints::COLUMNS,
            &mut areas,
        ),
        Place::Findings => findings::draw(app, &mut pen, body, &found_columns::COLUMNS, &mut areas),
        Place::History(_) | Place::Transitions | Place::Histograms(_) | Place::Help => {
            lines::draw(app, &mut pen, body, &lines_of(app, body.width), &mut areas);
        }
    }
    top::caption(app, &mut pen, screen, caption, &areas);
    if screen.height > 0 {
        bottom::footer(app, &mut pen, screen);
    }
    areas
}

/// The lines of a view that is no table.
fn lines_of(app: &App, width: u16) -> Vec<Line> {
    match app.stop().place {
        Place::History(_) => history::lines(app, width),
        Place::Transitions => transitions::lines(app, width),
        Place::Histograms(_) if app.content.histograms.is_empty() => lines::plain(&[
            "No sockets, and no state that was seen to end.".to_owned(),
            "A connection that is made brings the first lines.".to_owned(),
        ]),
        Place::Histograms(_) => lines::plain(&app.content.histograms),
        Place::Help => help::lines(app),
        Place::Processes | Place::Connections(_) | Place::Endpoints | Place::Findings => Vec::new(),
    }
}

/// All lines of a view that is no table, as text.
#[must_use]
pub fn text_of_lines(app: &App) -> String {
    let mut text = String::new();
    for line in lines_of(app, app.areas.rows.width) {
        let begin = text.len();
        for (piece, _) in line {
            text.push_str(&piece);
        }
        text.truncate(begin + text[begin..].trim_end().len());
        text.push('\n');
    }
    text
}
