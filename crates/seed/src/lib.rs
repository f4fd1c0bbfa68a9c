//! A wallet's seed as people keep it: 12 or 24 English words (BIP39).
//!
//! [`Mnemonic`] is the words, [`Passphrase`] what may stand beside them, [`Seed`] the 64 bytes that a wallet derives its keys from. [`list`] helps whoever
//! types words, [`Quiz`] asks whether they were written down, [`backup`] encrypts them with a password.
//! Nothing here prints a secret, reads a clock, draws a random number or touches a file: entropy and time
//! are inputs, where a seed is kept is the caller's affair.
//!
//! Secrets are wiped from memory when they are dropped. That is best effort: what the hash functions of
//! the libraries leave on the stack is theirs.

pub mod backup;
pub mod list;
mod mnemonic;
mod passphrase;
mod quiz;

pub use mnemonic::{EntropyError, Fingerprint, Mnemonic, Seed, Suspect, UnknownWord, WordCount, WordsError};
pub use passphrase::{Passphrase, PassphraseError};
pub use quiz::Quiz;
