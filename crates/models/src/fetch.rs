//! One file from a hub, whole: resumed where it broke off, and under its name only once its hash is right.
//!
//! What has come is in a `.part` file, which is all that a crash leaves. A part is gone on with only where the server
//! sends exactly its rest; whatever was put together so that its hash is wrong is fetched once more from the beginning.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use reqwest::{Response, StatusCode, header::CONTENT_RANGE};

use crate::{
    digest::Digests,
    hub::{Hub, HubError, Known, Listed, Listing, unreachable},
    manifest::Kept,
    names::FilePath,
};

/// How the name of a file ends that has not come whole.
pub(crate) const PART: &str = ".part";

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// It came, and is another.
    #[error(
        "{0} is not the file that the hub lists: its hash is another, so it was deleted; try again, and do not use \
         this hub if it stays so"
    )]
    Digest(FilePath),
    /// It is longer or shorter than listed.
    #[error("{path} has another length than the {listed} bytes that the hub lists; try again later")]
    Length {
        /// Which.
        path: FilePath,
        /// What the hub says.
        listed: u64,
    },
    /// It never comes whole.
    #[error("{0} breaks off again and again, and its storage does not go on where it did; try again later")]
    Restarts(FilePath),
    /// Nothing is known to check it by.
    #[error("the hub does not say what hash {0} has, so it cannot be checked; take it from another hub")]
    Unknown(FilePath),
    /// The disk.
    #[error("cannot write {path}: {reason}; what has come is kept")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

/// Hears how many bytes of a file are here, and why it is tried again.
pub(crate) type Told<'a> = &'a mut dyn FnMut(u64, Option<&str>);

/// Where a file is while it comes.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PART);
    name.into()
}

/// Brings a file to `to`. One that is there already is looked at, and kept if its hash is right.
pub(crate) async fn fetch(
    hub: &Hub,
    listing: &Listing,
    file: &Listed,
    to: &Path,
    told: Told<'_>,
) -> Result<Kept, FetchError> {
    let known = file.known.as_ref().ok_or_else(|| FetchError::Unknown(file.path.clone()))?;
    if to.exists() {
        // Finished before, by a pull that did not end.
        let digests = Digests::of_file(to, file.size).map_err(io(to))?;
        if let (sha256, true) = digests.end(known) {
            return Ok(Kept { path: file.path.clone(), size: file.size, sha256 });
        }
        fs::remove_file(to).map_err(io(to))?;
    }
    let mut part = Part::open(part_of(to), file.size)?;
    let mut resumed = part.at > 0;
    loop {
        if let Err(error) = rest(hub, listing, file, &mut part, told).await {
            part.leave()?;
            return Err(error);
        }
        match part.finish(known, to)? {
            Some(sha256) => return Ok(Kept { path: file.path.clone(), size: file.size, sha256 }),
            None if resumed => {
                resumed = false;
                told(0, Some("what was here does not belong to it; it is fetched from the beginning"));
            }
            None => {
                part.delete()?;
                return Err(FetchError::Digest(file.path.clone()));
            }
        }
    }
}

