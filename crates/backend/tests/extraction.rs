//! Documents read by a real child process: this test program, started again, is the child.
//!
//! The test harness would take the child's word for a filter, so this file has a `main` of its own.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{process::ExitCode, sync::Arc};

use openagents_backend::{
    Backend, BackendError, Extraction, Extractive, Output, Work, conformance, extract_child_main,
};
use openagents_types::{JobKind, Param, ResolvedInput};

const PDF: &[u8] = include_bytes!("../fixtures/market.pdf");
const HTML: &[u8] = include_bytes!("../fixtures/market.html");

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("__extract") {
        return extract_child_main(&arguments.next().unwrap_or_default());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        documents_become_text().await;
        documents_can_be_summarized().await;
        a_document_that_breaks_its_parser_breaks_only_the_child().await;
    });
    ExitCode::SUCCESS
}

async fn run(backend: Arc<dyn Backend>, kind: JobKind, bytes: &[u8]) -> Result<Output, BackendError> {
    // The bytes decide what a document is; what its sender calls it does not.
    let input = ResolvedInput {
        bytes: bytes.to_vec(),
        mime: "application/octet-stream".into(),
        source: "test".into(),
    };
    let params = vec![Param::new("length", "1 sentence")];
    let work = Work { kind, inputs: vec![input], params, output: Vec::new() };
    conformance::run(&backend, work).await.map(|(output, _)| output)
}

async fn extract(bytes: &[u8]) -> Result<Output, BackendError> {
    run(Arc::new(Extraction::this_program()), JobKind::TEXT_EXTRACTION, bytes).await
}

async fn documents_become_text() {
    let pdf = extract(PDF).await.unwrap().content;
    assert!(pdf.starts_with("A market for compute sells work that machines do."), "{pdf}");
    assert!(pdf.contains("Both sides keep a signed receipt"), "the second page is missing: {pdf}");
    let html = extract(HTML).await.unwrap().content;
    assert!(html.contains("A locked payment goes back if nothing is delivered; the café"), "{html}");
    assert!(!html.contains("a script is not text") && !html.contains("color"), "{html}");
}

async fn documents_can_be_summarized() {
    for document in [PDF, HTML] {
        let backend = Arc::new(Extractive::new(Extraction::this_program()));
        let summary = run(backend, JobKind::SUMMARIZATION, document).await.unwrap().content;
        assert!(summary.contains("market") || summary.contains("payment"), "{summary}");
        assert_eq!(summary.matches(". ").count(), 0, "one sentence was asked for: {summary}");
    }
}

async fn a_document_that_breaks_its_parser_breaks_only_the_child() {
    let deep = format!("%PDF-1.4\n1 0 obj\n{}{}\nendobj\n%%EOF", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let wide = format!("<!doctype html><table><tr>{}", "<td>a".repeat(300_000));
    for document in [deep.as_bytes(), wide.as_bytes(), &PDF[..200], b"\0\x01\x02 neither"] {
        let read = extract(document).await;
        assert!(matches!(read, Err(BackendError::BadInput(_))), "{read:?}");
    }
}
