//! Encodes entries as the rows of a batch.

use super::{
    bounds::{LONGEST_TEXT, clipped},
    entry::Entry,
    evidence,
    format::{ADDRESS_BYTES, NANOS_A_SECOND, Numbers, kind, needs_object, row_flag, scan_mechanism_number},
    message::{MessageEncoder, Storage},
};
use crate::{
    event::{Endpoints, Event, Task, TcpState},
    socket::{Holder, Row},
};
use arrow_buffer::ToByteSlice as _;
use arrow_ipc::writer::EncodedData;
use hashbrown::HashMap;
use std::io;
use tcptrace_common::flag;

/// A task as this batch has described it.
type TaskKey = (u32, u64, [u8; 16], u64, Option<u32>, bool);

#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    rows: usize,
    numbers: Numbers,
    local_addr: Vec<u8>,
    remote_addr: Vec<u8>,
    /// Rows that have a text, in order.
    texts: Vec<(usize, Box<[u8]>)>,
    text_bytes: usize,
    /// Processes that this batch has described, so that a batch is understood without those before it.
    processes: HashMap<TaskKey, u32>,
    latest: Option<(Task, u32)>,
}

impl BatchBuilder {
    pub(crate) const fn len(&self) -> usize {
        self.rows
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(crate) const fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Adds an entry: one row, and one more for a process that this batch has not described yet.
    pub(crate) fn push(&mut self, entry: &Entry) {
        match entry {
            Entry::Event(event) => self.event(event),
            Entry::Row(row) => self.row(row),
            Entry::Holder(holder) => self.holder(holder),
            Entry::Settled(time) => self.mark(kind::SETTLED, time.0, 0),
            Entry::SnapshotBegun(time) => self.mark(kind::SNAPSHOT_BEGUN, time.0, 0),
            Entry::Covered(netns) => {
                put(&mut self.numbers.netns, self.rows, *netns);
                self.mark(kind::COVERED, 0, 0);
            }
            Entry::Blindspots(hidden) => self.mark(kind::BLINDSPOTS, 0, hidden.to_bits()),
            Entry::PollBegun(time) => self.mark(kind::POLL_BEGUN, time.0, 0),
            Entry::Polled(time) => self.mark(kind::POLLED, time.0, 0),
            Entry::Note { time, text } => {
                self.text(clipped(text, LONGEST_TEXT).as_bytes());
                self.mark(kind::NOTE, time.0, 0);
            }
            Entry::Network(socket) => {
                put(&mut self.numbers.cookie, self.rows, socket.cookie);
                self.text(&evidence::encode(&socket.network));
                self.mark(kind::NETWORK, 0, 0);
            }
            Entry::SnapshotDone => self.mark(kind::SNAPSHOT_DONE, 0, 0),
            Entry::ScanBegun { started, mechanism } => {
                put(
                    &mut self.numbers.detail,
                    self.rows,
                    scan_mechanism_number(*mechanism),
                );
                self.mark(kind::SCAN_BEGUN, started.0, 0);
            }
            Entry::ScanDone { cost } => self.mark(kind::SCAN_DONE, 0, cost.0),
            Entry::Location { task, path } => {
                let number = self.process(task);
                put(&mut self.numbers.process, self.rows, number);
                put(&mut self.numbers.pid, self.rows, task.process.pid);
                self.text(clipped(path, LONGEST_TEXT).as_bytes());
                self.mark(kind::PLACE, 0, 0);
            }
            Entry::Clock(anchor) => self.mark(kind::CLOCK, anchor.mono_ns, anchor.wall_ns),
            Entry::Lost { time, total } => self.mark(kind::LOST, time.0, *total),
            Entry::Gap { time, entries } => self.mark(kind::GAP, time.0, *entries),
            Entry::Stopped(time) => self.mark(kind::STOPPED, time.0, 0),
            Entry::Summary(text) => {
                self.text(clipped(text, LONGEST_TEXT).as_bytes());
                self.mark(kind::SUMMARY, 0, 0);
            }
        }
    }

    /// Moves the rows out as one message, in the order of [`super::format::fields`].
    pub(crate) fn encode(&mut self, encoder: &mut MessageEncoder) -> io::Result<EncodedData> {
        let rows = std::mem::take(&mut self.rows);
        encoder.begin(rows);
        self.numbers
            .drain(rows, |bytes, storage| encoder.column(&[(bytes, storage)]))?;
        for bytes in [&mut self.local_addr, &mut self.remote_addr] {
            bytes.resize(rows * ADDRESS_BYTES, 0);
            encoder.column(&[(bytes, Storage::Patterns)])?;
            bytes.clear();
        }
        let (offsets, texts) = texts(&std::mem::take(&mut self.texts), rows);
        encoder.column(&[
            (offsets.to_byte_slice(), Storage::Patterns),
            (&texts, Storage::Patterns),
        ])?;
        self.text_bytes = 0;
        self.processes.clear();
        self.latest = None;
        Ok(encoder.finish())
    }

    /// Sets the text of the row that is being added.
    fn text(&mut self, bytes: &[u8]) {
        self.text_bytes += bytes.len();
        self.texts.push((self.rows, bytes.into()));
    }

    fn mark(&mut self, kind: u8, mono_ns: u64, value: u64) {
        let at = self.rows;
        let numbers = &mut self.numbers;
        numbers.put_time(at, mono_ns);
        put(&mut numbers.kind, at, kind);
        put(&mut numbers.value, at, value);
        self.rows += 1;
    }

    fn event(&mut self, event: &Event) {
        if let Some(task) = &event.task {
            let number = self.process(task);
            put(&mut self.numbers.process, self.rows, number);
            put(&mut self.numbers.pid, self.rows, task.process.pid);
        }
        self.endpoints(&event.endpoints);
        let keeps_object = needs_object(event);
        let at = self.rows;
        let numbers = &mut self.numbers;
        let data = event.data.raw();
        let kernel_socket = if event.is_kernel_socket {
            flag::KERNEL_SOCKET
        } else {
            0
        };
        numbers.put_time(at, event.time.0);
        put(&mut numbers.kind, at, data.kind);
        put(&mut numbers.old, at, data.old);
        put(&mut numbers.new, at, data.new);
        put(&mut numbers.detail, at, data.detail);
        put(&mut numbers.flags, at, data.flags | kernel_socket);
        put(&mut numbers.error, at, data.error);
        put(&mut numbers.listener, at, data.listener);
        put(&mut numbers.bytes_acked, at, data.bytes.acked);
        put(&mut numbers.bytes_received, at, data.bytes.received);
        put(&mut numbers.retransmits_total, at, data.retransmits_total);
        put(&mut numbers.srtt_us, at, data.srtt);
        put(&mut numbers.reset_reason, at, data.reset_reason);
        put(&mut numbers.protocol, at, event.protocol);
        put(&mut numbers.cookie, at, event.sock.cookie);
        if keeps_object {
            put(&mut numbers.object, at, event.sock.address);
        }
        put(&mut numbers.netns, at, event.netns);
        put(&mut numbers.lost, at, event.lost);
        self.rows += 1;
    }

    fn row(&mut self, row: &Row) {
        self.endpoints(&row.endpoints);
        let at = self.rows;
        let numbers = &mut self.numbers;
        let mut flags = 0;
        if row.is_orphan {
            flags |= flag::ORPHAN;
        }
        if row.is_kernel_socket {
            flags |= flag::KERNEL_SOCKET;
        }
        if row.expires_in_ns.is_some() {
            flags |= row_flag::HAS_TIMER;
        }
        if row.idle.is_some() {
            flags |= row_flag::HAS_IDLE;
        }
        put(&mut numbers.flags, at, flags);
        put(&mut numbers.new, at, row.state as u8);
        put(&mut numbers.detail, at, row.kind as u8);
        put(&mut numbers.cookie, at, row.sock.cookie);
        if row.sock.cookie == 0 || row.state == TcpState::SynRecv {
            put(&mut numbers.object, at, row.sock.address);
        }
        put(&mut numbers.netns, at, row.netns);
        put(&mut numbers.uid, at, row.uid);
        put(&mut numbers.unread, at, row.unread);
        put(&mut numbers.unsent, at, row.unsent);
        put(&mut numbers.listener, at, row.listener);
        put(&mut numbers.entry_stamp_ms, at, row.entry_stamp_ms);
        put(
            &mut numbers.expires_in_ns,
            at,
            row.expires_in_ns.unwrap_or_default(),
        );
        put(&mut numbers.idle_ns, at, row.idle.unwrap_or_default().0);
        put(&mut numbers.inode, at, row.inode);
        self.mark(kind::ROW, row.time.0, 0);
    }

    fn holder(&mut self, holder: &Holder) {
        let number = self.process(&Task {
            process: holder.process,
            comm: holder.comm,
            cgroup: holder.cgroup,
            uid: holder.uid,
            is_kernel_thread: false,
        });
        self.endpoints(&holder.endpoints);
        let at = self.rows;
        let numbers = &mut self.numbers;
        put(&mut numbers.process, at, number);
        put(&mut numbers.pid, at, holder.process.pid);
        put(&mut numbers.cookie, at, holder.cookie);
        put(&mut numbers.fd, at, holder.fd);
        put(&mut numbers.new, at, holder.state as u8);
        put(&mut numbers.netns, at, holder.netns);
        put(&mut numbers.error, at, holder.error);
        if let Some(options) = &holder.options {
            put(&mut numbers.flags, at, row_flag::HAS_OPTIONS);
            let bytes = evidence::encode_options(options);
            if !bytes.is_empty() {
                self.text(&bytes);
            }
        }
        self.mark(kind::HOLDER, 0, 0);
    }

    fn endpoints(&mut self, endpoints: &Endpoints) {
        let (local, remote) = endpoints.octets();
        let at = self.rows;
        put_address(&mut self.local_addr, at, local);
        put_address(&mut self.remote_addr, at, remote);
        put(&mut self.numbers.local_port, at, endpoints.local_port);
        put(&mut self.numbers.remote_port, at, endpoints.remote_port);
    }

    /// The task's number in this batch, from 1; describes it where that has not been done.
    fn process(&mut self, task: &Task) -> u32 {
        if let Some((latest, number)) = &self.latest
            && latest == task
        {
            return *number;
        }
        let next = u32::try_from(self.processes.len() + 1).expect("a batch has fewer rows than 2^32");
        let key = (
            task.process.pid,
            task.process.start_ns,
            task.comm,
            task.cgroup,
            task.uid,
            task.is_kernel_thread,
        );
        let number = *self.processes.entry(key).or_insert(next);
        if number == next {
            let at = self.rows;
            let numbers = &mut self.numbers;
            let mut flags = 0;
            if task.is_kernel_thread {
                flags |= flag::KERNEL_THREAD;
            }
            if let Some(uid) = task.uid {
                flags |= flag::USER;
                put(&mut numbers.uid, at, uid);
            }
            put(&mut numbers.flags, at, flags);
            put(&mut numbers.process, at, number);
            put(&mut numbers.pid, at, task.process.pid);
            put(&mut numbers.cgroup, at, task.cgroup);
            let length = task
                .comm
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            self.text(&task.comm[..length]);
            self.mark(kind::PROCESS, 0, task.process.start_ns);
        }
        self.latest = Some((*task, number));
        number
    }
}

impl Numbers {
    fn put_time(&mut self, at: usize, ns: u64) {
        // 2^32 seconds are 136 years since boot.
        let seconds = u32::try_from(ns / NANOS_A_SECOND).unwrap_or(u32::MAX);
        let rest = ns - u64::from(seconds) * NANOS_A_SECOND;
        put(&mut self.mono_sec, at, seconds);
        put(&mut self.mono_nsec, at, u32::try_from(rest).unwrap_or(u32::MAX));
    }
}

/// Sets row `at` of a column that may be shorter, as 0 does not need to be written.
fn put<T: Copy + Default + PartialEq>(column: &mut Vec<T>, at: usize, value: T) {
    if value != T::default() {
        if column.len() < at {
            column.resize(at, T::default());
        }
        column.push(value);
    }
}

fn put_address(column: &mut Vec<u8>, at: usize, address: [u8; ADDRESS_BYTES]) {
    if address != [0; ADDRESS_BYTES] {
        column.resize(at * ADDRESS_BYTES, 0);
        column.extend_from_slice(&address);
    }
}

/// Where the text of each row begins and ends, and the texts one after the other.
fn texts(texts: &[(usize, Box<[u8]>)], rows: usize) -> (Vec<i32>, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut offsets = vec![0];
    for (row, text) in texts {
        offsets.resize(row + 1, offset_of(&bytes));
        bytes.extend_from_slice(text);
        offsets.push(offset_of(&bytes));
    }
    offsets.resize(rows + 1, offset_of(&bytes));
    (offsets, bytes)
}

fn offset_of(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).expect("the texts of a batch are names, notes and one summary")
}
