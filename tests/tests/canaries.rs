//! Secrets stay where they belong: with everything logged at TRACE, none of them is in a log, in a database, on a
//! page, on the relay or in the list of processes.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use base64::Engine as _;
use nostr::ToBech32;
use openagents_api::{AskBody, Client, JobView, TestWalletBody};
use openagents_engine::PreimageSeed;
use openagents_node::{home::Home, identity::Identities};
use openagents_tests::{ChatServer, programs, summary, until};
use openagents_types::{JobKind, Preimage};
use serde_json::Value;
use zeroize::Zeroizing;

const API_KEY: &str = "sk-canary-6cUq0ZkXhWv8";
const PASSPHRASE: &str = "canary passphrase of a careful operator";

fn program(home: &Path) -> Command {
    let mut command = Command::new(programs().join("openagents"));
    command.env_clear().env("OPENAGENTS_LOG", "trace").env("OPENAGENTS_HOME", home).stdin(Stdio::null());
    command
}

/// A node in a process of its own, which logs everything it can.
struct Node {
    process: Child,
    home: PathBuf,
    log: PathBuf,
    said: String,
    client: Client,
    url: String,
    token: String,
}

impl Node {
    fn start(home: &Path, arguments: &[&str], passphrase: Option<&Path>) -> Self {
        let log = home.with_extension("log");
        let mut command = program(home);
        command.args(["up", "--json", "--listen", "127.0.0.1:0"]).args(arguments);
        if let Some(file) = passphrase {
            command.env("OPENAGENTS_PASSPHRASE_FILE", file);
        }
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
        let mut process = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let up: Value = serde_json::from_str(&said).unwrap_or_default();
        let url = up["app"].as_str().map(str::to_owned);
        let url = url.unwrap_or_else(|| panic!("{said}{}", std::fs::read_to_string(&log).unwrap()));
        let token = std::fs::read_to_string(up["token_file"].as_str().unwrap()).unwrap().trim().to_owned();
        let client = Client::new(&url, &token).unwrap();
        Self { process, home: home.to_path_buf(), log, said, client, url, token }
    }

    /// Every page and every answer that only asks.
    async fn pages(&self, jobs: &[JobView]) -> Vec<u8> {
        let mut paths: Vec<String> = [
            "/",
            "/fragments/home",
            "/healthz",
            "/readyz",
            "/metrics",
            "/api/v1/node",
            "/api/v1/jobs",
            "/api/v1/receipts",
            "/api/v1/ledger",
            "/api/v1/wallet/history",
            "/api/v1/wallet/seed/status",
            "/api/v1/policy/audit",
            "/api/v1/no-such-thing",
        ]
        .map(Into::into)
        .into();
        for job in jobs {
            paths.extend(
                ["/jobs/", "/fragments/jobs/", "/api/v1/jobs/", "/api/v1/receipts/"]
                    .map(|path| format!("{path}{}", job.id)),
            );
        }
        let mut all = Vec::new();
        for path in paths {
            all.extend(self.get(&path, true).await);
            all.extend(self.get(&path, false).await);
        }
        // The link that opens the pages in a browser.
        all.extend(self.get(&format!("/?k={}x", self.token), false).await);
        all
    }

