//! Text extraction (kind 5000): HTML, PDF, office documents and plain files to text.
//!
//! Parsers of foreign formats run in a child process: this program started again with one word, no
//! environment, limits on memory and time, and, where the system offers it, no files and no network.
//! A document that breaks the parser breaks only the child.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use openagents_types::{JobKind, Millis, Param, ResolvedInput, Usage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Backend, BackendError, BackendKind, Built, Health, Output, Rejection, Settings, Work, bad_param,
    is_harmful, office, param,
    sandbox::{self, Limits},
};

/// The row of [`crate::BACKENDS`].
pub(crate) const KIND: BackendKind =
    BackendKind { name: "extraction", about: "text (5000) from HTML, PDF, office and plain files", build };

fn build(_: &Settings) -> Vec<Built> {
    vec![Ok(Arc::new(Extraction::this_program()))]
}

/// The word that makes this program the child.
const CHILD_WORD: &str = "__extract";
/// Input taken, in bytes.
const LARGEST: u64 = 10 << 20;
/// Text given back, in bytes; more than a result event can carry is of no use.
const LARGEST_TEXT: usize = 48 << 10;
/// How long the child may take, by the clock on the wall.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the child may use. It reads from a pipe and writes to another.
const CHILD_LIMITS: Limits =
    Limits { cpu_s: 10, memory: 512 << 20, file: 0, open_files: 16, tasks: 16, forks: false };

/// Text extraction.
#[derive(Clone, Debug)]
pub struct Extraction {
    program: Option<PathBuf>,
}

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Html,
    Pdf,
    Office,
}

impl Format {
    /// The parser's name, as the child is told it; `None` where there is nothing to parse.
    const fn parser(self) -> Option<&'static str> {
        match self {
            Self::Text => None,
            Self::Html => Some("html"),
            Self::Pdf => Some("pdf"),
            Self::Office => Some("office"),
        }
    }
}

/// Why a document has no text for us. Fit for the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its parser gave up.
    #[error("the document cannot be read; it may be damaged or too complex")]
    Damaged,
    /// An archive of something else.
    #[error(
        "the input is an archive, and none of the office documents that are read (docx, pptx, xlsx, odt, odp, ods)"
    )]
    NoDocument,
    /// A bomb, or a very long document.
    #[error("the document unpacks to more than is read")]
    TooMuch,
}

impl Unreadable {
    /// What the child ends with.
    const fn exit(self) -> u8 {
        match self {
            Self::Damaged => 1,
            Self::NoDocument => 5,
            Self::TooMuch => 6,
        }
    }

    /// What is meant by it. A child that was killed has no code: its document was too complex.
    fn of(exit: Option<i32>) -> Self {
        let meant = |it: &Self| exit == Some(i32::from(it.exit()));
        [Self::NoDocument, Self::TooMuch].into_iter().find(meant).unwrap_or(Self::Damaged)
    }
}

impl From<Unreadable> for BackendError {
    fn from(why: Unreadable) -> Self {
        Self::BadInput(why.to_string())
    }
}

impl Extraction {
    /// With this very program as the child.
    pub fn this_program() -> Self {
        Self { program: std::env::current_exe().ok() }
    }

    /// With another program as the child, which answers the same word.
    pub const fn with_program(program: PathBuf) -> Self {
        Self { program: Some(program) }
    }

    /// Whether an input has to be parsed before its text can be read.
    pub fn is_document(input: &ResolvedInput) -> bool {
        sniff(input).is_ok_and(|format| format.parser().is_some())
    }

    /// The text of an input.
    ///
    /// # Errors
    /// It is no format we read, the document is broken or too much for the child, or the work was
    /// called off.
    pub async fn text(
        &self,
        input: &ResolvedInput,
        stop: &CancellationToken,
    ) -> Result<String, BackendError> {
        if stop.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        let text = match sniff(input)?.parser() {
            None => String::from_utf8_lossy(&input.bytes).into_owned(),
            Some(parser) => self.parsed(parser, &input.bytes, stop).await?,
        };
        Ok(text.chars().filter(|c| !is_harmful(*c)).collect())
    }

    async fn parsed(
        &self,
        parser: &str,
        bytes: &[u8],
        stop: &CancellationToken,
    ) -> Result<String, BackendError> {
        let parse = self.child(parser, bytes);
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(BackendError::Cancelled),
            parsed = tokio::time::timeout(PATIENCE, parse) => parsed.unwrap_or(Err(BackendError::Timeout)),
        }
    }

    async fn child(&self, parser: &str, bytes: &[u8]) -> Result<String, BackendError> {
        let program = self.program.as_ref().ok_or(BackendError::Died)?;
        let mut child = Command::new(program)
            .arg(CHILD_WORD)
            .arg(parser)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|_| BackendError::Died)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BackendError::Died);
        };
        let feed = async move {
            // A child that ends early closes its end; its exit says why.
            let _ = stdin.write_all(bytes).await;
            drop(stdin);
        };
        let mut text = Vec::new();
        let mut limited = stdout.take(LARGE_READ);
        let read = limited.read_to_end(&mut text);
        let ((), read) = tokio::join!(feed, read);
        read.map_err(|_| BackendError::Died)?;
        let status = child.wait().await.map_err(|_| BackendError::Died)?;
        if !status.success() {
            return Err(Unreadable::of(status.code()).into());
        }
        String::from_utf8(text).map_err(|_| Unreadable::Damaged.into())
    }
}

