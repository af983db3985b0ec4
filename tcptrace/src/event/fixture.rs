//! Events for tests.

use super::{Bytes, Endpoints, Event, EventData, Nanos, PathStats, ProcessKey, SockRef, Task, TcpState};
use std::net::SocketAddr;

/// The transition of a socket that is open and has no error, before the peer's FIN.
pub(crate) fn transition(old: TcpState, new: TcpState) -> EventData {
    EventData::State {
        old,
        new,
        error: 0,
        fin_received: false,
        is_orphan: false,
        bytes: Bytes::default(),
        path: PathStats::default(),
    }
}

/// The name of a process as the kernel keeps it.
pub(crate) fn comm(name: impl AsRef<[u8]>) -> [u8; 16] {
    let mut comm = [0; 16];
    comm[..name.as_ref().len()].copy_from_slice(name.as_ref());
    comm
}

/// A process in cgroup 0.
pub(crate) const fn task(process: ProcessKey, comm: [u8; 16]) -> Task {
    Task {
        process,
        comm,
        cgroup: 0,
        uid: None,
        is_kernel_thread: false,
    }
}

/// The connection between two ends, each as `address:port`.
pub(crate) fn endpoints(local: &str, remote: &str) -> Endpoints {
    let [local, remote]: [SocketAddr; 2] =
        [local, remote].map(|end| end.parse().expect("an address and a port"));
    Endpoints::new((local.ip(), local.port()), (remote.ip(), remote.port()))
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
        sock: SockRef::new(cookie, cookie << 12),
        endpoints: endpoints("10.0.0.1:4000", "10.0.0.2:443"),
        netns: 1,
        protocol: 6,
        data: EventData::State {
            old,
            new,
            error: 0,
            fin_received: new == TcpState::CloseWait,
            is_orphan: new == TcpState::FinWait1,
            bytes: Bytes::default(),
            path: PathStats::default(),
        },
        task: (new == TcpState::SynSent).then_some(task(process, comm)),
        ..Event::default()
    }
}
