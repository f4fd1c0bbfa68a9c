//! Who a node is: Nostr keys, encrypted at rest with NIP-49.
//!
//! The file `identities/<npub>.json` holds an `ncryptsec`. Its passphrase comes from the file that
//! `OPENAGENTS_PASSPHRASE_FILE` names, or else is a random device secret in `device.key` beside it.
//! The device secret protects a copy of the identity file alone, not a copy of the whole home; with
//! a passphrase of your own the home is protected too.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use hmac::{Hmac, Mac};
use nostr::{
    FromBech32, Keys, PublicKey, SecretKey, ToBech32,
    nips::nip49::{EncryptedSecretKey, KeySecurity},
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::home::{Home, HomeError, write_private};

/// scrypt's cost for a passphrase that a person chose: 2^16 rounds, some 100 ms (NIP-49).
const COST_PERSON: u8 = 16;

/// And for a device secret: 32 random bytes cannot be guessed however cheap a guess is, and a node
/// has to be up in milliseconds.
const COST_DEVICE: u8 = 4;

/// A node's identity, unlocked.
#[derive(Clone)]
pub struct Identity {
    keys: Keys,
    name: String,
    created_at: u64,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.npub())
    }
}

/// What is known of an identity without unlocking it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdentityFile {
    /// What its owner calls it.
    pub name: String,
    /// Its public key (NIP-19).
    pub npub: String,
    /// When it was made or imported, in seconds since the epoch.
    pub created_at: u64,
    /// The secret key, encrypted (NIP-49).
    ncryptsec: String,
}

/// Why an identity cannot be used. Keys never appear in these texts.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no such identity.
    #[error("no identity {0:?}; see `openagents identity list`")]
    Unknown(String),
    /// There is one already.
    #[error("{0} is here already")]
    Known(String),
    /// The passphrase is wrong, or the device key is another machine's.
    #[error(
        "the identity cannot be unlocked: wrong passphrase, or device.key is missing or from another home"
    )]
    Locked,
    /// The text is not a secret key.
    #[error("not a secret key; it begins with nsec1 or has 64 hexadecimal digits")]
    NotASecret,
}

/// The identities of a home.
#[derive(Debug)]
pub struct Identities<'a> {
    home: &'a Home,
}

impl<'a> Identities<'a> {
    /// The identities of `home`.
    pub fn new(home: &'a Home) -> Self {
        Self { home }
    }

    fn folder(&self) -> PathBuf {
        self.home.data_file("identities")
    }

    /// Makes a new identity, and uses it if it is the first.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(&self, name: &str) -> Result<Identity, IdentityError> {
        self.keep(Keys::generate(), name)
    }

    /// Takes a secret key from elsewhere: `nsec1…` or hexadecimal.
    ///
    /// # Errors
    /// It is not one, or is here already.
    pub fn import(&self, secret: &str, name: &str) -> Result<Identity, IdentityError> {
        let secret = SecretKey::parse(secret.trim()).map_err(|_| IdentityError::NotASecret)?;
        self.keep(Keys::new(secret), name)
    }

    fn keep(&self, keys: Keys, name: &str) -> Result<Identity, IdentityError> {
        let npub = npub(&keys.public_key());
        let path = self.folder().join(format!("{npub}.json"));
        if path.exists() {
            return Err(IdentityError::Known(npub));
        }
        let (passphrase, cost) = self.passphrase()?;
        let sealed =
            EncryptedSecretKey::new(keys.secret_key(), passphrase.as_str(), cost, KeySecurity::Medium);
        let ncryptsec =
            sealed.ok().and_then(|sealed| sealed.to_bech32().ok()).ok_or(IdentityError::Locked)?;
        let created_at = crate::clock::now().secs();
        let file = IdentityFile { name: name.to_owned(), npub: npub.clone(), created_at, ncryptsec };
        std::fs::create_dir_all(self.folder())
            .map_err(|reason| HomeError::Io { path: self.folder(), reason })?;
        write_private(&path, serde_json::to_string_pretty(&file).unwrap_or_default().as_bytes())?;
        if self.active_npub().is_none() {
            self.select(&npub)?;
        }
        Ok(Identity { keys, name: name.to_owned(), created_at })
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn list(&self) -> Result<Vec<IdentityFile>, IdentityError> {
        let Ok(entries) = std::fs::read_dir(self.folder()) else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for entry in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "json")) {
            files.push(read(&entry.path())?);
        }
        files.sort_by(|a, b| (&a.name, &a.npub).cmp(&(&b.name, &b.npub)));
        Ok(files)
    }

    /// The public key of the one in use.
    pub fn active_npub(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.home.data_file("identity")).ok()?;
        Some(text.trim().to_owned())
    }

    /// Uses an identity from now on; named by its public key, a beginning of it, or its name.
    ///
    /// # Errors
    /// There is no such identity.
    pub fn select(&self, which: &str) -> Result<IdentityFile, IdentityError> {
        let found = self.find(which)?;
        write_private(&self.home.data_file("identity"), found.npub.as_bytes())?;
        Ok(found)
    }

    /// The identity that `which` names.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, which: &str) -> Result<IdentityFile, IdentityError> {
        let mut matching =
            self.list()?.into_iter().filter(|file| file.name == which || file.npub.starts_with(which));
        match (matching.next(), matching.next()) {
            (Some(file), None) => Ok(file),
            _ => Err(IdentityError::Unknown(which.to_owned())),
        }
    }

    /// The one in use, unlocked; made if there is none.
    ///
    /// # Errors
    /// It cannot be unlocked.
    pub fn active(&self) -> Result<Identity, IdentityError> {
        match self.active_npub() {
            Some(npub) => self.unlock(&self.find(&npub)?),
            None => self.create("default"),
        }
    }

    fn unlock(&self, file: &IdentityFile) -> Result<Identity, IdentityError> {
        let sealed = EncryptedSecretKey::from_bech32(&file.ncryptsec).map_err(|_| IdentityError::Locked)?;
        let (passphrase, _) = self.passphrase()?;
        let secret = sealed.decrypt(passphrase.as_str()).map_err(|_| IdentityError::Locked)?;
        Ok(Identity { keys: Keys::new(secret), name: file.name.clone(), created_at: file.created_at })
    }

    fn passphrase(&self) -> Result<(Zeroizing<String>, u8), IdentityError> {
        if let Some(path) = std::env::var_os("OPENAGENTS_PASSPHRASE_FILE") {
            let path = PathBuf::from(path);
            let text = std::fs::read_to_string(&path)
                .map_err(|error| IdentityError::Read { path, reason: error.to_string() })?;
            return Ok((Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()), COST_PERSON));
        }
        let path = self.home.data_file("device.key");
        let secret = self.home.secret_text(&path, || hex::encode(rand::random::<[u8; 32]>()))?;
        Ok((Zeroizing::new(secret.to_string()), COST_DEVICE))
    }
}

