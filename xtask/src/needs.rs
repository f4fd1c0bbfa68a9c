//! What the tests need besides Rust and a C compiler, and how to get it.

use anyhow::bail;

use openagents_xtask::shell::{command, in_ci, run, works};

/// One need.
struct Need {
    /// What it is.
    name: &'static str,
    /// A command that works if it is there.
    check: &'static str,
    /// The Debian packages that bring it.
    packages: &'static str,
    /// What is skipped without it.
    used_by: &'static str,
}

const NEEDS: &[Need] = &[
    Need { name: "clang", check: "clang --version", packages: "clang", used_by: "protocol for wasm32" },
    Need { name: "g++", check: "g++ --version", packages: "g++", used_by: "fuzzing" },
    Need { name: "node", check: "node --version", packages: "nodejs npm", used_by: "interop tests" },
    Need {
        name: "gnome-keyring",
        check: "gnome-keyring-daemon --version",
        packages: "gnome-keyring dbus-daemon dbus-bin",
        used_by: "keyring tests",
    },
];

const TARGETS: [&str; 3] = ["wasm32-unknown-unknown", "aarch64-apple-ios", "aarch64-apple-darwin"];

/// Installs what is missing. What cannot be installed is said; in CI that is an error.
pub(crate) fn install() -> anyhow::Result<()> {
    for target in TARGETS {
        run(command(&format!("rustup target add {target}")))?;
    }
    for need in NEEDS {
        if works(need.check) {
            continue;
        }
        println!("installing {} for {}", need.name, need.used_by);
        let installed = works("apt-get update -qq")
            && run(command(&format!("apt-get install -y -qq --no-install-recommends {}", need.packages)))
                .is_ok();
        if !installed && in_ci() {
            bail!("{} cannot be installed; it is needed for: {}", need.name, need.used_by);
        }
        if !installed {
            println!("{} is missing; skipped: {}", need.name, need.used_by);
        }
    }
    if works("npm --version") {
        let mut npm = command("npm ci --silent");
        npm.current_dir("tests/interop");
        run(npm)?;
    }
    Ok(())
}
