//! Recordings of random runs: what is read is what was written, a replay gives the report that the live run gave, and
//! damage is found, said, and costs nothing beyond itself.

use super::{
    batch::{Decoder, Undecodable},
    bounds::{LONGEST_BODY, MOST_GATHERED, MOST_ROWS},
    entry::{Entry, Item},
    format::fields,
    frame::{self, Found},
    origin::{Origin, tests::example},
    read::{Damage, Fault, ReadError, Reader},
    recorder::{Message, Recorder},
    run_stats::{Beginning, RunStats},
    write::Encoder,
};
use crate::{
    connection::{
        blindspots::Blindspots,
        workload::{Fate, Workload, any_workload, fates, perturbed},
    },
    engine::{Engine, Input},
    event::{
        Bytes, EndCause, Endpoints, Event, EventData, Nanos, PathStats, ProcessKey, ResetReason, SockRef,
        Task, TcpState, TimerStep,
        fixture::{comm, endpoints},
    },
    filter::Filter,
    kernel::{clock::ClockPair, reset_reasons::ResetReasons},
    output::report as output,
    record::{
        format::{FORMAT, needs_object},
        replay::Replay,
    },
    report,
    socket::{
        Holder, Row, SockKind,
        network::{Congestion, Network, SocketNetwork, SocketOptions, Timer, TimerPurpose},
        scan::{Scan, ScanMechanism},
    },
    view::Sort,
};
use arrow_ipc::{convert::try_schema_from_ipc_buffer, writer::EncodedData};
use proptest::prelude::*;
use std::{
    io::Cursor,
    iter,
    num::NonZeroU32,
    ops::ControlFlow,
    sync::mpsc,
    time::{Duration, Instant},
};

mod batches;
mod disorder;
mod formats;

/// What is counted beside everything.
fn selection() -> Filter {
    Filter {
        states: vec![TcpState::Established],
        ..Filter::default()
    }
}

/// A live run: an engine, and the recording of its inputs.
struct Live {
    origin: Origin,
    engine: Engine,
    recorder: Recorder,
    /// What was recorded, once the run is over.
    entries: Vec<Entry>,
}

impl Live {
    fn new(max_connections: usize) -> Self {
        let origin = Origin {
            max_connections,
            ..example()
        };
        let mut engine = Engine::new(max_connections);
        engine.begin_frame(Nanos(origin.clock.mono_ns));
        engine.select(&selection(), Nanos(origin.clock.mono_ns));
        let mut recorder = Recorder::open();
        recorder.begin(origin.clock);
        Self {
            engine,
            recorder,
            entries: Vec::new(),
            origin,
        }
    }

    /// As a session does with every input.
    fn apply(&mut self, input: Input<'_>) {
        self.recorder.record(&input);
        self.engine.apply(input);
    }

    /// As a session drains.
    fn drain(&mut self, events: &[Event]) {
        self.apply(Input::Events(events));
        if let Some(last) = events.last() {
            self.apply(Input::Settle(last.time));
            self.finish_batch();
        }
    }

    fn finish_batch(&mut self) {
        self.engine.finish_batch();
        self.engine.count_selected();
    }

    /// As a session repairs: a snapshot, the events that came meanwhile, and a scan.
    fn repair(&mut self, workload: &Workload, at: Nanos, meanwhile: &[Event]) {
        let snapshot = workload.snapshot(at);
        self.apply(Input::Snapshot(&snapshot, meanwhile));
        let scan = Scan {
            started: at,
            holders: snapshot.rows.iter().map(|row| holder(row.sock.cookie)).collect(),
            mechanism: ScanMechanism::Iterator,
            ..Scan::default()
        };
        self.apply(Input::Holders {
            scan,
            cost: Nanos(77),
        });
    }

    fn finish(&mut self) {
        self.finish_batch();
        let (sender, receiver) = mpsc::sync_channel(1);
        self.recorder.connect(sender);
        let Ok(Message::Entries(entries)) = receiver.recv() else {
            panic!("entries come")
        };
        self.entries = entries;
    }

