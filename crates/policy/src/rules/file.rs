//! Reads rule files. The format, line by line (`#` begins a comment):
//!
//! ```text
//! set WEAPON: bomb, pipe bomb*, @EXPLOSIVE      a set of words; `*` leaves the word's end open (or its beginning),
//!   de: bombe*, sprengsatz                      `@` takes another set in; lines that are indented carry it on, and
//!                                               may begin with the language they count in
//! rule make_a_weapon 95 asks: ASK > MAKE + WEAPON within 80 unless TOY except GAME
//! ```
//!
//! A rule hits where a word of each of its sets stands within so many bytes of the first: `A + B` in any order,
//! `A > B` in this order, `A|B` a word of either. Its number is the confidence in hundredths. `asks` rules are for
//! requests only, `any` rules for material as well. `unless` sets acquit when they stand nearby, `except` sets when
//! they stand anywhere in the job.

use std::collections::BTreeMap;

use crate::{Category, Confidence};

/// What a rule may be held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Requests only.
    Asks,
    /// Material too.
    Any,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) category: Category,
    pub(super) confidence: Confidence,
    pub(super) scope: Scope,
    /// A word of each must be there; each slot is a list of sets.
    pub(super) slots: Vec<Vec<usize>>,
    /// Whether the slots must come in this order.
    pub(super) ordered: bool,
    /// How far from the first word the others may stand, in bytes of the view.
    pub(super) within: usize,
    /// Acquit when nearby.
    pub(super) unless: Vec<usize>,
    /// Acquit when anywhere in the job.
    pub(super) except: Vec<usize>,
}

impl Rule {
    /// Every set it asks for.
    pub(super) fn sets(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().flatten().chain(&self.unless).chain(&self.except).copied()
    }
}

/// A phrase of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Phrase {
    /// As it stands in the file, with its `*`.
    pub(super) text: &'static str,
    /// The language it counts in; `None` if it counts in every text.
    pub(super) language: Option<Language>,
}

/// Languages that share English's letters, so that their words could be taken for English ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Language {
    German,
    French,
    Spanish,
    Portuguese,
}

impl Language {
    pub(super) const ALL: [Self; 4] = [Self::German, Self::French, Self::Spanish, Self::Portuguese];

    const fn code(self) -> &'static str {
        match self {
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Portuguese => "pt",
        }
    }

    /// The set whose words show that a text speaks this language.
    pub(super) const fn set(self) -> &'static str {
        match self {
            Self::German => "SPEAKS_DE",
            Self::French => "SPEAKS_FR",
            Self::Spanish => "SPEAKS_ES",
            Self::Portuguese => "SPEAKS_PT",
        }
    }
}

/// The files, read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) rules: Vec<Rule>,
    /// The phrases of each set, by its number.
    pub(super) sets: Vec<Vec<Phrase>>,
    names: BTreeMap<&'static str, usize>,
    /// Sets that take in another: (which, what).
    taken: Vec<(usize, usize)>,
}

/// Why a rule file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {why}")]
pub(super) struct Fault {
    file: &'static str,
    line: usize,
    why: String,
}

/// How far from the first word of a rule the others may stand, if it does not say.
const WITHIN: usize = 100;

pub(super) fn read(files: &[(Option<Category>, &'static str, &'static str)]) -> Result<Read, Fault> {
    let mut read = Read::default();
    for (category, file, text) in files {
        let mut open = None;
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim_end();
            read.line(line, *category, &mut open).map_err(|why| Fault { file, line: at + 1, why })?;
        }
    }
    read.take_in();
    match read.sets.iter().position(Vec::is_empty) {
        Some(empty) => {
            let name = read.names.iter().find(|(_, set)| **set == empty).map_or("", |(name, _)| name);
            Err(Fault { file: "rules", line: 0, why: format!("the set {name} is used and never filled") })
        }
        None => Ok(read),
    }
}

impl Read {
    /// The number of a set that must be there.
    pub(super) fn set(&self, name: &str) -> Result<usize, Fault> {
        let missing = || Fault { file: "common.rules", line: 0, why: format!("the set {name} is missing") };
        self.names.get(name).copied().ok_or_else(missing)
    }

