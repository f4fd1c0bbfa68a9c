//! Hashes of files: the SHA-256 that everything here is known by, and git's own of small files on a hub.

use std::{fs::File, io::Read as _, path::Path};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::hub::Known;

/// Both hashes of a file, taken as its bytes come.
#[derive(Clone)]
pub(crate) struct Digests {
    sha256: Sha256,
    /// Git's hash of a blob begins with its length, so that has to be known before.
    blob: Sha1,
}

impl Digests {
    /// Of a file that will have so many bytes.
    pub(crate) fn of_size(size: u64) -> Self {
        let mut blob = Sha1::new();
        blob.update(format!("blob {size}\0"));
        Self { sha256: Sha256::new(), blob }
    }

    /// Of a file that is there, and should have so many bytes.
    pub(crate) fn of_file(path: &Path, size: u64) -> std::io::Result<Self> {
        let mut digests = Self::of_size(size);
        read(path, &mut |bytes| digests.update(bytes))?;
        Ok(digests)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.blob.update(bytes);
    }

    /// Its SHA-256, and whether it is what is known of it.
    pub(crate) fn end(self, known: &Known) -> (String, bool) {
        let (sha256, blob) = (hex::encode(self.sha256.finalize()), hex::encode(self.blob.finalize()));
        let is_it = match known {
            Known::Sha256(wanted) => *wanted == sha256,
            Known::Blob(wanted) => *wanted == blob,
        };
        (sha256, is_it)
    }
}

/// The SHA-256 of a file; `heard` is told how many more bytes were read.
pub(crate) fn of_file(path: &Path, heard: &mut dyn FnMut(u64)) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    read(path, &mut |bytes| {
        hash.update(bytes);
        heard(bytes.len() as u64);
    })?;
    Ok(hex::encode(hash.finalize()))
}

fn read(path: &Path, heard: &mut dyn FnMut(&[u8])) -> std::io::Result<()> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => heard(&buffer[..read]),
        }
    }
}

/// The hash of several files: that of the list of their names and hashes, as a node's results have it.
pub(crate) fn of_list<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut all = Sha256::new();
    for (name, sha256) in files {
        all.update(format!("{sha256}  {name}\n"));
    }
    hex::encode(all.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hashes_are_what_their_tools_say() {
        let mut digests = Digests::of_size(6);
        digests.update(b"hel");
        digests.update(b"lo\n");
        // `printf 'hello\n' | git hash-object --stdin`
        let blob = Known::Blob("ce013625030ba8dba906f756967f9e9ca394464a".into());
        let (sha256, is_it) = digests.end(&blob);
        assert!(is_it);
        assert_eq!(sha256, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    }
}
