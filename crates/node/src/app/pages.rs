//! The pages: templates filled with views. Everything works without JavaScript.

use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use openagents_api::{JobView, LedgerLine, NodeView};

use super::{App, routes, view};

/// Jobs and movements shown on the first page.
const SHOWN: u32 = 40;

/// Result text shown on a page, in characters.
const RESULT_SHOWN: usize = 20_000;

/// States of an honest job in order, for the line of steps.
#[derive(Debug)]
struct Row {
    job: JobView,
    short: String,
    symbol: &'static str,
    tone: &'static str,
    amount: String,
    when: String,
}

#[derive(Debug)]
struct Movement {
    line: LedgerLine,
    short: String,
    amount: String,
    when: String,
}

#[derive(Debug, Template)]
#[template(path = "home.html")]
struct Home {
    body: HomeBody,
    test_money: bool,
    title: String,
}

#[derive(Debug, Template)]
#[template(path = "home_body.html")]
struct HomeBody {
    node: NodeView,
    balance: Option<String>,
    jobs: Vec<Row>,
    lines: Vec<Movement>,
    net: String,
}

#[derive(Debug, Template)]
#[template(path = "job.html")]
struct JobPage {
    row: Row,
    result: Option<String>,
    test_money: bool,
    title: String,
    price: String,
    bid: String,
    paid: String,
}

#[derive(Debug, Template)]
#[template(path = "locked.html")]
struct Locked {
    title: String,
    test_money: bool,
}

fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What a browser without the token sees.
pub(super) fn locked() -> Response {
    render(&Locked { title: "Locked".into(), test_money: false })
}

pub(super) async fn home(State(app): State<App>) -> Result<Response, routes::Failure> {
    let body = home_body(&app).await?;
    Ok(render(&Home { test_money: body.node.test_money, title: "Node".into(), body }))
}

pub(super) async fn home_fragment(State(app): State<App>) -> Result<Response, routes::Failure> {
    Ok(render(&home_body(&app).await?))
}

async fn home_body(app: &App) -> Result<HomeBody, routes::Failure> {
    let node = app.facts.node().await;
    let jobs = routes::both(app, SHOWN).await?;
    let ledger = view::ledger(app.reader.ledger(SHOWN)?, app.reader.net_msat()?, None);
    let lines = ledger.lines.into_iter().map(|line| Movement {
        short: short(&line.job.to_hex()),
        amount: signed(line.msat),
        when: clock(line.at),
        line,
    });
    Ok(HomeBody {
        balance: node.wallet.as_ref().and_then(|wallet| wallet.balance_msat).map(sats),
        jobs: jobs.into_iter().map(row).collect(),
        lines: lines.collect(),
        net: signed(ledger.net_msat),
        node,
    })
}

pub(super) async fn job(State(app): State<App>, Path(id): Path<String>) -> Result<Response, routes::Failure> {
    let node = app.facts.node().await;
    let Some(job) = routes::find(&app, &id).await? else {
        let message = "There is no such job here.";
        let next = "See all jobs at /.";
        return Ok((StatusCode::NOT_FOUND, routes::problem("not-found", message, "No money moved.", next))
            .into_response());
    };
    let content = app.reader.content(job.id)?;
    let amount = |msat: Option<u64>| msat.map_or_else(|| "–".into(), sats);
    Ok(render(&JobPage {
        title: format!("Job {}", short(&job.id.to_hex())),
        test_money: node.test_money,
        result: content.map(|text| view::clean(&text, RESULT_SHOWN)),
        price: amount(job.price_msat),
        bid: amount(job.bid_msat),
        paid: sats(job.paid_msat),
        row: row(job),
    }))
}

fn row(job: JobView) -> Row {
    let (symbol, tone) = look(&job.state);
    Row {
        short: short(&job.id.to_hex()),
        symbol,
        tone,
        amount: job.price_msat.map_or_else(|| "–".into(), sats),
        when: clock(job.asked_at),
        job,
    }
}

/// A symbol and a tone for a state; the word itself stands beside them.
fn look(state: &str) -> (&'static str, &'static str) {
    match state {
        "settled" | "delivered" => ("✓", "good"),
        "running" | "queued" | "paying" => ("▶", "busy"),
        "failed" | "unpaid" | "refused" | "no-offer" => ("✕", "bad"),
        "refunded" | "returning" | "refund-owed" | "refunding" | "abandoning" => ("↩", "warn"),
        "cancelled" | "expired" | "lapsing" => ("–", "quiet"),
        _ => ("…", "busy"),
    }
}

fn short(hex: &str) -> String {
    hex.chars().take(8).collect()
}

/// `1 234 sat`, with thin spaces; fractions of a satoshi as `.5`.
fn sats(msat: u64) -> String {
    let whole = (msat / 1_000).to_string();
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push('\u{2009}');
        }
        grouped.push(digit);
    }
    match msat % 1_000 {
        0 => format!("{grouped} sat"),
        rest => format!("{grouped}.{} sat", format!("{rest:03}").trim_end_matches('0')),
    }
}

fn signed(msat: i64) -> String {
    let sign = if msat < 0 { "−" } else { "+" };
    format!("{sign}{}", sats(msat.unsigned_abs()))
}

/// A time as `2026-11-23 21:05:33` (UTC).
fn clock(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3_600, rest % 3_600 / 60, rest % 60)
}

/// The civil date of a day since the epoch: Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", days from civil, turned around.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_grouped_and_exact() {
        assert_eq!(sats(0), "0 sat");
        assert_eq!(sats(1_234_567_000), "1\u{2009}234\u{2009}567 sat");
        assert_eq!(sats(1_500), "1.5 sat");
        assert_eq!(signed(-2_001), "−2.001 sat");
    }

    #[test]
    fn times_are_civil() {
        assert_eq!(clock(0), "1970-01-01 00:00:00");
        assert_eq!(clock(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(clock(1_795_468_799_000), "2026-11-23 21:19:59");
    }
}
