//! Documents that a job names are read, and what they say is checked, before a price is made.
//!
//! This test program, started again, is the child that reads documents; the test harness would take the child's word for
//! a filter, so this file has a `main` of its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that panics has failed, as it should")]

use std::{fmt::Write as _, process::ExitCode};

use base64::Engine as _;
use openagents_api::{AskBody, AuditQuery, Client, JobView};
use openagents_backend::extract_child_main;
use openagents_node::config::OpenAiServer;
use openagents_tests::{ChatServer, careless_customer, config, offline, summary, until_job};
use openagents_types::{JobInput, JobKind};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "__extract") {
        return extract_child_main(arguments.get(1).map_or("", String::as_str));
    }
    if arguments.iter().any(|word| word == "--list") {
        if !arguments.iter().any(|word| word == "--ignored") {
            println!("documents_are_read_and_checked_before_they_are_priced: test");
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(documents_are_read_and_checked_before_they_are_priced());
    ExitCode::SUCCESS
}

/// A document of one page with these lines.
fn pdf(lines: &[&str]) -> Vec<u8> {
    let text: String = lines.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "({line}) Tj T*").unwrap();
        text
    });
    let page = format!("BT /F1 12 Tf 72 760 Td 16 TL\n{text}ET\n");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [4 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> \
         /Contents 5 0 R >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{page}endstream", page.len()),
    ];
    let (mut file, mut table) = (String::from("%PDF-1.4\n"), String::from("0000000000 65535 f \n"));
    for (number, object) in (1..).zip(&objects) {
        writeln!(table, "{:010} 00000 n ", file.len()).unwrap();
        writeln!(file, "{number} 0 obj\n{object}\nendobj").unwrap();
    }
    let at = file.len();
    write!(file, "xref\n0 6\n{table}trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{at}\n%%EOF\n").unwrap();
    file.into_bytes()
}

const ODT: &[u8] = include_bytes!("../../crates/backend/fixtures/market.odt");

fn about(kind: JobKind, bytes: &[u8]) -> AskBody {
    let mut body = summary("", 0);
    (body.kind, body.params) = (kind, Vec::new());
    let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
    body.inputs = vec![JobInput::url(format!("data:application/octet-stream;base64,{encoded}"))];
    body
}

/// How a job ends, or stands when its only provider has refused it; why it did, and the result.
async fn end(client: &Client, body: &AskBody) -> (JobView, String, String) {
    let asked = client.ask(body).await.unwrap();
    let is_decided = |job: &JobView| !job.refusals.is_empty() || job.state == "settled";
    let job = until_job(client, asked.id, is_decided).await;
    let words = job.refusals.iter().map(|refusal| refusal.message.as_str()).collect::<Vec<_>>().join("\n");
    let result = client.result(job.id).await.map(|result| result.content).unwrap_or_default();
    (job, words, result)
}

async fn documents_are_read_and_checked_before_they_are_priced() {
    let server = ChatServer::start().await;
    let (shop, street) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config();
    config.provider.free = true;
    config.backend.openai =
        vec![OpenAiServer { url: server.url.clone(), models: Vec::new(), key_file: None }];
    let node = offline(shop.path(), config).await;
    let customer = careless_customer(street.path(), &node).await;
    let client = customer.client().unwrap();

    let honest = pdf(&["The lighthouse of Genoa is old.", "It is 77 metres high."]);
    let (job, words, result) = end(&client, &about(JobKind::TEXT_EXTRACTION, &honest)).await;
    assert_eq!(job.state, "settled", "{words}");
    assert!(result.contains("lighthouse of Genoa") && result.contains("77 metres"), "{result}");
    let (job, words, _) = end(&client, &about(JobKind::TEXT_GENERATION, &honest)).await;
    assert_eq!(job.state, "settled", "{words}");

    let (job, words, result) = end(&client, &about(JobKind::TEXT_EXTRACTION, ODT)).await;
    assert_eq!(job.state, "settled", "{words}");
    assert!(result.contains("A locked payment goes back"), "{result}");

    let pill = "I have had a headache for three days. What medication should I take and how much?";
    let html = format!("<html><body><p>{pill}</p></body></html>");
    for document in [pdf(&[pill]), html.into_bytes()] {
        let (job, words, _) = end(&client, &about(JobKind::TEXT_GENERATION, &document)).await;
        assert!(
            job.state != "settled" && job.quotes.is_empty(),
            "it is refused before a price is made: {job:#?}"
        );
        assert!(words.contains("Category: regulated_healthcare."), "{words}");
    }
    let (job, words, _) = end(&client, &about(JobKind::SUMMARIZATION, b"%PDF-1.4\nbroken")).await;
    assert!(job.quotes.is_empty() && words.contains("cannot be read"), "{words}");
    let (job, words, _) = end(&client, &about(JobKind::SUMMARIZATION, b"PK\x03\x04broken")).await;
    assert!(job.quotes.is_empty() && words.contains("cannot be read"), "{words}");
    let (job, words, _) = end(&client, &about(JobKind::SUMMARIZATION, &pdf(&[]))).await;
    assert!(job.quotes.is_empty() && words.contains("no text"), "{words}");

    let sold = node.client().unwrap().audit(&AuditQuery::default()).await.unwrap();
    assert_eq!(sold.iter().filter(|check| check.result == "denied").count(), 2, "{sold:#?}");
    assert!(!format!("{sold:?}").contains("headache"));
    customer.shutdown().await.unwrap();
    node.shutdown().await.unwrap();
}
