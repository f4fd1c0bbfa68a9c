//! What the market adds to a model server's stream: the same request straight to one `llama-server` and through a node
//! that sells it, in turns. Prices are zero, so that only the way is measured.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use nostr::Keys;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::{
    event::{body, frame, sign, tag},
    process::Process,
    socket,
};

#[derive(Debug, Args)]
pub(crate) struct StreamArguments {
    /// The `openagents` program to measure.
    #[arg(long)]
    program: PathBuf,
    /// llama.cpp's `llama-server`.
    #[arg(long)]
    server: PathBuf,
    /// A GGUF file for it.
    #[arg(long)]
    model: PathBuf,
    /// How long each answer is, in tokens.
    #[arg(long, default_value_t = 500)]
    tokens: u32,
    /// How often each way is measured.
    #[arg(long, default_value_t = 40)]
    turns: usize,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

const PROMPT: &str = "Say something about lighthouses.";
/// How long the server and the node may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// One answer, as its reader sees it.
struct Answer {
    /// Until the first words were there.
    first: Duration,
    /// From then to the end.
    rest: Duration,
    text: String,
}

/// What one way comes to.
#[derive(Debug, Serialize)]
struct Way {
    first_ms_p50: f64,
    tokens_per_second_p50: f64,
}

pub(crate) async fn run(arguments: StreamArguments) -> anyhow::Result<()> {
    let server = Server::start(&arguments.server, &arguments.model, arguments.tokens).await?;
    let home = tempfile::tempdir()?;
    let settings = format!("[[backend.llamacpp]]\nurl = \"http://{}\"\n", server.address);
    std::fs::write(home.path().join("config.toml"), settings)?;
    let flags = ["up", "--offline", "--listen", "127.0.0.1:0", "--json", "--free"];
    let node = Process::start(&arguments.program, &flags, Some(home.path()))?;
    let up: Value = serde_json::from_str(&node.first_line).context("`up --json` prints one object")?;
    let mut customer =
        Customer::connect(up["relay"].as_str().context("it names its relay")?, arguments.tokens).await?;
    customer.until_served().await?;
    let (mut direct, mut market) = (Vec::new(), Vec::new());
    for turn in 0..arguments.turns {
        eprintln!("streaming, turn {} of {}", turn + 1, arguments.turns);
        let (one, other) = (server.answer().await?, customer.buy().await?);
        // The node leaves out what terminals obey.
        let words = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        ensure!(words(&one.text) == words(&other.text), "the two ways gave different answers");
        direct.push(one);
        market.push(other);
    }
    report(&arguments, &Way::of(&direct, arguments.tokens), &Way::of(&market, arguments.tokens))
}

fn report(arguments: &StreamArguments, direct: &Way, market: &Way) -> anyhow::Result<()> {
    let model = arguments.model.file_stem().unwrap_or_default().to_string_lossy();
    let added = market.first_ms_p50 - direct.first_ms_p50;
    let share = market.tokens_per_second_p50 / direct.tokens_per_second_p50;
    if arguments.json {
        let all = json!({ "model": model, "tokens": arguments.tokens, "direct": direct, "market": market, "added_first_ms": added, "share": share });
        println!("{all}");
        return Ok(());
    }
    println!("{} tokens of the model `{model}`", arguments.tokens);
    println!("way      first words, p50 ms   tokens/s, p50");
    for (name, way) in [("direct", direct), ("market", market)] {
        println!("{name:<8} {:>19.2} {:>15.0}", way.first_ms_p50, way.tokens_per_second_p50);
    }
    let verdict = |met| if met { "met" } else { "MISSED" };
    println!("first words later by, ms (at most) {added:>26.2}  (target   5.00)  {}", verdict(added <= 5.0));
    println!("tokens/s, share of the direct ones {share:>26.3}  (target   0.97)  {}", verdict(share >= 0.97));
    Ok(())
}

impl Way {
    fn of(answers: &[Answer], tokens: u32) -> Self {
        let median = |mut all: Vec<f64>| {
            all.sort_unstable_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let rate = |answer: &Answer| f64::from(tokens.saturating_sub(1)) / answer.rest.as_secs_f64();
        Self {
            first_ms_p50: median(answers.iter().map(|answer| answer.first.as_secs_f64() * 1_000.0).collect()),
            tokens_per_second_p50: median(answers.iter().map(rate).collect()),
        }
    }
}

/// The model server, killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    tokens: u32,
}

impl Server {
    async fn start(program: &Path, model: &Path, tokens: u32) -> anyhow::Result<Self> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(program);
        command.arg("--model").arg(model).args(["--host", "127.0.0.1", "--ctx-size", "4096"]);
        command.args(["--parallel", "1", "--port", &address.port().to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { child, address, tokens };
        let begun = Instant::now();
        while server.answer().await.is_err() {
            ensure!(begun.elapsed() < PATIENCE, "{} does not serve", program.display());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(server)
    }

    /// Asks it over HTTP as its own programs do.
    async fn answer(&self) -> anyhow::Result<Answer> {
        let body = json!({
            "messages": [{ "role": "user", "content": PROMPT }],
            "stream": true, "max_tokens": self.tokens, "temperature": 0.0,
        })
        .to_string();
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let begun = Instant::now();
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let (mut text, mut first, mut line) = (String::new(), None, String::new());
        while stream.read_line(&mut line).await? > 0 {
            match line.trim_end().strip_prefix("data: ") {
                Some("[DONE]") => break,
                Some(data) => {
                    let chunk: Value = serde_json::from_str(data)?;
                    let words = chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
                    text.push_str(words);
                    if !words.is_empty() {
                        first.get_or_insert_with(|| begun.elapsed());
                    }
                }
                None => {}
            }
            line.clear();
        }
        let first = first.context("the server wrote nothing")?;
        Ok(Answer { first, rest: begun.elapsed().saturating_sub(first), text })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who buys over the relay.
struct Customer {
    keys: Keys,
    writer: socket::Writer,
    reader: socket::Reader,
    tokens: u32,
    asked: u32,
}

impl Customer {
    async fn connect(relay: &str, tokens: u32) -> anyhow::Result<Self> {
        let keys = Keys::generate();
        let (mut writer, mut reader) = socket::connect(relay).await?;
        let req = format!("[\"REQ\",\"mine\",{{\"kinds\":[6050,7000],\"#p\":[\"{}\"]}}]", keys.public_key());
        writer.send([req]).await?;
        while !reader.next().await?.starts_with("[\"EOSE\"") {}
        Ok(Self { keys, writer, reader, tokens, asked: 0 })
    }

    /// Buys until it gets an answer: the node looks for its servers for a moment.
    async fn until_served(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Err(error) = self.buy().await {
            ensure!(begun.elapsed() < PATIENCE, "the node does not sell: {error}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    async fn buy(&mut self) -> anyhow::Result<Answer> {
        self.asked += 1;
        let tags = vec![
            tag(["i", PROMPT, "text"]),
            tag(["param", "max_tokens", &self.tokens.to_string()]),
            tag(["param", "temperature", "0"]),
            // No two requests are the same event.
            tag(["number", &self.asked.to_string()]),
        ];
        let request = sign(&self.keys, 5050, tags, String::new());
        let (id, begun, mut first) = (request.id.to_hex(), Instant::now(), None);
        self.writer.send([frame(&request)]).await?;
        loop {
            let text = tokio::time::timeout(PATIENCE, self.reader.next()).await??;
            let Some(event) = body(&text) else { continue };
            let event: Value = serde_json::from_str(event)?;
            let value = |name: &str| {
                let tags = event["tags"].as_array()?;
                tags.iter().find(|tag| tag[0] == name)?[1].as_str()
            };
            match (event["kind"].as_u64(), value("e") == Some(&id), value("status")) {
                (Some(6050), true, _) => {
                    let took = begun.elapsed();
                    let first: Duration = first.unwrap_or(took);
                    let text = event["content"].as_str().unwrap_or_default().to_owned();
                    return Ok(Answer { first, rest: took.saturating_sub(first), text });
                }
                (_, true, Some("partial")) => {
                    first.get_or_insert_with(|| begun.elapsed());
                }
                (_, true, Some("error")) => bail!("{event}"),
                _ => {}
            }
        }
    }
}
