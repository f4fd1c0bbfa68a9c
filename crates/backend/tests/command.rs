//! The operator's tools in their cages: real ones where they can be had, and ones that misbehave.
//!
//! This test program, started again, makes the cages; the test harness would take its word for a filter, so this
//! file has a `main` of its own. The recipes' tools are looked for in the folder that `OPENAGENTS_TEST_MEDIA` names
//! (`tools/setup_media.sh` prints it).

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that panics has failed, as it should"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use openagents_backend::{
    Backend, BackendError, CommandSettings, CommandTool, LimitRule, Output, ParamRule, Work, conformance,
    sandbox_child_main,
};
use openagents_types::{JobKind, Param, ResolvedInput};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A page of text as a picture: a one-line PNG that says so is made by `ffmpeg` where it is there.
const SPOKEN: &str = "Your job is done.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, cage] = arguments.as_slice()
        && word == "__sandbox"
    {
        return sandbox_child_main(cage);
    }
    if arguments.iter().any(|word| word == "--list") {
        if !arguments.iter().any(|word| word == "--ignored") {
            println!("tools_work_in_their_cages: test");
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        it_is_a_backend_like_any_other().await;
        what_a_stranger_writes_is_never_a_command().await;
        a_tool_that_is_missing_or_cannot_be_confined_says_so().await;
        a_tool_ends_when_it_is_told_to_whatever_it_thinks_of_signals().await;
        a_tool_that_takes_too_long_or_writes_too_much_is_ended().await;
        a_fork_bomb_goes_off_in_its_cage().await;
        what_a_tool_leaves_behind_is_ended_with_it().await;
        a_tool_sees_neither_secrets_nor_network_nor_other_processes().await;
        a_tool_that_crashes_leaves_no_core().await;
        the_recipes_work_with_their_real_tools().await;
    });
    ExitCode::SUCCESS
}

fn kind(number: u16) -> JobKind {
    JobKind::try_from(number).unwrap()
}

/// A tool that upper-cases what it is given.
fn upper() -> CommandSettings {
    CommandSettings {
        program: Some("tr".into()),
        kinds: Some(vec![kind(5001)]),
        args: Some(vec!["{from}".into(), "A-Z".into()]),
        param: Some(vec![ParamRule {
            name: "from".into(),
            args: vec!["{1}".into()],
            form: Some(openagents_backend::ParamForm::Word),
            ..ParamRule::default()
        }]),
        ..CommandSettings::default()
    }
}

/// A shell with this script, which may start other programs.
fn script(text: &str) -> CommandSettings {
    CommandSettings {
        program: Some("sh".into()),
        kinds: Some(vec![kind(5001)]),
        args: Some(vec!["-c".into(), text.into()]),
        limits: Some(LimitRule { seconds: 20, output_mb: 1, forks: true, ..LimitRule::default() }),
        ..CommandSettings::default()
    }
}

fn backend(settings: &CommandSettings) -> Arc<dyn Backend> {
    Arc::new(CommandTool::new(settings).unwrap())
}

fn work(kind: JobKind, inputs: Vec<ResolvedInput>, params: Vec<Param>) -> Work {
    Work { kind, inputs, params, output: Vec::new() }
}

async fn told(settings: &CommandSettings, text: &str) -> Result<String, BackendError> {
    let work = work(kind(5001), vec![ResolvedInput::text(text)], Vec::new());
    conformance::run(&backend(settings), work).await.map(|(output, _)| output.content)
}

async fn it_is_a_backend_like_any_other() {
    let tool = backend(&upper());
    assert!(tool.probe().await.is_ready(), "{:?}", tool.probe().await);
    let of = || {
        work(kind(5001), vec![ResolvedInput::text("a market for compute")], vec![Param::new("from", "a-z")])
    };
    conformance::delivers(tool.clone(), of()).await;
    conformance::stops(tool.clone(), of()).await;
    conformance::checks(&tool, kind(5001), &Param::new("from", "--help"));
    let (output, _) = conformance::run(&tool, of()).await.unwrap();
    assert_eq!(output.content, "A MARKET FOR COMPUTE");
}

