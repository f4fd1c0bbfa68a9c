//! The device secret: what seals a home's identities when their owner gives no passphrase, and where it
//! is kept.
//!
//! `device.key` holds either the secret itself, readable for its owner alone, or the line `keyring:…`,
//! the account under which the system's keyring keeps it. One file, replaced whole, so that at each
//! instant there is one answer to where the secret is, a crash included. What the line says is never
//! guessed round: if the keyring cannot be asked, the home stays closed, and no new secret is made.
//!
//! Only a home in the platform's own place puts anything into a keyring. Homes that somebody chose are
//! demos, tests and servers, and there are many of them. They do read what the line names, so that the
//! platform's home opens under its full path too.

use openagents_keyring::{Keyring, KeyringError, Secret};
use zeroize::Zeroizing;

use crate::{
    failpoint,
    home::{Home, HomeError, Site, remove, write_first, write_private},
};

/// Under which name a person finds our secrets in the keyring.
pub(crate) const SERVICE: &str = "OpenAgents Compute";

/// How the line in `device.key` begins when the secret is elsewhere. A secret is hexadecimal.
pub(crate) const MARK: &str = "keyring:";

/// Whether the keyring may be used: `on` (or not set) or `off`, for servers that shall not even look.
const SWITCH: &str = "OPENAGENTS_KEYRING";

/// Where a device secret is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In `device.key`.
    File,
    /// In the system's keyring.
    Keyring,
}

/// Why the device secret cannot be had or moved.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The secret is in the keyring, which cannot be asked.
    #[error(
        "{0}, and it holds this home's secret; log in at the desktop or unlock the keyring, then try again"
    )]
    Closed(KeyringError),
    /// The keyring can be asked and has no such secret.
    #[error(
        "the keyring does not hold this home's secret; it is in the keyring of the login and machine where \
        the home was made, or was deleted there: use the home there, or import the key from a copy of yours"
    )]
    Lost,
    /// The secret is in the keyring, which must not be asked.
    #[error("the keyring holds this home's secret, and {SWITCH} is off; unset it")]
    Off,
    /// The switch says something else.
    #[error("{SWITCH} is {0:?}; say on or off")]
    Switch(String),
    /// Somebody wants the secret in the keyring, which must not be asked.
    #[error("{SWITCH} is off; unset it to use the keyring")]
    Unwanted,
    /// Somebody wants the secret of a home of their own in the keyring.
    #[error("only a home in the usual place uses the keyring; leave out --home and OPENAGENTS_HOME")]
    Elsewhere,
    /// The keyring does not take the secret.
    #[error(
        "{0}, so everything stays as it was; unlock the keyring or log in at the desktop, then try again"
    )]
    Refused(KeyringError),
    /// What was written is not what is read.
    #[error("the secret cannot be read back from its new place, so the old one was not given up; try again")]
    Unproven,
}

/// What `device.key` says.
enum Kept {
    Here(Secret),
    /// In the keyring, under this account.
    There(String),
}

/// The device secret of a home.
#[derive(Debug)]
pub struct Device<'a> {
    home: &'a Home,
}

impl<'a> Device<'a> {
    /// The one of `home`.
    pub fn new(home: &'a Home) -> Self {
        Self { home }
    }

    fn path(&self) -> std::path::PathBuf {
        self.home.data_file("device.key")
    }

    fn kept(&self) -> Result<Option<Kept>, DeviceError> {
        let Some(text) = self.home.read_secret(&self.path())? else { return Ok(None) };
        Ok(Some(match text.strip_prefix(MARK) {
            Some(account) => Kept::There(account.to_owned()),
            None => Kept::Here(Secret::new(text)),
        }))
    }

    /// Where it is kept, if there is one. Asks no keyring.
    ///
    /// # Errors
    /// `device.key` cannot be read.
    pub fn place(&self) -> Result<Option<Place>, DeviceError> {
        Ok(self.kept()?.map(|kept| match kept {
            Kept::Here(_) => Place::File,
            Kept::There(_) => Place::Keyring,
        }))
    }

    /// The secret, if there is one. Asks the keyring only if that is where it is.
    ///
    /// # Errors
    /// It cannot be read, or the keyring cannot be asked.
    pub fn get(&self) -> Result<Option<Secret>, DeviceError> {
        match self.kept()? {
            None => Ok(None),
            Some(Kept::Here(secret)) => Ok(Some(secret)),
            Some(Kept::There(_)) if !switched_on()? => Err(DeviceError::Off),
            Some(Kept::There(account)) => {
                let found = Keyring::open().and_then(|keyring| keyring.get(SERVICE, &account));
                found.map_err(DeviceError::Closed)?.ok_or(DeviceError::Lost).map(Some)
            }
        }
    }

