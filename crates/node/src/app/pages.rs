//! The pages: templates filled with views. Everything works without JavaScript.

use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use openagents_api::{JobView, Listing, NodeView, ReceiptView, Side};
use openagents_policy::Category;
use openagents_types::JobKind;

use super::{App, receipts, routes, view};
use crate::clock;

/// Jobs and movements shown on the first page.
const SHOWN: u32 = 40;

/// Result text shown on a page, in characters: with all else it stays below 100 kB.
const RESULT_SHOWN: usize = 20_000;

/// A result longer than this is folded, in characters.
const RESULT_OPEN: usize = 3_000;

/// A point in time, for people and for machines.
#[derive(Debug)]
struct When {
    /// `5 min ago`.
    ago: String,
    /// `2026-11-23 21:05:33`, in UTC.
    exact: String,
    /// `2026-11-23T21:05:33Z`.
    machine: String,
}

/// Money, in satoshis for reading and in millisatoshis for checking.
#[derive(Debug)]
struct Amount {
    sats: String,
    msat: String,
}

#[derive(Debug)]
struct Row {
    job: JobView,
    short: String,
    kind: &'static str,
    symbol: &'static str,
    tone: &'static str,
    price: Option<Amount>,
    when: When,
}

#[derive(Debug)]
struct Movement {
    what: &'static str,
    /// The job; `None` for a payment by hand.
    job: Option<Of>,
    amount: Amount,
    leaves: bool,
    when: When,
}

/// Which job a movement is of.
#[derive(Debug)]
struct Of {
    side: Side,
    job: String,
    short: String,
}

#[derive(Debug)]
struct Offer {
    kind: &'static str,
    number: JobKind,
    backend: String,
    price: String,
}

/// What the acceptable-use policy refused.
#[derive(Debug)]
struct Refused {
    total: u64,
    by_category: Vec<(&'static str, u64)>,
}

#[derive(Debug)]
struct Stage {
    word: String,
    when: When,
}

#[derive(Debug)]
struct Bid {
    provider: String,
    price: Amount,
    eta: Option<String>,
    rails: Vec<String>,
}

#[derive(Debug)]
struct Output {
    text: String,
    characters: usize,
    folded: bool,
    cut: bool,
}

/// What a receipt says that the rest of the page does not.
#[derive(Debug)]
struct Signed {
    state: String,
    sentence: String,
    work: String,
    settled: When,
}

/// What every page has around its content.
#[derive(Debug)]
struct Frame {
    title: String,
    test_money: bool,
    node: Option<String>,
}

#[derive(Debug, Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    body: HomeBody,
}

#[derive(Debug, Template)]
#[template(path = "home_body.html")]
struct HomeBody {
    since: When,
    balance: Option<Amount>,
    offers: Vec<Offer>,
    open: usize,
    jobs: Vec<Row>,
    lines: Vec<Movement>,
    net: Amount,
    refused: Option<Refused>,
    node: NodeView,
}

#[derive(Debug, Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    body: JobBody,
}

#[derive(Debug, Template)]
#[template(path = "job_body.html")]
struct JobBody {
    row: Row,
    changed: When,
    stages: Vec<Stage>,
    bid: Option<Amount>,
    paid: Amount,
    fee: Option<Amount>,
    in_flight: Option<Amount>,
    offers: Vec<Bid>,
    result: Option<Output>,
    receipt: Option<Signed>,
}

#[derive(Debug, Template)]
#[template(path = "locked.html")]
struct Locked {
    frame: Frame,
}

#[derive(Debug, Template)]
#[template(path = "missing.html")]
struct Missing {
    frame: Frame,
    message: &'static str,
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

impl Frame {
    fn bare(title: &str) -> Self {
        Self { title: title.into(), test_money: false, node: None }
    }

