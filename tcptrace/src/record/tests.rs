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
    run_stats::RunStats,
    write::Encoder,
};
use crate::{
    connection::{
        blindspots::Blindspots,
        workload::{Fate, Workload, any_workload, fates, perturbed},
    },
    engine::{Engine, Input},
    event::{
        Bytes, EndCause, Endpoints, Event, EventData, Nanos, ProcessKey, SockRef, Task, TcpState, TimerStep,
        fixture::{comm, endpoints},
    },
    filter::Filter,
    kernel::clock::ClockPair,
    output::report as output,
    record::{
        format::{FORMAT, needs_object},
        replay::Replay,
    },
    report::{self, Beginning},
    socket::{
        Holder, Row, SockKind,
        scan::{Scan, ScanMechanism},
    },
    view::Sort,
};
use arrow_ipc::{
    BodyCompressionBuilder, BodyCompressionMethod, CompressionType, FieldNode, MessageBuilder, MessageHeader,
    MetadataVersion, RecordBatchBuilder, convert::try_schema_from_ipc_buffer, writer::EncodedData,
};
use arrow_schema::DataType;
use flatbuffers::FlatBufferBuilder;
use proptest::prelude::*;
use std::{
    io::Cursor,
    iter,
    ops::ControlFlow,
    sync::mpsc,
    time::{Duration, Instant},
};

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
        said(&self.origin, &self.engine, run_stats)
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
        fd: 3,
        state: TcpState::Established,
        netns: 1,
        endpoints: Endpoints::default(),
        error: 104,
    }
}

fn said(origin: &Origin, engine: &Engine, run_stats: &RunStats) -> String {
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
    let visited = reader.visit(&mut |told| {
        if let Item::Entry(entry) = told {
            entries.push(entry.clone());
        }
        ControlFlow::Continue(())
    });
    assert!(visited.unwrap());
    Ok((entries, reader))
}

/// The most memory that a batch of these messages takes, with its body where a column was not compressed.
fn most_reserved(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut messages = iter::from_fn(|| {
        let Found::Message(length) = frame::find(rest) else {
            return None;
        };
        rest.split_off(..length)
    });
    let schema = try_schema_from_ipc_buffer(messages.next().unwrap()).unwrap();
    let decoder = Decoder::new(&schema).unwrap();
    messages
        .filter_map(|message| decoder.decode(message).ok()?)
        .map(|batch| batch.get_array_memory_size())
        .max()
        .unwrap_or(0)
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
        let mut replay = Replay::new(&reader.origin);
        replay.engine.select(&selection(), replay.run_stats.began);
        for entry in entries {
            if replay.ends_batch(&entry) {
                replay.finish_batch();
            }
            replay.apply(&entry);
        }
        replay.end();
        prop_assert_eq!(said(&reader.origin, &replay.engine, &replay.run_stats), live.report());
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
    fn a_flipped_bit_costs_its_own_batch_and_is_said(
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
        let visited = reader.visit(&mut |told| {
            if let Item::Entry(entry) = told {
                replay.apply(entry);
            }
            ControlFlow::Continue(())
        });
        prop_assert!(visited.unwrap());
        replay.end();
        prop_assert!(most_reserved(&bytes) <= MOST_RESERVED);
        prop_assert!(!said(&reader.origin, &replay.engine, &replay.run_stats).is_empty());
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
        prop_assert!(!said(&live.origin, &replay.engine, &replay.run_stats).is_empty());
    }
}

/// A sealed batch that says what it likes: its rows, and of each buffer the length that is told and the bytes.
fn told_batch(rows: i64, buffers: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let mut compression = BodyCompressionBuilder::new(&mut builder);
    compression.add_method(BodyCompressionMethod::BUFFER);
    compression.add_codec(CompressionType::ZSTD);
    let compression = compression.finish();
    let mut body = Vec::new();
    let mut places = Vec::new();
    for (told, bytes) in buffers {
        let begin = body.len();
        if !bytes.is_empty() {
            body.extend(told.to_le_bytes());
            body.extend(bytes);
        }
        places.push(arrow_ipc::Buffer::new(
            i64::try_from(begin).unwrap(),
            i64::try_from(body.len() - begin).unwrap(),
        ));
        body.resize(body.len().next_multiple_of(8), 0);
    }
    let places = builder.create_vector(&places);
    let nodes = vec![FieldNode::new(rows, 0); fields().len()];
    let nodes = builder.create_vector(&nodes);
    let mut batch = RecordBatchBuilder::new(&mut builder);
    batch.add_length(rows);
    batch.add_nodes(nodes);
    batch.add_buffers(places);
    batch.add_compression(compression);
    let batch = batch.finish();
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::RecordBatch);
    message.add_header(batch.as_union_value());
    let message = message.finish();
    builder.finish(message, None);
    frame::seal(EncodedData {
        ipc_message: builder.finished_data().to_vec(),
        arrow_data: body,
    })
}

