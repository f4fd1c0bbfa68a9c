//! Systems whose keyring this program does not know.

use crate::{KeyringError, Secret};

fn absent<T>() -> Result<T, KeyringError> {
    Err(KeyringError::Absent("this system's is not known".into()))
}

pub(crate) fn look() -> Result<(), KeyringError> {
    absent()
}

pub(crate) fn get(_service: &str, _account: &str) -> Result<Option<Secret>, KeyringError> {
    absent()
}

pub(crate) fn set(_service: &str, _account: &str, _secret: &Secret) -> Result<(), KeyringError> {
    absent()
}

pub(crate) fn delete(_service: &str, _account: &str) -> Result<(), KeyringError> {
    absent()
}
