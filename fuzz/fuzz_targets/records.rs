//! What the kernel side hands over: records in any order and of any content, decoded and taken by the engine.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tcptrace::{decode, engine::{Engine, Input}, event::Nanos};

/// The sizes of a record in the ring buffer, of a row of a snapshot, and of one of a scan.
const RECORD_BYTES: usize = 160;
const ROW_BYTES: usize = 216;
const HOLDER_BYTES: usize = 128;

fuzz_target!(|bytes: &[u8]| {
    let _stack = decode::stack(bytes);
    for row in bytes.chunks(ROW_BYTES) {
        let _row = decode::socket(row, Nanos(4_000_000));
    }
    for row in bytes.chunks(HOLDER_BYTES) {
        let _holder = decode::holder(row, Nanos(4_000_000));
    }
    let mut engine = Engine::new(4);
    for record in bytes.chunks(RECORD_BYTES) {
        if let Ok(event) = decode::event(record) {
            engine.apply(Input::Events(&[event]));
            engine.apply(Input::Settle(event.time));
            engine.finish_batch();
        }
    }
    engine.apply(Input::Settle(Nanos(u64::MAX)));
    assert!(engine.table.iter().count() <= 4);
});
