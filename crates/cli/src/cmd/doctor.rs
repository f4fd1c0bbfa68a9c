//! `openagents doctor`: everything a node needs, checked in the order in which it is needed.

mod found;
pub(crate) mod servers;

use std::{net::TcpListener, path::Path, time::Duration};

use clap::Args;
use openagents_api::{NodeView, SCHEMA_VERSION};
use openagents_backend::{CommandSettings, CommandTool, RECIPES};
use openagents_node::{
    cashu,
    config::{Config, OpenAiServer, WalletChosen},
    home::Home,
    identity::{Identities, IdentityError},
    seeds::{SeedStatus, Seeds},
    spark,
};
use openagents_relay::RelayUrl;
use openagents_types::Msat;
use openagents_wallet::nwc::Connection;
use serde::Serialize;
use serde_json::json;

use super::{relay, wallet::seed::reminder};
use crate::{
    args::Global,
    exit::Exit,
    link, show,
    tables::now_ms,
    text::{one_line, printable},
};

/// Beginning of 2026 in milliseconds: a clock before that is wrong, since the program is younger.
const YOUNGEST: u64 = 1_767_225_600_000;

/// How long a model server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to check.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  openagents doctor\n  openagents doctor --offline --json",
    after_help = "Ends with 1 if any check fails. A warning is no failure."
)]
pub(crate) struct DoctorArgs {
    /// Leave out what needs a network
    #[arg(long)]
    offline: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    detail: String,
    /// What to do about it.
    fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, detail: detail.into(), fix: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, detail: detail.into(), fix: Some(fix.into()) }
    }

    fn fail(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, detail: detail.into(), fix: Some(fix.into()) }
    }
}

/// Checks, prints, and fails if a check did.
pub(crate) fn run(global: &Global, args: &DoctorArgs) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    let checks = super::wait(async { Ok(examine(&home, args.offline).await) })?;
    let ok = checks.iter().all(|check| check.status != Status::Fail);
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "ok": ok, "checks": checks }))?;
    } else {
        let colour = global.color.on_stdout();
        checks.iter().try_for_each(|check| show::line(&told(check, colour)))?;
    }
    Ok(if ok { Exit::Ok } else { Exit::Error })
}

fn told(check: &Check, colour: bool) -> String {
    let (word, code) = match check.status {
        Status::Ok => ("ok  ", "32"),
        Status::Warn => ("warn", "33"),
        Status::Fail => ("FAIL", "31"),
    };
    let word = if colour { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() };
    let mut line = format!("{word}  {:<9} {}", check.name, printable(&check.detail));
    if let Some(fix) = &check.fix {
        line.push_str(&format!("\n      fix: {}", printable(fix)));
    }
    line
}

async fn examine(home: &Home, offline: bool) -> Vec<Check> {
    let mut checks = vec![clock(), directories(home), secrets(home), identity(home)];
    checks.extend(seeds(home));
    let config = match Config::load(home) {
        Ok(config) => {
            checks.push(Check::ok("config", "the settings are valid"));
            config
        }
        Err(error) => {
            checks.push(Check::fail("config", error.to_string(), "openagents config edit"));
            return checks;
        }
    };
    let node = match link::connect(home) {
        Ok(client) => client.node().await.map_err(|error| error.to_string()),
        Err(_) => Err(String::new()),
    };
    checks.push(running(&node));
    checks.push(port(&config, node.is_ok()));
    checks.push(wallet(home, &config, node.as_ref().ok()));
    checks.push(limit(&config));
    checks.extend(price(&config, node.as_ref().ok()));
    if let Ok(node) = &node {
        checks.extend(connected_relays(node));
        checks.extend(listed(home, node).await);
    } else if !offline {
        checks.extend(configured_relays(&config).await);
    }
    checks.push(Check::ok("backend", "text extraction and summaries are built in"));
    // A server on this machine needs no network.
    for server in config.backend.openai.iter().filter(|server| !offline || is_here(server)) {
        checks.push(model_server(server).await);
    }
    checks.extend(servers::checks(&config, home, offline, node.as_ref().ok()).await);
    for settings in &config.backend.command {
        checks.push(tool(settings).await);
    }
    checks.extend(found::unsold_servers(&config).await);
    checks.extend(unused_recipes(&config));
    checks.extend(files(&config));
    checks
}

