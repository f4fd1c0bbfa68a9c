//! Files that are results: kept by their SHA-256 under the home, within a quota and for a time, until the oldest go.
//!
//! A result carries the address of its file (as Blossom names files, BUD-01), or the file itself where strangers
//! cannot reach this node and it is small. A file is on the disk before its result is spoken of.

use std::{
    collections::HashMap,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use base64::Engine as _;
use openagents_backend::Made;
use openagents_types::{JobId, Millis, Timestamp};
use sha2::{Digest, Sha256};

use crate::{clock, config::MediaSettings};

/// The longest `data:` address, in bytes: sealed for its customer it still fits into an event.
const LONGEST_INLINE: usize = 40 << 10;
/// A file younger than this is never deleted for want of room: after a restart nobody remembers whose it is, and
/// by then its job is over.
const GRACE: Millis = Millis::from_secs(3_600);
const DAY: u64 = 86_400;

/// Why a file is not kept. Fit for the customer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MediaError {
    #[error(
        "the result has {0} bytes, and this provider has no address from which files are fetched; ask for less"
    )]
    NoAddress(usize),
    #[error("this provider has no room for the result; ask again later")]
    Full,
    #[error("the result could not be stored")]
    Io(#[from] std::io::Error),
}

/// The files. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Media(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// Where strangers get them, without a slash at its end.
    base: Option<String>,
    quota: u64,
    keep: Millis,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    /// By name, which is the SHA-256 in hexadecimal.
    all: HashMap<String, Kept>,
    /// What jobs that are under way have made.
    pinned: HashMap<JobId, String>,
}

#[derive(Clone, Debug)]
struct Kept {
    extension: String,
    bytes: u64,
    since: Timestamp,
}

impl Media {
    /// The files in `folder`, which strangers get under `base`.
    pub(crate) fn open(folder: PathBuf, base: Option<&str>, settings: &MediaSettings) -> Self {
        let inner = Inner {
            files: Mutex::new(Files { all: found(&folder), pinned: HashMap::new() }),
            folder,
            base: base.map(|base| base.trim_end_matches('/').to_owned()),
            quota: settings.quota_mb << 20,
            keep: Millis::from_secs(settings.keep_days.saturating_mul(DAY)),
        };
        let media = Self(Arc::new(inner));
        media.0.forget_old(clock::now());
        media
    }

    /// Keeps what was made for a job; gives its address.
    ///
    /// # Errors
    /// It cannot be kept, or is too large for a result without an address.
    pub(crate) async fn keep(&self, job: JobId, made: Made) -> Result<String, MediaError> {
        let Some(base) = self.0.base.clone() else { return inline(&made) };
        let inner = self.0.clone();
        let written = tokio::task::spawn_blocking(move || inner.write(job, &made, clock::now())).await;
        let name = written.unwrap_or_else(|_| Err(std::io::Error::other("the writer died").into()))?;
        Ok(format!("{base}/{name}"))
    }

    /// The job is over; its file may go when it is old.
    pub(crate) fn release(&self, job: JobId) {
        self.0.files().pinned.remove(&job);
    }

    /// The file of this name, with or without an ending, if it is kept.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        let hash = hash_in(name)?;
        let files = self.0.files();
        let kept = files.all.get(hash)?;
        let fresh = clock::now().since(kept.since) < self.0.keep;
        fresh.then(|| self.0.path(hash, &kept.extension))
    }
}

/// The SHA-256 that a path segment names: 64 digits, and perhaps an ending.
pub(crate) fn hash_in(name: &str) -> Option<&str> {
    let (hash, ending) = name.split_once('.').unwrap_or((name, "x"));
    let digits = hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let plain = !ending.is_empty() && ending.len() <= 16 && ending.bytes().all(|b| b.is_ascii_alphanumeric());
    (digits && plain).then_some(hash)
}

