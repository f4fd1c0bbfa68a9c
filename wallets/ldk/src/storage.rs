//! What the programs of wallets share before they run: the first line, which holds a seed and is never repeated,
//! and a storage that one process has at a time. The settings of each are in its own `setup.rs`.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::setup::SetupError;

/// A secret in a setup.
pub(crate) fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

/// The setup that the first line holds.
pub(crate) fn parse<T: DeserializeOwned>(line: Option<String>) -> Result<T, SetupError> {
    #[derive(Deserialize)]
    struct First<T> {
        setup: T,
    }
    let line = Zeroizing::new(line.ok_or(SetupError::Setup("there is none"))?);
    let first: Result<First<T>, _> = serde_json::from_str(&line);
    first.map(|first| first.setup).map_err(|_| SetupError::Setup("a field is missing or wrong"))
}

/// A seed of 64 bytes.
pub(crate) fn seed(text: &str) -> Result<Zeroizing<[u8; 64]>, SetupError> {
    let mut seed = Zeroizing::new([0; 64]);
    hex::decode_to_slice(text.trim(), seed.as_mut_slice())
        .map_err(|_| SetupError::Setup("the seed is not 64 bytes in hexadecimal"))?;
    Ok(seed)
}

/// The directory of a network in a storage, for its owner alone.
pub(crate) fn make(storage: &Path, network: &str) -> Result<PathBuf, SetupError> {
    use std::os::unix::fs::DirBuilderExt as _;
    if !storage.is_absolute() {
        return Err(SetupError::Setup("storage is not absolute"));
    }
    let directory = storage.join(network);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.map_err(|error| SetupError::Storage(directory.clone(), error))?;
    Ok(directory)
}

/// Keeps every other process out while the returned file is open.
pub(crate) fn lock(storage: &Path) -> Result<File, SetupError> {
    let path = storage.join("lock");
    let io = |error: io::Error| SetupError::Storage(path.clone(), error);
    let mut file = File::options().write(true).create(true).truncate(false).open(&path).map_err(io)?;
    file.try_lock().map_err(|_| SetupError::InUse(storage.to_owned()))?;
    // Who has it, for whoever looks.
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
    Ok(file)
}
