//! Where a node keeps everything, and the lock that keeps a second one out.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A home: one directory for settings, one for data. `OPENAGENTS_HOME` puts both into one place.
#[derive(Clone, Debug)]
pub struct Home {
    config: PathBuf,
    data: PathBuf,
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
            Some(directory) => Self { config: directory.clone(), data: directory },
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
        Ok(Self { config: strategy.config_dir(), data: strategy.data_dir() })
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
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { file, path }),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = holder.lines().next().unwrap_or("which has not said who it is").to_owned();
                Err(HomeError::InUse { path: self.data.clone(), holder })
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
        text.lines().nth(1).map(str::to_owned)
    }

    /// A secret text in a file that only its owner can read, made on first use.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn secret_text(&self, path: &Path, make: impl FnOnce() -> String) -> Result<Arc<str>, HomeError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(text.trim().into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = make();
                write_private(path, text.as_bytes())?;
                Ok(text.into())
            }
            Err(reason) => Err(HomeError::Io { path: path.to_path_buf(), reason }),
        }
    }
}

/// A locked home.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
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
            write!(file, "process {}\n{app}\n", std::process::id())
        };
        write(&mut file).map_err(io(&self.path))
    }
}

fn make_private(directory: &Path) -> Result<(), HomeError> {
    std::fs::create_dir_all(directory).map_err(io(directory))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).map_err(io(directory))?;
    }
    Ok(())
}

/// Writes a file whole or not at all, readable by its owner alone.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let draft = path.with_extension("new");
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&draft).map_err(io(&draft))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io(&draft))?;
    std::fs::rename(&draft, path).map_err(io(path))
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
}