    fn report(&self) -> String {
        let run_stats = self.recorder.run_stats().expect("the recorder is open");
        report_of(&self.origin, &self.engine, run_stats)
    }

    /// The file, its messages of `rows` rows each.
    fn file(&self, rows: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(&self.origin).unwrap();
        let mut messages = vec![encoder.header()];
        for entries in self.entries.chunks(rows) {
            for entry in entries {
                encoder.push(entry);
            }
            messages.push(encoder.batch().unwrap());
        }
        messages
    }
}

fn holder(cookie: u64) -> Holder {
    Holder {
        is_mptcp: false,
        cookie,
        process: ProcessKey::new(7, cookie),
        comm: comm("holder"),
        cgroup: 9,
        uid: None,
        fd: 3,
        state: TcpState::Established,
        netns: 1,
        endpoints: Endpoints::default(),
        error: 104,
        options: None,
    }
}

fn report_of(origin: &Origin, engine: &Engine, run_stats: &RunStats) -> String {
    let beginning = Beginning::of_run(run_stats);
    let report = report::build(
        origin,
        engine,
        run_stats,
        beginning,
        run_stats.latest,
        &Filter::default(),
        Sort::default(),
    );
    output::text(std::slice::from_ref(&report)) + &output::json(&[report])
}

/// Everything that can be read, and where something cannot.
fn read(bytes: Vec<u8>) -> Result<(Vec<Entry>, Reader), ReadError> {
    let mut reader = Reader::new(Box::new(Cursor::new(bytes)))?;
    let mut entries = Vec::new();
    let visited = reader.visit(&mut |item| {
        if let Item::Entry(entry) = item {
            entries.push(entry.clone());
        }
        ControlFlow::Continue(())
    });
    assert!(visited.unwrap());
    Ok((entries, reader))
}

/// What is kept of an entry: not every kernel object's address.
fn kept(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    match &mut entry {
        Entry::Event(event) if !needs_object(event) => event.sock.address = 0,
        Entry::Row(row) if row.sock.cookie != 0 && row.state != TcpState::SynRecv => row.sock.address = 0,
        _ => {}
    }
    entry
}

fn played(workload: &Workload, fates: &[Fate], share: usize, max_connections: usize) -> Live {
    let events = perturbed(&workload.events(), fates);
    let mut live = Live::new(max_connections);
    let middle = events.len() * share / 100;
    let meanwhile = (middle + 3).min(events.len());
    for drained in events[..middle].chunks(7) {
        live.drain(drained);
    }
    let at = events.get(middle).map_or(workload.end, |event| event.time);
    live.repair(workload, at, &events[middle..meanwhile]);
    for drained in events[meanwhile..].chunks(5) {
        live.drain(drained);
    }
    live.apply(Input::Lost {
        time: workload.end,
        total: 5,
    });
    live.apply(Input::Stop(workload.end.plus(Nanos(1))));
    live.recorder.push(Entry::Summary("{}".into()));
    live.finish();
    live
}

fn replayed(origin: &Origin, entries: &[Entry]) -> Replay {
    let mut replay = Replay::new(origin);
    replay.engine.select(&selection(), replay.run_stats.began);
    for entry in entries {
        if replay.ends_batch(entry) {
            replay.finish_batch();
        }
        replay.apply(entry);
    }
    replay.end();
    replay
}

