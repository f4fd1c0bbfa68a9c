//! Who a node is: Nostr keys, encrypted at rest with NIP-49.
//!
//! The file `identities/<npub>.json` holds an `ncryptsec`. Its passphrase is the owner's, from the
//! file that `OPENAGENTS_PASSPHRASE_FILE` names or from whoever asked for it, or else the home's random
//! [device secret](crate::device). In the system's keyring or behind a passphrase, a copy of the whole
//! home is worth nothing; a device secret in `device.key` protects a copy of the identity file alone.
//! [`Identities::protect`] changes from one to another, and may be cut short at any point.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use hmac::{Hmac, Mac};
use nostr::{
    FromBech32, Keys, PublicKey, SecretKey, ToBech32,
    nips::nip49::{EncryptedSecretKey, KeySecurity},
};
use openagents_keyring::Secret;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    device::{Device, DeviceError, Place},
    failpoint,
    home::{Home, HomeError, write_private},
    seeds::{SealedBy, SeedError, Seeds},
};

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
    imported: bool,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.npub())
    }
}

/// What is known of an identity without unlocking it.
#[derive(Clone, Serialize, Deserialize)]
pub struct IdentityFile {
    /// What its owner calls it.
    pub name: String,
    /// Its public key (NIP-19).
    pub npub: String,
    /// When it was made or imported, in seconds since the epoch.
    pub created_at: u64,
    /// Whether it came from elsewhere. A file that does not say is older than the word, and may hold a key whose
    /// profile and relays other programs keep.
    #[serde(default = "unsaid")]
    pub imported: bool,
    /// The secret key, encrypted (NIP-49).
    ncryptsec: String,
}

const fn unsaid() -> bool {
    true
}

impl fmt::Debug for IdentityFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityFile({})", self.npub)
    }
}

/// What unlocks an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// The device secret, in the system's keyring.
    Keyring,
    /// The device secret, in `device.key`.
    DeviceKey,
    /// Its owner's passphrase.
    Passphrase,
}

impl Storage {
    /// The word for it, on the command line and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::DeviceKey => "device-key",
            Self::Passphrase => "passphrase",
        }
    }
}

/// Which of the two secrets seals an identity.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seal {
    Device,
    Passphrase,
}

impl Seal {
    /// The cost of scrypt, which tells the two apart: only a device secret is sealed so cheaply.
    const fn cost(self) -> u8 {
        match self {
            Self::Device => COST_DEVICE,
            Self::Passphrase => COST_PERSON,
        }
    }
}

impl IdentityFile {
    fn new(keys: &Keys, name: &str, seal: Seal, secret: &str) -> Result<Self, IdentityError> {
        let sealed = EncryptedSecretKey::new(keys.secret_key(), secret, seal.cost(), KeySecurity::Medium);
        let ncryptsec =
            sealed.ok().and_then(|sealed| sealed.to_bech32().ok()).ok_or(IdentityError::Locked)?;
        let (name, npub) = (name.to_owned(), npub(&keys.public_key()));
        Ok(Self { name, npub, created_at: crate::clock::now().secs(), imported: false, ncryptsec })
    }

    fn sealed(&self) -> Result<EncryptedSecretKey, IdentityError> {
        EncryptedSecretKey::from_bech32(&self.ncryptsec).map_err(|_| IdentityError::Locked)
    }

    fn seal(&self) -> Result<Seal, IdentityError> {
        Ok(if self.sealed()?.log_n() == COST_DEVICE { Seal::Device } else { Seal::Passphrase })
    }

    /// Its keys, if this is the secret and they are the file's own.
    fn open(&self, secret: &str) -> Result<Keys, IdentityError> {
        let key = self.sealed()?.decrypt(secret).map_err(|_| IdentityError::Locked)?;
        let keys = Keys::new(key);
        if npub(&keys.public_key()) == self.npub { Ok(keys) } else { Err(IdentityError::Locked) }
    }

    /// The public key in hexadecimal, unless the file was damaged.
    pub fn public_hex(&self) -> Option<String> {
        PublicKey::from_bech32(&self.npub).ok().map(|key| key.to_hex())
    }
}

