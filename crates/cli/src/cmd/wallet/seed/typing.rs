//! Words as somebody types them from their copy: completed, corrected, checked.

use openagents_seed::{Mnemonic, WordCount, WordsError, list};
use zeroize::Zeroizing;

use super::screen::{Heard, Screen};

/// How many words a beginning or a mistake is answered with.
const SHOWN: usize = 8;

/// How far the typing is.
enum Typing {
    /// How many there will be is not known.
    Count,
    /// The words so far.
    Words { count: WordCount, words: Zeroizing<Vec<String>> },
    /// All of them, and they do not belong together: which one is to be typed again?
    Wrong { count: WordCount, words: Zeroizing<Vec<String>> },
    /// One of them again, counted from 0.
    Again { count: WordCount, words: Zeroizing<Vec<String>>, place: usize },
    /// All of them.
    Done(Mnemonic),
}

/// Reads a seed at the terminal; `None` if the person went away.
pub(super) fn words(mut screen: Screen) -> anyhow::Result<Option<Mnemonic>> {
    screen.draw(
        "Type the words in their order, one a line or several. Four letters are enough; < takes the last one back. \
         Ctrl-C ends, and changes nothing.\n",
    )?;
    let mut typing = Typing::Count;
    loop {
        screen.say(&typing.question())?;
        let Heard::Line(line) = screen.listen()? else { return Ok(None) };
        let (next, answer) = typing.hear(&line);
        if !answer.is_empty() {
            screen.say(&format!("{answer}\n"))?;
        }
        match next {
            Typing::Done(mnemonic) => return Ok(Some(mnemonic)),
            next => typing = next,
        }
    }
}

impl Typing {
    fn question(&self) -> String {
        match self {
            Self::Count => "how many words are there, 12 or 24? ".into(),
            Self::Words { count, words } => format!("word {} of {}: ", words.len() + 1, count.get()),
            Self::Wrong { count, .. } => format!("which word is to be typed again, 1 to {}? ", count.get()),
            Self::Again { place, .. } => format!("word {}: ", place + 1),
            Self::Done(_) => String::new(),
        }
    }

    /// What follows from a line, and what is to be said about it.
    fn hear(self, line: &str) -> (Self, String) {
        match self {
            Self::Count => match line.trim().parse().ok().and_then(WordCount::of) {
                Some(count) => (Self::Words { count, words: Zeroizing::default() }, String::new()),
                None => (Self::Count, "a seed has 12 or 24 words".into()),
            },
            Self::Words { count, words } => more(count, words, line),
            Self::Wrong { count, words } => match line.trim().parse::<usize>() {
                Ok(number) if (1..=count.get()).contains(&number) => {
                    (Self::Again { count, words, place: number - 1 }, String::new())
                }
                _ => (Self::Wrong { count, words }, "say its number".into()),
            },
            Self::Again { count, mut words, place } => match list::resolve(line) {
                Some(word) => {
                    words[place] = word.to_owned();
                    whole(count, words)
                }
                None => (Self::Again { count, words, place }, perhaps(line)),
            },
            Self::Done(mnemonic) => (Self::Done(mnemonic), String::new()),
        }
    }
}

fn more(count: WordCount, mut words: Zeroizing<Vec<String>>, line: &str) -> (Typing, String) {
    let mut said = Vec::new();
    if line.trim() == "<" {
        words.pop();
        return (Typing::Words { count, words }, String::new());
    }
    for typed in line.split_whitespace() {
        if words.len() == count.get() {
            said.push(format!("that were more than {}; the rest was left out", count.get()));
            break;
        }
        let Some(word) = list::resolve(typed) else {
            said.push(perhaps(typed));
            break;
        };
        if word != typed {
            said.push(format!("  {}. {word}", words.len() + 1));
        }
        words.push(word.to_owned());
    }
    if words.len() < count.get() {
        return (Typing::Words { count, words }, said.join("\n"));
    }
    let (typing, answer) = whole(count, words);
    said.push(answer);
    said.retain(|line| !line.is_empty());
    (typing, said.join("\n"))
}

/// All words are there: are they a seed?
fn whole(count: WordCount, words: Zeroizing<Vec<String>>) -> (Typing, String) {
    let phrase = Zeroizing::new(words.join(" "));
    match Mnemonic::parse(&phrase) {
        Ok(mnemonic) => (Typing::Done(mnemonic), String::new()),
        Err(error @ WordsError::Checksum(_)) => {
            let rows: Vec<String> =
                words.iter().enumerate().map(|(place, word)| format!("{:>4}. {word}", place + 1)).collect();
            (Typing::Wrong { count, words }, format!("{}\n{error}", rows.join("\n")))
        }
        Err(error) => (Typing::Wrong { count, words }, error.to_string()),
    }
}

fn perhaps(typed: &str) -> String {
    match list::suggest(typed, SHOWN).as_slice() {
        [] => "this word is not in the list".into(),
        some => format!("this word is not in the list; perhaps {}", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said after each line, and the seed at the end.
    fn typed(lines: &[&str]) -> (Vec<String>, Option<Mnemonic>) {
        let (mut typing, mut said) = (Typing::Count, Vec::new());
        for line in lines {
            let (next, answer) = typing.hear(line);
            said.push(answer);
            typing = next;
        }
        let done = if let Typing::Done(mnemonic) = typing { Some(mnemonic) } else { None };
        (said, done)
    }

    #[test]
    fn words_are_completed_taken_back_and_counted() {
        let lines = [
            "15",
            "12",
            "legal",
            "wrong",
            "<",
            "winn",
            "thnak",
            "THANK year wave",
            "sausage worth useful legal",
            "winner",
            "thank yellow",
        ];
        let (said, done) = typed(&lines);
        assert_eq!(
            done,
            Mnemonic::parse("legal winner thank year wave sausage worth useful legal winner thank yellow")
                .ok()
        );
        assert_eq!(said[0], "a seed has 12 or 24 words");
        assert_eq!(said[5], "  2. winner");
        assert!(said[6].starts_with("this word is not in the list; perhaps thank"), "{}", said[6]);
        assert_eq!(said[7], "  3. thank");
    }

    #[test]
    fn a_beginning_is_answered_with_the_words_that_begin_so() {
        let (said, _) = typed(&["24", "aba", "qqqqqqqqq"]);
        assert_eq!(said[1], "this word is not in the list; perhaps abandon");
        assert_eq!(said[2], "this word is not in the list");
    }

    #[test]
    fn a_wrong_checksum_lets_one_word_be_typed_again() {
        let lines =
            ["12", "letter advice cake absurd amount doctor acoustic avoid letter advice cage above extra"];
        let (said, done) = typed(&lines);
        assert!(done.is_none());
        assert!(said[1].contains("that were more than 12"), "{}", said[1]);
        assert!(said[1].contains("word 3 is cage, not cake"), "{}", said[1]);
        let (said, done) = typed(&[&lines[..], &["13", "3", "cagge", "cage"]].concat());
        assert!(done.is_some());
        assert_eq!(said[2], "say its number");
        assert!(said[4].contains("perhaps cage"), "{}", said[4]);
    }
}
