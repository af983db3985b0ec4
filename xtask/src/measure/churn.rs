//! A churn of loopback connections that carry no data, in a network namespace of its own: its TIME_WAITs end with it.

use crate::netns::in_namespace;
use anyhow::Result;
use nix::sys::socket::{self, Backlog, setsockopt, sockopt};
use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The client resets: no TIME_WAIT.
    Reset,
    /// The client closes first, and has the TIME_WAIT.
    ClientCloses,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Reset, Self::ClientCloses];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reset => "the client resets",
            Self::ClientCloses => "the client closes first",
        }
    }
}

/// Number of destinations: one would run out of ephemeral ports.
const DESTINATIONS: u8 = 64;

/// Opens and closes connections for `span` with this many clients, and returns the rate per second.
pub(super) fn run(kind: Kind, span: Duration, clients: usize) -> Result<f64> {
    in_namespace(|| run_here(kind, span, u64::MAX, clients))
}

/// A listener on all addresses whose backlog drops no SYN even on a busy machine.
pub(super) fn listener() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket::listen(&listener, Backlog::new(4096)?)?;
    Ok(listener)
}

/// Opens and closes connections in this namespace, for `span` or until there were `limit`.
pub(super) fn run_here(kind: Kind, span: Duration, limit: u64, clients: usize) -> Result<f64> {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let listener = listener()?;
    let port = listener.local_addr()?.port();
    let began = Instant::now();
    let took = thread::scope(|scope| {
        let server = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(listener.accept());
            }
        });
        for _ in 0..clients {
            scope.spawn(|| {
                for destination in (1..=DESTINATIONS).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if connect_and_close(kind, destination, port).is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        while began.elapsed() < span && count.load(Ordering::Relaxed) < limit {
            thread::sleep(Duration::from_millis(1));
        }
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        // One more connection, to wake the server from accept.
        while !server.is_finished() {
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        }
        took
    });
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let count = count.load(Ordering::Relaxed) as f64;
    Ok(count / took.as_secs_f64())
}

fn connect_and_close(kind: Kind, destination: u8, port: u16) -> Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::new(127, 0, 0, destination), port))?;
    if kind == Kind::Reset {
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&stream, sockopt::Linger, &at_once)?;
    }
    Ok(())
}
