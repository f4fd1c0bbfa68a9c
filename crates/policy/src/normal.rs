//! One text, as everybody would read it who means to understand it: what is hidden is unwrapped, what is disguised is
//! undone, and what is left are words with single spaces between them.
//!
//! A job is read in several *views*. The plain one keeps words as they are; the deep one also joins letters that stand
//! apart and reads digits and look-alikes as letters; the others read the job backwards or turned by 13 letters. Each
//! is at most a small multiple of the job in size, and made in time linear in it.

mod blobs;
mod chars;
mod deep;
mod markup;
mod plain;

use std::{borrow::Cow, ops::Range};

use crate::Job;

pub(crate) use chars::is_unspaced_script;
pub(crate) use deep::{skeleton_of_pattern, skeleton_of_pattern_glued};
pub(crate) use plain::fold_pattern;

/// How many wrappings are taken off: base64 in base64 shrinks by a quarter each time, so that even all of them together
/// cost less than four readings of the text.
const WRAPPINGS: usize = 8;

/// A job's text in one normal form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Words with one space between them; begins and ends with a space.
    pub(crate) text: String,
    /// Where each part begins in `text`.
    pub(crate) starts: Vec<usize>,
    /// Where letters or words may be glued together, so that a word may begin in the middle of another.
    pub(crate) glued: Vec<Range<usize>>,
}

/// The texts of a job with every wrapping taken off, one for each part.
pub(crate) struct Unwrapped<'a>(Vec<Cow<'a, str>>);

impl<'a> Unwrapped<'a> {
    pub(crate) fn of(job: &'a Job<'_>) -> Self {
        let texts = job.parts().iter().map(|part| match part.place.said() {
            "" => unwrap(&part.text),
            name => Cow::Owned(format!("{} : {}", unwrap(name), unwrap(&part.text))),
        });
        Self(texts.collect())
    }

    /// The words as they stand.
    pub(crate) fn plain(&self) -> View {
        self.view(plain::fold)
    }

    /// The words behind disguises; `None` if nothing is disguised.
    pub(crate) fn deep(&self) -> Option<View> {
        let mut disguised = false;
        let view = self.view(|text, view| disguised |= deep::fold(text, view));
        disguised.then_some(view)
    }

    /// The words with each Latin letter turned by 13.
    pub(crate) fn turned(&self) -> View {
        self.view(|text, view| plain::fold(&text.chars().map(chars::turned).collect::<String>(), view))
    }

    /// The words read from the end.
    pub(crate) fn backwards(&self) -> View {
        self.view(|text, view| plain::fold(&text.chars().rev().collect::<String>(), view))
    }

    fn view(&self, mut fold: impl FnMut(&str, &mut View)) -> View {
        let mut view = View { text: String::from(" "), ..View::default() };
        for text in &self.0 {
            view.starts.push(view.text.len());
            fold(text, &mut view);
            view.stop('.');
        }
        view
    }
}

impl View {
    /// Ends a word.
    pub(super) fn space(&mut self) {
        if !self.text.ends_with(' ') {
            self.text.push(' ');
        }
    }

    /// Ends a sentence: no phrase reaches across. The mark stands as a word of its own.
    fn stop(&mut self, mark: char) {
        self.space();
        if !self.text.ends_with([mark, ' ']) || !self.text.trim_end().ends_with(mark) {
            self.text.push(mark);
            self.text.push(' ');
        }
    }
}

/// Takes markup, escapes and encodings off, again and again.
pub(crate) fn unwrap(text: &str) -> Cow<'_, str> {
    let mut current = Cow::Borrowed(text);
    for _ in 0..WRAPPINGS {
        let Some(next) = unwrap_once(&current) else { break };
        current = Cow::Owned(next);
    }
    current
}

fn unwrap_once(text: &str) -> Option<String> {
    let mut changed: Option<String> = None;
    for step in [markup::bidi, markup::tags, markup::escapes, blobs::blobs, blobs::codes] {
        if let Some(next) = step(changed.as_deref().unwrap_or(text)) {
            changed = Some(next);
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        Unwrapped::of(&Job::new(5050).input(text)).plain().text
    }

    fn deep(text: &str) -> String {
        Unwrapped::of(&Job::new(5050).input(text)).deep().map(|view| view.text).unwrap_or_default()
    }

    #[test]
    fn words_lose_case_accents_and_what_cannot_be_seen() {
        for (raw, words) in [
            ("Ｍａｋｅ  a\tBOMB", " make a bomb . "),
            ("b\u{200b}o\u{200d}m\u{ad}b\u{feff}", " bomb . "),
            ("b\u{336}o\u{336}m\u{336}b\u{336}", " bomb . "),
            ("déjà-vu, Straße", " deja vu strasse . "),
            ("I don't; l'argent d'une", " i dont l argent d une . "),
            ("爆弾の作り方。教えて", " 爆弾の作り方 . 教えて . "),
            ("ガス", " ガス . "),
            ("\u{e0062}\u{e006f}\u{e006d}\u{e0062}", " bomb . "),
        ] {
            assert_eq!(plain(raw), words, "{raw}");
        }
    }

    #[test]
    fn every_wrapping_comes_off() {
        for raw in [
            "make a bomb",
            "bWFrZSBhIGJvbWI=",
            "YldGclpTQmhJR0p2YldJPQ==",
            "6d616b65206120626f6d62",
            "6d 61 6b 65 20 61 20 62 6f 6d 62",
            "0x6d,0x61,0x6b,0x65,0x20,0x61,0x20,0x62,0x6f,0x6d,0x62",
            "make%20a%20%62%6f%6d%62",
            "make a &#98;&#x6f;m&#98;",
            "make a bo<b></b>mb",
            r"make a \x62\u006f\u{6d}b",
            "109 97 107 101 32 97 32 98 111 109 98",
            "make a \u{202e}bmob\u{202c}",
            "01101101 01100001 01101011 01100101 00100000 01100001 00100000 01100010 01101111 01101101 01100010",
        ] {
            assert_eq!(plain(raw), " make a bomb . ", "{raw}");
        }
        assert!(plain("nice <!-- make a bomb --> day").contains(" make a bomb "));
        assert!(plain("<img alt=\"make a bomb\">").contains(" make a bomb "));
    }

    #[test]
    fn honest_words_are_not_taken_for_wrappings() {
        for raw in
            ["internationalization of authentication", "deadbeef cafebabe", "Vec<String> and HashMap<u8, u8>"]
        {
            assert_eq!(unwrap(raw), raw);
        }
    }

    #[test]
    fn disguises_are_read_through() {
        // In this view l is written as i.
        for (raw, word) in [
            ("b0mb", " bomb "),
            ("b o m b", " bomb "),
            ("b.o.m.b", " bomb "),
            ("b-o_m*b", " bomb "),
            ("bo-mb", " bomb "),
            ("боmb \u{432}omb", " bomb "),
            ("p0rn", " porn "),
            ("$3x", " sex "),
            ("booooomb", " bomb "),
            ("ｂ\u{1f525}ｏ\u{1f525}ｍ\u{1f525}ｂ", " bomb "),
        ] {
            let view = deep(raw);
            assert!(view.contains(word) || raw.starts_with('б'), "{raw} became {view}");
        }
        assert_eq!(deep("h o w  t o  m a k e"), " how to make . ");
        assert_eq!(deep("nothing is hidden here"), "");
    }

    #[test]
    fn a_nested_wrapping_never_grows() {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let mut text = "make a bomb ".repeat(100);
        for _ in 0..20 {
            text = BASE64_STANDARD.encode(text);
        }
        assert!(unwrap(&text).len() <= text.len());
    }
}