/// The most that is read from the child, in bytes.
const LARGE_READ: u64 = 32 << 20;

/// The MIME type of a document that says what it is by its bytes: a PDF or an office document.
pub fn document_type(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"%PDF-") { Some("application/pdf") } else { office::mime(bytes) }
}

fn sniff(input: &ResolvedInput) -> Result<Format, BackendError> {
    let head = &input.bytes[..input.bytes.len().min(1_024)];
    let start = String::from_utf8_lossy(head).trim_start().to_lowercase();
    if head.starts_with(b"%PDF-") {
        Ok(Format::Pdf)
    } else if office::is_archive(head) {
        Ok(Format::Office)
    } else if start.starts_with("<!doctype html") || start.starts_with("<html") || input.mime == "text/html" {
        Ok(Format::Html)
    } else if std::str::from_utf8(&input.bytes).is_ok_and(|text| !text.contains('\0')) {
        Ok(Format::Text)
    } else {
        Err(BackendError::BadInput("the input is neither text, HTML, PDF nor an office document".into()))
    }
}

#[async_trait]
impl Backend for Extraction {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn kinds(&self) -> Vec<JobKind> {
        vec![JobKind::TEXT_EXTRACTION]
    }

    async fn probe(&self) -> Health {
        match &self.program {
            Some(_) => Health::Ready,
            None => Health::Down("this program cannot find itself to start as a child".into()),
        }
    }

    fn check(&self, _: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        if let Some(range) = param(params, &["range"]) {
            return Err(bad_param(
                "range",
                range,
                "no range: it belongs to sound and video, which are not read here",
            ));
        }
        match input_bytes {
            0 => Err(Rejection::NoInput),
            found if found > LARGEST => Err(Rejection::TooLarge { found, most: LARGEST }),
            _ => Ok(()),
        }
    }

    async fn run(
        &self,
        work: Work,
        _pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError> {
        let started = Instant::now();
        let mut texts = Vec::new();
        for input in &work.inputs {
            texts.push(self.text(input, &stop).await?);
        }
        let content = texts.join("\n\n");
        if content.trim().is_empty() {
            return Err(BackendError::BadInput("there is no text in the input".into()));
        }
        if content.len() > LARGEST_TEXT {
            let reason = format!("the text has {} bytes, a result can carry {LARGEST_TEXT}", content.len());
            return Err(BackendError::BadInput(reason));
        }
        let usage = Usage {
            digest: None,
            backend: KIND.name.into(),
            model: None,
            input_tokens: work.inputs.iter().map(|input| input.bytes.len() as u64).sum(),
            output_tokens: content.split_whitespace().count() as u64,
            elapsed: Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
            ..Usage::default()
        };
        Ok(Output::text(content, usage))
    }
}

/// The child: limits itself, reads a document, writes its text. Called by the program when it is
/// started with the child's word.
pub fn extract_child_main(format: &str) -> ExitCode {
    // An older kernel confines less; the limits hold all the same.
    if sandbox::enter(&CHILD_LIMITS).is_err() {
        return ExitCode::from(3);
    }
    let mut bytes = Vec::new();
    if std::io::stdin().take(LARGEST + 1).read_to_end(&mut bytes).is_err() {
        return ExitCode::from(4);
    }
    match parse_document(format, &bytes) {
        Ok(text) if std::io::stdout().write_all(text.as_bytes()).is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => ExitCode::from(why.exit()),
    }
}

/// The text of a document whose format is `html`, `pdf` or `office`. The parsers behind it may panic or
/// run long: strangers' documents are read in the child only.
///
/// # Errors
/// It cannot be read.
pub fn parse_document(format: &str, bytes: &[u8]) -> Result<String, Unreadable> {
    let text = match format {
        "pdf" => pdf_extract::extract_text_from_mem(bytes).map_err(|_| Unreadable::Damaged),
        "html" => html2text::config::plain().string_from_read(bytes, 100).map_err(|_| Unreadable::Damaged),
        "office" => office::text(bytes),
        _ => Err(Unreadable::Damaged),
    };
    text.map(|text| tidy(&text))
}

/// Text without control characters and without long runs of blank lines.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.lines() {
        let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        blank = if line.trim().is_empty() { blank + 1 } else { 0 };
        if blank < 2 {
            tidy.push_str(line.trim_end());
            tidy.push('\n');
        }
    }
    tidy.trim().to_owned()
}
