//! Words as they stand: lower case, no marks, nothing unseen, one space between them.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

use super::{
    View,
    chars::{NONE, Seen, seen},
};

/// Words of one or two letters that French, Italian and others tie to the next word with an apostrophe.
const TIED: &[&str] = &["l", "d", "j", "qu", "s", "c", "n", "m", "t"];

/// Appends the words of `text`.
pub(super) fn fold(text: &str, view: &mut View) {
    if is_compatible(text) {
        fold_chars(text.chars(), view);
    } else {
        fold_chars(text.nfkc(), view);
    }
    view.space();
}

/// Whether the text is in the compatibility form already, as most texts are.
pub(super) fn is_compatible(text: &str) -> bool {
    text.is_ascii() || is_nfkc_quick(text.chars()) == IsNormalized::Yes
}

fn fold_chars(text: impl Iterator<Item = char>, view: &mut View) {
    for c in text {
        match seen(c) {
            Seen::Letters([first, second]) => {
                view.text.push(first);
                if second != NONE {
                    view.text.push(second);
                }
            }
            Seen::Nothing => {}
            Seen::Stop => view.stop('.'),
            Seen::Question => view.stop('?'),
            Seen::Apostrophe => {
                let word = view.text.rsplit(' ').next().unwrap_or_default();
                if TIED.contains(&word) {
                    view.space();
                }
            }
            Seen::Gap => view.space(),
        }
    }
}

/// A phrase of a rule file in the same form, without the spaces around it.
pub(crate) fn fold_pattern(phrase: &str) -> String {
    let mut view = View::default();
    fold(phrase, &mut view);
    view.text.trim().to_owned()
}
