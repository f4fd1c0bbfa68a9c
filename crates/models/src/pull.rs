//! A model from a hub into the store: looked up at a commit, chosen, fetched whole, checked, then written down.

use std::{fs, path::Path};

use crate::{
    Check, Heard, Step,
    choice::{ChoiceError, Chosen, choose},
    fetch::{self, FetchError, part_of},
    hub::{Hub, HubError, Listed, Listing},
    manifest::{Kept, Manifest, Source, VERSION},
    names::{FilePath, ModelName, Wanted},
    room::{self, Room, RoomError},
    store::{Store, StoreError, gone, io},
};

/// How much of a commit is in the name of a folder.
const SHORT_COMMIT: usize = 12;

/// A model to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    /// What is meant.
    pub wanted: &'a Wanted,
    /// A branch, a tag or a commit.
    pub revision: &'a str,
    /// What it shall be called; after its file or its repository if `None`.
    pub name: Option<&'a ModelName>,
    /// How much the store may hold.
    pub room: Room,
    /// Now, in milliseconds since the epoch.
    pub now_ms: u64,
}

/// A model that is in the store.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The model.
    pub model: Manifest,
    /// Whether it was there before, at this commit.
    pub was_there: bool,
}

/// Why a model is not in the store. What was there before is there still.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// No model was chosen.
    #[error("{repository}: {reason}")]
    Choice {
        /// Where.
        repository: String,
        /// Why.
        reason: ChoiceError,
    },
    /// There is no room.
    #[error("{name} is not fetched: {reason}")]
    Room {
        /// What.
        name: ModelName,
        /// Why.
        reason: RoomError,
    },
    /// A file did not come.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is no model, though it is what the hub lists.
    #[error("what the hub has is no model that can be served: {0}; look for another of the same model")]
    Unfit(String),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It has no name of its own.
    #[error("no name can be made of {0:?}; choose one with --name")]
    Nameless(String),
}

/// Fetches a model, or finds it there.
///
/// # Errors
/// See [`PullError`].
pub async fn pull(
    store: &Store,
    hub: &Hub,
    it: Pull<'_>,
    check: Check<'_>,
    heard: Heard<'_>,
) -> Result<Pulled, PullError> {
    let listing = hub.listing(&it.wanted.repository, it.revision).await?;
    let repository = it.wanted.repository.to_string();
    let chosen = choose(&repository, &listing.files, it.wanted.choice.as_deref())
        .map_err(|reason| PullError::Choice { repository, reason })?;
    let made =
        || ModelName::made_of(&chosen.called).ok_or_else(|| PullError::Nameless(chosen.called.clone()));
    let name = it.name.cloned().map_or_else(made, Ok)?;
    heard(Step::Found { listing: &listing, chosen: &chosen, name: &name });
    let lock = store.lock()?;
    store.may_have(&name, &source(it, hub, &listing), it.name.is_some())?;
    let folder: FilePath = folder_of(&name, &listing.commit)?;
    let place = folder.under(store.folder());
    if let Some(model) = there(store, &name, &folder, &chosen)? {
        store.sweep(&lock, &model)?;
        return Ok(Pulled { model, was_there: true });
    }
    has_room(store, it.room, &chosen, &place)
        .map_err(|reason| PullError::Room { name: name.clone(), reason })?;
    let files = fetch_all(hub, &listing, &chosen, &place, heard).await?;
    let model = manifest(it, hub, &listing, &chosen, (name, folder, files));
    if let Err(why) = check(model.format, &store.path(&model)) {
        // It would be no other the next time.
        discard(store, &model)?;
        return Err(PullError::Unfit(why));
    }
    store.publish(&lock, &model)?;
    Ok(Pulled { model, was_there: false })
}

/// A folder's name: letters that names and commits are made of, so it always is one.
pub(crate) fn folder_of(name: &ModelName, of: &str) -> Result<FilePath, PullError> {
    let short: String = of.chars().take(SHORT_COMMIT).collect();
    format!("{name}@{short}").parse().map_err(|error| PullError::Hub(HubError::Name(error)))
}

