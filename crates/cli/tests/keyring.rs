//! Identities whose secret is in the system's keyring, as their owner meets them: the real program in the
//! platform's own place, beside a gnome-keyring of the test's own. What stands in the environment decides
//! which keyring there is, so that each test runs another one of this file, marked as ignored, in a
//! session of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed, as it should")]

use std::{
    io::ErrorKind,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

#[cfg(debug_assertions)]
use openagents_keyring::Keyring;
use serde_json::Value;

fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools").join(name)
}

/// A command beside a keyring that lives in `folder`.
fn session(folder: &Path) -> Command {
    let mut session = Command::new(tool("keyring_session.sh"));
    session.arg(folder).stdin(Stdio::null());
    session
}

/// Runs a test beside a keyring of its own, if this machine can have one.
fn beside_a_keyring(name: &str) {
    if Command::new("gnome-keyring-daemon").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "gnome-keyring is missing");
        eprintln!("gnome-keyring is missing; skipped: {name}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut test = session(folder.path());
    test.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--ignored", "--nocapture"]);
    assert!(test.status().unwrap().success());
}

/// The program in the platform's place, and nothing of whoever runs the tests.
fn program() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_openagents")))
}

fn clean(mut command: Command) -> Command {
    for name in
        ["OPENAGENTS_HOME", "OPENAGENTS_PASSPHRASE_FILE", "OPENAGENTS_KEYRING", "OPENAGENTS_FAILPOINT"]
    {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What a command says, which has to end with `exit`.
fn says(command: &mut Command, exit: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(exit), "{command:?}\n{}", text(&output));
    text(&output)
}

fn done(arguments: &[&str]) -> String {
    says(program().args(arguments), 0)
}

/// The word for what unlocks the identity in use.
fn storage() -> String {
    let shown: Value = serde_json::from_str(&done(&["identity", "show", "--json"])).unwrap();
    shown["storage"].as_str().unwrap().to_owned()
}

/// Whether `doctor` can unlock the identity, and how.
fn unlocked_by(word: &str) {
    let told = done(&["doctor", "--offline"]);
    assert!(told.contains(&format!("(storage: {word})")), "{told}");
}

/// Where the platform keeps this session's home.
fn home() -> PathBuf {
    PathBuf::from(std::env::var_os("XDG_DATA_HOME").unwrap()).join("openagents")
}

fn device_key(home: &Path) -> String {
    std::fs::read_to_string(home.join("device.key")).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn lock() {
    assert!(Command::new(tool("keyring_lock.sh")).status().unwrap().success());
}

#[test]
fn a_copied_home_is_worth_nothing_without_its_keyring() {
    beside_a_keyring("inside_a_copied_home");
}

#[test]
#[ignore = "runs beside a keyring of its own"]
fn inside_a_copied_home() {
    done(&["identity", "create"]);
    done(&["wallet", "seed", "create"]);
    assert_eq!(storage(), "keyring");
    unlocked_by("keyring");
    let words = done(&["wallet", "seed", "show", "--force-stdout"]);
    assert!(done(&["wallet", "seed", "status"]).contains("keyring"));
    let line = device_key(&home());
    assert!(line.starts_with("keyring:"), "{line}");

    // Where no keyring is.
    let away = tempfile::tempdir().unwrap();
    let copied = away.path().join("share/openagents");
    copy(&home(), &copied);
    let mut alone = program();
    alone
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env("XDG_RUNTIME_DIR", away.path())
        .env("OPENAGENTS_HOME", &copied);
    let told = says(alone.args(["doctor", "--offline"]), 1);
    assert!(told.contains("FAIL  identity  no keyring is in reach (there is no session bus)"), "{told}");
    let mut seed = program();
    seed.env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env("XDG_RUNTIME_DIR", away.path())
        .env("OPENAGENTS_HOME", &copied);
    let told = says(seed.args(["wallet", "seed", "show", "--force-stdout"]), 4);
    assert!(told.contains("it holds this home's secret") && !told.contains(words.trim()), "{told}");

    // Beside another keyring, in the same place.
    let mut elsewhere = clean(session(away.path()));
    let told =
        says(elsewhere.arg(env!("CARGO_BIN_EXE_openagents")).args(["identity", "protect", "--file"]), 4);
    assert!(told.contains("the keyring does not hold this home's secret"), "{told}");
    assert_eq!(device_key(&copied), line, "no new secret was made");

    // A copy beside the right keyring opens, and takes nothing from the original.
    done(&["--home", copied.to_str().unwrap(), "identity", "protect", "--file"]);
    assert_eq!(device_key(&copied).len(), 64);
    unlocked_by("keyring");
}

#[test]
fn a_locked_keyring_closes_the_home_and_a_new_home_does_without() {
    beside_a_keyring("inside_a_locked_keyring");
}

#[test]
#[ignore = "runs beside a keyring of its own"]
fn inside_a_locked_keyring() {
    done(&["identity", "create"]);
    let line = device_key(&home());
    lock();
    let told = says(program().args(["doctor", "--offline"]), 1);
    assert!(told.contains("the keyring is locked") && told.contains("fix: log in at the desktop"), "{told}");
    says(program().args(["identity", "protect", "--file"]), 4);
    assert_eq!(device_key(&home()), line);

    let other = tempfile::tempdir().unwrap();
    says(program().env("XDG_DATA_HOME", other.path()).args(["identity", "create"]), 0);
    assert_eq!(device_key(&other.path().join("openagents")).len(), 64);
    let told =
        says(program().env("XDG_DATA_HOME", other.path()).args(["identity", "protect", "--keyring"]), 4);
    assert!(told.contains("everything stays as it was"), "{told}");
}

#[test]
fn only_the_platforms_home_uses_the_keyring_and_only_if_it_may() {
    beside_a_keyring("inside_who_uses_the_keyring");
}

#[test]
#[ignore = "runs beside a keyring of its own"]
fn inside_who_uses_the_keyring() {
    let chosen = tempfile::tempdir().unwrap();
    says(program().env("OPENAGENTS_HOME", chosen.path()).args(["identity", "create"]), 0);
    assert_eq!(device_key(chosen.path()).len(), 64);
    let told = says(program().arg("--home").arg(chosen.path()).args(["identity", "protect", "--keyring"]), 4);
    assert!(told.contains("only a home in the usual place"), "{told}");

    let off = || {
        let mut command = program();
        command.env("OPENAGENTS_KEYRING", "off");
        command
    };
    says(off().args(["identity", "create"]), 0);
    assert_eq!(storage(), "device-key");
    says(off().args(["identity", "protect", "--keyring"]), 4);
    done(&["identity", "protect", "--keyring"]);
    let told = says(off().args(["doctor", "--offline"]), 1);
    assert!(told.contains("OPENAGENTS_KEYRING is off"), "{told}");
    says(program().env("OPENAGENTS_KEYRING", "of").args(["identity", "protect", "--file"]), 3);
    unlocked_by("keyring");
}

#[test]
fn a_home_whose_secret_is_in_a_file_asks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let bus = folder.path().join("bus");
    let silent = UnixListener::bind(&bus).unwrap();
    silent.set_nonblocking(true).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = program();
        command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", bus.display()));
        command.env("HOME", folder.path()).env("XDG_RUNTIME_DIR", folder.path());
        command.env("XDG_DATA_HOME", folder.path().join("share")).env_remove("XDG_CONFIG_HOME");
        says(command.args(arguments), 0)
    };
    // A bus that never answers keeps the first start back, but not for long, and nothing is lost.
    let start = Instant::now();
    run(&["identity", "create"]);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(device_key(&folder.path().join("share/openagents")).len(), 64);
    assert!(silent.accept().is_ok(), "the first start asks");
    run(&["identity", "create", "--name", "second"]);
    run(&["doctor", "--offline"]);
    assert_eq!(silent.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "and no later one does");
}