proptest! {
    #[test]
    fn a_replay_gives_the_report_of_the_live_run(
        workload in any_workload(),
        fates in fates(3_000_000),
        share in 0..100usize,
        rows in 1..200usize,
        max_connections in prop_oneof![Just(1_000), 1..6usize],
    ) {
        let live = played(&workload, &fates, share, max_connections);
        let (entries, reader) = read(live.file(rows).concat()).unwrap();
        prop_assert_eq!(&entries, &live.entries.iter().map(kept).collect::<Vec<_>>());
        prop_assert_eq!(&reader.damage, &[]);
        prop_assert_eq!(reader.unknown, 0);
        let replay = replayed(&reader.origin, &entries);
        prop_assert_eq!(report_of(&reader.origin, &replay.engine, &replay.run_stats), live.report());
        prop_assert_eq!(replay.engine.shown().matrix, live.engine.shown().matrix);
        prop_assert_eq!(replay.orphans, 0);
    }

    #[test]
    fn a_cut_file_gives_all_its_whole_batches_and_says_where_it_ends(
        workload in any_workload(),
        cut in any::<prop::sample::Index>(),
    ) {
        let live = played(&workload, &[], 50, 1_000);
        let messages = live.file(9);
        let mut bytes = messages.concat();
        let cut = cut.index(bytes.len());
        bytes.truncate(cut);
        let mut whole = 0;
        let mut end = 0;
        for message in &messages {
            if end + message.len() > cut {
                break;
            }
            end += message.len();
            whole += 1;
        }
        match read(bytes) {
            Err(ReadError::Empty) => prop_assert_eq!(cut, 0),
            Err(error) => prop_assert!(whole == 0, "{error}"),
            Ok((mut entries, reader)) => {
                if end < cut {
                    prop_assert_eq!(reader.damage.len(), 1);
                    prop_assert_eq!(reader.damage[0].bytes.clone(), end as u64..cut as u64);
                    prop_assert_eq!(reader.damage[0].what, Fault::Cut);
                    let gap = entries.pop();
                    let is_gap = matches!(gap, Some(Entry::Gap { .. }));
                    prop_assert!(is_gap);
                }
                let expected: Vec<Entry> = live.entries.iter().take((whole - 1) * 9).map(kept).collect();
                prop_assert_eq!(entries, expected);
            }
        }
    }

    #[test]
    fn a_flipped_bit_costs_its_own_batch_and_is_reported(
        workload in any_workload(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let live = played(&workload, &[], 50, 1_000);
        let messages = live.file(9);
        let mut bytes = messages.concat();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut end = 0;
        let damaged = messages.iter().position(|message| {
            end += message.len();
            at < end
        }).unwrap();
        match read(bytes) {
            Err(error) => prop_assert!(damaged == 0, "{error}"),
            Ok((entries, reader)) => {
                prop_assert_eq!(reader.damage.len(), 1);
                let range = &reader.damage[0].bytes;
                prop_assert!(range.contains(&(at as u64)), "{:?} {at}", range);
                let mut expected: Vec<Entry> = live.entries.iter().map(kept).collect();
                let first = (damaged - 1) * 9;
                expected.drain(first..(first + 9).min(expected.len()));
                let found: Vec<Entry> = entries
                    .into_iter()
                    .filter(|entry| !matches!(entry, Entry::Gap { .. }))
                    .collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_recording(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(read(bytes).is_err());
    }

    #[test]
    fn sealed_bytes_of_any_kind_never_panic_the_decoder_nor_reserve_more_than_a_batch(
        workload in any_workload(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let live = played(&workload, &[], 50, 1_000);
        let mut messages = live.file(300);
        for (message, at, byte) in changes {
            let message = message.index(messages.len());
            let bytes = &mut messages[message];
            // Beyond its length, and before the checksum, which is made anew: it fits.
            let (metadata, body) = frame::split(bytes).unwrap();
            let mut metadata = metadata[..metadata.len() - 16].to_vec();
            let mut body = body.to_vec();
            let at = at.index(metadata.len() + body.len());
            match metadata.get_mut(at) {
                Some(range) => *range = byte,
                None => body[at - metadata.len()] = byte,
            }
            *bytes = frame::seal(EncodedData { ipc_message: metadata, arrow_data: body });
        }
        let bytes = messages.concat();
        let Ok(mut reader) = Reader::new(Box::new(Cursor::new(bytes.clone()))) else {
            return Ok(());
        };
        let mut replay = Replay::new(&reader.origin);
        let visited = reader.visit(&mut |item| {
            if let Item::Entry(entry) = item {
                replay.apply(entry);
            }
            ControlFlow::Continue(())
        });
        prop_assert!(visited.unwrap());
        replay.end();
        prop_assert!(batches::most_reserved(&bytes) <= batches::MOST_RESERVED);
        prop_assert!(!report_of(&reader.origin, &replay.engine, &replay.run_stats).is_empty());
    }

    #[test]
    fn rows_in_any_order_never_panic_a_replay(
        workload in any_workload(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        let live = played(&workload, &[], 50, 1_000);
        let mut replay = Replay::new(&live.origin);
        for index in order {
            replay.apply(index.get(&live.entries));
        }
        replay.end();
        prop_assert!(!report_of(&live.origin, &replay.engine, &replay.run_stats).is_empty());
    }
}

#[test]
fn a_snapshot_without_an_end_is_given_up() {
    let mut replay = Replay::new(&example());
    replay.apply(&Entry::ScanBegun {
        started: Nanos(1),
        mechanism: ScanMechanism::Proc,
    });
    let entry = Entry::Holder(holder(1));
    for _ in 0..=MOST_GATHERED {
        replay.apply(&entry);
    }
    assert_eq!(replay.orphans, MOST_GATHERED as u64 + 2);
}

#[test]
fn beginnings_of_messages_that_overlap_are_not_read_again_and_again() {
    // Each says that it is as long as a message can be.
    let mut beginning = frame::seal(EncodedData {
        ipc_message: Vec::new(),
        arrow_data: Vec::new(),
    });
    let length = beginning.len() - 8;
    beginning[length..].copy_from_slice(&(LONGEST_BODY as u64).to_le_bytes());
    let mut bytes = Live::new(10).file(1).concat();
    bytes.extend(beginning.repeat(4_000));
    bytes.resize(bytes.len() + LONGEST_BODY, 0);
    let begun = Instant::now();
    let (_, reader) = read(bytes).unwrap();
    assert_eq!(reader.damage.len(), 1);
    // All of them would be 250 GB.
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}

#[test]
fn texts_of_a_recording_are_printable() {
    let hostile = "a\u{1b}]0;b\u{202e}\u{2028}\u{e0041}";
    let clean = "a\u{fffd}]0;b\u{fffd}\u{fffd}\u{fffd}";
    let text = || hostile.to_owned();
    let mut live = Live::new(10);
    live.origin = Origin {
        version: text(),
        host: text(),
        kernel: text(),
        machine: text(),
        command: text(),
        run: text(),
        hooks: [(text(), text())].into(),
        limitations: vec![text()],
        ..live.origin
    };
    live.entries = vec![
        Entry::Note {
            time: Nanos(1),
            text: hostile.into(),
        },
        Entry::Summary(hostile.into()),
    ];
    let (entries, reader) = read(live.file(9).concat()).unwrap();
    let said = format!("{:?} {entries:?}", reader.origin);
    assert!(!said.contains("\\u{1b}") && !said.contains("\\u{202e}"), "{said}");
    assert_eq!(said.matches(clean).count(), 11, "{said}");
}

#[test]
fn what_follows_a_gap_is_treated_as_after_a_loss() {
    let mut replay = Replay::new(&example());
    let event = Event {
        time: Nanos(2_000_000_000),
        sock: SockRef::new(5, 0),
        endpoints: Endpoints::default(),
        netns: 1,
        protocol: 6,
        data: EventData::ResetSent(None),
        task: None,
        is_kernel_socket: false,
        lost: 0,
    };
    let gap = Entry::Gap {
        time: Nanos(1_500_000_000),
        entries: 4,
    };
    for entry in &[Entry::Event(event), gap, Entry::Event(event)] {
        replay.apply(entry);
    }
    assert_eq!((replay.run_stats.gaps, replay.run_stats.missing), (1, 4));
    assert_eq!(replay.run_stats.events, 2);
}
