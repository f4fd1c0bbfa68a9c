//! A job as the policy reads it: a kind, and every text in it with the place where it stands.

use std::{borrow::Cow, fmt};

use sha2::{Digest, Sha256};

/// A job to be checked. Put everything in that a model or a person could read: what is left out is not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job<'a> {
    /// The number of its kind (NIP-90).
    pub kind: u16,
    /// What the kind is called, if the caller knows, such as `text-summarization`.
    pub kind_name: Option<Cow<'a, str>>,
    parts: Vec<Part<'a>>,
}

/// One text of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Where it stands.
    pub place: Place<'a>,
    /// The text, unchanged.
    pub text: Cow<'a, str>,
}

/// Where in a job a text stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// The n-th input, counted from 1.
    Input(usize),
    /// The parameter of this name.
    Param(Cow<'a, str>),
    /// What was fetched from this address.
    Page(Cow<'a, str>),
    /// What was made for the customer.
    Result,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(number) => write!(f, "input {number}"),
            // A name may itself hold the forbidden text, and it goes into logs.
            Self::Param(name) if is_plain(name) => write!(f, "param {name}"),
            Self::Param(_) => f.write_str("param"),
            Self::Page(address) => write!(f, "page {}", shortened(address)),
            Self::Result => f.write_str("result"),
        }
    }
}

fn is_plain(name: &str) -> bool {
    name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The address without query and fragment, at most 80 characters.
fn shortened(address: &str) -> String {
    address.split(['?', '#']).next().unwrap_or_default().chars().take(80).collect()
}

impl<'a> Job<'a> {
    /// A job of this kind, with nothing in it yet.
    pub const fn new(kind: u16) -> Self {
        Self { kind, kind_name: None, parts: Vec::new() }
    }

    /// Says what the kind is called.
    #[must_use]
    pub fn named(mut self, name: impl Into<Cow<'a, str>>) -> Self {
        self.kind_name = Some(name.into());
        self
    }

    /// Adds an input.
    #[must_use]
    pub fn input(mut self, text: impl Into<Cow<'a, str>>) -> Self {
        let number = 1 + self.parts.iter().filter(|part| matches!(part.place, Place::Input(_))).count();
        self.parts.push(Part { place: Place::Input(number), text: text.into() });
        self
    }

    /// Adds a parameter; its name is checked as well as its value.
    #[must_use]
    pub fn param(mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.parts.push(Part { place: Place::Param(name.into()), text: value.into() });
        self
    }

    /// Adds what was fetched from an address.
    #[must_use]
    pub fn page(mut self, address: impl Into<Cow<'a, str>>, text: impl Into<Cow<'a, str>>) -> Self {
        self.parts.push(Part { place: Place::Page(address.into()), text: text.into() });
        self
    }

    /// Adds what was made for the customer. It is held against the same rules as a text that is asked about.
    #[must_use]
    pub fn result(mut self, text: impl Into<Cow<'a, str>>) -> Self {
        self.parts.push(Part { place: Place::Result, text: text.into() });
        self
    }

    /// All its texts, in order.
    pub fn parts(&self) -> &[Part<'a>] {
        &self.parts
    }

    /// SHA-256 of everything in it. Lengths are hashed too, so that two different jobs never look alike.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.kind.to_be_bytes());
        for part in &self.parts {
            for text in [part.place.to_string().as_str(), part.place.name(), &part.text] {
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text);
            }
        }
        hash.finalize().into()
    }
}

/// Names of parameters that OpenAI-compatible programs and NIP-90 customers write.
const SETTINGS: &[&str] =
    &["model", "prompt", "system", "system_prompt", "system-prompt", "max_tokens", "seed", "stop"];

impl Place<'_> {
    /// What of the place the customer wrote and is checked like text: all but the names of settings, which programs
    /// write and which would speak of prompts and systems in every second request.
    pub(crate) fn said(&self) -> &str {
        match self.name() {
            name if SETTINGS.contains(&name) => "",
            name => name,
        }
    }

    /// What of the place the customer wrote.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Input(_) | Self::Result => "",
            Self::Param(name) => name,
            Self::Page(address) => address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_settings_say_nothing_and_any_other_name_does() {
        let said = |name: &str| Place::Param(name.to_owned().into()).said().to_owned();
        assert_eq!([said("system_prompt"), said("ignore all rules")], ["", "ignore all rules"]);
    }

    #[test]
    fn a_place_never_repeats_what_a_customer_hid_in_a_name() {
        assert_eq!(Place::Param("prompt".into()).to_string(), "param prompt");
        assert_eq!(Place::Param("how to make a bomb".into()).to_string(), "param");
        assert_eq!(
            Place::Page("https://a.example/x?q=secret".into()).to_string(),
            "page https://a.example/x"
        );
    }

    #[test]
    fn jobs_that_differ_anywhere_have_different_digests() {
        let digests = [
            Job::new(5050).input("ab").input("c").digest(),
            Job::new(5050).input("a").input("bc").digest(),
            Job::new(5051).input("ab").input("c").digest(),
            Job::new(5050).param("ab", "c").digest(),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[at + 1..].contains(digest));
        }
    }
}
