//! The model store: models from a public hub or from this machine, whole and known by their hashes.
//!
//! In reading order: [`Wanted`] says which model is meant, [`Hub`] what the hub has, [`choose`] which files of it make
//! a model, `fetch` brings them whole, [`Store`] keeps them within `room`, and [`pull`] and [`add`] are the two ways
//! in. What a model file says of itself is looked at by a [`Check`] of the caller's: no format is read here, and
//! nothing that was fetched is ever run. Nothing here prints, or reads the environment.

mod add;
mod choice;
mod digest;
mod fetch;
mod hub;
mod manifest;
mod names;
mod pull;
mod room;
mod store;

pub use add::{Add, AddError, add};
pub use choice::{ChoiceError, Chosen, choose};
pub use fetch::FetchError;
pub use hub::{Hub, HubError, Known, Listed, Listing, Patience, Token};
pub use manifest::{Format, Kept, Manifest, Source};
pub use names::{FilePath, ModelName, NameError, Repository, Wanted};
pub use pull::{Pull, PullError, Pulled, pull};
pub use room::{Room, RoomError, shown};
pub use store::{Lock, Store, StoreError, Unfinished};

use std::path::Path;

/// How what is served of a model (a file, or a folder of them) says that it is no such model. The caller's, because it
/// has the readers of the formats.
pub type Check<'a> = &'a (dyn Fn(Format, &Path) -> Result<(), String> + Sync);

/// What is happening, for whoever waits.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// This will be fetched.
    Found {
        /// Where it is.
        listing: &'a Listing,
        /// Which files.
        chosen: &'a Chosen,
        /// What it will be called.
        name: &'a ModelName,
    },
    /// A file has come so far.
    At {
        /// Which.
        file: &'a FilePath,
        /// Bytes that are here, of all files.
        here: u64,
        /// Bytes of all files.
        of: u64,
    },
    /// The connection broke; it is tried again after a pause.
    Again {
        /// Why.
        why: &'a str,
    },
}

/// Hears of the steps.
pub type Heard<'a> = &'a mut dyn FnMut(Step<'_>);