/// The model, if it is there with these files at this commit.
fn there(
    store: &Store,
    name: &ModelName,
    folder: &FilePath,
    chosen: &Chosen,
) -> Result<Option<Manifest>, StoreError> {
    let found = store.find(name)?.filter(|model| {
        let place = store.files_of(model);
        let is_there =
            |file: &Kept| file.path.under(&place).metadata().is_ok_and(|about| about.len() == file.size);
        let wanted = chosen.files.iter().map(|file| &file.path);
        model.folder == *folder
            && model.files.iter().map(|file| &file.path).eq(wanted)
            && model.files.iter().all(is_there)
    });
    Ok(found)
}

/// Deletes files that are no model, and none that the model of this name has at the same commit.
fn discard(store: &Store, unfit: &Manifest) -> Result<(), StoreError> {
    let place = store.files_of(unfit);
    let current = store.find(&unfit.name)?.filter(|it| it.folder == unfit.folder);
    let is_kept = |file: &Kept| current.iter().flat_map(|it| &it.files).any(|kept| kept.path == file.path);
    for file in unfit.files.iter().filter(|file| !is_kept(file)) {
        let path = file.path.under(&place);
        for path in [&part_of(&path), &path] {
            gone(path).map_err(io(path))?;
        }
        // The folders as well, as far as nothing else is in them.
        let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&place));
        let _ = folders.map(fs::remove_dir).take_while(Result::is_ok).count();
    }
    Ok(())
}

/// Bytes of these files that are here; of what else is in their folder none count.
fn come(chosen: &Chosen, place: &Path) -> u64 {
    let length = |path: &Path| fs::metadata(path).ok().map(|about| about.len());
    let one = |file: &Listed| {
        let path = file.path.under(place);
        length(&path).or_else(|| length(&part_of(&path))).unwrap_or(0).min(file.size)
    };
    chosen.files.iter().map(one).fold(0, u64::saturating_add)
}

/// Room for what is not here yet.
fn has_room(store: &Store, room: Room, chosen: &Chosen, place: &Path) -> Result<(), RoomError> {
    let here = come(chosen, place);
    room.within_quota(chosen.size(), store.size().saturating_sub(here))?;
    room::on_disk(store.folder(), chosen.size().saturating_sub(here))
}

async fn fetch_all(
    hub: &Hub,
    listing: &Listing,
    chosen: &Chosen,
    place: &Path,
    heard: Heard<'_>,
) -> Result<Vec<Kept>, FetchError> {
    let (of, mut before, mut kept) = (chosen.size(), 0, Vec::new());
    for file in &chosen.files {
        let to = file.path.under(place);
        let mut told = |here: u64, why: Option<&str>| match why {
            Some(why) => heard(Step::Again { why }),
            None => heard(Step::At { file: &file.path, here: before + here, of }),
        };
        kept.push(fetch::fetch(hub, listing, file, &to, &mut told).await?);
        before += file.size;
    }
    Ok(kept)
}

fn source(it: Pull<'_>, hub: &Hub, listing: &Listing) -> Source {
    Source::Hub {
        hub: hub.address().into(),
        repository: listing.repository.to_string(),
        revision: it.revision.into(),
        commit: listing.commit.clone(),
    }
}

