//! The hash of a model's files: what a result says it was made with.

use std::{fs::File, io::Read as _, path::PathBuf};

use sha2::{Digest as _, Sha256};

/// The hash of a file; of several, the hash of the list of their names and hashes.
pub(crate) async fn fingerprint(files: Vec<PathBuf>) -> Result<String, String> {
    tokio::task::spawn_blocking(move || of_files(&files)).await.map_err(|error| error.to_string())?
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
