//! `openagents wallet history`: what went in and out, as the wallet tells it or as the books hold it.

use clap::Args;
use openagents_api::{FiatView, MovementView, SCHEMA_VERSION, Side, TransactionView};
use openagents_node::{Archive, home::Home};
use openagents_types::Msat;
use serde_json::json;

use crate::{
    args::Global,
    dates,
    exit::Exit,
    link, show,
    tables::{ago, now_ms, table},
    text::one_line,
};

/// How many digits of a name are shown in tables.
const SHORT: usize = 12;

/// The column after the amount, in both tables.
const BEHIND_AMOUNT: usize = 4;

/// How many the wallet is asked for when some will be left out: as many as one answer holds.
const MANY: u32 = 150;

/// What of the history is wanted.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  openagents wallet history --sent --since 2026-01-01\n  \
        openagents wallet history --books --csv > money.csv\n  openagents wallet history --books --pending",
    after_help = "Without --books the running node's wallet is asked. The books hold what the market moved (earned, \
        spent, fee, refund-paid, refund-received) and what was paid by hand (sent, received); they can be read while no node runs. All of the amounts in an \
        export of what is settled come to what the ledger says. Where the settings name a source of prices ([fiat]), each movement \
        has the value that it had when it was booked."
)]
pub(crate) struct HistoryArgs {
    /// How many, newest first; an export has all
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: u32,
    /// What the books of the market say, job by job, instead of the wallet's own list
    #[arg(long)]
    books: bool,
    /// As comma-separated values for spreadsheets (RFC 4180), from the books
    #[arg(long, requires = "books")]
    csv: bool,
    /// Only these
    #[command(flatten)]
    only: Only,
    /// Only from this day on (UTC)
    #[arg(long, value_name = "DAY", value_parser = dates::day)]
    since: Option<u64>,
    /// Only up to this day, itself included (UTC)
    #[arg(long, value_name = "DAY", value_parser = dates::day)]
    until: Option<u64>,
    /// Only of this job: its name or a beginning of it
    #[arg(long, value_name = "ID")]
    job: Option<String>,
}

/// Which way or how far.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Only {
    /// Only what left us
    #[arg(long)]
    sent: bool,
    /// Only what came to us
    #[arg(long)]
    received: bool,
    /// Only what is under way: pending, funds safe
    #[arg(long)]
    pending: bool,
    /// Only what failed and came back
    #[arg(long)]
    failed: bool,
}

/// How far a payment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Settled,
    Pending,
    Failed,
}

impl HistoryArgs {
    fn takes(&self, at: u64, incoming: bool, stage: Stage) -> bool {
        let only = &self.only;
        let wanted = match (only.pending, only.failed) {
            (true, _) => stage == Stage::Pending,
            (_, true) => stage == Stage::Failed,
            // An export is what moved, so that its sum is the ledger's.
            _ if self.books => stage == Stage::Settled,
            _ => true,
        };
        wanted
            && !(only.sent && incoming)
            && (!only.received || incoming)
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < dates::next_day(until))
    }

    fn filters(&self) -> bool {
        let Only { sent, received, pending, failed } = self.only;
        sent || received
            || pending
            || failed
            || self.since.is_some()
            || self.until.is_some()
            || self.job.is_some()
    }
}

/// Does it.
pub(super) fn run(global: &Global, home: &Home, args: &HistoryArgs) -> anyhow::Result<Exit> {
    if args.books { books(global, home, args) } else { wallet(global, home, args) }
}

