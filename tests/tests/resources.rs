//! A machine that may not work takes no jobs, says why, and is not advertised; when it may again, it is.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::time::{Duration, Instant};

use openagents_api::{AskBody, Client, MachineView};
use openagents_node::{Role, WalletChoice};
use openagents_tests::{PATIENCE, config, offline, start, summary, until};

async fn machine(client: &Client, state: &str) -> MachineView {
    let begun = Instant::now();
    loop {
        let machine = client.node().await.unwrap().provider.unwrap().machine.unwrap();
        if machine.state == state {
            return machine;
        }
        assert!(begun.elapsed() < PATIENCE, "{machine:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Until another provider on the same relay sees so many kinds advertised.
async fn advertised(client: &Client, some: bool) {
    let begun = Instant::now();
    while client.market_ads().await.unwrap().is_empty() == some {
        assert!(begun.elapsed() < PATIENCE, "advertisements: {some} was expected");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_too_hot_pauses_and_goes_on_when_it_has_cooled_down() {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let outside = tempfile::tempdir().unwrap();
    let sensors = outside.path().join("sensors.json");
    let feel = |heat: u8| std::fs::write(&sensors, format!("{{\"thermal\": {heat}}}")).unwrap();
    feel(0);
    let mut selling = config();
    selling.resources.sample_file = sensors.display().to_string();
    (selling.resources.look_every_ms, selling.resources.settle_s) = (50, 0);
    let provider = offline(homes[0].path(), selling).await;
    let mut other = config();
    other.relays = provider.up().relay.iter().cloned().collect();
    other.provider.free = true;
    let other = start(homes[1].path(), other, Role::Provider, WalletChoice::None, false).await;
    let (seller, rival) = (provider.client().unwrap(), other.client().unwrap());
    advertised(&rival, true).await;

    feel(2);
    machine(&seller, "eased").await;
    feel(3);
    let paused = machine(&seller, "paused").await;
    assert_eq!(paused.reason.as_deref(), Some("heat"));
    assert!(paused.message.unwrap().contains("level 3 of 4") && paused.remedy.is_some());
    assert_eq!(paused.sample["thermal"], 3);
    advertised(&rival, false).await;
    let body = AskBody { provider: provider.up().provider, ..summary("One. Two. Three.", 100_000) };
    let job = until(&seller, seller.ask(&body).await.unwrap().id, &["no-offer"]).await;
    assert_eq!((job.refusals[0].code.as_str(), job.paid_msat), ("paused", 0), "{job:#?}");

    feel(1);
    machine(&seller, "allowed").await;
    advertised(&rival, true).await;
    let id = seller.ask(&body).await.unwrap().id;
    until(&seller, id, &["settled"]).await;
    other.shutdown().await.unwrap();
    provider.shutdown().await.unwrap();
}
