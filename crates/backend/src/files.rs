//! The hash of a model's files: what a result says it was made with.

use std::{
    fs::File,
    io::Read as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};

/// By what it is seen that a file is another: its path, its length in bytes, when it was written.
type Mark = (PathBuf, u64, Option<SystemTime>);

/// The hash of what a server was started with; taken again when the files are others.
#[derive(Debug, Default)]
pub(crate) struct Fingerprint(Mutex<Option<(Vec<Mark>, String)>>);

impl Fingerprint {
    /// The hash that was taken last.
    pub(crate) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, hash)| hash.clone())
    }

    /// The hash of these files: of one, its own; of several, that of the list of their names and hashes.
    ///
    /// A hash that is not waited for any more is given up: a node that ends waits for no large file.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) async fn of(&self, files: Vec<PathBuf>) -> Result<String, String> {
        let now = marks(&files)?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((marks, hash)) = known
            && marks == now
        {
            return Ok(hash);
        }
        let wanted = Wanted::default();
        let unwanted = wanted.0.clone();
        let hashing = tokio::task::spawn_blocking(move || of_files(&files, &unwanted));
        let hash = hashing.await.map_err(|error| error.to_string())??;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, hash.clone()));
        Ok(hash)
    }
}

fn marks(files: &[PathBuf]) -> Result<Vec<Mark>, String> {
    let mark = |path: &PathBuf| {
        let about = path.metadata().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((path.clone(), about.len(), about.modified().ok()))
    };
    files.iter().map(mark).collect()
}

/// What somebody waits for; it says that nobody does once it is dropped.
#[derive(Default)]
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn of_files(files: &[PathBuf], unwanted: &AtomicBool) -> Result<String, String> {
    if let [only] = files {
        return Ok(format!("sha256:{}", of_file(only, unwanted)?));
    }
    let mut all = Sha256::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.update(format!("{}  {name}\n", of_file(file, unwanted)?));
    }
    Ok(format!("sha256:{}", hexed(&all.finalize())))
}

fn of_file(path: &PathBuf, unwanted: &AtomicBool) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    while !unwanted.load(Ordering::Relaxed) {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hexed(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
    Err(format!("{}: nobody waits for its hash any more", path.display()))
}

fn hexed(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn a_hash_that_nobody_waits_for_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, "one").unwrap();
        let wanted = Wanted::default();
        let unwanted = wanted.0.clone();
        assert!(of_file(&path, &unwanted).is_ok());
        drop(wanted);
        assert!(of_file(&path, &unwanted).is_err());
    }

    #[tokio::test]
    async fn a_file_that_was_replaced_is_hashed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        let print = Fingerprint::default();
        std::fs::write(&path, "one").unwrap();
        let first = print.of(vec![path.clone()]).await.unwrap();
        assert_eq!(print.of(vec![path.clone()]).await.unwrap(), first);
        std::fs::write(&path, "another").unwrap();
        let second = print.of(vec![path.clone()]).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(print.last(), Some(second));
    }
}
