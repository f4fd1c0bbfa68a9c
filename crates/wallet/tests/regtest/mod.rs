//! A Bitcoin network of one's own, and Lightning nodes on it: a regtest bitcoind, and our `openagents-ldk` as
//! a child process at both ends of a real channel. Where they are is in `OPENAGENTS_TEST_BITCOIND` and
//! `OPENAGENTS_TEST_LDK`; `cargo xtask test --only ldk` brings both.
#![allow(dead_code, reason = "one file for several tests, which do not all use all of it")]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child as Process, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::Engine as _;
use openagents_types::{Invoice, Msat, Network, PaymentHash, Timestamp};
use openagents_wallet::{
    HistoryFilter, Incoming, Outgoing, Pay, Wallet, WalletError,
    child::{Child, Limits, Program, Setup},
    nwc::Patience,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// How long anything may take on a busy machine before it counts as never: longer than the minute after which a node
/// looks for its lost peers by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// What the first channel holds, in satoshis; half of it is given to the seller.
const CHANNEL: u64 = 1_000_000;

const PASSWORD: &str = "regtest";

/// The programs, or `None` where they are not: then the test is skipped, and says so.
pub(crate) fn programs() -> Option<(PathBuf, PathBuf)> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let found = path("OPENAGENTS_TEST_BITCOIND").zip(path("OPENAGENTS_TEST_LDK"));
    if found.is_none() {
        println!("SKIPPED: OPENAGENTS_TEST_BITCOIND and OPENAGENTS_TEST_LDK are not set");
    }
    found
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running bitcoind, and the directory in which everything of its network is. Both go when this process
/// does, however it ends: then the watching shell has no stdin any more.
pub(crate) struct Chain {
    watch: Process,
    port: u16,
    address: String,
    dir: PathBuf,
}

const WATCH: &str =
    "dir=$1; shift; \"$@\" >/dev/null 2>&1 </dev/null & cat >/dev/null; kill -9 $!; wait; rm -rf \"$dir\"";

impl Drop for Chain {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

impl Chain {
    /// Starts it, with coins to spend.
    pub(crate) fn start(program: &Path) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap().keep(), free_port());
        let mut command = Command::new("sh");
        command.args(["-c", WATCH, "watch"]).arg(&dir).arg(program);
        command.arg(format!("-datadir={}", dir.display())).arg(format!("-rpcport={port}"));
        command.args(["-regtest", "-server", "-listen=0", "-fallbackfee=0.0001", "-rpcuser=test"]);
        command.arg(format!("-rpcpassword={PASSWORD}")).stdin(Stdio::piped());
        let mut chain = Self { watch: command.spawn().unwrap(), port, address: String::new(), dir };
        let start = Instant::now();
        while chain.ask("getblockcount", &json!([])).is_err() {
            assert!(start.elapsed() < PATIENCE, "bitcoind does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        chain.rpc("createwallet", json!(["miner"]));
        chain.address = chain.rpc("getnewaddress", json!([])).as_str().unwrap().to_owned();
        chain.mine(101);
        chain
    }

    pub(crate) fn mine(&self, blocks: u32) {
        self.rpc("generatetoaddress", json!([blocks, self.address]));
    }

    pub(crate) fn height(&self) -> u64 {
        self.rpc("getblockcount", json!([])).as_u64().unwrap()
    }

    pub(crate) fn rpc(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, &params).unwrap();
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn ask(&self, method: &str, params: &Value) -> std::io::Result<Value> {
        let body = json!({ "id": 0, "method": method, "params": params }).to_string();
        let key = base64::engine::general_purpose::STANDARD.encode(format!("test:{PASSWORD}"));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Basic {key}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let answer: Value = serde_json::from_str(body)?;
        // While it starts it answers that it does.
        if answer["error"]["code"] == -28 { Err(std::io::ErrorKind::NotConnected.into()) } else { Ok(answer) }
    }
}

/// A Lightning node in a directory.
pub(crate) struct Peer {
    pub(crate) wallet: Arc<Child>,
    pub(crate) program: Program,
    pub(crate) address: String,
    dir: PathBuf,
    stop: CancellationToken,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Peer {
    pub(crate) async fn start(program: &Path, chain: &Chain, name: &str) -> Self {
        let dir = chain.dir.join(name);
        let address = format!("127.0.0.1:{}", free_port());
        let open = json!({
            "network": "regtest",
            "storage": dir,
            "chain": { "bitcoind": { "host": "127.0.0.1", "port": chain.port, "user": "test" } },
            "listen": [address],
            "alias": name,
        });
        let seed = Zeroizing::new(hex::encode([rand::random::<[u8; 32]>(), rand::random()].concat()));
        let secrets = vec![("seed", seed), ("rpc_password", Zeroizing::new(PASSWORD.into()))];
        let program = Program {
            path: program.to_owned(),
            arguments: Vec::new(),
            setup: Setup::new(open.as_object().unwrap().clone(), secrets),
            network: Network::Regtest,
            limits: Limits { stop: Duration::from_secs(15), ready: PATIENCE, ..Limits::default() },
        };
        let (mut wallet, supervisor) = Child::new(program.clone(), now);
        wallet.set_patience(Patience { call: PATIENCE / 3, pay: PATIENCE });
        let stop = CancellationToken::new();
        let supervisor = tokio::spawn(supervisor.run(stop.clone()));
        let info = wallet.introduce().await.unwrap();
        assert!(info.hold && info.alias == name, "{info:?}");
        Self {
            wallet: Arc::new(wallet),
            program,
            address,
            dir,
            stop,
            supervisor: Mutex::new(Some(supervisor)),
        }
    }

    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        self.wallet.extension(method, params).await.unwrap()
    }

    /// Kills the program as it stands, SIGKILL. Its supervisor starts it again.
    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.dir.join("regtest/lock")).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    }

    /// Waits until it answers again and its channel is there.
    pub(crate) async fn until_back(&self) {
        until("it is back", async || match self.wallet.extension("list_channels", json!({})).await {
            Ok(found) => usable(&found),
            Err(error) => {
                assert!(!error.is_definitive(), "{error}");
                false
            }
        })
        .await;
    }

    /// Ends the program, as a node that stops does.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        let supervisor = self.supervisor.lock().unwrap().take();
        if let Some(supervisor) = supervisor {
            supervisor.await.unwrap();
        }
    }

    /// Whether a channel has a contract (HTLC) for this hash.
    pub(crate) async fn has_locked(&self, hash: PaymentHash) -> bool {
        let found = self.ask("list_balances", json!({})).await;
        found["contracts"].as_array().unwrap().iter().any(|one| one["payment_hash"] == hash.to_hex())
    }
}

