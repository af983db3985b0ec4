//! The views, one per file: what each gathers, its caption, and its table or lines.

pub(super) mod connections;
pub(super) mod endpoints;
pub(super) mod findings;
pub(super) mod help;
pub(super) mod histograms;
pub(super) mod history;
pub(super) mod processes;
pub(super) mod transitions;

use super::{app::App, content::Content, draw::Line, gather::Sources, route::Tab, table::AnyTable};
use crate::{
    event::ProcessKey,
    owner::processes::comm_text,
    plural,
    stats::key::NamedKey,
    view::{ProcessView, connections::Selection},
};

/// One view. It has either a table or lines.
pub(super) trait View {
    /// In the names of exported files.
    fn name(&self) -> &'static str {
        self.tab().map_or("help", Tab::name)
    }

    fn tab(&self) -> Option<Tab> {
        None
    }

    /// The line above it: what it shows, and how much of it.
    fn caption(&self, app: &App) -> String;

    /// Whether it shows only what the filter selects.
    fn is_filtered(&self) -> bool {
        false
    }

    /// The process that it is about: its worst finding is shown next to the caption.
    fn process(&self, _app: &App) -> Option<ProcessKey> {
        None
    }

    /// Gathers what no other view needs.
    fn gather(&self, _content: &mut Content, _sources: &Sources<'_>) {}

    fn table(&self) -> Option<&dyn AnyTable> {
        None
    }

    fn lines(&self, _app: &App, _width: u16) -> Vec<Line> {
        Vec::new()
    }
}

/// Why a table of sockets has no rows: the filter, or the moment.
fn no_sockets(app: &App, what: &str) -> Vec<String> {
    if !app.filter.is_empty() {
        return vec![
            format!("Nothing matches the filter {}.", app.filter),
            "f changes it; an empty filter shows everything.".to_owned(),
        ];
    }
    let then = if app.content.play.is_some() {
        " at this moment of the recording."
    } else {
        ". They appear as soon as one is opened."
    };
    vec![format!("No TCP {what}{then}")]
}

fn name_of(app: &App, selection: Selection) -> String {
    match selection {
        Selection::All => "all processes".to_owned(),
        Selection::Process(None) => "unknown processes".to_owned(),
        Selection::Process(Some(key)) => {
            let is_it = |row: &&ProcessView| row.key == Some(key);
            let known = app.content.view.processes.iter().find(is_it);
            known.map_or_else(|| key.pid.to_string(), |row| format!("{}/{}", key.pid, row.comm))
        }
        Selection::LeftOver(name) => format!("processes named {} without open sockets", comm_text(&name)),
        Selection::Endpoint(key) => NamedKey { key, comm: [0; 16] }.to_string(),
    }
}

/// `3 connections`, of the rows that are shown.
fn counted(app: &App, noun: &str) -> String {
    plural::counted(app.rows().len() as u64, noun)
}