/// Metacharacters, options and paths: each is refused before a price, or is data.
async fn what_a_stranger_writes_is_never_a_command() {
    let tool = backend(&upper());
    for value in ["a-z; id", "$(id)", "`id`", "a|b", "--help", "-d", "@file", "../x", "a\nb", "", "a=b"] {
        let error = tool.check(kind(5001), &[Param::new("from", value)], 10).unwrap_err().to_string();
        assert!(
            error.contains("parameter \"from\"") && error.contains("expected a word"),
            "{value:?}: {error}"
        );
    }
    let said = told(&script("cat"), "$(id); `id` && rm -rf / --no-preserve-root").await.unwrap();
    assert_eq!(said, "$(id); `id` && rm -rf / --no-preserve-root");
    for (wrong, word) in [
        (
            CommandSettings { recipe: Some("ffmpegg".into()), ..CommandSettings::default() },
            "espeak-ng, ffmpeg",
        ),
        (CommandSettings { program: Some("cat".into()), ..CommandSettings::default() }, "`kinds`"),
        (
            CommandSettings {
                param: Some(vec![ParamRule {
                    name: "from".into(),
                    args: vec!["{1}".into()],
                    ..ParamRule::default()
                }]),
                ..upper()
            },
            "takes anything",
        ),
    ] {
        assert!(CommandTool::new(&wrong).unwrap_err().contains(word), "{word}");
    }
}

async fn a_tool_that_is_missing_or_cannot_be_confined_says_so() {
    let missing = CommandSettings { program: Some("no-such-tool-here".into()), ..upper() };
    assert_eq!(
        CommandTool::new(&missing).unwrap().tried().await.unwrap_err(),
        "no-such-tool-here is not installed"
    );
    let broken = CommandSettings {
        attempt: Some(vec!["-c".into(), "echo broken >&2; exit 3".into()]),
        ..script("cat")
    };
    let why = CommandTool::new(&broken).unwrap().tried().await.unwrap_err();
    assert!(why.contains("exit status: 3: broken"), "{why}");
}

async fn a_tool_ends_when_it_is_told_to_whatever_it_thinks_of_signals() {
    let stubborn = backend(&script("trap '' TERM INT HUP; while :; do sleep 1; done"));
    let stop = CancellationToken::new();
    let (pieces, _heard) = mpsc::channel(1);
    let run =
        stubborn.run(work(kind(5001), vec![ResolvedInput::text("x")], Vec::new()), pieces, stop.clone());
    let told = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        stop.cancel();
        Instant::now()
    };
    let (ended, told) = tokio::join!(run, told);
    assert_eq!(ended, Err(BackendError::Cancelled));
    assert!(told.elapsed() < Duration::from_millis(200), "{:?}", told.elapsed());
    nothing_runs_with("trap '' TERM INT HUP").await;
}

async fn a_tool_that_takes_too_long_or_writes_too_much_is_ended() {
    let limits = LimitRule { seconds: 1, output_mb: 1, forks: true, ..LimitRule::default() };
    for (text, word) in [
        ("while :; do :; done", "more time"),
        ("sleep 60", "more time"),
        ("yes", "larger than"),
        ("cat /dev/zero > big", "larger than"),
        ("n=0; while :; do n=$((n+1)); echo x > f$n; done", "larger than"),
        ("exit 3", "cannot work on this input"),
        ("true", "nothing to say"),
    ] {
        let started = Instant::now();
        let error = told(&CommandSettings { limits: Some(limits), ..script(text) }, "x").await.unwrap_err();
        assert!(error.to_string().contains(word), "{text}: {error}");
        assert!(!error.is_retryable(), "{text}: it would be the same again");
        assert!(started.elapsed() < Duration::from_secs(8), "{text}: {:?}", started.elapsed());
    }
    let greedy = CommandSettings {
        limits: Some(LimitRule { seconds: 10, memory_mb: 64, ..limits }),
        ..script("head -c 500000000 /dev/zero | tail -c 400000000 | wc -c")
    };
    assert!(told(&greedy, "x").await.map_or(true, |said| said.trim() == "0"), "memory is bounded");
}

