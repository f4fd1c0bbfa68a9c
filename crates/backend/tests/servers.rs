//! Model servers under test: every promise of `conformance::servers`, by real servers where they can be had.
//!
//! This test program, started again, is the keeper of servers that a backend runs; so this file has a `main` of its
//! own. Real ones are looked for where `OPENAGENTS_TEST_LLAMA_SERVER` (`tools/setup_llama_server.sh` prints it),
//! `OPENAGENTS_TEST_LLAMA` (`tools/setup_llama.sh`, for its models) and `OPENAGENTS_TEST_MLX` (`tools/setup_mlx.sh`)
//! say. Ollama does not run here: a server of our own stands in for it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that panics has failed, as it should"
)]

#[path = "servers/hosts.rs"]
mod hosts;
#[path = "servers/ollama.rs"]
mod ollama;
#[path = "servers/ours.rs"]
mod ours;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::LocalBoxFuture;
use openagents_backend::{
    Backend, BackendError, LlamaCpp, LlamaCppSettings, Mlx, MlxSettings, OpenAi, OpenAiSettings, Place,
    conformance::{
        run,
        servers::{Facts, Subject as _, job, promises, text, vectors},
    },
    keeper_child_main,
};
use openagents_types::{JobKind, Param};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use hosts::{ANSWER, Existing, Real, free_port};
use ollama::{Fault, Subjected};
use ours::{Ours, is_alive};

/// The tests, by name.
type Test = (&'static str, fn() -> LocalBoxFuture<'static, ()>);

const TESTS: &[Test] = &[
    ("openai_speaks_with_a_real_llama_server", || Box::pin(openai_speaks_with_a_real_llama_server())),
    ("a_real_llama_server_keeps_its_promises", || Box::pin(a_real_llama_server_keeps_its_promises())),
    ("a_llama_server_of_ours_keeps_its_promises", || Box::pin(a_llama_server_of_ours_keeps_its_promises())),
    ("a_llama_server_of_ours_makes_vectors", || Box::pin(a_llama_server_of_ours_makes_vectors())),
    ("a_crash_in_the_middle_of_an_answer_fails_it", || {
        Box::pin(a_crash_in_the_middle_of_an_answer_fails_it())
    }),
    ("a_model_that_is_not_whole_is_never_loaded", || Box::pin(a_model_that_is_not_whole_is_never_loaded())),
    ("no_server_outlives_a_node_that_is_killed", || Box::pin(no_server_outlives_a_node_that_is_killed())),
    ("a_server_that_ignores_the_end_is_killed", || Box::pin(a_server_that_ignores_the_end_is_killed())),
    ("a_real_mlx_server_keeps_its_promises", || Box::pin(a_real_mlx_server_keeps_its_promises())),
    ("an_mlx_server_of_ours_keeps_its_promises", || Box::pin(an_mlx_server_of_ours_keeps_its_promises())),
    ("ollama_keeps_its_promises", || Box::pin(ollama_keeps_its_promises())),
    ("ollama_fails_as_it_should", || Box::pin(ollama_fails_as_it_should())),
    ("ollama_sells_what_is_here_and_what_was_meant", || {
        Box::pin(ollama_sells_what_is_here_and_what_was_meant())
    }),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((word, rest)) if word == "__keep" => return keeper_child_main(rest),
        Some((word, rest)) if word == "__node" => return ours::node(rest),
        Some(_) | None => {}
    }
    if arguments.iter().any(|word| word == "--list") {
        if !arguments.iter().any(|word| word == "--ignored") {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    // The program installs its provider when it starts.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let named =
        |name: &str| arguments.iter().any(|word| !word.starts_with('-') && name.contains(word.as_str()));
    let all = arguments.iter().all(|word| word.starts_with('-'));
    for (name, test) in TESTS.iter().filter(|(name, _)| all || named(name)) {
        println!("test {name}");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test());
    }
    ExitCode::SUCCESS
}

