//! Text with arbitrary bytes, such as program names and paths in `/proc`.

use std::{fs, io, path::Path};

/// Reads a whole file; what is no UTF-8 becomes U+FFFD.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_cut_within_a_letter_hides_no_other_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"Name:\t\xc3\xa9\xc3\nTgid:\t7\n").unwrap();
        assert_eq!(read(file.path()).unwrap(), "Name:\t\u{e9}\u{fffd}\nTgid:\t7\n");
        assert!(read("/nowhere/at/all").is_err());
    }
}
