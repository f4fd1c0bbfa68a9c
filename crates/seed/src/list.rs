//! The 2,048 English words of BIP39, for whoever types them: what a beginning stands for, and what was
//! perhaps meant.

use bip39::Language;

/// BIP39 chose its words so that four letters tell them apart; metal plates often hold no more.
const ENOUGH: usize = 4;

/// A word with more mistakes than this is another word: one in a short word, two in a longer one.
const fn forgiven(letters: usize) -> usize {
    if letters > ENOUGH { 2 } else { 1 }
}

/// All words, in the order of BIP39, which is that of the alphabet.
pub fn all() -> &'static [&'static str] {
    Language::English.word_list()
}

/// The words that begin with `start`, in the order of the list.
pub fn complete(start: &str) -> &'static [&'static str] {
    let first = all().partition_point(|word| *word < start);
    let begun = all()[first..].iter().take_while(|word| word.starts_with(start)).count();
    &all()[first..first + begun]
}

/// The word that was typed: itself, or the only one that begins with these four letters or more. Case and
/// outer spaces do not matter.
pub fn resolve(typed: &str) -> Option<&'static str> {
    let typed = typed.trim().to_lowercase();
    let candidates = complete(&typed);
    match candidates {
        [first, ..] if *first == typed => Some(first),
        [only] if typed.chars().count() >= ENOUGH => Some(only),
        _ => None,
    }
}

/// At most `most` words that were perhaps meant, the likeliest first: those that begin so, then those
/// with the fewest mistakes.
pub fn suggest(typed: &str, most: usize) -> Vec<&'static str> {
    let typed: Vec<char> = typed.trim().to_lowercase().chars().collect();
    let start: String = typed.iter().collect();
    let begun = complete(&start).iter().filter(|_| !typed.is_empty()).copied();
    let mut close: Vec<(usize, bool, &'static str)> = all()
        .iter()
        .filter(|word| !word.starts_with(&start))
        .filter_map(|word| {
            let mistakes = distance(&typed, &word.chars().collect::<Vec<_>>());
            let begins_otherwise = word.chars().next() != typed.first().copied();
            (mistakes <= forgiven(typed.len()) && mistakes < typed.len()).then_some((
                mistakes,
                begins_otherwise,
                *word,
            ))
        })
        .collect();
    close.sort_unstable();
    begun.chain(close.into_iter().map(|(.., word)| word)).take(most).collect()
}

/// The words that one mistake makes of `word`, or it of them.
pub(crate) fn neighbours(word: &str) -> impl Iterator<Item = &'static str> {
    let letters: Vec<char> = word.chars().collect();
    all().iter().copied().filter(move |other| distance(&letters, &other.chars().collect::<Vec<_>>()) == 1)
}

/// How many letters were left out, put in, mistaken, or swapped with the next (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mistaken = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = mistaken.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_letters_tell_every_word_apart_and_a_whole_word_is_itself() {
        assert_eq!(all().len(), 2048);
        for word in all() {
            assert_eq!(resolve(word), Some(*word));
            let start: String = word.chars().take(ENOUGH).collect();
            assert!(start.len() < ENOUGH || resolve(&start) == Some(word), "{start}");
        }
        let cases = [
            (" Zoo\n", Some("zoo")),
            ("ABAN", Some("abandon")),
            // Three letters are a word of their own here, and the beginning of others.
            ("add", Some("add")),
            ("aba", None),
            ("abandoned", None),
            ("", None),
        ];
        for (typed, expected) in cases {
            assert_eq!(resolve(typed), expected, "{typed:?}");
        }
    }

    #[test]
    fn what_was_perhaps_meant_comes_first() {
        let cases: &[(&str, &[&str])] = &[
            ("abandn", &["abandon"]),
            ("zooo", &["zoo"]),
            ("recieve", &["receive"]),
            ("abs", &["absent", "absorb", "abstract", "absurd"]),
            ("qqqqqqq", &[]),
            ("", &[]),
        ];
        for (typed, expected) in cases {
            let told = suggest(typed, 50);
            assert!(expected.iter().all(|word| told.contains(word)), "{typed}: {told:?}");
            assert_eq!(told.first(), expected.first(), "{typed}: {told:?}");
        }
        assert_eq!(suggest("a", 3), complete("a")[..3]);
    }

    #[test]
    fn mistakes_are_counted() {
        let count =
            |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        let cases = [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "abd", 1),
            ("ca", "abc", 3),
            ("ab", "b", 1),
        ];
        for (a, b, expected) in cases {
            assert_eq!((count(a, b), count(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
