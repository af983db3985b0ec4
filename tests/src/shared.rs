//! One tracer for all tests of a program: it traces every namespace, and each test reads the events of its own.

use crate::tracer::Tracer;
use std::sync::OnceLock;

static TRACER: OnceLock<Result<Tracer, String>> = OnceLock::new();

/// The tracer, which the first caller starts. If it cannot start, every caller panics with its messages.
pub fn tracer() -> &'static Tracer {
    let tracer = TRACER.get_or_init(|| Tracer::try_start(&[]));
    tracer.as_ref().unwrap_or_else(|failure| panic!("{failure}"))
}

/// Stops the tracer, if it was started. It must succeed and have lost nothing.
pub fn stop() -> Result<(), String> {
    match TRACER.get() {
        Some(Ok(tracer)) => end(tracer),
        _ => Ok(()),
    }
}

/// Stops a tracer, which must succeed and have lost nothing.
pub fn end(tracer: &Tracer) -> Result<(), String> {
    let ending = tracer.stop();
    if ending.status.success() && ending.summary["lost"] == 0 {
        Ok(())
    } else {
        Err(format!(
            "tcptrace ended with {}: {}\n{}",
            ending.status, ending.summary, ending.messages
        ))
    }
}
