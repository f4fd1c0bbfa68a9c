//! The money seeds of a home, one for each network, encrypted at rest as identities are.
//!
//! `seed/<network>/seed.json` holds a seed sealed with what seals the identities: the home's
//! [device secret](crate::device), in the system's keyring or in `device.key`, or the owner's passphrase. A seed is random:
//! nothing of it comes from an identity, and no identity comes from it.
//!
//! A seed is never lost by a command. A second one is refused unless the caller says that it replaces the first, which
//! is then copied to `seed/<network>/old/` before the new one takes its name in one step. All that writes does so under
//! the lock that identities are written under, because it is their device secret too.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use openagents_api::SeedView;
use openagents_keyring::Secret;
use openagents_seed::{
    Fingerprint, Mnemonic, Passphrase, Seed, WordCount,
    backup::{self, Content, Cost, OpenError},
};
use openagents_types::Network;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    clock, failpoint,
    home::{Home, HomeError, write_private},
    identity::{Identities, IdentityError, Storage},
};

/// The shape of `seed.json`. A larger number is a later program's, and is not touched.
const VERSION: u32 = 2;

/// The same without a passphrase of the seed's own: earlier programs open it.
const WORDS_ALONE: u32 = 1;

const NETWORKS: [Network; 4] = [Network::Mainnet, Network::Testnet, Network::Signet, Network::Regtest];

/// Which of the two secrets seals a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SealedBy {
    /// The home's device secret.
    Device,
    /// The owner's passphrase.
    Passphrase,
}

impl SealedBy {
    const fn cost(self) -> Cost {
        match self {
            Self::Device => Cost::Random,
            Self::Passphrase => Cost::Person,
        }
    }
}

/// How it was shown that the owner could restore a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// They answered the quiz about its words.
    Quiz,
    /// They typed all its words to restore it.
    Words,
    /// They opened an encrypted backup of it.
    Backup,
}

impl Proof {
    /// The word for it, on the command line and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Quiz => "quiz",
            Self::Words => "words",
            Self::Backup => "backup",
        }
    }
}

/// When a seed was last shown to be backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When, in seconds since the epoch.
    pub at: u64,
    /// How.
    pub by: Proof,
}

/// A file as it lies on the disk.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SeedFile {
    version: u32,
    network: Network,
    fingerprint: String,
    words: usize,
    /// Whether a passphrase (BIP39) is sealed with the words.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    passphrase: bool,
    created_at: u64,
    sealed_by: SealedBy,
    verified: Option<Verified>,
    sealed: String,
}

impl fmt::Debug for SeedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeedFile({} {})", self.network, self.fingerprint)
    }
}

impl SeedFile {
    fn seal(
        content: &Content,
        verified: Option<Verified>,
        by: SealedBy,
        secret: &str,
    ) -> Result<Self, SeedError> {
        let sealed = backup::seal(content, secret, by.cost(), &random()).map_err(SeedError::Backup)?;
        let file = Self {
            version: if content.passphrase.is_some() { VERSION } else { WORDS_ALONE },
            network: content.network,
            fingerprint: fingerprint(content).to_string(),
            words: content.mnemonic.count().get(),
            passphrase: content.passphrase.is_some(),
            created_at: content.created_at.secs(),
            sealed_by: by,
            verified,
            sealed,
        };
        // Proven to open before anything older goes.
        file.open(secret)?;
        Ok(file)
    }

    fn open(&self, secret: &str) -> Result<Content, SeedError> {
        let content = backup::open(&self.sealed, secret).map_err(|_| SeedError::Locked(self.network))?;
        let is_itself =
            content.network == self.network && fingerprint(&content).to_string() == self.fingerprint;
        if is_itself { Ok(content) } else { Err(SeedError::Locked(self.network)) }
    }
}

