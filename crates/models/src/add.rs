//! A model that is on this machine already into the store: linked where the disk can, copied where it cannot.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    Check, Heard, Step,
    choice::{self, ChoiceError, Chosen, choose},
    digest,
    fetch::part_of,
    hub::Listed,
    manifest::{Format, Kept, Manifest, Source, VERSION},
    names::{FilePath, ModelName},
    pull::folder_of,
    room::{self, Room, RoomError},
    store::{Lock, Store, StoreError, gone},
};

/// A model on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Add<'a> {
    /// A `.gguf` file, the first of its parts, or a folder for MLX.
    pub from: &'a Path,
    /// What it shall be called; after its file or folder if `None`.
    pub name: Option<&'a ModelName>,
    /// Its license, if its owner says it.
    pub license: Option<&'a str>,
    /// How much the store may hold.
    pub room: Room,
    /// Now, in milliseconds since the epoch.
    pub now_ms: u64,
}

/// Why a model of this machine is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It cannot be read.
    #[error("{path}: {reason}; name a .gguf file, or the folder of a model for MLX")]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// No model was chosen.
    #[error("{path}: {reason}")]
    Choice {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: ChoiceError,
    },
    /// It is no model.
    #[error("{0}; name a .gguf file, or the folder of a model for MLX")]
    Unfit(String),
    /// It changed while it was taken in.
    #[error("{0} changed while it was copied; try again when nobody writes to it")]
    Changed(PathBuf),
    /// There is no room.
    #[error("{name} is not taken in: {reason}")]
    Room {
        /// What.
        name: ModelName,
        /// Why.
        reason: RoomError,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It has no name of its own.
    #[error("no name can be made of {0:?}; choose one with --name")]
    Nameless(String),
}

/// Takes a model in.
///
/// # Errors
/// See [`AddError`].
pub fn add(store: &Store, it: Add<'_>, check: Check<'_>, heard: Heard<'_>) -> Result<Manifest, AddError> {
    let from = own_name(it.from).map_err(unreadable(it.from))?;
    let (folder, chosen) = found(&from)?;
    match chosen.format {
        // Each part is a file of its own.
        Format::Gguf => chosen.files.iter().try_for_each(|it| check(Format::Gguf, &it.path.under(&folder))),
        Format::Safetensors => check(Format::Safetensors, &folder),
    }
    .map_err(AddError::Unfit)?;
    let made = || ModelName::made_of(&chosen.called).ok_or_else(|| AddError::Nameless(chosen.called.clone()));
    let name = it.name.cloned().map_or_else(made, Ok)?;
    let lock = store.lock()?;
    let source = Source::Local { path: it.from.display().to_string() };
    store.may_have(&name, &source, it.name.is_some())?;
    let room = |reason| AddError::Room { name: name.clone(), reason };
    it.room.within_quota(chosen.size(), store.size()).map_err(room)?;
    let sources = sources(&folder, &chosen)?;
    let files = hashed(&sources, &chosen, heard)?;
    let model = Manifest {
        version: VERSION,
        folder: own_folder(&name, &files)?,
        name: name.clone(),
        format: chosen.format,
        quantization: chosen.quantization.clone(),
        source,
        license: it.license.map(str::to_owned),
        files,
        pulled_at_ms: it.now_ms,
    };
    take_in(store, &lock, &model, &sources).map_err(|error| match error {
        Taken::Room(reason) => AddError::Room { name, reason },
        Taken::Io(path, reason) => StoreError::Io { path, reason }.into(),
        Taken::Changed(path) => AddError::Changed(path),
    })?;
    store.publish(&lock, &model)?;
    Ok(model)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> AddError + '_ {
    |reason| AddError::Unreadable { path: path.to_path_buf(), reason }
}

/// Where it is, under the name that it was given: a link's target may be called anything.
fn own_name(from: &Path) -> io::Result<PathBuf> {
    let (Some(parent), Some(name)) = (from.parent(), from.file_name()) else { return from.canonicalize() };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let from = parent.canonicalize()?.join(name);
    from.metadata().map(|_| from)
}