    fn of(title: String, node: &NodeView) -> Self {
        Self { title, test_money: node.test_money, node: Some(short_npub(&node.npub)) }
    }
}

/// What a browser without the token sees.
pub(super) fn locked() -> Response {
    render(&Locked { frame: Frame::bare("Locked") })
}

/// What a browser sees where there is nothing.
pub(super) fn missing(message: &'static str) -> Response {
    render(&Missing { frame: Frame::bare("Not found"), message })
}

pub(super) async fn home(State(app): State<App>) -> Result<Response, routes::Failure> {
    let body = home_body(&app).await?;
    Ok(render(&Home { frame: Frame::of("Node".into(), &body.node), body }))
}

pub(super) async fn home_fragment(State(app): State<App>) -> Result<Response, routes::Failure> {
    Ok(render(&home_body(&app).await?))
}

async fn home_body(app: &App) -> Result<HomeBody, routes::Failure> {
    let now = clock::now().millis();
    let node = view::node(app.facts.node().await);
    let jobs = routes::list(app, Listing::default(), SHOWN).await?;
    let ledger = view::ledger(app.reader.ledger(SHOWN)?, app.reader.net_msat()?, None);
    Ok(HomeBody {
        since: When::new(now, node.started_at),
        balance: node.wallet.as_ref().and_then(|wallet| wallet.balance_msat).map(Amount::new),
        offers: offers(&node),
        open: jobs.iter().filter(|job| job.open).count(),
        jobs: jobs.into_iter().map(|job| Row::new(now, job)).collect(),
        lines: ledger.lines.iter().map(|line| Movement::new(now, line)).collect(),
        net: Amount::signed(ledger.net_msat),
        refused: Refused::of(app.reader.denied()?),
        node,
    })
}

fn offers(node: &NodeView) -> Vec<Offer> {
    let offers = node.provider.iter().flat_map(|provider| &provider.offers);
    offers
        .map(|offer| Offer {
            kind: kind_name(offer.kind),
            number: offer.kind,
            backend: view::clean(&offer.backend, 40),
            price: match (offer.base_msat, offer.per_kib_msat) {
                (0, 0) => "free".into(),
                (base, 0) => sats(base),
                (base, more) => format!("{} + {} per KiB", sats(base), sats(more)),
            },
        })
        .collect()
}

pub(super) async fn job(
    State(app): State<App>,
    Path(id): Path<String>,
    query: routes::ListQuery,
) -> Result<Response, routes::Failure> {
    let Some(body) = job_body(&app, &id, query).await? else {
        return Ok((StatusCode::NOT_FOUND, missing("There is no such job on this node")).into_response());
    };
    let frame = Frame::of(format!("Job {}", body.row.short), &app.facts.node().await);
    Ok(render(&JobPage { frame, body }))
}

pub(super) async fn job_fragment(
    State(app): State<App>,
    Path(id): Path<String>,
    query: routes::ListQuery,
) -> Result<Response, routes::Failure> {
    match job_body(&app, &id, query).await? {
        Some(body) => Ok(render(&body)),
        None => Ok(StatusCode::NOT_FOUND.into_response()),
    }
}

async fn job_body(app: &App, id: &str, query: routes::ListQuery) -> Result<Option<JobBody>, routes::Failure> {
    let side = routes::listing(&query)?.side;
    let now = clock::now().millis();
    let Some(job) = routes::find(app, id, side).await? else { return Ok(None) };
    let receipt = app.reader.receipt(job.id, job.side)?.map(|row| Signed::new(now, &receipts::view(&row)));
    let result = if job.side == Side::Bought { app.reader.content(job.id)? } else { None };
    let some = |msat: u64| (msat > 0).then(|| Amount::new(msat));
    Ok(Some(JobBody {
        changed: When::new(now, job.changed_at),
        stages: job
            .steps
            .iter()
            .map(|step| Stage { word: step.state.clone(), when: When::new(now, step.at) })
            .collect(),
        bid: job.bid_msat.map(Amount::new),
        paid: Amount::new(job.paid_msat),
        fee: some(job.fee_msat),
        in_flight: some(job.in_flight_msat),
        offers: job.quotes.iter().map(Bid::new).collect(),
        result: result.as_deref().map(Output::new),
        receipt,
        row: Row::new(now, job),
    }))
}

impl Row {
    fn new(now: u64, job: JobView) -> Self {
        let (symbol, tone) = look(&job.state);
        Self {
            short: short(&job.id.to_hex()),
            kind: kind_name(job.kind),
            symbol,
            tone,
            price: job.price_msat.map(Amount::new),
            when: When::new(now, job.asked_at),
            job,
        }
    }

    /// What its money is to us.
    fn paid_word(&self) -> &'static str {
        match self.job.side {
            Side::Sold => "Received",
            Side::Bought => "Paid",
        }
    }

    /// What we did with the job.
    fn verb(&self) -> &'static str {
        match self.job.side {
            Side::Sold => "Sell",
            Side::Bought => "Buy",
        }
    }
}

impl Refused {
    /// Nothing where nothing was refused.
    fn of(denied: Vec<(Category, u64)>) -> Option<Self> {
        let total = denied.iter().map(|(_, count)| count).sum();
        let by_category =
            denied.into_iter().map(|(category, count)| (category.display_name(), count)).collect();
        (total > 0).then_some(Self { total, by_category })
    }
}

impl Movement {
    fn new(now: u64, line: &openagents_api::LedgerLine) -> Self {
        let side = movement_side(&line.movement);
        let of = |job: openagents_types::JobId| Of { side, job: job.to_hex(), short: short(&job.to_hex()) };
        Self {
            what: movement_name(&line.movement),
            job: line.job.map(of),
            amount: Amount::signed(line.msat),
            leaves: line.msat < 0,
            when: When::new(now, line.at),
        }
    }
}

impl Bid {
    fn new(quote: &openagents_api::QuoteView) -> Self {
        Self {
            provider: quote.provider.to_hex(),
            price: Amount::new(quote.price_msat),
            eta: quote.eta_ms.map(|eta| openagents_types::Millis(eta).to_string()),
            rails: quote.rails.iter().map(|rail| rail.words.clone()).collect(),
        }
    }
}

