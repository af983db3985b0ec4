//! Default names of output files.

use crate::output::json::rfc3339;
use std::path::PathBuf;

/// `tcptrace-HOST-20261122T015400Z.hlog` in the working directory; `what` goes behind the time, where there is any.
pub(super) fn new_name(host: &str, wall_ns: u64, what: &str, extension: &str) -> PathBuf {
    let time: String = rfc3339(wall_ns)
        .chars()
        .take_while(|c| *c != '.')
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let host: String = host
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let dash = if what.is_empty() { "" } else { "-" };
    PathBuf::from(format!("tcptrace-{host}-{time}Z{dash}{what}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_new_file_is_named_after_host_and_time() {
        let at = 1_795_300_000_000_000_000;
        assert_eq!(
            new_name("web/1", at, "", "hlog"),
            Path::new("tcptrace-web-1-20261121T222640Z.hlog")
        );
        assert_eq!(
            new_name("web1", at, "processes", "csv"),
            Path::new("tcptrace-web1-20261121T222640Z-processes.csv")
        );
    }
}
