//! The store on the disk: a folder of files for each model at each commit, and a manifest that makes it one of ours.
//!
//! `NAME.json` is written last, whole, by a rename; the files are in `NAME@COMMIT/`. So a crash at any instant leaves
//! the old model, or the new one, and at most a folder that no manifest names: a pull goes on with it, and a removal
//! of the name takes it along. Whoever changes the store holds its lock. A node reads without it, so while one runs
//! what it may have open stays.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    digest,
    fetch::PART,
    manifest::{Format, Manifest, Source, VERSION},
    names::{FilePath, ModelName},
};

/// The longest manifest that is read, in bytes.
const LONGEST_MANIFEST: u64 = 4 << 20;
/// How a manifest's name ends.
const MANIFEST: &str = ".json";
/// What whoever changes the store locks.
const LOCK: &str = ".lock";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {reason}; look who owns it, and whether the disk is full")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// A manifest that nobody of us wrote.
    #[error(
        "{path} cannot be read: {reason}; delete it, and fetch the model again with `openagents models pull`"
    )]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Somebody else changes it.
    #[error("another `openagents models` is at work in {0}; wait until it has ended")]
    InUse(PathBuf),
    /// It could not be read again.
    #[error(
        "what is to be written down of {0} is too long to be read again; take a model of fewer files, or of shorter \
         names"
    )]
    Long(ModelName),
    /// Another model is called so.
    #[error("another model is called {name} already, from {from}; choose a name for this one with --name")]
    Taken {
        /// What both would be called.
        name: ModelName,
        /// Where the other one came from.
        from: String,
    },
    /// Some disks cannot tell it from another.
    #[error(
        "{there} is in the model store, and {name} differs from it in capitals alone, which some disks do not tell \
         apart; choose another name with --name"
    )]
    Alike {
        /// What it would be called.
        name: ModelName,
        /// What is there.
        there: String,
    },
    /// There is no such model.
    #[error(
        "the model store has no {name:?}; fetch it with `openagents models pull OWNER/REPOSITORY --name {name}`, or \
         see what is there with `openagents models list`"
    )]
    Missing {
        /// What was asked for.
        name: String,
    },
}

pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    |reason| StoreError::Io { path: path.to_path_buf(), reason }
}

/// The model store of a home.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    in_use: bool,
}

/// The right to change the store, until it is dropped or its process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Files that belong to no model: of a pull that did not end, or of a model that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// What it would have been called.
    pub name: String,
    /// Bytes that are there.
    pub size: u64,
}