/// Whether a provider that works is seen.
async fn listed(home: &Home, node: &NodeView) -> Option<Check> {
    let provider = node.provider.as_ref()?;
    let client = link::connect(home).ok()?;
    match provider.shift.as_str() {
        "open" | "" => Some(found::ads(&client).await),
        shift => {
            let told = format!("the provider is {shift}, so nothing is advertised");
            Some(Check::warn("ads", told, "openagents provider resume"))
        }
    }
}

fn clock() -> Check {
    if now_ms() < YOUNGEST {
        return Check::fail(
            "clock",
            "this machine's clock is years behind",
            "set the clock; requests would be turned away",
        );
    }
    Check::ok("clock", "plausible")
}

fn directories(home: &Home) -> Check {
    for (name, path) in home.paths() {
        let probe = path.join(".doctor");
        if let Err(error) = std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)) {
            let fix = format!("make {} writable for you, or choose another with --home", path.display());
            return Check::fail(
                "home",
                format!("the {name} directory {} cannot be written: {error}", path.display()),
                fix,
            );
        }
    }
    Check::ok("home", home.paths().map(|(_, path)| path.display().to_string())[1].clone())
}

/// The files that spend or sign, which nobody else may read.
fn secrets(home: &Home) -> Check {
    let names = [
        "device.key",
        "api.token",
        "wallet.nwc",
        "breez.key",
        "testnet.key",
        "testnet-account.key",
        "seed/mainnet/seed.json",
        "seed/testnet/seed.json",
        "seed/signet/seed.json",
        "seed/regtest/seed.json",
    ];
    let open = names.iter().map(|name| home.data_file(name)).find(|path| is_open(path));
    match open {
        Some(path) => Check::fail(
            "secrets",
            format!("others may read {}", path.display()),
            format!("chmod 600 {}", path.display()),
        ),
        None => Check::ok("secrets", "readable for you alone"),
    }
}

#[cfg(unix)]
fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open(_path: &Path) -> bool {
    false
}

fn identity(home: &Home) -> Check {
    let all = Identities::new(home);
    if all.active_npub().is_none() {
        return Check::warn("identity", "none yet; the first start makes one", "openagents identity create");
    }
    let storage = |npub: &str| all.storage(&all.find(npub)?);
    match all.active().and_then(|identity| Ok((identity.npub(), storage(&identity.npub())?))) {
        Ok((npub, storage)) => Check::ok("identity", format!("{npub} (storage: {})", storage.word())),
        Err(error @ (IdentityError::Device(_) | IdentityError::Locked | IdentityError::NoPassphrase)) => {
            let text = error.to_string();
            let (what, fix) = text.split_once("; ").unwrap_or((&text, "openagents identity list"));
            Check::fail("identity", what, fix)
        }
        Err(error) => {
            Check::fail("identity", error.to_string(), "openagents identity use NAME, or restore device.key")
        }
    }
}

/// The money seeds; a home without one needs none.
fn seeds(home: &Home) -> Vec<Check> {
    let all = match Seeds::new(home).all() {
        Ok(all) => all,
        Err(error) => {
            let text = error.to_string();
            let (what, fix) = text.split_once("; ").unwrap_or((&text, "openagents wallet seed status"));
            return vec![Check::fail("seed", what, fix)];
        }
    };
    let check = |seed: &SeedStatus| match reminder(seed) {
        None => Check::ok("seed", format!("{} {} is backed up", seed.network, seed.fingerprint)),
        Some(text) => {
            let (what, fix) = text.split_once("; ").unwrap_or((&text, "openagents wallet seed verify"));
            Check::warn("seed", what, fix)
        }
    };
    all.iter().map(check).collect()
}

fn running(node: &Result<NodeView, String>) -> Check {
    match node {
        Ok(node) => Check::ok(
            "node",
            format!("version {} at {}", one_line(&node.version, 20), one_line(&node.app, 80)),
        ),
        Err(reason) if reason.is_empty() => Check::warn("node", "none runs in this home", "openagents up"),
        Err(reason) => {
            Check::fail("node", reason.clone(), "stop the node and start it again with `openagents up`")
        }
    }
}

fn port(config: &Config, runs: bool) -> Check {
    if runs {
        return Check::ok("port", "the node listens");
    }
    match TcpListener::bind(config.listen) {
        Ok(_) => Check::ok("port", format!("{} is free", config.listen)),
        Err(error) => Check::warn(
            "port",
            format!("{} cannot be used: {error}", config.listen),
            "stop what uses it, or `openagents up --listen 127.0.0.1:0`",
        ),
    }
}

