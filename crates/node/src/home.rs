//! Where a node keeps everything, and the lock that keeps a second one out.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openagents_types::{Millis, Timestamp};
use zeroize::Zeroizing;

use crate::clock;

/// How often a taken lock is tried again: whoever only looks whether a node runs holds the lock for
/// a moment too.
const ATTEMPTS: u32 = 10;

/// The pause between two attempts. All of them together stay far below a second.
const PAUSE: Duration = Duration::from_millis(20);

/// Files of ours: a directory that holds one of them is a home already.
const OURS: [&str; 4] = ["config.toml", "device.key", "identities", "node.lock"];

/// A home: one directory for settings, one for data. `OPENAGENTS_HOME` puts both into one place.
#[derive(Clone, Debug)]
pub struct Home {
    config: PathBuf,
    data: PathBuf,
    site: Site,
}

/// How a home was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// It is where the platform keeps such things.
    Platform,
    /// Somebody named a directory: for a demo, a test, a service, a second node.
    Chosen,
}

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The machine says nothing about where homes are.
    #[error("no home directory is known; set OPENAGENTS_HOME to a directory of your own")]
    Unknown,
    /// A file or directory cannot be used.
    #[error("cannot use {path}: {reason}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// A directory that others can read holds other things too, so its permissions are not ours to change.
    #[error("{0} is open to other users and holds other files; choose an empty directory, or `chmod 700` it")]
    Open(PathBuf),
    /// Another node uses it.
    #[error("another node uses {path} ({holder}); stop it, or choose another home with --home")]
    InUse {
        /// The home.
        path: PathBuf,
        /// Who, as it said itself.
        holder: String,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> HomeError + '_ {
    |reason| HomeError::Io { path: path.to_path_buf(), reason }
}

impl Home {
    /// The home at `directory`, else at `OPENAGENTS_HOME`, else where the platform keeps such things.
    /// Its directories are made, for their owner alone.
    ///
    /// # Errors
    /// No place is known, or it cannot be written.
    pub fn open(directory: Option<PathBuf>) -> Result<Self, HomeError> {
        let chosen = directory.or_else(|| std::env::var_os("OPENAGENTS_HOME").map(PathBuf::from));
        let home = match chosen {
            Some(directory) => Self { config: directory.clone(), data: directory, site: Site::Chosen },
            None => Self::of_platform()?,
        };
        for directory in [&home.config, &home.data] {
            make_private(directory)?;
        }
        Ok(home)
    }

    fn of_platform() -> Result<Self, HomeError> {
        use etcetera::{AppStrategy, AppStrategyArgs, choose_app_strategy};
        let arguments = AppStrategyArgs {
            top_level_domain: "com".into(),
            author: "OpenAgents".into(),
            app_name: "openagents".into(),
        };
        let strategy = choose_app_strategy(arguments).map_err(|_| HomeError::Unknown)?;
        Ok(Self { config: strategy.config_dir(), data: strategy.data_dir(), site: Site::Platform })
    }

    /// How it was found.
    pub const fn site(&self) -> Site {
        self.site
    }

    /// The settings file.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// A file among the data.
    pub fn data_file(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// The directories, named: what `openagents paths` prints.
    pub fn paths(&self) -> [(&'static str, &Path); 2] {
        [("config", &self.config), ("data", &self.data)]
    }

    /// Locks the home for the life of the returned value. The system gives the lock back if the
    /// process dies, so a crash leaves nothing to clean up.
    ///
    /// # Errors
    /// Another node holds it; the error says which.
    pub fn lock(&self) -> Result<Lock, HomeError> {
        let path = self.data_file("node.lock");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(io(&path))?;
        for _ in 1..ATTEMPTS {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                outcome => return self.locked(file, path, outcome),
            }
        }
        let outcome = file.try_lock();
        self.locked(file, path, outcome)
    }

    fn locked(
        &self,
        mut file: File,
        path: PathBuf,
        outcome: Result<(), TryLockError>,
    ) -> Result<Lock, HomeError> {
        match outcome {
            Ok(()) => {
                let lock = Lock { file, path, since: clock::now() };
                lock.announce("")?;
                Ok(lock)
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                Err(HomeError::InUse { path: self.data.clone(), holder: holder(&text, clock::now()) })
            }
            Err(TryLockError::Error(reason)) => Err(HomeError::Io { path, reason }),
        }
    }

    /// Where the running node's app is, if a node runs.
    pub fn running_app(&self) -> Option<String> {
        let path = self.data_file("node.lock");
        let file = File::open(&path).ok()?;
        if file.try_lock_shared().is_ok() {
            return None;
        }
        let text = std::fs::read_to_string(&path).ok()?;
        text.lines().nth(1).filter(|app| !app.is_empty()).map(str::to_owned)
    }

    /// A secret text in a file that only its owner can read, made on first use.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn secret_text(&self, path: &Path, make: impl FnOnce() -> String) -> Result<Arc<str>, HomeError> {
        if let Some(text) = self.read_secret(path)? {
            return Ok(text.as_str().into());
        }
        write_first(path, make().as_bytes())?;
        std::fs::read_to_string(path).map(|text| text.trim().into()).map_err(io(path))
    }

    /// A secret text in a file, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_secret(&self, path: &Path) -> Result<Option<Zeroizing<String>>, HomeError> {
        match std::fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) => Ok(Some(Zeroizing::new(text.trim().to_owned()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(HomeError::Io { path: path.to_path_buf(), reason }),
        }
    }
}

