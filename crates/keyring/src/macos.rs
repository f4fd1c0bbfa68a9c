//! macOS: generic passwords in the login keychain. A program that was rebuilt is another program to the
//! keychain, which would ask its owner whether to let it in; with interaction off it says no instead.

use security_framework::{
    base::Error,
    os::macos::keychain::SecKeychain,
    passwords::{delete_generic_password, get_generic_password, set_generic_password},
};

use crate::{KeyringError, Secret};

/// No such entry (`errSecItemNotFound`).
const NOT_FOUND: i32 = -25_300;

pub(crate) fn look() -> Result<(), KeyringError> {
    Ok(())
}

pub(crate) fn get(service: &str, account: &str) -> Result<Option<Secret>, KeyringError> {
    silence()?;
    match get_generic_password(service, account) {
        Ok(bytes) => Secret::of_bytes(bytes).map(Some),
        Err(error) if error.code() == NOT_FOUND => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn set(service: &str, account: &str, secret: &Secret) -> Result<(), KeyringError> {
    silence()?;
    Ok(set_generic_password(service, account, secret.expose().as_bytes())?)
}

pub(crate) fn delete(service: &str, account: &str) -> Result<(), KeyringError> {
    silence()?;
    match delete_generic_password(service, account) {
        Err(error) if error.code() != NOT_FOUND => Err(error.into()),
        _ => Ok(()),
    }
}

/// Turns windows off, for good: another thread's call must not find them on again.
fn silence() -> Result<(), KeyringError> {
    std::mem::forget(SecKeychain::disable_user_interaction()?);
    Ok(())
}

impl From<Error> for KeyringError {
    fn from(error: Error) -> Self {
        match error.code() {
            // errSecInteractionNotAllowed: locked, or it wants to ask.
            -25_308 => Self::Locked,
            // errSecAuthFailed, errSecUserCanceled, errSecMissingEntitlement
            -25_293 | -128 | -34_018 => Self::Denied,
            // errSecNotAvailable, errSecNoSuchKeychain, errSecNoDefaultKeychain
            -25_291 | -25_294 | -25_307 => Self::Absent(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}