async fn a_fork_bomb_goes_off_in_its_cage() {
    let limits = LimitRule { seconds: 2, tasks: 20, forks: true, ..LimitRule::default() };
    let bomb = "b() { b | b & b; }; b 2>/dev/null; sleep 60 # fork-bomb-of-the-test";
    let run = CommandSettings { limits: Some(limits), ..script(bomb) };
    let counted = async {
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        processes_with("fork-bomb-of-the-test").len()
    };
    let (outcome, most) = tokio::join!(told(&run, "x"), counted);
    assert!(outcome.is_err());
    assert!(most <= 20, "{most} processes ran");
    nothing_runs_with("fork-bomb-of-the-test").await;

    // A tool that needs no other process gets none.
    let alone = CommandSettings {
        limits: Some(LimitRule { forks: false, ..limits }),
        ..script("(echo child); echo $?")
    };
    let error = told(&alone, "x").await.unwrap_err();
    assert!(error.to_string().contains("cannot work on this input"), "{error}");
}

async fn what_a_tool_leaves_behind_is_ended_with_it() {
    let leaves = script("sleep 300 & setsid sleep 301 & echo done; exit 0");
    let said = told(&leaves, "x").await.unwrap();
    assert_eq!(said, "done");
    nothing_runs_with("sleep\u{0}300").await;
    nothing_runs_with("sleep\u{0}301").await;
}

async fn a_tool_sees_neither_secrets_nor_network_nor_other_processes() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("device.key");
    std::fs::write(&secret, "the-secret-key").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let pid = std::process::id();
    let text = format!(
        "cat '{0}'; ls '{1}'; cat /etc/passwd; cat /proc/{pid}/environ; env; touch '{1}/mine'; touch /tmp/mine; \
         kill -9 {pid}; kill -0 1 && echo killable; cp /bin/true here; ./here && echo executable; \
         bash -c 'echo hi > /dev/tcp/127.0.0.1/{port}' && echo connected; \
         python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM); print(\"socket\")'; echo end",
        secret.display(),
        home.path().display()
    );
    // The words of this test's own environment and files are what must not appear.
    let said = told(&script(&format!("exec 2>&1; {text}")), "x").await.unwrap();
    assert!(said.ends_with("end"), "{said}");
    for word in [
        "the-secret-key",
        "device.key\n",
        "root:",
        "CARGO",
        "killable",
        "executable",
        "connected",
        "socket\n",
    ] {
        assert!(!said.contains(word), "{word:?} in {said}");
    }
    assert!(listener.accept().is_err(), "nobody has connected");
    assert!(!home.path().join("mine").exists());
}

async fn a_tool_that_crashes_leaves_no_core() {
    let crash = CommandSettings {
        limits: Some(LimitRule { seconds: 5, ..LimitRule::default() }),
        ..script("echo secret; ulimit -c unlimited 2>/dev/null; kill -SEGV $$; sleep 5")
    };
    let error = told(&crash, "x").await.unwrap_err();
    assert!(error.to_string().contains("crashed on this input"), "{error}");
    assert!(!std::path::Path::new("core").exists());
}

/// Processes whose command line holds these words.
fn processes_with(words: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let is_other = entry.file_name().to_string_lossy() != std::process::id().to_string();
        if is_other && line.contains(words) {
            found.push(line);
        }
    }
    found
}

