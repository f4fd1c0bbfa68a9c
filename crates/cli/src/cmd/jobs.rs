//! `openagents jobs`: what was bought and sold, one by one.

use clap::Subcommand;
use openagents_api::{Client, JobView, Listing, SCHEMA_VERSION};
use openagents_types::{JobId, Msat};
use serde_json::json;

use crate::{
    args::Global,
    exit::Exit,
    failure::Failure,
    link, show,
    tables::{ago, now_ms, table},
    text::{one_line, printable},
};

/// How far back a beginning of a name is looked for.
const SEARCHED: u32 = 1_000;

/// How many hexadecimal digits are shown in lists; enough to tell jobs apart.
const SHORT: usize = 12;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// The newest jobs, bought and sold
    List {
        /// How many
        #[arg(long, default_value_t = 20, value_name = "N")]
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
    let client = link::connect(&link::home(global)?)?;
    super::wait(async {
        match command {
            Jobs::List { limit, open } => {
                let wanted = Listing { limit: Some(*limit), open: *open, ..Listing::default() };
                list(global, &client.jobs(&wanted).await?)
            }
            Jobs::Show { id } => {
                let job = client.job(find(&client, id).await?).await?;
                // Only a delivered job has a result; to have none is no error here.
                let result = client.result(job.id).await.ok().map(|result| result.content);
                one(global, &job, result.as_deref())
            }
            Jobs::Cancel { id } => {
                let job = client.cancel(find(&client, id).await?).await?;
                one(global, &job, None)
            }
        }
    })
}

/// The job that `text` names or begins to name.
async fn find(client: &Client, text: &str) -> anyhow::Result<JobId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(Failure::usage(
            format!("{:?} names no job", one_line(text, 70)),
            "see `openagents jobs list`",
        )
        .into());
    }
    let text = text.to_lowercase();
    let mut ids: Vec<JobId> = client
        .jobs(&Listing { limit: Some(SEARCHED), ..Listing::default() })
        .await?
        .iter()
        .map(|job| job.id)
        .collect();
    ids.retain(|id| id.to_hex().starts_with(&text));
    ids.sort_unstable();
    ids.dedup();
    match ids.as_slice() {
        [id] => Ok(*id),
        [] => {
            Err(Failure::new(Exit::Error, format!("no job begins with {text}"), "see `openagents jobs list`")
                .into())
        }
        several => {
            let what = format!("{} jobs begin with {text}", several.len());
            Err(Failure::usage(what, "give more of the name").into())
        }
    }
}

fn list(global: &Global, jobs: &[JobView]) -> anyhow::Result<Exit> {
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "jobs": jobs }))?;
        return Ok(Exit::Ok);
    }
    if jobs.is_empty() {
        show::talk("no jobs yet; buy one with `openagents ask`");
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
    field("hash", job.payment_hash.clone());
    field("preimage", job.preimage.clone());
    field("sha256", job.result_sha256.clone());
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