/// What is known of a seed without unlocking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedStatus {
    /// Whose money it keeps.
    pub network: Network,
    /// The fingerprint of its master key (BIP32): eight hexadecimal digits that tell it from other seeds.
    pub fingerprint: String,
    /// How many words it has.
    pub words: usize,
    /// Whether a passphrase (BIP39) belongs to them.
    pub passphrase: bool,
    /// When it was made or first taken in, in seconds since the epoch.
    pub created_at: u64,
    /// What unlocks it.
    pub storage: Storage,
    /// When it was last shown to be backed up; `None` if it never was.
    pub verified: Option<Verified>,
}

impl From<&SeedStatus> for SeedView {
    fn from(seed: &SeedStatus) -> Self {
        Self {
            network: seed.network.to_string(),
            fingerprint: seed.fingerprint.clone(),
            words: seed.words,
            passphrase: seed.passphrase,
            created_at: seed.created_at.saturating_mul(1000),
            storage: seed.storage.word().into(),
            verified_at: seed.verified.map(|verified| verified.at.saturating_mul(1000)),
            verified_by: seed.verified.map(|verified| verified.by.word().into()),
        }
    }
}

/// What may happen to a seed that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It stays, and the new one is refused.
    Never,
    /// It is set aside, and the new one takes its place.
    SetAside,
}

/// What a new seed has done to the home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The seed that is in use now.
    pub status: SeedStatus,
    /// Where the one before is, encrypted, if there was one.
    pub set_aside: Option<PathBuf>,
}

/// Why a seed cannot be had or kept. No word of it ever appears in these texts.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The home, its device secret or the passphrase cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is none.
    #[error(
        "there is no {0} seed here; make one with `openagents wallet seed create`, or restore one with `openagents \
         wallet seed restore`"
    )]
    Missing(Network),
    /// There is another one.
    #[error(
        "there is a {network} seed here already ({fingerprint}), and it stays; to put it aside and use another, say \
         --replace"
    )]
    Present {
        /// Whose money it keeps.
        network: Network,
        /// Which.
        fingerprint: String,
    },
    /// The passphrase is wrong, or the device secret is another home's.
    #[error(
        "the {0} seed cannot be unlocked: wrong passphrase, or device.key is missing or from another home; restore \
         that, or the seed from its words with `openagents wallet seed restore --replace`"
    )]
    Locked(Network),
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}; restore the file, or the seed from its words")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is a later program's.
    #[error("{0} was written by a newer version; use that")]
    Newer(PathBuf),
    /// A backup cannot be opened or made.
    #[error(transparent)]
    Backup(#[from] OpenError),
    /// A backup holds another seed than the home.
    #[error("the backup opens, but holds another seed ({theirs}) than this home ({ours}); make a new backup")]
    OtherSeed {
        /// The backup's fingerprint.
        theirs: String,
        /// The home's fingerprint.
        ours: String,
    },
    /// A backup is of another network's seed.
    #[error("the backup is of a {0} seed; say --network {0}")]
    OtherNetwork(Network),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes ({0}); try again")]
    Entropy(String),
}

impl From<HomeError> for SeedError {
    fn from(error: HomeError) -> Self {
        Self::Identity(error.into())
    }
}

/// The seed that a wallet of `home` derives its keys from on `network`, unlocked without asking anybody: by the
/// keyring, by `device.key`, or by the passphrase in the file that `OPENAGENTS_PASSPHRASE_FILE` names.
///
/// # Errors
/// There is none, or it cannot be unlocked.
pub fn wallet_seed(home: &Home, network: Network) -> Result<Seed, SeedError> {
    Ok(Seeds::new(home).unlock(network)?.seed())
}

/// The seeds of a home.
#[derive(Debug)]
pub struct Seeds<'a> {
    home: &'a Home,
    /// What seals them.
    keys: Identities<'a>,
}

impl<'a> Seeds<'a> {
    /// The seeds of `home`.
    pub fn new(home: &'a Home) -> Self {
        Self { home, keys: Identities::new(home) }
    }