impl Signed {
    fn new(now: u64, view: &ReceiptView) -> Self {
        let usage = &view.receipt.usage;
        let digest = usage.digest.as_ref().map(|digest| digest.chars().take(19).collect());
        let named = [Some(usage.backend.clone()), usage.model.clone(), digest];
        let by = named.into_iter().flatten().collect::<Vec<_>>().join(", ");
        Self {
            state: view.state.clone(),
            sentence: receipts::sentence(view),
            work: format!(
                "{by}: {} read, {} written, {}",
                usage.input_tokens, usage.output_tokens, usage.elapsed
            ),
            settled: When::new(now, view.receipt.settled_at.millis()),
        }
    }
}

impl Output {
    fn new(content: &str) -> Self {
        let characters = content.chars().count();
        Self {
            text: view::clean(content, RESULT_SHOWN),
            characters,
            folded: characters > RESULT_OPEN,
            cut: characters > RESULT_SHOWN,
        }
    }
}

impl Amount {
    fn new(msat: u64) -> Self {
        Self { sats: sats(msat), msat: format!("{msat} msat") }
    }

    fn signed(msat: i64) -> Self {
        Self { sats: signed(msat), msat: format!("{msat} msat") }
    }
}

impl When {
    fn new(now: u64, at: u64) -> Self {
        let exact = civil(at);
        Self { ago: ago(now.saturating_sub(at)), machine: format!("{}Z", exact.replace(' ', "T")), exact }
    }
}

/// A symbol and a tone for a state; the word itself stands beside them.
fn look(state: &str) -> (&'static str, &'static str) {
    match state {
        "settled" | "delivered" | "billed" => ("✓", "good"),
        "running" | "queued" | "paying" => ("▶", "busy"),
        "failed" | "unpaid" | "refused" | "no-offer" => ("✕", "bad"),
        "refunded" | "credited" | "returning" | "refund-owed" | "refunding" | "abandoning" => ("↩", "warn"),
        "cancelled" | "expired" | "lapsing" => ("–", "quiet"),
        _ => ("…", "busy"),
    }
}

fn kind_name(kind: JobKind) -> &'static str {
    match kind {
        JobKind::TEXT_EXTRACTION => "text extraction",
        JobKind::SUMMARIZATION => "summary",
        JobKind::TEXT_GENERATION => "text generation",
        _ => openagents_registry::find(kind).map_or("job", |schema| schema.title.as_str()),
    }
}

fn movement_name(movement: &str) -> &'static str {
    match movement {
        "earned" => "Earned",
        "spent" => "Spent",
        "fee" => "Routing fee",
        "refund-paid" => "Refund paid",
        "refund-received" => "Refund received",
        "sent" => "Sent by hand",
        "received" => "Received by hand",
        _ => "Moved",
    }
}

/// The half of the market that moves money so.
fn movement_side(movement: &str) -> Side {
    match movement {
        "earned" | "refund-paid" => Side::Sold,
        _ => Side::Bought,
    }
}

/// `npub1abcdef…uvwxyz`: enough to recognise, little enough for a phone.
fn short_npub(npub: &str) -> String {
    match (npub.get(..12), npub.get(npub.len().saturating_sub(6)..)) {
        (Some(start), Some(end)) if npub.len() > 24 => format!("{start}…{end}"),
        _ => npub.into(),
    }
}

/// How long ago, in the largest unit that is not zero.
fn ago(millis: u64) -> String {
    match millis / 1_000 {
        0..5 => "just now".into(),
        seconds @ 5..60 => format!("{seconds} s ago"),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h ago", seconds / 3_600),
        seconds @ 86_400..172_800 => format!("{} day ago", seconds / 86_400),
        seconds => format!("{} days ago", seconds / 86_400),
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
    let sign = match msat {
        ..0 => "−",
        0 => "",
        1.. => "+",
    };
    format!("{sign}{}", sats(msat.unsigned_abs()))
}

/// A time as `2026-11-23 21:05:33` (UTC).
fn civil(millis: u64) -> String {
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
        assert_eq!([-2_001, 0, 1_000].map(signed), ["−2.001 sat", "0 sat", "+1 sat"]);
    }

    #[test]
    fn a_span_is_told_in_its_largest_unit() {
        let told = [0, 5_000, 59_999, 60_000, 3_599_999, 7_200_000, 86_400_000, 200_000_000].map(ago);
        let expected = [
            "just now",
            "5 s ago",
            "59 s ago",
            "1 min ago",
            "59 min ago",
            "2 h ago",
            "1 day ago",
            "2 days ago",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn times_are_civil() {
        assert_eq!(civil(0), "1970-01-01 00:00:00");
        assert_eq!(civil(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(civil(1_795_471_199_000), "2026-11-23 21:59:59");
    }
}
