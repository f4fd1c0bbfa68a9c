//! The words themselves: made from entropy, read from what somebody typed, turned into a seed.

use std::fmt;

use bitcoin::bip32::Xpriv;
use zeroize::Zeroizing;

use crate::{Passphrase, list};

/// The words a message shows of one that is not in the list: enough to find it, not a whole secret that was
/// pasted by mistake.
const SHOWN: usize = 12;

/// The suggestions for one word.
const SUGGESTED: usize = 3;

/// How many words: the two lengths that wallets agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordCount {
    /// 128 bits of entropy.
    Twelve,
    /// 256 bits of entropy.
    TwentyFour,
}

impl WordCount {
    /// The number.
    pub const fn get(self) -> usize {
        match self {
            Self::Twelve => 12,
            Self::TwentyFour => 24,
        }
    }

    /// The length of the entropy in bytes.
    pub const fn entropy_len(self) -> usize {
        match self {
            Self::Twelve => 16,
            Self::TwentyFour => 32,
        }
    }

    /// The length that is this number, if there is one.
    pub const fn of(number: usize) -> Option<Self> {
        match number {
            12 => Some(Self::Twelve),
            24 => Some(Self::TwentyFour),
            _ => None,
        }
    }
}

/// Entropy of a length that no list of words has, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes make no list of words; 16 make 12 and 32 make 24")]
pub struct EntropyError(pub usize);

/// A word that BIP39 does not have.
#[derive(Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// Its position, counted from 1.
    pub position: usize,
    /// What was typed, cut short.
    pub typed: String,
    /// What was perhaps meant, the likeliest first.
    pub suggestions: Vec<&'static str>,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "word {} {:?}", self.position, self.typed)?;
        match self.suggestions.as_slice() {
            [] => Ok(()),
            meant => write!(f, " (perhaps {})", meant.join(", ")),
        }
    }
}

/// A word that would make the checksum right if it were another one, a letter away.
#[derive(Clone, PartialEq, Eq)]
pub struct Suspect {
    /// Its position, counted from 1.
    pub position: usize,
    /// What it is.
    pub word: &'static str,
    /// What it may have been.
    pub instead: &'static str,
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "word {} is {}, not {}", self.position, self.instead, self.word)
    }
}

/// Why words are no seed. Debug output names none of them.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// There are too few or too many.
    #[error("these are {0} words; a seed has 12 or 24")]
    Count(usize),
    /// Some are not in the list.
    #[error("not in the list of BIP39: {}; correct what you wrote and try again", each(.0))]
    Unknown(Vec<UnknownWord>),
    /// All are in the list, and do not belong together.
    #[error("{}", checksum(.0))]
    Checksum(Vec<Suspect>),
}

impl fmt::Debug for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(number) => write!(f, "Count({number})"),
            Self::Unknown(words) => write!(f, "Unknown({} words)", words.len()),
            Self::Checksum(suspects) => write!(f, "Checksum({} suspects)", suspects.len()),
        }
    }
}

fn each(parts: &[impl fmt::Display]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn checksum(suspects: &[Suspect]) -> String {
    let what =
        "every word is in the list, but the checksum fails; one of them is wrong or two have changed places";
    match suspects {
        [] => format!("{what}: compare them with your copy"),
        some => format!("{what}: compare them with your copy, perhaps {}", each_or(some)),
    }
}

fn each_or(suspects: &[Suspect]) -> String {
    suspects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", or ")
}

/// The words of a seed. Whoever has them has the money.
#[derive(Clone, PartialEq, Eq)]
pub struct Mnemonic(bip39::Mnemonic);

impl fmt::Debug for Mnemonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mnemonic(…)")
    }
}

impl Mnemonic {
    /// The words that stand for 16 or 32 random bytes.
    ///
    /// # Errors
    /// The entropy has another length.
    pub fn from_entropy(entropy: &[u8]) -> Result<Self, EntropyError> {
        match entropy.len() {
            16 | 32 => {
                bip39::Mnemonic::from_entropy(entropy).map(Self).map_err(|_| EntropyError(entropy.len()))
            }
            other => Err(EntropyError(other)),
        }
    }

