//! Linux: the Secret Service, which GNOME's keyring, KDE's wallet and KeePassXC all speak.

use std::{collections::HashMap, env, path::Path};

use dbus_secret_service::{EncryptionType, Error, Item, SearchItemsResult, SecretService};

use crate::{KeyringError, PATIENCE, Secret};

/// Without a bus there is nobody to ask, and libdbus must not get the idea to start one.
pub(crate) fn look() -> Result<(), KeyringError> {
    let named = env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some_and(|address| !address.is_empty());
    let usual =
        || env::var_os("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).join("bus").exists());
    if named || usual() { Ok(()) } else { Err(KeyringError::Absent("there is no session bus".into())) }
}

pub(crate) fn get(service: &str, account: &str) -> Result<Option<Secret>, KeyringError> {
    let keyring = connect()?;
    let found = find(&keyring, service, account)?;
    match found.first() {
        Some(item) => Secret::of_bytes(item.get_secret()?).map(Some),
        None => Ok(None),
    }
}

pub(crate) fn set(service: &str, account: &str, secret: &Secret) -> Result<(), KeyringError> {
    let keyring = connect()?;
    let collection = keyring.get_default_collection()?;
    if collection.is_locked()? {
        return Err(KeyringError::Locked);
    }
    let label = format!("{service} ({account})");
    collection.create_item(
        &label,
        attributes(service, account),
        secret.expose().as_bytes(),
        true,
        "text/plain",
    )?;
    Ok(())
}

pub(crate) fn delete(service: &str, account: &str) -> Result<(), KeyringError> {
    let keyring = connect()?;
    find(&keyring, service, account)?.iter().try_for_each(|item| Ok(item.delete()?))
}

/// A connection that cancels what would have to be asked of a person.
fn connect() -> Result<SecretService, KeyringError> {
    Ok(SecretService::connect_with_max_prompt_timeout(EncryptionType::Plain, 0)?)
}

fn attributes<'a>(service: &'a str, account: &'a str) -> HashMap<&'a str, &'a str> {
    HashMap::from([("service", service), ("account", account)])
}

/// What is kept under these names, in any collection.
fn find<'a>(keyring: &'a SecretService, service: &str, account: &str) -> Result<Vec<Item<'a>>, KeyringError> {
    let SearchItemsResult { unlocked, locked } = keyring.search_items(attributes(service, account))?;
    if !unlocked.is_empty() {
        return Ok(unlocked);
    }
    // KDE's wallet does not say what it holds while it is locked.
    if !locked.is_empty() || keyring.get_default_collection()?.is_locked()? {
        return Err(KeyringError::Locked);
    }
    Ok(unlocked)
}

impl From<Error> for KeyringError {
    fn from(error: Error) -> Self {
        match error {
            Error::Dbus(error) => of_bus(&error),
            Error::Locked => Self::Locked,
            Error::Prompt => Self::Denied,
            Error::NoResult => Self::Absent("it has no default collection yet".into()),
            Error::Unavailable => Self::Absent("nobody on the session bus keeps secrets".into()),
            // Its own text names the variant, never a secret.
            error => Self::Failed(error.to_string()),
        }
    }
}

/// D-Bus tells errors apart by their names.
fn of_bus(error: &dbus::Error) -> KeyringError {
    let name = error.name().unwrap_or_default();
    let text = || error.message().unwrap_or(name).trim().to_owned();
    match name.rsplit('.').next().unwrap_or_default() {
        "NoReply" | "Timeout" | "TimedOut" => KeyringError::TimedOut(PATIENCE),
        "IsLocked" => KeyringError::Locked,
        "AccessDenied" | "AuthFailed" => KeyringError::Denied,
        "NoServer" | "FileNotFound" | "BadAddress" | "Disconnected" | "NotSupported" | "ServiceUnknown"
        | "NameHasNoOwner" | "UnknownMethod" | "UnknownObject" => KeyringError::Absent(text()),
        _ if name.contains(".Spawn.") => KeyringError::Absent(text()),
        _ => KeyringError::Failed(text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_bus_is_told_by_its_name() {
        let of = |name: &str| of_bus(&dbus::Error::new_custom(name, "why"));
        assert_eq!(of("org.freedesktop.DBus.Error.ServiceUnknown"), KeyringError::Absent("why".into()));
        assert_eq!(of("org.freedesktop.DBus.Error.Spawn.ExecFailed"), KeyringError::Absent("why".into()));
        assert_eq!(of("org.freedesktop.DBus.Error.NoReply"), KeyringError::TimedOut(PATIENCE));
        assert_eq!(of("org.freedesktop.Secret.Error.IsLocked"), KeyringError::Locked);
        assert_eq!(of("org.freedesktop.DBus.Error.AccessDenied"), KeyringError::Denied);
        assert_eq!(of("org.example.Odd"), KeyringError::Failed("why".into()));
    }
}
