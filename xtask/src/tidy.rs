//! Rules that no compiler checks: which crate may see which, how files begin, how long they may be.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use serde_json::Value;

use openagents_xtask::shell::root;

/// What each crate may depend on among ours. Arrows point down only; siblings never see each other.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("protocol", &["types"]),
    ("registry", &["types"]),
    ("policy", &["types"]),
    ("engine", &["types", "registry"]),
    ("wallet", &["types"]),
    ("backend", &["types"]),
    ("api", &["types"]),
    ("keyring", &[]),
    ("seed", &["types"]),
    ("models", &[]),
    ("relay", &["types", "protocol"]),
    (
        "node",
        &[
            "types", "protocol", "registry", "policy", "engine", "wallet", "backend", "api", "relay",
            "keyring", "seed", "models",
        ],
    ),
    (
        "cli",
        &[
            "types", "protocol", "registry", "policy", "wallet", "backend", "api", "relay", "node",
            "keyring", "seed", "models",
        ],
    ),
    ("bench", &["types", "protocol", "wallet"]),
    (
        "tests",
        &[
            "types", "protocol", "registry", "policy", "engine", "wallet", "backend", "api", "relay", "node",
            "models",
        ],
    ),
    ("xtask", &[]),
    ("xtask-market", &["types", "protocol", "registry", "api", "relay", "wallet", "xtask"]),
];

/// What the pure crates must never see, at any depth.
const IMPURE: &[&str] = &["tokio", "reqwest", "rusqlite", "nostr", "axum", "rand"];

/// Packages that must not be in the lock file, as `deny.toml` bans them.
const BANNED: &[&str] =
    &["openssl-sys", "native-tls", "nostr-sdk", "nostr-relay-pool", "nostr-relay-builder"];

/// Most lines of one file.
const LONGEST_FILE: usize = 900;

/// Words that a finished tree does not contain.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX:", "unimplemented!(", "todo!("];

/// Files in which tasks may be started, with the reason.
const SPAWNERS: &[(&str, &str)] = &[
    ("crates/node/src/runtime.rs", "the one place of the node"),
    ("crates/relay/src/server.rs", "the stand-alone relay of tests and benches"),
    ("crates/wallet/src/nip47.rs", "carries one broadcast into a channel; ends with it"),
    ("crates/cli/src/wallet_link.rs", "one question to a wallet, without a node"),
];

pub(crate) fn run() -> anyhow::Result<()> {
    let mut complaints = Vec::new();
    arrows(&mut complaints)?;
    for path in [
        "Cargo.lock",
        "fuzz/Cargo.lock",
        "wallets/ldk/Cargo.lock",
        "wallets/cashu/Cargo.lock",
        "wallets/cashu/mint/Cargo.lock",
    ] {
        complaints.extend(lock_file(path, &std::fs::read_to_string(path)?));
    }
    let files = tracked()?;
    for path in &files {
        let Ok(text) = std::fs::read_to_string(root().join(path)) else { continue };
        if path.extension().is_some_and(|end| end == "rs") {
            complaints.extend(rust_file(path, &text));
        }
        if path.extension().is_some_and(|end| end == "md") {
            complaints.extend(links(path, &text));
        }
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("tidy: {} files, {} complaints", files.len(), complaints.len());
    if complaints.is_empty() { Ok(()) } else { bail!("{} complaints", complaints.len()) }
}

fn tracked() -> anyhow::Result<Vec<PathBuf>> {
    let output =
        Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect())
}

