//! The end of recordings, as a scene to evaluate.

use super::Observed;
use crate::{
    event::Nanos,
    filter::Filter,
    findings::{gather, history::History, scene::Scene},
    options::recording::Span,
    record::{replay::Replay, runs::Run},
    run::{
        Failure, confine,
        recordings::{self, Played},
    },
};
use hashbrown::HashSet;
use std::{ops::ControlFlow, path::PathBuf};

/// The end of each run. Descriptors, settings and counters are in no recording; queues and what the network does are
/// known of the snapshot with which it ends.
pub(crate) fn recorded(
    files: &[PathBuf],
    filter: &Filter,
    older_than: Option<Nanos>,
    coverage: &mut recordings::Coverage,
) -> Result<Vec<Observed>, Failure> {
    confine::replay(files, []);
    let mut all = Vec::new();
    for mut run in recordings::open(files)? {
        let mut history = History::of(filter);
        let played = recordings::play(&mut run, Span::default(), filter, &mut |replay| {
            count(&mut history, replay);
            ControlFlow::Continue(())
        })?;
        let Some(played) = coverage.of(played) else {
            continue;
        };
        let scene = scene(&run, &played, history, filter, older_than);
        let has_selected = scene.asked_for().next().is_some();
        coverage.look_for(filter, &played.replay, has_selected, &run);
        all.push(Observed {
            scene,
            lost: played.replay.lost_in_span(),
            limitations: Vec::new(),
            remarks: played.remarks_and_gaps(&run),
            stacks: None,
        });
    }
    coverage.begin()?;
    Ok(all)
}

/// Counts the replay's present batch.
pub(crate) fn count(history: &mut History, replay: &Replay) {
    if let Some(last) = replay.engine.batch().last() {
        history.count(&replay.engine);
        history.sample(&replay.engine, last.time);
    }
}

/// The end of what was played of a run, with the history that was counted on the way.
pub(crate) fn scene(
    run: &Run,
    played: &Played,
    mut history: History,
    filter: &Filter,
    older_than: Option<Nanos>,
) -> Scene {
    let engine = &played.replay.engine;
    history.sample(engine, played.end);
    let gathered = gather::of_engine(engine, &history, played.end, filter);
    let processes = filter.asks_for_processes().then(HashSet::new);
    Scene {
        watched: played.end.since(played.replay.beginning.time),
        sockets: gathered.sockets,
        processes: gathered.processes,
        networks: gathered.networks,
        history,
        unseen: run.origin.unseen(),
        is_recorded: true,
        older_than,
        asked: gather::asked(filter, processes, Some(engine)),
        ..Scene::default()
    }
}
