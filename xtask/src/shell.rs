//! Running other programs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// The project's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A command from words.
pub fn command(words: &str) -> Command {
    let mut parts = words.split_whitespace();
    let mut command = Command::new(parts.next().unwrap_or("true"));
    command.args(parts);
    command
}

/// Runs a command and fails if it fails.
pub fn run(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if status.success() { Ok(()) } else { bail!("{command:?} ended with {status}") }
}

/// Whether a command runs and succeeds; what it prints is thrown away.
pub fn works(words: &str) -> bool {
    let mut command = command(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Where cargo puts a program of a profile.
pub fn program(profile: &str, name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(profile).join(name)
}

/// Whether this is CI, where nothing may be skipped silently.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Builds the program as the tests see it: together with them, so that nothing is built twice because
/// another choice of packages asks for other features.
pub fn build_debug() -> anyhow::Result<()> {
    run(command("cargo build --quiet --workspace --all-targets"))
}

/// Builds the program as its users do.
pub fn build_release() -> anyhow::Result<()> {
    run(command("cargo build --release --quiet -p openagents-cli"))
}

/// The last line that a script prints, if it ends well: where what it has fetched is.
pub fn prepared(script: &str) -> anyhow::Result<Option<String>> {
    let output = command(script).output()?;
    let said = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
    Ok(output.status.success().then_some(said))
}

/// Runs a task that needs the market's own crates. It is built together with everything else, see [`build_debug`].
pub fn market(arguments: &[impl AsRef<std::ffi::OsStr>]) -> anyhow::Result<()> {
    build_debug()?;
    let mut task = Command::new(program("debug", "openagents-xtask-market"));
    task.args(arguments);
    run(task)
}

/// Where a workspace of its own is built: it shares no dependency with ours, and its own lock file says which.
pub fn target_of(workspace: &str) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from).join(workspace)
}