/// Why an identity cannot be used. Keys never appear in these texts.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The device secret cannot be had.
    #[error(transparent)]
    Device(#[from] DeviceError),
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
    /// More than one is meant.
    #[error("{0:?} names more than one identity; say more of its npub, see `openagents identity list`")]
    Ambiguous(String),
    /// The one in use cannot be deleted.
    #[error("{0} is in use; choose another first with `openagents identity use`")]
    InUse(String),
    /// The confirmation does not name the identity.
    #[error("not deleted: to confirm, give the whole {0}")]
    Unconfirmed(String),
    /// It was sealed with a passphrase, and none was given.
    #[error(
        "a passphrase is needed, and none was given; put it into a file and name that in OPENAGENTS_PASSPHRASE_FILE"
    )]
    NoPassphrase,
    /// A passphrase that anybody guesses.
    #[error("the passphrase is empty; write one into the file that OPENAGENTS_PASSPHRASE_FILE names")]
    EmptyPassphrase,
    /// There is one already.
    #[error("{0} is here already; see it with `openagents identity list`")]
    Known(String),
    /// The passphrase is wrong, or the device key is another machine's.
    #[error(
        "the identity cannot be unlocked: wrong passphrase, or device.key is missing or from another home; correct the file \
         that OPENAGENTS_PASSPHRASE_FILE names, or restore device.key from your backup"
    )]
    Locked,
    /// A money seed, which the same secret seals, cannot be unlocked or sealed.
    #[error(transparent)]
    Seed(#[from] Box<SeedError>),
    /// The text is not a secret key.
    #[error("not a secret key; it begins with nsec1 or has 64 hexadecimal digits")]
    NotASecret,
}

/// The identities of a home.
pub struct Identities<'a> {
    home: &'a Home,
    passphrase: Option<Zeroizing<String>>,
}

impl fmt::Debug for Identities<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.folder().display())
    }
}

impl<'a> Identities<'a> {
    /// The identities of `home`.
    pub fn new(home: &'a Home) -> Self {
        Self { home, passphrase: None }
    }

    /// Seals and unlocks with this passphrase instead of the one in `OPENAGENTS_PASSPHRASE_FILE`.
    #[must_use]
    pub fn with_passphrase(self, passphrase: Zeroizing<String>) -> Self {
        Self { passphrase: Some(passphrase), ..self }
    }

    fn folder(&self) -> PathBuf {
        self.home.data_file("identities")
    }