/// What a variable of the environment names; where it names nothing, the test says that it was left out. Only the one
/// that is always to be had has to be there in CI: `llama-server` comes from a release that moves, MLX wants a compiler.
fn needed(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        let may_be_missing = variable != "OPENAGENTS_TEST_LLAMA" || std::env::var_os("CI").is_none();
        assert!(may_be_missing, "{variable} is not set");
        eprintln!("skipped: {variable} is not set");
    }
    found
}

/// The real `llama-server`, and a model of this name.
fn llama(model: &str) -> Option<(PathBuf, PathBuf)> {
    let program = needed("OPENAGENTS_TEST_LLAMA_SERVER")?;
    let model = needed("OPENAGENTS_TEST_LLAMA")?.ancestors().nth(3)?.join(format!("{model}.gguf"));
    Some((program, model))
}

const TINY: Facts = Facts {
    answer: ANSWER,
    tokens: Some(11),
    stop: "dog",
    digest: false,
    schemas: false,
    embeds: false,
    returns: false,
};

fn real_llama(port: u16) -> Option<Real> {
    let (program, model) = llama("tiny")?;
    let args =
        ["-m", model.to_str()?, "--host", "127.0.0.1", "-t", "1", "-c", "2048", "-np", "1", "-a", "tiny"];
    Some(Real::start(&program, &[&args[..], &["--port", &port.to_string()]].concat()))
}

async fn openai_speaks_with_a_real_llama_server() {
    let port = free_port();
    let Some(real) = real_llama(port) else { return };
    let backend = |url| {
        let settings = OpenAiSettings { url, models: vec!["tiny".into()], key_file: None };
        Arc::new(OpenAi::new(settings).unwrap()) as Arc<dyn Backend>
    };
    promises(&mut Existing::new(real, port, TINY, backend).await).await;
}

async fn a_real_llama_server_keeps_its_promises() {
    let port = free_port();
    let Some(real) = real_llama(port) else { return };
    let backend = |url| {
        let settings = LlamaCppSettings { url, slots: 1, ..LlamaCppSettings::default() };
        Arc::new(LlamaCpp::new(settings, Place::default()).unwrap()) as Arc<dyn Backend>
    };
    let facts = Facts { schemas: true, ..TINY };
    let mut subject = Existing::new(real, port, facts, backend).await;
    promises(&mut subject).await;
    let state = subject.backend().server().unwrap();
    assert_eq!((state.models[0].id.as_str(), state.models[0].context), ("tiny", Some(2_048)));
}

async fn a_llama_server_of_ours_keeps_its_promises() {
    let Some((program, model)) = llama("tiny") else { return };
    let mut ours = Ours::llama(&program, &model, false, Facts { schemas: true, digest: true, ..TINY }).await;
    promises(&mut ours).await;
    let (log, key) = (ours.log(), ours.key());
    assert!(log.contains("listening") && !log.contains(&key), "the log is kept, without the key");
    let arguments = ours.command_line();
    assert!(arguments.contains("127.0.0.1") && !arguments.contains(&key), "no key among the arguments");
    // Whoever has no key gets nothing.
    let url = ours.url();
    let asked =
        reqwest::Client::builder().no_proxy().build().unwrap().get(format!("{url}/v1/chat/completions"));
    assert!(!asked.send().await.unwrap().status().is_success());
    ours.end().await;
}

async fn a_llama_server_of_ours_makes_vectors() {
    let Some((program, model)) = llama("noise") else { return };
    let ours = Ours::llama(&program, &model, true, Facts { embeds: true, digest: true, ..TINY }).await;
    vectors(&ours.backend()).await;
    let refused = ours.backend().check(JobKind::TEXT_GENERATION, &[], 10);
    assert!(refused.is_err() && !ours.backend().kinds().contains(&JobKind::TEXT_GENERATION));
    ours.end().await;
}