fn manifest(
    it: Pull<'_>,
    hub: &Hub,
    listing: &Listing,
    chosen: &Chosen,
    (name, folder, files): (ModelName, FilePath, Vec<Kept>),
) -> Manifest {
    Manifest {
        version: VERSION,
        name,
        format: chosen.format,
        quantization: chosen.quantization.clone(),
        source: source(it, hub, listing),
        license: listing.license.clone(),
        folder,
        files,
        pulled_at_ms: it.now_ms,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    /// A model of the store at one commit, whose files have so many bytes.
    fn model(store: &Store, files: &[(&str, usize)]) -> Manifest {
        let source = Source::Local { path: "/m".into() };
        let name: ModelName = "m".parse().unwrap();
        let folder = folder_of(&name, "0123").unwrap();
        let mut kept = Vec::new();
        for (file, size) in files {
            let path: FilePath = file.parse().unwrap();
            let to = path.under(&folder.under(store.folder()));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, vec![7; *size]).unwrap();
            kept.push(Kept { path, size: *size as u64, sha256: "0".repeat(64) });
        }
        Manifest {
            version: VERSION,
            name,
            format: crate::Format::Gguf,
            quantization: None,
            source,
            license: None,
            folder,
            files: kept,
            pulled_at_ms: 0,
        }
    }

    #[test]
    fn what_is_no_model_goes_and_the_model_of_its_name_and_commit_stays() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::at(home.path().join("models"));
        let good = model(&store, &[("m-Q4_0.gguf", 3), ("config.json", 2)]);
        store.publish(&store.lock().unwrap(), &good).unwrap();
        let bad = model(&store, &[("q8/m-Q8_0.gguf", 5), ("config.json", 2)]);
        discard(&store, &bad).unwrap();
        let place = store.files_of(&good);
        assert!(place.join("m-Q4_0.gguf").exists() && place.join("config.json").exists());
        assert!(!place.join("q8").exists(), "nothing of it is left");
        assert_eq!(store.models().unwrap(), [good]);
    }

    #[test]
    fn only_what_has_come_of_the_chosen_files_needs_no_more_room() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::at(home.path().join("models"));
        let old = model(&store, &[("m-Q4_0.gguf", 700), ("b.gguf.part", 90), ("c.gguf", 10)]);
        let place = store.files_of(&old);
        let one = |path: &str, size| Listed { path: path.parse().unwrap(), size, known: None };
        let files = vec![one("a.gguf", 400), one("b.gguf", 100), one("c.gguf", 7)];
        let chosen = Chosen { format: crate::Format::Gguf, quantization: None, called: "m".into(), files };
        assert_eq!(come(&chosen, &place), 97);
        let room = |quota| has_room(&store, Room { quota }, &chosen, &place);
        // 800 bytes are there, 97 of them of these files, which will be 507.
        assert!(room(800 - 97 + 507).is_ok());
        assert!(matches!(room(800 - 97 + 506), Err(RoomError::Quota { .. })));
    }

    #[test]
    fn what_a_running_node_may_have_open_stays_until_none_runs() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::at(home.path().join("models"));
        let old = model(&store, &[("m-Q4_0.gguf", 3)]);
        let busy = store.clone().in_use(true);
        let lock = busy.lock().unwrap();
        busy.publish(&lock, &old).unwrap();
        let folder: FilePath = "m@4567".parse().unwrap();
        fs::create_dir_all(folder.under(busy.folder())).unwrap();
        fs::write(folder.under(busy.folder()).join("m-Q4_0.gguf"), "new").unwrap();
        let new = Manifest { folder, ..old.clone() };
        busy.publish(&lock, &new).unwrap();
        assert!(busy.path(&old).exists() && busy.path(&new).exists());
        assert_eq!((busy.unfinished().unwrap().len(), busy.size_of_all(&new.name).unwrap()), (1, 6));
        store.sweep(&lock, &new).unwrap();
        assert!(!busy.path(&old).exists() && busy.path(&new).exists());
        assert_eq!(busy.unfinished().unwrap(), []);
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::at(home.path().join("models"));
        let mut long = model(&store, &[("m.gguf", 3)]);
        long.license = Some("x".repeat(5 << 20));
        let lock = store.lock().unwrap();
        assert!(matches!(store.publish(&lock, &long), Err(StoreError::Long(_))));
        assert!(store.models().unwrap().is_empty() && store.unreadable().unwrap().is_empty());
    }
}
