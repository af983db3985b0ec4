//! What one event costs the engine, and one live connection the memory. Half of the connections are a client's,
//! which closes first and goes through TIME_WAIT, half are a server's; each visit is to one of them at random.
//! A batch is 1,000 events, so microseconds a batch are nanoseconds an event.

use divan::{Bencher, counter::ItemsCount};
use std::{fs, net::Ipv4Addr};
use tcptrace::{
    engine::{Engine, Input, collector::Collector},
    event::{
        Bytes, Endpoints, Event, EventData, Nanos, PathStats, ProcessKey, SockRef, Task,
        TcpState::{
            self, Close, CloseWait, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent,
            TimeWait,
        },
        TimerStep,
    },
    filter::Filter,
    source::live,
    stats::key::By,
};

const BATCH: usize = 1_000;

/// Between two events: a million a second.
const GAP: Nanos = Nanos(1_000);

/// How many live connections the memory is measured at.
const MEASURED: u32 = 1_000_000;

fn main() {
    print_memory();
    divan::main();
}

#[divan::bench(args = [1_000, 100_000, 1_000_000], sample_size = 1, sample_count = 3_000)]
fn ingest(bencher: Bencher<'_, '_>, live: u32) {
    measure(bencher, Traffic::new(live));
}

/// After many sockets were reset that their programs still hold, each of which may be connected again.
#[divan::bench(args = [100_000], sample_size = 1, sample_count = 1_000)]
fn ingest_after_resets(bencher: Bencher<'_, '_>, live: u32) {
    let mut traffic = Traffic::new(live);
    traffic.refused = 10_000;
    measure(bencher, traffic);
}

/// With histograms by endpoint and by four-tuple, as `hist` keeps them. Every client has one server of its own, so
/// that there are more of both than are kept as groups.
#[divan::bench(args = [By::State, By::Process, By::Endpoint, By::Tuple], sample_size = 1, sample_count = 3_000)]
fn ingest_into_histograms(bencher: Bencher<'_, '_>, by: By) {
    let mut traffic = Traffic::new(1_000);
    let mut engine = Engine::new(2_000);
    traffic.open_all(&mut engine);
    let mut collector = Collector::new(&Filter::default(), by, Nanos(0));
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| traffic.batch())
        .bench_local_values(|events| {
            apply(&mut engine, &events);
            collector.count(&engine);
            events
        });
}

fn measure(bencher: Bencher<'_, '_>, mut traffic: Traffic) {
    let mut engine = Engine::new(traffic.connections.len() * 2);
    traffic.open_all(&mut engine);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| traffic.batch())
        .bench_local_values(|events| {
            apply(&mut engine, &events);
            (events, engine.batch().len())
        });
    assert_eq!(
        engine.table.tally.impossible, 0,
        "the traffic is one that can happen"
    );
    assert_eq!(
        engine.table.tally.unknown, 0,
        "the traffic is one that can happen"
    );
}

/// As a session does with what it drains.
fn apply(engine: &mut Engine, events: &[Event]) {
    for drained in events.chunks(live::BATCH) {
        engine.apply(Input::Events(drained));
    }
    engine.apply(Input::Settle(events[BATCH - 1].time));
    engine.finish_batch();
}

fn print_memory() {
    let before = resident_bytes();
    let mut engine = Engine::new(2 * MEASURED as usize);
    Traffic::new(MEASURED).open_all(&mut engine);
    let bytes = resident_bytes().saturating_sub(before);
    println!(
        "memory: {MEASURED} live connections, {} bytes resident for each",
        bytes / u64::from(MEASURED)
    );
    assert_eq!(engine.table.len(), MEASURED as usize);
}

/// The second field of `statm` is in pages, proc_pid_statm(5).
fn resident_bytes() -> u64 {
    const PAGE: u64 = 4_096;
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) * PAGE
}

/// A connection that lives, ends and is replaced by the next one.
#[derive(Clone, Copy)]
struct Connection {
    step: u8,
    generation: u32,
}

struct Traffic {
    connections: Vec<Connection>,
    time: Nanos,
    random: u64,
    ahead: Vec<Event>,
    refused: u32,
}

impl Traffic {
    fn new(live: u32) -> Self {
        Self {
            connections: vec![
                Connection {
                    step: 0,
                    generation: 0
                };
                live as usize
            ],
            time: Nanos::from_secs(1_000),
            random: 0x9e37_79b9_7f4a_7c15,
            ahead: Vec::new(),
            refused: 0,
        }
    }

    /// Every connection is established once, none of them accounted for.
    fn open_all(&mut self, engine: &mut Engine) {
        for _ in 0..std::mem::take(&mut self.refused) {
            self.refuse();
        }
        for number in 0..u32::try_from(self.connections.len()).expect("made from a u32") {
            self.visit(number);
            self.visit(number);
            engine.apply(Input::Events(&self.ahead));
            self.ahead.clear();
            engine.apply(Input::Settle(self.time));
            engine.finish_batch();
        }
    }

