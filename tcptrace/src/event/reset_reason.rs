//! Why the kernel sent a RST, as its number.

use std::num::NonZeroU16;

/// A value of the reporting kernel's `enum sk_rst_reason`, whose numbers differ between kernels. Not 0, which is
/// `SK_RST_REASON_NOT_SPECIFIED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResetReason(NonZeroU16);

impl ResetReason {
    /// From the kernel's number; `None` if it specified no reason.
    pub(crate) const fn from_kernel(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The kernel's number, 0 for no reason.
    pub(crate) fn number(reason: Option<Self>) -> u16 {
        reason.map_or(0, |reason| reason.0.get())
    }
}