    /// Makes a new identity, and uses it if it is the first.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(&self, name: &str) -> Result<Identity, IdentityError> {
        self.keep(Keys::generate(), name, false)
    }

    /// Takes a secret key from elsewhere: `nsec1…` or hexadecimal.
    ///
    /// # Errors
    /// It is not one, or is here already.
    pub fn import(&self, secret: &str, name: &str) -> Result<Identity, IdentityError> {
        let secret = SecretKey::parse(secret.trim()).map_err(|_| IdentityError::NotASecret)?;
        self.keep(Keys::new(secret), name, true)
    }

    fn keep(&self, keys: Keys, name: &str, imported: bool) -> Result<Identity, IdentityError> {
        let npub = npub(&keys.public_key());
        // One sealed while another command changes what seals would be sealed with what is going away.
        let _alone = self.alone()?;
        if self.path(&npub).exists() {
            return Err(IdentityError::Known(npub));
        }
        let file = match self.passphrase()? {
            Some(passphrase) => IdentityFile::new(&keys, name, Seal::Passphrase, &passphrase)?,
            None => IdentityFile::new(&keys, name, Seal::Device, self.device_secret()?.expose())?,
        };
        let file = IdentityFile { imported, ..file };
        self.write(&file)?;
        if self.active_npub().is_none() {
            self.select(&npub)?;
        }
        Ok(Identity { keys, name: file.name, created_at: file.created_at, imported })
    }

    /// Waits until no other command writes identities or money seeds; nobody else does until the file is dropped.
    pub(crate) fn alone(&self) -> Result<std::fs::File, IdentityError> {
        let path = self.home.data_file("identities.lock");
        let unusable = |reason| HomeError::Io { path: path.clone(), reason };
        let file = std::fs::File::create(&path).map_err(unusable)?;
        file.lock().map_err(unusable)?;
        Ok(file)
    }

    fn write(&self, file: &IdentityFile) -> Result<(), IdentityError> {
        std::fs::create_dir_all(self.folder())
            .map_err(|reason| HomeError::Io { path: self.folder(), reason })?;
        let text = serde_json::to_string_pretty(file).unwrap_or_default();
        Ok(write_private(&self.path(&file.npub), text.as_bytes())?)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn list(&self) -> Result<Vec<IdentityFile>, IdentityError> {
        // Only a folder that is not there holds none: an identity that cannot be seen just now must not
        // be taken for one that does not exist.
        let unreadable =
            |error: std::io::Error| IdentityError::Read { path: self.folder(), reason: error.to_string() };
        let entries = match std::fs::read_dir(self.folder()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(unreadable)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|end| end == "json") {
                files.push(read(&path)?);
            }
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
        let begins = |file: &IdentityFile| !which.is_empty() && file.npub.starts_with(which);
        let mut matching = self.list()?.into_iter().filter(|file| file.name == which || begins(file));
        match (matching.next(), matching.next()) {
            (Some(file), None) => Ok(file),
            (None, _) => Err(IdentityError::Unknown(which.to_owned())),
            (Some(_), Some(_)) => Err(IdentityError::Ambiguous(which.to_owned())),
        }
    }

    /// Deletes an identity for good, and with it every key derived from it. `confirmation` is its
    /// whole public key (`npub1…`), typed by its owner.
    ///
    /// # Errors
    /// There is no such identity, it is in use, it was not confirmed, or its file stays.
    pub fn delete(&self, which: &str, confirmation: &str) -> Result<(), IdentityError> {
        let file = self.find(which)?;
        if self.active_npub().as_ref() == Some(&file.npub) {
            return Err(IdentityError::InUse(file.npub));
        }
        if confirmation.trim() != file.npub {
            return Err(IdentityError::Unconfirmed(file.npub));
        }
        let path = self.path(&file.npub);
        std::fs::remove_file(&path).map_err(|reason| HomeError::Io { path, reason }.into())
    }

    fn path(&self, npub: &str) -> PathBuf {
        self.folder().join(format!("{npub}.json"))
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
        let keys = match file.seal()? {
            Seal::Device => {
                let secret = Device::new(self.home).get()?.ok_or(IdentityError::Locked)?;
                file.open(secret.expose())?
            }
            Seal::Passphrase => file.open(&self.passphrase()?.ok_or(IdentityError::NoPassphrase)?)?,
        };
        let IdentityFile { created_at, imported, .. } = *file;
        Ok(Identity { keys, name: file.name.clone(), created_at, imported })
    }

    /// What unlocks an identity. Asks no keyring.
    ///
    /// # Errors
    /// A file was damaged.
    pub fn storage(&self, file: &IdentityFile) -> Result<Storage, IdentityError> {
        match file.seal()? {
            Seal::Passphrase => Ok(Storage::Passphrase),
            Seal::Device => self.device_storage(),
        }
    }

    /// Makes `storage` what unlocks every identity and every money seed of this home. Each step leaves all of
    /// them unlockable; cut short, it is to be called again.
    ///
    /// # Errors
    /// A node uses the home, one of them cannot be unlocked as it is, or the new place cannot be used.
    pub fn protect(&self, storage: Storage) -> Result<(), IdentityError> {
        let _no_node = self.home.lock()?;
        let _alone = self.alone()?;
        // Before anything changes: what cannot be unlocked now could not be afterwards.
        let unlocked = |file| self.unlock(&file).map(|identity| (file, identity.keys));
        let all = self.list()?.into_iter().map(unlocked).collect::<Result<Vec<_>, _>>()?;
        let keeper = self.seeds();
        let seeds = keeper.unlock_all().map_err(Box::new)?;
        let device = Device::new(self.home);
        let by_device = |secret: &Secret| {
            self.reseal(&all, Seal::Device, secret.expose())?;
            Ok(keeper.reseal(&seeds, SealedBy::Device, secret.expose()).map_err(Box::new)?)
        };
        match storage {
            Storage::Passphrase => {
                let passphrase = self.passphrase()?.ok_or(IdentityError::NoPassphrase)?;
                self.reseal(&all, Seal::Passphrase, &passphrase)?;
                keeper.reseal(&seeds, SealedBy::Passphrase, &passphrase).map_err(Box::new)?;
                Ok(device.forget()?)
            }
            Storage::Keyring => by_device(&device.keep_in(Place::Keyring)?),
            Storage::DeviceKey => by_device(&device.keep_in(Place::File)?),
        }
    }

    /// The money seeds, which the same secrets seal.
    fn seeds(&self) -> Seeds<'a> {
        match &self.passphrase {
            Some(passphrase) => Seeds::new(self.home).with_passphrase(passphrase.clone()),
            None => Seeds::new(self.home),
        }
    }

    /// Seals anew what is sealed otherwise, one by one, each proven to open before the old one goes.
    fn reseal(&self, all: &[(IdentityFile, Keys)], seal: Seal, secret: &str) -> Result<(), IdentityError> {
        for (file, keys) in all {
            if file.seal()? != seal {
                let fresh = IdentityFile::new(keys, &file.name, seal, secret)?;
                fresh.open(secret)?;
                self.write(&IdentityFile { created_at: file.created_at, imported: file.imported, ..fresh })?;
                failpoint::hit("identity-resealed");
            }
        }
        Ok(())
    }

    /// The owner's passphrase, if one was given.
    pub(crate) fn passphrase(&self) -> Result<Option<Zeroizing<String>>, IdentityError> {
        let given = match (&self.passphrase, std::env::var_os("OPENAGENTS_PASSPHRASE_FILE")) {
            (Some(given), _) => given.clone(),
            (None, Some(path)) => passphrase_file(PathBuf::from(path))?,
            (None, None) => return Ok(None),
        };
        if given.is_empty() { Err(IdentityError::EmptyPassphrase) } else { Ok(Some(given)) }
    }

    /// The device secret, made if there is none.
    pub(crate) fn device_secret(&self) -> Result<Secret, IdentityError> {
        Ok(Device::new(self.home).get_or_make()?)
    }

    /// The device secret, if there is one.
    pub(crate) fn known_device_secret(&self) -> Result<Option<Secret>, IdentityError> {
        Ok(Device::new(self.home).get()?)
    }

    /// Where the device secret is. Asks no keyring.
    pub(crate) fn device_storage(&self) -> Result<Storage, IdentityError> {
        let place = Device::new(self.home).place()?;
        Ok(if place == Some(Place::Keyring) { Storage::Keyring } else { Storage::DeviceKey })
    }
}

