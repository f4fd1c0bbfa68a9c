//! What a server of ours writes: kept in a file that does not grow without end, and without its key.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt as _, BufReader};
use zeroize::Zeroizing;

/// The longest file, in bytes. One older file of this size is kept beside it.
const MOST: u64 = 1 << 20;
/// The longest line, in bytes.
const LONGEST: u64 = 4_096;
/// How many of the last lines are remembered, to say why a server ended.
const LAST: usize = 12;

/// A log.
#[derive(Debug)]
pub(super) struct Log(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    path: Option<PathBuf>,
    file: Option<File>,
    written: u64,
    key: Arc<Zeroizing<String>>,
    last: VecDeque<String>,
}

impl Log {
    /// The log of this name, gone on with. Where it cannot be written, only the last lines are remembered.
    pub(super) fn open(folder: Option<&Path>, name: &str, key: Arc<Zeroizing<String>>) -> Self {
        let plain: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') { c } else { '-' })
            .collect();
        let path = folder.and_then(|folder| {
            std::fs::create_dir_all(folder).ok()?;
            Some(folder.join(format!("{plain}.log")))
        });
        let file = path.as_deref().and_then(open);
        let written = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |about| about.len());
        Self(Mutex::new(Inner { path, file, written, key, last: VecDeque::new() }))
    }

    /// Writes down what comes out of these pipes, and never ends.
    pub(super) async fn keep(
        &self,
        stdout: Option<impl AsyncRead + Unpin>,
        stderr: Option<impl AsyncRead + Unpin>,
    ) {
        tokio::join!(self.copy(stdout), self.copy(stderr));
        std::future::pending().await
    }

    async fn copy(&self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(pipe) = pipe else { return };
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = (&mut pipe).take(LONGEST).read_until(b'\n', &mut line).await {
            self.write(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }

    fn write(&self, line: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = line.trim_end().replace(inner.key.as_str(), "(key)");
        inner.write(&line);
        let shown: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
        if !shown.trim().is_empty() {
            inner.last.push_back(shown.trim().to_owned());
            if inner.last.len() > LAST {
                inner.last.pop_front();
            }
        }
    }

    /// What it said last that sounds like a reason, else what it said last.
    pub(super) fn last(&self) -> Option<String> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sounds = |line: &&String| {
            let line = line.to_lowercase();
            ["error", "fail", "unable", "cannot", "invalid", "out of memory"]
                .iter()
                .any(|word| line.contains(word))
        };
        inner.last.iter().find(sounds).or(inner.last.back()).cloned()
    }
}

impl Inner {
    fn write(&mut self, line: &str) {
        if self.written > MOST
            && let Some(path) = &self.path
        {
            let _ = std::fs::rename(path, path.with_extension("log.1"));
            self.file = open(path);
            self.written = 0;
        }
        if let Some(file) = &mut self.file
            && writeln!(file, "{line}").is_ok()
        {
            self.written += line.len() as u64 + 1;
        }
    }
}

/// A file for its owner alone, written at its end.
fn open(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn a_log_does_not_grow_without_end_and_holds_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(Some(folder.path()), "llamacpp a/b", Arc::new(Zeroizing::new("s3cret".into())));
        for n in 0..4_000_u32 {
            log.write(&format!("{n} s3cret {}\n", "x".repeat(1_000)));
        }
        let sizes: Vec<u64> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|it| it.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2, "one log and the one before it");
        assert!(sizes.iter().all(|size| *size < MOST + 2 * LONGEST), "{sizes:?}");
        let text = std::fs::read_to_string(folder.path().join("llamacpp-a-b.log")).unwrap();
        assert!(text.contains("(key)") && !text.contains("s3cret"));
        log.write("E load_model: failed to load model\n");
        log.write("bye\n");
        assert_eq!(log.last().unwrap(), "E load_model: failed to load model");
    }
}
