//! Limits on the parts of a recording. The writer keeps them, and a reader checks them before it reserves memory or
//! decompresses anything: a checksum shows that bytes are unchanged, not who wrote them.

/// A batch is written when it has this many rows: enough for zstd, and 10 MB to hold. The last entry may add a second
/// row, the description of its process.
pub(crate) const BATCH_ROWS: usize = 65_536;

/// The most rows that are read of a batch: twice those that are written.
pub const MOST_ROWS: usize = 2 * BATCH_ROWS;

/// A batch is also written when its texts have this many bytes. Those of 65,536 rows are a tenth of that on most hosts.
pub(crate) const BATCH_TEXT_BYTES: usize = 4 << 20;

/// The most bytes of texts that are read of a batch. Earlier versions wrote by rows alone: 65,536 rows that describe
/// processes of which every second runs in a cgroup with a path of 400 bytes have fewer.
pub(crate) const MOST_TEXT_BYTES: usize = 16 << 20;

/// The same for a body of this number of bytes: rows that name a path take up 8 bytes or more, in addition to the path.
pub(crate) fn most_text_bytes(body: usize) -> usize {
    MOST_TEXT_BYTES.min(LONGEST_TEXT + 64 * body)
}

/// The longest text of a row. Paths of cgroups end at `PATH_MAX`, 4,096 bytes, of which each may have become three
/// when it was made printable; notes are sentences, and the summary a few kilobytes of JSON.
pub(crate) const LONGEST_TEXT: usize = 64 << 10;

/// The longest message of a schema, without its body: it holds the command line twice, as text and as JSON, of which
/// [`LONGEST_COMMAND`] bytes are kept.
pub(crate) const LONGEST_METADATA: usize = 1 << 20;

/// The longest command line that is kept.
pub(crate) const LONGEST_COMMAND: usize = 32 << 10;

/// The longest body: all columns of [`MOST_ROWS`] rows and [`MOST_TEXT_BYTES`] of texts, as good as not compressed.
pub(crate) const LONGEST_BODY: usize = 64 << 20;

/// A writer pads a buffer at most so far (Arrow, "Buffer Alignment and Padding").
pub(crate) const PADDING: usize = 64;

/// The most entries of one snapshot, or of one scan of open files, that are put together in memory: 600 MB. A host has
/// as many sockets only where it was given some 40 GB for them.
pub(crate) const MOST_GATHERED: usize = 4 << 20;

/// The most live connections that a replay keeps, whatever its recording asks for: 2.4 GB, where as many live.
pub(crate) const MOST_CONNECTIONS: usize = 16 << 20;

/// The most damaged places of a file that are kept one by one, and the most notes of a run.
pub(crate) const MOST_REMARKS: usize = 1_000;

/// The start of a text, cut between two characters.
pub(crate) fn clipped(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::format;

    #[test]
    fn the_longest_body_holds_the_most_rows_without_compression() {
        let width: usize = format::fields_read()
            .iter()
            .map(|field| {
                field
                    .data_type()
                    .primitive_width()
                    .unwrap_or(format::ADDRESS_BYTES)
            })
            .sum();
        // Each buffer begins with its length before compression.
        let buffers = 3 * format::fields_read().len();
        let most = MOST_ROWS * (width + size_of::<i32>()) + MOST_TEXT_BYTES + buffers * (8 + PADDING);
        assert!(most <= LONGEST_BODY, "{most}");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(clipped("aé", 2), "a");
        assert_eq!(clipped("aé", 3), "aé");
    }
}
