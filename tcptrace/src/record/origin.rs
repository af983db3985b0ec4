//! The origin of a recording, from its schema's metadata. Strings only, so that any reader of Arrow shows
//! it.

use super::bounds::{LONGEST_COMMAND, clipped};
use crate::{
    kernel::{clock::ClockPair, reset_reasons::ResetReasons},
    printable::{self, made_printable},
    summary::Header,
    unseen::{Unseen, What},
};
use arrow_schema::Metadata;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The key of the format's version, the first thing to look at.
pub(crate) const FORMAT_KEY: &str = "tcptrace.format";

/// The key of all the rest, one JSON object.
const ORIGIN_KEY: &str = "tcptrace.origin";

/// The parts of it that people look for with other tools, each under a key of its own.
const SHOWN: [&str; 6] = ["version", "host", "kernel", "machine", "command", "run"];

/// What recorded, where and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Version of the program.
    #[serde(deserialize_with = "printable::text")]
    pub version: String,
    /// `uname -n`
    #[serde(deserialize_with = "printable::text")]
    pub host: String,
    /// `uname -r`
    #[serde(deserialize_with = "printable::text")]
    pub kernel: String,
    /// `uname -m`
    #[serde(deserialize_with = "printable::text")]
    pub machine: String,
    /// The command line, its arguments separated by blanks.
    #[serde(deserialize_with = "printable::text")]
    pub command: String,
    /// The mechanism of each feature.
    #[serde(deserialize_with = "printable_pairs")]
    pub hooks: BTreeMap<String, String>,
    /// What could not be seen, and why: a sentence each.
    #[serde(alias = "shortfalls", deserialize_with = "printable_list")]
    pub limitations: Vec<String>,
    /// Both clocks when this file was begun.
    pub clock: ClockPair,
    /// Names the run: the files of one run have the same.
    #[serde(deserialize_with = "printable::text")]
    pub run: String,
    /// The place of this file among those of its run, from 0.
    pub segment: u64,
    /// Records that the kernel could not deliver from the start of the run until this file was begun; 0 in recordings
    /// of earlier versions.
    #[serde(default)]
    pub lost: u64,
    /// The column `lost` of the latest event before this file; 0 in recordings of earlier versions.
    #[serde(default)]
    pub event_lost: u32,
    /// How many live connections the run kept at most.
    pub max_connections: usize,
    /// What the kernel calls its reasons for a reset; empty before format 3, and if it reports none.
    #[serde(default)]
    pub reset_reasons: ResetReasons,
}

impl Origin {
    /// What could not be seen, as an answer says it.
    pub(crate) fn unseen(&self) -> Vec<Unseen> {
        let texts = self.limitations.iter();
        texts.map(|text| Unseen::new(What::Recording, text)).collect()
    }

    /// Describes a run that begins with `header`.
    pub(crate) fn new(
        header: &Header,
        limitations: Vec<String>,
        command: &str,
        max_connections: usize,
        reset_reasons: ResetReasons,
    ) -> Self {
        Self {
            version: header.version.to_owned(),
            host: header.host.clone(),
            kernel: header.kernel.clone(),
            machine: header.machine.clone(),
            command: clipped(command, LONGEST_COMMAND).to_owned(),
            hooks: header
                .hooks
                .iter()
                .map(|(feature, mechanism)| ((*feature).to_owned(), (*mechanism).to_owned()))
                .collect(),
            limitations,
            clock: header.clock,
            run: format!("{}-{}-{}", header.host, header.clock.wall_ns, std::process::id()),
            segment: 0,
            lost: 0,
            event_lost: 0,
            max_connections,
            reset_reasons,
        }
    }

    /// As the schema's metadata, with the version of the format.
    pub(crate) fn to_metadata(&self, format: u32) -> Metadata {
        let value = serde_json::to_value(self).expect("text, numbers and lists of them");
        let shown = SHOWN.iter().filter_map(|key| {
            let text = value.get(key)?.as_str()?;
            Some((format!("tcptrace.{key}"), text.to_owned()))
        });
        shown
            .chain([
                (FORMAT_KEY.to_owned(), format.to_string()),
                (ORIGIN_KEY.to_owned(), value.to_string()),
            ])
            .collect()
    }

    /// Reads it back; `None` where it is missing or is no such object.
    pub(crate) fn from_metadata(metadata: &Metadata) -> Option<Self> {
        serde_json::from_str(metadata.get(ORIGIN_KEY)?).ok()
    }
}

fn printable_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let list = Vec::<String>::deserialize(deserializer)?;
    Ok(list.into_iter().map(made_printable).collect())
}

fn printable_pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let pairs = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(pairs
        .into_iter()
        .map(|(key, value)| (made_printable(key), made_printable(value)))
        .collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Origin {
        Origin {
            version: "0.1.0".to_owned(),
            host: "web-1".to_owned(),
            kernel: "6.18.1".to_owned(),
            machine: "x86_64".to_owned(),
            command: "tcptrace record -o x".to_owned(),
            hooks: BTreeMap::from([("transitions".to_owned(), "tp_btf".to_owned())]),
            limitations: vec!["accept (refused): later".to_owned()],
            clock: ClockPair {
                mono_ns: 1_000_000_000,
                wall_ns: 1_795_300_000_000_000_000,
            },
            run: "web-1-1-1".to_owned(),
            segment: 0,
            lost: 0,
            event_lost: 0,
            max_connections: 1_000,
            reset_reasons: ResetReasons::default(),
        }
    }

    #[test]
    fn an_origin_survives_the_metadata() {
        let metadata = example().to_metadata(1);
        assert_eq!(Origin::from_metadata(&metadata), Some(example()));
        assert_eq!(metadata["tcptrace.host"], "web-1");
        assert_eq!(metadata[FORMAT_KEY], "1");
        assert_eq!(Origin::from_metadata(&Metadata::default()), None);
    }

    #[test]
    fn what_older_recordings_have_is_read() {
        let mut metadata = example().to_metadata(1);
        let origin = metadata[ORIGIN_KEY]
            .replace("\"limitations\"", "\"shortfalls\"")
            .replace("\"lost\":0,", "")
            .replace("\"event_lost\":0,", "");
        assert!(!origin.contains("lost"), "{origin}");
        assert_ne!(origin, metadata[ORIGIN_KEY]);
        metadata.insert(ORIGIN_KEY.to_owned(), origin);
        assert_eq!(Origin::from_metadata(&metadata), Some(example()));
    }
}
