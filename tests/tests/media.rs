//! Speech, sound, pictures and malware: jobs done by the operator's own tools, bought over a real relay with
//! payment, on files that are fetched, into files that are fetched.
//!
//! This test program, started again, makes the tools' cages; the test harness would take its word for a filter, so
//! this file has a `main` of its own. The tools are looked for in the folder that `OPENAGENTS_TEST_MEDIA` names
//! (`tools/setup_media.sh` prints it).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that panics has failed, as it should"
)]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use openagents_api::{AskBody, Client, JobView};
use openagents_backend::{CommandSettings, extract_child_main, sandbox_child_main};
use openagents_tests::{config, offline, summary, until_job};
use openagents_types::{JobInput, JobKind, Param};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const NAME: &str = "tools_sell_what_they_make";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = || arguments.get(1).map_or("", String::as_str);
    match arguments.first().map(String::as_str) {
        Some("__extract") => return extract_child_main(rest()),
        Some("__sandbox") => return sandbox_child_main(rest()),
        _ => {}
    }
    if arguments.iter().any(|word| word == "--list") {
        if !arguments.iter().any(|word| word == "--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    let Some(folder) = std::env::var_os("OPENAGENTS_TEST_MEDIA").map(PathBuf::from) else {
        assert!(std::env::var_os("CI").is_none(), "OPENAGENTS_TEST_MEDIA is not set");
        eprintln!("skipped: {NAME} (OPENAGENTS_TEST_MEDIA is not set)");
        return ExitCode::SUCCESS;
    };
    openagents_tests::log();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(tools_sell_what_they_make(&folder));
    ExitCode::SUCCESS
}

/// A shipped recipe with the tool that the tests have, which lies unpacked beside its libraries.
fn recipe(folder: &Path, name: &str, program: &str) -> CommandSettings {
    CommandSettings {
        recipe: Some(name.into()),
        program: Some(folder.join(program)),
        read: vec![folder.parent().unwrap().to_path_buf()],
        ..CommandSettings::default()
    }
}

/// A server of files for as long as the test runs; gives its address.
async fn serve(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4_096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&head[..read]).into_owned();
            let path = asked.split(' ').nth(1).unwrap_or_default();
            let body = files.iter().find(|(name, _)| *name == path).map(|(_, bytes)| bytes.as_slice());
            let length = body.map_or(0, <[u8]>::len);
            let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(body.unwrap_or_default()).await;
        }
    });
    address
}

/// An answer over HTTP: its head, and its body.
async fn http(method: &str, url: &str, more: &str) -> (String, Vec<u8>) {
    let rest = url.strip_prefix("http://").unwrap();
    let (address, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} /{path} HTTP/1.1\r\nHost: media.example\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end + 4..].to_vec())
}

/// A job as it ends, and its result.
async fn bought(client: &Client, kind: JobKind, input: JobInput, params: Vec<Param>) -> (JobView, String) {
    let body = AskBody { kind, inputs: vec![input], params, deadline_ms: None, ..summary("", 1_000_000) };
    let asked = client.ask(&body).await.unwrap();
    // A refusal before a price leaves the job open until its deadline, and nobody else is asked.
    let is_decided = |job: &JobView| !job.open || (job.state == "collecting" && !job.refusals.is_empty());
    let job = until_job(client, asked.id, is_decided).await;
    let result = client.result(job.id).await.map(|result| result.content).unwrap_or_default();
    (job, result)
}

