//! Makes remote text safe to print: no control or direction-changing characters, and short.

/// `text` cut to `most` characters, with every control, line-break and bidirectional formatting
/// character replaced by a space.
pub(crate) fn printable(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if is_unsafe(c) { ' ' } else { c }).collect()
}

/// Whether a terminal or a page could be misled by `c`.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_direction_changes_do_not_survive() {
        assert_eq!(printable("a\u{1b}[31mb\u{202e}c\nd", 64), "a [31mb c d");
        assert_eq!(printable("abc", 2), "ab");
    }
}
