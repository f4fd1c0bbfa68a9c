//! The processes under torture: the world, which is never killed, and nodes, which are.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use openagents_api::{Client, ReceiveBody, TestWalletBody};
use serde_json::Value;

use super::mint::Mint;
use openagents_xtask::shell::program;

/// What every wallet starts with.
pub(super) const FUNDS_MSAT: i64 = 1_000_000_000;

/// How long it may take until a wallet of ecash has its funds, and until its program has ended with its node.
const FILLING: Duration = Duration::from_secs(60);
const RELEASE: Duration = Duration::from_secs(20);

/// From how many of the last copies one is put back.
const RECENT: usize = 4;

/// Which half a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Provider,
    Customer,
}

/// How payments reach providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rail {
    /// Locked until delivery, by wallets that hold invoices.
    Hold,
    /// Taken first, by wallets that do not; what is not delivered is refunded.
    Bolt11,
    /// Locked until delivery as ecash of a mint.
    Cashu,
}

/// Relay and wallets.
pub(super) struct World {
    process: Child,
    home: tempfile::TempDir,
    profile: &'static str,
    relay: String,
    client: Client,
    mint: Option<Mint>,
}

/// Starts a program and reads the object it prints when it is up.
fn start(mut command: Command) -> anyhow::Result<(Child, Value)> {
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = process.stdout.take().context("its output is piped")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(up) => Ok((process, up)),
        Err(_) => {
            let _ = process.kill();
            let status = process.wait()?;
            anyhow::bail!("a node did not start: {status} {line}")
        }
    }
}

fn client(up: &Value) -> anyhow::Result<Client> {
    let token = std::fs::read_to_string(up["token_file"].as_str().context("token_file")?)?;
    Ok(Client::new(up["app"].as_str().context("app")?, token.trim())?)
}

/// Settings for a node in a hurry, without limits on how much one key may ask. Offers that nobody takes are waited
/// for at the end, so they stand for as short as customers take them.
const CONFIG: &str = "
listen = \"127.0.0.1:0\"
[limits]
requests_per_key = { burst = 0, per_second = 0 }
requests = { burst = 0, per_second = 0 }
relay_messages = { burst = 0, per_second = 0 }
[provider]
base_msat = 1000
recheck_ms = 300
quote_lifetime_s = 45
[customer]
recheck_ms = 300
";

impl World {
    pub(super) async fn start(profile: &'static str) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        std::fs::write(home.path().join("config.toml"), CONFIG)?;
        let mut command = Command::new(program(profile, "openagents"));
        command.args(["up", "--offline", "--customer", "--json", "--home"]).arg(home.path());
        let (process, up) = start(command)?;
        let client = client(&up)?;
        let relay = up["relay"].as_str().context("relay")?.to_owned();
        Ok(Self { process, home, profile, relay, client, mint: None })
    }

    /// The same, with a mint if ecash is the way.
    pub(super) async fn with(profile: &'static str, rail: Rail) -> anyhow::Result<Self> {
        let mut world = Self::start(profile).await?;
        if rail == Rail::Cashu {
            world.mint = Some(Mint::start(world.home())?);
        }
        Ok(world)
    }

    /// The mint, if ecash is the way.
    pub(super) const fn mint(&self) -> Option<&Mint> {
        self.mint.as_ref()
    }

    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where its relay answers.
    pub(super) fn relay(&self) -> &str {
        &self.relay
    }