async fn tools_sell_what_they_make(folder: &Path) {
    let signatures = folder.parent().unwrap().join("signatures");
    let mut config = config();
    config.allow_private_urls = vec!["127.0.0.1".into()];
    config.backend.command = vec![
        recipe(folder, "espeak-ng", "espeak-ng"),
        recipe(folder, "ffmpeg", "ffmpeg"),
        CommandSettings {
            extra: vec![format!("--database={}", signatures.display())],
            ..recipe(folder, "clamav", "clamscan")
        },
        recipe(folder, "tesseract", "tesseract"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let node = offline(dir.path(), config).await;
    let client = node.client().unwrap();
    for number in [5000, 5200, 5250, 5500] {
        assert!(node.up().kinds.contains(&JobKind::try_from(number).unwrap()), "{:?}", node.up().kinds);
    }
    let before = client.ledger(1).await.unwrap().balance_msat;

    let text = JobInput::text("Your job is done. ".repeat(10));
    let (job, speech) =
        bought(&client, JobKind::TEXT_TO_SPEECH, text.clone(), vec![Param::new("language", "en")]).await;
    assert_eq!(job.state, "settled", "{job:#?}");
    assert_eq!(job.paid_msat, 1_500, "the recipe's own price");
    assert!(speech.starts_with(&node.up().app) && speech.ends_with(".wav"), "{speech}");
    a_file_is_served_to_anybody(&speech).await;

    let mp3 = vec![Param::new("format", "mp3")];
    let (job, sound) = bought(&client, JobKind::VIDEO_CONVERSION, JobInput::url(&speech), mp3.clone()).await;
    assert_eq!(job.state, "settled", "{job:#?}");
    assert!(http("GET", &sound, "").await.1.starts_with(b"ID3"), "{sound}");

    let eicar = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}", "$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat();
    let page = b"<!doctype html><html><body>harmless</body></html>".to_vec();
    let picture = include_bytes!("../../crates/backend/fixtures/invoice.png").to_vec();
    let mut broken = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec();
    broken.extend(vec![9; 4_000]);
    let files =
        [("/e", eicar.into_bytes()), ("/page", page), ("/a.png", picture.clone()), ("/broken", broken)];
    let web = serve(files.to_vec()).await;
    let url = |path: &str| JobInput::url(format!("{web}{path}"));
    for (kind, input, expected) in [
        (JobKind::MALWARE_SCANNING, url("/e"), "Eicar-Test-Signature.UNOFFICIAL FOUND"),
        (JobKind::MALWARE_SCANNING, url("/page"), "CLEAN"),
        (JobKind::TEXT_EXTRACTION, url("/a.png"), "An invoice names an amount."),
        // The same kind, done by the built-in backend.
        (JobKind::TEXT_EXTRACTION, url("/page"), "harmless"),
    ] {
        let (job, result) = bought(&client, kind, input, Vec::new()).await;
        assert_eq!((job.state.as_str(), result.trim()), ("settled", expected), "{job:#?}");
    }

    // What cannot be done is refused before a price is made.
    for (kind, input, params, words) in [
        (JobKind::TEXT_TO_SPEECH, text.clone(), vec![Param::new("voice", "--path=/etc")], "voice"),
        (JobKind::TEXT_TO_SPEECH, text, vec![Param::new("voice", "en-us; id")], "voice"),
        (JobKind::VIDEO_CONVERSION, url("/a.png"), mp3, "reads no image/png"),
        (JobKind::SUMMARIZATION, url("/a.png"), Vec::new(), "reads no image/png"),
    ] {
        let (job, _) = bought(&client, kind, input, params).await;
        let said: String = job.refusals.iter().map(|refusal| refusal.message.as_str()).collect();
        assert!(job.quotes.is_empty() && said.contains(words), "{words}: {job:#?}");
    }

    // What fails when it is paid for gives the money back.
    let (kind, inputs) = (JobKind::VIDEO_CONVERSION, vec![url("/broken")]);
    let body =
        AskBody { kind, inputs, params: Vec::new(), deadline_ms: Some(6_000), ..summary("", 1_000_000) };
    let asked = client.ask(&body).await.unwrap();
    let job = until_job(&client, asked.id, |job| !job.open).await;
    let said: String = job.refusals.iter().map(|refusal| refusal.message.as_str()).collect();
    assert!(said.contains("damaged or of another format"), "{job:#?}");
    assert_eq!((job.paid_msat, job.in_flight_msat), (0, 0));
    let ledger = client.ledger(50).await.unwrap();
    assert_eq!((ledger.balance_msat, ledger.net_msat), (before, 0), "this node sold to itself: {ledger:#?}");

    node.shutdown().await.unwrap();
    let left = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let ours = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("openagents-job-"));
    assert_eq!(ours.filter(|entry| is_fresh(&entry.path())).count(), 0, "folders of jobs are left");
}

fn is_fresh(path: &Path) -> bool {
    let changed = std::fs::metadata(path).and_then(|about| about.modified());
    changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() < 3))
}

/// BUD-01: whoever knows the hash gets the file, from any site and in parts; its name is its hash.
async fn a_file_is_served_to_anybody(url: &str) {
    let (head, body) =
        http("GET", url, "Origin: https://elsewhere.example\r\nSec-Fetch-Site: cross-site\r\n").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    for words in [
        "content-type: audio/wav",
        "access-control-allow-origin: *",
        "immutable",
        "x-content-type-options: nosniff",
        "accept-ranges: bytes",
        &format!("content-length: {}", body.len()),
    ] {
        assert!(head.contains(words), "{words}: {head}");
    }
    let hash = hex::encode(Sha256::digest(&body));
    assert!(url.contains(&hash), "{url} is not {hash}");
    let bare = url.strip_suffix(".wav").unwrap();
    let (head, same) = http("GET", bare, "").await;
    assert!(head.starts_with("http/1.1 200") && same == body, "{head}");
    let (head, nothing) = http("HEAD", url, "").await;
    assert!(head.contains(&format!("content-length: {}", body.len())) && nothing.is_empty(), "{head}");
    let (head, part) = http("GET", url, "Range: bytes=4-7\r\n").await;
    assert!(head.starts_with("http/1.1 206") && part == body[4..8], "{head}");
    let (head, _) = http("OPTIONS", url, "Origin: https://elsewhere.example\r\n").await;
    assert!(
        head.starts_with("http/1.1 204") && head.contains("access-control-allow-methods: get, head"),
        "{head}"
    );
    let unknown = bare.replace(&hash, &"0".repeat(64));
    let (head, _) = http("GET", &unknown, "").await;
    assert!(head.starts_with("http/1.1 404") && head.contains("access-control-allow-origin: *"), "{head}");
    // Everything else stays behind the host's name and the token.
    let (app, _) = url.rsplit_once('/').unwrap();
    for path in ["/", "/api/v1/node", "/healthz", "/media"] {
        let (head, _) = http("GET", &format!("{app}{path}"), "").await;
        assert!(head.starts_with("http/1.1 403"), "{path}: {head}");
    }
    let (head, _) = http("DELETE", url, "").await;
    assert!(head.starts_with("http/1.1 403"), "{head}");
}
