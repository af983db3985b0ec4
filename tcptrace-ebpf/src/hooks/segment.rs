//! The TCP header of a segment that a timewait socket handled.

use crate::sock::{Load as _, Probe};
use tcptrace_common::flag;

/// Offset of the flags in a TCP header, RFC 9293 section 3.1, and RST among them.
const TCP_FLAGS: usize = 13;
const RST: u8 = 0x04;

/// The bits of [`flag`] of the segment with this header; none if it cannot be read.
#[inline(always)]
pub(super) fn flags(header: *const u8) -> u8 {
    // SAFETY: `Probe` survives any address.
    let flags: u8 = unsafe { Probe::load(header, TCP_FLAGS) };
    if flags & RST != 0 { flag::RESET } else { 0 }
}