    /// Seals and unlocks with this passphrase instead of the one in `OPENAGENTS_PASSPHRASE_FILE`.
    #[must_use]
    pub fn with_passphrase(self, passphrase: Zeroizing<String>) -> Self {
        Self { keys: self.keys.with_passphrase(passphrase), ..self }
    }

    fn folder(&self, network: Network) -> PathBuf {
        self.home.data_file("seed").join(network.to_string())
    }

    fn path(&self, network: Network) -> PathBuf {
        self.folder(network).join("seed.json")
    }

    /// What is known of the seed of a network. Unlocks nothing and asks no keyring.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn status(&self, network: Network) -> Result<Option<SeedStatus>, SeedError> {
        read(&self.path(network))?.map(|file| self.describe(&file)).transpose()
    }

    /// The same of all networks that have one.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn all(&self) -> Result<Vec<SeedStatus>, SeedError> {
        NETWORKS.into_iter().filter_map(|network| self.status(network).transpose()).collect()
    }

    fn describe(&self, file: &SeedFile) -> Result<SeedStatus, SeedError> {
        let storage = match file.sealed_by {
            SealedBy::Passphrase => Storage::Passphrase,
            SealedBy::Device => self.keys.device_storage()?,
        };
        Ok(SeedStatus {
            network: file.network,
            fingerprint: file.fingerprint.clone(),
            words: file.words,
            passphrase: file.passphrase,
            created_at: file.created_at,
            storage,
            verified: file.verified,
        })
    }

    /// Makes a seed from the system's random bytes, with a passphrase (BIP39) if there is to be one. It is not backed
    /// up yet.
    ///
    /// # Errors
    /// There is one that stays, a node runs while one is to be replaced, or it cannot be written.
    pub fn create(
        &self,
        network: Network,
        count: WordCount,
        passphrase: Option<Passphrase>,
        replace: Replace,
    ) -> Result<Kept, SeedError> {
        let _no_node = self.quiet(network, replace)?;
        let mut entropy = Zeroizing::new([0_u8; 32]);
        fill(entropy.as_mut_slice())?;
        let mnemonic = Mnemonic::from_entropy(&entropy[..count.entropy_len()])
            .map_err(|error| SeedError::Entropy(error.to_string()))?;
        self.keep(&Content { network, created_at: clock::now(), mnemonic, passphrase }, None, replace)
    }

    /// Takes a seed from its words and their passphrase, which shows that its owner has them.
    ///
    /// # Errors
    /// There is another that stays, a node runs, or it cannot be written.
    pub fn restore(
        &self,
        network: Network,
        mnemonic: Mnemonic,
        passphrase: Option<Passphrase>,
        replace: Replace,
    ) -> Result<Kept, SeedError> {
        let _no_node = self.home.lock()?;
        let content = Content { network, created_at: clock::now(), mnemonic, passphrase };
        self.keep(&content, Some(verified(Proof::Words)), replace)
    }

    /// Takes a seed from an encrypted backup, which shows that its owner has that.
    ///
    /// # Errors
    /// The password does not open it, it is another network's, there is another seed that stays, a node runs, or it
    /// cannot be written.
    pub fn restore_backup(
        &self,
        network: Network,
        text: &str,
        password: &str,
        replace: Replace,
    ) -> Result<Kept, SeedError> {
        let content = backup::open(text, password)?;
        if content.network != network {
            return Err(SeedError::OtherNetwork(content.network));
        }
        let _no_node = self.home.lock()?;
        self.keep(&content, Some(verified(Proof::Backup)), replace)
    }

    /// A lock against nodes, where a seed that one may use is to be replaced.
    fn quiet(&self, network: Network, replace: Replace) -> Result<Option<crate::home::Lock>, SeedError> {
        let replaces = replace == Replace::SetAside && self.path(network).exists();
        Ok(if replaces { Some(self.home.lock()?) } else { None })
    }

    fn keep(&self, content: &Content, proof: Option<Verified>, replace: Replace) -> Result<Kept, SeedError> {
        let _alone = self.keys.alone()?;
        let path = self.path(content.network);
        let fingerprint = fingerprint(content).to_string();
        // A file that cannot be read is set aside as it is, but never without being asked to.
        let present = match read(&path) {
            Ok(file) => file,
            Err(_) if replace == Replace::SetAside => None,
            Err(error) => return Err(error),
        };
        if let Some(file) = present {
            if file.fingerprint == fingerprint && self.open(&file).is_ok() {
                let file = SeedFile { verified: proof.or(file.verified), ..file };
                self.write(&path, &file)?;
                return Ok(Kept { status: self.describe(&file)?, set_aside: None });
            }
            if replace == Replace::Never {
                return Err(SeedError::Present { network: file.network, fingerprint: file.fingerprint });
            }
        }
        let (by, secret) = self.sealing()?;
        let file = SeedFile::seal(content, proof, by, secret.expose())?;
        let set_aside = self.set_aside(content.network)?;
        failpoint::hit("seed-set-aside");
        self.write(&path, &file)?;
        failpoint::hit("seed-written");
        Ok(Kept { status: self.describe(&file)?, set_aside })
    }

    /// Copies the file in use to where old ones are, under a name that none has.
    fn set_aside(&self, network: Network) -> Result<Option<PathBuf>, SeedError> {
        let path = self.path(network);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|reason| HomeError::Io { path, reason })?,
        };
        let folder = self.folder(network).join("old");
        make_folder(&folder)?;
        let name = format!("{}-{:08x}.json", clock::now().secs(), rand::random::<u32>());
        let old = folder.join(name);
        write_private(&old, &bytes)?;
        Ok(Some(old))
    }

    fn write(&self, path: &Path, file: &SeedFile) -> Result<(), SeedError> {
        make_folder(&self.folder(file.network))?;
        let text = serde_json::to_string_pretty(file).unwrap_or_default();
        Ok(write_private(path, text.as_bytes())?)
    }

    /// What a new seed is sealed with: the passphrase if there is one, else the device secret.
    fn sealing(&self) -> Result<(SealedBy, Secret), SeedError> {
        Ok(match self.keys.passphrase()? {
            Some(passphrase) => (SealedBy::Passphrase, Secret::new(passphrase)),
            None => (SealedBy::Device, self.keys.device_secret()?),
        })
    }

    fn open(&self, file: &SeedFile) -> Result<Content, SeedError> {
        match file.sealed_by {
            SealedBy::Passphrase => file.open(&self.keys.passphrase()?.ok_or(IdentityError::NoPassphrase)?),
            SealedBy::Device => {
                file.open(self.keys.known_device_secret()?.ok_or(SeedError::Locked(file.network))?.expose())
            }
        }
    }

    /// The seed of a network with its words. To show them is another matter than to have them: callers ask first.
    ///
    /// # Errors
    /// There is none, or it cannot be unlocked.
    pub fn unlock(&self, network: Network) -> Result<Content, SeedError> {
        self.open(&self.present(network)?)
    }

    fn present(&self, network: Network) -> Result<SeedFile, SeedError> {
        read(&self.path(network))?.ok_or(SeedError::Missing(network))
    }

    /// Notes that its owner has just shown that they could restore this seed.
    ///
    /// # Errors
    /// It is no longer the seed of its network, or cannot be written.
    pub fn note(&self, content: &Content, proof: Proof) -> Result<SeedStatus, SeedError> {
        let _alone = self.keys.alone()?;
        let (file, theirs) = (self.present(content.network)?, fingerprint(content).to_string());
        if file.fingerprint != theirs {
            return Err(SeedError::OtherSeed { theirs, ours: file.fingerprint });
        }
        let file = SeedFile { verified: Some(verified(proof)), ..file };
        self.write(&self.path(content.network), &file)?;
        self.describe(&file)
    }

    /// Notes that an encrypted backup is one of this home's seed and opens with this password.
    ///
    /// # Errors
    /// It does not open, or holds another seed.
    pub fn verify_backup(
        &self,
        network: Network,
        text: &str,
        password: &str,
    ) -> Result<SeedStatus, SeedError> {
        let content = backup::open(text, password)?;
        if content.network != network {
            return Err(SeedError::OtherNetwork(content.network));
        }
        self.note(&content, Proof::Backup)
    }

    /// Every seed file of this home, old ones too, unlocked: what has to be sealed anew when the secret changes.
    pub(crate) fn unlock_all(&self) -> Result<Vec<Unlocked>, SeedError> {
        let mut found = Vec::new();
        for network in NETWORKS {
            let old = match std::fs::read_dir(self.folder(network).join("old")) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                entries => entries
                    .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
                    .map_err(|reason| HomeError::Io { path: self.folder(network), reason })?,
            };
            let paths = old.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json"));
            for path in paths.chain([self.path(network)]) {
                if let Some(file) = read(&path)? {
                    let content = self.open(&file)?;
                    found.push(Unlocked { path, file, content });
                }
            }
        }
        Ok(found)
    }

    /// Seals anew what is sealed otherwise, one by one; each is proven to open before the old file goes.
    pub(crate) fn reseal(&self, all: &[Unlocked], by: SealedBy, secret: &str) -> Result<(), SeedError> {
        for Unlocked { path, file, content } in all.iter().filter(|one| one.file.sealed_by != by) {
            self.write(path, &SeedFile::seal(content, file.verified, by, secret)?)?;
            failpoint::hit("seed-resealed");
        }
        Ok(())
    }
}

