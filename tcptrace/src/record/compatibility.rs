//! Which recordings this version reads: every format up to its own. Columns are found by name, so that one that was
//! added later is simply missing from an older file, and one that this version does not know is passed over.

use super::{
    format::FORMAT,
    origin::{FORMAT_KEY, Origin},
};
use arrow_schema::Metadata;

/// Why a stream of Arrow is no recording for this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// Somebody else's.
    #[error(
        "its metadata has no tcptrace.format\n  it means: some other program wrote this file\n  what to do: give a file that `tcptrace record` has written"
    )]
    Foreign,
    /// Of a later version.
    #[error(
        "its format is {found}, written by a newer tcptrace; this one reads formats up to {FORMAT}\n  it means: rows may have another meaning, so none is read\n  what to do: use the version that wrote it, or a newer one"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
    /// A format without what it must have.
    #[error(
        "its metadata does not say where it comes from (tcptrace.origin)\n  it means: another tool has rewritten the file without its metadata\n  what to do: give the file that `tcptrace record` has written"
    )]
    NoOrigin,
}

/// Judges a file by its schema's metadata.
///
/// # Errors
/// Why it cannot be read.
pub fn judge(metadata: &Metadata) -> Result<Origin, Incompatible> {
    let format: u32 = metadata
        .get(FORMAT_KEY)
        .and_then(|text| text.parse().ok())
        .ok_or(Incompatible::Foreign)?;
    if format > FORMAT {
        return Err(Incompatible::Newer { found: format });
    }
    Origin::from_metadata(metadata).ok_or(Incompatible::NoOrigin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::origin::tests::example;

    #[test]
    fn a_format_up_to_ours_is_read_and_a_newer_one_is_named() {
        assert_eq!(judge(&example().to_metadata(FORMAT)), Ok(example()));
        let newer = judge(&example().to_metadata(FORMAT + 1));
        assert_eq!(newer, Err(Incompatible::Newer { found: FORMAT + 1 }));
        assert_eq!(judge(&Metadata::default()), Err(Incompatible::Foreign));
        let bare = Metadata::from([(FORMAT_KEY, "1")]);
        assert_eq!(judge(&bare), Err(Incompatible::NoOrigin));
    }
}
