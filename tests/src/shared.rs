//! One tracer for all the tests of a program: it sees every namespace, and each test asks for its own.

use crate::tracer::Tracer;
use std::sync::OnceLock;

static TRACER: OnceLock<Result<Tracer, String>> = OnceLock::new();

/// The tracer, started by whoever asks first. Where it cannot start, everyone is told its words.
pub fn tracer() -> &'static Tracer {
    let tracer = TRACER.get_or_init(|| Tracer::try_start(&[]));
    tracer.as_ref().unwrap_or_else(|failure| panic!("{failure}"))
}

/// Stops the tracer, if any test asked for it. It must end well and must have seen everything.
pub fn stop() -> Result<(), String> {
    match TRACER.get() {
        Some(Ok(tracer)) => end(tracer),
        _ => Ok(()),
    }
}

/// Stops a tracer, which must end well and must have seen everything.
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
