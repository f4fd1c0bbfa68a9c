//! What every backend promises, and what the `openai` backend makes of servers that do not keep theirs.
//!
//! Documents that need a child process are read in `extraction.rs`.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use openagents_backend::{
    Backend, BackendError, Extraction, Extractive, OpenAi, OpenAiSettings, Work, backend_tests, conformance,
};
use openagents_types::{JobKind, Param, ResolvedInput};
use tokio_util::sync::CancellationToken;

const TEXT: &str = "A market for compute sells work that machines do. Each payment is locked until delivery. \
    A locked payment goes back if nothing is delivered.";

/// A whole answer, as llama.cpp sends it.
const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
    data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"one \"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"two\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n\
    data: [DONE]\n\n";

fn work(kind: JobKind, params: Vec<Param>) -> Work {
    Work { kind, inputs: vec![ResolvedInput::text(TEXT)], params, output: Vec::new() }
}

fn openai(url: &str, models: &[&str]) -> Arc<dyn Backend> {
    // The program installs its provider when it starts; a second one changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let models = models.iter().map(|model| (*model).to_owned()).collect();
    Arc::new(OpenAi::new(OpenAiSettings { url: url.into(), models, key_file: None }).unwrap())
}

backend_tests!(
    extractive,
    Arc::new(Extractive::new(Extraction::this_program())) as Arc<dyn Backend>,
    work(JobKind::SUMMARIZATION, Vec::new()),
    Param::new("length", "many")
);
backend_tests!(
    extraction,
    Arc::new(Extraction::this_program()) as Arc<dyn Backend>,
    work(JobKind::TEXT_EXTRACTION, Vec::new()),
    Param::new("range", "0")
);
backend_tests!(
    openai_compatible,
    openai(&Server::answering(WHOLE).url, &["m"]),
    work(JobKind::TEXT_GENERATION, Vec::new()),
    Param::new("temperature", "9")
);

/// A model server that answers every request with the same bytes and hangs up.
struct Server {
    url: String,
    /// What it was asked: the request line and the body.
    asked: mpsc::Receiver<(String, String)>,
}

impl Server {
    fn answering(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, asked) = mpsc::channel();
        let answer = answer.to_owned();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { break };
                // A client that hangs up early is what some of these tests are about.
                let Ok(request) = read_request(&stream) else { continue };
                let _ = sender.send(request);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { url, asked }
    }
}

fn read_request(stream: &TcpStream) -> io::Result<(String, String)> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((first.trim().to_owned(), String::from_utf8(body).unwrap()))
}

#[tokio::test]
async fn what_terminals_obey_never_reaches_a_result() {
    let mut job = work(JobKind::TEXT_EXTRACTION, Vec::new());
    job.inputs = vec![ResolvedInput::text("red \u{1b}[31mtext \u{202e}backwards\n\tand on")];
    let backend: Arc<dyn Backend> = Arc::new(Extraction::this_program());
    let (output, _) = conformance::run(&backend, job).await.unwrap();
    assert_eq!(output.content, "red [31mtext backwards\n\tand on");
}

async fn failure(answer: &str) -> BackendError {
    let server = Server::answering(answer);
    let work = work(JobKind::TEXT_GENERATION, Vec::new());
    conformance::run(&openai(&server.url, &["m"]), work).await.unwrap_err()
}