fn usable(found: &Value) -> bool {
    found["channels"].as_array().unwrap().iter().any(|channel| channel["usable"] == true)
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "it never came to be that {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A chain, and two nodes with a channel between them that both can pay through.
pub(crate) struct Pair {
    pub(crate) chain: Chain,
    pub(crate) seller: Peer,
    pub(crate) buyer: Peer,
}

impl Pair {
    pub(crate) async fn open() -> Option<Self> {
        let (bitcoind, ldk) = programs()?;
        let chain = Chain::start(&bitcoind);
        let seller = Peer::start(&ldk, &chain, "seller").await;
        let buyer = Peer::start(&ldk, &chain, "buyer").await;
        let pair = Self { chain, seller, buyer };
        pair.fund().await;
        Some(pair)
    }

    async fn fund(&self) {
        for peer in [&self.seller, &self.buyer] {
            let address = peer.ask("new_address", json!({})).await["address"].clone();
            self.chain.rpc("sendtoaddress", json!([address, 1]));
        }
        self.chain.mine(6);
        for peer in [&self.seller, &self.buyer] {
            until("coins arrive", async || {
                peer.ask("onchain_balance", json!({})).await["spendable"].as_u64().unwrap() > CHANNEL
            })
            .await;
        }
        let seller = self.seller.ask("get_info", json!({})).await["pubkey"].clone();
        let channel = json!({
            "node_id": seller,
            "address": self.seller.address,
            "amount": CHANNEL,
            "push_msat": CHANNEL * 500,
        });
        self.buyer.ask("open_channel", channel).await;
        until("the channel is in a block", async || {
            self.chain.rpc("getrawmempool", json!([])).as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
        self.chain.mine(6);
        for peer in [&self.seller, &self.buyer] {
            until("the channel is usable", async || usable(&peer.ask("list_channels", json!({})).await))
                .await;
        }
    }

    pub(crate) fn pay_in_background(&self, invoice: &Invoice) -> JoinHandle<Result<Outgoing, WalletError>> {
        let (buyer, invoice) = (self.buyer.wallet.clone(), invoice.clone());
        tokio::spawn(async move {
            buyer.pay(Pay { invoice: &invoice, max_fee: Msat::ZERO, first_attempt: true }).await
        })
    }

    /// Waits until both answer, can use their channel and have seen every block: a payment by one that is behind expires
    /// too soon for the other, who refuses it.
    pub(crate) async fn until_ready(&self) {
        for peer in [&self.seller, &self.buyer] {
            peer.until_back().await;
            let height = async || peer.ask("get_info", json!({})).await["block_height"].as_u64();
            until("it has seen every block", async || height().await == Some(self.chain.height())).await;
        }
    }

    pub(crate) async fn until_held(&self, hash: PaymentHash) {
        until("the payment is held", async || {
            matches!(self.seller.wallet.lookup_incoming(hash).await, Ok(Incoming::Held { .. }))
        })
        .await;
    }

    /// What both can spend: seller, buyer.
    pub(crate) async fn funds(&self) -> (Msat, Msat) {
        (self.seller.wallet.balance().await.unwrap(), self.buyer.wallet.balance().await.unwrap())
    }

    /// Waits until the seller has `amount` more than before, and the buyer so much less.
    pub(crate) async fn assert_moved(&self, before: (Msat, Msat), amount: Msat) {
        let wanted = (before.0.checked_add(amount).unwrap(), before.1.saturating_sub(amount));
        let start = Instant::now();
        while self.funds().await != wanted {
            let found = self.funds().await;
            assert!(start.elapsed() < PATIENCE, "{found:?} instead of {wanted:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn sent(&self, hash: PaymentHash) -> usize {
        let rows = self.buyer.wallet.history(HistoryFilter::default()).await.unwrap();
        rows.iter().filter(|row| row.hash == hash && !row.incoming).count()
    }

    pub(crate) async fn close(&self) {
        self.seller.stop().await;
        self.buyer.stop().await;
    }
}
