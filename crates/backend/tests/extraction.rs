//! Documents read by a real child process: this test program, started again, is the child.
//!
//! The test harness would take the child's word for a filter, so this file has a `main` of its own.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

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
        a_small_document_that_unpacks_to_a_huge_one_is_given_up().await;
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

/// The child may have 512 MiB and ten seconds of a processor; neither page fits into them.
async fn a_small_document_that_unpacks_to_a_huge_one_is_given_up() {
    let once = repeated(&[0], 1, (1 << 30) / MATCH);
    // Beyond its head the packed page repeats itself every 13 bytes.
    let large = repeated(&[0], 1, (4 << 30) / MATCH);
    let (head, rest) = large.split_at(64);
    let twice = repeated(head, 13, rest.len() / MATCH);
    for (name, packed, filter) in
        [("once", once, "/FlateDecode"), ("twice", twice, "[/FlateDecode /FlateDecode]")]
    {
        let document = page(&packed, filter);
        assert!(document.len() < 8 << 20, "{name}: {} bytes are not small", document.len());
        let started = Instant::now();
        let read = extract(&document).await;
        // A busy machine may run into the clock on the wall before the child's own limits.
        let given_up = matches!(read, Err(BackendError::BadInput(_) | BackendError::Timeout));
        assert!(given_up, "{name}: {read:?}");
        assert!(started.elapsed() < Duration::from_secs(40), "{name} took {:?}", started.elapsed());
    }
}

/// The most that one step of deflate can repeat, in bytes.
const MATCH: usize = 258;

/// A zlib stream (RFC 1950, 1951) of `head` and then `times` times 258 bytes, each copied from `period`
/// bytes before: 1 or 13. Its checksum is wrong; nobody gets that far.
fn repeated(head: &[u8], period: usize, times: usize) -> Vec<u8> {
    let length = u16::try_from(head.len()).unwrap();
    let mut packed = vec![0x78, 0x01, 0];
    packed.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
    packed.extend(head);
    // The last block, with fixed codes: 285 is "258 bytes", 0 and 7 are distances of 1 and 13.
    let start = [true, true, false];
    let distance: &[bool] =
        if period == 1 { &[false; 5] } else { &[false, false, true, true, true, false, false] };
    let copy = [&[true, true, false, false, false, true, false, true], distance].concat();
    let bit = |at: usize| *start.get(at).unwrap_or_else(|| &copy[(at - start.len()) % copy.len()]);
    let byte = |at: usize| (0..8).fold(0, |byte, n| byte | u8::from(bit(8 * at + n)) << n);
    // From the second byte on they repeat after as many bytes as a copy has bits.
    let cycle: Vec<u8> = (1..=copy.len()).map(byte).collect();
    packed.push(byte(0));
    packed.extend(cycle.iter().cycle().take(times * copy.len() / 8));
    packed
}

/// A PDF of one page with this content.
fn page(content: &[u8], filter: &str) -> Vec<u8> {
    let length = content.len();
    let objects = [
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Resources<<>>/Contents 4 0 R>>".to_vec(),
        [format!("<</Length {length}/Filter{filter}>>\nstream\n").as_bytes(), content, b"\nendstream"]
            .concat(),
    ];
    let mut document = b"%PDF-1.4\n".to_vec();
    let mut table = String::from("xref\n0 5\n0000000000 65535 f \n");
    for (number, object) in (1..).zip(objects) {
        table += &format!("{:010} 00000 n \n", document.len());
        document.extend(format!("{number} 0 obj\n").bytes());
        document.extend(object);
        document.extend(b"\nendobj\n");
    }
    let start = document.len();
    document.extend(format!("{table}trailer\n<</Size 5/Root 1 0 R>>\nstartxref\n{start}\n%%EOF").bytes());
    document
}
