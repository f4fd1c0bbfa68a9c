//! A hub of models that speaks as Hugging Face's does, with a storage on another port, and with faults.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// The commit that every revision of its repositories is, until it has another.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What its storage does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every connection breaks off after so many bytes.
    Cuts(usize),
    /// It sends other bytes than those whose hash the hub lists.
    Lies,
    /// It sends the whole, whatever part is asked for.
    IgnoresRange,
    /// It sends another part than what is asked for.
    SendsAnotherPart,
    /// It pauses after every few bytes.
    Slow,
    /// It sends so many bytes, and then nothing more, on an open connection.
    Stalls(usize),
    /// It sends more than it says.
    Floods,
    /// The hub sends to where nobody goes.
    SendsAway,
    /// Every connection breaks off after so many bytes, and no rest is to be had.
    Forgets(usize),
}

/// A file of a repository.
#[derive(Clone, Debug)]
pub struct HubFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// The size that is listed, if that is another.
    pub listed: Option<u64>,
    /// Whether it is listed with its SHA-256, as large files are, or with git's hash.
    pub is_large: bool,
}

impl HubFile {
    /// A large file.
    pub fn large(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into(), listed: None, is_large: true }
    }

    /// A small file.
    pub fn small(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { is_large: false, ..Self::large(name, bytes) }
    }

    fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.bytes))
    }

    fn listed(&self) -> Value {
        let size = self.listed.unwrap_or(self.bytes.len() as u64);
        if self.is_large {
            let lfs = json!({ "sha256": self.sha256(), "size": size, "pointerSize": 134 });
            return json!({ "rfilename": self.name, "size": size, "blobId": "0".repeat(40), "lfs": lfs });
        }
        let mut blob = Sha1::new();
        blob.update(format!("blob {}\0", self.bytes.len()));
        blob.update(&self.bytes);
        json!({ "rfilename": self.name, "size": size, "blobId": hex::encode(blob.finalize()) })
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether it came to the storage, and not to the hub itself.
    pub at_storage: bool,
    /// What was asked for.
    pub path: String,
    /// From which byte on.
    pub from: usize,
    /// The token that came along.
    pub token: Option<String>,
}

#[derive(Debug)]
struct Script {
    commit: String,
    files: Vec<HubFile>,
    fault: Fault,
    token: Option<String>,
    seen: Vec<Seen>,
}

/// The hub, which has one repository, `o/r`. It ends with the test's runtime.
#[derive(Clone, Debug)]
pub struct HubServer {
    /// Its address.
    pub url: String,
    storage: String,
    script: Arc<Mutex<Script>>,
}