#[tokio::test]
async fn a_status_that_is_no_success_says_what_happened() {
    let status = |line: &str, body: &str| {
        format!("HTTP/1.1 {line}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    let too_long = "{\"error\":{\"code\":400,\"message\":\"m\",\"type\":\"exceed_context_size_error\"}}";
    assert_eq!(failure(&status("400 Bad Request", too_long)).await, BackendError::ContextOverflow);
    assert_eq!(failure(&status("404 Not Found", "")).await, BackendError::NoModel);
    assert_eq!(failure(&status("429 Too Many Requests", "")).await, BackendError::Busy);
    assert_eq!(failure(&status("503 Service Unavailable", "{")).await, BackendError::Busy);
    assert_eq!(failure(&status("500 Internal Server Error", "/srv/secret")).await, BackendError::Died);
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_not_delivered() {
    let cut = &WHOLE[..WHOLE.find("data: {\"choices\":[{\"delta\":{},").unwrap()];
    assert_eq!(failure(cut).await, BackendError::Truncated);
    let promised_more = cut.replace("Connection: close", "Content-Length: 100000");
    assert_eq!(failure(&promised_more).await, BackendError::Died);
    assert_eq!(
        failure(&format!("{cut}data: {{\"error\":{{\"message\":\"x\"}}}}\n\n")).await,
        BackendError::Died
    );
    assert!(matches!(failure(&format!("{cut}data: <html>\n\n")).await, BackendError::Protocol(_)));
    assert_eq!(failure("").await, BackendError::Died);
}

#[tokio::test]
async fn an_answer_longer_than_a_result_is_cut_off_at_its_source() {
    let piece =
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "a".repeat(1_000));
    let head = &WHOLE[..WHOLE.find("data:").unwrap()];
    assert!(matches!(failure(&format!("{head}{}", piece.repeat(100))).await, BackendError::BadInput(_)));
}

#[tokio::test]
async fn only_the_chat_path_is_asked_and_only_known_parameters_are_passed_on() {
    let server = Server::answering(WHOLE);
    let params = vec![Param::new("top-k", "7"), Param::new("max_tokens", "5"), Param::new("n_probs", "3")];
    conformance::run(&openai(&server.url, &["m"]), work(JobKind::TEXT_GENERATION, params)).await.unwrap();
    let (line, body) = server.asked.recv().unwrap();
    assert_eq!(line, "POST /v1/chat/completions HTTP/1.1");
    assert!(body.contains("\"top_k\":7") && body.contains("\"max_tokens\":5"), "{body}");
    assert!(body.contains("\"model\":\"m\"") && !body.contains("n_probs"), "{body}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_down_and_sells_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let backend = openai(&url, &[]);
    assert!(!backend.probe().await.is_ready());
    assert!(backend.check(JobKind::TEXT_GENERATION, &[], 10).is_err(), "no model, no offer");
    let work = work(JobKind::TEXT_GENERATION, Vec::new());
    assert_eq!(conformance::run(&openai(&url, &["m"]), work).await, Err(BackendError::Died));
}

#[tokio::test]
async fn work_called_off_in_the_middle_ends_and_hangs_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let held = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&stream).unwrap();
        stream
            .write_all(
                &WHOLE.as_bytes()[..WHOLE.find("data: {\"choices\":[{\"delta\":{\"content\":\"two").unwrap()],
            )
            .unwrap();
        // Ends when the client hangs up, in order or not.
        stream.read(&mut [0; 1]).unwrap_or(0)
    });
    let stop = CancellationToken::new();
    let (pieces, mut heard) = tokio::sync::mpsc::channel(8);
    let backend = openai(&url, &["m"]);
    let run = backend.run(work(JobKind::TEXT_GENERATION, Vec::new()), pieces, stop.clone());
    let call_off = async {
        assert_eq!(heard.recv().await.as_deref(), Some("one "));
        stop.cancel();
    };
    let both = async { tokio::join!(run, call_off).0 };
    let ended = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    assert_eq!(ended, Err(BackendError::Cancelled));
    assert_eq!(tokio::task::spawn_blocking(move || held.join().unwrap()).await.unwrap(), 0);
}

/// A real llama.cpp server; it ends when this is dropped.
struct Llama {
    child: Child,
    url: String,
}

impl Llama {
    /// `None` where `tools/setup_llama.sh` has not been run and named in the environment.
    fn start() -> Option<Self> {
        let python = PathBuf::from(std::env::var_os("OPENAGENTS_TEST_LLAMA")?);
        let model = python.ancestors().nth(3)?.join("tiny.gguf");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/llama_server.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Some(Self { child, url: url.trim().to_owned() })
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
#[allow(clippy::print_stderr, reason = "a test that was left out has to say so")]
async fn a_real_llama_cpp_server_answers_streams_and_counts() {
    let Some(llama) = Llama::start() else {
        eprintln!("skipped: run tools/setup_llama.sh and set OPENAGENTS_TEST_LLAMA to what it prints");
        return;
    };
    let backend = openai(&llama.url, &[]);
    assert!(backend.probe().await.is_ready());
    assert!(backend.check(JobKind::TEXT_GENERATION, &[Param::new("model", "gpt-9")], 10).is_err());
    let job = || work(JobKind::TEXT_GENERATION, vec![Param::new("temperature", "0")]);
    let (output, pieces) = conformance::run(&backend, job()).await.unwrap();
    assert_eq!(output.content, "The lazy dog runs the market 42.");
    assert!(pieces.len() > 1 && pieces.concat() == output.content, "{pieces:?}");
    assert_eq!((output.usage.output_tokens, output.usage.model.as_deref()), (11, Some("tiny")));
    assert!(output.usage.input_tokens > 0);
    drop(llama);
    assert_eq!(conformance::run(&backend, job()).await, Err(BackendError::Died));
}
