//! Times and spans, in nanoseconds.

use serde::Serialize;

/// Nanoseconds of `CLOCK_MONOTONIC`, or a span of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The span from `earlier` to `self`; zero where `earlier` is later, as clocks of two CPUs may be apart.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// This much later.
    #[must_use]
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// A span of milliseconds.
    pub(crate) const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// A span of seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }
}

/// How long something has lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Both ends of the span were seen.
    Exact(Nanos),
    /// It began before the tracer did, or while events were lost.
    AtLeast(Nanos),
}

impl Age {
    /// The span, whether exact or not.
    pub(crate) const fn span(self) -> Nanos {
        match self {
            Self::Exact(span) | Self::AtLeast(span) => span,
        }
    }

    /// Whether both ends were seen.
    pub(crate) const fn is_exact(self) -> bool {
        matches!(self, Self::Exact(_))
    }
}
