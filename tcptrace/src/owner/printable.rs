//! Text from the kernel that somebody else chose, made safe to print: names of processes, cgroups and namespaces.

use std::borrow::Cow;

/// The bytes as text: what is no UTF-8, controls the terminal or turns the direction of text becomes U+FFFD.
#[must_use]
pub fn printable(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().all(is_printable) {
        return text;
    }
    text.chars()
        .map(|c| if is_printable(c) { c } else { '\u{fffd}' })
        .collect::<String>()
        .into()
}

/// Neither a control character nor one that turns the direction of text (Unicode Bidi_Control).
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
