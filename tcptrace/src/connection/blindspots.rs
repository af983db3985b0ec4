//! What the hooks of a plan do not show, and what therefore must not be concluded.

/// Nothing is hidden by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blindspots {
    /// The segments of timewait socks: what ended one early may then stay unknown.
    pub segments: bool,
    /// Timewait socks: what is no longer a full socket seems to be gone.
    pub timewaits: bool,
    /// Requests: every child then seems to come without one, as after a SYN cookie.
    pub requests: bool,
}

impl Blindspots {
    const SEGMENTS: u64 = 1;
    const REQUESTS: u64 = 2;
    const TIMEWAITS: u64 = 4;

    /// As recordings keep it: 1 segments, 2 requests, 4 timewait socks.
    pub(crate) const fn to_bits(self) -> u64 {
        let mut bits = 0;
        if self.segments {
            bits |= Self::SEGMENTS;
        }
        if self.requests {
            bits |= Self::REQUESTS;
        }
        if self.timewaits {
            bits |= Self::TIMEWAITS;
        }
        bits
    }

    /// The same back; bits of later versions are left out.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self {
            segments: bits & Self::SEGMENTS != 0,
            requests: bits & Self::REQUESTS != 0,
            timewaits: bits & Self::TIMEWAITS != 0,
        }
    }
}
