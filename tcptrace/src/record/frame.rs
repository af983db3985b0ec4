//! One message of an Arrow IPC stream with a checksum, in the padding that the format has between a message's metadata
//! and its body, where other readers look past it. Bytes that no longer fit their checksum are never decoded.

use super::bounds::{LONGEST_BODY, LONGEST_METADATA};
use arrow_ipc::writer::EncodedData;

/// What every message begins with (Arrow, "Encapsulated message format").
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The end of a stream: a message without metadata.
pub(crate) const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Continuation and length.
const PREFIX_BYTES: usize = 8;

/// Everything is aligned to this.
pub(crate) const ALIGNMENT: usize = 8;

/// Mark, CRC-32 of metadata and body, length of the body.
const SEAL_BYTES: usize = 16;

const MARK: [u8; 4] = *b"tcp!";

/// Puts a message together.
#[must_use]
pub fn seal(message: EncodedData) -> Vec<u8> {
    let EncodedData {
        ipc_message: mut metadata,
        arrow_data: mut body,
    } = message;
    metadata.resize(metadata.len().next_multiple_of(ALIGNMENT), 0);
    body.resize(body.len().next_multiple_of(ALIGNMENT), 0);
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + metadata.len() + SEAL_BYTES + body.len());
    bytes.extend(CONTINUATION);
    let length = u32::try_from(metadata.len() + SEAL_BYTES).expect("a message's metadata is small");
    bytes.extend(length.to_le_bytes());
    bytes.extend(&metadata);
    bytes.extend(MARK);
    bytes.extend(checksum(&metadata, &body).to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(&body);
    bytes
}

fn checksum(metadata: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(metadata);
    hasher.update(&(body.len() as u64).to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// What some bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A complete message of this many bytes with a matching checksum.
    Message(usize),
    End,
    /// A message that continues beyond the bytes.
    Cut,
    /// A message whose checksum does not match, and its length in bytes.
    Unfit(usize),
    /// Neither a message nor an end of the stream.
    Damaged,
}

/// Looks at the beginning of `bytes`, the rest of a file.
pub(crate) fn find(bytes: &[u8]) -> Found {
    if bytes.starts_with(&END) {
        return Found::End;
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Found::Cut;
    };
    let [mark @ .., a, b, c, d] = *prefix;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if mark != CONTINUATION
        || !(SEAL_BYTES..=LONGEST_METADATA).contains(&length)
        || !length.is_multiple_of(ALIGNMENT)
    {
        return Found::Damaged;
    }
    let Some((metadata, rest)) = rest.split_at_checked(length) else {
        return Found::Cut;
    };
    let (metadata, seal) = metadata.split_at(length - SEAL_BYTES);
    let (Some((mark, rest_of_seal)), true) = (seal.split_first_chunk::<4>(), seal.len() == SEAL_BYTES) else {
        return Found::Damaged;
    };
    let (Some(sum), Some(body_length)) = (
        rest_of_seal.first_chunk::<4>(),
        rest_of_seal
            .last_chunk::<8>()
            .map(|bytes| u64::from_le_bytes(*bytes)),
    ) else {
        return Found::Damaged;
    };
    let body_length = usize::try_from(body_length).unwrap_or(usize::MAX);
    if *mark != MARK || body_length > LONGEST_BODY {
        return Found::Damaged;
    }
    let Some(body) = rest.get(..body_length) else {
        return Found::Cut;
    };
    let bytes = PREFIX_BYTES + length + body.len();
    if checksum(metadata, body) == u32::from_le_bytes(*sum) {
        Found::Message(bytes)
    } else {
        Found::Unfit(bytes)
    }
}

/// Metadata and body of a whole message.
pub(crate) fn split(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = message.split_first_chunk::<PREFIX_BYTES>()?;
    let length = u32::from_le_bytes(*prefix.last_chunk()?);
    rest.split_at_checked(usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(metadata: &[u8], body: &[u8]) -> Vec<u8> {
        seal(EncodedData {
            ipc_message: metadata.to_vec(),
            arrow_data: body.to_vec(),
        })
    }

    #[test]
    fn a_sealed_message_is_found_whole() {
        let bytes = message(b"metadata", b"a body");
        assert_eq!(find(&bytes), Found::Message(bytes.len()));
        assert_eq!(find(&bytes[..bytes.len() - 1]), Found::Cut);
        assert_eq!(find(&END), Found::End);
        assert_eq!(find(&[]), Found::Cut);
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_never_taken_for_a_message(
            metadata in prop::collection::vec(any::<u8>(), 0..100),
            body in prop::collection::vec(any::<u8>(), 0..100),
            at in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let mut bytes = message(&metadata, &body);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(!matches!(find(&bytes), Found::Message(_)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = find(&bytes);
        }
    }
}