fn wallet(global: &Global, home: &Home, args: &HistoryArgs) -> anyhow::Result<Exit> {
    let client = link::connect(home)?;
    let asked = if args.filters() { MANY } else { args.limit };
    let mut rows = crate::cmd::wait(async { Ok(client.history(asked).await?) })?;
    rows.retain(|row| {
        let of_job = args.job.as_ref().is_none_or(|job| row.description.contains(job.as_str()));
        of_job && args.takes(row.at, row.direction == "in", stage(&row.state))
    });
    rows.truncate(args.limit as usize);
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "transactions": rows }))?;
    } else if rows.is_empty() {
        show::talk(if args.filters() { "nothing of that kind" } else { "nothing went in or out yet" });
    } else {
        let now = now_ms();
        let values: Vec<_> = rows.iter().map(|row| row.fiat.as_ref()).collect();
        let rows: Vec<Vec<String>> = rows.iter().map(|row| transaction(row, now)).collect();
        let heading = ["when", "way", "rail", "amount", "fee", "state", "hash", "for"];
        show::line(&valued(&heading, rows, &values))?;
    }
    Ok(Exit::Ok)
}

fn stage(word: &str) -> Stage {
    match word {
        "settled" => Stage::Settled,
        "pending" | "held" => Stage::Pending,
        _ => Stage::Failed,
    }
}

fn transaction(row: &TransactionView, now: u64) -> Vec<String> {
    vec![
        since(now, row),
        one_line(&row.direction, 4),
        one_line(&row.rail, 8),
        Msat::new(row.amount_msat).to_string(),
        Msat::new(row.fee_msat).to_string(),
        one_line(&row.state, 12),
        one_line(&row.hash, SHORT),
        one_line(&row.description, 40),
    ]
}

/// How long ago it moved; of an invoice that nobody has paid yet a wallet may say only when it ends.
fn since(now: u64, row: &TransactionView) -> String {
    let is_open = stage(&row.state) == Stage::Pending && row.at > now;
    if is_open || row.at == 0 { "-".into() } else { ago(now, row.at) }
}

fn books(global: &Global, home: &Home, args: &HistoryArgs) -> anyhow::Result<Exit> {
    let archive = Archive::open(home)?.ok_or_else(link::not_running)?;
    let mut rows = archive.movements()?;
    rows.retain(|row| {
        let of_job = args
            .job
            .as_ref()
            .is_none_or(|wanted| row.job.is_some_and(|job| job.to_hex().starts_with(&wanted.to_lowercase())));
        of_job && args.takes(row.at, row.msat >= 0, stage(&row.state))
    });
    if args.csv {
        show::piece(&csv(&rows)?)?;
    } else if global.json {
        let net: i64 = rows.iter().filter(|row| row.state == "settled").map(|row| row.msat).sum();
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "net_msat": net, "movements": rows }))?;
    } else if rows.is_empty() {
        show::talk("nothing of that kind is in the books");
    } else {
        let now = now_ms();
        rows.truncate(args.limit as usize);
        let values: Vec<_> = rows.iter().map(|row| row.fiat.as_ref()).collect();
        let shown: Vec<Vec<String>> = rows.iter().map(|row| movement(row, now)).collect();
        let heading = ["when", "what", "rail", "amount", "state", "kind", "job", "hash"];
        show::line(&valued(&heading, shown, &values))?;
    }
    Ok(Exit::Ok)
}

fn movement(row: &MovementView, now: u64) -> Vec<String> {
    let sign = if row.msat < 0 { "-" } else { "" };
    vec![
        ago(now, row.at),
        row.movement.clone(),
        one_line(&row.rail, 8),
        format!("{sign}{}", Msat::new(row.msat.unsigned_abs())),
        if row.state == "pending" { "pending, funds safe".into() } else { row.state.clone() },
        row.kind.map_or_else(|| "-".into(), |kind| kind.to_string()),
        row.job.map_or_else(|| "by hand".into(), |job| job.to_hex()[..SHORT].to_owned()),
        one_line(&row.hash, SHORT),
    ]
}

/// A table with the values behind the amounts, if there is one at all.
fn valued(heading: &[&str], mut rows: Vec<Vec<String>>, values: &[Option<&FiatView>]) -> String {
    let mut heading = heading.to_vec();
    if values.iter().any(Option::is_some) {
        heading.insert(BEHIND_AMOUNT, "value then");
        for (row, value) in rows.iter_mut().zip(values) {
            let text = value.map_or_else(
                || "-".into(),
                |it| format!("{} {}", one_line(&it.amount, 40), one_line(&it.currency, 3)),
            );
            row.insert(BEHIND_AMOUNT, text);
        }
    }
    table(&heading, &rows)
}