    /// Reads words with spaces or line breaks between them. Case does not matter, four letters are enough,
    /// and numbers before the words are passed over, as a paper sheet has them.
    ///
    /// # Errors
    /// They are no seed; the error names the words.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let typed: Vec<&str> = text.split_whitespace().filter(|part| !is_number(part)).collect();
        if WordCount::of(typed.len()).is_none() {
            return Err(WordsError::Count(typed.len()));
        }
        let (mut words, mut unknown) = (Vec::new(), Vec::new());
        for (place, typed) in typed.iter().enumerate() {
            match list::resolve(typed) {
                Some(word) => words.push(word),
                None => unknown.push(UnknownWord {
                    position: place + 1,
                    typed: typed.chars().take(SHOWN).collect(),
                    suggestions: list::suggest(typed, SUGGESTED),
                }),
            }
        }
        if !unknown.is_empty() {
            return Err(WordsError::Unknown(unknown));
        }
        of_words(&words).ok_or_else(|| WordsError::Checksum(suspects(&words)))
    }

    /// How many.
    pub fn count(&self) -> WordCount {
        // The constructors let no other number through.
        if self.0.words().count() == 24 { WordCount::TwentyFour } else { WordCount::Twelve }
    }

    /// The words, in order.
    pub fn words(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.words()
    }

    /// The words with a space between each two.
    pub fn phrase(&self) -> Zeroizing<String> {
        // Longer than any phrase, so that no part of it stays behind where a string has grown.
        let mut phrase = Zeroizing::new(String::with_capacity(24 * 9));
        for word in self.words() {
            if !phrase.is_empty() {
                phrase.push(' ');
            }
            phrase.push_str(word);
        }
        phrase
    }

    /// The random bytes that the words stand for.
    pub fn entropy(&self) -> Zeroizing<Vec<u8>> {
        let mut entropy = Zeroizing::new(vec![0_u8; self.count().entropy_len()]);
        for (place, index) in self.0.word_indices().enumerate() {
            for bit in (0..11).filter(|bit| index >> (10 - bit) & 1 == 1) {
                let at = place * 11 + bit;
                // The bits after the entropy are its checksum.
                if let Some(byte) = entropy.get_mut(at / 8) {
                    *byte |= 1 << (7 - at % 8);
                }
            }
        }
        entropy
    }

    /// What a wallet derives its keys from (BIP39): the words with their passphrase, if there is one.
    pub fn seed(&self, passphrase: Option<&Passphrase>) -> Seed {
        Seed(Zeroizing::new(self.0.to_seed_normalized(passphrase.map_or("", Passphrase::expose))))
    }
}

fn of_words(words: &[&str]) -> Option<Mnemonic> {
    let phrase = Zeroizing::new(words.join(" "));
    bip39::Mnemonic::parse_in_normalized(bip39::Language::English, &phrase).ok().map(Mnemonic)
}