fn passphrase_file(path: PathBuf) -> Result<Zeroizing<String>, IdentityError> {
    let text = std::fs::read_to_string(&path).map(Zeroizing::new);
    let text = text.map_err(|error| IdentityError::Read { path, reason: error.to_string() })?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
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

    /// Whether it came from elsewhere, so that other programs may have said things for it.
    pub const fn is_imported(&self) -> bool {
        self.imported
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
        let file = Identities::new(&home).find("default").unwrap();
        for canary in &canaries {
            assert!(!format!("{made:?} {file:?}").contains(canary.as_str()));
        }
    }

    #[test]
    fn nobody_makes_an_identity_while_another_command_changes_how_they_are_sealed() {
        let (_dir, home) = home();
        let alone = Identities::new(&home).alone().unwrap();
        std::thread::scope(|scope| {
            let made = scope.spawn(|| Identities::new(&home).create("late").map(|identity| identity.npub()));
            std::thread::sleep(std::time::Duration::from_millis(300));
            assert!(!made.is_finished() && Identities::new(&home).list().unwrap().is_empty());
            drop(alone);
            assert!(made.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_file_that_does_not_say_where_its_key_is_from_is_taken_for_an_imported_one() {
        let (_dir, home) = home();
        let all = Identities::new(&home);
        assert!(!all.create("mine").unwrap().is_imported());
        assert!(!all.active().unwrap().is_imported(), "a new file says so");
        let path = walk(&home.data_file("identities")).remove(0);
        let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(file.as_object_mut().unwrap().remove("imported").is_some());
        std::fs::write(&path, file.to_string()).unwrap();
        assert!(all.active().unwrap().is_imported());
    }

    fn storage(home: &Home, name: &str) -> Storage {
        let all = Identities::new(home);
        all.storage(&all.find(name).unwrap()).unwrap()
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
    fn a_passphrase_unlocks_what_it_sealed_and_another_does_not() {
        let (_dir, home) = home();
        let with = |text: &str| Identities::new(&home).with_passphrase(Zeroizing::new(text.into()));
        let made = with("correct horse").create("mine").unwrap();
        assert_eq!(with("correct horse").active().unwrap().npub(), made.npub());
        assert!(matches!(with("battery staple").active(), Err(IdentityError::Locked)));
        assert!(matches!(with("").active(), Err(IdentityError::EmptyPassphrase)));
        assert_eq!(storage(&home, "mine"), Storage::Passphrase);
        assert!(!home.data_file("device.key").exists(), "a passphrase needs no device key");
    }

    #[test]
    fn an_identity_of_the_device_stays_usable_when_a_passphrase_is_given() {
        let (_dir, home) = home();
        let made = Identities::new(&home).create("device").unwrap();
        let with = Identities::new(&home).with_passphrase(Zeroizing::new("correct horse".into()));
        assert_eq!(with.active().unwrap().npub(), made.npub());
    }

    #[test]
    fn a_copied_identity_file_is_of_no_use_without_its_device_key() {
        let (_dir, home) = home();
        Identities::new(&home).create("mine").unwrap();
        std::fs::remove_file(home.data_file("device.key")).unwrap();
        assert!(matches!(Identities::new(&home).active(), Err(IdentityError::Locked)));
        assert!(!home.data_file("device.key").exists(), "a new secret would hide that the old one is lost");
    }

    #[test]
    fn identities_move_behind_a_passphrase_and_back() {
        let (_dir, home) = home();
        let without = Identities::new(&home);
        let with = Identities::new(&home).with_passphrase(Zeroizing::new("correct horse".into()));
        let (one, two) = (without.create("one").unwrap(), with.create("two").unwrap());
        assert!(matches!(without.protect(Storage::Passphrase), Err(IdentityError::NoPassphrase)));
        assert!(matches!(with.protect(Storage::Keyring), Err(IdentityError::Device(_))), "a chosen home");
        assert_eq!((storage(&home, "one"), storage(&home, "two")), (Storage::DeviceKey, Storage::Passphrase));
        with.protect(Storage::Passphrase).unwrap();
        assert!(!home.data_file("device.key").exists());
        assert!(matches!(without.active(), Err(IdentityError::NoPassphrase)));
        let again = with.active().unwrap();
        assert_eq!((again.npub(), again.name(), again.created_at()), (one.npub(), "one", one.created_at()));
        with.protect(Storage::DeviceKey).unwrap();
        assert_eq!(without.active().unwrap().npub(), one.npub());
        without.select("two").unwrap();
        assert_eq!(without.active().unwrap().npub(), two.npub());
    }

    #[test]
    fn what_cannot_be_unlocked_is_not_moved() {
        let (_dir, home) = home();
        let with = |text: &str| Identities::new(&home).with_passphrase(Zeroizing::new(text.into()));
        with("correct horse").create("mine").unwrap();
        let path = walk(&home.data_file("identities")).remove(0);
        let before = std::fs::read(&path).unwrap();
        for storage in [Storage::Passphrase, Storage::DeviceKey] {
            assert!(matches!(with("battery staple").protect(storage), Err(IdentityError::Locked)));
        }
        let lock = home.lock().unwrap();
        assert!(matches!(with("correct horse").protect(Storage::DeviceKey), Err(IdentityError::Home(_))));
        drop(lock);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert!(!home.data_file("device.key").exists());
    }

    #[test]
    fn only_a_confirmed_identity_that_is_not_in_use_is_deleted() {
        let (_dir, home) = home();
        let all = Identities::new(&home);
        let (first, second) = (all.create("first").unwrap().npub(), all.create("second").unwrap().npub());
        assert!(matches!(all.delete("first", &first), Err(IdentityError::InUse(_))));
        assert!(matches!(all.delete("second", "yes"), Err(IdentityError::Unconfirmed(_))));
        assert!(matches!(all.delete("npub1", &second), Err(IdentityError::Ambiguous(_))));
        assert!(matches!(all.delete("", ""), Err(IdentityError::Unknown(_))));
        all.delete("second", &second).unwrap();
        assert_eq!(all.list().unwrap().len(), 1);
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
