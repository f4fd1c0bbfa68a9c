//! Words behind disguises: letters that stand apart are joined, digits and look-alikes read as letters, signs inside a
//! word taken out, letters that repeat and repeat written once, `l` written as `i` (because `1` and `|` may be either).

use unicode_normalization::UnicodeNormalization;

use super::{
    View,
    chars::{NONE, Seen, is_unseen, is_unspaced_script, leet, looks_like, seen},
    plain::{fold_pattern, is_compatible},
};

/// From this many letters on a word may be several that were glued together.
const LONG_WORD: usize = 14;

/// From this many words with digits among their letters on, a text writes letters as digits.
const LEET_WORDS: usize = 2;

/// From this many single letters in a row on they are a word that was pulled apart.
const APART: usize = 3;

/// Appends the words of `text`; says whether anything was disguised.
pub(super) fn fold(text: &str, view: &mut View) -> bool {
    if is_compatible(text) {
        fold_chars(text, text.chars(), view)
    } else {
        fold_chars(text, text.nfkc(), view)
    }
}

fn fold_chars(text: &str, chars: impl Iterator<Item = char>, view: &mut View) -> bool {
    let digits = if leet_words(text) >= LEET_WORDS { Digits::Letters } else { Digits::Numbers };
    let mut reader = Reader { view, run: Vec::new(), disguised: false, digits };
    let (mut chunk, mut gap) = (String::new(), 0);
    for c in chars.filter(|c| !is_unseen(*c)).chain([' ']) {
        if c.is_whitespace() {
            if !chunk.is_empty() {
                reader.chunk(&chunk, gap);
                chunk.clear();
                gap = 0;
            }
            gap += 1;
        } else {
            chunk.push(c);
        }
    }
    reader.end_run();
    reader.disguised
}

/// What a word of digits alone is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digits {
    Numbers,
    /// In a text that writes letters as digits, `70` is `to`.
    Letters,
}

/// How many words have digits among their letters; two are enough to stop counting.
fn leet_words(text: &str) -> usize {
    let mixed = |word: &&str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        let digit_then_letter = word.as_bytes().windows(2);
        let inside =
            digit_then_letter.filter(|pair| pair[0].is_ascii_alphabetic() && pair[1].is_ascii_digit());
        inside.count() > 0 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'@' || b == b'$')
    };
    text.split_whitespace().filter(mixed).take(LEET_WORDS).count()
}

struct Reader<'a> {
    view: &'a mut View,
    /// Single letters in a row, each with the width of the gap before it.
    run: Vec<(char, usize)>,
    disguised: bool,
    digits: Digits,
}

impl Reader<'_> {
    fn chunk(&mut self, chunk: &str, gap: usize) {
        if let Some(plain) = plain_word(chunk) {
            self.end_run();
            return self.put(plain, false);
        }
        let word = Word::read(chunk, self.digits);
        let mut letters = word.letters.chars();
        match (letters.next(), letters.next()) {
            (None, _) => {}
            (Some(single), None) => self.run.push((single, gap)),
            _ => {
                self.end_run();
                self.disguised |= word.disguised || word.letters.len() >= LONG_WORD;
                let glued = word.joined || word.letters.chars().count() >= LONG_WORD;
                self.put(&word.letters, glued);
            }
        }
    }

    /// Letters with one space between them are one word; a wider gap divides words.
    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.len() < APART {
            for (letter, _) in run {
                self.put(letter.encode_utf8(&mut [0; 4]), false);
            }
            return;
        }
        self.disguised = true;
        let narrow = run.iter().skip(1).map(|(_, gap)| *gap).min().unwrap_or(1);
        let mut word = String::new();
        for (at, (letter, gap)) in run.into_iter().enumerate() {
            if at > 0 && gap > narrow {
                self.put(&word, true);
                word.clear();
            }
            word.push(letter);
        }
        self.put(&word, true);
    }

    fn put(&mut self, letters: &str, glued: bool) {
        let start = self.view.text.len();
        squeeze(letters, &mut self.view.text);
        if glued {
            self.view.glued.push(start..self.view.text.len());
        }
        self.view.space();
    }
}

