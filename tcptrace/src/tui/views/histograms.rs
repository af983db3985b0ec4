//! Time in each state: of all processes, of one, or of an endpoint.

use super::{View, name_of};
use crate::{
    filter::Filter,
    output::hist::{self, Picture},
    stats::{
        bins::Bins,
        key::{By, Key},
        measure,
        report::Report,
    },
    tui::{
        app::App,
        content::Content,
        draw::{self, Line},
        gather::Sources,
        route::Tab,
    },
    view::connections::{Matcher, Selection, endpoint_of},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Histograms {
    pub(in crate::tui) of: Selection,
}

impl View for Histograms {
    fn tab(&self) -> Option<Tab> {
        Some(Tab::Histograms)
    }

    fn caption(&self, app: &App) -> String {
        format!("time in each state, {}", name_of(app, self.of))
    }

    fn gather(&self, content: &mut Content, sources: &Sources<'_>) {
        content.histograms = drawn(sources, self.of);
    }

    fn lines(&self, app: &App, _: u16) -> Vec<Line> {
        if app.content.histograms.is_empty() {
            return draw::plain_lines(&[
                "No sockets, and no state that has ended.".to_owned(),
                "The first connection brings the first lines.".to_owned(),
            ]);
        }
        draw::plain_lines(&app.content.histograms)
    }
}

fn drawn(sources: &Sources<'_>, of: Selection) -> Vec<String> {
    let Sources { gather, engine, .. } = *sources;
    let mut report = match of {
        Selection::All => Report::of_totals(&engine.stats.totals, By::State),
        Selection::Process(_) | Selection::LeftOver(_) | Selection::Endpoint(_) => Report::default(),
    };
    let mut cells = Bins::default();
    let mut add_ended = |ended: Option<&Bins>| ended.into_iter().for_each(|ended| cells.merge(ended));
    let of_process = |process| gather.by_process.cells_of(&Key::Process(process));
    let matcher = Matcher::new(of, engine, &Filter::default());
    match &matcher {
        Matcher::All => {}
        Matcher::Process(process) => add_ended(of_process(*process)),
        Matcher::Processes(keys) => keys.iter().for_each(|key| add_ended(of_process(Some(*key)))),
        Matcher::Endpoint(key) => add_ended(gather.by_endpoint.cells_of(key)),
    }
    add_open(&mut cells, sources, &matcher);
    report.take_total(&cells);
    if report.everybody().is_empty() {
        return Vec::new();
    }
    let picture = Picture {
        report: &report,
        measures: &hist::measures(&[]),
        watched: None,
        top: 0,
    };
    hist::text::draw(&picture).lines().map(str::to_owned).collect()
}

/// Adds the states that have not ended.
fn add_open(cells: &mut Bins, sources: &Sources<'_>, matcher: &Matcher) {
    let Sources {
        gather, engine, now, ..
    } = *sources;
    let processes = &engine.table.processes;
    for row in engine.table.iter() {
        let owner = row.owner.and_then(|owner| processes.get(owner.process));
        let owner = owner.map(|owner| owner.key);
        let endpoint = || endpoint_of(&row.endpoints, row.netns, engine.table.role(row));
        if matcher.matches(owner, endpoint) {
            let (state, since) = (row.state.tcp, row.state.since);
            measure::open_at(
                now,
                state,
                since,
                row.began,
                gather.watched_from,
                |measure, kind, span| cells.record(measure, kind, span),
            );
        }
    }
}
