//! Whether the sockets of a test or the tracer are there first.

use std::ops::Deref;
use tcptrace_tests::{shared, tracer::Tracer};

/// Who is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The sockets are opened before the tracer starts.
    Before,
    /// The tracer runs when they are opened.
    After,
}

/// The tracer that a test listens to.
pub(crate) enum Watch {
    /// One that started after the sockets were opened.
    Own(Tracer),
    /// The one that runs anyway.
    Shared(&'static Tracer),
}

impl Order {
    /// Both, and what to put before a test's name.
    pub(crate) const BOTH: [(Self, &'static str); 2] =
        [(Self::Before, "opened_before"), (Self::After, "opened_after")];

    /// Opens the sockets and has the tracer running, in this order.
    pub(crate) fn watch<T>(self, open: impl FnOnce() -> T) -> (Watch, T) {
        match self {
            Self::Before => {
                let opened = open();
                (Watch::Own(Tracer::start(&[])), opened)
            }
            Self::After => {
                let watch = Watch::Shared(shared::tracer());
                (watch, open())
            }
        }
    }
}

impl Deref for Watch {
    type Target = Tracer;

    fn deref(&self) -> &Tracer {
        match self {
            Self::Own(tracer) => tracer,
            Self::Shared(tracer) => tracer,
        }
    }
}

impl Watch {
    /// Ends the test's own tracer, which must have seen everything.
    pub(crate) fn end(self) {
        if let Self::Own(tracer) = self {
            shared::end(&tracer).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}