impl HubServer {
    /// A hub on port 0, whose repository has these files.
    pub async fn start(files: Vec<HubFile>) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let storage = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let script =
            Script { commit: COMMIT.into(), files, fault: Fault::None, token: None, seen: Vec::new() };
        let server = Self { url: url(&hub), storage: url(&storage), script: Arc::new(Mutex::new(script)) };
        for (listener, at_storage) in [(hub, false), (storage, true)] {
            let serving = server.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serving.clone().serve(stream, at_storage));
                }
            });
        }
        server
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it does wrong from now on; forgets what was asked for.
    pub fn does(&self, fault: Fault) {
        let mut script = self.script();
        (script.fault, script.seen) = (fault, Vec::new());
    }

    /// Its repository has these files at another commit from now on.
    pub fn has(&self, commit: &str, files: Vec<HubFile>) {
        let mut script = self.script();
        (script.commit, script.files) = (commit.to_owned(), files);
    }

    /// Opens its repository to this token alone.
    pub fn wants(&self, token: &str) {
        self.script().token = Some(token.to_owned());
    }

    /// What was asked for since [`Self::does`].
    pub fn seen(&self) -> Vec<Seen> {
        self.script().seen.clone()
    }

    async fn serve(self, stream: TcpStream, at_storage: bool) {
        let mut stream = BufReader::new(stream);
        let Some(seen) = request(&mut stream, at_storage).await else { return };
        let (fault, is_let_in, commit) = {
            let mut script = self.script();
            script.seen.push(seen.clone());
            (
                script.fault,
                at_storage || script.token.is_none() || script.token == seen.token,
                script.commit.clone(),
            )
        };
        let path = seen.path.split('?').next().unwrap_or_default().to_owned();
        let stream = stream.get_mut();
        if !is_let_in {
            let _ = answer(stream, "401 Unauthorized", "x-error-code: GatedRepo\r\n", b"{}").await;
        } else if path.starts_with("/api/models/o/r/revision/") {
            self.list(stream, &path, &commit).await;
        } else if let Some(name) = path.strip_prefix(&format!("/o/r/resolve/{commit}/")) {
            self.redirect(stream, name, fault).await;
        } else if let Some(name) = path.strip_prefix("/storage/") {
            self.send(stream, name, seen.from, fault).await;
        } else {
            let _ = answer(stream, "404 Not Found", "x-error-code: RepoNotFound\r\n", b"{}").await;
        }
    }

    async fn list(&self, stream: &mut TcpStream, path: &str, commit: &str) {
        if !path.ends_with("/main") && !path.ends_with(commit) {
            let _ = answer(stream, "404 Not Found", "x-error-code: RevisionNotFound\r\n", b"{}").await;
            return;
        }
        let (siblings, gated) = {
            let script = self.script();
            (script.files.iter().map(HubFile::listed).collect::<Vec<_>>(), script.token.is_some())
        };
        let gated = if gated { json!("auto") } else { json!(false) };
        let card = json!({ "license": "apache-2.0" });
        let body =
            json!({ "id": "o/r", "sha": commit, "gated": gated, "cardData": card, "siblings": siblings });
        let _ = answer(stream, "200 OK", "", body.to_string().as_bytes()).await;
    }

    async fn redirect(&self, stream: &mut TcpStream, name: &str, fault: Fault) {
        let storage = if fault == Fault::SendsAway { "http://192.0.2.1" } else { &self.storage };
        let file = self.script().files.iter().find(|file| file.name == name).cloned();
        let Some(file) = file else {
            let _ = answer(stream, "404 Not Found", "x-error-code: EntryNotFound\r\n", b"").await;
            return;
        };
        let etag =
            if file.is_large { format!("x-linked-etag: \"{}\"\r\n", file.sha256()) } else { String::new() };
        let headers = format!("location: {storage}/storage/{name}?signature=s\r\n{etag}");
        let _ = answer(stream, "302 Found", &headers, b"").await;
    }

    /// A file from the storage. Whoever asked may be gone.
    async fn send(&self, stream: &mut TcpStream, name: &str, from: usize, fault: Fault) {
        let file = self.script().files.iter().find(|file| file.name == name).cloned().unwrap();
        let mut bytes = file.bytes;
        if fault == Fault::Lies {
            let last = bytes.len() / 2;
            bytes[..last].fill(b'x');
        }
        let size = bytes.len();
        if matches!(fault, Fault::Forgets(_)) && from > 0 {
            let _ = answer(stream, "416 Range Not Satisfiable", "", b"").await;
            return;
        }
        let from = match fault {
            Fault::IgnoresRange => 0,
            Fault::SendsAnotherPart if from > 0 => from - 1,
            _ => from,
        };
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let range = if from > 0 {
            format!("content-range: bytes {from}-{}/{size}\r\n", size - 1)
        } else {
            String::new()
        };
        let mut rest = bytes.split_off(from);
        let length = match fault {
            Fault::Floods => "transfer-encoding: chunked\r\n".to_owned(),
            _ => format!("content-length: {}\r\n", rest.len()),
        };
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{range}{length}\r\n");
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        match fault {
            Fault::Cuts(after) | Fault::Forgets(after) => {
                rest.truncate(after);
                let _ = stream.write_all(&rest).await;
            }
            Fault::Stalls(after) => {
                rest.truncate(after);
                let _ = stream.write_all(&rest).await;
                std::future::pending::<()>().await;
            }
            Fault::Slow => {
                for piece in rest.chunks(16 << 10) {
                    if stream.write_all(piece).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Fault::Floods => {
                let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, "f".repeat(1 << 16));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            }
            _ => {
                let _ = stream.write_all(&rest).await;
            }
        }
    }
}

async fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await
}

async fn request(stream: &mut BufReader<TcpStream>, at_storage: bool) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut seen = Seen { at_storage, path: line.split(' ').nth(1)?.to_owned(), from: 0, token: None };
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim().split_once(": ") else { return Some(seen) };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => seen.token = value.strip_prefix("Bearer ").map(str::to_owned),
            "range" => seen.from = value.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?,
            _ => {}
        }
    }
}

/// The head of a model with one small tensor, and so many bytes that mean nothing behind it.
pub fn tiny_gguf(behind: usize) -> Vec<u8> {
    let text = |file: &mut Vec<u8>, text: &str| {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.as_bytes());
    };
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend(1_u64.to_le_bytes());
    file.extend(1_u64.to_le_bytes());
    text(&mut file, "general.architecture");
    file.extend(8_u32.to_le_bytes());
    text(&mut file, "llama");
    text(&mut file, "weights");
    file.extend(1_u32.to_le_bytes());
    file.extend(32_u64.to_le_bytes());
    file.extend(0_u32.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32) + 128, 0);
    // No two pieces of it are alike, so that none could stand in for another.
    file.extend((0_u32..).flat_map(u32::to_le_bytes).take(behind));
    file
}
