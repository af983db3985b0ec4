//! What a recording costs on disk, and how fast it is read and replayed: a million connections to many hosts, half of
//! them a client's that closes first, half a server's, each event at a time of its own; once on a calm server and once
//! on a busy one, whose TIME_WAITs no cache holds. Beside it, what pyarrow takes to decode the same file on one thread,
//! where `cargo xtask arrow-readers` has installed it. `TCPTRACE_BENCH_RECORDING` names a file to measure instead,
//! `TCPTRACE_BENCH_KEEP` one to write, the busy server's in the end.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    env, fs,
    hint::black_box,
    io::Cursor,
    net::Ipv4Addr,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};
use tcptrace::{
    event::{
        Bytes, Endpoints, Event, EventData, Nanos, PathStats, ProcessKey, SockRef, Task,
        TcpState::{
            self, Close, CloseWait, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent,
            TimeWait,
        },
        TimerStep,
    },
    kernel::{clock::ClockPair, reset_reasons::ResetReasons},
    record::{
        entry::{Entry, Item},
        origin::Origin,
        read::Reader,
        replay::Replay,
        write::Encoder,
    },
};
use tcptrace_tests::arrow_readers;

const CONNECTIONS: u64 = 1_000_000;

/// New connections a second: those in TIME_WAIT are about 3,000 and 60,000.
const RATES: [u64; 2] = [100, 2_000];

/// A time is that of the fastest of so many rounds: what else runs on the machine slows the others down.
const ROUNDS: usize = 8;

/// Decodes a file so many times and prints how many rows it has, and the seconds of processor time that they take: for
/// each batch, which is about a stretch, its best.
const PYARROW: &str = "
import sys, time, pyarrow as pa
pa.set_cpu_count(1)
path, rounds = sys.argv[1], int(sys.argv[2])
best = None
for _ in range(rounds):
    took, rows = [], 0
    latest = time.process_time()
    for batch in pa.ipc.open_stream(pa.memory_map(path)):
        rows += batch.num_rows
        now = time.process_time()
        took.append(now - latest)
        latest = now
    best = [min(pair) for pair in zip(best or took, took)]
print(rows, sum(best))
";

fn main() {
    if let Ok(path) = env::var("TCPTRACE_BENCH_RECORDING") {
        measure(fs::read(path).expect("the recording can be read"));
        return;
    }
    for rate in RATES {
        println!("{rate} connections a second");
        let bytes = synthetic(rate);
        if let Ok(path) = env::var("TCPTRACE_BENCH_KEEP") {
            fs::write(path, &bytes).expect("the recording can be written");
        }
        measure(bytes);
    }
}

fn measure(bytes: Vec<u8>) {
    let bytes: Arc<[u8]> = bytes.into();
    let (read, entries) = best(|| count_entries(&bytes));
    let (replayed, (events, changes, live)) = best(|| replay(&bytes));
    println!(
        "{} bytes, {entries} entries, {events} events, {changes} transitions, {live} connections at the end",
        bytes.len()
    );
    println!(
        "on disk       {} bytes a transition, hundredths: {}",
        bytes.len() as u64 / changes.max(1),
        bytes.len() as u64 * 100 / changes.max(1)
    );
    let (connections, evidence) = evidence(&bytes);
    println!("evidence      {evidence} bytes for {connections} connections of snapshots");
    println!("read          {}", speed(read, entries, changes));
    println!("read, replay  {}", speed(replayed, entries, changes));
    println!("pyarrow       {}", by_pyarrow(&bytes));
}

/// How many connections of snapshots have network evidence, and how many bytes it takes in the file.
fn evidence(bytes: &Arc<[u8]>) -> (u64, usize) {
    let size = |is_kept: fn(&Entry) -> bool| {
        let mut written = 0;
        let mut left_out = 0;
        let reader = Reader::new(Box::new(Cursor::new(Arc::clone(bytes)))).expect("it is a recording");
        let mut encoder = Encoder::new(&reader.origin).expect("the options are constants");
        visit(bytes, |item| {
            let Item::Entry(entry) = item else { return };
            if !is_kept(entry) {
                left_out += 1;
                return;
            }
            encoder.push(entry);
            if encoder.is_full() {
                written += encoder.batch().expect("memory takes it").len();
            }
        });
        (
            left_out,
            written + encoder.batch().expect("memory takes it").len(),
        )
    };
    let (connections, without) = size(|entry| !matches!(entry, Entry::Network(_)));
    let (_, with) = size(|_| true);
    (connections, with.saturating_sub(without))
}

