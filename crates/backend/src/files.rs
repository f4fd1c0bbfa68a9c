//! The hash of a model's files: what a result says it was made with.

use std::{
    fs::File,
    io::Read as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
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
        let hashing = tokio::task::spawn_blocking(move || of_files(&files));
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

fn of_files(files: &[PathBuf]) -> Result<String, String> {
    if let [only] = files {
        return Ok(format!("sha256:{}", of_file(only)?));
    }
    let mut all = Sha256::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.update(format!("{}  {name}\n", of_file(file)?));
    }
    Ok(format!("sha256:{}", hexed(&all.finalize())))
}

fn of_file(path: &PathBuf) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hexed(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hexed(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

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
