//! Recordings: any bytes, with checksums that fit, since anybody can make those. Read, replayed and reported.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{io::Cursor, ops::ControlFlow};
use tcptrace::{filter::Filter, output, record::{entry::Item, read::Reader, replay::Replay}, report, view::Sort};

/// Continuation and length, then the metadata, at whose end are mark, checksum and the length of the body.
const PREFIX_BYTES: usize = 8;
const SEAL_BYTES: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    seal_again(&mut bytes);
    let Ok(mut reader) = Reader::new(Box::new(Cursor::new(bytes))) else {
        return;
    };
    let mut replay = Replay::new(&reader.origin);
    let is_read = reader.visit(&mut |item| {
        match item {
            Item::Prefetch(socks) => replay.engine.prefetch(socks),
            Item::Entry(entry) => {
                if replay.ends_batch(entry) {
                    replay.finish_batch();
                }
                replay.apply(entry);
            }
        }
        ControlFlow::Continue(())
    });
    assert!(is_read.is_ok_and(|is_read| is_read));
    replay.end();
    let report = report::build(
        &reader.origin,
        &replay.engine,
        &replay.run_stats,
        replay.beginning,
        replay.run_stats.latest,
        &Filter::default(),
        Sort::default(),
    );
    let text = output::report::text(std::slice::from_ref(&report));
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    let _json = output::report::json(&[report]);
});

/// Makes the checksum of every message fit, and the length of its body where it is beyond the end.
fn seal_again(mut bytes: &mut [u8]) {
    while bytes.len() >= PREFIX_BYTES {
        let length = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        let rest = &mut bytes[PREFIX_BYTES..];
        if length < SEAL_BYTES || length > rest.len() {
            return;
        }
        let (metadata, rest) = rest.split_at_mut(length);
        let (metadata, seal) = metadata.split_at_mut(length - SEAL_BYTES);
        let size: [u8; 8] = seal[8..].try_into().expect("eight bytes");
        let body = usize::try_from(u64::from_le_bytes(size)).map_or(rest.len(), |size| size.min(rest.len()));
        let (body, rest) = rest.split_at_mut(body);
        let length = (body.len() as u64).to_le_bytes();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(metadata);
        hasher.update(&length);
        hasher.update(body);
        seal[..4].copy_from_slice(b"tcp!");
        seal[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
        seal[8..].copy_from_slice(&length);
        bytes = rest;
    }
}