fn inline(made: &Made) -> Result<String, MediaError> {
    let encoded = base64::engine::general_purpose::STANDARD.encode(&made.bytes);
    let address = format!("data:{};base64,{encoded}", made.mime);
    if address.len() > LONGEST_INLINE { Err(MediaError::NoAddress(made.bytes.len())) } else { Ok(address) }
}

/// The files that are there from before. What was not written to its end has another name and is deleted.
fn found(folder: &Path) -> HashMap<String, Kept> {
    let mut all = HashMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(about) = entry.metadata() else { continue };
        let modified = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        match (hash_in(&name), name.split_once('.'), modified) {
            (Some(hash), Some((_, extension)), Some(at)) => {
                let since = Timestamp::from_millis(u64::try_from(at.as_millis()).unwrap_or(0));
                let kept = Kept { extension: extension.into(), bytes: about.len(), since };
                all.insert(hash.to_owned(), kept);
            }
            _ => drop(std::fs::remove_file(entry.path())),
        }
    }
    all
}

impl Inner {
    fn files(&self) -> std::sync::MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, hash: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{hash}.{extension}"))
    }

    /// Writes a file, unless it is there; gives its name with its ending.
    fn write(&self, job: JobId, made: &Made, now: Timestamp) -> Result<String, MediaError> {
        let hash = hex::encode(Sha256::digest(&made.bytes));
        self.forget_old(now);
        let kept = Kept { extension: made.extension.clone(), bytes: made.bytes.len() as u64, since: now };
        let (known, gone) = self.files().reserve(job, &hash, kept, self.quota)?;
        for (hash, kept) in gone {
            let _ = std::fs::remove_file(self.path(&hash, &kept.extension));
        }
        let path = self.path(&hash, &known.extension);
        if let Err(error) = self.put(&path, &made.bytes) {
            let mut files = self.files();
            files.all.remove(&hash);
            files.pinned.remove(&job);
            tracing::error!(%error, "a result could not be stored");
            return Err(error.into());
        }
        Ok(format!("{hash}.{}", known.extension))
    }

    /// Whole or not at all, and on the disk before anybody is told of it. A file that is there is as good as new.
    fn put(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Deletes what was kept long enough and is of no job under way.
    fn forget_old(&self, now: Timestamp) {
        let gone = self.files().take(|kept| now.since(kept.since) >= self.keep);
        for (hash, kept) in gone {
            let _ = std::fs::remove_file(self.path(&hash, &kept.extension));
        }
    }
}

impl Files {
    /// Makes room for a file and notes it as a job's; gives it as it is known, and what has to go for it.
    fn reserve(
        &mut self,
        job: JobId,
        hash: &str,
        kept: Kept,
        quota: u64,
    ) -> Result<(Kept, Vec<(String, Kept)>), MediaError> {
        let now = kept.since;
        let extension = self.all.get(hash).map_or(kept.extension, |known| known.extension.clone());
        let kept = Kept { extension, ..kept };
        let others: u64 = self.all.iter().filter(|(name, _)| *name != hash).map(|(_, file)| file.bytes).sum();
        let mut over = (others + kept.bytes).saturating_sub(quota);
        let mut oldest: Vec<(String, Kept)> = self
            .all
            .iter()
            .filter(|(name, file)| *name != hash && !self.is_pinned(name) && now.since(file.since) >= GRACE)
            .map(|(name, file)| (name.clone(), file.clone()))
            .collect();
        oldest.sort_by_key(|(_, file)| file.since);
        let mut gone = Vec::new();
        for (name, file) in oldest {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(file.bytes);
            gone.push((name, file));
        }
        if over > 0 {
            return Err(MediaError::Full);
        }
        for (name, _) in &gone {
            self.all.remove(name);
        }
        self.all.insert(hash.into(), kept.clone());
        self.pinned.insert(job, hash.into());
        Ok((kept, gone))
    }

