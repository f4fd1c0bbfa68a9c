//! Real model servers as processes, and what stands between them and a backend to make them misbehave.

use std::{
    net::TcpListener as StdListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use openagents_backend::{
    Backend,
    conformance::servers::{Facts, Subject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// What the tiny model answers, whoever runs it.
pub(crate) const ANSWER: &str = "The lazy dog runs the market 42.";

/// A real server, started by the test as its owner would.
pub(crate) struct Real {
    program: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
}

impl Real {
    pub(crate) fn start(program: &Path, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut real = Self { program: program.to_path_buf(), args, child: None };
        real.again();
        real
    }

    fn again(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", std::env::temp_dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id();
        assert!(Command::new("kill").arg(name).arg(id.to_string()).status().unwrap().success());
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.end();
    }
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What is passed on, and what not.
struct Between {
    url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    garbles: bool,
    /// Ends the connections of before a change.
    epoch: CancellationToken,
}

impl Between {
    /// Something that passes on to this port.
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { garbles: false, epoch: CancellationToken::new() }));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (garbles, epoch) = {
                    let state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    (state.garbles, state.epoch.clone())
                };
                tokio::spawn(async move {
                    let pass =
                        async { if garbles { garble(stream).await } else { pass_on(stream, port).await } };
                    epoch.run_until_cancelled(pass).await
                });
            }
        });
        Self { url, state }
    }

    fn garble(&self, garbles: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.garbles = garbles;
        std::mem::take(&mut state.epoch).cancel();
    }
}

async fn pass_on(mut from: TcpStream, port: u16) {
    if let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await {
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    }
}

async fn garble(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 4_096]).await;
    let text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"The\"}}]}\n\ndata: <html>502</html>\n\n";
    let _ = stream.write_all(text.as_bytes()).await;
}

/// A server that runs already, and a backend that reaches it.
pub(crate) struct Existing {
    real: Real,
    between: Between,
    backend: Arc<dyn Backend>,
    facts: Facts,
}

impl Existing {
    /// `real` listens on `port`; `backend` stands on a URL.
    pub(crate) async fn new(
        real: Real,
        port: u16,
        facts: Facts,
        backend: impl FnOnce(String) -> Arc<dyn Backend>,
    ) -> Self {
        let between = Between::to(port).await;
        let backend = backend(between.url.clone());
        let existing = Self { real, between, backend, facts };
        existing.is_there().await;
        existing
    }

    async fn is_there(&self) {
        let start = Instant::now();
        while !self.backend.probe().await.is_ready() {
            assert!(start.elapsed() < Duration::from_secs(120), "{:?}", self.backend.server());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[async_trait]
impl Subject for Existing {
    fn backend(&self) -> Arc<dyn Backend> {
        self.backend.clone()
    }

    fn facts(&self) -> Facts {
        self.facts
    }

    async fn hang(&mut self, hangs: bool) {
        self.real.signal(if hangs { "-STOP" } else { "-CONT" });
    }

    async fn garble(&mut self, garbles: bool) -> bool {
        self.between.garble(garbles);
        true
    }

    async fn take_away(&mut self) {
        self.real.end();
    }

    async fn bring_back(&mut self) {
        self.real.again();
    }
}
