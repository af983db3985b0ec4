//! What could not be seen, of what was requested. An empty result is only conclusive if this is empty.

use serde::Serialize;

/// Most ids that one entry names; its count has all of them.
const IDS: usize = 16;

/// What kind of thing could not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Sockets of network namespaces that are known.
    NetworkNamespaces,
    /// Processes, or the network namespaces that they run in.
    Processes,
    /// Who has sockets open, and sockets that only a holder shows.
    Holders,
    /// How long sockets have been in their state.
    Ages,
    /// Events that no hook reports.
    Events,
    /// Parts of a recording.
    Recording,
}

/// Something that could not be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// What kind of thing it is.
    #[serde(rename = "kind")]
    pub what: What,
    /// How many; `None` where that is not known.
    pub count: Option<usize>,
    /// The first of them: inode numbers of network namespaces, or process ids.
    pub ids: Vec<u32>,
    /// What it is and why it could not be seen, to be read after "not seen: ".
    pub text: String,
}

impl Unseen {
    /// Of which it is not known how many there are.
    pub(crate) fn new(what: What, text: impl Into<String>) -> Self {
        Self {
            what,
            count: None,
            ids: Vec::new(),
            text: text.into(),
        }
    }

    /// A number of things that have no ids.
    pub(crate) fn counted(what: What, count: usize, text: impl Into<String>) -> Self {
        Self {
            count: Some(count),
            ..Self::new(what, text)
        }
    }

    pub(crate) fn with_ids(what: What, ids: &[u32], text: impl Into<String>) -> Self {
        Self {
            ids: ids.iter().copied().take(IDS).collect(),
            ..Self::counted(what, ids.len(), text)
        }
    }
}

/// The sentences alone.
pub(crate) fn texts(list: &[Unseen]) -> Vec<String> {
    list.iter().map(|unseen| unseen.text.clone()).collect()
}
