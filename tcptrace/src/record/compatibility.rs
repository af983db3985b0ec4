//! Which recordings this version reads: every format up to its own. Columns are found by name: columns of a later
//! format may be missing from an older file, and unknown ones are ignored.

use super::{
    format::{self, FORMAT},
    origin::{FORMAT_KEY, Origin},
};
use crate::printable::printable;
use arrow_schema::Schema;

/// Why a stream of Arrow is no recording for this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// Somebody else's.
    #[error(
        "its metadata has no tcptrace.format\n  what it means: another program wrote this file\n  what to do: give a file that `tcptrace record` has written"
    )]
    Foreign,
    /// Of a later version.
    #[error(
        "its format is {found}, written by a newer tcptrace; this one reads formats up to {FORMAT}\n  what it means: its rows may have another meaning, so none is read\n  what to do: use the version that wrote it, or a newer one"
    )]
    Newer {
        /// The format in the file's metadata.
        found: u32,
    },
    /// A format without what it must have.
    #[error(
        "its metadata has no tcptrace.origin\n  what it means: another tool has rewritten the file without its metadata\n  what to do: give the file that `tcptrace record` has written"
    )]
    NoOrigin,
    /// A column of its format is not there.
    #[error(
        "its schema has no column {0}\n  what it means: its rows are incomplete, so none is read\n  what to do: give the file that `tcptrace record` has written"
    )]
    MissingColumn(&'static str),
    /// A column exists twice, or has another type than in its format.
    #[error(
        "column {0} of its schema exists twice or has another type\n  what it means: its rows cannot be interpreted, so none is read\n  what to do: give the file that `tcptrace record` has written"
    )]
    WrongColumn(String),
}

impl Incompatible {
    /// A column that is not as its format has it.
    pub(crate) fn wrong_column(name: &str) -> Self {
        Self::WrongColumn(printable(name.as_bytes()).into_owned())
    }
}

/// Checks a file's schema: its metadata, and whether it has the columns of its format. Errors: why it cannot be read.
pub(crate) fn check(schema: &Schema) -> Result<Origin, Incompatible> {
    let metadata = schema.metadata();
    let format: u32 = metadata
        .get(FORMAT_KEY)
        .and_then(|text| text.parse().ok())
        .ok_or(Incompatible::Foreign)?;
    if format > FORMAT {
        return Err(Incompatible::Newer { found: format });
    }
    for our in format::fields_read() {
        let mut found = schema.fields().iter().filter(|field| field.name() == our.name());
        match (found.next(), found.next()) {
            (None, _) if is_absent(format, our.name()) => {}
            (None, _) => return Err(Incompatible::MissingColumn(our.name())),
            (Some(field), None) if field.data_type() == our.data_type() => {}
            (Some(_), _) => return Err(Incompatible::wrong_column(our.name())),
        }
    }
    Origin::from_metadata(metadata).ok_or(Incompatible::NoOrigin)
}

/// Whether files of a format may lack a column that another format has.
fn is_absent(format: u32, column: &str) -> bool {
    match column {
        "mono_ns" => format > 1,
        "mono_sec" | "mono_nsec" => format == 1,
        "retransmits_total" | "srtt_us" | "reset_reason" => format < 3,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::origin::tests::example;
    use arrow_schema::{DataType, Field, Fields, Metadata};

    fn columns(format: u32) -> Vec<Field> {
        let all = format::fields_read().iter();
        all.filter(|field| !is_absent(format, field.name()))
            .cloned()
            .collect()
    }

    fn schema(columns: Vec<Field>, metadata: Metadata) -> Schema {
        Schema::new_with_metadata(Fields::from(columns), metadata)
    }

    #[test]
    fn a_format_up_to_ours_is_read_and_a_newer_one_is_named() {
        let checked = |metadata| check(&schema(columns(FORMAT), metadata));
        assert_eq!(checked(example().to_metadata(FORMAT)), Ok(example()));
        let newer = checked(example().to_metadata(FORMAT + 1));
        assert_eq!(newer, Err(Incompatible::Newer { found: FORMAT + 1 }));
        assert_eq!(checked(Metadata::default()), Err(Incompatible::Foreign));
        let bare = Metadata::from([(FORMAT_KEY, "1")]);
        assert_eq!(check(&schema(columns(1), bare)), Err(Incompatible::NoOrigin));
    }

    #[test]
    fn a_column_is_missed_by_name_unless_its_format_has_none() {
        for format in 1..=FORMAT {
            let all = columns(format);
            let metadata = || example().to_metadata(format);
            assert_eq!(check(&schema(all.clone(), metadata())), Ok(example()));
            for at in 0..all.len() {
                let name = all[at].name();
                let mut missing = all.clone();
                missing.remove(at);
                let Err(Incompatible::MissingColumn(missed)) = check(&schema(missing, metadata())) else {
                    panic!("{name} is not missed in format {format}");
                };
                assert_eq!(missed, name);
                let mut other = all.clone();
                other[at] = Field::new(name.clone(), DataType::Boolean, false);
                let mut twice = all.clone();
                twice.push(all[at].clone());
                for wrong in [other, twice] {
                    assert_eq!(
                        check(&schema(wrong, metadata())),
                        Err(Incompatible::wrong_column(name))
                    );
                }
            }
        }
    }
}