fn wallet(home: &Home, config: &Config, node: Option<&NodeView>) -> Check {
    if let Some(wallet) = node.and_then(|node| node.wallet.as_ref()) {
        return match wallet.balance_msat {
            Some(balance) => {
                Check::ok("wallet", format!("{} on {}", Msat::new(balance), one_line(&wallet.network, 20)))
            }
            None => Check::fail(
                "wallet",
                "it does not answer",
                "look whether the wallet itself runs and is connected",
            ),
        };
    }
    match config.wallet.kind {
        WalletChosen::Nwc => {}
        WalletChosen::Spark => {
            let ready = spark::ready(home, &config.wallet.spark).map_err(|error| error.to_string());
            return own_wallet("on Spark", ready, "openagents wallet spark status");
        }
        WalletChosen::Ldk => {
            return own_wallet("a Lightning node of your own", Ok(()), "openagents config edit");
        }
        WalletChosen::Cashu => {
            let ready = cashu::ready(&config.wallet.cashu).map_err(|error| error.to_string());
            return own_wallet("ecash", ready, "openagents config edit");
        }
    }
    match std::fs::read_to_string(link::wallet_file(home)) {
        Ok(text) if text.parse::<Connection>().is_ok() => {
            Check::ok("wallet", "connected; asked when a node runs")
        }
        Ok(_) => Check::fail("wallet", "wallet.nwc is damaged", "openagents wallet connect"),
        Err(_) => {
            Check::warn("wallet", "none; only free work is bought and sold", "openagents wallet connect")
        }
    }
}

/// A wallet that the node runs itself.
fn own_wallet(name: &str, ready: Result<(), String>, otherwise: &str) -> Check {
    match ready {
        Ok(()) => Check::ok("wallet", format!("{name}; asked when a node runs")),
        Err(text) => {
            let (what, fix) = text.split_once("; ").unwrap_or((&text, otherwise));
            Check::fail("wallet", what, fix)
        }
    }
}

/// What is spent at most, which nobody should learn from a refusal.
fn limit(config: &Config) -> Check {
    match config.customer.daily_limit() {
        Some(limit) => {
            Check::ok("limit", format!("at most {limit} are spent in a day (customer.daily_limit_msat)"))
        }
        None => Check::warn(
            "limit",
            "nothing limits what is spent in a day but the wallet itself",
            "set daily_limit_msat under [customer] in config.toml: openagents config edit",
        ),
    }
}

/// Whether what money is worth is known, if it shall be.
fn price(config: &Config, node: Option<&NodeView>) -> Option<Check> {
    if config.fiat.source.is_empty() {
        return None;
    }
    let Some(node) = node else {
        return Some(Check::ok("fiat", format!("in {}; asked when a node runs", config.fiat.currency)));
    };
    let Some(source) = &node.fiat else {
        let told = "the running node asks nobody what a bitcoin costs";
        return Some(Check::warn(
            "fiat",
            told,
            "restart the node; with --offline only a source on this machine is asked",
        ));
    };
    let (host, currency) = (one_line(&source.source, 80), one_line(&source.currency, 3));
    Some(match (&source.per_btc, &source.fault) {
        (Some(price), None) => {
            Check::ok("fiat", format!("a bitcoin costs {} {currency}, says {host}", one_line(price, 40)))
        }
        (None, None) => Check::ok("fiat", format!("{host} is being asked")),
        (known, Some(fault)) => {
            let now = if known.is_some() {
                "its last price is still used"
            } else {
                "payments are noted without a value"
            };
            let told = format!("no price from {host}: {}; {now}", one_line(fault, 200));
            Check::warn("fiat", told, "correct source and pointer under [fiat]: openagents config edit")
        }
    })
}

fn connected_relays(node: &NodeView) -> Vec<Check> {
    let told = node.relays.iter().map(|relay| {
        let detail = format!("{} {}", one_line(&relay.url, 80), one_line(&relay.state, 80));
        if relay.connected {
            Check::ok("relay", detail)
        } else {
            Check::fail("relay", detail, "openagents relay test")
        }
    });
    told.collect()
}