/// The word in a chunk in which nothing can be disguised: small ASCII letters, and a comma or stop behind them.
fn plain_word(chunk: &str) -> Option<&str> {
    let word = chunk.trim_end_matches(['.', ',', ';', ':']);
    let plain = (2..LONG_WORD).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase());
    let repeats =
        word.as_bytes().windows(3).any(|letters| letters[0] == letters[1] && letters[1] == letters[2]);
    (plain && !repeats).then_some(word)
}

/// One chunk without white space, read as one word.
struct Word {
    letters: String,
    /// A sign stood between its letters.
    joined: bool,
    disguised: bool,
}

impl Word {
    fn read(chunk: &str, digits: Digits) -> Self {
        let mut word = Self { letters: String::new(), joined: false, disguised: false };
        let signs: &[char] = &['@', '$', '€', '£', '|', '!', '¡'];
        let body = chunk.trim_matches(|c: char| !c.is_alphanumeric() && (!signs.contains(&c) || c == '!'));
        let has_letters = digits == Digits::Letters || body.chars().any(char::is_alphabetic);
        let (mut last, mut times) = (NONE, 0);
        for (at, c) in body.char_indices() {
            let inside = at + c.len_utf8() < body.len();
            word.character(c, has_letters && (inside || c.is_ascii_digit()));
            times = if c == last { times + 1 } else { 1 };
            last = c;
            word.disguised |= times >= 3 && c.is_alphabetic();
        }
        word
    }

    fn character(&mut self, c: char, may_be_leet: bool) {
        if let Some(letter) = leet(c).filter(|_| may_be_leet) {
            self.letters.push(letter);
            self.disguised = true;
        } else if c.is_ascii_alphanumeric() || is_unspaced_script(c) && c.is_alphanumeric() && c < '\u{10000}'
        {
            self.letters.push(c.to_ascii_lowercase());
        } else if c.is_alphanumeric() || ('\u{1f100}'..='\u{1f1ff}').contains(&c) {
            self.foreign_letter(c);
        } else if !matches!(seen(c), Seen::Nothing) {
            self.joined = true;
            self.disguised = true;
        }
    }

    fn foreign_letter(&mut self, c: char) {
        if c < '\u{250}' {
            if let Seen::Letters(letters) = seen(c) {
                self.letters.extend(letters.into_iter().filter(|letter| *letter != NONE));
            }
            return;
        }
        let before = self.letters.len();
        looks_like(c, |letter| self.letters.push(letter));
        self.disguised |= self.letters[before..].bytes().any(|letter| letter.is_ascii_alphabetic());
    }
}

/// Letters that stand three times or more in a row are written once, then `l` as `i`.
fn squeeze(letters: &str, out: &mut String) {
    if !letters.as_bytes().windows(3).any(|run| run[0] == run[1] && run[1] == run[2]) {
        return out.extend(letters.chars().map(|c| if c == 'l' { 'i' } else { c }));
    }
    let mut rest = letters;
    while let Some(c) = rest.chars().next() {
        let times = rest.chars().take_while(|other| *other == c).count();
        let kept = if times >= 3 && c.is_ascii_alphabetic() { 1 } else { times };
        out.extend(std::iter::repeat_n(if c == 'l' { 'i' } else { c }, kept));
        rest = &rest[times * c.len_utf8()..];
    }
}

/// A phrase of a rule file as it looks in this view.
pub(crate) fn skeleton_of_pattern(phrase: &str) -> String {
    let words = fold_pattern(phrase);
    let mut out = String::new();
    for word in words.split(' ') {
        if !out.is_empty() {
            out.push(' ');
        }
        squeeze(word, &mut out);
    }
    out
}

/// The same with its words glued together.
pub(crate) fn skeleton_of_pattern_glued(phrase: &str) -> String {
    let mut out = String::new();
    squeeze(&fold_pattern(phrase).replace(' ', ""), &mut out);
    out
}