fn read(path: &Path) -> Result<IdentityFile, IdentityError> {
    let unreadable = |reason: String| IdentityError::Read { path: path.to_path_buf(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))
}

fn npub(key: &PublicKey) -> String {
    let Ok(npub) = key.to_bech32();
    npub
}

impl Identity {
    /// The signing keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The public key (NIP-19).
    pub fn npub(&self) -> String {
        npub(&self.keys.public_key())
    }

    /// What its owner calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it was made or imported, in seconds since the epoch.
    pub const fn created_at(&self) -> u64 {
        self.created_at
    }

    /// A secret for one purpose, from which the identity cannot be computed.
    pub fn derive_secret(&self, purpose: &[u8]) -> [u8; 32] {
        self.derive(purpose, &[])
    }

    fn derive(&self, purpose: &[u8], nonce: &[u8]) -> [u8; 32] {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.keys.secret_key().as_secret_bytes()).expect("any length");
        for part in [b"openagents/".as_slice(), purpose, b"/", nonce] {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// A fresh key to sign one job with, and the reference from which it can be found again. Jobs of
    /// one customer cannot be linked by their keys.
    pub fn new_ask_key(&self) -> (String, Keys) {
        loop {
            let reference = hex::encode(rand::random::<[u8; 32]>());
            if let Some(keys) = self.ask_key(&reference) {
                return (reference, keys);
            }
        }
    }

    /// The key that a reference stands for.
    pub fn ask_key(&self, reference: &str) -> Option<Keys> {
        let nonce = hex::decode(reference).ok()?;
        SecretKey::from_slice(&self.derive(b"job-key", &nonce)).ok().map(Keys::new)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        (dir, home)
    }

    #[test]
    fn an_identity_survives_its_process_and_never_lies_about_in_the_open() {
        let (dir, home) = home();
        let made = Identities::new(&home).active().unwrap();
        let again = Identities::new(&home).active().unwrap();
        assert_eq!(made.npub(), again.npub());
        let secret = made.keys.secret_key();
        let canaries = [secret.to_secret_hex(), secret.to_bech32().unwrap()];
        for entry in walk(dir.path()) {
            let bytes = std::fs::read(&entry).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!canaries.iter().any(|canary| text.contains(canary.as_str())), "{entry:?} holds the key");
            assert!(!bytes.windows(32).any(|window| window == secret.as_secret_bytes()), "{entry:?}");
        }
        assert!(!format!("{made:?}").contains(&canaries[0]));
    }

    fn walk(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn several_identities_live_side_by_side_and_one_is_used() {
        let (_dir, home) = home();
        let all = Identities::new(&home);
        let first = all.create("first").unwrap();
        let second = all.create("second").unwrap();
        assert_eq!(all.active().unwrap().npub(), first.npub());
        all.select("second").unwrap();
        assert_eq!(all.active().unwrap().npub(), second.npub());
        assert!(matches!(all.select("third"), Err(IdentityError::Unknown(_))));
        let nsec = second.keys.secret_key().to_bech32().unwrap();
        assert!(matches!(all.import(&nsec, "again"), Err(IdentityError::Known(_))));
        assert!(matches!(all.import("nsec1junk", "junk"), Err(IdentityError::NotASecret)));
    }

    #[test]
    fn job_keys_differ_and_can_be_found_again() {
        let (_dir, home) = home();
        let identity = Identities::new(&home).active().unwrap();
        let (reference, keys) = identity.new_ask_key();
        assert_eq!(identity.ask_key(&reference).unwrap().public_key(), keys.public_key());
        assert_ne!(identity.new_ask_key().1.public_key(), keys.public_key());
        assert_ne!(identity.derive_secret(b"hold-preimages"), *identity.keys.secret_key().as_secret_bytes());
    }
}
