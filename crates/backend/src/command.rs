//! The operator's own tools: a job of a kind is one run of a program, in a cage, as a recipe says.
//!
//! Nothing that arrives is executed: the program and its arguments are the operator's, a customer's input is a
//! file or standard input, and its parameters fill places that the recipe has for them.

mod arguments;
#[cfg(unix)]
mod process;
mod recipe;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use openagents_types::{JobKind, Millis, Param, ResolvedInput, Usage};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    Backend, BackendError, BackendKind, BuildError, Built, Health, Made, Output, Reads, Rejection, Settings,
    Work, is_harmful,
    sandbox::{Cage, Held, Limits, NOT_STARTED},
};
#[cfg(unix)]
use process::{Ended, Fault, Run};
use recipe::{Feed, OutputRule, Recipe};

pub use recipe::{
    CommandSettings, Confine, Feed as CommandFeed, Form as ParamForm, LimitRule, OutputRule as CommandOutput,
    ParamRule, PriceHint, RECIPES,
};

/// The row of [`crate::BACKENDS`].
pub(crate) const KIND: BackendKind =
    BackendKind { name: "command", about: "the operator's own tools, such as ffmpeg", build };

fn build(settings: &Settings) -> Vec<Built> {
    if !settings.command.is_empty() {
        sweep();
    }
    let one = |settings: &CommandSettings| match CommandTool::new(settings) {
        Ok(tool) => Ok(Arc::new(tool) as Arc<dyn Backend>),
        Err(reason) => {
            let name = settings.name.as_ref().or(settings.recipe.as_ref());
            let name = name.map_or_else(|| KIND.name.to_owned(), |name| format!("command {name}"));
            Err(BuildError { name, reason })
        }
    };
    settings.command.iter().map(one).collect()
}

/// The user and group that a tool of root's is run as: by convention, the one that owns nothing.
const NOBODY: u32 = 65_534;
/// Text given back, in bytes; more than a result event can carry is of no use.
const LARGEST_TEXT: usize = 48 << 10;
/// How long trying a tool may take: a scanner loads its signatures.
const TRIAL: Duration = Duration::from_secs(60);
/// How long it is looked whether a tool that cannot be tried starts at all.
const STARTING: Duration = Duration::from_secs(2);
/// How long an end of the cage that says what holds may take.
const ASKING: Duration = Duration::from_secs(5);

/// A tool, and how it is called.
#[derive(Clone, Debug)]
pub struct CommandTool {
    recipe: Recipe,
    /// Where the program is, if it is there.
    program: Option<PathBuf>,
    /// The program that makes the cage: this one.
    host: Option<PathBuf>,
}

impl CommandTool {
    /// A tool as it is configured, in cages that this very program makes.
    ///
    /// # Errors
    /// It names no recipe that there is, or is none itself.
    pub fn new(settings: &CommandSettings) -> Result<Self, String> {
        let recipe = Recipe::of(settings)?;
        let program = find(&recipe.program);
        Ok(Self { recipe, program, host: std::env::current_exe().ok() })
    }

    /// What it does, in a line.
    pub fn about(&self) -> &str {
        &self.recipe.about
    }

