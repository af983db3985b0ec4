//! One scan and one snapshot, combined without a table: the holders of each socket, and the owners of sockets without one.

use super::policy::{self, Evidence, Opening};
use crate::{
    event::TcpState,
    socket::{
        Holder, Row, SockKind,
        scan::{Scan, ScanMechanism},
    },
};
use hashbrown::HashMap;
use std::net::IpAddr;

/// Open files by socket, and the listeners seen so far.
#[derive(Debug, Default)]
pub struct Opened {
    /// Sorted by cookie, then process and descriptor.
    holders: Vec<Holder>,
    mechanism: ScanMechanism,
    /// Where the holders of a cookie begin, and how many they are.
    by_cookie: HashMap<u64, (u32, u32)>,
    listeners: HashMap<(u32, u16), Vec<(IpAddr, u64)>>,
}

impl Opened {
    /// Sorts a scan.
    pub(crate) fn new(mut scan: Scan) -> Self {
        scan.holders
            .sort_unstable_by_key(|holder| (holder.cookie, holder.process.pid, holder.fd));
        let mut by_cookie = HashMap::with_capacity(scan.holders.len());
        let mut at = 0;
        for group in scan.holders.chunk_by(|a, b| a.cookie == b.cookie) {
            let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
            by_cookie.insert(group[0].cookie, (at, count));
            at += count;
        }
        Self {
            holders: scan.holders,
            mechanism: scan.mechanism,
            by_cookie,
            listeners: HashMap::new(),
        }
    }

    /// Adds what another scan has found.
    pub(crate) fn add(&mut self, scan: Scan) {
        let Self {
            holders,
            mechanism,
            listeners,
            ..
        } = std::mem::take(self);
        let holders = holders.into_iter().chain(scan.holders).collect();
        *self = Self {
            listeners,
            ..Self::new(Scan {
                holders,
                mechanism,
                ..Scan::default()
            })
        };
    }

    /// Whether the kernel has the socket for itself. Where a process has it open, the kernel made it for that process:
    /// the path of an MPTCP socket.
    pub(crate) fn is_kernel_s(&self, row: &Row) -> bool {
        row.is_kernel_socket && self.holders(row.sock.cookie).is_empty()
    }

    /// Everybody who has the socket open.
    pub(crate) fn holders(&self, cookie: u64) -> &[Holder] {
        let (at, count) = self.by_cookie.get(&cookie).copied().unwrap_or_default();
        &self.holders[at as usize..(at + count) as usize]
    }

    /// What a holder proves.
    pub(crate) const fn evidence(&self) -> Evidence {
        match self.mechanism {
            ScanMechanism::Iterator => Evidence::Holder,
            ScanMechanism::Proc => Evidence::Proc,
        }
    }

    /// The sockets that are CLOSE and open, each with its holders.
    pub(crate) fn closed(&self) -> impl Iterator<Item = &[Holder]> {
        self.holders
            .chunk_by(|a, b| a.cookie == b.cookie)
            .filter(|group| group[0].state == TcpState::Close)
    }

    /// Of several holders the one to name, as in [`policy::choose`]; they are sorted by process and descriptor.
    pub(crate) fn chosen(holders: &[Holder]) -> Option<&Holder> {
        let of_each = |a: &Holder, b: &Holder| a.process == b.process;
        let lowest: Vec<&Holder> = holders.chunk_by(of_each).map(|group| &group[0]).collect();
        let openings: Vec<Opening> = lowest
            .iter()
            .map(|holder| Opening {
                start_ns: holder.process.start_ns,
                fd: holder.fd,
            })
            .collect();
        Some(lowest[policy::first_of(&openings)?])
    }

    /// Remembers the row where it is a listener; the kernel lists those before their connections.
    pub(crate) fn notice(&mut self, row: &Row) {
        if row.state == TcpState::Listen {
            self.listeners
                .entry((row.netns, row.endpoints.local_port))
                .or_default()
                .push((row.endpoints.local(), row.sock.cookie));
        }
    }

    /// Who owns the socket, and how that is known: who holds it, else whose listener it came to.
    pub(crate) fn owner(&self, row: &Row) -> Option<(&Holder, Evidence)> {
        if let Some(holder) = Self::chosen(self.holders(row.sock.cookie)) {
            return Some((holder, self.evidence()));
        }
        let owner = Self::chosen(self.holders(self.listener_of(row)?))?;
        Some((owner, Evidence::Listener))
    }

    /// Cookie of the listener that a connection came to, as far as it is still there.
    fn listener_of(&self, row: &Row) -> Option<u64> {
        let came_to_a_listener = !row.is_kernel_socket
            && !matches!(row.state, TcpState::Listen | TcpState::SynSent)
            && row.kind != SockKind::Timewait;
        if !came_to_a_listener {
            return None;
        }
        if row.listener != 0 {
            return Some(row.listener);
        }
        let all = self.listeners.get(&(row.netns, row.endpoints.local_port))?;
        let exact = all.iter().find(|(addr, _)| *addr == row.endpoints.local());
        Some(exact.or_else(|| all.first())?.1)
    }

    /// Who listens where a connection came in, where the socket is open in other programs alone: they have not accepted
    /// it.
    pub(crate) fn accepted_elsewhere(&self, row: &Row) -> Option<&Holder> {
        let here = self.holders(row.sock.cookie);
        let listening = self.holders(self.listener_of(row)?);
        let accepts = |holder: &Holder| {
            let is_its =
                |listener: &Holder| listener.process == holder.process || listener.comm == holder.comm;
            listening.iter().any(is_its)
        };
        if here.is_empty() || here.iter().any(accepts) {
            return None;
        }
        Self::chosen(listening)
    }
}
