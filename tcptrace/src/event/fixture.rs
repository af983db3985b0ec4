//! Events for tests.

use super::{Bytes, Endpoints, Event, EventData, Nanos, ProcessKey, SockRef, Task, TcpState};

/// The transition of a socket that is open and has no error, before the peer's FIN.
pub(crate) fn transition(old: TcpState, new: TcpState) -> EventData {
    EventData::State {
        old,
        new,
        error: 0,
        fin_received: false,
        is_orphan: false,
        bytes: Bytes::default(),
    }
}

/// A step of a connection from 10.0.0.1:4000 to 10.0.0.2:443 in namespace 1, which this process makes where it connects.
pub(crate) fn of_client(
    process: ProcessKey,
    comm: [u8; 16],
    cookie: u64,
    time: Nanos,
    (old, new): (TcpState, TcpState),
) -> Event {
    Event {
        time,
        sock: SockRef {
            cookie,
            address: cookie << 12,
        },
        endpoints: Endpoints::new(
            ("10.0.0.1".parse().unwrap(), 4_000),
            ("10.0.0.2".parse().unwrap(), 443),
        ),
        netns: 1,
        protocol: 6,
        data: EventData::State {
            old,
            new,
            error: 0,
            fin_received: new == TcpState::CloseWait,
            is_orphan: new == TcpState::FinWait1,
            bytes: Bytes::default(),
        },
        task: (new == TcpState::SynSent).then_some(Task {
            process,
            comm,
            cgroup: 0,
            is_kernel_thread: false,
        }),
        ..Event::default()
    }
}