    fn batch(&mut self) -> Vec<Event> {
        while self.ahead.len() < BATCH {
            let number = self.random_number();
            self.visit(number);
        }
        self.ahead.drain(..BATCH).collect()
    }

    /// xorshift64*, Vigna 2016.
    fn random_number(&mut self) -> u32 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        let number = (high * self.connections.len() as u64) >> 32;
        u32::try_from(number).expect("below a u32")
    }

    /// What the kernel reports next of this connection; a connection that ends is followed by another one.
    fn visit(&mut self, number: u32) {
        let step = self.connections[number as usize].step;
        let is_client = number.is_multiple_of(2);
        let has_ended = match (is_client, step) {
            (true, 0) => self.state(number, Close, SynSent),
            (true, 1) => self.state(number, SynSent, Established),
            (true, 2) => self.state(number, Established, FinWait1),
            (true, 3) => {
                self.state(number, FinWait1, FinWait2);
                self.timewait_timer(number, TimerStep::Start, FinWait2);
                self.state(number, FinWait2, Close);
                false
            }
            (true, 4) => {
                let what = EventData::TimewaitSegment {
                    substate: TimeWait,
                    is_reset: false,
                };
                self.report(number, sock(number, self.generation(number)), what);
                false
            }
            (true, _) => {
                self.timewait_timer(number, TimerStep::Cancel, TimeWait);
                self.timewait_timer(number, TimerStep::Expire, TimeWait);
                true
            }
            (false, 0) => self.request_timer(number, TimerStep::Start),
            (false, 1) => {
                self.state(number, Listen, SynRecv);
                self.state(number, SynRecv, Established);
                self.request_timer(number, TimerStep::Cancel)
            }
            (false, 2) => self.state(number, Established, CloseWait),
            (false, 3) => self.state(number, CloseWait, LastAck),
            (false, _) => {
                self.state(number, LastAck, Close);
                true
            }
        };
        let connection = &mut self.connections[number as usize];
        connection.step += 1;
        if has_ended {
            connection.step = 0;
            connection.generation += 1;
            self.visit(number);
        }
    }

    fn generation(&self, number: u32) -> u32 {
        self.connections[number as usize].generation
    }

    /// `false`: the connection goes on.
    fn state(&mut self, number: u32, old: TcpState, new: TcpState) -> bool {
        let mut sock = sock(number, self.generation(number));
        if old == Listen {
            sock.cookie = 0;
        }
        let what = EventData::State {
            old,
            new,
            error: 0,
            fin_received: matches!(new, CloseWait | LastAck),
            is_orphan: new == Close,
            bytes: Bytes::default(),
            path: PathStats::default(),
        };
        self.report(number, sock, what);
        false
    }

    fn timewait_timer(&mut self, number: u32, step: TimerStep, substate: TcpState) {
        let sock = sock(number, self.generation(number));
        self.report(number, sock, EventData::TimewaitTimer { step, substate });
    }

    fn request_timer(&mut self, number: u32, step: TimerStep) -> bool {
        let sock = SockRef::new(0, sock(number, 0).address + 64);
        self.report(number, sock, EventData::RequestTimer { step, listener: 1 });
        false
    }

    /// A `connect` that is refused; its program keeps the socket.
    fn refuse(&mut self) {
        let number = u32::try_from(self.connections.len()).expect("made from a u32");
        self.refused += 1;
        let sock = sock(number, self.refused);
        for (old, new) in [(Close, SynSent), (SynSent, Close)] {
            let what = EventData::State {
                old,
                new,
                error: 111,
                fin_received: false,
                is_orphan: false,
                bytes: Bytes::default(),
                path: PathStats::default(),
            };
            self.report(number, sock, what);
        }
    }

    fn report(&mut self, number: u32, sock: SockRef, what: EventData) {
        self.time = self.time.plus(GAP);
        let is_by_owner = matches!(
            what,
            EventData::State {
                new: SynSent | FinWait1 | LastAck,
                ..
            }
        );
        let endpoints = Endpoints::new(
            (
                Ipv4Addr::new(10, 0, 0, 1).into(),
                if number.is_multiple_of(2) { 40_000 } else { 80 },
            ),
            (Ipv4Addr::from(0x0b00_0000 + number).into(), 50_000),
        );
        self.ahead.push(Event {
            time: self.time,
            sock,
            endpoints,
            netns: 4_026_531_840,
            protocol: 6,
            data: what,
            task: is_by_owner.then(|| task(number)),
            ..Event::default()
        });
    }
}

fn sock(number: u32, generation: u32) -> SockRef {
    SockRef::new(
        (u64::from(generation) << 32 | u64::from(number)) + 2,
        0xffff_8880_0000_0000 + (u64::from(number) << 11),
    )
}

/// One of a hundred processes.
fn task(number: u32) -> Task {
    Task {
        process: ProcessKey::new(1_000 + number % 100, 1),
        comm: *b"server\0\0\0\0\0\0\0\0\0\0",
        cgroup: 1,
        uid: None,
        is_kernel_thread: false,
    }
}