/// The folder of a model, and its files there: of a file, it and the other parts of it.
fn found(from: &Path) -> Result<(PathBuf, Chosen), AddError> {
    let is_folder = from.is_dir();
    let folder = if is_folder { from } else { from.parent().unwrap_or(from) };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))?.flatten() {
        // What has a name that the store cannot have, or is no file, is none of the model's.
        let Ok(path) = entry.file_name().to_string_lossy().parse::<FilePath>() else { continue };
        let Ok(about) = fs::metadata(entry.path()) else { continue };
        if about.is_file() {
            files.push(Listed { path, size: about.len(), known: None });
        }
    }
    let called = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let choice = (!is_folder).then(|| called(from));
    if let Some(name) = &choice {
        // Of a folder with many models only the named one and its parts count, or what it is refused for.
        let parts = stem(name).and_then(choice::part_of).map(|(called, _, parts)| (called, parts));
        let is_of_it = |name: &str| {
            parts.is_some() && stem(name).and_then(choice::part_of).map(|(it, _, of)| (it, of)) == parts
        };
        files.retain(|file| file.path.as_str() == name || is_of_it(file.path.as_str()));
    }
    let chosen = choose(&called(folder), &files, choice.as_deref());
    let chosen = chosen.map_err(|reason| AddError::Choice { path: from.to_path_buf(), reason })?;
    Ok((folder.to_path_buf(), chosen))
}

/// The name of a GGUF file without its end.
fn stem(name: &str) -> Option<&str> {
    let at = name.len().checked_sub(".gguf".len())?;
    name.is_char_boundary(at)
        .then(|| name.split_at(at))
        .filter(|it| it.1.eq_ignore_ascii_case(".gguf"))
        .map(|it| it.0)
}

/// The files themselves, where links lead to them: a link in the store would lead out of it.
fn sources(folder: &Path, chosen: &Chosen) -> Result<Vec<PathBuf>, AddError> {
    let one = |file: &Listed| {
        let path = file.path.under(folder);
        path.canonicalize().map_err(unreadable(&path))
    };
    chosen.files.iter().map(one).collect()
}

fn hashed(sources: &[PathBuf], chosen: &Chosen, heard: Heard<'_>) -> Result<Vec<Kept>, AddError> {
    let (of, mut here, mut files) = (chosen.size(), 0, Vec::new());
    for (from, Listed { path, size, .. }) in sources.iter().zip(&chosen.files) {
        let mut read = |more: u64| {
            here += more;
            heard(Step::At { file: path, here, of });
        };
        let sha256 = digest::of_file(from, &mut read).map_err(unreadable(from))?;
        files.push(Kept { path: path.clone(), size: *size, sha256 });
    }
    Ok(files)
}

fn own_folder(name: &ModelName, files: &[Kept]) -> Result<FilePath, AddError> {
    let all = digest::of_list(files.iter().map(|file| (file.path.as_str(), file.sha256.as_str())));
    folder_of(name, &all).map_err(|_| AddError::Nameless(name.to_string()))
}

/// Why files were not taken in.
enum Taken {
    Room(RoomError),
    Io(PathBuf, io::Error),
    Changed(PathBuf),
}

fn take_in(store: &Store, _lock: &Lock, model: &Manifest, sources: &[PathBuf]) -> Result<(), Taken> {
    let place = store.files_of(model);
    fs::create_dir_all(&place).map_err(|reason| Taken::Io(place.clone(), reason))?;
    for (file, from) in model.files.iter().zip(sources) {
        let to = file.path.under(&place);
        let (part, failed) = (part_of(&to), |reason| Taken::Io(to.clone(), reason));
        gone(&part).map_err(failed)?;
        if fs::hard_link(from, &part).is_err() {
            room::on_disk(&place, file.size).map_err(Taken::Room)?;
            copy(from, &part).map_err(failed)?;
            if digest::of_file(&part, &mut |_| ()).map_err(failed)? != file.sha256 {
                return Err(Taken::Changed(from.clone()));
            }
        }
        if !fs::symlink_metadata(&part).map_err(failed)?.is_file() {
            gone(&part).map_err(failed)?;
            return Err(Taken::Changed(from.clone()));
        }
        fs::File::open(&part).and_then(|part| part.sync_all()).map_err(failed)?;
        fs::rename(&part, &to).map_err(failed)?;
    }
    Ok(())
}