    /// Where its program is, if it is installed.
    pub fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    fn cage(&self, program: Option<PathBuf>, args: Vec<String>, folder: &Path) -> Cage {
        let limits = &self.recipe.limits;
        let mut env = BTreeMap::from([
            ("HOME".to_owned(), folder.to_string_lossy().into_owned()),
            ("TMPDIR".to_owned(), folder.to_string_lossy().into_owned()),
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        env.extend(self.recipe.env.clone());
        let mut read = self.recipe.read.clone();
        read.extend(program.clone());
        Cage {
            args,
            env,
            limits: Limits {
                cpu_s: limits.cpu_seconds.unwrap_or(limits.seconds.saturating_mul(2)),
                memory: limits.memory_mb << 20,
                file: limits.output_mb << 20,
                open_files: limits.open_files,
                tasks: limits.tasks,
                forks: limits.forks,
            },
            read,
            folder: Some(folder.to_path_buf()),
            nobody: NOBODY,
            program,
        }
    }

    /// The input as the tool is given it: what goes to its standard input, and the size of its file.
    fn given<'a>(&self, inputs: &'a [ResolvedInput], folder: &Path) -> Result<(Vec<u8>, u64), BackendError> {
        let died = |_| BackendError::Died;
        match (self.recipe.input, inputs) {
            (Feed::Stdin, inputs) => {
                let parts: Vec<&'a [u8]> = inputs.iter().map(|input| input.bytes.as_slice()).collect();
                Ok((parts.join(&b"\n\n"[..]), 0))
            }
            (Feed::File, [one]) => {
                let path = folder.join(arguments::INPUT);
                std::fs::write(&path, &one.bytes).map_err(died)?;
                own(&path).map_err(died)?;
                Ok((Vec::new(), one.bytes.len() as u64))
            }
            (Feed::File, _) => Err(BackendError::BadInput("this provider's tool reads one input".into())),
        }
    }

    fn most(&self) -> u64 {
        self.recipe.limits.output_mb << 20
    }

    /// What a text result says, by how the tool ended.
    fn text(&self, said: &[u8], meant: &str) -> Result<String, BackendError> {
        let said = String::from_utf8_lossy(said);
        let said = said.trim();
        let start = self.recipe.line.as_ref().map(|line| line.replace("{input}", arguments::INPUT));
        let said = match start {
            Some(start) => {
                said.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap_or_default()
            }
            None => said,
        };
        let text: String = meant.replace("{stdout}", said).chars().filter(|c| !is_harmful(*c)).collect();
        if text.trim().is_empty() {
            let why = self.recipe.empty.clone().unwrap_or_else(|| "the tool found nothing to say".into());
            return Err(BackendError::BadInput(why));
        }
        if text.len() > LARGEST_TEXT {
            let why = format!("the text has {} bytes, a result can carry {LARGEST_TEXT}", text.len());
            return Err(BackendError::BadInput(why));
        }
        Ok(text)
    }

    /// The file that the tool was to write; its process group is dead, so nobody changes it any more.
    fn file(&self, folder: &Path, output: &OutputRule) -> Result<Vec<u8>, BackendError> {
        let nothing = || BackendError::BadInput("the tool made nothing of this input".into());
        let path = folder.join(arguments::output_name(output));
        // A link could lead anywhere, and a pipe would never end.
        let about = std::fs::symlink_metadata(&path).map_err(|_| nothing())?;
        if !about.is_file() || about.len() == 0 {
            return Err(nothing());
        }
        if about.len() > self.most() {
            return Err(too_much());
        }
        std::fs::read(&path).map_err(|_| BackendError::Died)
    }
}

fn too_much() -> BackendError {
    BackendError::BadInput("the result is larger than this provider's tool may make".into())
}

/// Where a program is: as it is written, or in `PATH`.
/// Where a program is: at its path, or where a terminal would find its name.
pub(crate) fn find(program: &Path) -> Option<PathBuf> {
    let is_file = |path: &PathBuf| path.is_file();
    if program.components().count() > 1 {
        return std::path::absolute(program).ok().filter(is_file);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(is_file)
}

/// How the names of the folders for single runs begin.
const FOLDER: &str = "openagents-job-";
/// What is older than this is of no run: of a node that was killed.
const STALE: Duration = Duration::from_secs(86_400);

/// Deletes what runs left that were killed together with their node.
fn sweep() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let is_folder = entry.metadata().is_ok_and(|about| about.is_dir());
        let age =
            entry.metadata().and_then(|about| about.modified()).map(|at| at.elapsed().unwrap_or_default());
        let is_ours = entry.file_name().to_string_lossy().starts_with(FOLDER);
        if is_ours && is_folder && age.is_ok_and(|age| age > STALE) {
            // Those of others refuse.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder for one run, closed to everybody else, and gone with this value.
fn private_folder() -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix(FOLDER).tempdir()?;
    own(folder.path())?;
    Ok(folder)
}

/// Gives what root made to the user that root's tools are run as.
#[cfg(unix)]
fn own(path: &Path) -> std::io::Result<()> {
    if rustix::process::getuid().is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn own(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
impl CommandTool {
    /// Whether it could work, and what it says of itself when tried.
    ///
    /// # Errors
    /// Why it could not, for the operator.
    pub async fn tried(&self) -> Result<String, String> {
        let stop = CancellationToken::new();
        let (Some(host), Some(program)) = (self.host.as_deref(), self.program.clone()) else {
            return Err(format!("{} is not installed", self.recipe.program.display()));
        };
        let folder = private_folder().map_err(|error| format!("no folder can be made for it: {error}"))?;
        let run = |cage: &Cage, patience| {
            let cage = cage.clone();
            let stop = stop.clone();
            async move {
                let run = Run { host, cage: &cage, stdin: b"", most: 1 << 20, given: 0, patience };
                run.run(&stop).await.map_err(|fault| fault.to_string())
            }
        };
        let empty = run(&self.cage(None, Vec::new(), folder.path()), ASKING).await?;
        let held: Held = serde_json::from_slice(&empty.stdout)
            .map_err(|_| format!("its cage cannot be made: {}", empty.stderr))?;
        let missing = held.missing(self.recipe.limits.forks).join(", ");
        if self.recipe.confine == Confine::Required && !missing.is_empty() {
            return Err(format!(
                "this system cannot {missing}; with confine = \"available\" it is sold all the same"
            ));
        }
        let note = if missing.is_empty() { String::new() } else { format!("; this system cannot {missing}") };
        if self.recipe.attempt.is_empty() {
            // Whatever it says to no arguments, it could be started; one that waits for more is started, too.
            return match run(&self.cage(Some(program), Vec::new(), folder.path()), STARTING).await {
                Ok(ended) if ended.status.code() == Some(NOT_STARTED) => {
                    Err(format!("it cannot be started in its cage: {}", ended.stderr))
                }
                Ok(_) | Err(_) => Ok(format!("it is not tried{note}")),
            };
        }
        let ended = run(&self.cage(Some(program), self.recipe.trial(), folder.path()), TRIAL).await?;
        if !ended.status.success() {
            return Err(format!("it ends with {}: {}", ended.status, ended.stderr));
        }
        let said = String::from_utf8_lossy(&ended.stdout);
        let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let line: String = line.chars().filter(|c| !c.is_control()).take(80).collect();
        Ok(format!("{}{note}", line.trim()))
    }

    async fn work(
        &self,
        work: &Work,
        stop: &CancellationToken,
    ) -> Result<(String, Option<Made>), BackendError> {
        let (Some(host), Some(program)) = (self.host.as_deref(), self.program.clone()) else {
            return Err(BackendError::Died);
        };
        let output = self.recipe.chosen(&work.output, &work.params);
        let output =
            output.ok_or_else(|| BackendError::BadInput(format!("this provider makes {}", self.makes())))?;
        let args = self.recipe.arguments(&work.params, output);
        let args = args.map_err(|no| BackendError::BadInput(no.to_string()))?;
        let names_file = self.recipe.args.iter().any(|argument| argument.contains("{output}"));
        let folder = private_folder().map_err(|_| BackendError::Died)?;
        let (stdin, given) = self.given(&work.inputs, folder.path())?;
        let cage = self.cage(Some(program), args, folder.path());
        let patience = Duration::from_secs(self.recipe.limits.seconds);
        let run = Run { host, cage: &cage, stdin: &stdin, most: self.most(), given, patience };
        let ended = run.run(stop).await.map_err(|fault| self.failed(fault))?;
        let meant = self.meaning(&ended)?;
        let said = if names_file { self.file(folder.path(), output)? } else { ended.stdout };
        if output.is_text() {
            return Ok((self.text(&said, meant)?, None));
        }
        let extension = output.extension.clone().unwrap_or_default();
        Ok((String::new(), Some(Made { mime: output.mime.clone(), extension, bytes: said })))
    }

    /// What the way in which the tool ended means for the result; where it means failure, why, for the customer.
    fn meaning(&self, ended: &Ended) -> Result<&str, BackendError> {
        use std::os::unix::process::ExitStatusExt as _;
        let meant = ended.status.code().and_then(|code| self.recipe.results.get(&code.to_string()));
        if let Some(meant) = meant {
            return Ok(meant);
        }
        let (tool, status, stderr) = (self.name(), ended.status, &ended.stderr);
        tracing::warn!(tool, %status, %stderr, "a tool failed");
        if ended.status.code() == Some(NOT_STARTED) {
            return Err(BackendError::Died);
        }
        // A shell whose program was ended by a signal ends with its number and 128.
        let shell = ended.status.code().and_then(|code| code.checked_sub(128)).filter(|signal| *signal > 0);
        let why = match ended.status.signal().or(shell).and_then(rustix::process::Signal::from_named_raw) {
            Some(rustix::process::Signal::XCPU | rustix::process::Signal::KILL) => {
                "the provider's tool needs more time for this input than it has"
            }
            Some(rustix::process::Signal::XFSZ) => return Err(too_much()),
            Some(_) => "the provider's tool crashed on this input",
            None => "the provider's tool cannot work on this input; it may be damaged or of another format",
        };
        Err(BackendError::BadInput(why.into()))
    }

    fn failed(&self, fault: Fault) -> BackendError {
        if fault != Fault::Cancelled {
            tracing::warn!(tool = self.name(), %fault, "a tool failed");
        }
        match fault {
            Fault::NotStarted => BackendError::Died,
            Fault::Cancelled => BackendError::Cancelled,
            Fault::Late => BackendError::BadInput(
                "the provider's tool needs more time for this input than it has".into(),
            ),
            Fault::TooMuch => too_much(),
        }
    }
}

#[cfg(not(unix))]
impl CommandTool {
    /// Whether it could work, and what it says of itself when tried.
    ///
    /// # Errors
    /// Why it could not, for the operator.
    pub async fn tried(&self) -> Result<String, String> {
        Err("tools are not run on this system".into())
    }

    async fn work(&self, _: &Work, _: &CancellationToken) -> Result<(String, Option<Made>), BackendError> {
        Err(BackendError::Died)
    }
}

impl CommandTool {
    fn makes(&self) -> String {
        self.recipe.output.iter().map(|rule| rule.mime.as_str()).collect::<Vec<_>>().join(", ")
    }
}

#[async_trait]
impl Backend for CommandTool {
    fn name(&self) -> &str {
        &self.recipe.name
    }

    fn kinds(&self) -> Vec<JobKind> {
        self.recipe.kinds.clone()
    }

    async fn probe(&self) -> Health {
        match self.tried().await {
            Ok(_) => Health::Ready,
            Err(why) => Health::Down(why),
        }
    }

    fn reads(&self, _: JobKind, mimes: &[&str]) -> Reads {
        let fits = mimes.iter().all(|mime| self.recipe.takes(mime));
        let one = self.recipe.input == Feed::Stdin || mimes.len() < 2;
        match (self.recipe.takes_files(), fits && one) {
            (true, true) => Reads::Files,
            (false, _) if one => Reads::text_of(mimes),
            _ => Reads::Nothing,
        }
    }

    fn makes(&self, _: JobKind) -> Vec<String> {
        self.recipe.output.iter().map(|rule| rule.mime.clone()).collect()
    }

    fn price(&self, _: JobKind) -> Option<PriceHint> {
        self.recipe.price
    }

    fn check(&self, _: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        let most = self.recipe.limits.input_mb << 20;
        match input_bytes {
            0 => return Err(Rejection::NoInput),
            found if found > most => return Err(Rejection::TooLarge { found, most }),
            _ => {}
        }
        // Which of the outputs it is changes nothing about the parameters.
        let output = self.recipe.output.first().cloned().unwrap_or_default();
        self.recipe.arguments(params, &output).map(drop)
    }

    async fn run(
        &self,
        work: Work,
        _pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError> {
        let started = Instant::now();
        let (content, file) = self.work(&work, &stop).await?;
        let words = content.split_whitespace().count() as u64;
        let usage = Usage {
            digest: None,
            backend: self.recipe.name.clone(),
            model: None,
            input_tokens: work.inputs.iter().map(|input| input.bytes.len() as u64).sum(),
            output_tokens: file.as_ref().map_or(words, |made| made.bytes.len() as u64),
            elapsed: Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
            ..Usage::default()
        };
        Ok(Output { content, file, usage })
    }
}
