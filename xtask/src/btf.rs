//! Drops from a `.BTF` section every string that no type refers to: lines of source, which LLVM copies where it can open
//! the file, and so depend on the machine.

use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;

/// Length of `struct btf_type`.
const TYPE_LEN: usize = 12;

/// Returns the section with the same types and only the strings that they refer to. Layout: the kernel's `uapi/linux/btf.h`.
pub(crate) fn without_unused_strings(btf: &[u8]) -> Result<Vec<u8>> {
    ensure!(
        btf.len() >= HEADER_LEN && btf[..2] == MAGIC.to_le_bytes(),
        "not a little-endian BTF section"
    );
    let header_len = word(btf, 4)?;
    let part = |offset, len| {
        let start = header_len + word(btf, offset)?;
        btf.get(start..start + word(btf, len)?)
            .context("the BTF section is truncated")
    };
    let mut types = part(8, 12)?.to_vec();
    let mut strings = Strings {
        old: part(16, 20)?,
        new: vec![0],
        places: BTreeMap::from([(0, 0)]),
    };

    let mut at = 0;
    while at < types.len() {
        strings.carry(&mut types, at)?;
        let info = word(&types, at + 4)?;
        let members = info & 0xffff;
        at += TYPE_LEN;
        let (member_len, is_named) = match info >> 24 & 0x1f {
            // Int, variable, declaration tag: one word more; array: three.
            1 | 14 | 17 => (4, false),
            3 => (12, false),
            // Struct, union, 64-bit enum; enum, function prototype.
            4 | 5 | 19 => (12 * members, true),
            6 | 13 => (8 * members, true),
            // Section of variables.
            15 => (12 * members, false),
            // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
            2 | 7..=12 | 16 | 18 => (0, false),
            kind => bail!("unknown BTF kind {kind}: add it, with its length"),
        };
        if is_named && members > 0 {
            for member in (at..at + member_len).step_by(member_len / members) {
                strings.carry(&mut types, member)?;
            }
        }
        at += member_len;
    }

    let mut out = btf[..8].to_vec();
    out[4..].copy_from_slice(&u32::try_from(HEADER_LEN)?.to_le_bytes());
    for number in [0, types.len(), types.len(), strings.new.len()] {
        out.extend(u32::try_from(number)?.to_le_bytes());
    }
    out.extend(types);
    out.extend(strings.new);
    Ok(out)
}

struct Strings<'a> {
    old: &'a [u8],
    new: Vec<u8>,
    /// New offsets by old offsets.
    places: BTreeMap<usize, usize>,
}

impl Strings<'_> {
    /// Copies the string whose offset is at `at`, and writes its new offset there.
    fn carry(&mut self, types: &mut [u8], at: usize) -> Result<()> {
        let old = word(types, at)?;
        let new = if let Some(&new) = self.places.get(&old) {
            new
        } else {
            let tail = self
                .old
                .get(old..)
                .context("a BTF type refers to a string outside of the section")?;
            let text = tail.split_inclusive(|&byte| byte == 0).next().unwrap_or_default();
            let new = self.new.len();
            self.new.extend(text);
            self.places.insert(old, new);
            new
        };
        types[at..at + 4].copy_from_slice(&u32::try_from(new)?.to_le_bytes());
        Ok(())
    }
}

fn word(bytes: &[u8], at: usize) -> Result<usize> {
    let word = bytes
        .get(at..)
        .and_then(|tail| tail.first_chunk())
        .context("the BTF section is truncated")?;
    Ok(u32::from_le_bytes(*word) as usize)
}

#[cfg(test)]
mod tests {
    use super::without_unused_strings;

    fn section(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut out = vec![0x9f, 0xeb, 1, 0];
        let lengths = [24, 0, types.len(), types.len(), strings.len()];
        out.extend(
            lengths
                .iter()
                .flat_map(|&length| u32::try_from(length).unwrap().to_le_bytes()),
        );
        out.extend(types);
        out.extend(strings);
        out
    }

    #[test]
    fn names_stay_and_lines_of_source_go() {
        let structure = [13, 4 << 24 | 1, 4, 1, 2, 0];
        let int = [18, 1 << 24, 4, 32];
        let before = section(
            &[structure.as_slice(), &int].concat(),
            b"\0field\0line;\0Name\0u32\0",
        );
        let structure = [1, 4 << 24 | 1, 4, 6, 2, 0];
        let int = [12, 1 << 24, 4, 32];
        let after = section(&[structure.as_slice(), &int].concat(), b"\0Name\0field\0u32\0");
        assert_eq!(without_unused_strings(&before).unwrap(), after);
        assert_eq!(without_unused_strings(&after).unwrap(), after);
    }

    #[test]
    fn a_section_cut_short_is_refused() {
        let whole = section(&[1, 1 << 24, 4, 32], b"\0u32\0");
        for length in 0..whole.len() {
            assert!(without_unused_strings(&whole[..length]).is_err(), "{length}");
        }
    }
}
