//! The program under test.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// The folder of the program, built if it is not there in its newest form.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let this = std::env::current_exe().unwrap();
    let folder = this.ancestors().nth(2).unwrap().to_path_buf();
    // Together with all else, as `cargo xtask test` has built it: by itself it would ask for other
    // features of its libraries, and all of them would be built again.
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--workspace", "--all-targets"]);
    if folder.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "the program does not build");
    folder
});

/// Where `openagents` and the programs beside it are, in their newest form.
pub fn programs() -> &'static Path {
    &FOLDER
}