/// The buffers of a batch of `rows` rows that are all zeros and as small as zstd makes them, and `texts`.
fn zeros(rows: usize, texts: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let packed = |bytes: &[u8]| {
        let length = i64::try_from(bytes.len()).unwrap();
        (length, zstd::bulk::compress(bytes, 1).unwrap())
    };
    let mut buffers = Vec::new();
    for field in fields() {
        buffers.push((0, Vec::new()));
        match field.data_type() {
            DataType::Binary => {
                buffers.push(packed(&vec![0; (rows + 1) * 4]));
                buffers.push(packed(texts));
            }
            other => buffers.push(packed(&vec![0; rows * other.primitive_width().unwrap_or(16)])),
        }
    }
    buffers
}

/// What a file says that has `batch` between two of a live run, of which nothing may be lost.
fn told_between(batch: Vec<u8>) -> Vec<Damage> {
    let mut live = Live::new(10);
    let entries: Vec<Entry> = (1..=20)
        .map(|ms| Entry::Settled(Nanos::from_millis(1_000 + ms)))
        .collect();
    live.entries.clone_from(&entries);
    let mut messages = live.file(10);
    messages.insert(2, batch);
    let bytes = messages.concat();
    let (read, reader) = read(bytes.clone()).unwrap();
    let settled: Vec<Entry> = read
        .into_iter()
        .filter(|entry| matches!(entry, Entry::Settled(_)))
        .collect();
    assert_eq!(settled, entries);
    assert!(most_reserved(&bytes) <= MOST_RESERVED);
    reader.damage
}

/// No batch takes more than the columns of the most rows, and the most texts.
const MOST_RESERVED: usize = 48 << 20;

#[test]
fn a_batch_larger_than_any_that_is_written_costs_itself_alone_and_reserves_nothing() {
    let wild = MOST_ROWS + 1;
    for (batch, expected) in [
        (told_batch(1 << 36, &zeros(1, &[])), "it claims"),
        (told_batch(-1, &zeros(1, &[])), "it claims"),
        // Few bytes for many rows, though the rows are few enough.
        (told_batch(50_000, &zeros(50_000, &[])), "it claims"),
        (
            told_batch(i64::try_from(wild).unwrap(), &{
                let mut buffers = zeros(wild, &[]);
                buffers.push((-1, vec![0; 1 << 20]));
                buffers
            }),
            "it claims",
        ),
        // A bomb of texts, and one that says that it is small.
        (
            told_batch(1, &zeros(1, &vec![0; 32 << 20])),
            "column text does not have one value per row",
        ),
        (
            told_batch(1, &{
                let mut buffers = zeros(1, &vec![0; 32 << 20]);
                buffers.last_mut().unwrap().0 = 10;
                buffers
            }),
            "its layout or its compression is invalid",
        ),
        // A bomb where a column has which of its values are null.
        (
            told_batch(1, &{
                let mut buffers = zeros(1, &[]);
                buffers[0] = (32 << 20, zstd::bulk::compress(&vec![0; 32 << 20], 1).unwrap());
                buffers
            }),
            "column mono_sec does not have one value per row",
        ),
        // A bomb in a column of numbers.
        (
            told_batch(1, &{
                let mut buffers = zeros(1, &[]);
                buffers[1] = (4, zstd::bulk::compress(&vec![0; 32 << 20], 1).unwrap());
                buffers
            }),
            "its layout or its compression is invalid",
        ),
    ] {
        let damage = told_between(batch);
        assert_eq!(damage.len(), 1, "{damage:?}");
        let text = damage[0].to_string();
        assert!(
            text.contains("damaged or hostile") && text.contains(expected),
            "{text}"
        );
    }
}

