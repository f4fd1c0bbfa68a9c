//! An encrypted backup: one line of text that a password opens, on any machine, without the home it came from.
//!
//! The scheme is NIP-49's, which encrypts this program's identities too, around other bytes: the password
//! (normalized with NFKC) goes through scrypt (r = 8, p = 1), the key through XChaCha20-Poly1305, and all that
//! stands before the ciphertext is authenticated with it. NIP-49 itself holds a key of 32 bytes and nothing else.
//!
//! ```text
//! openagents-seed-backup-1:<hexadecimal, lower case>
//!    1 byte   network: 0 mainnet, 1 testnet, 2 signet, 3 regtest
//!    1 byte   log2 of scrypt's rounds
//!    8 bytes  when the seed was made, in seconds since 1970, big-endian
//!   16 bytes  salt
//!   24 bytes  nonce
//!   49 bytes  ciphertext: the entropy's length (16 or 32), the entropy, zeros up to 33 bytes, and 16 of tag
//! ```
//!
//! A seed with a passphrase (BIP39) is written as `openagents-seed-backup-2`, which is the same with 305 bytes of
//! ciphertext: behind the 33 bytes the passphrase's length, the passphrase (UTF-8, NFKD) and zeros up to 289 bytes.
//!
//! The name and its number are authenticated too. A password that does not open a backup and a backup that
//! was changed cannot be told apart, and what is in it is not said before it is open.

use std::fmt;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use openagents_types::{Network, Timestamp};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::{Mnemonic, Passphrase, Seed, passphrase};

/// What a backup begins with. The number behind it changes if anything after it is read otherwise.
const NAME: &str = "openagents-seed-backup-";

const HEADER: usize = 10;
const SALT: usize = 16;
const NONCE: usize = 24;
/// The longest entropy and its length.
const WORDS: usize = 33;
const TAG: usize = 16;

/// How a backup is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// Words alone.
    One,
    /// Words and a passphrase.
    Two,
}

impl Version {
    const fn digit(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Two => "2",
        }
    }

    /// What is encrypted, in bytes: the same for every seed.
    const fn plain(self) -> usize {
        match self {
            Self::One => WORDS,
            Self::Two => WORDS + 1 + passphrase::LONGEST,
        }
    }

    const fn length(self) -> usize {
        HEADER + SALT + NONCE + self.plain() + TAG
    }

    const fn of(content: &Content) -> Self {
        if content.passphrase.is_some() { Self::Two } else { Self::One }
    }
}

/// The most rounds that are done for a backup from elsewhere: 2^20 take a gigabyte and some seconds.
const MOST_ROUNDS: u8 = 20;

/// How hard scrypt makes each guess at a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// For 32 random bytes, which nobody guesses: 2^4 rounds, no time.
    Random,
    /// For what a person chose and typed, on this machine: 2^16 rounds, 64 MiB, some 100 ms (as NIP-49).
    Person,
    /// For a file that may lie in a cloud for years: 2^17 rounds, 128 MiB, some 250 ms.
    File,
}

impl Cost {
    const fn log_rounds(self) -> u8 {
        match self {
            Self::Random => 4,
            Self::Person => 16,
            Self::File => 17,
        }
    }
}

/// What a backup holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// The network whose money it keeps.
    pub network: Network,
    /// When the seed was made or first taken in, to the second.
    pub created_at: Timestamp,
    /// The words.
    pub mnemonic: Mnemonic,
    /// The passphrase that belongs to them, if there is one.
    pub passphrase: Option<Passphrase>,
}

impl Content {
    /// What a wallet derives its keys from.
    pub fn seed(&self) -> Seed {
        self.mnemonic.seed(self.passphrase.as_ref())
    }

    /// What is encrypted: as long for every seed of a version.
    fn plain(&self) -> Zeroizing<Vec<u8>> {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or_default();
        let (entropy, size) = (self.mnemonic.entropy(), Version::of(self).plain());
        let mut plain = Zeroizing::new(Vec::with_capacity(size));
        plain.push(length(&entropy));
        plain.extend_from_slice(&entropy);
        plain.resize(WORDS, 0);
        if let Some(passphrase) = &self.passphrase {
            let text = passphrase.expose().as_bytes();
            plain.push(length(text));
            plain.extend_from_slice(text);
        }
        plain.resize(size, 0);
        plain
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({}, …)", self.network)
    }
}

