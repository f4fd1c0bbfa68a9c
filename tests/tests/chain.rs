//! Three jobs, each on the result of the one before, on a relay between a customer and a provider.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use openagents_api::{AskBody, Client, JobView};
use openagents_node::{Node, Role, WalletChoice, config::OpenAiServer};
use openagents_relay::{Hub, HubConfig, serve};
use openagents_tests::{config, start, until};
use openagents_types::{InputType, JobInput, JobKind, Param};
use tokio_util::sync::CancellationToken;

/// What the model server answers, whatever it is asked.
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"Zahlungen warten auf Lieferung.\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
    data: [DONE]\n\n";

/// A model server, and what it was asked.
fn model_server() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (path, body) = request(&stream);
            if path.contains("/models") {
                let list = "{\"data\":[{\"id\":\"m\"}]}";
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
                let length = list.len();
                let _ = write!(stream, "{head}content-length: {length}\r\n\r\n{list}");
            } else {
                let _ = sender.send(body);
                let _ = stream.write_all(ANSWER.as_bytes());
            }
        }
    });
    (url, asked)
}

fn request(stream: &TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (first, String::from_utf8(body).unwrap())
}

/// A relay, a provider that sells for free, and a customer.
struct Market {
    provider: Node,
    customer: Node,
    client: Client,
    prompts: mpsc::Receiver<String>,
    _homes: [tempfile::TempDir; 2],
}

impl Market {
    async fn open() -> Self {
        openagents_tests::log();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = format!("ws://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, Hub::new(HubConfig::default()), CancellationToken::new()));
        let (url, prompts) = model_server();
        let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut settings = config();
        settings.relays = vec![relay];
        settings.provider.free = true;
        let server = OpenAiServer { url, models: vec!["m".into()], key_file: None };
        let mut selling = settings.clone();
        selling.backend.openai = vec![server];
        let provider = start(homes[0].path(), selling, Role::Provider, WalletChoice::None, false).await;
        let customer = start(homes[1].path(), settings, Role::Customer, WalletChoice::None, false).await;
        let client = customer.client().unwrap();
        Self { provider, customer, client, prompts, _homes: homes }
    }

    fn body(kind: JobKind, input: JobInput, params: &[(&str, &str)]) -> AskBody {
        AskBody {
            kind,
            inputs: vec![input],
            params: params.iter().map(|(name, value)| Param::new(*name, *value)).collect(),
            bid_msat: 0,
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

    async fn buy(&self, body: &AskBody) -> (JobView, String) {
        let asked = self.client.ask(body).await.unwrap();
        let job = until(&self.client, asked.id, &["settled"]).await;
        let result = self.client.result(asked.id).await.unwrap();
        (job, result.content)
    }

    async fn close(self) {
        self.customer.shutdown().await.unwrap();
        self.provider.shutdown().await.unwrap();
    }
}

fn named(input_type: InputType, id: &impl ToString) -> JobInput {
    JobInput { data: id.to_string(), input_type, relay: None, marker: None }
}

const TEXT: &str = "Lightning payments settle in seconds. Payments can be locked until delivery. \
    A locked payment goes back if nothing is delivered. Cats sleep all day.";

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_three_jobs_hands_results_on_by_their_events_and_jobs() {
    let market = Market::open().await;
    let text = Market::body(JobKind::TEXT_EXTRACTION, JobInput::text(TEXT), &[]);
    let (first, extracted) = market.buy(&text).await;
    assert!(extracted.contains("Cats sleep"), "{extracted}");

    let by_event = named(InputType::Event, &first.result_event.unwrap());
    let summary = Market::body(JobKind::SUMMARIZATION, by_event, &[("length", "20 words")]);
    let (second, summed_up) = market.buy(&summary).await;
    assert!(summed_up.contains("ayment") && summed_up.len() < extracted.len(), "{summed_up}");

    let by_job = named(InputType::Job, &second.id);
    let translation = Market::body(JobKind::TEXT_GENERATION, by_job, &[("model", "m")]);
    let (_, translated) = market.buy(&translation).await;
    assert_eq!(translated, "Zahlungen warten auf Lieferung.");
    let prompt = market.prompts.recv().unwrap();
    let prompt: serde_json::Value = serde_json::from_str(&prompt).unwrap();
    assert_eq!(prompt["messages"][0]["content"], summed_up, "the summary is what the model was asked about");
    market.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_asked_before_the_one_it_needs_is_done_is_done_after_it() {
    let market = Market::open().await;
    // Nothing but its own deadline ends the wait for a job that a stranger never does.
    let earlier = Market::body(JobKind::TEXT_EXTRACTION, JobInput::text(TEXT), &[]);
    let first = market.client.ask(&earlier).await.unwrap().id;
    let (_, summed_up) =
        market.buy(&Market::body(JobKind::SUMMARIZATION, named(InputType::Job, &first), &[])).await;
    assert!(summed_up.contains("ayment"), "{summed_up}");
    market.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_nowhere_is_refused_with_its_reason() {
    let market = Market::open().await;
    let body = Market::body(JobKind::SUMMARIZATION, named(InputType::Event, &"5e".repeat(32)), &[]);
    let asked = market.client.ask(&AskBody { deadline_ms: Some(8_000), ..body }).await.unwrap();
    let job = until(&market.client, asked.id, &["no-offer"]).await;
    assert_eq!(job.refusals[0].code, "input");
    assert!(job.refusals[0].message.contains("no event 5e5e"), "{:?}", job.refusals);
    assert_eq!(job.paid_msat, 0);
    market.close().await;
}