fn by_pyarrow(bytes: &[u8]) -> String {
    if let Some(missing) = arrow_readers::unmet() {
        return format!("not measured: {missing}");
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let name = "bench.arrows";
    fs::write(folder.path().join(name), bytes).expect("the recording can be written");
    let said = arrow_readers::run(folder.path(), PYARROW, &[name, &ROUNDS.to_string()]);
    let numbers = said
        .out
        .split_once(' ')
        .and_then(|(rows, seconds)| Some((rows.parse::<u64>().ok()?, seconds.trim().parse::<f64>().ok()?)));
    let (rows, seconds) = numbers.unwrap_or_else(|| panic!("{}{}", said.out, said.err));
    let elapsed = Duration::from_secs_f64(seconds);
    format!(
        "{} ms, {} thousand rows/s",
        elapsed.as_millis(),
        u128::from(rows) * 1_000_000 / elapsed.as_nanos().max(1)
    )
}

fn speed(elapsed: Duration, entries: u64, changes: u64) -> String {
    let per_second = |count: u64| u128::from(count) * 1_000_000_000 / elapsed.as_nanos().max(1);
    format!(
        "{} ms, {} thousand entries/s, {} thousand transitions/s",
        elapsed.as_millis(),
        per_second(entries) / 1_000,
        per_second(changes) / 1_000
    )
}

/// The wall-clock time of the fastest round, since a replay uses two threads, and its result.
fn best<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut round = || {
        let began = Instant::now();
        let result = work();
        (began.elapsed(), result)
    };
    let mut best = round();
    for _ in 1..ROUNDS {
        let next = round();
        if next.0 < best.0 {
            best = next;
        }
    }
    best
}

fn count_entries(bytes: &Arc<[u8]>) -> u64 {
    let mut entries = 0;
    visit(bytes, |item| {
        if let Item::Entry(entry) = item {
            black_box(entry);
            entries += 1;
        }
    });
    entries
}