    /// Takes out what is so and of no job under way.
    fn take(&mut self, is_so: impl Fn(&Kept) -> bool) -> Vec<(String, Kept)> {
        let gone: Vec<(String, Kept)> = self
            .all
            .iter()
            .filter(|(name, kept)| is_so(kept) && !self.is_pinned(name))
            .map(|(name, kept)| (name.clone(), kept.clone()))
            .collect();
        for (name, _) in &gone {
            self.all.remove(name);
        }
        gone
    }

    fn is_pinned(&self, name: &str) -> bool {
        self.pinned.values().any(|pinned| pinned == name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn job(number: u8) -> JobId {
        JobId::from_bytes([number; 32])
    }

    fn made(bytes: usize, fill: u8) -> Made {
        Made { mime: "audio/wav".into(), extension: "wav".into(), bytes: vec![fill; bytes] }
    }

    fn media(folder: &Path, base: Option<&str>) -> Media {
        let settings = MediaSettings { quota_mb: 1, keep_days: 1, ..MediaSettings::default() };
        Media::open(folder.join("media"), base, &settings)
    }

    fn later(hours: u64) -> Timestamp {
        NOON.after(Millis::from_secs(hours * 3_600))
    }

    #[test]
    fn the_oldest_goes_for_want_of_room_and_never_that_of_a_job_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let media = media(dir.path(), Some("https://media.example"));
        let size = 400 << 10;
        let first = media.0.write(job(1), &made(size, 1), NOON).unwrap();
        let second = media.0.write(job(2), &made(size, 2), later(1)).unwrap();
        let third = |now| media.0.write(job(3), &made(size, 3), now);
        assert!(matches!(third(later(3)), Err(MediaError::Full)), "both jobs are under way");
        media.release(job(2));
        assert!(third(later(3)).is_ok());
        let there = |name: &str| dir.path().join("media").join(name).exists();
        assert!(there(&first) && !there(&second));
        media.release(job(1));
        media.release(job(3));
        let fresh = media.0.write(job(4), &made(size, 4), later(3));
        assert!(fresh.is_ok() && !there(&first), "the older of the two is gone");
        media.release(job(4));
        let again = media.0.write(job(5), &made(size, 5), later(3));
        assert!(matches!(again, Err(MediaError::Full)), "what is just made stays");
    }

    #[test]
    fn what_is_old_goes_and_what_is_there_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let name = {
            let media = media(dir.path(), Some("https://media.example/"));
            let name = media.0.write(job(1), &made(10, 1), clock::now()).unwrap();
            std::fs::write(dir.path().join("media/.tmpABC"), b"half").unwrap();
            name
        };
        let media = media(dir.path(), Some("https://media.example/"));
        assert!(!dir.path().join("media/.tmpABC").exists());
        assert!(media.find(&name).is_some());
        assert!(media.find(name.split('.').next().unwrap()).is_some());
        assert!(media.find(&format!("{}.wav", "0".repeat(64))).is_none());
        media.0.forget_old(clock::now().after(Millis::from_secs(2 * DAY)));
        assert!(media.find(&name).is_none() && !dir.path().join("media").join(&name).exists());
    }

    #[tokio::test]
    async fn a_file_without_an_address_goes_into_the_result_if_it_is_small() {
        let dir = tempfile::tempdir().unwrap();
        let media = media(dir.path(), None);
        assert_eq!(media.keep(job(1), made(3, 0)).await.unwrap(), "data:audio/wav;base64,AAAA");
        let error = media.keep(job(1), made(40 << 10, 0)).await.unwrap_err().to_string();
        assert!(error.contains("40960 bytes") && error.contains("no address"), "{error}");
    }

    #[test]
    fn a_name_is_a_hash_and_perhaps_an_ending() {
        let hash = "ab".repeat(32);
        for (name, is_one) in [
            (hash.clone(), true),
            (format!("{hash}.mp3"), true),
            (format!("{hash}."), false),
            (format!("{hash}.a/b"), false),
            (format!("{hash}a"), false),
            (hash.to_uppercase(), false),
            ("healthz".into(), false),
        ] {
            assert_eq!(hash_in(&name).is_some(), is_one, "{name}");
        }
    }
}
