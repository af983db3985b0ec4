//! One scan and one snapshot, put together without a table: who holds each socket, and who owns what nobody holds.

use super::{
    holders::{Scan, Way},
    policy::Evidence,
};
use crate::{
    decode::{Holder, Row, SockKind},
    event::TcpState,
};
use hashbrown::HashMap;
use std::net::IpAddr;

/// Open files by socket, and the listeners seen so far.
#[derive(Debug, Default)]
pub struct Opened {
    /// Sorted by cookie, then process and descriptor.
    holders: Vec<Holder>,
    way: Way,
    /// Where the holders of a cookie begin, and how many they are.
    by_cookie: HashMap<u64, (u32, u32)>,
    listeners: HashMap<(u32, u16), Vec<(IpAddr, u64)>>,
}

impl Opened {
    /// Sorts a scan.
    #[must_use]
    pub fn new(mut scan: Scan) -> Self {
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
            way: scan.way,
            by_cookie,
            listeners: HashMap::new(),
        }
    }

    /// Everybody who has the socket open.
    #[must_use]
    pub fn holders(&self, cookie: u64) -> &[Holder] {
        let (at, count) = self.by_cookie.get(&cookie).copied().unwrap_or_default();
        &self.holders[at as usize..(at + count) as usize]
    }

    /// What a holder proves.
    #[must_use]
    pub const fn evidence(&self) -> Evidence {
        match self.way {
            Way::Iterator => Evidence::Holder,
            Way::Proc => Evidence::Proc,
        }
    }

    /// The sockets that are CLOSE and open, each with its holders.
    pub fn closed(&self) -> impl Iterator<Item = &[Holder]> {
        self.holders
            .chunk_by(|a, b| a.cookie == b.cookie)
            .filter(|group| group[0].state == TcpState::Close)
    }

    /// Of several holders the one to name: the youngest process, as in [`super::policy::choose`].
    #[must_use]
    pub fn chosen(holders: &[Holder]) -> Option<&Holder> {
        holders.iter().max_by_key(|holder| holder.process.start_ns)
    }

    /// Remembers the row where it is a listener; the kernel lists those before their connections.
    pub fn notice(&mut self, row: &Row) {
        if row.state == TcpState::Listen {
            self.listeners
                .entry((row.netns, row.ends.local_port))
                .or_default()
                .push((row.ends.local(), row.sock.cookie));
        }
    }

    /// Who owns the socket, and how that is known: who holds it, else whose listener it came to.
    #[must_use]
    pub fn owner(&self, row: &Row) -> Option<(&Holder, Evidence)> {
        if let Some(holder) = Self::chosen(self.holders(row.sock.cookie)) {
            return Some((holder, self.evidence()));
        }
        let came_to_a_listener = !row.is_kernel_socket
            && !matches!(row.state, TcpState::Listen | TcpState::SynSent)
            && row.kind != SockKind::Timewait;
        if !came_to_a_listener {
            return None;
        }
        let listener = if row.listener == 0 {
            let all = self.listeners.get(&(row.netns, row.ends.local_port))?;
            let exact = all.iter().find(|(addr, _)| *addr == row.ends.local());
            exact.or_else(|| all.first())?.1
        } else {
            row.listener
        };
        let owner = Self::chosen(self.holders(listener))?;
        Some((owner, Evidence::Listener))
    }
}