#[cfg(debug_assertions)]
#[test]
fn a_move_that_is_cut_short_anywhere_is_finished_by_the_next() {
    beside_a_keyring("inside_a_move_cut_short");
}

/// Every way from one storage to another, and the places where it may be cut short.
#[cfg(debug_assertions)]
const MOVES: &[(&str, &[&str])] = &[
    ("--file", &["secret-copied", "secret-moved"]),
    ("--keyring", &["secret-copied", "secret-moved"]),
    ("--passphrase", &["identity-resealed", "identity-resealed", "secret-forgotten"]),
    ("--keyring", &["secret-moved", "identity-resealed", "identity-resealed"]),
    ("--passphrase", &[]),
    ("--file", &["secret-copied", "secret-moved", "identity-resealed"]),
];

/// The account under which the keyring holds the secret, if that is where it is.
#[cfg(debug_assertions)]
fn account() -> Option<String> {
    let line = std::fs::read_to_string(home().join("device.key")).ok()?;
    line.strip_prefix("keyring:").map(str::to_owned)
}

#[cfg(debug_assertions)]
#[test]
#[ignore = "runs beside a keyring of its own"]
fn inside_a_move_cut_short() {
    let passphrase = home().with_file_name("passphrase");
    let run = |arguments: &[&str], failpoint: Option<&str>| {
        let mut command = program();
        command.args(arguments);
        if passphrase.exists() {
            command.env("OPENAGENTS_PASSPHRASE_FILE", &passphrase);
        }
        if let Some(name) = failpoint {
            command.env("OPENAGENTS_FAILPOINT", name);
        }
        command.output().unwrap()
    };
    for name in ["one", "two"] {
        assert!(run(&["identity", "create", "--name", name], None).status.success());
    }
    std::fs::write(&passphrase, "correct horse\n").unwrap();
    for (to, failpoints) in MOVES {
        let protect = ["identity", "protect", to];
        for failpoint in *failpoints {
            let cut = run(&protect, Some(failpoint));
            assert_eq!(cut.status.code(), None, "{to} {failpoint}: {}", text(&cut));
            for name in ["one", "two"] {
                assert!(run(&["identity", "use", name], None).status.success());
                let told = run(&["doctor", "--offline"], None);
                assert!(told.status.success(), "{to} {failpoint}: {}", text(&told));
            }
        }
        let before = account();
        let end = run(&protect, None);
        assert!(end.status.success(), "{}", text(&end));
        let word = to.trim_start_matches("--").replace("file", "device-key");
        assert_eq!(storage(), word);
        let told = text(&run(&["doctor", "--offline"], None));
        assert!(told.contains(&format!("(storage: {word})")), "{told}");
        if let Some(account) = before.filter(|_| *to != "--keyring") {
            let left = Keyring::open().unwrap().get("OpenAgents Compute", &account).unwrap();
            assert_eq!(left, None, "{to}: the keyring gave it up");
        }
    }
}
