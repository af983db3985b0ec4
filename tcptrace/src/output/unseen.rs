//! What could not be seen, as part of an output.

use super::json;
use crate::{summary::SCHEMA_VERSION, unseen::Unseen};
use serde::Serialize;
use std::fmt::Write as _;

/// As text, one line each.
pub(crate) fn push(text: &mut String, list: &[Unseen]) {
    for Unseen { text: sentence, .. } in list {
        let _ = writeln!(text, "not seen: {sentence}");
    }
}

/// The last JSON line of a list of sockets.
pub(crate) fn summary(sockets: usize, unseen: &[Unseen]) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        summary: Summary<'a>,
    }
    #[derive(Serialize)]
    struct Summary<'a> {
        schema_version: u32,
        sockets: usize,
        unseen: &'a [Unseen],
    }
    json::line(&Line {
        summary: Summary {
            schema_version: SCHEMA_VERSION,
            sockets,
            unseen,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unseen::What;

    #[test]
    fn what_was_not_seen_is_in_the_summary_with_its_ids() {
        let unseen = Unseen::with_ids(What::NetworkNamespaces, &[7, 8], "two of them");
        let mut text = String::new();
        push(&mut text, std::slice::from_ref(&unseen));
        assert_eq!(text, "not seen: two of them\n");
        assert_eq!(
            summary(0, &[unseen]),
            "{\"summary\":{\"schema_version\":2,\"sockets\":0,\"unseen\":[{\"kind\":\"network-namespaces\",\"count\":2,\"ids\":[7,8],\"text\":\"two of them\"}]}}\n"
        );
    }
}
