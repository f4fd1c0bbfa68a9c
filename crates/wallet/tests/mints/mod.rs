//! Mints of one's own, and wallets of theirs: `openagents-test-mint` with several mints on a Lightning network
//! that is one table, and our `openagents-cashu` as a child process. Where they are is in
//! `OPENAGENTS_TEST_MINT` and `OPENAGENTS_TEST_CASHU`; `cargo xtask test --only cashu` brings both.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use openagents_types::{Invoice, Msat, Network, PaymentHash, Timestamp};
use openagents_wallet::{
    Incoming, Wallet, bolt11,
    child::{Child, Limits, Program, Setup},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// How long anything may take on a busy machine before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a wallet has unless it is said otherwise: no limit that matters.
pub(crate) const NO_LIMIT: Msat = Msat::new(1 << 60);

/// The programs, or `None` where they are not: then the test is skipped, and says so.
pub(crate) fn programs() -> Option<(PathBuf, PathBuf)> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let found = path("OPENAGENTS_TEST_MINT").zip(path("OPENAGENTS_TEST_CASHU"));
    if found.is_none() {
        println!("SKIPPED: OPENAGENTS_TEST_MINT and OPENAGENTS_TEST_CASHU are not set");
    }
    found
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

/// The process with the mints.
struct Running {
    process: Process,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// Mints at ports of their own, in a directory that survives their kill.
pub(crate) struct Mints {
    pub(crate) dir: tempfile::TempDir,
    program: PathBuf,
    cashu: PathBuf,
    ports: Vec<u16>,
    running: Mutex<Option<Running>>,
}

impl Drop for Mints {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Mints {
    pub(crate) fn start(count: usize) -> Option<Self> {
        let (program, cashu) = programs()?;
        let sockets: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        drop(sockets);
        let (dir, running) = (tempfile::tempdir().unwrap(), Mutex::default());
        let mints = Self { dir, program, cashu, ports, running };
        mints.begin();
        Some(mints)
    }

    /// Starts them, as they were.
    pub(crate) fn begin(&self) {
        let mut command = Command::new(&self.program);
        command.arg(self.dir.path()).args(self.ports.iter().map(ToString::to_string));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut running = Running { process, stdin, stdout: BufReader::new(stdout) };
        let mut line = String::new();
        running.stdout.read_line(&mut line).unwrap();
        assert!(line.contains("ready"), "{line}");
        *self.running.lock().unwrap() = Some(running);
    }

    /// Kills them as they stand.
    pub(crate) fn kill(&self) {
        if let Some(mut running) = self.running.lock().unwrap().take() {
            let _ = running.process.kill();
            let _ = running.process.wait();
        }
    }

    pub(crate) fn url(&self, mint: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[mint])
    }

    /// Has them do something; what they answer.
    pub(crate) fn obey(&self, order: Value) -> Value {
        let mut running = self.running.lock().unwrap();
        let running = running.as_mut().unwrap();
        writeln!(running.stdin, "{order}").unwrap();
        let mut line = String::new();
        running.stdout.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer["error"].is_null(), "{order}: {answer}");
        answer
    }

    /// Somebody who is at no mint pays an invoice.
    pub(crate) fn pay(&self, invoice: &Invoice) {
        self.obey(json!({ "do": "pay", "invoice": invoice.bolt11 }));
    }

    /// An invoice of somebody who is at no mint.
    pub(crate) fn outside(&self, amount: Msat, expiry: u64) -> Invoice {
        let made = self.obey(json!({ "do": "invoice", "msat": amount.get(), "expiry": expiry }));
        bolt11::decode(made["invoice"].as_str().unwrap()).unwrap()
    }

    /// How often an invoice was paid.
    pub(crate) fn paid(&self, hash: PaymentHash) -> u64 {
        self.obey(json!({ "do": "paid", "hash": hash.to_hex() }))["times"].as_u64().unwrap()
    }

    /// What a mint owes to everybody.
    pub(crate) fn outstanding(&self, mint: usize) -> Msat {
        let owes = self.obey(json!({ "do": "outstanding", "mint": mint }));
        Msat::from_sat(owes["sats"].as_u64().unwrap()).unwrap()
    }

    /// A wallet that trusts these mints, with a seed of its own.
    pub(crate) async fn purse(&self, name: &str, mints: &[usize]) -> Purse {
        self.purse_with(name, mints, rand::random(), NO_LIMIT).await
    }

    /// The program of such a wallet.
    pub(crate) fn program(&self, name: &str, mints: &[usize], seed: [u8; 32], max: Msat) -> Program {
        let dir = self.dir.path().join(name);
        let open = json!({
            "network": "regtest",
            "storage": dir,
            "mints": mints.iter().map(|mint| self.url(*mint)).collect::<Vec<_>>(),
            "max_msat_per_mint": max.get(),
        });
        let seed = Zeroizing::new(hex::encode([seed, seed].concat()));
        Program {
            path: self.cashu.clone(),
            arguments: Vec::new(),
            setup: Setup::new(open.as_object().unwrap().clone(), vec![("seed", seed)]),
            network: Network::Regtest,
            limits: Limits::default(),
        }
    }

    pub(crate) async fn purse_with(&self, name: &str, mints: &[usize], seed: [u8; 32], max: Msat) -> Purse {
        let (dir, program) = (self.dir.path().join(name), self.program(name, mints, seed, max));
        let (mut wallet, supervisor) = Child::new(program, now);
        let stop = CancellationToken::new();
        let supervisor = tokio::spawn(supervisor.run(stop.clone()));
        let info = wallet.introduce().await.unwrap();
        assert!(!info.hold && info.network == Network::Regtest, "{info:?}");
        Purse { wallet: Arc::new(wallet), dir, stop, supervisor }
    }
}

/// A wallet.
pub(crate) struct Purse {
    pub(crate) wallet: Arc<Child>,
    dir: PathBuf,
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl Purse {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Fills it from outside.
    pub(crate) async fn fill(&self, mints: &Mints, amount: Msat) {
        let before = self.wallet.balance().await.unwrap();
        let invoice = self.wallet.make_invoice(crate::rules::plain(amount)).await.unwrap();
        mints.pay(&invoice);
        let settled = Ok(Incoming::Settled { amount });
        until("it is in the book", async || {
            self.wallet.lookup_incoming(invoice.payment_hash).await == settled
        })
        .await;
        assert_eq!(self.wallet.balance().await.unwrap(), before.checked_add(amount).unwrap());
    }

    pub(crate) async fn until_has(&self, amount: Msat) {
        let start = Instant::now();
        loop {
            let found = self.wallet.balance().await;
            if found == Ok(amount) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{found:?} instead of {amount:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        self.wallet.extension(method, params).await.unwrap()
    }

    /// Kills the program as it stands, SIGKILL. Its supervisor starts it again.
    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.dir.join("regtest/lock")).unwrap();
        let _ = Command::new("kill").args(["-9", pid.trim()]).stderr(Stdio::null()).status().unwrap();
    }

    /// Waits until it answers again.
    pub(crate) async fn until_back(&self) {
        until("it is back", async || self.wallet.balance().await.is_ok()).await;
    }

    /// Ends the program, as a node that stops does.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.supervisor.await.unwrap();
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "it never came to be that {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
