//! Counts with their nouns.

use std::fmt::Display;

/// `1 socket`, `2 sockets`, `2 processes`, `2 entries`.
pub(crate) fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    if count == N::from(1) {
        return format!("1 {noun}");
    }
    if let Some(stem) = noun.strip_suffix('y') {
        return format!("{count} {stem}ies");
    }
    let ending = if noun.ends_with('s') { "es" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// The verb in the number that fits the count.
pub(crate) fn was<N: Copy + PartialEq + From<u8>>(count: N) -> &'static str {
    if count == N::from(1) { "was" } else { "were" }
}

/// The same in the present.
pub(crate) fn is<N: Copy + PartialEq + From<u8>>(count: N) -> &'static str {
    if count == N::from(1) { "is" } else { "are" }
}

/// A regular verb in the present: 1 handshake `waits`, 2 handshakes `wait`.
pub(crate) fn verb<N: Copy + PartialEq + From<u8>>(count: N, verb: &str) -> String {
    let ending = if count == N::from(1) { "s" } else { "" };
    format!("{verb}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_nothing_is_plural() {
        let all = [0_u64, 1, 2].map(|count| counted(count, "file"));
        assert_eq!(all, ["0 files", "1 file", "2 files"]);
        assert_eq!([1_u64, 2].map(|count| verb(count, "wait")), ["waits", "wait"]);
        assert_eq!(counted(2_usize, "process"), "2 processes");
        assert_eq!(counted(2_usize, "entry"), "2 entries");
    }
}
