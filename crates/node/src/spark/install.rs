//! Brings the Spark wallet's program into a home: a Python environment of its own with the pinned SDK, whose hash is
//! checked, and the program itself, which is in this one.
//!
//! Each version has a folder of its own, `programs/spark-<version>`, which gets its name only once the SDK in it has
//! been loaded. So an installation is there whole or not at all, a running wallet is not disturbed by a new one, and
//! what wallets store is elsewhere.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::home::{Home, HomeError, write_private};

/// The program.
pub const SCRIPT: &str = include_str!("../../../../wallets/spark/openagents_spark.py");

/// What it needs, with hashes.
pub const REQUIREMENTS: &str = include_str!("../../../../wallets/spark/requirements.txt");

/// The version of the SDK that is pinned there.
pub const VERSION: &str = "0.27.2";

/// The oldest Python that the SDK is pinned for.
const OLDEST: (u32, u32) = (3, 10);

/// Why the wallet cannot be installed. What was there before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is no Python.
    #[error("{0} cannot be started ({1}); install Python 3.10 or later, or name one with --python")]
    NoPython(PathBuf, String),
    /// It is too old.
    #[error("{0} is Python {1}, and the SDK needs 3.10 or later; name another one with --python")]
    OldPython(PathBuf, String),
    /// It has no module to make environments.
    #[error(
        "this Python cannot make an environment of its own ({0}); on Debian or Ubuntu: apt install python3-venv"
    )]
    NoVenv(String),
    /// The package index is out of reach.
    #[error(
        "the package index cannot be reached ({0}); connect to the internet, or set PIP_INDEX_URL to a mirror, and run this again"
    )]
    NoNetwork(String),
    /// The SDK is not made for this machine.
    #[error(
        "there is no Breez SDK {VERSION} for this machine ({0}); it is made for Linux with glibc 2.31 or later (x86-64, ARM64) and for macOS 11 or later, with CPython 3.10 to 3.14"
    )]
    WrongPlatform(String),
    /// What was downloaded is not what was pinned.
    #[error(
        "what the package index gave is not what this program was written for ({0}); do not use it, and look for a newer openagents"
    )]
    WrongHash(String),
    /// Something else.
    #[error("{step} failed ({reason}); mend that and run this again")]
    Failed {
        /// What was done.
        step: &'static str,
        /// What it said.
        reason: String,
    },
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Where it is.
    pub folder: PathBuf,
    /// False if it was there already.
    pub fresh: bool,
    /// Which Python runs it.
    pub python: String,
    /// Versions before this one, which nothing uses from the node's next start on.
    pub before: Vec<PathBuf>,
}

fn programs(home: &Home) -> PathBuf {
    let folder = home.data_file("programs");
    std::path::absolute(&folder).unwrap_or(folder)
}

/// Where the pinned version is.
pub fn folder(home: &Home) -> PathBuf {
    programs(home).join(format!("spark-{VERSION}"))
}

/// The Python of the installed version, if it is installed.
pub fn python(home: &Home) -> Option<PathBuf> {
    Some(folder(home).join("venv/bin/python")).filter(|path| path.is_file())
}

/// The program on disk. It is part of this one, so what is there is made the same.
///
/// # Errors
/// It cannot be written.
pub fn script(home: &Home) -> Result<PathBuf, HomeError> {
    let path = folder(home).join("openagents_spark.py");
    if std::fs::read_to_string(&path).is_ok_and(|there| there == SCRIPT) {
        return Ok(path);
    }
    write_private(&path, SCRIPT.as_bytes()).map(|()| path)
}

/// Installs the pinned version with this Python, unless it is there and whole.
///
/// # Errors
/// See [`InstallError`].
pub fn install(home: &Home, base: &Path) -> Result<Installed, InstallError> {
    let folder = folder(home);
    let there = python(home).and_then(|python| check(&python).ok());
    let fresh = there.is_none();
    let python = match there {
        Some(version) => version,
        None => build(home, base)?,
    };
    script(home)?;
    Ok(Installed { before: others(home, &folder), folder, fresh, python })
}