impl Store {
    /// The store in a folder, which is made by the first change.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder, in_use: false }
    }

    /// Whether a node runs that may have models of it open: then what a newer model replaces stays, until a later
    /// pull or removal.
    #[must_use]
    pub fn in_use(self, in_use: bool) -> Self {
        Self { in_use, ..self }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Locks it for a change.
    ///
    /// # Errors
    /// Somebody else changes it, or it cannot be written.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        fs::create_dir_all(&self.folder).map_err(io(&self.folder))?;
        let path = self.folder.join(LOCK);
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(self.folder.clone())),
            Err(TryLockError::Error(reason)) => Err(StoreError::Io { path, reason }),
        }
    }

    /// Every model that can be read, in the order of their names.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn models(&self) -> Result<Vec<Manifest>, StoreError> {
        Ok(self.each()?.into_iter().filter_map(Result::ok).collect())
    }

    /// Why others cannot be read, in the order of their names.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn unreadable(&self) -> Result<Vec<StoreError>, StoreError> {
        Ok(self.each()?.into_iter().filter_map(Result::err).collect())
    }

    fn each(&self) -> Result<Vec<Result<Manifest, StoreError>>, StoreError> {
        let entries = self.entries()?.into_iter();
        let names = entries.filter_map(|(name, _)| name.strip_suffix(MANIFEST)?.parse().ok());
        Ok(names.filter_map(|name: ModelName| self.find(&name).transpose()).collect())
    }

    /// A model, if it is there.
    ///
    /// # Errors
    /// Its manifest cannot be read.
    pub fn find(&self, name: &ModelName) -> Result<Option<Manifest>, StoreError> {
        let path = self.manifest_file(name);
        let wrong = |reason: String| StoreError::Manifest { path: path.clone(), reason };
        let length = match fs::metadata(&path) {
            Ok(about) => about.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(StoreError::Io { path, reason }),
        };
        if length > LONGEST_MANIFEST {
            return Err(wrong("it is too long".into()));
        }
        let bytes = fs::read(&path).map_err(io(&path))?;
        let read: Manifest = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if read.version != VERSION || read.name != *name || read.files.is_empty() {
            return Err(wrong("it is of another version of this program, or of another model".into()));
        }
        Ok(Some(read))
    }

    /// A model by the text of its name.
    ///
    /// # Errors
    /// It is not there, or its manifest cannot be read.
    pub fn named(&self, name: &str) -> Result<Manifest, StoreError> {
        let missing = || StoreError::Missing { name: name.chars().take(96).collect() };
        self.find(&name.parse().map_err(|_| missing())?)?.ok_or_else(missing)
    }

    /// Whether a model from there may have this name: one that nobody chose must not be another's.
    pub(crate) fn may_have(
        &self,
        name: &ModelName,
        source: &Source,
        is_chosen: bool,
    ) -> Result<(), StoreError> {
        self.unlike_others(name)?;
        match self.find(name)? {
            Some(there) if !is_chosen && !source.is_of(&there.source) => {
                Err(StoreError::Taken { name: name.clone(), from: there.source.to_string() })
            }
            _ => Ok(()),
        }
    }

    fn unlike_others(&self, name: &ModelName) -> Result<(), StoreError> {
        let entries = self.entries()?.into_iter();
        let mut others = entries.filter_map(|(it, _)| it.strip_suffix(MANIFEST).map(str::to_owned));
        let is_alike = |it: &String| it != name.as_str() && it.eq_ignore_ascii_case(name.as_str());
        match others.find(is_alike) {
            Some(there) => Err(StoreError::Alike { name: name.clone(), there }),
            None => Ok(()),
        }
    }

    /// What a server is started with: a model's file (the first of several parts), or its folder.
    pub fn path(&self, model: &Manifest) -> PathBuf {
        let folder = self.files_of(model);
        match (model.format, model.files.first()) {
            (Format::Gguf, Some(first)) => first.path.under(&folder),
            _ => folder,
        }
    }

    /// The folder of a model's files.
    pub fn files_of(&self, model: &Manifest) -> PathBuf {
        model.folder.under(&self.folder)
    }

    /// Files that belong to no model.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        let used: Vec<FilePath> = self.models()?.into_iter().map(|model| model.folder).collect();
        let is_unused = |name: &str| !used.iter().any(|folder| folder.as_str() == name);
        let entries = self.entries()?.into_iter();
        let folders = entries.filter(|(name, path)| path.is_dir() && is_unused(name));
        let one = |(name, folder): (String, PathBuf)| {
            // A folder without the mark of a commit is its owner's own.
            let (name, _) = name.split_once('@')?;
            // That of a model whose manifest cannot be read is not left over.
            let is_left = name.parse().is_ok_and(|name| self.find(&name).is_ok());
            is_left.then(|| Unfinished { name: name.to_owned(), size: size_of(&folder) })
        };
        Ok(folders.filter_map(one).filter(|it| it.size > 0).collect())
    }

    /// Bytes of everything in it.
    pub fn size(&self) -> u64 {
        size_of(&self.folder)
    }

    /// Bytes of all folders of a name, of a model or left over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn size_of_all(&self, name: &ModelName) -> Result<u64, StoreError> {
        let folders = self.entries()?.into_iter().filter(|(folder, _)| is_of(folder, name));
        Ok(folders.map(|(_, folder)| size_of(&folder)).fold(0, u64::saturating_add))
    }

    /// Removes a model, and what is left of earlier pulls of it; gives back how many bytes that were.
    ///
    /// # Errors
    /// There is none of it, or it cannot be removed.
    pub fn remove(&self, _lock: &Lock, name: &ModelName) -> Result<u64, StoreError> {
        let before = self.size();
        let mut found = false;
        // Without its manifest it is no model any more, whatever comes between.
        let manifest = self.manifest_file(name);
        match fs::remove_file(&manifest) {
            Ok(()) => found = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(reason) => return Err(StoreError::Io { path: manifest, reason }),
        }
        for (folder, path) in self.entries()? {
            if is_of(&folder, name) && path.is_dir() {
                fs::remove_dir_all(&path).map_err(io(&path))?;
                found = true;
            }
        }
        if found {
            Ok(before.saturating_sub(self.size()))
        } else {
            Err(StoreError::Missing { name: name.to_string() })
        }
    }

    /// Makes files that are whole a model, in the place of an earlier one of that name; what was of that one goes.
    pub(crate) fn publish(&self, lock: &Lock, model: &Manifest) -> Result<(), StoreError> {
        self.unlike_others(&model.name)?;
        let folder = self.files_of(model);
        sync(&folder)?;
        let path = self.manifest_file(&model.name);
        let draft = self.folder.join(format!(".{}{MANIFEST}{PART}", model.name));
        let text = serde_json::to_vec_pretty(model).map_err(|error| io(&draft)(error.into()))?;
        if text.len() as u64 > LONGEST_MANIFEST {
            return Err(StoreError::Long(model.name.clone()));
        }
        let mut file = File::create(&draft).map_err(io(&draft))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(io(&draft))?;
        fs::rename(&draft, &path).map_err(io(&path))?;
        sync_alone(&self.folder)?;
        self.sweep(lock, model)
    }

    /// Removes what is left of this name beside the model, unless a node may have it open.
    pub(crate) fn sweep(&self, _lock: &Lock, model: &Manifest) -> Result<(), StoreError> {
        if self.in_use {
            return Ok(());
        }
        for (name, path) in self.entries()? {
            let is_of_it = is_of(&name, &model.name) && path.is_dir();
            if is_of_it && name != model.folder.as_str() {
                fs::remove_dir_all(&path).map_err(io(&path))?;
            }
        }
        let folder = self.files_of(model);
        let kept: Vec<PathBuf> = model.files.iter().map(|file| file.path.under(&folder)).collect();
        for path in files_in(&folder).into_iter().filter(|path| !kept.contains(path)) {
            fs::remove_file(&path).map_err(io(&path))?;
        }
        Ok(())
    }

    /// What is wrong with a model's files, read whole; `heard` is told how many more bytes were read.
    pub fn faults(&self, model: &Manifest, heard: &mut dyn FnMut(u64)) -> Vec<String> {
        let folder = self.files_of(model);
        let fault = |file: &crate::Kept| match digest::of_file(&file.path.under(&folder), heard) {
            Ok(sha256) if sha256 == file.sha256 => None,
            Ok(_) => Some(format!("{} has another hash than when it came", file.path)),
            Err(error) => Some(format!("{}: {error}", file.path)),
        };
        model.files.iter().filter_map(fault).collect()
    }

    fn manifest_file(&self, name: &ModelName) -> PathBuf {
        self.folder.join(format!("{name}{MANIFEST}"))
    }

    /// Names and paths of what is in it, in order; nothing if it was never used.
    fn entries(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(reason) => return Err(StoreError::Io { path: self.folder.clone(), reason }),
        };
        let entries = entries.flatten();
        let mut all: Vec<(String, PathBuf)> =
            entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect();
        all.sort();
        Ok(all)
    }
}

/// Removes a file or a link, if it is there.
pub(crate) fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a folder of the store is one of this model's: `NAME@COMMIT`.
fn is_of(folder: &str, model: &ModelName) -> bool {
    folder.split_once('@').is_some_and(|(it, _)| it == model.as_str())
}

/// Every file in a folder and the folders in it. Links are not followed: there are none of ours.
pub(crate) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_in(&entry.path())),
            Ok(_) => found.push(entry.path()),
            Err(_) => {}
        }
    }
    found
}

pub(crate) fn size_of(folder: &Path) -> u64 {
    let sizes = files_in(folder).into_iter().filter_map(|path| fs::symlink_metadata(path).ok());
    sizes.map(|about| about.len()).fold(0, u64::saturating_add)
}

/// Syncs a folder and those in it, without which a power cut may take the names in them away again.
fn sync(folder: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        for entry in fs::read_dir(folder).map_err(io(folder))?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                sync(&entry.path())?;
            }
        }
    }
    sync_alone(folder)
}

fn sync_alone(folder: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))?;
    }
    Ok(())
}
