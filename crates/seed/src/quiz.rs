//! A quiz that nobody passes who has not written the words down: a few positions, drawn anew each time.

use crate::{Mnemonic, WordCount, list};

/// The words asked for, of 12 and of 24. Three to five are enough to show that there is a list.
const ASKED: [(WordCount, usize); 2] = [(WordCount::Twelve, 4), (WordCount::TwentyFour, 5)];

/// Positions in a list of words, counted from 1, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quiz(Vec<usize>);

impl Quiz {
    /// Draws positions, no two the same. The entropy is used up: the next quiz needs other bytes.
    pub fn draw(count: WordCount, entropy: [u8; 40]) -> Self {
        let mut left: Vec<usize> = (1..=count.get()).collect();
        let asked = ASKED.iter().find(|(of, _)| *of == count).map_or(4, |(_, asked)| *asked);
        let numbers = entropy
            .chunks_exact(8)
            .map(|chunk| chunk.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)));
        // 64 bits to choose one of 24: no position is likelier than another by more than 2^-59.
        let draw = |number: u64| left.remove(usize::try_from(number % left.len() as u64).unwrap_or_default());
        Self(numbers.take(asked).map(draw).collect())
    }

    /// The positions, counted from 1.
    pub fn positions(&self) -> &[usize] {
        &self.0
    }

    /// Whether every answer, in the order of the positions, is the word there. Case and outer spaces do not matter,
    /// and the four letters that tell a word apart are enough. Which of them is wrong is not said.
    pub fn is_passed(&self, mnemonic: &Mnemonic, answers: &[impl AsRef<str>]) -> bool {
        let words: Vec<&str> = mnemonic.words().collect();
        let right =
            |(position, answer): (&usize, &str)| list::resolve(answer) == words.get(position - 1).copied();
        answers.len() == self.0.len() && self.0.iter().zip(answers.iter().map(AsRef::as_ref)).all(right)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn positions_are_three_to_five_and_differ(entropy: [u8; 40], long: bool) {
            let count = if long { WordCount::TwentyFour } else { WordCount::Twelve };
            let quiz = Quiz::draw(count, entropy);
            let positions: BTreeSet<_> = quiz.positions().iter().collect();
            prop_assert_eq!(positions.len(), quiz.positions().len());
            prop_assert!((3..=5).contains(&positions.len()));
            prop_assert!(positions.iter().all(|position| (1..=count.get()).contains(*position)));
        }
    }

    #[test]
    fn every_position_is_asked_some_time() {
        let drawn =
            (0..=255).flat_map(|byte| Quiz::draw(WordCount::Twelve, [byte; 40]).0).collect::<BTreeSet<_>>();
        assert_eq!(drawn.len(), 12);
    }

    #[test]
    fn only_the_right_words_in_their_order_pass() {
        let mnemonic =
            Mnemonic::parse("legal winner thank year wave sausage worth useful legal winner thank yellow");
        let mnemonic = mnemonic.expect("a vector of BIP39");
        let quiz = Quiz(vec![12, 1, 4]);
        let cases: &[(&[&str], bool)] = &[
            (&["yellow", "legal", "year"], true),
            (&[" YELLOW\t", "Legal", "year\n"], true),
            (&["yell", "lega", "year"], true),
            (&["year", "legal", "yellow"], false),
            (&["yellow", "legal", "yea"], false),
            (&["yellow", "legal"], false),
            (&["yellow", "legal", ""], false),
            (&["yellow", "legal", "year", "wave"], false),
            (&[], false),
        ];
        for (answers, expected) in cases {
            assert_eq!(quiz.is_passed(&mnemonic, answers), *expected, "{answers:?}");
        }
    }
}