/// Why a text is no backup that this password opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is something else.
    #[error("this is no backup of a seed; it begins with openagents-seed-backup-")]
    NoBackup,
    /// A later program wrote it.
    #[error("the backup was written by a newer version; open it with that")]
    Newer,
    /// It is cut short, or changed so that it cannot be read at all.
    #[error("the backup is damaged; take another copy of it")]
    Damaged,
    /// The password is not its, or something in it was changed.
    #[error("the password does not open the backup; try again, or take another copy of it")]
    Locked,
    /// The password does not seal: scrypt refused.
    #[error("the backup could not be encrypted; try again")]
    Unsealed,
}

/// Encrypts a seed; the salt and the nonce are random and used this once.
///
/// # Errors
/// [`OpenError::Unsealed`], which the constants here rule out.
pub fn seal(content: &Content, password: &str, cost: Cost, random: &[u8; 40]) -> Result<String, OpenError> {
    let (salt, nonce) = random.split_at(SALT);
    let (version, header, plain) = (Version::of(content), header(content, cost), content.plain());
    let cipher = cipher(password, salt, cost.log_rounds()).ok_or(OpenError::Unsealed)?;
    let payload = Payload { msg: &plain, aad: &authenticated(version, &header) };
    let sealed = cipher.encrypt(nonce.into(), payload).map_err(|_| OpenError::Unsealed)?;
    let bytes = [header.as_slice(), salt, nonce, &sealed].concat();
    Ok(format!("{NAME}{}:{}", version.digit(), hex::encode(bytes)))
}

/// Opens a backup. Empty lines and lines that begin with `#` are passed over.
///
/// # Errors
/// It is none, or the password does not open it.
pub fn open(text: &str, password: &str) -> Result<Content, OpenError> {
    let (version, bytes) = bytes(text)?;
    let (header, rest) = bytes.split_at(HEADER);
    let (salt, rest) = rest.split_at(SALT);
    let (nonce, sealed) = rest.split_at(NONCE);
    let (network, log_rounds) = (network(header[0])?, header[1]);
    if !(1..=MOST_ROUNDS).contains(&log_rounds) {
        return Err(OpenError::Damaged);
    }
    let cipher = cipher(password, salt, log_rounds).ok_or(OpenError::Damaged)?;
    let payload = Payload { msg: sealed, aad: &authenticated(version, header) };
    let plain = cipher.decrypt(nonce.into(), payload).map(Zeroizing::new).map_err(|_| OpenError::Locked)?;
    let (entropy, passphrase) = (text_at(&plain, 0)?, text_at(&plain, WORDS));
    let passphrase = match version {
        Version::One => None,
        Version::Two => Some(kept(passphrase?)?),
    };
    let seconds = header[2..].iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    Ok(Content {
        network,
        created_at: Timestamp::from_secs(seconds),
        mnemonic: Mnemonic::from_entropy(entropy).map_err(|_| OpenError::Damaged)?,
        passphrase,
    })
}

/// The bytes behind a byte that says how many they are.
fn text_at(plain: &[u8], place: usize) -> Result<&[u8], OpenError> {
    let length = usize::from(*plain.get(place).ok_or(OpenError::Damaged)?);
    plain.get(place + 1..=place + length).ok_or(OpenError::Damaged)
}

fn kept(bytes: &[u8]) -> Result<Passphrase, OpenError> {
    let text = std::str::from_utf8(bytes).map_err(|_| OpenError::Damaged)?;
    Passphrase::new(text).map_err(|_| OpenError::Damaged)
}

/// Whether a text means to be a backup, of whatever version.
pub fn is_backup(text: &str) -> bool {
    line(text).is_some_and(|line| line.starts_with(NAME))
}

fn line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))
}

fn bytes(text: &str) -> Result<(Version, Vec<u8>), OpenError> {
    let rest = line(text).and_then(|line| line.strip_prefix(NAME)).ok_or(OpenError::NoBackup)?;
    let (version, digits) = rest.split_once(':').ok_or(OpenError::Damaged)?;
    let version = match version {
        "1" => Version::One,
        "2" => Version::Two,
        other if other.parse::<u32>().is_ok_and(|number| number > 2) => return Err(OpenError::Newer),
        _ => return Err(OpenError::Damaged),
    };
    let bytes = hex::decode(digits).map_err(|_| OpenError::Damaged)?;
    // One way to write each backup, so that every change of a file is noticed.
    let is_whole = bytes.len() == version.length() && hex::encode(&bytes) == digits;
    if is_whole { Ok((version, bytes)) } else { Err(OpenError::Damaged) }
}