/// Copies to a new file, and never through a link to another.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut to = fs::File::options().write(true).create_new(true).open(to)?;
    io::copy(&mut fs::File::open(from)?, &mut to).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    const ROOM: Room = Room { quota: 1_000 };

    fn added(store: &Store, from: &Path, name: Option<&str>) -> Result<Manifest, String> {
        let name: Option<ModelName> = name.map(|name| name.parse().unwrap());
        let it = Add { from, name: name.as_ref(), license: None, room: ROOM, now_ms: 7 };
        add(store, it, &|_, _| Ok(()), &mut |_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_with_all_its_parts_is_taken_in_and_its_neighbours_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("models"));
        for (name, text) in [
            ("m-Q8_0-00001-of-00002.gguf", "one"),
            ("m-Q8_0-00002-of-00002.gguf", "two"),
            ("m-F16-00001-of-00002.gguf", "alone"),
            ("m-Q4_0.gguf", "four"),
            ("x.bin", "pickle"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let model = added(&store, &folder.path().join("m-Q8_0-00001-of-00002.gguf"), None).unwrap();
        assert_eq!((model.name.as_str(), model.files.len(), model.size()), ("m-Q8_0", 2, 6));
        assert!(store.path(&model).ends_with("m-Q8_0-00001-of-00002.gguf"));
        // `printf one | sha256sum` and so on, as the list of both would be printed; all of it is looked at before a start.
        let list = "e5fc74681789ba3382c5cf532d53dbea3ece85acbe0f623dbb328b9346eea9b1";
        assert_eq!(model.digest(), format!("sha256:{list}"));
        assert!(store.faults(&model, &mut |_| ()).is_empty());
        for (name, word) in [
            ("m-F16-00001-of-00002.gguf", "1 of its 2 parts"),
            ("x.bin", "pickle"),
            ("nothing.gguf", "No such file"),
        ] {
            let error = added(&store, &folder.path().join(name), None).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(store.models().unwrap(), [model]);
    }

    #[test]
    fn a_model_takes_the_place_of_an_earlier_one_and_none_is_lost_by_being_added_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("models"));
        let (a, b) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
        std::fs::write(&a, "one").unwrap();
        std::fs::write(&b, "three").unwrap();
        added(&store, &a, Some("m")).unwrap();
        let model = added(&store, &b, Some("m")).unwrap();
        assert_eq!(std::fs::read(store.path(&model)).unwrap(), b"three");
        // From where it is in the store.
        let again = added(&store, &store.path(&model), Some("m")).unwrap();
        assert_eq!(std::fs::read(store.path(&again)).unwrap(), b"three");
        assert_eq!((store.models().unwrap().len(), store.unfinished().unwrap().len()), (1, 0));
        std::fs::write(folder.path().join("large.gguf"), [0; 999]).unwrap();
        let error = added(&store, &folder.path().join("large.gguf"), None).unwrap_err();
        assert!(error.contains("is not taken in") && error.contains("models.quota_gb"), "{error}");
        let lock = store.lock().unwrap();
        assert!(added(&store, &a, None).unwrap_err().contains("is at work"));
        assert!(store.remove(&lock, &again.name).unwrap() > 0);
        assert!(matches!(store.remove(&lock, &again.name), Err(StoreError::Missing { .. })));
        assert!(store.named("m").unwrap_err().to_string().contains("models pull"));
    }

    #[test]
    fn a_manifest_that_was_meddled_with_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("models"));
        std::fs::write(folder.path().join("m.gguf"), "one").unwrap();
        added(&store, &folder.path().join("m.gguf"), None).unwrap();
        let path = store.folder().join("m.json");
        let text = std::fs::read_to_string(&path).unwrap();
        for (was, is) in
            [("\"m.gguf\"", "\"../../m.gguf\""), ("\"m@", "\"../m@"), ("\"name\": \"m\"", "\"name\": \"n\"")]
        {
            assert!(text.contains(was), "{text}");
            std::fs::write(&path, text.replace(was, is)).unwrap();
            let why = store.unreadable().unwrap();
            assert!(why.len() == 1 && why[0].to_string().contains("m.json cannot be read"), "{is}");
        }
        // The others are there as before, and its files are nobody's leftover.
        std::fs::write(folder.path().join("a.gguf"), "two").unwrap();
        let other = added(&store, &folder.path().join("a.gguf"), None).unwrap();
        assert_eq!((store.models().unwrap(), store.unfinished().unwrap()), (vec![other], vec![]));
        assert!(store.remove(&store.lock().unwrap(), &"m".parse().unwrap()).unwrap() > 0);
        assert!(store.unreadable().unwrap().is_empty());
    }

    #[test]
    fn a_folder_of_its_owner_that_is_called_like_a_model_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("models"));
        let (a, own) = (folder.path().join("m.gguf"), store.folder().join("m"));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("notes"), "mine").unwrap();
        std::fs::write(&a, "one").unwrap();
        let model = added(&store, &a, None).unwrap();
        assert_eq!(store.unfinished().unwrap(), [], "it is nobody's leftover");
        store.remove(&store.lock().unwrap(), &model.name).unwrap();
        assert!(own.join("notes").exists() && !store.files_of(&model).exists());
    }

    #[test]
    fn every_part_is_looked_at_and_known_by_the_end_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("models"));
        for at in 1..=2 {
            std::fs::write(folder.path().join(format!("one-of-us-Q8_0-0000{at}-of-00002.gguf")), "x")
                .unwrap();
        }
        let from = folder.path().join("one-of-us-Q8_0-00002-of-00002.gguf");
        let it = Add { from: &from, name: None, license: None, room: ROOM, now_ms: 7 };
        let check = |_, path: &Path| match path.ends_with("one-of-us-Q8_0-00002-of-00002.gguf") {
            true => Err("it is cut off".to_owned()),
            false => Ok(()),
        };
        let error = add(&store, it, &check, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("it is cut off"), "{error}");
        let model = added(&store, &from, None).unwrap();
        assert_eq!((model.name.as_str(), model.files.len()), ("one-of-us-Q8_0", 2));
    }

    #[test]
    fn no_model_takes_the_name_of_another_unless_it_is_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("models"));
        let there: Vec<PathBuf> = ["a", "b"].iter().map(|it| folder.path().join(it)).collect();
        for place in &there {
            std::fs::create_dir(place).unwrap();
            std::fs::write(place.join("m.gguf"), place.display().to_string()).unwrap();
        }
        let first = added(&store, &there[0].join("m.gguf"), None).unwrap();
        let error = added(&store, &there[1].join("m.gguf"), None).unwrap_err();
        assert!(error.contains("called m already") && error.contains("--name"), "{error}");
        assert_eq!(store.models().unwrap(), [first]);
        assert!(added(&store, &there[0].join("m.gguf"), None).is_ok(), "it is the same one");
        assert!(added(&store, &there[1].join("m.gguf"), Some("m")).is_ok(), "it was told to");
        let error = added(&store, &there[1].join("m.gguf"), Some("M")).unwrap_err();
        assert!(error.contains("in capitals alone"), "{error}");
        assert_eq!(store.models().unwrap().len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_to_their_files_and_none_gets_into_the_store() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("models"));
        // As the hub's own program keeps models: a folder of links to files that are called by their hashes.
        let (blobs, snapshot) = (folder.path().join("blobs"), folder.path().join("snapshots/abc"));
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::write(blobs.join("1234"), "one").unwrap();
        let link = snapshot.join("m-Q8_0.gguf");
        symlink("../../blobs/1234", &link).unwrap();
        let outside = folder.path().join("outside");
        // What an earlier try, or somebody else, has left where the file comes.
        let hash = digest::of_file(&link, &mut |_| ()).unwrap();
        let all = digest::of_list(std::iter::once(("m-Q8_0.gguf", hash.as_str())));
        let place = store.folder().join(folder_of(&"m-Q8_0".parse().unwrap(), &all).unwrap().as_str());
        std::fs::create_dir_all(&place).unwrap();
        symlink(&outside, place.join("m-Q8_0.gguf.part")).unwrap();
        let model = added(&store, &link, None).unwrap();
        assert_eq!((model.name.as_str(), store.files_of(&model)), ("m-Q8_0", place));
        let kept = store.path(&model);
        assert!(std::fs::symlink_metadata(&kept).unwrap().is_file(), "a file and no link");
        assert_eq!(std::fs::read(&kept).unwrap(), b"one");
        assert!(!outside.exists(), "nothing is written through a link");
        assert!(store.faults(&model, &mut |_| ()).is_empty());
    }
}
