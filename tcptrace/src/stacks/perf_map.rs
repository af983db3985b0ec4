//! Names of code generated at run time: `/tmp/perf-PID.map`, one line per symbol, with start and size in hexadecimal
//! and a name (`tools/perf/Documentation/jit-interface.txt` in the kernel).

use super::modules::open_of_process;
use crate::{lossy, printable::printable, privileges::scout};
use std::io::Read as _;

/// A process may write what it likes there.
const MOST_BYTES: u64 = 256 << 20;

/// Code with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    start: u64,
    size: u64,
    name: String,
}

/// The pieces, in order of their addresses; of several at one address the last that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerfMap(Vec<Piece>);

impl PerfMap {
    /// The map of a process, in its own mount and process namespaces; empty where there is none.
    pub(crate) fn of(pid: u32) -> Self {
        let open = move || {
            let status = lossy::read(format!("/proc/{pid}/status")).unwrap_or_default();
            let path = format!("/proc/{pid}/root/tmp/perf-{}.map", own_id(&status).unwrap_or(pid));
            open_of_process(&path)
        };
        let mut bytes = Vec::new();
        if let Some(file) = scout::ask(open)
            && let Err(error) = file.take(MOST_BYTES).read_to_end(&mut bytes)
        {
            log::debug!("the perf map of {pid}: {error}");
        }
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Self {
        let mut pieces: Vec<Piece> = text.lines().filter_map(piece).collect();
        // Stable, so that of pieces at one address the last that was written comes last.
        pieces.sort_by_key(|piece| piece.start);
        Self(pieces)
    }

    pub(crate) fn name(&self, address: u64) -> Option<&str> {
        let after = self.0.partition_point(|piece| piece.start <= address);
        let piece = self.0.get(after.checked_sub(1)?)?;
        (address - piece.start < piece.size).then_some(piece.name.as_str())
    }
}

/// The process's id in its own namespace, the last of `NSpid` in proc_pid_status(5).
fn own_id(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_whitespace().next_back()?.parse().ok()
}

/// The JVM of JDK 17 writes `0x` before the numbers, others do not.
fn piece(line: &str) -> Option<Piece> {
    let mut words = line.splitn(3, ' ');
    let mut number = || {
        let word = words.next()?;
        u64::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name = words.next()?.trim();
    (!name.is_empty()).then(|| Piece {
        start,
        size,
        name: printable(name.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_both_spellings_and_the_latest_wins() {
        let map = PerfMap::parse(
            "0x00007f10 0x0020 void OrderClient.fetch(int)\n\
             7f30 10 JS:~old shop.mjs:1\n\
             7f30 10 JS:*new shop.mjs:1\n\
             broken line\n\
             7f50 10\n",
        );
        assert_eq!(map.name(0x7f2f), Some("void OrderClient.fetch(int)"));
        assert_eq!(map.name(0x7f30), Some("JS:*new shop.mjs:1"));
        assert_eq!(map.name(0x7f40), None);
        assert_eq!(map.name(0x7f0f), None);
        assert_eq!(map.name(0x7f55), None);
        assert_eq!(PerfMap::default().name(1), None);
    }

    #[test]
    fn a_program_cannot_write_to_the_terminal_by_its_names() {
        let map = PerfMap::parse("7f30 10 a\x1b]0;b\x07\u{202e}\n");
        assert_eq!(map.name(0x7f30), Some("a\u{fffd}]0;b\u{fffd}\u{fffd}"));
    }

    #[test]
    fn a_process_in_a_container_writes_its_own_id() {
        assert_eq!(own_id("Name:\tx\nNSpid:\t4242\t17\n"), Some(17));
        assert_eq!(own_id("Name:\tx\n"), None);
    }
}