fn header(content: &Content, cost: Cost) -> [u8; HEADER] {
    let network = match content.network {
        Network::Mainnet => 0,
        Network::Testnet => 1,
        Network::Signet => 2,
        Network::Regtest => 3,
    };
    let mut header = [0; HEADER];
    header[0] = network;
    header[1] = cost.log_rounds();
    header[2..].copy_from_slice(&content.created_at.secs().to_be_bytes());
    header
}

fn network(byte: u8) -> Result<Network, OpenError> {
    match byte {
        0 => Ok(Network::Mainnet),
        1 => Ok(Network::Testnet),
        2 => Ok(Network::Signet),
        3 => Ok(Network::Regtest),
        _ => Err(OpenError::Damaged),
    }
}

/// What the tag covers besides the ciphertext; salt and nonce are covered by being used.
fn authenticated(version: Version, header: &[u8]) -> Vec<u8> {
    [NAME.as_bytes(), version.digit().as_bytes(), b":", header].concat()
}

fn cipher(password: &str, salt: &[u8], log_rounds: u8) -> Option<XChaCha20Poly1305> {
    let password: Zeroizing<String> = Zeroizing::new(password.nfkc().collect());
    let mut key = Zeroizing::new([0_u8; 32]);
    let parameters = scrypt::Params::new(log_rounds, 8, 1, key.len()).ok()?;
    scrypt::scrypt(password.as_bytes(), salt, &parameters, key.as_mut_slice()).ok()?;
    XChaCha20Poly1305::new_from_slice(key.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWORD: &str = "correct horse battery staple";

    fn content(entropy: &[u8]) -> Content {
        let mnemonic = Mnemonic::from_entropy(entropy).expect("a length that is right");
        Content {
            network: Network::Mainnet,
            created_at: Timestamp::from_secs(1_780_000_000),
            mnemonic,
            passphrase: None,
        }
    }

    fn sealed() -> String {
        seal(&content(&[7; 16]), PASSWORD, Cost::Random, &[9; 40]).expect("it seals")
    }

    fn with_passphrase() -> String {
        let content = Content { passphrase: Passphrase::new("TREZOR").ok(), ..content(&[7; 16]) };
        seal(&content, PASSWORD, Cost::Random, &[9; 40]).expect("it seals")
    }

    proptest! {
        #[test]
        fn any_text_is_opened_or_refused(text in "(?s).{0,300}", digits in "[0-9a-f]{706}", cut in 0..720_usize) {
            prop_assert!(open(&text, PASSWORD).is_err());
            // Few rounds, so that the cipher is reached in no time.
            let whole = format!("0001{digits}");
            for version in [Version::One, Version::Two] {
                let full = whole.get(..2 * version.length()).expect("digits for the longest");
                for digits in [full, full.get(..cut).unwrap_or(full)] {
                    let outcome = open(&format!("{NAME}{}:{digits}", version.digit()), PASSWORD);
                    prop_assert!(outcome.is_err());
                }
            }
        }

        #[test]
        fn what_is_sealed_opens(entropy: [u8; 32], short: bool, seconds: u32, which in 0..4_u8, random: [u8; 40], password: String, word in "\\PC{0,60}") {
            let entropy = if short { &entropy[..16] } else { &entropy[..] };
            let content = Content {
                network: network(which).expect("a network"),
                created_at: Timestamp::from_secs(u64::from(seconds)),
                passphrase: Passphrase::new(&word).ok(),
                ..content(entropy)
            };
            let text = seal(&content, &password, Cost::Random, &random).expect("it seals");
            prop_assert!(is_backup(&text));
            prop_assert_eq!(open(&format!("# a comment\n\n  {text}\r\n"), &password), Ok(content));
        }
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        every_change_is_noticed(&sealed(), 1);
        // The header is the same.
        every_change_is_noticed(&with_passphrase(), 11);
    }

    fn every_change_is_noticed(text: &str, step: usize) {
        for place in (0..text.len()).step_by(step) {
            for flip in [0x01, 0x02, 0x10, 0x20] {
                let mut bytes = text.to_owned().into_bytes();
                bytes[place] ^= flip;
                let changed = String::from_utf8_lossy(&bytes).into_owned();
                assert!(open(&changed, PASSWORD).is_err(), "byte {place} changed to {:?}", bytes[place]);
            }
            assert!(open(&text[..place], PASSWORD).is_err(), "cut at {place}");
        }
        assert!(open(&format!("{text}00"), PASSWORD).is_err());
    }

    #[test]
    fn a_change_in_each_field_is_answered_as_a_wrong_password_is() {
        let text = sealed();
        let (name, digits) = text.split_once(':').expect("a colon");
        let bytes = hex::decode(digits).expect("hexadecimal");
        // One byte of each: network, rounds, time, salt, nonce, ciphertext, tag.
        for place in [0, 1, 4, HEADER, HEADER + SALT, HEADER + SALT + NONCE, Version::One.length() - 1] {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let changed = format!("{name}:{}", hex::encode(changed));
            assert_eq!(open(&changed, PASSWORD), Err(OpenError::Locked), "byte {place}");
        }
    }

    #[test]
    fn a_wrong_password_says_so_and_nothing_else() {
        for password in [
            "",
            "correct horse battery stapl",
            "Correct horse battery staple",
            "correct horse battery staple ",
        ] {
            assert_eq!(open(&sealed(), password), Err(OpenError::Locked), "{password:?}");
        }
    }

    #[test]
    fn a_password_typed_on_another_keyboard_is_the_same() {
        let text =
            seal(&content(&[1; 32]), "Pa\u{df}wort \u{212b}", Cost::Random, &[3; 40]).expect("it seals");
        assert!(open(&text, "Pa\u{df}wort A\u{30a}").is_ok());
    }

    #[test]
    fn what_is_no_backup_of_this_version_is_told_apart() {
        let cases = [
            ("", OpenError::NoBackup),
            ("abandon abandon", OpenError::NoBackup),
            ("# only a comment", OpenError::NoBackup),
            ("openagents-seed-backup-3:00", OpenError::Newer),
            ("openagents-seed-backup-2:00", OpenError::Damaged),
            ("openagents-seed-backup-x:00", OpenError::Damaged),
            ("openagents-seed-backup-1", OpenError::Damaged),
            ("openagents-seed-backup-1:zz", OpenError::Damaged),
            ("openagents-seed-backup-1:00", OpenError::Damaged),
        ];
        for (text, expected) in cases {
            assert_eq!(open(text, PASSWORD), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_backup_that_would_take_the_machines_memory_is_not_tried() {
        let text = sealed();
        let (name, digits) = text.split_once(':').expect("a colon");
        let mut bytes = hex::decode(digits).expect("hexadecimal");
        for rounds in [0, MOST_ROUNDS + 1, 63, 255] {
            bytes[1] = rounds;
            assert_eq!(open(&format!("{name}:{}", hex::encode(&bytes)), PASSWORD), Err(OpenError::Damaged));
        }
    }

    #[test]
    fn words_and_password_are_not_in_the_file_and_neither_is_their_number() {
        let (short, long) = (sealed(), seal(&content(&[7; 32]), PASSWORD, Cost::Random, &[9; 40]));
        assert_eq!(short.len(), long.map_or(0, |text| text.len()));
        assert!(!short.contains(&hex::encode([7_u8; 16])) && !short.contains("horse"));
        assert_eq!(format!("{:?}", content(&[7; 16])), "Content(mainnet, …)");
    }

    #[test]
    fn a_passphrase_is_in_the_backup_and_neither_it_nor_its_length_is_told() {
        let text = with_passphrase();
        let opened = open(&text, PASSWORD).expect("it opens");
        assert_eq!(opened.passphrase, Passphrase::new("TREZOR").ok());
        assert_ne!(opened.seed(), content(&[7; 16]).seed());
        let long = Content { passphrase: Passphrase::new(&"long ".repeat(50)).ok(), ..content(&[7; 32]) };
        let long = seal(&long, PASSWORD, Cost::Random, &[9; 40]).expect("it seals");
        assert_eq!(text.len(), long.len());
        assert!(
            text.starts_with("openagents-seed-backup-2:")
                && sealed().starts_with("openagents-seed-backup-1:")
        );
        assert_eq!(open(&text.replacen('2', "1", 1), PASSWORD), Err(OpenError::Damaged));
    }

    /// A backup that another program made from the description above, at the cost of a file. Every later
    /// version has to open it.
    const ELSEWHERE: &str = "openagents-seed-backup-1:0011000000006a18a500000102030405060708090a0b0c0d0e0f10111213\
        1415161718191a1b1c1d1e1f20212223242526270b739ac6ecf41c8679b41bb85fd934\
        e74c931cdd1cca8a2b7339e70b856347949d6818a04041eaf844c3454c9d41af4e1e";

    #[test]
    fn a_backup_made_from_the_description_by_another_program_opens() {
        assert_eq!(open(ELSEWHERE, PASSWORD), Ok(content(&[7; 16])));
        assert_eq!(
            seal(
                &content(&[7; 16]),
                PASSWORD,
                Cost::File,
                &core::array::from_fn(|n| u8::try_from(n).unwrap_or_default())
            )
            .as_deref(),
            Ok(ELSEWHERE)
        );
    }
}
