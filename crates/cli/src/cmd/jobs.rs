//! `openagents jobs`: what was bought and sold, one by one.

use clap::Subcommand;
use openagents_api::{Client, JobView, Listing, QuoteView, SCHEMA_VERSION};
use openagents_types::{JobId, MadeBy, Msat};
use serde_json::json;

use crate::{
    args::Global,
    exit::Exit,
    failure::Failure,
    link, show,
    source::{Name, SEARCHED, SHORT, Source},
    tables::{ago, now_ms, table},
    text::{one_line, printable},
};

/// What is said beside old records.
const UNDER_WAY: &str = ". What is under way is settled when one runs again: openagents up";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// The newest jobs, bought and sold
    List {
        /// How many
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        /// Only those that are not over
        #[arg(long)]
        open: bool,
    },
    /// Everything about one job: its states, its money, its result
    Show {
        /// The job, or a beginning of its name
        id: String,
    },
    /// Take a job back; what is not yet paid stays yours
    Cancel {
        /// The job, or a beginning of its name
        id: String,
    },
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Jobs) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    super::wait(async {
        match command {
            Jobs::List { limit, open } => {
                let wanted = Listing { limit: Some(*limit), open: *open, ..Listing::default() };
                list(global, &wanted, &Source::of(&home, UNDER_WAY)?.jobs(&wanted).await?)
            }
            Jobs::Show { id } => {
                let source = Source::of(&home, UNDER_WAY)?;
                let job = source.job(source.find(id).await?).await?;
                let result = source.result(job.id).await;
                one(global, &job, result.as_deref())
            }
            Jobs::Cancel { id } => cancel(global, &link::connect(&home)?, id).await,
        }
    })
}

async fn cancel(global: &Global, client: &Client, id: &str) -> anyhow::Result<Exit> {
    let id = Source::Node(client.clone()).find(id).await?;
    let job = client.cancel(id).await?;
    if global.json {
        return one(global, &job, None);
    }
    let word = if job.state == "cancelled" { "taken back" } else { "told to stop" };
    show::line(&format!("{word}: job {}", job.id))?;
    show::line(&format!("{}: {}", one_line(&job.state, 40), one_line(&job.explanation, 400)))?;
    Ok(Exit::Ok)
}

impl Source {
    async fn jobs(&self, wanted: &Listing) -> anyhow::Result<Vec<JobView>> {
        Ok(match self {
            Self::Node(client) => client.jobs(wanted).await?,
            Self::Archive(archive) => archive.jobs(wanted, SEARCHED)?,
        })
    }

    async fn job(&self, id: JobId) -> anyhow::Result<JobView> {
        match self {
            Self::Node(client) => Ok(client.job(id).await?),
            Self::Archive(archive) => archive.job(id, None)?.ok_or_else(|| unknown(&id.to_hex()).into()),
        }
    }

    /// Only a delivered job has a result; to have none is no error here.
    async fn result(&self, id: JobId) -> Option<String> {
        match self {
            Self::Node(client) => client.result(id).await.ok().map(|result| result.content),
            Self::Archive(archive) => archive.result(id).ok().flatten(),
        }
    }

    /// The job that `text` names or begins to name.
    async fn find(&self, text: &str) -> anyhow::Result<JobId> {
        let text = match Name::read(text, "see `openagents jobs list`")? {
            Name::Whole(id) => return Ok(id),
            Name::Beginning(text) => text,
        };
        let wanted = Listing { limit: Some(SEARCHED), ..Listing::default() };
        let mut ids: Vec<JobId> = self.jobs(&wanted).await?.iter().map(|job| job.id).collect();
        ids.retain(|id| id.to_hex().starts_with(&text));
        ids.sort_unstable();
        ids.dedup();
        match ids.as_slice() {
            [id] => Ok(*id),
            [] => Err(unknown(&text).into()),
            several => {
                let what = format!("{} jobs begin with {text}", several.len());
                Err(Failure::usage(what, "give more of the name").into())
            }
        }
    }
}

fn unknown(name: &str) -> Failure {
    Failure::new(Exit::Error, format!("no job begins with {name}"), "see `openagents jobs list`")
}