/// The words that one slip of the pen turns into a list that is right. With 12 words one wrong list in 16 is
/// right by chance, so that more than a few suspects tell nothing.
fn suspects(words: &[&'static str]) -> Vec<Suspect> {
    let mut found = Vec::new();
    for (place, word) in words.iter().copied().enumerate() {
        for instead in list::neighbours(word) {
            let mut changed = words.to_vec();
            changed[place] = instead;
            if of_words(&changed).is_some() {
                found.push(Suspect { position: place + 1, word, instead });
            }
        }
    }
    if found.len() <= SUGGESTED { found } else { Vec::new() }
}

fn is_number(part: &str) -> bool {
    let digits = part.trim_end_matches(['.', ')', ':']);
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

/// The 64 bytes that a wallet derives all its keys from. Whoever has them has the money.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(Zeroizing<[u8; 64]>);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

impl Seed {
    /// The bytes.
    pub fn expose(&self) -> &[u8; 64] {
        &self.0
    }

    /// What tells this seed from others without telling it: the fingerprint of its master key (BIP32), as other
    /// wallets show it.
    pub fn fingerprint(&self) -> Fingerprint {
        // The network changes how a key is written, not what it is.
        let master = Xpriv::new_master(bitcoin::Network::Bitcoin, self.0.as_slice());
        let context = bitcoin::secp256k1::Secp256k1::signing_only();
        // A seed without a master key has a chance of 2^-127, and no wallet takes it.
        Fingerprint(master.map(|master| master.fingerprint(&context).to_bytes()).unwrap_or_default())
    }
}

/// A master key's fingerprint (BIP32): eight hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 4]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Test vectors of BIP39 (TREZOR's, English): entropy, words, seed with the passphrase "TREZOR".
    const VECTORS: &[(&str, &str, &str)] = &[
        (
            "00000000000000000000000000000000",
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about",
            "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
        ),
        (
            "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
            "legal winner thank year wave sausage worth useful legal winner thank yellow",
            "2e8905819b8723fe2c1d161860e5ee1830318dbf49a83bd451cfb8440c28bd6fa457fe1296106559a3c80937a1c1069be3a3a5bd381ee6260e8d9739fce1f607",
        ),
        (
            "80808080808080808080808080808080",
            "letter advice cage absurd amount doctor acoustic avoid letter advice cage above",
            "d71de856f81a8acc65e6fc851a38d4d7ec216fd0796d0a6827a3ad6ed5511a30fa280f12eb2e47ed2ac03b5c462a0358d18d69fe4f985ec81778c1b370b652a8",
        ),
        (
            "ffffffffffffffffffffffffffffffff",
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong",
            "ac27495480225222079d7be181583751e86f571027b0497b5b5d11218e0a8a13332572917f0f8e5a589620c6f15b11c61dee327651a14c34e18231052e48c069",
        ),
        (
            "0000000000000000000000000000000000000000000000000000000000000000",
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
            "bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd3097170af7a4d73245cafa9c3cca8d561a7c3de6f5d4a10be8ed2a5e608d68f92fcc8",
        ),
        (
            "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
            "legal winner thank year wave sausage worth useful legal winner thank year \
             wave sausage worth useful legal winner thank year wave sausage worth title",
            "bc09fca1804f7e69da93c2f2028eb238c227f2e9dda30cd63699232578480a4021b146ad717fbb7e451ce9eb835f43620bf5c514db0f8add49f5d121449d3e87",
        ),
        (
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
            "dd48c104698c30cfe2b6142103248622fb7bb0ff692eebb00089b32d22484e1613912f0a5b694407be899ffd31ed3992c456cdf60f5d4564b8ba3f05a69890ad",
        ),
        (
            "9e885d952ad362caeb4efe34a8e91bd2",
            "ozone drill grab fiber curtain grace pudding thank cruise elder eight picnic",
            "274ddc525802f7c828d8ef7ddbcdc5304e87ac3535913611fbbfa986d0c9e5476c91689f9c8a54fd55bd38606aa6a8595ad213d4c9c9f9aca3fb217069a41028",
        ),
        (
            "68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c",
            "hamster diagram private dutch cause delay private meat slide toddler razor book \
             happy fancy gospel tennis maple dilemma loan word shrug inflict delay length",
            "64c87cde7e12ecf6704ab95bb1408bef047c22db4cc7491c4271d170a1b213d20b385bc1588d9c7b38f1b39d415665b8a9030c9ec653d75e65f847d8fc1fc440",
        ),
        (
            "f585c11aec520db57dd353c69554b21a89b20fb0650966fa0a9d6f74fd989d8f",
            "void come effort suffer camp survey warrior heavy shoot primary clutch crush \
             open amazing screen patrol group space point ten exist slush involve unfold",
            "01f5bced59dec48e362f2c45b5de68b9fd6c92c6634f44d6d40aab69056506f0e35524a518034ddc1192e1dacd32c1ed3eaa3c3b131c88ed8e7e54c49a5d0998",
        ),
    ];

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,300}") {
            prop_assert!(Mnemonic::parse(&text).is_err());
        }

        #[test]
        fn any_words_of_the_list_are_read_or_refused_and_what_is_read_writes_the_same(
            places in proptest::collection::vec(0..2048_usize, 12),
        ) {
            let phrase = places.iter().map(|place| list::all()[*place]).collect::<Vec<_>>().join(" ");
            match Mnemonic::parse(&phrase) {
                Ok(mnemonic) => prop_assert_eq!(mnemonic.phrase().to_string(), phrase),
                Err(error) => prop_assert!(matches!(error, WordsError::Checksum(_)), "{error}"),
            }
        }
    }

    fn parse(text: &str) -> Mnemonic {
        Mnemonic::parse(text).expect("these words are right")
    }

    #[test]
    fn the_vectors_of_bip39_hold_both_ways() {
        for (entropy, phrase, seed) in VECTORS {
            let mnemonic = parse(phrase);
            let bytes = hex::decode(entropy).expect("hexadecimal");
            assert_eq!(hex::encode(mnemonic.entropy().as_slice()), *entropy);
            assert_eq!(Mnemonic::from_entropy(&bytes).expect("a length that is right"), mnemonic);
            assert_eq!(mnemonic.phrase().as_str(), *phrase);
            let trezor = Passphrase::new("TREZOR").expect("a passphrase");
            assert_eq!(hex::encode(mnemonic.seed(Some(&trezor)).expose()), *seed);
        }
    }

    #[test]
    fn a_wallet_gets_the_seed_without_a_passphrase_and_the_fingerprint_others_show() {
        let seed = parse(VECTORS[0].1).seed(None);
        assert_eq!(
            hex::encode(seed.expose()),
            "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc19a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4"
        );
        assert_eq!(seed.fingerprint().to_string(), "73c5da0a");
    }

    #[test]
    fn words_are_read_as_people_write_them() {
        let expected = parse(VECTORS[1].1);
        for text in [
            "  LEGAL winner\tthank Year wave sausage\nworth useful legal winner thank yellow\r\n",
            "1. legal 2. winner 3. thank 4. year 5. wave 6. sausage 7) worth 8: useful 9 legal 10 winner 11 thank 12 yellow",
            "lega winn than year wave saus wort usef lega winn than yell",
        ] {
            assert_eq!(Mnemonic::parse(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn every_word_that_is_not_in_the_list_is_named_with_what_was_perhaps_meant() {
        let typed =
            "legal winer thank year wave sausage worth useful legal winner qqqqqqqqqqqqqqqqqqqq yelow";
        let error = Mnemonic::parse(typed).expect_err("three words are wrong");
        assert_eq!(
            error.to_string(),
            "not in the list of BIP39: word 2 \"winer\" (perhaps wine, winner, winter), word 11 \"qqqqqqqqqqqq\", \
             word 12 \"yelow\" (perhaps yellow, below, allow); correct what you wrote and try again"
        );
        assert_eq!(format!("{error:?}"), "Unknown(3 words)");
    }

    #[test]
    fn a_wrong_number_of_words_is_said_and_nothing_else() {
        for (text, number) in [("", 0), ("secret", 1), ("abandon abandon", 2), (&"zoo ".repeat(15), 15)] {
            assert_eq!(Mnemonic::parse(text), Err(WordsError::Count(number)));
        }
    }

    #[test]
    fn a_failed_checksum_is_told_apart_and_names_the_word_that_is_a_letter_off() {
        let error = Mnemonic::parse(
            "letter advice cake absurd amount doctor acoustic avoid letter advice cage above",
        )
        .expect_err("one word is another");
        let WordsError::Checksum(suspects) = &error else { panic!("{error}") };
        assert!(suspects.iter().any(|suspect| suspect.position == 3 && suspect.instead == "cage"), "{error}");
        assert!(error.to_string().contains("every word is in the list, but the checksum fails"), "{error}");
        assert!(error.to_string().contains("word 3 is cage, not cake"), "{error}");

        let swapped = "advice letter cage absurd amount doctor acoustic avoid letter advice cage above";
        assert!(matches!(Mnemonic::parse(swapped), Err(WordsError::Checksum(_))));
    }

    #[test]
    fn other_lengths_of_entropy_make_no_words() {
        for length in [0, 15, 17, 20, 24, 28, 31, 33, 64] {
            assert_eq!(Mnemonic::from_entropy(&vec![7; length]), Err(EntropyError(length)));
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let mnemonic = parse(VECTORS[8].1);
        let printed = format!("{mnemonic:?} {:?}", mnemonic.seed(None));
        assert_eq!(printed, "Mnemonic(…) Seed(…)");
    }
}