async fn a_crash_in_the_middle_of_an_answer_fails_it() {
    let Some((program, model)) = llama("noise") else { return };
    let ours = Ours::llama(&program, &model, false, Facts { digest: true, ..TINY }).await;
    let backend = ours.backend();
    let (pieces, mut heard) = mpsc::channel(8);
    let running = backend.run(text("hello", &[("max_tokens", "4000")]), pieces, CancellationToken::new());
    let crash = async {
        assert!(heard.recv().await.is_some());
        ours.kill();
        while heard.recv().await.is_some() {}
        Instant::now()
    };
    let (ended, since) = tokio::join!(running, crash);
    assert_eq!(ended, Err(BackendError::Died), "half an answer is none");
    // A job that comes meanwhile waits for it.
    let next = run(&backend, text("hello", &[("max_tokens", "5")])).await.unwrap();
    assert!(!next.0.content.is_empty());
    assert!(since.elapsed() < Duration::from_secs(10), "back after {:?}", since.elapsed());
    ours.end().await;
}

async fn a_model_that_is_not_whole_is_never_loaded() {
    let Some((program, model)) = llama("tiny") else { return };
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(model).unwrap();
    for (name, bytes, word) in [
        ("cut.gguf", &bytes[..bytes.len() / 2], "cut off"),
        ("page.gguf", &b"<!doctype html>"[..], "no GGUF file"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let why = Ours::llama_that_is_down(&program, &path, "").await;
        assert!(why.contains(word) && why.contains(name), "{why}");
    }
    let path = folder.path().join("whole.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let why = Ours::llama_that_is_down(&program, &path, &"0".repeat(64)).await;
    assert!(why.contains("not the model that sha256 names"), "{why}");
    let why = Ours::llama_that_is_down(std::path::Path::new("/no/such/llama-server"), &path, "").await;
    assert!(why.contains("not installed"), "{why}");
}

/// The node, and then its keeper, are killed as hard as can be.
async fn no_server_outlives_a_node_that_is_killed() {
    let Some((program, model)) = llama("tiny") else { return };
    for victim in ["node", "keeper"] {
        let (mut node, server, keeper) = ours::spawn_node(&program, &model);
        assert!(is_alive(server) && is_alive(keeper));
        match victim {
            "node" => node.kill().unwrap(),
            _ if cfg!(target_os = "linux") => ours::kill_hard(keeper),
            _ => {
                node.kill().unwrap();
                continue;
            }
        }
        let start = Instant::now();
        while is_alive(server) {
            assert!(start.elapsed() < Duration::from_secs(7), "the server outlived the {victim}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = node.kill();
        let _ = node.wait();
    }
}

async fn a_server_that_ignores_the_end_is_killed() {
    let (mut keeper, servers) = ours::deaf();
    assert!(servers.iter().all(|server| is_alive(*server)), "{servers:?}");
    let start = Instant::now();
    drop(keeper.stdin.take());
    keeper.wait().unwrap();
    let took = start.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(7), "{took:?}");
    assert!(servers.iter().all(|server| !is_alive(*server)), "none of its group is left");
}

/// MLX's server, and the folder of the tiny model.
fn mlx() -> Option<(PathBuf, PathBuf)> {
    let program = needed("OPENAGENTS_TEST_MLX")?;
    let model = program.ancestors().nth(3)?.join("tiny-hf");
    Some((program, model))
}

async fn a_real_mlx_server_keeps_its_promises() {
    let Some((program, model)) = mlx() else { return };
    let port = free_port();
    let (model, number) = (model.to_str().unwrap().to_owned(), port.to_string());
    let real = Real::start(&program, &["--model", &model, "--host", "127.0.0.1", "--port", &number]);
    let backend = |url| {
        let settings =
            MlxSettings { url, name: "tiny".into(), context: 4_096, slots: 1, ..MlxSettings::default() };
        Arc::new(Mlx::new(settings, Place::default()).unwrap()) as Arc<dyn Backend>
    };
    promises(&mut Existing::new(real, port, TINY, backend).await).await;
}

async fn an_mlx_server_of_ours_keeps_its_promises() {
    let Some((program, model)) = mlx() else { return };
    let mut ours = Ours::mlx(&program, &model, Facts { digest: true, ..TINY }).await;
    promises(&mut ours).await;
    ours.end().await;
}

async fn ollama_keeps_its_promises() {
    let mut subject = Subjected::new().await;
    promises(&mut subject).await;
    let allowed = [
        "GET /api/version",
        "GET /api/tags",
        "GET /api/ps",
        "POST /api/show",
        "POST /api/chat",
        "POST /api/embed",
    ];
    for (asked, body) in subject.fake.asked() {
        assert!(allowed.contains(&asked.as_str()), "it asked {asked}");
        if asked == "POST /api/chat" {
            assert_eq!((&body["truncate"], &body["shift"]), (&false.into(), &false.into()), "{body}");
            assert_eq!((&body["options"]["num_ctx"], &body["keep_alive"]), (&4_096.into(), &"10m".into()));
            assert_eq!(body["model"], "tiny:latest");
        }
    }
}

async fn ollama_fails_as_it_should() {
    let subject = Subjected::new().await;
    assert!(subject.backend().probe().await.is_ready());
    for (fault, expected) in [
        (Fault::ErrorInTheMiddle, BackendError::Died),
        (Fault::NoEnd, BackendError::Truncated),
        (Fault::Busy, BackendError::Busy),
        (Fault::NoModel, BackendError::NoModel),
    ] {
        subject.fake.fault(fault);
        assert_eq!(run(&subject.backend(), text("hello", &[])).await.unwrap_err(), expected, "{fault:?}");
    }
    subject.fake.fault(Fault::NoCounts);
    let (output, _) = run(&subject.backend(), text("hello", &[])).await.unwrap();
    assert!(output.usage.input_tokens > 0 && output.usage.output_tokens == 7, "{:?}", output.usage);
}

async fn ollama_sells_what_is_here_and_what_was_meant() {
    let subject = Subjected::new().await;
    let sold = |backend: &Arc<dyn Backend>| {
        backend.server().unwrap().models.into_iter().map(|model| model.id).collect::<Vec<_>>()
    };
    assert!(subject.backend().probe().await.is_ready());
    assert_eq!(
        sold(&subject.backend()),
        ["tiny:latest", "minilm:latest"],
        "what is in the cloud is not sold"
    );
    let ask = |name: &str| {
        subject.backend().check(JobKind::TEXT_GENERATION, &[Param::new("model", name)], 10).is_ok()
    };
    assert!(ask("tiny") && ask("tiny:latest"));
    assert!(!ask("gpt-oss:120b-cloud") && !ask("big") && !ask("minilm"));
    let embedding = JobKind::try_from(6511).unwrap();
    let with_text = run(&subject.backend(), job(embedding, &["a"], &[("model", "tiny")])).await;
    assert!(matches!(with_text, Err(BackendError::BadInput(_))), "{with_text:?}");

    let pinned = ollama::backend(&subject.fake, &[&format!("tiny@sha256:{}", &ollama::DIGEST[..12])]);
    assert!(pinned.probe().await.is_ready() && sold(&pinned) == ["tiny:latest"]);
    let (output, _) = run(&pinned, text("hello", &[])).await.unwrap();
    assert_eq!(output.usage.digest.as_deref(), Some(format!("sha256:{}", ollama::DIGEST).as_str()));
    subject.fake.moves_its_tag();
    assert!(!pinned.probe().await.is_ready(), "the tag means other weights now");
    assert!(pinned.check(JobKind::TEXT_GENERATION, &[], 10).is_err());
    let none = ollama::backend(&subject.fake, &["gpt-oss:120b-cloud"]);
    assert!(!none.probe().await.is_ready(), "named or not, the cloud is not sold");
}