fn visit(bytes: &Arc<[u8]>, mut each: impl FnMut(Item<'_>)) -> Origin {
    let mut reader = Reader::new(Box::new(Cursor::new(Arc::clone(bytes)))).expect("it is a recording");
    let whole = reader.visit(&mut |item| {
        each(item);
        ControlFlow::Continue(())
    });
    assert!(whole.expect("memory can be read"));
    reader.origin
}

fn replay(bytes: &Arc<[u8]>) -> (u64, u64, usize) {
    let origin = Reader::new(Box::new(Cursor::new(Arc::clone(bytes))))
        .expect("it is a recording")
        .origin;
    let mut replay = Replay::new(&origin);
    let mut changes = 0;
    visit(bytes, |item| match item {
        Item::Prefetch(socks) => replay.engine.prefetch(socks),
        Item::Entry(entry) => {
            if replay.ends_batch(entry) {
                replay.finish_batch();
                changes += replay.engine.batch().len() as u64;
            }
            replay.apply(entry);
        }
    });
    replay.end();
    changes += replay.engine.batch().len() as u64;
    (replay.run_stats.events, changes, replay.engine.table.len())
}

/// What a session drains every 20 ms.
const DRAIN: u64 = 20_000_000;

fn synthetic(rate: u64) -> Vec<u8> {
    let origin = Origin {
        version: "0".to_owned(),
        host: "bench".to_owned(),
        kernel: "6".to_owned(),
        machine: "x86_64".to_owned(),
        command: "bench".to_owned(),
        hooks: std::iter::empty().collect(),
        limitations: Vec::new(),
        clock: ClockPair {
            mono_ns: 1,
            wall_ns: 1_795_300_000_000_000_000,
        },
        run: "bench".to_owned(),
        segment: 0,
        lost: 0,
        event_lost: 0,
        max_connections: 10_000_000,
        reset_reasons: ResetReasons::default(),
    };
    let mut encoder = Encoder::new(&origin).expect("the options are constants");
    let mut bytes = encoder.header();
    let mut settled = 0;
    Traffic::new(rate).play(|event| {
        if event.time.0 >= settled + DRAIN {
            settled = event.time.0;
            encoder.push(&Entry::Settled(event.time));
        }
        encoder.push(&Entry::Event(event));
        if encoder.is_full() {
            bytes.extend(encoder.batch().expect("zstd takes all bytes"));
        }
    });
    bytes.extend(encoder.batch().expect("zstd takes all bytes"));
    bytes
}

struct Traffic {
    rate: u64,
    random: u64,
    /// When, which connection, which step of its life, and its client's port.
    due: BinaryHeap<Reverse<(u64, u64, u8, u16)>>,
}

impl Traffic {
    fn new(rate: u64) -> Self {
        Self {
            rate,
            random: 0x9e37_79b9_7f4a_7c15,
            due: BinaryHeap::new(),
        }
    }

    /// xorshift64*, Vigna 2016.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        ((self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * bound) >> 32
    }

    fn play(mut self, mut each: impl FnMut(Event)) {
        let mut time = 1_000_000_000;
        for connection in 0..CONNECTIONS {
            time += self.below(2_000_000_000 / self.rate);
            while self.due.peek().is_some_and(|Reverse((at, ..))| *at <= time) {
                self.step(&mut each);
            }
            let port = u16::try_from(32_768 + self.below(28_000)).expect("below 2^16");
            self.due.push(Reverse((time, connection, 0, port)));
        }
        while !self.due.is_empty() {
            self.step(&mut each);
        }
    }

    /// One burst of a connection's life, and when the next is due.
    fn step(&mut self, each: &mut impl FnMut(Event)) {
        let Some(Reverse((time, connection, step, port))) = self.due.pop() else {
            return;
        };
        let is_client = connection.is_multiple_of(2);
        let sock = SockRef::new(
            connection + 2,
            0xffff_8880_0000_0000 + ((connection * 7_919) % 200_000) * 2_304,
        );
        let request = SockRef::new(0, sock.address + 64);
        let child = SockRef { cookie: 0, ..sock };
        let timer = |step, substate| EventData::TimewaitTimer { step, substate };
        let asked = |step| EventData::RequestTimer { step, listener: 1 };
        let burst: Vec<(SockRef, EventData)> = match (is_client, step) {
            (true, 0) => vec![(sock, state(Close, SynSent))],
            (true, 1) => vec![(sock, state(SynSent, Established))],
            (true, 2) => vec![(sock, state(Established, FinWait1))],
            (true, 3) => vec![
                (sock, state(FinWait1, FinWait2)),
                (sock, timer(TimerStep::Start, TimeWait)),
                (sock, state(FinWait2, Close)),
            ],
            (true, _) => vec![
                (sock, timer(TimerStep::Cancel, TimeWait)),
                (sock, timer(TimerStep::Expire, TimeWait)),
            ],
            (false, 0) => vec![(request, asked(TimerStep::Start))],
            (false, 1) => vec![
                (child, state(Listen, SynRecv)),
                (sock, state(SynRecv, Established)),
                (request, asked(TimerStep::Cancel)),
            ],
            (false, 2) => vec![(sock, state(Established, CloseWait))],
            (false, 3) => vec![(sock, state(CloseWait, LastAck))],
            (false, _) => vec![(sock, state(LastAck, Close))],
        };
        let mut at = time;
        for (sock, what) in burst {
            at += 200 + self.below(2_000);
            each(event(connection, at, port, sock, what));
        }
        let longest: u64 = match (is_client, step) {
            (_, 0 | 1) => 2_000_000,
            (_, 2) => 300_000_000,
            (true, 3) => 0,
            (false, 3) => 2_000_000,
            _ => return,
        };
        let wait = if longest == 0 {
            60_000_000_000 + self.below(4_000_000)
        } else {
            self.below(longest)
        };
        self.due.push(Reverse((at + wait, connection, step + 1, port)));
    }
}

fn state(old: TcpState, new: TcpState) -> EventData {
    EventData::State {
        old,
        new,
        error: 0,
        fin_received: matches!(new, CloseWait | LastAck),
        is_orphan: new == Close,
        bytes: Bytes::default(),
        path: PathStats::default(),
    }
}

/// A client's connections go to a few hosts from ports of its own, a server's come from anywhere.
fn event(connection: u64, time: u64, port: u16, sock: SockRef, what: EventData) -> Event {
    let scattered = u32::try_from(connection.wrapping_mul(0x9e37_79b9) & 0x00ff_ffff).expect("24 bits");
    let here = Ipv4Addr::new(10, 0, 0, 1).into();
    let endpoints = if connection.is_multiple_of(2) {
        let there = Ipv4Addr::from(0x0a01_0000 + scattered % 20);
        Endpoints::new((here, port), (there.into(), 5_432))
    } else {
        Endpoints::new(
            (here, 443),
            (Ipv4Addr::from(0x2000_0000 + scattered).into(), port),
        )
    };
    let is_by_owner = matches!(
        what,
        EventData::State {
            new: SynSent | FinWait1 | LastAck,
            ..
        }
    );
    Event {
        time: Nanos(time),
        sock,
        endpoints,
        netns: 4_026_531_840,
        protocol: 6,
        data: what,
        task: is_by_owner.then(|| Task {
            process: ProcessKey::new(1_000 + scattered % 40, 1),
            comm: *b"server\0\0\0\0\0\0\0\0\0\0",
            cgroup: 1,
            uid: None,
            is_kernel_thread: false,
        }),
        ..Event::default()
    }
}