/// Builds the environment under a passing name, and gives it its own once it works.
fn build(home: &Home, base: &Path) -> Result<String, InstallError> {
    suits(base)?;
    let draft = programs(home).join(format!("spark-{VERSION}.{:08x}.new", rand::random::<u32>()));
    let built = fill(&draft, base).and_then(|python| {
        let folder = folder(home);
        // One that does not work, or this would not run. A folder in use is not: its files are open.
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|reason| io(&folder, reason))?;
        }
        std::fs::rename(&draft, &folder).map_err(|reason| io(&folder, reason))?;
        Ok(python)
    });
    if built.is_err() {
        let _ = std::fs::remove_dir_all(&draft);
    }
    built
}

fn io(path: &Path, reason: std::io::Error) -> HomeError {
    HomeError::Io { path: path.to_path_buf(), reason }
}

/// Whether this Python may be used.
fn suits(base: &Path) -> Result<(), InstallError> {
    let told = run(base, &["-I", "-c", "import sys; print(*sys.version_info[:2])"]);
    let told = told.map_err(|error| InstallError::NoPython(base.to_path_buf(), error.to_string()))?;
    let text = String::from_utf8_lossy(&told.stdout);
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Ok(()),
        (Some(major), Some(minor)) => {
            Err(InstallError::OldPython(base.to_path_buf(), format!("{major}.{minor}")))
        }
        _ => Err(InstallError::NoPython(base.to_path_buf(), "it is no Python".into())),
    }
}

fn fill(draft: &Path, base: &Path) -> Result<String, InstallError> {
    std::fs::create_dir_all(draft).map_err(|reason| io(draft, reason))?;
    let requirements = draft.join("requirements.txt");
    write_private(&requirements, REQUIREMENTS.as_bytes())?;
    let venv = draft.join("venv");
    let said = step("making a Python environment", base, &["-I", "-m", "venv", "--clear", &text(&venv)]);
    said.map_err(|reason| InstallError::NoVenv(last_line(&reason)))?;
    let python = venv.join("bin/python");
    let pip = ["-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"];
    let exactly =
        ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--retries", "2", "--requirement"];
    let arguments: Vec<&str> = pip.into_iter().chain(exactly).collect();
    let requirements = text(&requirements);
    let all: Vec<&str> = arguments.into_iter().chain([requirements.as_str()]).collect();
    step("installing the Breez SDK", &python, &all).map_err(|said| why_not(&said))?;
    check(&python)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Loads the SDK, and looks which version it is; says which Python this is.
fn check(python: &Path) -> Result<String, InstallError> {
    let look = "import breez_sdk_spark, importlib.metadata, platform\n\
                print(importlib.metadata.version('breez-sdk-spark'), platform.python_version())";
    let step_name = "loading the Breez SDK";
    let said = step(step_name, python, &["-I", "-c", look])
        .map_err(|reason| InstallError::Failed { step: step_name, reason: last_line(&reason) })?;
    match said.trim().split_once(' ') {
        Some((VERSION, python)) => Ok(python.to_owned()),
        _ => Err(InstallError::Failed { step: step_name, reason: format!("it is {}", said.trim()) }),
    }
}

fn run(program: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output()
}

/// Runs a step to its end: what it said, and what it complained about if it failed.
fn step(name: &'static str, program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = run(program, arguments).map_err(|error| format!("{name}: {error}"))?;
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said.into_owned()) } else { Err(format!("{said}\n{complained}")) }
}

/// What pip's complaint means. It calls a network that is away a package that is not there, so the network is
/// looked for first.
fn why_not(said: &str) -> InstallError {
    let telling = |words: &[&str]| {
        let line = said.lines().find(|line| words.iter().any(|word| line.contains(word)))?;
        Some(last_line(line.rsplit_once(" after ").map_or(line, |(_, reason)| reason)))
    };
    if let Some(line) = telling(&["DO NOT MATCH THE HASHES"]) {
        InstallError::WrongHash(line)
    } else if let Some(line) =
        telling(&["connection broken by", "ConnectionError", "Max retries", "Temporary failure", "timed out"])
    {
        InstallError::NoNetwork(line)
    } else if let Some(line) = telling(&["No matching distribution", "is not a supported wheel"]) {
        InstallError::WrongPlatform(line)
    } else {
        InstallError::Failed { step: "installing the Breez SDK", reason: last_line(said) }
    }
}