    async fn get(&self, path: &str, authorized: bool) -> Vec<u8> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let host = self.url.strip_prefix("http://").unwrap().trim_end_matches('/');
        let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
        let token =
            if authorized { format!("authorization: Bearer {}\r\n", self.token) } else { String::new() };
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{token}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{path}: {}", String::from_utf8_lossy(&answer));
        answer
    }

    /// What the system tells everybody, or this user, about the process.
    fn listed(&self) -> Vec<u8> {
        let id = self.process.id();
        let read = |name: &str| std::fs::read(format!("/proc/{id}/{name}")).unwrap_or_default();
        [read("cmdline"), read("environ"), read("comm"), read("status")].concat()
    }

    /// The database, with what has not been written back to it yet.
    fn database(&self) -> Vec<u8> {
        let read = |name: &str| std::fs::read(self.home.join(name)).unwrap_or_default();
        [read("node.db"), read("node.db-wal")].concat()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A secret in every form in which it could slip out.
struct Canary {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Canary {
    fn text(name: &'static str, text: &str) -> Self {
        let base64 = base64::engine::general_purpose::STANDARD.encode(text);
        Self { name, forms: vec![text.as_bytes().to_vec(), base64.into_bytes()] }
    }

    fn bytes(name: &'static str, bytes: &[u8]) -> Self {
        let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
        let list = format!("{bytes:?}");
        let forms = [hex::encode(bytes), hex::encode_upper(bytes), base64, list].map(String::into_bytes);
        Self { name, forms: forms.into_iter().chain([bytes.to_vec()]).collect() }
    }

    fn is_in(&self, haystack: &[u8]) -> bool {
        self.forms.iter().any(|form| haystack.windows(form.len()).any(|window| window == form))
    }
}

/// A node's own secrets, except those of its jobs.
fn secrets(node: &Node, passphrase: Option<&str>) -> Vec<Canary> {
    let home = Home::open(Some(node.home.clone())).unwrap();
    let identities = Identities::new(&home);
    let identities = match passphrase {
        Some(passphrase) => identities.with_passphrase(Zeroizing::new(passphrase.into())),
        None => identities,
    };
    let identity = identities.active().unwrap();
    let secret = identity.keys().secret_key();
    let mut all = vec![
        Canary::text("nsec", &secret.to_bech32().unwrap()),
        Canary::bytes("secret key", secret.as_secret_bytes()),
        Canary::bytes("preimage seed", &identity.derive_secret(b"hold-preimages")),
        Canary::text("token", &node.token),
    ];
    if let Ok(device) = std::fs::read_to_string(node.home.join("device.key")) {
        all.push(Canary::text("device key", device.trim()));
    }
    if let Ok(link) = std::fs::read_to_string(node.home.join("wallet.nwc")) {
        let secret = link.trim().split_once("secret=").unwrap().1.split('&').next().unwrap().to_owned();
        all.push(Canary::bytes("wallet connection", &hex::decode(secret).unwrap()));
    }
    all
}

fn preimages(node: &Node, passphrase: &str, jobs: &[JobView]) -> Vec<Preimage> {
    let home = Home::open(Some(node.home.clone())).unwrap();
    let identities = Identities::new(&home).with_passphrase(Zeroizing::new(passphrase.into()));
    let seed = PreimageSeed::new(identities.active().unwrap().derive_secret(b"hold-preimages"));
    jobs.iter().map(|job| seed.preimage(job.id)).collect()
}

/// Runs a command of the program; what it said, log included.
fn run(home: &Path, arguments: &[&str], passphrase: &Path) -> Vec<u8> {
    let output =
        program(home).args(arguments).env("OPENAGENTS_PASSPHRASE_FILE", passphrase).output().unwrap();
    let ended = output.status.success() || arguments == ["doctor"];
    assert!(ended, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    [output.stdout, output.stderr].concat()
}

/// Three nodes: a relay with test money, a provider behind a passphrase with a model server that wants a key, and a
/// customer.
struct Market {
    folder: tempfile::TempDir,
    world: Node,
    seller: Node,
    buyer: Node,
    /// What the commands said that set the provider up.
    setup: Vec<u8>,
}

impl Market {
    async fn open(model: &ChatServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = |name: &str| {
            let home = folder.path().join(name);
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&home).unwrap();
            home
        };
        let world = Node::start(&home("world"), &["--offline", "--customer"], None);
        let up: Value = serde_json::from_str(&world.said).unwrap();
        let relay = up["relay"].as_str().unwrap().to_owned();
        for name in ["seller", "buyer"] {
            let wanted = TestWalletBody { label: name.into(), sats: 100_000, plain: false };
            let uri = world.client.testnet_wallet(&wanted).await.unwrap();
            std::fs::write(home(name).join("wallet.nwc"), uri).unwrap();
        }
        let (passphrase, key) = (folder.path().join("passphrase"), folder.path().join("key"));
        std::fs::write(&passphrase, PASSPHRASE).unwrap();
        std::fs::write(&key, API_KEY).unwrap();
        let settings = format!(
            "[[backend.openai]]\nurl = {:?}\nmodels = [\"m\"]\nkey_file = {:?}\n",
            model.url,
            key.display().to_string()
        );
        std::fs::write(home("seller").join("config.toml"), settings).unwrap();
        let mut setup = run(&home("seller"), &["identity", "create"], &passphrase);
        setup.extend(run(&home("seller"), &["identity", "protect", "--passphrase"], &passphrase));
        setup.extend(run(&home("seller"), &["doctor"], &passphrase));
        let seller = Node::start(&home("seller"), &["--relay", &relay], Some(&passphrase));
        let buyer = Node::start(&home("buyer"), &["--relay", &relay, "--customer"], None);
        Self { folder, world, seller, buyer, setup }
    }

    /// A job that is settled, one by the model, and one whose payment goes back.
    async fn trade(&self) -> Vec<JobView> {
        let text = "A payment is locked until delivery. It goes back if nothing is delivered.";
        let quotes = base64::engine::general_purpose::STANDARD.encode("\"".repeat(35_000));
        let doomed = AskBody {
            kind: JobKind::TEXT_EXTRACTION,
            inputs: vec![openagents_types::JobInput::url(format!("data:text/plain;base64,{quotes}"))],
            params: Vec::new(),
            deadline_ms: Some(6_000),
            ..summary("", 1_000_000)
        };
        let spoken = AskBody { kind: JobKind::TEXT_GENERATION, params: Vec::new(), ..summary(text, 100_000) };
        let up: Value = serde_json::from_str(&self.seller.said).unwrap();
        let provider = Some(up["provider"].as_str().unwrap().parse().unwrap());
        let sealed = AskBody { encrypt: true, provider, ..spoken };
        let bodies = [summary(text, 100_000), sealed, doomed];
        let mut jobs = Vec::new();
        for (body, end) in bodies.iter().zip(["settled", "settled", "failed"]) {
            let asked = self.buyer.client.ask(body).await.unwrap();
            jobs.push(until(&self.buyer.client, asked.id, &[end]).await);
        }
        jobs
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_where_it_does_not_belong() {
    let model = ChatServer::start().await;
    let market = Market::open(&model).await;
    let jobs = market.trade().await;
    let Market { folder, world, seller, buyer, setup } = market;
    let mut canaries = secrets(&seller, Some(PASSPHRASE));
    canaries.extend(secrets(&buyer, None));
    canaries.extend(secrets(&world, None));
    canaries.extend([Canary::text("API key", API_KEY), Canary::text("passphrase", PASSPHRASE)]);

    let mut places: Vec<(String, Vec<u8>)> = vec![("the commands".into(), setup)];
    for (name, node) in [("world", &world), ("seller", &seller), ("buyer", &buyer)] {
        let known: &[JobView] = if name == "world" { &[] } else { &jobs };
        places.push((format!("{name}: pages"), node.pages(known).await));
        places.push((format!("{name}: processes"), node.listed()));
        places.push((format!("{name}: database"), node.database()));
        places.push((format!("{name}: stdout"), node.said.clone().into_bytes()));
        let log = std::fs::read(&node.log).unwrap();
        assert!(log.windows(5).any(|window| window == b"TRACE"), "{name} was to log everything");
        places.push((format!("{name}: log"), log));
    }
    let mut found = Vec::new();
    for (place, content) in &places {
        let here = canaries.iter().filter(|canary| canary.is_in(content));
        found.extend(here.map(|canary| format!("{} in {place}", canary.name)));
    }
    // What proves a payment is derived when it is needed: whoever sold keeps none, and nobody logs any.
    let derived = preimages(&seller, PASSPHRASE, &jobs);
    let derived: Vec<Canary> =
        derived.iter().map(|preimage| Canary::bytes("preimage", preimage.as_bytes())).collect();
    let paid = jobs.iter().find_map(|job| job.preimage.clone()).unwrap();
    assert!(derived[0].is_in(paid.as_bytes()), "the buyer has the proof of what it paid");
    for (place, content) in
        places.iter().filter(|(place, _)| place.contains("log") || place.starts_with("seller"))
    {
        found.extend(
            derived.iter().filter(|canary| canary.is_in(content)).map(|_| format!("preimage in {place}")),
        );
    }
    // The search finds what is there.
    assert!(canaries.iter().any(|canary| canary.is_in(&std::fs::read(folder.path().join("key")).unwrap())));
    assert!(
        canaries.iter().any(|canary| canary.is_in(&std::fs::read(buyer.home.join("wallet.nwc")).unwrap()))
    );
    assert!(found.is_empty(), "{found:#?}");
}
