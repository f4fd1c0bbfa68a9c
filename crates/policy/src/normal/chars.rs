//! Single characters: which are seen, which look alike, which stand for others.

/// What a character is to a reader.
pub(super) enum Seen {
    /// A letter or digit, in lower case and without marks; some letters become two.
    Letters([char; 2]),
    /// Nothing at all: zero width, a mark on another letter, a direction.
    Nothing,
    /// The end of a sentence.
    Stop,
    /// The end of a question.
    Question,
    /// An apostrophe of any shape.
    Apostrophe,
    /// White space or any other sign.
    Gap,
}

/// Stands behind a letter that becomes only one.
pub(super) const NONE: char = '\0';

/// How a reader sees a character that is already in the compatibility form (NFKC).
pub(super) fn seen(c: char) -> Seen {
    match c {
        'a'..='z' | '0'..='9' => Seen::Letters([c, NONE]),
        'A'..='Z' => Seen::Letters([c.to_ascii_lowercase(), NONE]),
        '.' | '!' | '。' | '！' | '．' => Seen::Stop,
        '?' | '？' | '¿' => Seen::Question,
        '\'' | '’' | '‘' | 'ʼ' | '＇' | '´' => Seen::Apostrophe,
        '\0'..='\x7f' => Seen::Gap,
        _ => seen_beyond_ascii(c),
    }
}

fn seen_beyond_ascii(c: char) -> Seen {
    match c {
        // Tags: ASCII that no font draws.
        '\u{e0020}'..='\u{e007e}' => {
            let hidden = char::from_u32(c as u32 - 0xe0000).unwrap_or(' ');
            if hidden.is_ascii_alphanumeric() {
                Seen::Letters([hidden.to_ascii_lowercase(), NONE])
            } else {
                Seen::Gap
            }
        }
        _ if is_unseen(c) || is_mark(c) => Seen::Nothing,
        'ß' | 'ẞ' => Seen::Letters(['s', 's']),
        'æ' | 'Æ' => Seen::Letters(['a', 'e']),
        'œ' | 'Œ' => Seen::Letters(['o', 'e']),
        'ø' | 'Ø' => Seen::Letters(['o', NONE]),
        'ł' | 'Ł' => Seen::Letters(['l', NONE]),
        'đ' | 'Đ' => Seen::Letters(['d', NONE]),
        'ı' => Seen::Letters(['i', NONE]),
        _ if is_cased_script(c) => Seen::Letters([base_letter(c), NONE]),
        _ if c.is_alphanumeric() => Seen::Letters([c, NONE]),
        _ => Seen::Gap,
    }
}

/// Takes no room on the page: joiners, directions, soft hyphens, variation selectors, fillers.
pub(super) fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e01ef}')
}

fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{64b}'..='\u{65f}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{3099}' | '\u{309a}' | '\u{fe20}'..='\u{fe2f}')
}

/// Latin, Greek, Cyrillic and their neighbours: scripts with two cases, whose marks can be dropped.
fn is_cased_script(c: char) -> bool {
    matches!(c, '\u{a0}'..='\u{52f}' | '\u{1d00}'..='\u{1fff}' | '\u{2c60}'..='\u{2c7f}' | '\u{a720}'..='\u{a7ff}')
        && c.is_alphabetic()
}

fn base_letter(c: char) -> char {
    let mut base = c;
    unicode_normalization::char::decompose_canonical(c, |part| {
        if !is_mark(part) {
            base = part;
        }
    });
    let mut lower = base.to_lowercase();
    lower.next().unwrap_or(base)
}

/// Written without spaces between words: a word may begin after any character.
pub(crate) const fn is_unspaced_script(c: char) -> bool {
    c >= '\u{2e80}'
}

/// The Latin letters that a letter of another script looks like, in lower case. Small capitals count as letters.
pub(super) fn looks_like(c: char, mut put: impl FnMut(char)) {
    if let Some(letter) = small_capital(c) {
        return put(letter);
    }
    let mut buffer = [0; 4];
    for twin in unicode_security::skeleton(c.encode_utf8(&mut buffer)) {
        match small_capital(twin) {
            Some(letter) => put(letter),
            None => {
                if let Seen::Letters(letters) = seen(twin) {
                    letters.into_iter().filter(|letter| *letter != NONE).for_each(&mut put);
                }
            }
        }
    }
}

fn small_capital(c: char) -> Option<char> {
    const CAPITALS: &str = "ᴀaʙbᴄcᴅdᴇeꜰfɢgʜhɪiᴊjᴋkʟlᴍmɴnᴏoᴘpʀrꜱsᴛtᴜuᴠvᴡwʏyᴢz";
    match c {
        '\u{1f1e6}'..='\u{1f1ff}' => letter(c as u32 - 0x1f1e6),
        '\u{1f130}'..='\u{1f149}' => letter(c as u32 - 0x1f130),
        '\u{1f150}'..='\u{1f169}' => letter(c as u32 - 0x1f150),
        '\u{1f170}'..='\u{1f189}' => letter(c as u32 - 0x1f170),
        'в' | 'В' => Some('b'),
        'н' | 'Н' => Some('h'),
        'к' | 'К' => Some('k'),
        'м' | 'М' => Some('m'),
        'т' | 'Т' => Some('t'),
        'и' | 'И' => Some('n'),
        'я' | 'Я' => Some('r'),
        'ε' => Some('e'),
        'κ' => Some('k'),
        'τ' => Some('t'),
        'μ' => Some('u'),
        'η' => Some('n'),
        _ => {
            let at = CAPITALS.find(c).filter(|_| !c.is_ascii())?;
            CAPITALS[at..].chars().nth(1)
        }
    }
}

fn letter(number: u32) -> Option<char> {
    char::from_u32(u32::from('a') + number)
}

/// The letter a digit or sign stands for inside a word. `1` may also be `i`; the deep view writes both alike.
pub(super) const fn leet(c: char) -> Option<char> {
    match c {
        '0' => Some('o'),
        '1' | '!' | '|' | '¡' => Some('l'),
        '3' | '€' => Some('e'),
        '4' | '@' => Some('a'),
        '5' | '$' => Some('s'),
        '6' | '9' => Some('g'),
        '7' => Some('t'),
        '8' => Some('b'),
        '£' => Some('l'),
        _ => None,
    }
}

/// The letter 13 places on in the alphabet.
pub(super) const fn turned(c: char) -> char {
    match c {
        'a'..='m' | 'A'..='M' => (c as u8 + 13) as char,
        'n'..='z' | 'N'..='Z' => (c as u8 - 13) as char,
        _ => c,
    }
}
