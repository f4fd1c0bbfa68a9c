//! Servers that a backend runs: with what a node would do for them, and with looks at the processes behind.

use std::{
    io::{BufRead, BufReader, Read as _},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use openagents_backend::{
    Backend, Health, LlamaCpp, LlamaCppSettings, Mlx, MlxSettings, Place,
    conformance::servers::{Facts, Subject},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A server of ours under test.
pub(crate) struct Ours {
    backend: Arc<dyn Backend>,
    facts: Facts,
    logs: TempDir,
    stop: CancellationToken,
    tended: JoinHandle<()>,
}

fn place(logs: &TempDir) -> Place {
    Place { keeper: None, logs: Some(logs.path().to_path_buf()) }
}

fn llama(program: &Path, model: &Path) -> LlamaCppSettings {
    LlamaCppSettings {
        program: program.into(),
        model: model.into(),
        context: 2_048,
        threads: 1,
        slots: 1,
        ..LlamaCppSettings::default()
    }
}

impl Ours {
    pub(crate) async fn llama(program: &Path, model: &Path, embeddings: bool, facts: Facts) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let settings = LlamaCppSettings { embeddings, ..llama(program, model) };
        let context = if embeddings { 512 } else { settings.context };
        let settings = LlamaCppSettings { context, ..settings };
        let backend = LlamaCpp::new(settings, place(&logs)).unwrap();
        Self::tended(Arc::new(backend), logs, facts).await
    }

    pub(crate) async fn mlx(program: &Path, model: &Path, facts: Facts) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let settings =
            MlxSettings { program: program.into(), model: model.into(), slots: 1, ..MlxSettings::default() };
        Self::tended(Arc::new(Mlx::new(settings, place(&logs)).unwrap()), logs, facts).await
    }

    async fn tended(backend: Arc<dyn Backend>, logs: TempDir, facts: Facts) -> Self {
        let stop = CancellationToken::new();
        let (tending, stopped) = (backend.clone(), stop.clone());
        assert!(!backend.probe().await.is_ready(), "nothing runs yet");
        let tended = tokio::spawn(async move { tending.tend(stopped).await });
        let ours = Self { backend, facts: Facts { returns: true, ..facts }, logs, stop, tended };
        let start = Instant::now();
        while !ours.backend.probe().await.is_ready() {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "{:?}\n{}",
                ours.backend.server(),
                ours.log()
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        ours
    }

    /// Why a server with this model does not come up.
    pub(crate) async fn llama_that_is_down(program: &Path, model: &Path, sha256: &str) -> String {
        let logs = tempfile::tempdir().unwrap();
        let settings = LlamaCppSettings { sha256: sha256.into(), ..llama(program, model) };
        let backend = Arc::new(LlamaCpp::new(settings, place(&logs)).unwrap());
        let stop = CancellationToken::new();
        let (tending, stopped) = (backend.clone(), stop.clone());
        let tended = tokio::spawn(async move { tending.tend(stopped).await });
        let start = Instant::now();
        loop {
            if let Some(Health::Down(why)) = backend.server().map(|server| server.health) {
                stop.cancel();
                tended.await.unwrap();
                return why;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", backend.server());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The server's process: it is the child of the keeper, which is our child.
    fn process(&self) -> i32 {
        grandchild(i32::try_from(std::process::id()).unwrap()).unwrap().0
    }

    pub(crate) fn kill(&self) {
        kill_hard(self.process());
    }

    pub(crate) fn log(&self) -> String {
        let entries = std::fs::read_dir(self.logs.path()).unwrap().flatten();
        entries.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect()
    }

    pub(crate) fn command_line(&self) -> String {
        words(&format!("/proc/{}/cmdline", self.process())).join(" ")
    }

    pub(crate) fn key(&self) -> String {
        let env = words(&format!("/proc/{}/environ", self.process()));
        env.iter().find_map(|word| word.strip_prefix("LLAMA_API_KEY=")).unwrap().to_owned()
    }

    pub(crate) fn url(&self) -> String {
        let words = words(&format!("/proc/{}/cmdline", self.process()));
        let at = words.iter().position(|word| word == "--port").unwrap();
        format!("http://127.0.0.1:{}", words[at + 1])
    }

    /// Ends it as a node does; nothing is left.
    pub(crate) async fn end(self) {
        let server = self.process();
        self.stop.cancel();
        self.tended.await.unwrap();
        assert!(!is_alive(server), "it is gone when its backend is");
    }
}

#[async_trait]
impl Subject for Ours {
    fn backend(&self) -> Arc<dyn Backend> {
        self.backend.clone()
    }

    fn facts(&self) -> Facts {
        self.facts
    }

    async fn hang(&mut self, hangs: bool) {
        let signal = if hangs { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &self.process().to_string()]).status().unwrap().success());
    }

    async fn garble(&mut self, _: bool) -> bool {
        false
    }

    async fn take_away(&mut self) {
        let server = self.process();
        kill_hard(server);
        let start = Instant::now();
        // Until that is seen, it would be asked.
        while self.backend.server().is_some_and(|state| state.health.is_ready()) {
            assert!(start.elapsed() < Duration::from_secs(5), "nobody sees that it is gone");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn bring_back(&mut self) {}
}

/// A process that does with a server what a node does, and says its process on a line.
pub(crate) fn node(words: &[String]) -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let facts = crate::TINY;
        let ours = Ours::llama(Path::new(&words[0]), Path::new(&words[1]), false, facts).await;
        println!("{}", ours.process());
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

/// That process, its server and its keeper.
pub(crate) fn spawn_node(program: &Path, model: &Path) -> (Child, i32, i32) {
    let mut node = Command::new(std::env::current_exe().unwrap())
        .arg("__node")
        .args([program, model])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let server = line.trim().parse().unwrap();
    let (found, keeper) = grandchild(i32::try_from(node.id()).unwrap()).unwrap();
    assert_eq!(found, server);
    (node, server, keeper)
}

/// A keeper of a server that hears no signal but the last, and of what that one started; and both of these.
pub(crate) fn deaf() -> (Child, Vec<i32>) {
    let script =
        "trap '' TERM; (trap '' TERM; while :; do sleep 0.2; done) & echo $$ $!; while :; do sleep 0.2; done";
    let mut keeper = Command::new(std::env::current_exe().unwrap())
        .args(["__keep", "watch", "/bin/sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(keeper.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (keeper, line.split_whitespace().map(|word| word.parse().unwrap()).collect())
}

pub(crate) fn kill_hard(process: i32) {
    assert!(Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap().success());
}

/// Whether a process runs; one that has ended and was not yet collected does not.
pub(crate) fn is_alive(process: i32) -> bool {
    about(process).is_some_and(|(_, state)| state != 'Z')
}

/// The child of a child: the server, and its keeper.
fn grandchild(of: i32) -> Option<(i32, i32)> {
    let child = |of: i32| {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let mut numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.find(|number| about(*number).is_some_and(|(parent, state)| parent == of && state != 'Z'))
    };
    let keeper = child(of)?;
    Some((child(keeper)?, keeper))
}

/// The parent of a process, and its state.
fn about(process: i32) -> Option<(i32, char)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut rest = stat.rsplit_once(") ")?.1.split(' ');
    let state = rest.next()?.chars().next()?;
    Some((rest.next()?.parse().ok()?, state))
}

fn words(path: &str) -> Vec<String> {
    let mut text = Vec::new();
    std::fs::File::open(path).unwrap().read_to_end(&mut text).unwrap();
    text.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}
