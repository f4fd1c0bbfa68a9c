//! `openagents receipts`: what was signed about work that is done. Checking one needs no node and no home.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use openagents_api::{Client, ReceiptQuery, ReceiptView, SCHEMA_VERSION, Side};
use openagents_protocol::receipt::{Proof, Proven};
use openagents_types::{JobId, Receipt};
use serde_json::json;

use crate::{
    args::Global,
    exit::Exit,
    failure::Failure,
    link, show,
    source::{Name, SEARCHED, SHORT, Source},
    tables::{ago, now_ms, table},
    text::one_line,
};

/// The largest file that is read as a receipt, in bytes: several times what any receipt has.
const LARGEST: u64 = 256 << 10;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Receipts {
    /// The newest receipts, given and received
    List {
        /// How many
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        /// Only those of one half
        #[arg(long)]
        side: Option<Half>,
    },
    /// Everything a receipt says; with --json also the proof for others
    Show(Which),
    /// Check a receipt in a file: both signatures, and that it does not contradict itself
    #[command(before_help = "Examples:\n  openagents receipts verify receipt.json\n  \
        openagents receipts show --json JOB | openagents receipts verify -\n\
        \nExit code 0: the provider's signature holds, and the customer's, if there is one. 1: it does not hold.")]
    Verify {
        /// A file with what `receipts show --json` prints, or an event of kind 7012; `-` reads stdin
        file: PathBuf,
        /// Count a receipt without its customer's signature as not proven
        #[arg(long)]
        countersigned: bool,
    },
    /// Sign a receipt for everybody and send it to the relays; this cannot be taken back
    Publish(Which),
}

/// Which receipt.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The job, or a beginning of its name
    job: String,
    /// Which half, where a node bought from itself [default: bought]
    #[arg(long)]
    side: Option<Half>,
}

/// A half of the market.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Half {
    /// We did the work
    Sold,
    /// We paid for it
    Bought,
}

impl From<Half> for Side {
    fn from(half: Half) -> Self {
        match half {
            Half::Sold => Self::Sold,
            Half::Bought => Self::Bought,
        }
    }
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Receipts) -> anyhow::Result<Exit> {
    if let Receipts::Verify { file, countersigned } = command {
        return verify(global, file, *countersigned);
    }
    let home = link::home(global)?;
    super::wait(async {
        match command {
            Receipts::List { limit, side } => {
                let side = side.map(Side::from);
                let wanted = ReceiptQuery { limit: Some(*limit), side, after: None };
                list(global, &Source::of(&home, "")?.receipts(&wanted).await?)
            }
            Receipts::Show(which) => one(global, &Source::of(&home, "")?.find_receipt(which).await?),
            Receipts::Publish(which) => publish(global, &link::connect(&home)?, which).await,
            Receipts::Verify { file, countersigned } => verify(global, file, *countersigned),
        }
    })
}

impl Source {
    async fn receipts(&self, wanted: &ReceiptQuery) -> anyhow::Result<Vec<ReceiptView>> {
        Ok(match self {
            Self::Node(client) => client.receipts(wanted).await?,
            Self::Archive(archive) => archive.receipts(wanted, SEARCHED)?,
        })
    }

    async fn receipt(&self, job: JobId, side: Option<Side>) -> anyhow::Result<ReceiptView> {
        match self {
            Self::Node(client) => Ok(client.receipt(job, side).await?),
            Self::Archive(archive) => {
                archive.receipt(job, side)?.ok_or_else(|| unknown(&job.to_hex()).into())
            }
        }
    }

    /// The receipt of the job that is named or begins to be named.
    async fn find_receipt(&self, which: &Which) -> anyhow::Result<ReceiptView> {
        let side = which.side.map(Side::from);
        let text = match Name::read(&which.job, "see `openagents receipts list`")? {
            Name::Whole(job) => return self.receipt(job, side).await,
            Name::Beginning(text) => text,
        };
        let wanted = ReceiptQuery { limit: Some(SEARCHED), side, after: None };
        let mut found = self.receipts(&wanted).await?;
        found.retain(|view| view.receipt.job.to_hex().starts_with(&text));
        found.sort_by_key(|view| view.side == Side::Sold);
        if found.windows(2).any(|pair| pair[0].receipt.job != pair[1].receipt.job) {
            let what = format!("several receipts are for jobs that begin with {text}");
            return Err(Failure::usage(what, "give more of the name").into());
        }
        found.into_iter().next().ok_or_else(|| unknown(&text).into())
    }
}

fn unknown(name: &str) -> Failure {
    let what = format!("there is no receipt for a job that begins with {name}");
    Failure::new(
        Exit::Error,
        what,
        "see `openagents receipts list`; free jobs get none unless you set receipts.send",
    )
}

fn list(global: &Global, receipts: &[ReceiptView]) -> anyhow::Result<Exit> {
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "receipts": receipts }))?;
        return Ok(Exit::Ok);
    }
    if receipts.is_empty() {
        show::talk("no receipts yet; a paid job gets one when it is settled");
        return Ok(Exit::Ok);
    }
    let now = now_ms();
    let rows: Vec<Vec<String>> = receipts.iter().map(|view| row(view, now)).collect();
    show::line(&table(&["job", "side", "kind", "state", "price", "settled"], &rows))?;
    Ok(Exit::Ok)
}