/// A seed file with what is in it.
pub(crate) struct Unlocked {
    path: PathBuf,
    file: SeedFile,
    content: Content,
}

/// An encrypted backup of a seed, with lines that say what it is.
///
/// # Errors
/// It cannot be encrypted.
pub fn backup_text(content: &Content, password: &str) -> Result<String, SeedError> {
    let sealed = backup::seal(content, password, Cost::File, &random())?;
    if backup::open(&sealed, password)? != *content {
        return Err(OpenError::Unsealed.into());
    }
    let with = if content.passphrase.is_some() { ", words and passphrase" } else { "" };
    Ok(format!(
        "# An encrypted backup of a bitcoin wallet's seed (BIP39, {}{with}), made by OpenAgents Compute.\n\
         # Restore it with its password: openagents wallet seed restore --network {} --file THIS-FILE\n{sealed}\n",
        content.network, content.network,
    ))
}

/// Fresh positions for a quiz, or the salt and nonce of a seal.
pub fn random() -> [u8; 40] {
    rand::random()
}

/// Random bytes of the system itself, not of a generator in this process.
fn fill(bytes: &mut [u8]) -> Result<(), SeedError> {
    use rand::TryRngCore;
    rand::rngs::OsRng.try_fill_bytes(bytes).map_err(|error| SeedError::Entropy(error.to_string()))
}

fn verified(by: Proof) -> Verified {
    Verified { at: clock::now().secs(), by }
}

fn fingerprint(content: &Content) -> Fingerprint {
    content.seed().fingerprint()
}

fn make_folder(folder: &Path) -> Result<(), HomeError> {
    std::fs::create_dir_all(folder).map_err(|reason| HomeError::Io { path: folder.to_path_buf(), reason })
}

fn read(path: &Path) -> Result<Option<SeedFile>, SeedError> {
    let unreadable = |reason: String| SeedError::Read { path: path.to_path_buf(), reason };
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| unreadable(error.to_string()))?,
    };
    #[derive(Deserialize)]
    struct Shape {
        version: u32,
    }
    let shape: Shape = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if shape.version > VERSION {
        return Err(SeedError::Newer(path.to_path_buf()));
    }
    serde_json::from_str(&text).map(Some).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
#[path = "seeds/tests.rs"]
mod tests;
