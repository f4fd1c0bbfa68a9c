//! The market's own kinds on a chat server, bought end to end.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed, as it should")]

use openagents_api::{AskBody, Client};
use openagents_node::{Node, config::OpenAiServer};
use openagents_registry::ExampleResult;
use openagents_tests::{ChatServer, Judgement, Llama, config, offline, summary, until};
use openagents_types::{JobInput, JobKind, Param};
use serde_json::{Value, json};

async fn node(home: &std::path::Path, url: &str) -> Node {
    let mut config = config();
    config.backend.openai = vec![OpenAiServer { url: url.into(), models: Vec::new(), key_file: None }];
    config.backend.templates =
        [6500, 6501, 6502, 6506, 6507, 6508, 6509].map(|kind| JobKind::try_from(kind).unwrap()).to_vec();
    offline(home, config).await
}

fn job(kind: u16, texts: &[&str], params: &[(&str, &str)]) -> AskBody {
    AskBody {
        kind: kind.try_into().unwrap(),
        inputs: texts.iter().copied().map(JobInput::text).collect(),
        params: params.iter().map(|(name, value)| Param::new(*name, *value)).collect(),
        ..summary("", 100_000)
    }
}

async fn bought(client: &Client, body: &AskBody) -> Value {
    let asked = client.ask(body).await.unwrap();
    let job = until(client, asked.id, &["settled", "failed"]).await;
    assert_eq!(job.state, "settled", "{job:#?}");
    let content = client.result(asked.id).await.unwrap().content;
    let schema = openagents_registry::find(body.kind).unwrap();
    let read = schema.read(&body.inputs, &body.params, &[]).unwrap();
    schema.check_result(&content, &read).unwrap();
    serde_json::from_str(&content).unwrap()
}

/// A schema that noise comes to an end in.
const SCHEMA: &str = r#"{"type":"object","properties":{"count":{"type":"integer","minimum":0,"maximum":99},
    "colour":{"enum":["red","green"]}},"required":["count","colour"],"additionalProperties":false}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_server_classifies_and_extracts_in_the_shape_that_is_promised() {
    let Some(llama) = Llama::start() else {
        eprintln!("skipped: run tools/setup_llama.sh and set OPENAGENTS_TEST_LLAMA to what it prints");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let node = node(home.path(), &llama.url).await;
    let client = node.client().unwrap();
    let labels = [("task", "sentiment"), ("labels", "good,bad")];
    let one = bought(&client, &job(6508, &["It works wonderfully."], &labels)).await;
    assert_eq!(one["labels"].as_array().unwrap().len(), 2);
    let two = bought(&client, &job(6508, &["It works.", "It does not."], &labels)).await;
    assert_eq!(two["inputs"].as_array().unwrap().len(), 2);
    let facts = bought(&client, &job(6509, &["Three red boats."], &[("schema", SCHEMA)])).await;
    assert!(
        facts["count"].is_u64() && ["red", "green"].map(Value::from).contains(&facts["colour"]),
        "{facts}"
    );
    node.shutdown().await.unwrap();
}

/// What a kind's first example asks for, and what comes back for it.
fn example(kind: u16) -> (AskBody, Value) {
    let example = &openagents_registry::find(kind.try_into().unwrap()).unwrap().examples[0];
    let texts: Vec<&str> = example.inputs.iter().map(|input| input[0].as_str()).collect();
    let params: Vec<(&str, &str)> =
        example.params.iter().map(|it| (it[0].as_str(), it[1].as_str())).collect();
    let ExampleResult::Json(result) = &example.result else { panic!("{kind} promises JSON") };
    (job(kind, &texts, &params), result.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn work_on_code_is_bought_in_the_shape_that_is_promised() {
    let (chat, home) = (ChatServer::start().await, tempfile::tempdir().unwrap());
    chat.judges(Judgement::Writes);
    let node = node(home.path(), &chat.url).await;
    let client = node.client().unwrap();
    for kind in [6500, 6501, 6502, 6506, 6507] {
        let (body, result) = example(kind);
        chat.writes(&result.to_string());
        assert_eq!(bought(&client, &body).await, result, "{kind}");
    }
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_shape_fails_the_job_and_the_money_comes_back() {
    let (chat, home) = (ChatServer::start().await, tempfile::tempdir().unwrap());
    let node = node(home.path(), &chat.url).await;
    let client = node.client().unwrap();
    assert!(node.up().kinds.contains(&JobKind::try_from(6501).unwrap()));
    // It judges whatever it is asked, so its answers are no reviews.
    let asked = client.ask(&job(6501, &["fn main() {}"], &[("focus", "bugs")])).await.unwrap();
    let failed = until(&client, asked.id, &["failed"]).await;
    assert_eq!((failed.paid_msat, failed.in_flight_msat), (0, 0), "{failed:#?}");
    let asked: Vec<Value> = chat.questions();
    assert!(
        asked[0]["response_format"]["json_schema"]["schema"]["properties"]["issues"].is_object(),
        "{asked:?}"
    );
    assert_eq!(asked[0]["max_tokens"], json!(2_000));
    node.shutdown().await.unwrap();
}