fn list(global: &Global, wanted: &Listing, jobs: &[JobView]) -> anyhow::Result<Exit> {
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "jobs": jobs }))?;
        return Ok(Exit::Ok);
    }
    if jobs.is_empty() {
        show::talk(if wanted.open { "no job is open" } else { "no jobs yet; buy one with `openagents ask`" });
        return Ok(Exit::Ok);
    }
    let now = now_ms();
    let rows: Vec<Vec<String>> = jobs.iter().map(|job| row(job, now)).collect();
    show::line(&table(&["job", "side", "kind", "state", "paid", "changed"], &rows))?;
    Ok(Exit::Ok)
}

fn row(job: &JobView, now: u64) -> Vec<String> {
    vec![
        job.id.to_hex()[..SHORT].to_owned(),
        job.side.word().to_owned(),
        job.kind.to_string(),
        one_line(&job.state, 20),
        Msat::new(job.paid_msat).to_string(),
        ago(now, job.changed_at),
    ]
}

fn one(global: &Global, job: &JobView, result: Option<&str>) -> anyhow::Result<Exit> {
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "job": job, "result": result }))?;
    } else {
        show::line(&describe(job, result))?;
    }
    Ok(Exit::Ok)
}

/// Which way a job is paid, and when its provider has the money.
fn paid_by(job: &JobView) -> Option<String> {
    let rail = match job.rail.as_deref()? {
        "cashu" => "ecash",
        _ => "Lightning invoice",
    };
    Some(match job.terms.as_deref() {
        Some("escrow") => format!("{rail}, locked until delivery"),
        Some("prepaid") => format!("{rail}, paid before the work"),
        _ => rail.to_owned(),
    })
}

/// An offer that was not taken.
fn offer(quote: &QuoteView) -> String {
    let rails: Vec<_> = quote.rails.iter().map(|rail| one_line(&rail.words, 60)).collect();
    let (by, price) = (&quote.provider.to_hex()[..SHORT], Msat::new(quote.price_msat));
    format!("offer     by {by}: {price}, {}", rails.join(" or "))
}

fn describe(job: &JobView, result: Option<&str>) -> String {
    let mut lines = vec![
        format!("job       {}", job.id),
        format!("side      {}", job.side.word()),
        format!("kind      {}", job.kind),
        format!("state     {}", one_line(&job.state, 40)),
        format!("          {}", one_line(&job.explanation, 400)),
    ];
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name:<10}{value}"));
        }
    };
    field("provider", job.provider.map(|key| key.to_hex()));
    field("bid", job.bid_msat.map(|msat| Msat::new(msat).to_string()));
    field("price", job.price_msat.map(|msat| Msat::new(msat).to_string()));
    field("paid", Some(format!("{} + {} fee", Msat::new(job.paid_msat), Msat::new(job.fee_msat))));
    field("in flight", (job.in_flight_msat > 0).then(|| Msat::new(job.in_flight_msat).to_string()));
    field("paid by", paid_by(job));
    field("hash", job.payment_hash.clone());
    field("preimage", job.preimage.clone());
    field("sha256", job.result_sha256.clone());
    field("made by", job.made_by.as_ref().map(made_by));
    lines.extend(job.quotes.iter().map(offer));
    lines.extend(job.refusals.iter().map(|no| {
        format!(
            "refused   by {}: {} ({})",
            &no.provider.to_hex()[..SHORT],
            one_line(&no.message, 120),
            one_line(&no.code, 40)
        )
    }));
    let start = job.steps.first().map_or(job.asked_at, |step| step.at);
    lines.extend(job.steps.iter().map(|step| {
        format!("step      +{} ms {}", step.at.saturating_sub(start), one_line(&step.state, 40))
    }));
    if let Some(result) = result {
        lines.push(format!("\n{}", printable(result)));
    }
    lines.join("\n")
}

/// Backend, model and what else is known of it.
fn made_by(by: &MadeBy) -> String {
    let parts = [Some(&by.backend), by.model.as_ref(), by.quantization.as_ref(), by.digest.as_ref()];
    let parts: Vec<String> = parts.into_iter().flatten().map(|part| one_line(part, 80)).collect();
    parts.join(", ")
}