/// Brings what is missing of a part, over as many connections as that takes.
async fn rest(
    hub: &Hub,
    listing: &Listing,
    file: &Listed,
    part: &mut Part,
    told: Told<'_>,
) -> Result<(), FetchError> {
    let (mut failures, mut pause) = (0, hub.patience.pause);
    while part.at < part.size {
        let before = part.at;
        let outcome = once(hub, listing, file, part, told).await;
        if part.restarts > hub.patience.retries && part.at < part.size {
            return Err(FetchError::Restarts(file.path.clone()));
        }
        match outcome {
            Ok(()) => {}
            Err(FetchError::Hub(error)) if error.is_passing() => {
                if part.at > before {
                    (failures, pause) = (0, hub.patience.pause);
                }
                failures += 1;
                if failures > hub.patience.retries {
                    return Err(error.into());
                }
                told(part.at, Some(error.to_string().split("; ").next().unwrap_or_default()));
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One connection, to its end.
async fn once(
    hub: &Hub,
    listing: &Listing,
    file: &Listed,
    part: &mut Part,
    told: Told<'_>,
) -> Result<(), FetchError> {
    let mut response = hub.file(listing, file, part.at).await?;
    let url = response.url().clone();
    let length = || FetchError::Length { path: file.path.clone(), listed: file.size };
    if !is_rest(&response, part) {
        let had_some = part.at > 0;
        part.restart()?;
        part.restarts += u32::from(had_some);
        match (response.status(), had_some) {
            (StatusCode::OK, _) => {}
            // Neither the rest nor the whole: asked again from the beginning.
            (_, true) => return Ok(()),
            (_, false) => return Err(length()),
        }
    }
    if response.content_length().is_some_and(|bytes| bytes != part.size - part.at) {
        return Err(length());
    }
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&url, &error))? {
        if chunk.len() as u64 > part.size - part.at {
            part.delete()?;
            return Err(length());
        }
        part.write(&chunk)?;
        told(part.at, None);
    }
    if part.at < part.size {
        let reason = "it broke off".into();
        let host = url.host_str().unwrap_or_default().into();
        return Err(HubError::Unreachable { host, reason }.into());
    }
    Ok(())
}

/// Whether an answer goes on exactly where the part ends.
fn is_rest(response: &Response, part: &Part) -> bool {
    if response.status() == StatusCode::OK {
        return part.at == 0;
    }
    let expected = format!("bytes {}-{}/{}", part.at, part.size - 1, part.size);
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT && range == Some(expected.as_str())
}

/// A file that has come so far, hashed so far.
struct Part {
    path: PathBuf,
    file: File,
    at: u64,
    size: u64,
    digests: Digests,
    /// How often its rest did not come, so that it was begun again.
    restarts: u32,
}

impl Part {
    /// What there is of a file that will have `size` bytes.
    fn open(path: PathBuf, size: u64) -> Result<Self, FetchError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io(folder))?;
        }
        // Nothing is written through a link to somewhere else.
        if fs::symlink_metadata(&path).is_ok_and(|about| about.is_symlink()) {
            fs::remove_file(&path).map_err(io(&path))?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(io(&path))?;
        let length = file.metadata().map_err(io(&path))?.len();
        let mut part = Self { path, file, at: 0, size, digests: Digests::of_size(size), restarts: 0 };
        if length > size {
            part.restart()?
        } else {
            part.read()?
        }
        Ok(part)
    }

    /// Hashes what is there.
    fn read(&mut self) -> Result<(), FetchError> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match self.file.read(&mut buffer).map_err(io(&self.path))? {
                0 => return Ok(()),
                read => {
                    self.digests.update(&buffer[..read]);
                    self.at += read as u64;
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(io(&self.path))?;
        self.digests.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), FetchError> {
        self.file.set_len(0).map_err(io(&self.path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(io(&self.path))?;
        self.at = 0;
        self.digests = Digests::of_size(self.size);
        Ok(())
    }

    fn delete(&mut self) -> Result<(), FetchError> {
        self.restart()?;
        fs::remove_file(&self.path).map_err(io(&self.path))
    }

    /// What has come stays for the next time; where nothing has, nothing stays.
    fn leave(&self) -> Result<(), FetchError> {
        if self.at > 0 || !self.path.exists() {
            return Ok(());
        }
        fs::remove_file(&self.path).map_err(io(&self.path))
    }

    /// Gives it its name, if it is what is known; else empties it.
    fn finish(&mut self, known: &Known, to: &Path) -> Result<Option<String>, FetchError> {
        let (sha256, is_it) = self.digests.clone().end(known);
        if !is_it {
            self.restart()?;
            return Ok(None);
        }
        self.file.sync_all().map_err(io(&self.path))?;
        fs::rename(&self.path, to).map_err(io(to))?;
        Ok(Some(sha256))
    }
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> FetchError + '_ {
    |reason| FetchError::Io { path: path.to_path_buf(), reason }
}