async fn nothing_runs_with(words: &str) {
    for _ in 0..50 {
        if processes_with(words).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("still there: {:?}", processes_with(words));
}

/// A shipped recipe with the tool that the tests have.
fn recipe(folder: &std::path::Path, name: &str, program: &str) -> CommandSettings {
    CommandSettings {
        recipe: Some(name.into()),
        program: Some(folder.join(program)),
        // The tools of the tests lie unpacked beside their libraries.
        read: vec![folder.parent().unwrap().to_path_buf()],
        ..CommandSettings::default()
    }
}

fn file(bytes: Vec<u8>, mime: &str) -> ResolvedInput {
    ResolvedInput { bytes, mime: mime.into(), source: "test".into() }
}

async fn made(settings: &CommandSettings, work: Work) -> Result<Output, BackendError> {
    conformance::run(&backend(settings), work).await.map(|(output, _)| output)
}

async fn the_recipes_work_with_their_real_tools() {
    let Some(folder) = std::env::var_os("OPENAGENTS_TEST_MEDIA").map(PathBuf::from) else {
        assert!(std::env::var_os("CI").is_none(), "OPENAGENTS_TEST_MEDIA is not set");
        eprintln!("skipped: the recipes with real tools (OPENAGENTS_TEST_MEDIA is not set)");
        return;
    };
    let speak = recipe(&folder, "espeak-ng", "espeak-ng");
    let convert = recipe(&folder, "ffmpeg", "ffmpeg");
    let scan = CommandSettings {
        extra: vec![format!("--database={}", folder.parent().unwrap().join("signatures").display())],
        ..recipe(&folder, "clamav", "clamscan")
    };
    let read = recipe(&folder, "tesseract", "tesseract");
    for settings in [&speak, &convert, &scan, &read] {
        let said = CommandTool::new(settings).unwrap().tried().await;
        assert!(said.is_ok(), "{:?}: {said:?}", settings.recipe);
    }

    let params = vec![Param::new("language", "en"), Param::new("speed", "1.5")];
    let of = || work(JobKind::TEXT_TO_SPEECH, vec![ResolvedInput::text(SPOKEN)], params.clone());
    conformance::delivers(backend(&speak), of()).await;
    conformance::stops(backend(&speak), of()).await;
    conformance::checks(&backend(&speak), JobKind::TEXT_TO_SPEECH, &Param::new("voice", "--path=/"));
    let recording = made(&speak, of()).await.unwrap().file.unwrap();
    assert_eq!((recording.mime.as_str(), &recording.bytes[..4]), ("audio/wav", &b"RIFF"[..]));
    assert_eq!(openagents_backend::media_type(&recording.bytes), Some("audio/x-wav"));

    let sound = || file(recording.bytes.clone(), "audio/x-wav");
    for (format, start) in [("mp3", &b"ID3"[..]), ("ogg", b"OggS"), ("wav", b"RIFF")] {
        let params = vec![Param::new("format", format)];
        let output = made(&convert, work(JobKind::VIDEO_CONVERSION, vec![sound()], params)).await.unwrap();
        let bytes = output.file.unwrap().bytes;
        assert!(bytes.starts_with(start), "{format}: {:?}", &bytes[..8]);
    }
    let range = vec![
        Param { name: "range".into(), values: vec!["0".into(), "0.3".into()] },
        Param::new("format", "wav"),
    ];
    let part =
        made(&convert, work(JobKind::VIDEO_CONVERSION, vec![sound()], range)).await.unwrap().file.unwrap();
    assert!(
        part.bytes.len() < recording.bytes.len() / 2,
        "{} of {}",
        part.bytes.len(),
        recording.bytes.len()
    );
    let junk =
        made(&convert, work(JobKind::VIDEO_CONVERSION, vec![file(vec![7; 999], "video/mp4")], vec![])).await;
    assert!(junk.unwrap_err().to_string().contains("damaged or of another format"));
    // A playlist that names another file is no way to that file.
    let mut list = String::from("#EXTM3U\n#EXT-X-TARGETDURATION:9\n");
    write!(list, "#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n").unwrap();
    let list =
        made(&convert, work(JobKind::VIDEO_CONVERSION, vec![file(list.into_bytes(), "video/mp4")], vec![]))
            .await;
    assert!(list.is_err(), "{list:?}");

    let eicar = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}", "$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].concat();
    for (bytes, expected) in [
        (eicar.into_bytes(), "Eicar-Test-Signature.UNOFFICIAL FOUND"),
        (b"%PDF-1.4 harmless".to_vec(), "CLEAN"),
    ] {
        let scanned =
            work(JobKind::MALWARE_SCANNING, vec![file(bytes, "application/octet-stream")], Vec::new());
        assert_eq!(made(&scan, scanned).await.unwrap().content, expected);
    }
    let blind = CommandSettings { extra: vec!["--database=/nonexistent".into()], ..scan };
    assert!(CommandTool::new(&blind).unwrap().tried().await.is_err(), "without signatures nothing is sold");

    let picture = include_bytes!("../fixtures/invoice.png").to_vec();
    let of =
        work(JobKind::TEXT_EXTRACTION, vec![file(picture, "image/png")], vec![Param::new("language", "en")]);
    assert_eq!(made(&read, of).await.unwrap().content, "An invoice names an amount.");
    let blank = BTreeMap::from([("png", include_bytes!("../fixtures/blank.png").to_vec())]);
    let of = work(JobKind::TEXT_EXTRACTION, vec![file(blank["png"].clone(), "image/png")], Vec::new());
    assert!(made(&read, of).await.unwrap_err().to_string().contains("no text in the picture"));
    assert_eq!(
        backend(&read).reads(JobKind::TEXT_EXTRACTION, &["text/plain"]),
        openagents_backend::Reads::Nothing
    );
}
