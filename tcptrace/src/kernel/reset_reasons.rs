//! What a kernel calls its reasons for sending a RST (`enum sk_rst_reason`). The numbers differ between kernels, so the
//! names come from the kernel that reports them, or from its recording.

use crate::{event::ResetReason, printable::made_printable};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// What the kernel's names begin with.
const PREFIX: &str = "SK_RST_REASON_";

/// The names by number: the kernel's own in lower case, with hyphens and without their common prefix, such as
/// `tcp-abort-on-close`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResetReasons(BTreeMap<u16, Box<str>>);

impl ResetReasons {
    /// From the enumerators of `enum sk_rst_reason` with their values.
    pub(crate) fn new<'a>(enumerators: impl Iterator<Item = (&'a str, u32)>) -> Self {
        let named = enumerators.filter_map(|(name, value)| {
            let name = name.strip_prefix(PREFIX)?.to_lowercase().replace('_', "-");
            Some((u16::try_from(value).ok()?, name.into()))
        });
        Self(named.collect())
    }

    /// The name of a reason; `None` for a number that the kernel has no name for.
    pub(crate) fn name(&self, reason: ResetReason) -> Option<&str> {
        self.0.get(&ResetReason::number(Some(reason))).map(AsRef::as_ref)
    }
}

impl<'de> Deserialize<'de> for ResetReasons {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = BTreeMap::<u16, String>::deserialize(deserializer)?;
        let printable = |(number, name)| (number, made_printable(name).into());
        Ok(Self(names.into_iter().map(printable).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_the_kernel_s_name_without_its_prefix() {
        let kernel = [
            ("SK_RST_REASON_NOT_SPECIFIED", 0),
            ("SK_RST_REASON_TCP_ABORT_ON_CLOSE", 11),
            ("OTHER", 12),
            ("SK_RST_REASON_MAX", 70_000),
        ];
        let names = ResetReasons::new(kernel.into_iter());
        let name = |number| names.name(ResetReason::from_kernel(number)?);
        assert_eq!(name(11), Some("tcp-abort-on-close"));
        assert_eq!([name(0), name(12), name(13)], [None; 3]);
        let text = serde_json::to_string(&names).unwrap();
        assert_eq!(text, r#"{"0":"not-specified","11":"tcp-abort-on-close"}"#);
        assert_eq!(serde_json::from_str::<ResetReasons>(&text).unwrap(), names);
    }
}