/// A locked home.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    since: Timestamp,
}

impl Lock {
    /// Says who holds the lock and where it listens, for a second process to read.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn announce(&self, app: &str) -> Result<(), HomeError> {
        let mut file = &self.file;
        let write = |file: &mut &File| {
            file.rewind()?;
            file.set_len(0)?;
            write!(file, "process {}\n{app}\n{}\n", std::process::id(), self.since.secs())
        };
        write(&mut file).map_err(io(&self.path))
    }
}

/// Who holds the lock, from what it wrote: its process, its app's address, its start in seconds.
fn holder(text: &str, now: Timestamp) -> String {
    let mut lines = text.lines().filter(|line| !line.chars().any(char::is_control));
    let Some(process) = lines.next().filter(|line| line.starts_with("process ")) else {
        return "which has not said who it is".into();
    };
    let app = lines.next().filter(|app| !app.is_empty()).map(|app| format!(" at {app}")).unwrap_or_default();
    let since = lines.next().and_then(|secs| secs.parse().ok()).map(Timestamp::from_secs);
    let since = since.map(|since| format!(", running for {}", span(now.since(since)))).unwrap_or_default();
    format!("{process}{app}{since}")
}

fn span(time: Millis) -> String {
    match time.0 / 1000 {
        secs @ 0..120 => format!("{secs} s"),
        secs @ 120..7_200 => format!("{} min", secs / 60),
        secs => format!("{} h", secs / 3_600),
    }
}

/// Makes a directory for its owner alone. One that is there already is closed to others only if it
/// is empty or a home: nobody wants `/tmp` closed because of a wrong setting.
fn make_private(directory: &Path) -> Result<(), HomeError> {
    let fresh = !directory.exists();
    std::fs::create_dir_all(directory).map_err(io(directory))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(directory).map_err(io(directory))?.permissions().mode();
        if mode & 0o077 != 0 {
            if !fresh && !is_ours(directory)? {
                return Err(HomeError::Open(directory.to_path_buf()));
            }
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
                .map_err(io(directory))?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn is_ours(directory: &Path) -> Result<bool, HomeError> {
    let empty = std::fs::read_dir(directory).map_err(io(directory))?.next().is_none();
    Ok(empty || OURS.iter().any(|name| directory.join(name).exists()))
}

/// Writes a file whole or not at all, readable by its owner alone.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let draft = draft(path, bytes)?;
    std::fs::rename(&draft, path).and_then(|()| keep_name(path)).map_err(io(path))
}

/// The same, unless the file is there already: of several processes that come first, one wins.
pub(crate) fn write_first(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let draft = draft(path, bytes)?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft).map_err(io(&draft))?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.and_then(|()| keep_name(path)).map_err(io(path)),
    }
}

/// Removes a file for good; that there is none is well too.
pub(crate) fn remove(path: &Path) -> Result<(), HomeError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.and_then(|()| keep_name(path)).map_err(io(path)),
    }
}

/// Writes and syncs a new file beside `path`, under a name that no other process uses.
fn draft(path: &Path, bytes: &[u8]) -> Result<PathBuf, HomeError> {
    let draft = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&draft).map_err(io(&draft))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io(&draft))?;
    Ok(draft)
}

/// Syncs the directory, without which a power cut may take the file's name away again.
fn keep_name(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn a_second_node_is_kept_out_and_told_who_is_in() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        let lock = home.lock().unwrap();
        assert_eq!(home.running_app(), None, "nobody listens yet");
        lock.announce("http://127.0.0.1:1").unwrap();
        let error = home.lock().unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        assert_eq!(home.running_app().as_deref(), Some("http://127.0.0.1:1"));
        drop(lock);
        assert!(home.lock().is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn secrets_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().join("home"))).unwrap();
        let path = home.data_file("secret");
        let first = home.secret_text(&path, || "one".into()).unwrap();
        let second = home.secret_text(&path, || "two".into()).unwrap();
        assert_eq!(first, second);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(dir.path().join("home")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_holder_is_described_by_what_it_wrote_and_garbage_is_not_repeated() {
        let now = Timestamp::from_secs(10_000);
        let text = "process 7\nhttp://127.0.0.1:9099\n9000\n";
        assert_eq!(holder(text, now), "process 7 at http://127.0.0.1:9099, running for 16 min");
        assert_eq!(holder("process 7\n\n9990\n", now), "process 7, running for 10 s");
        assert_eq!(holder("\u{1b}[31mred", now), "which has not said who it is");
    }

    #[test]
    fn of_several_who_make_a_secret_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        let path = home.data_file("secret");
        let made: Vec<Arc<str>> = std::thread::scope(|scope| {
            let one = |n: u32| {
                scope.spawn({
                    let (home, path) = (&home, &path);
                    move || home.secret_text(path, || n.to_string())
                })
            };
            let all: Vec<_> = (0..8).map(one).collect();
            all.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        assert!(made.iter().all(|secret| *secret == made[0]), "{made:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "drafts are left behind");
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_of_others_is_not_closed_to_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
        assert!(matches!(Home::open(Some(dir.path().into())), Err(HomeError::Open(_))));
        std::fs::write(dir.path().join("config.toml"), "").unwrap();
        assert!(Home::open(Some(dir.path().into())).is_ok());
        assert_eq!(std::fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