    /// The secret, made if there is none: in the keyring if this home uses it and it takes it, else in
    /// the file.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn get_or_make(&self) -> Result<Secret, DeviceError> {
        if let Some(secret) = self.get()? {
            return Ok(secret);
        }
        let made = fresh();
        let account = self.deposit_first(&made)?;
        let line = account.as_ref().map_or_else(|| made.clone(), |account| line(account));
        write_first(&self.path(), line.expose().as_bytes())?;
        let secret = self.get()?.ok_or(DeviceError::Unproven)?;
        if secret != made {
            // Another process was first, and ours is nobody's.
            account.iter().for_each(|account| withdraw(account));
        }
        Ok(secret)
    }

    /// Puts a new secret into the keyring, if this home uses it and the keyring takes it.
    fn deposit_first(&self, made: &Secret) -> Result<Option<String>, DeviceError> {
        if self.home.site() != Site::Platform || !switched_on()? {
            return Ok(None);
        }
        Ok(deposit(made).unwrap_or_else(|reason| {
            tracing::info!(%reason, "the device secret is kept in a file");
            None
        }))
    }

    /// Keeps the secret in `place` from now on; makes it if there is none.
    ///
    /// # Errors
    /// It cannot be moved there. It is where it was.
    pub fn keep_in(&self, place: Place) -> Result<Secret, DeviceError> {
        if place == Place::Keyring && self.home.site() != Site::Platform {
            return Err(DeviceError::Elsewhere);
        }
        let (secret, old) = (self.get()?.unwrap_or_else(fresh), self.kept()?);
        let line = match (place, &old) {
            (Place::File, Some(Kept::Here(_))) | (Place::Keyring, Some(Kept::There(_))) => return Ok(secret),
            (Place::File, _) => secret.clone(),
            (Place::Keyring, _) if !switched_on()? => return Err(DeviceError::Unwanted),
            (Place::Keyring, _) => {
                let account = deposit(&secret).map_err(DeviceError::Refused)?;
                line(&account.ok_or(DeviceError::Unproven)?)
            }
        };
        failpoint::hit("secret-copied");
        let before = self.home.read_secret(&self.path())?;
        write_private(&self.path(), line.expose().as_bytes())?;
        failpoint::hit("secret-moved");
        if !self.get().is_ok_and(|now| now.as_ref() == Some(&secret)) {
            self.put_back(before.as_ref())?;
            return Err(DeviceError::Unproven);
        }
        self.give_up(old);
        Ok(secret)
    }

    /// Forgets the secret, wherever it is. Nothing may be sealed with it any more.
    ///
    /// # Errors
    /// `device.key` cannot be removed.
    pub fn forget(&self) -> Result<(), DeviceError> {
        // The file goes first: a line that names what is gone would close the home.
        let old = self.kept()?;
        remove(&self.path())?;
        failpoint::hit("secret-forgotten");
        self.give_up(old);
        Ok(())
    }

    /// Makes `device.key` say again what it said before a move that cannot be proven.
    fn put_back(&self, before: Option<&Zeroizing<String>>) -> Result<(), DeviceError> {
        match before {
            Some(text) => Ok(write_private(&self.path(), text.as_bytes())?),
            None => Ok(remove(&self.path())?),
        }
    }

    /// Deletes what the keyring held. A copy of a home must not take the secret from the original.
    fn give_up(&self, old: Option<Kept>) {
        if let (Some(Kept::There(account)), Site::Platform) = (old, self.home.site()) {
            withdraw(&account);
        }
    }
}

/// 32 random bytes in hexadecimal.
fn fresh() -> Secret {
    Secret::new(hex::encode(rand::random::<[u8; 32]>()))
}

fn line(account: &str) -> Secret {
    Secret::new(format!("{MARK}{account}"))
}

pub(crate) fn switched_on() -> Result<bool, DeviceError> {
    match std::env::var(SWITCH).unwrap_or_default().as_str() {
        "" | "on" => Ok(true),
        "off" => Ok(false),
        other => Err(DeviceError::Switch(other.to_owned())),
    }
}

/// Puts a secret into the keyring under a new account, which tells nothing about the home. No account if
/// the keyring does not give back what it took.
pub(crate) fn deposit(secret: &Secret) -> Result<Option<String>, KeyringError> {
    let keyring = Keyring::open()?;
    let account = hex::encode(rand::random::<[u8; 8]>());
    keyring.set(SERVICE, &account, secret)?;
    Ok((keyring.get(SERVICE, &account)?.as_ref() == Some(secret)).then_some(account))
}

/// Deletes a secret that nothing needs any more. That it stays hurts nobody.
pub(crate) fn withdraw(account: &str) {
    if let Err(reason) = Keyring::open().and_then(|keyring| keyring.delete(SERVICE, account)) {
        tracing::warn!(%reason, account, "the keyring still holds a secret that is no longer used");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        (dir, home)
    }

    #[test]
    fn a_home_that_somebody_chose_keeps_its_secret_in_a_file() {
        let (_dir, home) = home();
        let device = Device::new(&home);
        assert_eq!((device.get().unwrap(), device.place().unwrap()), (None, None));
        let made = device.get_or_make().unwrap();
        assert_eq!(device.place().unwrap(), Some(Place::File));
        assert_eq!(device.get_or_make().unwrap(), made);
        assert_eq!(device.keep_in(Place::File).unwrap(), made);
        assert!(matches!(device.keep_in(Place::Keyring), Err(DeviceError::Elsewhere)));
        assert_eq!(device.get().unwrap(), Some(made));
        device.forget().unwrap();
        assert_eq!(device.place().unwrap(), None);
    }

    #[test]
    fn a_home_whose_secret_is_out_of_reach_stays_closed_and_as_it_was() {
        let (_dir, home) = home();
        // No keyring holds this account, and where tests run there is none as a rule.
        let path = home.data_file("device.key");
        std::fs::write(&path, "keyring:0000000000000000\n").unwrap();
        let device = Device::new(&home);
        assert_eq!(device.place().unwrap(), Some(Place::Keyring));
        for outcome in [device.get_or_make(), device.keep_in(Place::File)] {
            assert!(matches!(outcome, Err(DeviceError::Closed(_) | DeviceError::Lost)), "{outcome:?}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "keyring:0000000000000000\n");
    }

    #[test]
    fn every_error_says_what_to_do() {
        let errors = [
            DeviceError::Closed(KeyringError::Locked),
            DeviceError::Lost,
            DeviceError::Off,
            DeviceError::Switch("of".into()),
            DeviceError::Unwanted,
            DeviceError::Elsewhere,
            DeviceError::Refused(KeyringError::Denied),
            DeviceError::Unproven,
        ];
        for error in errors {
            assert!(error.to_string().contains("; "), "{error}");
        }
    }
}
