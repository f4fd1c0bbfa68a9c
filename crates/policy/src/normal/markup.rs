//! Markup and escapes: comments, tags, entities, percent signs, backslashes, directions.

use std::ops::Range;

/// Longest tag that is taken for one; longer ones are left as text.
const LONGEST_TAG: usize = 2_000;

/// Tags that browsers know. Others, such as `Vec<String>`, are text.
const TAGS: &[&str] = &[
    "a",
    "abbr",
    "b",
    "big",
    "blockquote",
    "body",
    "br",
    "button",
    "code",
    "div",
    "em",
    "font",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "hr",
    "html",
    "i",
    "iframe",
    "img",
    "input",
    "li",
    "link",
    "meta",
    "noscript",
    "ol",
    "p",
    "pre",
    "s",
    "script",
    "small",
    "span",
    "strong",
    "style",
    "sub",
    "sup",
    "svg",
    "table",
    "tbody",
    "td",
    "template",
    "th",
    "thead",
    "title",
    "tr",
    "u",
    "ul",
    "wbr",
];

/// What follows a right-to-left override is read from its end, as the screen shows it.
pub(super) fn bidi(text: &str) -> Option<String> {
    const OVERRIDE: char = '\u{202e}';
    if !text.contains(OVERRIDE) {
        return None;
    }
    let mut pieces = text.split(OVERRIDE);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(['\u{202c}', '\u{202d}', '\n', '\u{2069}']).unwrap_or(piece.len());
        out.extend(piece[..end].chars().rev());
        out.push_str(piece[end..].trim_start_matches(['\u{202c}', '\u{202d}']));
    }
    Some(out)
}

/// Takes comments and tags out of the running text and puts what they hold behind it, so that they neither cut words in
/// two nor hide any.
pub(super) fn tags(text: &str) -> Option<String> {
    let (mut out, mut aside) = (String::new(), String::new());
    let mut from = 0;
    while let Some(found) = text[from..].find('<').map(|at| from + at) {
        out.push_str(&text[from..found]);
        let (end, inside) = element(text, found).unwrap_or((found + 1, 0..0));
        if end == found + 1 {
            out.push('<');
        } else if !inside.is_empty() {
            aside.push(' ');
            aside.push_str(&text[inside]);
        }
        from = end;
    }
    out.push_str(&text[from..]);
    out.push_str(&aside);
    (out.len() != text.len()).then_some(out)
}

/// The end of the comment or tag that begins at `start`, and what of it must still be read.
fn element(text: &str, start: usize) -> Option<(usize, Range<usize>)> {
    let body = &text[start + 1..];
    if let Some(comment) = body.strip_prefix("!--") {
        // A comment that never ends hides nothing: it is read to the end.
        let length = comment.find("-->").unwrap_or(comment.len());
        let inside = start + 4..start + 4 + length;
        return Some(((inside.end + 3).min(text.len()), inside));
    }
    let name_at = usize::from(body.starts_with('/'));
    let length = body[name_at..].bytes().take(12).take_while(u8::is_ascii_alphanumeric).count();
    let name = body[name_at..name_at + length].to_ascii_lowercase();
    if !TAGS.contains(&name.as_str()) {
        return None;
    }
    let close = body.bytes().take(LONGEST_TAG).position(|b| b == b'>')?;
    let rest = name_at + length..close;
    // `a < b > c` is no tag, nor is one that holds another.
    if body[rest.clone()].contains('<') {
        return None;
    }
    Some((start + 1 + close + 1, start + 1 + rest.start..start + 1 + rest.end))
}

/// `%62`, `&#98;`, `&#x62;`, `&amp;`, `\x62`, `\u0062`, `\u{62}`.
pub(super) fn escapes(text: &str) -> Option<String> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'&' | b'\\')) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut at, bytes) = (0, text.as_bytes());
    while at < bytes.len() {
        let escape = match bytes[at] {
            b'%' => hex_byte(&bytes[at + 1..]).map(|byte| (Escaped::Byte(byte), 3)),
            b'&' => entity(&text[at + 1..]).map(|(c, length)| (c, length + 1)),
            b'\\' => backslash(&text[at + 1..]).map(|(c, length)| (c, length + 1)),
            _ => None,
        };
        match escape {
            Some((Escaped::Byte(byte), length)) => {
                out.push(byte);
                at += length;
            }
            Some((Escaped::Char(c), length)) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                at += length;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    (out.len() != bytes.len()).then(|| String::from_utf8_lossy(&out).into_owned())
}

enum Escaped {
    /// One byte of a character.
    Byte(u8),
    Char(char),
}

fn hex_byte(after: &[u8]) -> Option<u8> {
    let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// Reads behind `&`; the length includes the semicolon.
fn entity(after: &str) -> Option<(Escaped, usize)> {
    let end = after.bytes().take(10).position(|b| b == b';')?;
    let name = &after[..end];
    let c = if let Some(number) = name.strip_prefix("#x").or_else(|| name.strip_prefix("#X")) {
        char::from_u32(u32::from_str_radix(number, 16).ok()?)?
    } else if let Some(number) = name.strip_prefix('#') {
        char::from_u32(number.parse().ok()?)?
    } else {
        match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            "nbsp" => ' ',
            "shy" | "zwnj" | "zwj" | "ZeroWidthSpace" => '\u{200b}',
            _ => return None,
        }
    };
    Some((Escaped::Char(c), end + 1))
}

/// Reads behind `\`.
fn backslash(after: &str) -> Option<(Escaped, usize)> {
    let bytes = after.as_bytes();
    match bytes.first()? {
        b'x' => hex_byte(&bytes[1..]).map(|byte| (Escaped::Byte(byte), 3)),
        b'u' if bytes.get(1) == Some(&b'{') => {
            let end = after.bytes().take(9).position(|b| b == b'}')?;
            let c = char::from_u32(u32::from_str_radix(after.get(2..end)?, 16).ok()?)?;
            Some((Escaped::Char(c), end + 1))
        }
        b'u' => {
            let c = char::from_u32(u32::from_str_radix(after.get(1..5)?, 16).ok()?)?;
            Some((Escaped::Char(c), 5))
        }
        b'n' | b't' | b'r' => None,
        _ => None,
    }
}
