//! What the end-to-end tests share: nodes in homes of their own, and customers that wait.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test that panics has failed, as it should"
)]

mod chat;
mod hub;
mod llama;
mod prices;
mod program;
mod script;
mod shop;
mod slow;
mod zapper;

use std::{path::Path, time::Duration};

use openagents_api::{AskBody, Client, JobView};
use openagents_node::{
    Node, Options, Role, WalletChoice,
    config::{Config, OnBattery},
    home::Home,
    identity::Identities,
};
use openagents_policy::Category;
use openagents_types::{JobId, JobInput, JobKind, Param};

pub use chat::{ChatServer, Judgement};
pub use hub::{Fault, HubFile, HubServer, Seen, tiny_gguf};
pub use llama::Llama;
pub use prices::PriceServer;
pub use program::programs;
pub use script::{Script, ScriptedModel, scripted_model};
pub use shop::Shop;
pub use slow::slow_model;
pub use zapper::{Zap, Zapper};

/// How long anything in these tests may take before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Settings for a node on a port of its own, impatient enough for a test.
pub fn config() -> Config {
    let mut config = Config::default();
    config.listen.set_port(0);
    config.customer.window_ms = 300;
    config.customer.recheck_ms = 300;
    config.provider.recheck_ms = 300;
    // Tests are run on laptops too.
    config.resources.on_battery = OnBattery::Work;
    config.resources.battery_from_percent = 0;
    config
}

/// An offline node: relay, testnet, provider and customer in one.
pub async fn offline(home: &Path, config: Config) -> Node {
    start(home, config, Role::Provider, WalletChoice::Testnet, true).await
}

/// A node of any shape.
pub async fn start(home: &Path, config: Config, role: Role, wallet: WalletChoice, offline: bool) -> Node {
    let home = Home::open(Some(home.to_path_buf())).unwrap();
    let identity = Identities::new(&home).active().unwrap();
    Node::bind(Options { home, config, identity, wallet, role, offline }).await.unwrap()
}

/// A node that buys, without money, on the relay of `seller`, and asks for what that one may refuse.
pub async fn careless_customer(home: &Path, seller: &Node) -> Node {
    let mut config = config();
    config.relays = seller.up().relay.iter().cloned().collect();
    config.policy.consent = Category::ALL.into();
    start(home, config, Role::Customer, WalletChoice::None, false).await
}

/// A job for a summary of `text`.
pub fn summary(text: &str, bid_msat: u64) -> AskBody {
    AskBody {
        kind: JobKind::SUMMARIZATION,
        inputs: vec![JobInput::text(text)],
        params: vec![Param::new("length", "30 words")],
        bid_msat,
        provider: None,
        encrypt: false,
        window_ms: None,
        deadline_ms: Some(20_000),
        patience_ms: None,
        refund_to: None,
        balance_of: None,
        or_wallet: false,
    }
}

/// Waits until a bought job is in one of `states`.
pub async fn until(client: &Client, id: JobId, states: &[&str]) -> JobView {
    until_job(client, id, |job| states.contains(&job.state.as_str())).await
}

/// Waits until a bought job is as it should be.
pub async fn until_job(client: &Client, id: JobId, is_so: impl Fn(&JobView) -> bool) -> JobView {
    let wait = async {
        loop {
            let job = client.job(id).await.unwrap();
            if is_so(&job) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(job) => job,
        Err(_) => panic!("it never came to that: {:#?}", client.job(id).await),
    }
}

/// Shows what the nodes of a test say, when `RUST_LOG` asks for it.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}
