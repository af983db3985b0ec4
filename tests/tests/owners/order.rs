//! Whether the sockets of a test are opened before the tracer starts, or after.

use std::ops::Deref;
use tcptrace_tests::{shared, tracer::Tracer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The sockets are opened before the tracer starts.
    Before,
    /// The tracer runs when they are opened.
    After,
}

/// The tracer of a test.
pub(crate) enum Watch {
    /// A tracer that started after the sockets were opened.
    Own(Tracer),
    /// The tracer that is shared by all tests.
    Shared(&'static Tracer),
}

impl Order {
    /// Both orders, with their prefixes of a test's name.
    pub(crate) const BOTH: [(Self, &'static str); 2] =
        [(Self::Before, "opened_before"), (Self::After, "opened_after")];

    /// Opens the sockets and starts the tracer, in this order.
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
    /// Stops the test's own tracer, which must have lost nothing.
    pub(crate) fn end(self) {
        if let Self::Own(tracer) = self {
            shared::end(&tracer).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}
