//! Makes foreign text safe to print when it is read: names of processes, cgroups, namespaces and functions, and
//! everything in files written elsewhere.

use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// The bytes as text: what is no UTF-8, controls the terminal, cannot be seen, begins a line or turns the direction of
/// text becomes U+FFFD.
pub(crate) fn printable(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().all(is_printable) {
        return text;
    }
    cleaned(&text).into()
}

/// The same of a text that is owned.
pub(crate) fn made_printable(text: String) -> String {
    if text.chars().all(is_printable) {
        text
    } else {
        cleaned(&text)
    }
}

/// Reads a text of a file, for `#[serde(deserialize_with)]`.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(made_printable)
}

fn cleaned(text: &str) -> String {
    text.chars()
        .map(|c| if is_printable(c) { c } else { '\u{fffd}' })
        .collect()
}

/// Neither a control character (C0, DEL, C1) nor one that a reader does not see, or that moves others: Unicode's
/// Bidi_Control, its line and paragraph separators, and of its Default_Ignorable_Code_Point those that names are not
/// spelled with. Joiners and variation selectors are such too: a name with them looks like another.
const fn is_printable(c: char) -> bool {
    !matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Soft hyphen, combining grapheme joiner, Arabic letter mark, Hangul fillers, Khmer inherent vowels.
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        // Mongolian variation selectors and vowel separator.
        | '\u{180b}'..='\u{180f}'
        // Zero-width space, non-joiner, joiner; marks of direction.
        | '\u{200b}'..='\u{200f}'
        // Line and paragraph separators; embeddings and overrides of direction.
        | '\u{2028}'..='\u{202e}'
        // Word joiner, invisible operators, isolates of direction, deprecated format characters.
        | '\u{2060}'..='\u{206f}'
        // Hangul fillers, variation selectors, byte order mark.
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        // Interlinear annotations, which have no form of their own; noncharacters.
        | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}'
        // Shorthand format controls, musical ones.
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        // Tags, more variation selectors, and what is reserved for more of the kind.
        | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthChar as _;

    #[test]
    fn what_hides_turns_or_controls_is_replaced() {
        for hostile in [
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\n',
            '\r',
            '\t',
            '\0',
            '\u{85}',
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{200d}',
            '\u{2028}',
            '\u{2029}',
            '\u{feff}',
            '\u{ad}',
            '\u{2060}',
            '\u{e0041}',
            '\u{e0001}',
            '\u{fe0f}',
            '\u{e0100}',
        ] {
            let text = format!("a{hostile}b");
            assert_eq!(printable(text.as_bytes()), "a\u{fffd}b", "{hostile:?}");
            assert_eq!(made_printable(text), "a\u{fffd}b");
        }
        assert_eq!(printable(b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn names_of_all_languages_stay_as_they_are() {
        for name in [
            "nginx",
            "größe",
            "サーバ",
            "서버",
            "сервер",
            "خادم",
            "שרת",
            "e\u{301}",
            "🦀",
            "a b",
        ] {
            assert_eq!(printable(name.as_bytes()), name);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_left_is_a_control_character_or_takes_no_room_alone(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for c in printable(&bytes).chars() {
                prop_assert!(c.width().is_some(), "{c:?}");
            }
        }

        #[test]
        fn what_is_printable_stays_so(text in ".*") {
            let once = printable(text.as_bytes()).into_owned();
            prop_assert_eq!(printable(once.as_bytes()), once.clone());
            prop_assert_eq!(made_printable(text), once);
        }
    }
}