/// One line a movement; text that a spreadsheet would take for a formula is made text.
fn csv(rows: &[MovementView]) -> anyhow::Result<String> {
    let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    out.write_record([
        "time",
        "job",
        "side",
        "kind",
        "counterparty",
        "movement",
        "amount_msat",
        "state",
        "hash",
        "rail",
        "fiat_amount",
        "fiat_currency",
        "fiat_per_btc",
        "fiat_at",
    ])?;
    for row in rows {
        out.write_record([
            dates::iso(row.at),
            row.job.map_or_else(String::new, |job| job.to_hex()),
            row.side.map_or("", Side::word).to_owned(),
            row.kind.map_or_else(String::new, |kind| kind.to_string()),
            harmless(row.counterparty.as_deref().unwrap_or_default()),
            harmless(&row.movement),
            row.msat.to_string(),
            harmless(&row.state),
            harmless(&row.hash),
            harmless(&row.rail),
            of_fiat(row, |fiat| number(&fiat.amount)),
            of_fiat(row, |fiat| harmless(&fiat.currency)),
            of_fiat(row, |fiat| number(&fiat.per_btc)),
            of_fiat(row, |fiat| dates::iso(fiat.at)),
        ])?;
    }
    Ok(String::from_utf8(out.into_inner()?)?)
}

/// A cell that is empty where no value is known.
fn of_fiat(row: &MovementView, cell: impl Fn(&FiatView) -> String) -> String {
    row.fiat.as_ref().map_or_else(String::new, cell)
}

/// An amount in decimal text: a number for a spreadsheet. Anything else is made harmless.
fn number(text: &str) -> String {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number { text.to_owned() } else { harmless(text) }
}

/// A cell that begins like a formula, behind an apostrophe (OWASP, "CSV Injection"). Amounts are numbers and stay so.
fn harmless(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use openagents_types::{JobId, JobKind};

    use super::*;

    #[test]
    fn an_invoice_that_nobody_has_paid_has_no_age() {
        let row = |state: &str, at| TransactionView {
            hash: String::new(),
            direction: "in".into(),
            state: state.into(),
            amount_msat: 1,
            fee_msat: 0,
            description: String::new(),
            at,
            rail: "bolt11".into(),
            fiat: None,
        };
        for (state, at, words) in [
            ("pending", 9_000, "-"),
            ("pending", 1_000, "4s ago"),
            ("settled", 9_000, "0s ago"),
            ("failed", 0, "-"),
        ] {
            assert_eq!(since(5_000, &row(state, at)), words, "{state} {at}");
        }
    }

    #[test]
    fn a_cell_is_never_a_formula_and_an_amount_stays_a_number() {
        let row = MovementView {
            at: 0,
            job: Some(JobId::from_bytes([7; 32])),
            side: Some(Side::Bought),
            kind: Some(JobKind::SUMMARIZATION),
            counterparty: Some("=HYPERLINK(\"http://evil\",\"x\")".into()),
            movement: "spent".into(),
            msat: -1_500,
            state: "settled".into(),
            hash: "@x".into(),
            rail: "bolt11".into(),
            fiat: Some(FiatView {
                amount: "-0.000858".into(),
                currency: "EUR".into(),
                per_btc: "57200.00".into(),
                at: 1_000,
            }),
        };
        let text = csv(&[row]).unwrap();
        let mut lines = text.split("\r\n");
        assert!(lines.next().unwrap().starts_with("time,job,side,kind,"));
        let line = lines.next().unwrap();
        assert!(line.starts_with("1970-01-01T00:00:00Z,0707"), "{line}");
        assert!(
            line.ends_with("\"'=HYPERLINK(\"\"http://evil\"\",\"\"x\"\")\",spent,-1500,settled,'@x,bolt11,-0.000858,EUR,57200.00,1970-01-01T00:00:01Z"),
            "{line}"
        );
    }
}