async fn configured_relays(config: &Config) -> Vec<Check> {
    if config.relays.is_empty() {
        return vec![Check::fail("relay", "none in the settings", "openagents relay add wss://…")];
    }
    let mut checks = Vec::new();
    let mut urls = Vec::new();
    for text in &config.relays {
        match RelayUrl::parse(text) {
            Ok(url) => urls.push(url),
            Err(error) => checks.push(Check::fail("relay", error.to_string(), "openagents config edit")),
        }
    }
    for (url, probe) in relay::try_all(&urls).await {
        let detail = format!("{url} {}", relay::verdict(&probe));
        checks.push(if probe.as_ref().is_ok_and(relay::is_well) {
            Check::ok("relay", detail)
        } else {
            Check::fail("relay", detail, format!("openagents relay remove {url}, or look at your network"))
        });
    }
    checks
}

fn is_here(server: &OpenAiServer) -> bool {
    ["://127.", "://localhost", "://[::1]"].iter().any(|host| server.url.contains(host))
}

async fn model_server(server: &OpenAiServer) -> Check {
    #[allow(clippy::disallowed_methods, reason = "the operator named this address in the settings")]
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
    let address = format!("{}/v1/models", server.url.trim_end_matches('/'));
    let answer = match http {
        Ok(http) => http.get(&address).send().await.map(|response| response.status()),
        Err(error) => Err(error),
    };
    match answer {
        // A server that wants a key answers all the same.
        Ok(status) if status.is_success() || status.as_u16() == 401 => {
            Check::ok("backend", format!("{} answers", server.url))
        }
        Ok(status) => {
            Check::fail("backend", format!("{address} answers HTTP {status}"), "see the model server's log")
        }
        Err(_) => Check::fail(
            "backend",
            format!("{} does not answer", server.url),
            "start the model server, or correct backend.openai in the settings",
        ),
    }
}

/// A tool of the operator's, tried in its cage.
async fn tool(settings: &CommandSettings) -> Check {
    let name = settings.name.as_ref().or(settings.recipe.as_ref()).map_or("command", String::as_str);
    let fix = "install it or correct backend.command in the settings: openagents config edit";
    let tool = match CommandTool::new(settings) {
        Ok(tool) => tool,
        Err(why) => return Check::fail("backend", format!("{name}: {why}"), fix),
    };
    match tool.tried().await {
        Ok(said) => Check::ok("backend", one_line(&format!("{}: {said}", tool.about()), 160)),
        Err(why) => Check::fail("backend", one_line(&format!("{}: {why}", tool.about()), 400), fix),
    }
}

/// Recipes whose tool is on this machine and that are not sold.
fn unused_recipes(config: &Config) -> Vec<Check> {
    let sold = |name: &str| config.backend.command.iter().any(|tool| tool.recipe.as_deref() == Some(name));
    let unsold = RECIPES.iter().filter(|(name, _)| !sold(name));
    let found = unsold.filter_map(|(name, _)| {
        let settings = CommandSettings { recipe: Some((*name).to_owned()), ..CommandSettings::default() };
        let tool = CommandTool::new(&settings).ok()?;
        let program = tool.program()?.display();
        Some(Check::ok(
            "backend",
            format!(
                "{program} is here and not sold; [[backend.command]] recipe = \"{name}\" sells {}",
                tool.about()
            ),
        ))
    });
    found.collect()
}

/// Whether strangers can get the files that tools make.
fn files(config: &Config) -> Option<Check> {
    if config.backend.command.is_empty() {
        return None;
    }
    let url = &config.media.public_url;
    Some(if url.is_empty() {
        Check::warn(
            "media",
            "no public address: sounds and films that do not fit into a result cannot be sent",
            "set public_url under [media] to where strangers reach this node: openagents config edit",
        )
    } else {
        Check::ok("media", format!("files are got from {url}"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[tokio::test]
    async fn everything_that_is_not_well_comes_with_a_way_to_mend_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(Some(dir.path().into())).unwrap();
        std::fs::write(home.data_file("wallet.nwc"), "junk").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(home.data_file("wallet.nwc"), std::fs::Permissions::from_mode(0o644))
                .unwrap();
        }
        let checks = examine(&home, true).await;
        let failed: Vec<&str> = checks.iter().filter(|c| c.status == Status::Fail).map(|c| c.name).collect();
        assert_eq!(failed, if cfg!(unix) { vec!["secrets", "wallet"] } else { vec!["wallet"] });
        assert!(checks.iter().all(|check| (check.status == Status::Ok) == check.fix.is_none()));
    }
}