/// The last line that says something, short enough for a message.
fn last_line(said: &str) -> String {
    let line = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing");
    line.chars().filter(|c| !c.is_control()).take(200).collect::<String>().replace("; ", ", ")
}

/// Other versions that are still there.
fn others(home: &Home, current: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(programs(home)).into_iter().flatten().flatten();
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path != current && name.starts_with("spark-") && !name.ends_with(".new")
    };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_ours).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::print_stdout,
        reason = "a test that panics has failed, as it should"
    )]
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        (dir, home)
    }

    #[test]
    fn one_version_is_pinned_everywhere() {
        assert!(REQUIREMENTS.contains(&format!("breez-sdk-spark=={VERSION} ")));
        assert!(SCRIPT.contains(&format!("PACKAGE, PINNED = \"breez-sdk-spark\", \"{VERSION}\"")));
        assert_eq!(REQUIREMENTS.matches("==").count(), 1, "the SDK needs nothing else");
    }

    #[cfg(unix)]
    fn python_that_says(dir: &Path, body: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join("python");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[cfg(unix)]
    #[test]
    fn what_is_missing_is_named_and_nothing_is_left_behind() {
        let (dir, home) = home();
        let refused = |base: &Path| install(&home, base).unwrap_err().to_string();
        assert!(refused(&dir.path().join("none")).contains("install Python 3.10"));
        let base = python_that_says(dir.path(), "echo 3 9");
        assert!(refused(&base).contains("is Python 3.9"));
        let base = python_that_says(dir.path(), "echo nonsense");
        assert!(refused(&base).contains("it is no Python"));
        let no_venv = "case $3 in venv) echo 'No module named ensurepip' >&2; exit 1;; *) echo 3 11;; esac";
        let base = python_that_says(dir.path(), no_venv);
        assert!(refused(&base).contains("apt install python3-venv"));
        assert_eq!(std::fs::read_dir(programs(&home)).unwrap().count(), 0);
        assert_eq!(python(&home), None);
    }

    #[test]
    fn what_pip_says_is_understood() {
        let broken = "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError'\n\
                      ERROR: No matching distribution found for breez-sdk-spark==0.27.2";
        let cases = [
            (broken, "connect to the internet"),
            ("ERROR: No matching distribution found for breez-sdk-spark==0.27.2", "for this machine"),
            (
                "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n Got 00",
                "do not use it",
            ),
            ("ERROR: Could not install packages due to an OSError: No space left on device", "No space left"),
        ];
        for (said, meaning) in cases {
            let error = why_not(said).to_string();
            assert!(error.contains(meaning) && error.contains("; "), "{error}");
        }
    }

    #[test]
    fn it_is_installed_beside_what_was_there_and_a_second_time_changes_nothing() {
        let Some(python) = std::env::var_os("OPENAGENTS_TEST_SPARK").map(PathBuf::from) else {
            println!("SKIPPED: OPENAGENTS_TEST_SPARK is not set");
            return;
        };
        let (_dir, home) = home();
        let old = programs(&home).join("spark-0.1.0");
        std::fs::create_dir_all(&old).unwrap();
        let stored = home.data_file("spark").join("regtest/book.db");
        std::fs::create_dir_all(stored.parent().unwrap()).unwrap();
        std::fs::write(&stored, "kept").unwrap();
        let made = install(&home, &python).unwrap();
        assert!(made.fresh && made.before == [old.clone()] && old.exists(), "{made:?}");
        assert_eq!(std::fs::read_to_string(&stored).unwrap(), "kept");
        let again = install(&home, &python).unwrap();
        assert_eq!(again, Installed { fresh: false, ..made });
        // One that is damaged is made anew.
        let library = folder(&home).join("venv/lib");
        std::fs::remove_dir_all(library).unwrap();
        assert!(install(&home, &python).unwrap().fresh);
    }
}