    /// Where all test money is.
    pub(super) async fn audit(&self) -> anyhow::Result<Value> {
        Ok(self.client.testnet_audit().await?)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A provider or a customer.
pub(super) struct Node {
    pub(super) role: Role,
    pub(super) label: String,
    home: PathBuf,
    binary: PathBuf,
    relay: String,
    process: Option<Child>,
    client: Option<Client>,
    backups: Vec<PathBuf>,
}

impl Node {
    pub(super) async fn new(world: &World, index: usize, role: Role, rail: Rail) -> anyhow::Result<Self> {
        let home = world.home().join(format!("node-{index}"));
        std::fs::create_dir_all(&home)?;
        std::fs::write(home.join("config.toml"), CONFIG)?;
        let label = format!("node-{index}");
        if let Some(mint) = &world.mint {
            return Self::on_ecash(world, mint, home, label, role);
        }
        let sats = u64::try_from(FUNDS_MSAT / 1_000)?;
        let wanted = TestWalletBody { label: label.clone(), sats, plain: rail == Rail::Bolt11 };
        let uri = world.client.testnet_wallet(&wanted).await?;
        std::fs::write(home.join("wallet.nwc"), uri)?;
        let binary = program(world.profile, "openagents");
        Ok(Self {
            role,
            label,
            home,
            binary,
            relay: world.relay.clone(),
            process: None,
            client: None,
            backups: Vec::new(),
        })
    }

    /// One whose wallet is ecash, with a seed of its own and nothing in it yet.
    fn on_ecash(
        world: &World,
        mint: &Mint,
        home: PathBuf,
        label: String,
        role: Role,
    ) -> anyhow::Result<Self> {
        // Ecash has whole satoshis.
        let config = CONFIG.replace("base_msat = 1000", "base_msat = 1000\nper_kib_msat = 0");
        std::fs::write(home.join("config.toml"), config + &mint.settings())?;
        let binary = program(world.profile, "openagents");
        let mut command = Command::new(&binary);
        command.args(["wallet", "seed", "create", "--network", "regtest", "--home"]).arg(&home);
        let made = command.output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let relay = world.relay.clone();
        Ok(Self { role, label, home, binary, relay, process: None, client: None, backups: Vec::new() })
    }

    /// Fills a wallet of ecash from outside.
    async fn fill(&self, mint: &Mint) -> anyhow::Result<()> {
        let amount_msat = u64::try_from(FUNDS_MSAT)?;
        let body = ReceiveBody { amount_msat, description: "funds".into(), lifetime_ms: None };
        mint.pay(&self.client()?.receive(&body).await?.bolt11)?;
        let begun = Instant::now();
        while self.holds().await? != Some(amount_msat) || self.client()?.ledger(1).await?.net_msat == 0 {
            ensure!(begun.elapsed() < FILLING, "{} never had its money", self.label);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// What its wallet holds, by the wallet's own word.
    pub(super) async fn holds(&self) -> anyhow::Result<Option<u64>> {
        Ok(self.client()?.node().await?.wallet.and_then(|wallet| wallet.balance_msat))
    }

    /// So many providers and then customers, each started once all are made.
    pub(super) async fn start_all(
        world: &World,
        providers: usize,
        customers: usize,
        rail: Rail,
    ) -> anyhow::Result<Vec<Self>> {
        let mut nodes = Vec::new();
        for index in 0..providers + customers {
            let role = if index < providers { Role::Provider } else { Role::Customer };
            nodes.push(Self::new(world, index, role, rail).await?);
        }
        for node in &mut nodes {
            node.start(&[])?;
        }
        if let Some(mint) = &world.mint {
            for node in &nodes {
                node.fill(mint).await?;
            }
        }
        Ok(nodes)
    }

    /// Starts the process; how long it took to be ready. The wallet's program of the process before may need a
    /// moment to see that it is alone.
    pub(super) fn start(&mut self, environment: &[(&str, String)]) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        loop {
            match self.start_once(environment) {
                Ok(_) => return Ok(begun.elapsed()),
                Err(error) if begun.elapsed() > RELEASE => return Err(error),
                Err(_) if self.has_program() => std::thread::sleep(Duration::from_millis(200)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether its wallet is a program of its own.
    fn has_program(&self) -> bool {
        self.home.join("cashu").exists()
    }

    fn start_once(&mut self, environment: &[(&str, String)]) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let mut command = Command::new(&self.binary);
        command.args(["up", "--json", "--relay", &self.relay, "--home"]).arg(&self.home);
        if self.role == Role::Customer {
            command.arg("--customer");
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let (process, up) = start(command)?;
        let took = begun.elapsed();
        self.client = Some(client(&up)?);
        self.process = Some(process);
        Ok(took)
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Whether the process ends by itself within a time.
    pub(super) fn wait_for_death(&mut self, patience: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < patience {
            let Some(process) = &mut self.process else { return true };
            if !matches!(process.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    pub(super) fn client(&self) -> anyhow::Result<&Client> {
        self.client.as_ref().context("the node was started")
    }

    /// Copies the database while the node writes it.
    pub(super) fn back_up(&mut self) -> anyhow::Result<()> {
        let path = self.home.join(format!("backup-{}.db", self.backups.len()));
        let db = rusqlite::Connection::open(self.home.join("node.db"))?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.execute("VACUUM INTO ?1", [path.display().to_string()])?;
        self.backups.push(path);
        Ok(())
    }

    /// Puts one of the last copies back; `draw` says which. The node must not run.
    pub(super) fn restore_backup(&self, draw: &mut dyn FnMut(u64) -> u64) -> anyhow::Result<()> {
        let recent = self.backups.len().min(RECENT);
        let back = usize::try_from(draw(recent as u64))?;
        let copy = self.backups.iter().rev().nth(back).context("there is a copy")?;
        for name in ["node.db-wal", "node.db-shm"] {
            let _ = std::fs::remove_file(self.home.join(name));
        }
        std::fs::copy(copy, self.home.join("node.db"))?;
        Ok(())
    }

    /// What the amounts of an export come to, added up as a spreadsheet would.
    pub(super) fn exported_net(&self) -> anyhow::Result<i64> {
        let mut command = Command::new(&self.binary);
        let output =
            command.args(["wallet", "history", "--books", "--csv", "--home"]).arg(&self.home).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        let mut lines = text.split_terminator("\r\n");
        let heading = lines.next().context("a heading")?;
        let column = heading.split(',').position(|name| name == "amount_msat").context("amounts")?;
        let amount = |line: &str| line.split(',').nth(column).unwrap_or_default().parse::<i64>();
        lines.try_fold(0, |sum, line| Ok(sum + amount(line).with_context(|| line.to_owned())?))
    }

    /// SQLite's own word on the file.
    pub(super) fn check_database(&self) -> anyhow::Result<()> {
        let db = rusqlite::Connection::open(self.home.join("node.db"))?;
        let report: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        ensure!(report == "ok", "{}: {report}", self.label);
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