fn row(view: &ReceiptView, now: u64) -> Vec<String> {
    let receipt = &view.receipt;
    vec![
        receipt.job.to_hex()[..SHORT].to_owned(),
        view.side.word().to_owned(),
        receipt.kind.to_string(),
        one_line(&view.state, 20),
        receipt.price.to_string(),
        ago(now, receipt.settled_at.millis()),
    ]
}

fn one(global: &Global, view: &ReceiptView) -> anyhow::Result<Exit> {
    if global.json {
        let mut value = serde_json::to_value(view)?;
        value["schema_version"] = SCHEMA_VERSION.into();
        show::json(&value)?;
        return Ok(Exit::Ok);
    }
    let mut lines = vec![format!("state     {} ({})", one_line(&view.state, 20), view.side.word())];
    if let Some(dispute) = &view.dispute {
        let [field, says, known] =
            [&dispute.field, &dispute.says, &dispute.known].map(|text| one_line(text, 100));
        lines.push(format!("dispute   {field}: it says {says}, our records say {known}"));
    }
    lines.push(describe(&view.receipt));
    show::line(&lines.join("\n"))?;
    Ok(Exit::Ok)
}

fn describe(receipt: &Receipt) -> String {
    let usage = &receipt.usage;
    let model = usage.model.as_ref().map(|model| format!(", {}", one_line(model, 60))).unwrap_or_default();
    let after = |at: openagents_types::Timestamp| format!("+{} ms", at.since(receipt.accepted_at).0);
    [
        format!("job       {}", receipt.job),
        format!("kind      {}", receipt.kind),
        format!("provider  {}", receipt.provider),
        format!("customer  {}", receipt.customer),
        format!("backend   {}{model}", one_line(&usage.backend, 60)),
        format!("usage     {} read, {} written, {}", usage.input_tokens, usage.output_tokens, usage.elapsed),
        format!("price     {}", receipt.price),
        format!(
            "hash      {}",
            receipt.payment_hash.map_or_else(|| "none, it was free".into(), |hash| hash.to_hex())
        ),
        format!("result    {} (SHA-256)", receipt.result_sha256),
        format!("asked     {} (ms since 1970)", receipt.asked_at.millis()),
        format!("accepted  {}", receipt.accepted_at.millis()),
        format!("delivered {}", after(receipt.delivered_at)),
        format!("settled   {}", after(receipt.settled_at)),
    ]
    .join("\n")
}

async fn publish(global: &Global, client: &Client, which: &Which) -> anyhow::Result<Exit> {
    let found = Source::Node(client.clone()).find_receipt(which).await?;
    let published = client.publish_receipt(found.receipt.job, Some(found.side)).await?;
    if global.json {
        show::json(&json!({
            "schema_version": SCHEMA_VERSION, "job": published.job, "event": published.event,
        }))?;
    } else {
        show::line(&format!("published: the receipt of job {} is event {}", published.job, published.event))?;
    }
    Ok(Exit::Ok)
}

fn verify(global: &Global, file: &Path, countersigned: bool) -> anyhow::Result<Exit> {
    let outcome = match read(file)?.map(|text| Proof::read(&text).and_then(|proof| proof.check())) {
        Some(Ok(proven)) if countersigned && !proven.countersigned => {
            Err(String::from("its customer has not countersigned it"))
        }
        Some(outcome) => outcome.map_err(|error| error.to_string()),
        None => Err(format!("it is larger than {LARGEST} bytes")),
    };
    report(global, &outcome)
}

/// The text of a file or of stdin; `None` if it is larger than any receipt.
fn read(file: &Path) -> anyhow::Result<Option<String>> {
    let unreadable = |error: std::io::Error| {
        let what = format!("{} cannot be read: {error}", file.display());
        Failure::usage(what, "name a file with a receipt, or `-` for stdin")
    };
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let opened = std::fs::File::open(file).map_err(unreadable)?;
        opened.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST);
    Ok(fits.then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

fn report(global: &Global, outcome: &Result<Proven, String>) -> anyhow::Result<Exit> {
    let proven = outcome.as_ref().ok();
    if global.json {
        show::json(&json!({
            "schema_version": SCHEMA_VERSION,
            "valid": outcome.is_ok(),
            "fault": outcome.as_ref().err(),
            "countersigned": proven.is_some_and(|proven| proven.countersigned),
            "event": proven.map(|proven| proven.event),
            "receipt": proven.map(|proven| &proven.receipt),
        }))?;
    } else {
        match outcome {
            Ok(proven) => {
                let by = if proven.countersigned {
                    "signed by its provider and countersigned by its customer"
                } else {
                    "signed by its provider; its customer has not countersigned it"
                };
                show::line(&format!("valid: {by}"))?;
                show::line(&describe(&proven.receipt))?;
            }
            Err(fault) => show::line(&format!("not valid: {}", one_line(fault, 300)))?,
        }
    }
    Ok(if outcome.is_ok() { Exit::Ok } else { Exit::Error })
}
