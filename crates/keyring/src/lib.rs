//! Secrets in the operating system's keyring, for a program that mostly runs where nobody looks.
//!
//! The keyrings' own libraries ask a person when they like and wait as long as they like. This crate
//! does neither: **no call shows a window**, and **each call ends in time**, whatever answers it or
//! does not. A locked keyring is an error that its caller explains; unlocking is for the desktop.
//! The platforms' trees end here: Secret Service over D-Bus on Linux, the Keychain on macOS, and on
//! other systems a keyring that is [absent](KeyringError::Absent).
//!
//! On Linux a secret crosses the session bus unencrypted. Whoever may listen there is the same user,
//! and may ask the keyring for the secret itself; and the key exchange of the client used here draws
//! its keys from a generator that is not made for it.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod platform;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod platform;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
#[path = "absent.rs"]
mod platform;

use std::{
    fmt,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use zeroize::Zeroizing;

/// How long one call may take: a keyring answers in milliseconds, but the first call of a session may
/// have to start it.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// A secret text, which is not printed and does not stay in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text.
    pub fn new(text: impl Into<Zeroizing<String>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Text out of a keyring's bytes.
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn of_bytes(bytes: Vec<u8>) -> Result<Self, KeyringError> {
        let bytes = Zeroizing::new(bytes);
        let text =
            std::str::from_utf8(&bytes).map_err(|_| KeyringError::Failed("it holds no text".into()))?;
        Ok(Self::new(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a keyring does not serve. What to do about it depends on what the secret is for, so that its
/// caller says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is none.
    #[error("no keyring is in reach ({0})")]
    Absent(String),
    /// It is there, and closed.
    #[error("the keyring is locked")]
    Locked,
    /// It would have to ask its owner, or has been told not to let us in.
    #[error("the keyring does not let this program in")]
    Denied,
    /// It is there, and says nothing.
    #[error("the keyring has not answered within {0:?}")]
    TimedOut(Duration),
    /// It answers something else.
    #[error("the keyring does not work ({0})")]
    Failed(String),
}

/// The keyring of whoever runs this program.
#[derive(Clone, Copy, Debug)]
pub struct Keyring(());

impl Keyring {
    /// Looks whether there is one to be asked. Asks nothing yet, so it costs nothing.
    ///
    /// # Errors
    /// [`KeyringError::Absent`].
    pub fn open() -> Result<Self, KeyringError> {
        platform::look()?;
        Ok(Self(()))
    }

    /// The secret of `account` at `service`, if there is one.
    ///
    /// # Errors
    /// The keyring cannot be asked. A locked one is an error even if it says that it has no such
    /// secret: it may be hiding it.
    pub fn get(&self, service: &str, account: &str) -> Result<Option<Secret>, KeyringError> {
        let (service, account) = (service.to_owned(), account.to_owned());
        in_time(move || platform::get(&service, &account))
    }

    /// Keeps a secret, instead of the one that was there.
    ///
    /// # Errors
    /// The keyring cannot be asked. After [`KeyringError::TimedOut`] the secret may be kept all the same.
    pub fn set(&self, service: &str, account: &str, secret: &Secret) -> Result<(), KeyringError> {
        let (service, account, secret) = (service.to_owned(), account.to_owned(), secret.clone());
        in_time(move || platform::set(&service, &account, &secret))
    }

    /// Forgets a secret; that there is none is well too.
    ///
    /// # Errors
    /// The keyring cannot be asked.
    pub fn delete(&self, service: &str, account: &str) -> Result<(), KeyringError> {
        let (service, account) = (service.to_owned(), account.to_owned());
        in_time(move || platform::delete(&service, &account))
    }
}

/// Does the work in a thread of its own, and leaves it there if it takes too long: a platform's call
/// cannot be called back, but nobody has to wait for it.
fn in_time<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyringError> + Send + 'static,
) -> Result<T, KeyringError> {
    let (answer, answered) = mpsc::channel();
    thread::Builder::new()
        .name("keyring".into())
        // Nobody listens any more if it took too long.
        .spawn(move || drop(answer.send(work())))
        .map_err(|error| KeyringError::Failed(error.to_string()))?;
    match answered.recv_timeout(PATIENCE) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(KeyringError::TimedOut(PATIENCE)),
        Err(RecvTimeoutError::Disconnected) => Err(KeyringError::Failed("its client broke down".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("s3cret".to_owned());
        assert_eq!(secret.expose(), "s3cret");
        assert!(!format!("{secret:?}").contains("s3cret"));
    }
}