    /// The names of all sets, by their numbers.
    pub(super) fn set_names(&self) -> Vec<&'static str> {
        let mut names = vec![""; self.sets.len()];
        for (name, set) in &self.names {
            names[*set] = name;
        }
        names
    }

    fn line(
        &mut self,
        line: &'static str,
        category: Option<Category>,
        open: &mut Option<usize>,
    ) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(more) = line.strip_prefix([' ', '\t']) {
            let set = open.ok_or("an indented line carries on no set")?;
            let (language, more) = language_of(more);
            self.phrases(set, language, more);
            return Ok(());
        }
        let (head, body) = line.split_once(':').ok_or("neither a set nor a rule: no colon")?;
        match head.split_whitespace().collect::<Vec<_>>()[..] {
            ["set", name] => {
                let set = self.number(name);
                *open = Some(set);
                self.phrases(set, None, body);
            }
            ["rule", name, confidence, scope] => {
                *open = None;
                let category = category.ok_or("a rule in a file without category")?;
                let rule = self.rule(&Head { name, confidence, scope, category }, body)?;
                self.rules.push(rule);
            }
            _ => return Err(format!("neither a set nor a rule: {head}")),
        }
        Ok(())
    }

    fn number(&mut self, name: &'static str) -> usize {
        if let Some(set) = self.names.get(name) {
            return *set;
        }
        let set = self.sets.len();
        self.sets.push(Vec::new());
        self.names.insert(name, set);
        set
    }

    fn phrases(&mut self, set: usize, language: Option<Language>, line: &'static str) {
        for phrase in line.split(',').map(str::trim).filter(|phrase| !phrase.is_empty()) {
            match phrase.strip_prefix('@') {
                Some(other) => {
                    let other = self.number(other);
                    self.taken.push((set, other));
                }
                None => self.sets[set].push(Phrase { text: phrase, language }),
            }
        }
    }

    /// Sets that take in others may themselves be taken in; three rounds reach through three of them.
    fn take_in(&mut self) {
        for _ in 0..3 {
            for (set, other) in self.taken.clone() {
                let phrases = self.sets[other].clone();
                self.sets[set].extend(phrases);
                self.sets[set].sort_unstable();
                self.sets[set].dedup();
            }
        }
    }

    fn rule(&mut self, head: &Head, body: &'static str) -> Result<Rule, String> {
        let percent: u8 =
            head.confidence.parse().map_err(|_| format!("no confidence: {}", head.confidence))?;
        let scope = match head.scope {
            "asks" => Scope::Asks,
            "any" => Scope::Any,
            other => return Err(format!("neither asks nor any: {other}")),
        };
        let mut rule = Rule {
            name: head.name,
            category: head.category,
            confidence: Confidence::percent(percent),
            scope,
            slots: Vec::new(),
            ordered: body.contains('>'),
            within: WITHIN,
            unless: Vec::new(),
            except: Vec::new(),
        };
        let mut words = body.split_whitespace();
        let mut list = List::Slots;
        while let Some(word) = words.next() {
            match word {
                "+" | ">" => {}
                "within" => {
                    let number = words.next().and_then(|number| number.parse().ok());
                    rule.within = number.ok_or("within how many bytes?")?;
                }
                "unless" => list = List::Unless,
                "except" => list = List::Except,
                sets => {
                    let sets = sets.split('|').map(|name| self.number(name));
                    match list {
                        List::Slots => rule.slots.push(sets.collect()),
                        List::Unless => rule.unless.extend(sets),
                        List::Except => rule.except.extend(sets),
                    }
                }
            }
        }
        if rule.slots.is_empty() { Err("a rule without sets".to_owned()) } else { Ok(rule) }
    }
}

/// The words before a rule's colon.
struct Head {
    name: &'static str,
    confidence: &'static str,
    scope: &'static str,
    category: Category,
}

enum List {
    Slots,
    Unless,
    Except,
}

/// An indented line may begin with the language of its phrases, such as `de:`.
fn language_of(line: &'static str) -> (Option<Language>, &'static str) {
    let Some((code, rest)) = line.split_once(':').filter(|(code, _)| code.trim().len() == 2) else {
        return (None, line);
    };
    (Language::ALL.into_iter().find(|language| language.code() == code.trim()), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &'static str) -> String {
        read(&[(Some(Category::Fraud), "test.rules", text)]).unwrap_err().to_string()
    }

    #[test]
    fn a_fault_in_a_rule_file_is_named_with_its_line() {
        assert_eq!(
            fault("set A: a\nrule x 95 asks: A + B\n"),
            "rules, line 0: the set B is used and never filled"
        );
        assert!(fault("set A: a\nrule x high asks: A").contains("line 2: no confidence: high"));
        assert!(fault("  de: haus").contains("carries on no set"));
        assert!(fault("what is this").contains("no colon"));
    }

    #[test]
    fn sets_go_on_in_other_languages_and_take_in_other_sets() {
        let text =
            "set A: house, home\n  de: haus\nset B: hut, @A\nrule x 90 any: B > A within 40 unless A\n";
        let read = read(&[(Some(Category::Fraud), "test.rules", text)]).unwrap();
        let words: Vec<_> = read.sets[read.set("B").unwrap()].iter().map(|phrase| phrase.text).collect();
        assert_eq!(words, ["haus", "home", "house", "hut"]);
        assert_eq!(read.sets[0][2], Phrase { text: "haus", language: Some(Language::German) });
        let rule = &read.rules[0];
        assert!(rule.ordered && rule.within == 40 && rule.scope == Scope::Any && rule.unless == [0]);
    }
}
