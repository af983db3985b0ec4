//! Recordings that were never made on a host: of clients whose connections all live the same life, some of which stay in
//! CLOSE_WAIT.

use std::path::Path;
use tcptrace::{
    event::{
        Bytes, Endpoints, Event, EventData, Nanos, PathStats, ProcessKey, SockRef, Task,
        TcpState::{self, Close, CloseWait, Established, LastAck, SynSent},
    },
    kernel::{clock::ClockPair, reset_reasons::ResetReasons},
    record::{entry::Entry, origin::Origin, write::Writer},
};

pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const BEGAN: u64 = 100_000 * MILLISECOND;

/// The transitions of a connection, and after how many steps each follows its beginning.
const LIFE: [(u64, TcpState, TcpState); 5] = [
    (0, Close, SynSent),
    (1, SynSent, Established),
    (50, Established, CloseWait),
    (60, CloseWait, LastAck),
    (100, LastAck, Close),
];

/// One in so many connections stays in CLOSE_WAIT.
const LEAKED: u64 = 501;

/// What a recording has.
pub(crate) struct Traffic<'a> {
    pub(crate) connections: u64,
    /// Between two connections, nanoseconds.
    pub(crate) step_ns: u64,
    /// The names of the processes, which take turns.
    pub(crate) processes: &'a [&'a str],
    pub(crate) host: &'a str,
    /// Messages of the recorder.
    pub(crate) notes: &'a [&'a str],
}

impl Traffic<'_> {
    /// Writes the recording; returns how many transitions it has.
    pub(crate) fn write(&self, path: &Path) -> u64 {
        let mut writer = Writer::create(path, &self.origin()).expect("a new file");
        let mut push = |entry: Entry| writer.push(&entry).expect("there is room");
        for note in self.notes {
            push(Entry::Note {
                time: Nanos(BEGAN),
                text: (*note).into(),
            });
        }
        let mut transitions = 0;
        let steps = self.connections + LIFE.last().map_or(0, |(after, ..)| *after);
        for step in 0..steps {
            let time = Nanos(BEGAN + step * self.step_ns);
            for (after, old, new) in LIFE {
                let Some(connection) = step.checked_sub(after).filter(|it| *it < self.connections) else {
                    continue;
                };
                if connection.is_multiple_of(LEAKED) && after >= 60 {
                    continue;
                }
                transitions += 1;
                push(Entry::Event(self.event(connection, time, (old, new))));
            }
            if step.is_multiple_of(20) {
                push(Entry::Settled(time));
            }
        }
        push(Entry::Stopped(Nanos(BEGAN + (steps + 10) * self.step_ns)));
        writer.finish().expect("there is room");
        transitions
    }

    fn origin(&self) -> Origin {
        Origin {
            version: "0".to_owned(),
            host: self.host.to_owned(),
            kernel: "6".to_owned(),
            machine: "x86_64".to_owned(),
            command: "tcptrace record".to_owned(),
            hooks: std::iter::empty().collect(),
            limitations: self.notes.iter().map(|note| (*note).to_owned()).collect(),
            clock: ClockPair {
                mono_ns: BEGAN,
                wall_ns: 1_795_300_000_000 * MILLISECOND,
            },
            run: "run".to_owned(),
            segment: 0,
            lost: 0,
            event_lost: 0,
            max_connections: 1_000_000,
            reset_reasons: ResetReasons::default(),
        }
    }

    fn event(&self, connection: u64, time: Nanos, (old, new): (TcpState, TcpState)) -> Event {
        let number = usize::try_from(connection).expect("few connections") % self.processes.len();
        let mut comm = [0; 16];
        let name = self.processes[number].as_bytes();
        comm[..name.len()].copy_from_slice(name);
        let port = u16::try_from(32_768 + connection % 28_000).expect("below 2^16");
        Event {
            time,
            sock: SockRef::new(connection + 1, 0xffff_8880_0000_0000 + connection * 2_304),
            endpoints: Endpoints::new(
                ("10.77.0.1".parse().expect("an address"), port),
                ("10.77.0.2".parse().expect("an address"), 443),
            ),
            netns: 4_026_531_840,
            protocol: 6,
            data: EventData::State {
                old,
                new,
                error: 0,
                fin_received: new == CloseWait,
                is_orphan: false,
                bytes: Bytes::default(),
                path: PathStats::default(),
            },
            task: (new == SynSent).then(|| Task {
                process: ProcessKey::new(4_001 + u32::try_from(number).expect("few"), 7),
                comm,
                cgroup: 0,
                is_kernel_thread: false,
                uid: None,
            }),
            is_kernel_socket: false,
            lost: 0,
        }
    }
}