fn arrows(complaints: &mut Vec<String>) -> anyhow::Result<()> {
    let output = Command::new("cargo").args(["metadata", "--format-version", "1"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let short = |package: &Value| package["name"].as_str()?.strip_prefix("openagents-").map(str::to_owned);
    for package in packages {
        let Some(name) = short(package) else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
            complaints.push(format!("crate {name} has no row in xtask/src/tidy.rs ARROWS"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if let Some(other) = short(dependency).filter(|other| !allowed.contains(&other.as_str())) {
                complaints.push(format!("{name} must not depend on {other}"));
            }
        }
    }
    let graph = graph(&metadata);
    for name in [
        "openagents-types",
        "openagents-registry",
        "openagents-policy",
        "openagents-engine",
        "openagents-seed",
    ] {
        for seen in reach(&graph, name) {
            if IMPURE.contains(&seen.as_str()) {
                complaints.push(format!("{name} must not see {seen}, at any depth"));
            }
        }
    }
    Ok(())
}

/// What a lock file may hold. The fuzz targets and the Lightning wallet have one each of their own.
fn lock_file(path: &str, text: &str) -> Vec<String> {
    let banned = BANNED.iter().filter(|name| text.contains(&format!("name = \"{name}\"")));
    let banned = banned.map(|name| format!("{path}: {name} is banned"));
    let sources = text.lines().filter(|line| line.starts_with("source = ") && !line.contains("\"registry+"));
    banned.chain(sources.map(|line| format!("{path}: a foreign source, {line}"))).collect()
}

/// Package names and what they depend on when built, not when tested.
fn graph(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    let mut graph = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let built = dependencies.filter(|d| d["kind"].is_null() && d["optional"] == false);
        let names = built.filter_map(|d| d["name"].as_str().map(str::to_owned)).collect();
        graph.insert(package["name"].as_str().unwrap_or_default().to_owned(), names);
    }
    graph
}

fn reach(graph: &BTreeMap<String, Vec<String>>, from: &str) -> Vec<String> {
    let mut seen = vec![from.to_owned()];
    let mut next = 0;
    while next < seen.len() {
        for name in graph.get(&seen[next]).into_iter().flatten() {
            if !seen.contains(name) {
                seen.push(name.clone());
            }
        }
        next += 1;
    }
    seen.split_off(1)
}

fn rust_file(path: &Path, text: &str) -> Vec<String> {
    let name = path.display().to_string();
    let mut complaints = Vec::new();
    if !text.starts_with("//!") {
        complaints.push(format!("{name}: does not open with `//!` and why it exists"));
    }
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        complaints.push(format!("{name}: {lines} lines, at most {LONGEST_FILE}"));
    }
    // This file has to spell what it forbids.
    if name == "xtask/src/tidy.rs" {
        return complaints;
    }
    for word in UNFINISHED.iter().filter(|word| text.contains(**word)) {
        complaints.push(format!("{name}: contains {word}"));
    }
    let product = name.starts_with("crates/")
        && !["/tests", "/examples/", "/conformance"].iter().any(|part| name.contains(part));
    if product {
        complaints.extend(product_file(&name, text.split("#[cfg(test)]").next().unwrap_or(text)));
    }
    complaints
}

fn product_file(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let may_spawn = SPAWNERS.iter().any(|(file, _)| *file == name);
    if !may_spawn && (text.contains("tokio::spawn(") || text.contains("task::spawn(")) {
        complaints.push(format!("{name}: starts a task; use runtime.rs"));
    }
    let pure = [
        "crates/types/",
        "crates/registry/",
        "crates/policy/",
        "crates/engine/",
        "crates/protocol/",
        "crates/seed/",
    ]
    .iter()
    .any(|start| name.starts_with(start));
    for clock in ["SystemTime::now", "Instant::now", "Timestamp::now"] {
        if pure && text.contains(clock) {
            complaints.push(format!("{name}: reads a clock; time is an input"));
        }
    }
    complaints
}

/// Relative links in a page lead somewhere.
fn links(path: &Path, text: &str) -> Vec<String> {
    let folder = root().join(path.parent().unwrap_or(Path::new("")));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let relative = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    relative
        .filter(|target| !folder.join(target.split('#').next().unwrap_or_default()).exists())
        .map(|target| format!("{}: links to {target}, which is not there", path.display()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_can_fail() {
        let complain = |name: &str, text: &str| rust_file(Path::new(name), text).len();
        assert_eq!(complain("crates/engine/src/a.rs", "//! Why.\nfn a() {}\n"), 0);
        assert_eq!(complain("crates/engine/src/a.rs", "fn a() {}\n"), 1);
        assert_eq!(complain("crates/engine/src/a.rs", "//! Why.\nlet now = Instant::now();\n"), 1);
        assert_eq!(complain("crates/node/src/a.rs", "//! Why.\nlet now = Instant::now();\n"), 0);
        assert_eq!(complain("crates/node/src/a.rs", "//! Why.\ntokio::spawn(x);\n"), 1);
        assert_eq!(complain("crates/node/src/runtime.rs", "//! Why.\ntokio::spawn(x);\n"), 0);
        assert_eq!(complain("crates/node/src/a.rs", "//! Why.\n// TODO\n"), 1);
        assert_eq!(complain("crates/node/src/a.rs", &format!("//! Why.\n{}", "\n".repeat(LONGEST_FILE))), 1);
        assert_eq!(lock_file("Cargo.lock", "name = \"openssl-sys\"\nsource = \"git+https://x\"\n").len(), 2);
        assert_eq!(links(Path::new("README.md"), "[a](nowhere.md) [b](https://x)").len(), 1);
    }

    #[test]
    fn a_dependency_is_seen_at_any_depth() {
        let graph = BTreeMap::from([
            ("a".to_owned(), vec!["b".to_owned()]),
            ("b".to_owned(), vec!["tokio".to_owned()]),
        ]);
        assert!(reach(&graph, "a").contains(&"tokio".to_owned()));
    }
}