#[test]
fn a_batch_without_a_column_is_named_and_never_read_as_zeros() {
    let whole = zeros(1, b"");
    assert_eq!(told_between(told_batch(1, &whole)), []);
    let mut empty = whole.clone();
    empty[3] = (0, Vec::new());
    let mut cut = whole.clone();
    cut.truncate(whole.len() - 1);
    for (buffers, expected) in [
        (empty, Undecodable::Column("mono_nsec")),
        (cut, Undecodable::Column("text")),
    ] {
        let damage = told_between(told_batch(1, &buffers));
        assert_eq!(damage.len(), 1);
        assert_eq!(damage[0].what, Fault::Undecodable(expected));
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
        shortfalls: vec![text()],
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
fn what_follows_a_gap_is_judged_as_after_a_loss() {
    let mut replay = Replay::new(&example());
    let event = Event {
        time: Nanos(2_000_000_000),
        sock: SockRef::new(5, 0),
        endpoints: Endpoints::default(),
        netns: 1,
        protocol: 6,
        data: EventData::ResetSent,
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

/// Every kind of entry, fixed for good: what the file of each format holds.
#[expect(clippy::too_many_lines, reason = "a list of values")]
fn one_of_each() -> Vec<Entry> {
    let at = |ms: u64| Nanos::from_millis(1_000 + ms);
    let endpoints = endpoints("10.0.0.1:443", "[2001:db8::2]:50000");
    let event = |ms, what| {
        Entry::Event(Event {
            time: at(ms),
            sock: SockRef::new(77, 0),
            endpoints,
            netns: 4_026_531_840,
            protocol: 6,
            data: what,
            task: Some(Task {
                process: ProcessKey::new(42, 9),
                comm: comm("server"),
                cgroup: 3,
                is_kernel_thread: true,
            }),
            is_kernel_socket: true,
            lost: 2,
        })
    };
    let state = EventData::State {
        old: TcpState::LastAck,
        new: TcpState::Close,
        error: 104,
        fin_received: true,
        is_orphan: true,
        bytes: Bytes {
            acked: 5,
            received: 6,
        },
    };
    let substate = TcpState::FinWait2;
    let row = Row {
        time: at(20),
        read_by: at(20),
        sock: SockRef::new(0, u64::MAX - 1),
        endpoints,
        netns: 7,
        kind: SockKind::Request,
        state: TcpState::SynRecv,
        uid: 1,
        is_orphan: true,
        is_kernel_socket: true,
        unread: 2,
        unsent: 3,
        listener: 4,
        entry_stamp_ms: 5,
        expires_in_ns: Some(-6),
        idle: Some(Nanos(7)),
        flow: crate::socket::Flow::default(),
        inode: 8,
    };
    vec![
        Entry::Blindspots(Blindspots {
            segments: true,
            requests: false,
            timewaits: false,
        }),
        event(1, state),
        event(2, EventData::ResetReceived),
        event(3, EventData::ResetSent),
        event(4, EventData::TimewaitStart(substate)),
        event(5, EventData::TimewaitFull),
        event(
            6,
            EventData::TimewaitSegment {
                substate,
                is_reset: true,
            },
        ),
        event(
            7,
            EventData::TimewaitEnd {
                substate,
                cause: EndCause::ReusedBySyn,
            },
        ),
        event(
            8,
            EventData::TimewaitTimer {
                step: TimerStep::Cancel,
                substate,
            },
        ),
        event(9, EventData::RequestStart { listener: 11 }),
        event(10, EventData::RequestEnd),
        event(
            11,
            EventData::RequestTimer {
                step: TimerStep::Expire,
                listener: 12,
            },
        ),
        event(12, EventData::Accept),
        event(13, EventData::TaskRename),
        Entry::Settled(at(14)),
        Entry::Clock(ClockPair {
            mono_ns: 1_015_000_000,
            wall_ns: 1_795_300_000_000_000_001,
        }),
        Entry::Lost {
            time: at(16),
            total: 17,
        },
        Entry::Gap {
            time: at(18),
            entries: 19,
        },
        Entry::SnapshotBegun(at(20)),
        Entry::Covered(7),
        Entry::Row(row),
        Entry::SnapshotDone,
        Entry::PollBegun(at(21)),
        Entry::Polled(at(21)),
        Entry::Note {
            time: at(22),
            text: "é".into(),
        },
        Entry::ScanBegun {
            started: at(23),
            mechanism: ScanMechanism::Proc,
        },
        Entry::Holder(holder(77)),
        Entry::ScanDone { cost: Nanos(24) },
        Entry::Stopped(at(25)),
        Entry::Summary("{\"events\":1}".into()),
    ]
}

#[test]
fn a_file_of_each_format_is_read_by_every_later_version() {
    let files: [&[u8]; 2] = [
        include_bytes!("fixtures/format-1.arrows"),
        include_bytes!("fixtures/format-2.arrows"),
    ];
    for (format, file) in (1..=FORMAT).zip(files) {
        let (entries, reader) = read(file.to_vec()).unwrap();
        assert_eq!(entries, one_of_each(), "format {format}");
        assert_eq!(reader.origin, example());
        assert!(reader.is_whole);
    }
    assert_eq!(files.len(), FORMAT as usize, "each format has a file");
}
