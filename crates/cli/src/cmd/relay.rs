//! `openagents relay`: where the market is reached, written into `config.toml` without touching the rest.

use clap::Subcommand;
use openagents_api::{RelayView, SCHEMA_VERSION};
use openagents_node::{config::Config, home::Home};
use openagents_relay::{RelayProbe, RelayUrl, probe};
use serde_json::{Value, json};

use crate::{args::Global, exit::Exit, failure::Failure, link, show, tables::table, text::one_line};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Relay {
    /// The relays in the settings and, if a node runs, how they are
    List,
    /// Use a relay from the next start on
    Add {
        /// Its address, such as wss://relay.example.com
        url: String,
    },
    /// No longer use a relay
    Remove {
        /// Its address
        url: String,
    },
    /// Connect, write an event that nobody keeps, and read it back
    #[command(
        before_help = "Examples:\n  openagents relay test\n  openagents relay test wss://relay.example.com --json"
    )]
    Test {
        /// The relays to try [default: those in the settings]
        url: Vec<String>,
    },
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Relay) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    match command {
        Relay::List => list(global, &home),
        Relay::Add { url } => change(global, &home, url, true),
        Relay::Remove { url } => change(global, &home, url, false),
        Relay::Test { url } => test(global, &home, url),
    }
}

fn list(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    let configured = Config::load(home)?.relays;
    let running = running(home);
    if global.json {
        show::json(
            &json!({ "schema_version": SCHEMA_VERSION, "configured": configured, "running": running }),
        )?;
        return Ok(Exit::Ok);
    }
    if configured.is_empty() {
        show::talk("no relays in the settings; add one with `openagents relay add wss://…`");
    }
    for url in &configured {
        show::line(url)?;
    }
    if let Some(running) = running {
        let rows: Vec<Vec<String>> =
            running.iter().map(|relay| vec![one_line(&relay.url, 60), one_line(&relay.state, 80)]).collect();
        show::line(&format!("\nthe running node:\n{}", table(&["relay", "state"], &rows)))?;
    }
    Ok(Exit::Ok)
}

/// The relays of the running node; none if none runs.
fn running(home: &Home) -> Option<Vec<RelayView>> {
    let client = link::connect(home).ok()?;
    super::wait(async { Ok(client.node().await?.relays) }).ok()
}

fn change(global: &Global, home: &Home, url: &str, add: bool) -> anyhow::Result<Exit> {
    let url = RelayUrl::parse(url)?.to_string();
    let mut relays = Config::load(home)?.relays;
    let known = relays.contains(&url);
    match (add, known) {
        (true, false) => relays.push(url),
        (true, true) => show::talk("it was there already"),
        (false, true) => relays.retain(|relay| *relay != url),
        (false, false) => {
            let what = format!("{} is not in the settings", one_line(&url, 200));
            return Err(Failure::new(Exit::Error, what, "see `openagents relay list`").into());
        }
    }
    write(home, &relays)?;
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "configured": relays }))?;
    } else {
        relays.iter().try_for_each(|relay| show::line(relay))?;
    }
    if home.running_app().is_some() {
        show::talk("the running node uses them from its next start on");
    }
    Ok(Exit::Ok)
}

/// Writes the relays into the settings; every other line stays as its owner wrote it.
fn write(home: &Home, relays: &[String]) -> anyhow::Result<()> {
    let path = home.config_file();
    let text = if path.exists() { std::fs::read_to_string(&path)? } else { String::new() };
    openagents_node::home::write_private(&path, with_relays(&text, relays)?.as_bytes())?;
    Ok(())
}

fn with_relays(text: &str, relays: &[String]) -> anyhow::Result<String> {
    let mut settings: toml_edit::DocumentMut = text.parse()?;
    let mut list = toml_edit::Array::new();
    list.extend(relays.iter().map(String::as_str));
    settings["relays"] = toml_edit::value(list);
    Ok(settings.to_string())
}

fn test(global: &Global, home: &Home, urls: &[String]) -> anyhow::Result<Exit> {
    let urls = if urls.is_empty() { Config::load(home)?.relays } else { urls.to_vec() };
    let urls = urls.iter().map(|url| RelayUrl::parse(url)).collect::<Result<Vec<_>, _>>()?;
    let probes = super::wait(async { Ok(try_all(&urls).await) })?;
    let all_well = probes.iter().all(|(_, probe)| probe.as_ref().is_ok_and(is_well));
    if global.json {
        let relays: Vec<Value> = probes.iter().map(view).collect();
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "relays": relays }))?;
    } else {
        let rows: Vec<Vec<String>> =
            probes.iter().map(|(url, probe)| vec![url.to_string(), verdict(probe)]).collect();
        show::line(&table(&["relay", "verdict"], &rows))?;
    }
    Ok(if all_well { Exit::Ok } else { Exit::Error })
}

/// Every relay and what became of trying it, in order.
pub(super) type Probed = (RelayUrl, Result<RelayProbe, String>);

/// Tries all relays at once, so that a slow one delays no other.
pub(super) async fn try_all(urls: &[RelayUrl]) -> Vec<Probed> {
    let tries =
        urls.iter().map(async |url| (url.clone(), probe(url).await.map_err(|error| error.to_string())));
    futures::future::join_all(tries).await
}

/// Whether a market can work over a relay.
pub(super) const fn is_well(probe: &RelayProbe) -> bool {
    probe.write_ok && probe.read_back
}

/// What a probe found, in one line.
pub(super) fn verdict(probe: &Result<RelayProbe, String>) -> String {
    match probe {
        Err(reason) => one_line(reason, 160),
        Ok(probe) if is_well(probe) => {
            let delivery = probe
                .delivery_ms
                .map_or_else(String::new, |ms| format!(", an event there and back in {ms} ms"));
            format!("works: connected in {} ms{delivery}", probe.connect_ms)
        }
        Ok(probe) => {
            let why = probe.message.as_deref().unwrap_or("it gave no reason");
            let lack = if probe.write_ok { "gives nothing back" } else { "takes no events" };
            format!("answers, but {lack}: {}", one_line(why, 120))
        }
    }
}

fn view((url, probe): &Probed) -> Value {
    match probe {
        Ok(found) => json!({ "url": url.as_str(), "ok": is_well(found), "probe": found }),
        Err(reason) => json!({ "url": url.as_str(), "ok": false, "error": reason }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn changing_relays_leaves_every_other_line_alone() {
        let text = "# mine\nlisten = \"127.0.0.1:1\" # why\n\n[provider]\nslots = 3\n";
        let changed = with_relays(text, &["wss://a".into()]).unwrap();
        for line in ["# mine", "listen = \"127.0.0.1:1\" # why", "slots = 3", "relays = [\"wss://a\"]"] {
            assert!(changed.contains(line), "{line:?} is missing in\n{changed}");
        }
        let read: Config = toml::from_str(&changed).unwrap();
        assert_eq!((read.relays, read.provider.slots), (vec!["wss://a".to_owned()], 3));
    }
}
