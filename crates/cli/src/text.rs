//! Text from strangers made fit for a terminal: no control characters, nothing that reorders what is
//! read, no flood. Files and pipes get the bytes as they are.

/// The most that is shown of one text, in characters; more than a person reads, less than a flood.
const LONGEST: usize = 200_000;

/// `text` without control characters (except line breaks and tabs) and invisible marks that reorder text.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| is_printable(*c)).take(LONGEST).collect()
}

/// The same on one line of at most `longest` characters.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let flat = printable(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= longest {
        return flat;
    }
    flat.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

fn is_printable(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        // Zero-width and directional marks, line and paragraph separators, isolates, byte order mark, tags.
        '\u{061c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => false,
        '\u{e0000}'..='\u{e007f}' => false,
        _ => !c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_writes_cannot_move_the_cursor_or_the_order_of_words() {
        let cases = [
            ("\u{1b}]8;;http://evil\u{7}click\u{1b}]8;;\u{7}", "]8;;http://evilclick]8;;"),
            ("a\u{1b}[2Jb", "a[2Jb"),
            ("pay \u{202e}001 sat", "pay 001 sat"),
            ("one\u{2028}two\r\nthree\ttab", "onetwo\nthree\ttab"),
            ("\u{9b}31mred", "31mred"),
            ("naïve 日本語 🙂", "naïve 日本語 🙂"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn a_long_text_becomes_one_short_line() {
        assert_eq!(one_line("a b\n c", 10), "a b c");
        assert_eq!(one_line(&"x".repeat(50), 5), "xxxx…");
    }
}
