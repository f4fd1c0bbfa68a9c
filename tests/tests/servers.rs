//! A model server that the node runs itself: jobs bought on it over a real relay with payment, while it is killed.
//!
//! This test program, started again, is the server's keeper; so this file has a `main` of its own. The real
//! `llama-server` is where `OPENAGENTS_TEST_LLAMA_SERVER` says (`tools/setup_llama_server.sh`), its models beside
//! what `OPENAGENTS_TEST_LLAMA` names (`tools/setup_llama.sh`).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that panics has failed, as it should"
)]

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use openagents_api::{AskBody, Client, JobView, ReceiptQuery, ServerView};
use openagents_backend::keeper_child_main;
use openagents_node::config::LlamaCppServer;
use openagents_tests::{PATIENCE, config, offline, summary, until, until_job};
use openagents_types::{JobKind, Param};

const NAME: &str = "a_server_of_ours_is_killed_and_nobody_loses_money";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((word, rest)) = arguments.split_first()
        && word == "__keep"
    {
        return keeper_child_main(rest);
    }
    if arguments.iter().any(|word| word == "--list") {
        if !arguments.iter().any(|word| word == "--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (Some(program), Some(python)) =
        (named("OPENAGENTS_TEST_LLAMA_SERVER"), named("OPENAGENTS_TEST_LLAMA"))
    else {
        eprintln!("skipped: {NAME} (OPENAGENTS_TEST_LLAMA_SERVER or OPENAGENTS_TEST_LLAMA is not set)");
        return ExitCode::SUCCESS;
    };
    openagents_tests::log();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(a_server_of_ours_is_killed(&program, python.ancestors().nth(3).unwrap()));
    ExitCode::SUCCESS
}

fn wanted(max_tokens: &str) -> AskBody {
    AskBody {
        kind: JobKind::TEXT_GENERATION,
        params: vec![Param::new("temperature", "0"), Param::new("max_tokens", max_tokens)],
        deadline_ms: Some(60_000),
        ..summary("Who runs the market?", 100_000)
    }
}

async fn server(client: &Client) -> ServerView {
    client.node().await.unwrap().provider.unwrap().servers.remove(0)
}

async fn ready(client: &Client) -> ServerView {
    let start = Instant::now();
    loop {
        let server = server(client).await;
        if server.state == "ready" {
            return server;
        }
        assert!(start.elapsed() < PATIENCE, "{server:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Kills the server whose model this is, as hard as can be.
fn kill(model: &Path) {
    let pattern = format!("llama-server -m {} ", model.display());
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if words.contains(&pattern) && !words.contains("__keep") {
            let id = entry.file_name();
            assert!(Command::new("kill").arg("-KILL").arg(id).status().unwrap().success());
        }
    }
}

async fn balance(client: &Client) -> u64 {
    client.node().await.unwrap().wallet.unwrap().balance_msat.unwrap()
}

async fn begun(client: &Client) {
    let start = Instant::now();
    while client.node().await.unwrap().provider.unwrap().running == 0 {
        assert!(start.elapsed() < PATIENCE, "the work never began");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_server_of_ours_is_killed(program: &Path, models: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.gguf");
    std::fs::copy(models.join("tiny.gguf"), &model).unwrap();
    let mut selling = config();
    let llama = LlamaCppServer {
        program: program.into(),
        model: model.clone(),
        context: 4_096,
        threads: 1,
        ..LlamaCppServer::default()
    };
    selling.backend.llamacpp = vec![llama];
    let home = folder.path().join("home");
    let node = offline(&home, selling).await;
    let client = node.client().unwrap();

    // A job is done, and its receipt says by what.
    let seen = ready(&client).await;
    assert_eq!((seen.backend.as_str(), seen.models[0].id.as_str()), ("llamacpp", "m"));
    let asked = client.ask(&wanted("64")).await.unwrap();
    until(&client, asked.id, &["delivered", "settled"]).await;
    assert_eq!(client.result(asked.id).await.unwrap().content, "The lazy dog runs the market 42.");
    let usage = usage(&client).await;
    assert_eq!((usage.backend.as_str(), usage.model.as_deref()), ("llamacpp", Some("m")));
    assert_eq!(usage.digest, seen.models[0].digest);
    assert!(usage.digest.is_some_and(|digest| digest.starts_with("sha256:")));

    // It is killed and back before anybody has to wait long; a job that comes meanwhile is refused or done.
    kill(&model);
    let since = Instant::now();
    while server(&client).await.state == "ready" && since.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ready(&client).await;
    assert!(since.elapsed() < Duration::from_secs(5), "back after {:?}", since.elapsed());
    let asked = client.ask(&wanted("64")).await.unwrap();
    until(&client, asked.id, &["delivered", "settled"]).await;

    // Whoever has paid and waits for a turn when it is killed gets the answer when it is back.
    put(&model, &std::fs::read(models.join("noise.gguf")).unwrap());
    kill(&model);
    tokio::time::sleep(Duration::from_millis(300)).await;
    ready(&client).await;
    client.ask(&wanted("4000")).await.unwrap();
    begun(&client).await;
    let waiting = client.ask(&wanted("8")).await.unwrap();
    until_job(&client, waiting.id, |job: &JobView| job.paid_msat > 0 || job.in_flight_msat > 0).await;
    kill(&model);
    until(&client, waiting.id, &["delivered", "settled"]).await;

    // It is killed in the middle of an answer and does not come back: the job fails, and the money goes back.
    ready(&client).await;
    let before = balance(&client).await;
    let asked = client.ask(&wanted("4000")).await.unwrap();
    begun(&client).await;
    put(&model, b"GGUF");
    kill(&model);
    let is_over =
        |job: &JobView| job.payment_hash.is_some() && job.explanation.contains("All money came back");
    let job = until_job(&client, asked.id, is_over).await;
    assert_eq!((job.in_flight_msat, job.paid_msat, job.result_sha256.as_ref()), (0, 0, None), "{job:#?}");
    let start = Instant::now();
    while balance(&client).await != before {
        assert!(start.elapsed() < PATIENCE, "the money is not back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It is begun anew after a moment, and then it is seen what is wrong.
    let start = Instant::now();
    loop {
        let down = server(&client).await;
        if down.state == "down" && down.why.contains("cut off") {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{} {}", down.state, down.why);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    node.shutdown().await.unwrap();
    assert!(std::fs::read_to_string(home.join("logs/llamacpp-m.log")).unwrap().contains("listening"));
}

/// Puts a file in the place of another: the server that has the other one in its memory keeps that.
fn put(file: &Path, bytes: &[u8]) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, bytes).unwrap();
    std::fs::rename(beside, file).unwrap();
}

/// What the last receipt says of the work.
async fn usage(client: &Client) -> openagents_types::Usage {
    let start = Instant::now();
    loop {
        let listed = client.receipts(&ReceiptQuery::default()).await.unwrap();
        if let Some(last) = listed.first() {
            return last.receipt.usage.clone();
        }
        assert!(start.elapsed() < PATIENCE, "there is no receipt");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
