//! One interval of a log: its tag and its histogram, of which nothing is believed that says how much memory it takes.

use super::REST;
use crate::{
    owner::container::Location,
    printable::printable,
    stats::{
        key::{NamedKey, path_of_word, unescaped},
        measure::{Kind, Measure},
        report::Who,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::ZlibDecoder;
use hdrhistogram::{Histogram, serialization::Deserializer};
use std::{
    io::{Cursor, Read as _},
    sync::Arc,
};

pub(super) struct Interval {
    pub(super) end_ms: u64,
    /// Whose it is; `None` for a sum of others.
    pub(super) of: Option<Tag>,
    pub(super) histogram: Histogram<u64>,
}

pub(super) fn read_interval(line: &str) -> Result<Interval, String> {
    let (tag, rest) = match line.strip_prefix("Tag=") {
        Some(rest) => {
            let (tag, rest) = rest.split_once(',').ok_or("a tag, and nothing after it")?;
            (Some(tag), rest)
        }
        None => (None, line),
    };
    let fields: Vec<&str> = rest.split(',').collect();
    let [start, length, _max, payload] = fields[..] else {
        return Err(format!("{} fields where an interval has 4", fields.len()));
    };
    let time = |field: &str| millis(field).ok_or_else(|| format!("\"{field}\" is no time in seconds"));
    let end_ms = time(start)?.saturating_add(time(length)?);
    let bytes = STANDARD
        .decode(payload.trim_end())
        .map_err(|error| format!("the histogram is truncated or not base64: {error}"))?;
    let histogram = read_histogram(&bytes)?;
    let of = match tag {
        Some(tag) => Some(read_tag(tag).ok_or_else(|| format!("unknown tag \"{tag}\""))?),
        None => None,
    };
    Ok(Interval {
        end_ms,
        of,
        histogram,
    })
}

/// HdrHistogram's cookies, of its second version (`AbstractHistogram`), with words of any length.
pub(super) const PLAIN: u32 = 0x1c84_9313;
pub(super) const DEFLATED: u32 = 0x1c84_9314;

/// Cookie, length of the counts, offset, digits, lowest and highest value, ratio.
pub(super) const HEADER_BYTES: usize = 40;

/// The counts of a histogram of three digits are half as long.
pub(super) const LONGEST_HISTOGRAM: usize = 1 << 20;

/// Most significant digits that are read; tcptrace's logs have two. Each further one takes ten times the memory.
pub(super) const MOST_DIGITS: u32 = 3;

/// Maximum number of durations in one bucket, that of a [`Bins`]; more are invalid.
pub(super) const MOST_COUNT: u64 = 1 << 45;

/// Reads a histogram without trusting any size in it.
pub(super) fn read_histogram(bytes: &[u8]) -> Result<Histogram<u64>, String> {
    let damaged = |what: &str| format!("not an HdrHistogram: {what}");
    let mut plain = Vec::new();
    let bytes = match number(bytes, 0) {
        Some(DEFLATED) => {
            let deflated = bytes.get(8..).unwrap_or_default();
            let most = LONGEST_HISTOGRAM as u64 + 1;
            ZlibDecoder::new(deflated)
                .take(most)
                .read_to_end(&mut plain)
                .map_err(|error| damaged(&error.to_string()))?;
            &plain
        }
        Some(_) | None => bytes,
    };
    let (Some(PLAIN), Some(length), Some(digits)) = (number(bytes, 0), number(bytes, 4), number(bytes, 12))
    else {
        return Err(damaged("another format"));
    };
    let counts = bytes.get(HEADER_BYTES..).unwrap_or_default();
    if bytes.len() > LONGEST_HISTOGRAM || usize::try_from(length) != Ok(counts.len()) || digits > MOST_DIGITS
    {
        return Err(damaged("unexpected length or precision"));
    }
    if !are_counts(counts) {
        return Err(damaged("invalid counts"));
    }
    Deserializer::new()
        .deserialize(&mut Cursor::new(bytes))
        .map_err(|error| damaged(&error.to_string()))
}

/// Whether these are counts in ZigZag LEB128, runs of zeros as negative numbers, that do not overflow what adds them up.
pub(super) fn are_counts(mut bytes: &[u8]) -> bool {
    let mut buckets: u64 = 0;
    while !bytes.is_empty() {
        let mut word: u64 = 0;
        for index in 0..9 {
            let Some((byte, rest)) = bytes.split_first() else {
                return false;
            };
            bytes = rest;
            // The ninth byte is a whole one.
            let (bits, goes_on) = if index == 8 {
                (*byte, false)
            } else {
                (byte & 0x7f, *byte >= 0x80)
            };
            word |= u64::from(bits) << (7 * index);
            if !goes_on {
                break;
            }
        }
        let (count, is_run) = (word.div_ceil(2), word % 2 == 1);
        if count > MOST_COUNT {
            return false;
        }
        buckets += if is_run { count } else { 1 };
        if buckets > LONGEST_HISTOGRAM as u64 {
            return false;
        }
    }
    true
}

pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

/// What a histogram is of.
pub(super) struct Tag {
    /// Where a log of several hosts names it.
    pub(super) host: Option<String>,
    pub(super) who: Who,
    pub(super) measure: Measure,
    pub(super) kind: Kind,
    /// Where a cgroup's path is named.
    pub(super) location: Option<Arc<Location>>,
}

/// `STATE`, `STATE+kind`, either followed by `@host`, all of that followed by `/key`.
pub(super) fn read_tag(tag: &str) -> Option<Tag> {
    let (what, key) = match tag.split_once('/') {
        Some((what, key)) => (what, Some(key)),
        None => (tag, None),
    };
    let (what, host) = match what.split_once('@') {
        Some((what, word)) => (what, Some(printable(&unescaped(word)?).into_owned())),
        None => (what, None),
    };
    let (name, word) = match what.split_once('+') {
        Some((name, word)) => (name, Some(word)),
        None => (what, None),
    };
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
    let who = match key {
        None => Who::All,
        Some(REST) => Who::Rest,
        Some(word) => Who::One(NamedKey::from_word(word)?),
    };
    Some(Tag {
        host,
        who,
        measure: Measure::from_name(name)?,
        kind,
        location: key
            .and_then(path_of_word)
            .map(|path| Arc::new(Location::of_path(&path))),
    })
}

/// Seconds with decimals, in milliseconds.
pub(super) fn millis(seconds: &str) -> Option<u64> {
    let (whole, decimals) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let whole: u64 = whole.parse().ok()?;
    if decimals.is_empty() || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u64 = format!("{decimals:0<3}").get(..3)?.parse().ok()?;
    whole.checked_mul(1_000)?.checked_add(thousandths)
}
