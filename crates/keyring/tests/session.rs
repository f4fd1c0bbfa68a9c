//! The keyring on Linux as it really is: a gnome-keyring of our own, one that is locked, a bus that never
//! answers, and no bus at all. Which bus there is stands in the environment, so that each test runs
//! another one of this file, marked as ignored, in a process of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed, as it should")]

use std::{
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use openagents_keyring::{Keyring, KeyringError, PATIENCE, Secret};

const SERVICE: &str = "openagents-test";

fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools").join(name)
}

/// This file's test `name`, to be run by `command`.
fn test_of(mut command: Command, name: &str) -> Command {
    command.args(["--exact", name, "--ignored", "--nocapture"]).stdin(Stdio::null());
    command
}

/// This file's tests, beside no keyring yet.
fn this() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// Runs a test beside a keyring of its own, if this machine can have one.
fn beside_a_keyring(name: &str) {
    let there = Command::new("gnome-keyring-daemon").arg("--version").output().is_ok();
    if !there {
        assert!(std::env::var_os("CI").is_none(), "gnome-keyring is missing");
        eprintln!("gnome-keyring is missing; skipped: {name}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut session = Command::new(tool("keyring_session.sh"));
    session.arg(folder.path()).arg(std::env::current_exe().unwrap());
    assert!(test_of(session, name).status().unwrap().success());
}

#[test]
fn what_is_kept_is_found_until_it_is_deleted() {
    beside_a_keyring("inside_what_is_kept");
}

#[test]
#[ignore = "runs beside a keyring of its own"]
fn inside_what_is_kept() {
    let keyring = Keyring::open().unwrap();
    let get = |account| keyring.get(SERVICE, account).unwrap();
    assert_eq!(get("one"), None);
    for text in ["first", "second"] {
        keyring.set(SERVICE, "one", &Secret::new(text.to_owned())).unwrap();
        assert_eq!(get("one").unwrap().expose(), text);
    }
    assert_eq!(get("two"), None, "accounts are told apart");
    assert_eq!(keyring.get("another service", "one").unwrap(), None, "and so are services");
    keyring.delete(SERVICE, "one").unwrap();
    assert_eq!(get("one"), None);
    keyring.delete(SERVICE, "one").unwrap();
}

#[test]
fn a_locked_keyring_says_so_and_opens_no_window() {
    beside_a_keyring("inside_a_locked_keyring");
}

#[test]
#[ignore = "runs beside a keyring of its own"]
fn inside_a_locked_keyring() {
    let keyring = Keyring::open().unwrap();
    let secret = Secret::new("first".to_owned());
    keyring.set(SERVICE, "one", &secret).unwrap();
    assert!(Command::new(tool("keyring_lock.sh")).status().unwrap().success());
    assert_eq!(keyring.get(SERVICE, "one"), Err(KeyringError::Locked));
    assert_eq!(keyring.get(SERVICE, "two"), Err(KeyringError::Locked), "it may be hiding it");
    assert_eq!(keyring.set(SERVICE, "one", &secret), Err(KeyringError::Locked));
    assert_eq!(keyring.delete(SERVICE, "one"), Err(KeyringError::Locked));
}

#[test]
fn without_a_bus_the_answer_is_immediate() {
    let mut command = this();
    command.env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("XDG_RUNTIME_DIR");
    // A display is what a bus would be started for.
    command.env("DISPLAY", ":0");
    assert!(test_of(command, "inside_no_bus").status().unwrap().success());
}

#[test]
#[ignore = "runs where there is no bus"]
fn inside_no_bus() {
    let start = Instant::now();
    assert!(matches!(Keyring::open(), Err(KeyringError::Absent(_))));
    assert!(start.elapsed() < Duration::from_millis(100));
}

#[test]
fn an_address_where_nobody_listens_is_no_keyring() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = this();
    command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}/bus", folder.path().display()));
    assert!(test_of(command, "inside_a_dead_address").status().unwrap().success());
}

#[test]
#[ignore = "runs where the bus is gone"]
fn inside_a_dead_address() {
    let outcome = Keyring::open().unwrap().get(SERVICE, "one");
    assert!(matches!(outcome, Err(KeyringError::Absent(_))), "{outcome:?}");
}

#[test]
fn a_bus_that_never_answers_is_left_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    // The system takes the connection; nobody ever reads what comes over it.
    let _silent = UnixListener::bind(&path).unwrap();
    let mut command = this();
    command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", path.display()));
    assert!(test_of(command, "inside_a_silent_bus").status().unwrap().success());
}

#[test]
#[ignore = "runs where the bus is silent"]
fn inside_a_silent_bus() {
    let start = Instant::now();
    let outcome = Keyring::open().unwrap().get(SERVICE, "one");
    assert_eq!(outcome, Err(KeyringError::TimedOut(PATIENCE)));
    assert!(start.elapsed() < PATIENCE + Duration::from_secs(2), "{:?}", start.elapsed());
}
