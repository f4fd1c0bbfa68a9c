//! Several backends for one kind: the model that is named or none, and another backend where the first fails.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::atomic::Ordering;

use openagents_api::{AskBody, Client, JobView};
use openagents_node::{
    Node,
    config::{Config, KindPrice},
};
use openagents_tests::{Script, ScriptedModel, config, offline, scripted_model, summary, until_job};
use openagents_types::{JobInput, JobKind, Param, ProviderKey};

fn question(model: Option<&str>) -> AskBody {
    AskBody {
        kind: JobKind::TEXT_GENERATION,
        inputs: vec![JobInput::text("What do herons eat?")],
        params: model.map(|name| Param::new("model", name)).into_iter().collect(),
        deadline_ms: Some(5_000),
        ..summary("", 20_000)
    }
}

async fn node(home: &std::path::Path, servers: &[&ScriptedModel]) -> (Node, Client) {
    let mut config: Config = config();
    config.backend.openai = servers.iter().map(|server| server.settings.clone()).collect();
    let node = offline(home, config).await;
    let client = node.client().unwrap();
    (node, client)
}

async fn asked(client: &Client, body: &AskBody) -> JobView {
    let id = client.ask(body).await.unwrap().id;
    until_job(client, id, |job| !job.open).await
}

fn count(server: &ScriptedModel) -> usize {
    server.asked.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_backend_does_the_same_job_for_the_same_money() {
    let home = tempfile::tempdir().unwrap();
    let broken = scripted_model(&["m"], Script::Fails).await;
    let sound = scripted_model(&["m", "n"], Script::Answers("Fish.")).await;
    let (node, client) = node(home.path(), &[&broken, &sound]).await;

    let job = asked(&client, &question(Some("m"))).await;
    assert_eq!((job.state.as_str(), count(&broken), count(&sound)), ("settled", 1, 1), "{job:#?}");
    assert_eq!(Some(job.paid_msat), job.price_msat);
    let made_by = job.made_by.unwrap();
    assert_eq!((made_by.backend.as_str(), made_by.model.as_deref()), ("openai", Some("m")));

    // What has just failed is asked last.
    let job = asked(&client, &question(None)).await;
    assert_eq!((job.state.as_str(), count(&broken), count(&sound)), ("settled", 1, 2), "{job:#?}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_has_one_turn_and_the_money_goes_back() {
    let home = tempfile::tempdir().unwrap();
    let (one, other) =
        (scripted_model(&["m"], Script::Fails).await, scripted_model(&["m"], Script::Fails).await);
    let (node, client) = node(home.path(), &[&one, &other]).await;
    let job = asked(&client, &question(Some("m"))).await;
    assert_eq!((job.state.as_str(), job.paid_msat, job.in_flight_msat), ("failed", 0, 0), "{job:#?}");
    assert_eq!((count(&one), count(&other)), (1, 1));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_first_piece_nobody_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let breaking = scripted_model(&["m"], Script::BreaksOff).await;
    let sound = scripted_model(&["m"], Script::Answers("Fish.")).await;
    let (node, client) = node(home.path(), &[&breaking, &sound]).await;
    let job = asked(&client, &question(Some("m"))).await;
    assert_eq!((job.state.as_str(), job.paid_msat), ("failed", 0), "{job:#?}");
    assert_eq!((count(&breaking), count(&sound)), (1, 0));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_not_there_is_refused_with_those_that_are() {
    let home = tempfile::tempdir().unwrap();
    let one = scripted_model(&["m"], Script::Answers("Fish.")).await;
    let other = scripted_model(&["n"], Script::Answers("Frogs.")).await;
    let (node, client) = node(home.path(), &[&one, &other]).await;
    let job = asked(&client, &question(Some("n"))).await;
    assert_eq!(client.result(job.id).await.unwrap().content, "Frogs.");
    for (body, words) in [
        (question(Some("x")), "m, n"),
        (
            AskBody { params: vec![Param::new("model", "x")], ..summary("One. Two. Three.", 20_000) },
            "no models",
        ),
    ] {
        let job = asked(&client, &body).await;
        let refusal = job.refusals.first().unwrap();
        assert_eq!(refusal.code, "model", "{job:#?}");
        assert!(refusal.message.contains(words), "{refusal:?}");
        assert_eq!(job.paid_msat, 0);
    }
    assert_eq!((count(&one), count(&other)), (0, 1));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_model_does_not_write_pays_for_later_jobs_of_its_customer() {
    let home = tempfile::tempdir().unwrap();
    let model = scripted_model(&["m"], Script::Answers("Fish.")).await;
    let mut config: Config = config();
    config.backend.openai = vec![model.settings.clone()];
    config.provider.price = vec![KindPrice {
        kind: JobKind::TEXT_GENERATION,
        model: None,
        base_msat: 1_000,
        per_kib_msat: 0,
        per_1000_output_msat: 4_000,
        per_second_msat: 0,
    }];
    let node = offline(home.path(), config).await;
    let client = node.client().unwrap();
    let npub = client.node().await.unwrap().npub;
    let provider = ProviderKey::from_bytes(nostr::PublicKey::parse(&npub).unwrap().to_bytes());

    let ask = AskBody {
        params: vec![Param::new("max_tokens", "1000")],
        provider: Some(provider),
        ..question(None)
    };
    let first = asked(&client, &ask).await;
    assert_eq!((first.state.as_str(), first.paid_msat), ("settled", 5_000), "{first:#?}");
    assert!(first.explanation.contains("as your balance"), "{first:#?}");
    // A second one by the same key leaves as much, and then a third costs nothing that is not there already.
    let ask = AskBody { balance_of: Some(first.id), or_wallet: true, ..ask };
    let second = asked(&client, &ask).await;
    assert_eq!((second.state.as_str(), second.paid_msat), ("settled", 5_000), "{second:#?}");
    let third = asked(&client, &AskBody { or_wallet: false, ..ask }).await;
    assert_eq!((third.state.as_str(), third.paid_msat), ("settled", 0), "{third:#?}");
    assert!(third.explanation.contains("were paid from your balance"), "{third:#?}");
    assert!(third.explanation.contains("as your balance"), "{third:#?}");
    node.shutdown().await.unwrap();
}
