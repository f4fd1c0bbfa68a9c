//! Every address of the app and what answers there.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, FromRef, Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use openagents_api::{
    AskBody, AuditQuery, AuditView, Cleared, DestinationBody, DestinationView, JobView, Listing, PayBody,
    Problem, ReceiveBody, ResultView, SCHEMA_VERSION, SeedsView, Side, TestWalletBody, TransferView,
};
use openagents_types::{JobId, PaymentHash};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    App,
    archive::Archive,
    files, guard,
    live::{Gallery, Watcher},
    pages, receipts, view,
};
use crate::store::StoreError;

/// A request's body, at most: a job's inputs with room to spare, in bytes.
const BODY: usize = 1 << 20;

/// How often a job is looked at until what was asked for has happened to it, and how long between: a second
/// in all, after which the answer is how it stands.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(50);

/// What handlers are given.
#[derive(Clone)]
pub(super) struct Ctx {
    pub(super) app: App,
    pub(super) gallery: Gallery,
}

impl FromRef<Ctx> for App {
    fn from_ref(ctx: &Ctx) -> Self {
        ctx.app.clone()
    }
}

pub(super) fn router(app: App) -> Router {
    let ctx = Ctx { app: app.clone(), gallery: Gallery::default() };
    Router::new()
        .route("/", get(pages::home))
        .route("/fragments/home", get(pages::home_fragment))
        .route("/fragments/jobs/{id}", get(pages::job_fragment))
        .route("/jobs/{id}", get(pages::job))
        .route("/assets/app.css", get(|| async { asset("text/css", include_str!("assets/app.css")) }))
        .route("/assets/live.js", get(|| async { asset("text/javascript", include_str!("assets/live.js")) }))
        .route("/favicon.svg", get(|| async { asset("image/svg+xml", include_str!("assets/favicon.svg")) }))
        .route("/{file}", get(files::file).options(files::preflight))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/node", get(node))
        .route("/api/v1/market/ads", get(market_ads))
        .route("/api/v1/jobs", get(jobs).post(ask))
        .route("/api/v1/jobs/{id}", get(job).delete(cancel))
        .route("/api/v1/jobs/{id}/result", get(result))
        .route("/api/v1/receipts", get(receipts::list))
        .route("/api/v1/receipts/{job}", get(receipts::one))
        .route("/api/v1/receipts/{job}/publish", post(receipts::publish))
        .route("/api/v1/ledger", get(ledger))
        .route("/api/v1/provider/balances", get(super::balances::balances))
        .route("/api/v1/wallet/history", get(history))
        .route("/api/v1/wallet/seed/status", get(seeds))
        .route("/api/v1/wallet/reconcile", post(reconcile))
        .route("/api/v1/wallet/destination", post(destination))
        .route("/api/v1/wallet/pay", post(pay))
        .route("/api/v1/wallet/receive", post(receive))
        .route("/api/v1/wallet/payments/{hash}", get(transfer))
        .route("/api/v1/wallet/lightning", post(lightning))
        .route("/api/v1/provider/{order}", post(shift))
        .route("/api/v1/ads", get(ads))
        .route("/api/v1/ads/publish", post(publish_ads))
        .route("/api/v1/ads/verify", get(verify_ads))
        .route("/api/v1/wallet/ecash", post(ecash))
        .route("/api/v1/events", get(events))
        .route("/api/v1/policy/audit", get(audit).delete(clear_audit))
        .route("/api/v1/testnet/wallets", post(testnet_wallet))
        .route("/api/v1/testnet/audit", get(testnet_audit))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(app, guard::guard))
        .with_state(ctx)
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Ready is who can read its own records.
async fn ready(State(app): State<App>) -> Result<&'static str, Failure> {
    app.reader.net_msat()?;
    Ok("ready")
}

pub(super) async fn nothing_here(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return Failure::not_found("There is nothing at this address.").into_response();
    }
    (StatusCode::NOT_FOUND, pages::missing("There is nothing at this address")).into_response()
}

async fn wrong_method() -> Failure {
    let next = "See the manual for what this address takes.";
    let problem = problem("method", "This address does not take that method.", "No money moved.", next);
    Failure(StatusCode::METHOD_NOT_ALLOWED, problem)
}

/// An error as every route words it.
pub(super) fn problem(code: &str, message: &str, money: &str, next: &str) -> Json<Problem> {
    Json(Problem { code: code.into(), message: message.into(), money: money.into(), next: next.into() })
}

/// A route that failed.
pub(super) struct Failure(StatusCode, Json<Problem>);

impl Failure {
    pub(super) fn not_found(message: &str) -> Self {
        let next = "See `openagents jobs list` for what there is.";
        Self(StatusCode::NOT_FOUND, problem("not-found", message, "No money moved.", next))
    }

    fn conflict(message: &str) -> Self {
        let next = "See `openagents jobs show` for how it stands.";
        Self(StatusCode::CONFLICT, problem("conflict", message, "No money moved.", next))
    }

    pub(super) fn bad_request(message: &str) -> Self {
        let next = "Correct the request and send it again.";
        Self(StatusCode::BAD_REQUEST, problem("bad-request", message, "No money moved.", next))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let status = match problem.code.as_str() {
            "no-wallet" => StatusCode::PAYMENT_REQUIRED,
            "no-testnet" | "no-receipt" => StatusCode::NOT_FOUND,
            "receipt" | "no-lightning" | "no-ecash" | "paid-before" | "not-paid" => StatusCode::CONFLICT,
            "wallet" | "lightning" | "ecash" | "lnurl" => StatusCode::BAD_GATEWAY,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, Json(problem))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a page could not be read from the database");
        let message = "The database cannot be read.";
        let (money, next) = ("Money is where it was.", "Run `openagents doctor`.");
        Self(StatusCode::INTERNAL_SERVER_ERROR, problem("store", message, money, next))
    }
}

/// A list's query as it came.
pub(super) type ListQuery = Result<Query<Listing>, QueryRejection>;

/// Reads it.
pub(super) fn listing(query: &ListQuery) -> Result<Listing, Failure> {
    let message = "The query takes `limit`, a number; `side`, which is `sold` or `bought`; `open`, which \
                   is `true` or `false`; and with a side `after`, a job.";
    match query {
        Ok(Query(listing)) if listing.after.is_none() || listing.side.is_some() => Ok(*listing),
        _ => Err(Failure::bad_request(message)),
    }
}

async fn node(State(app): State<App>) -> Json<openagents_api::NodeView> {
    Json(view::node(app.facts.node().await))
}

async fn market_ads(State(app): State<App>) -> Json<Vec<openagents_api::AdView>> {
    Json(app.facts.ads().await)
}

/// Jobs of both halves, or of one, newest first.
pub(super) async fn list(app: &App, wanted: Listing, usual: u32) -> Result<Vec<JobView>, StoreError> {
    let archive = app.archive().await;
    let read = tokio::task::spawn_blocking(move || archive.jobs(&wanted, usual));
    read.await.unwrap_or_else(|_| Ok(Vec::new()))
}

impl App {
    pub(super) async fn archive(&self) -> Archive {
        Archive::new(self.reader.clone(), self.facts.provider_key().await)
    }
}

/// The job named `id`, or by a beginning of it that is no other job's too; where a node bought from
/// itself and no side is named, the bought half.
pub(super) async fn find(app: &App, id: &str, side: Option<Side>) -> Result<Option<JobView>, StoreError> {
    if let Ok(id) = id.parse::<JobId>() {
        return app.archive().await.job(id, side);
    }
    if id.len() < 4 {
        return Ok(None);
    }
    let mut matching: Vec<JobView> = list(app, Listing { side, ..Listing::default() }, 500).await?;
    matching.retain(|job| job.id.to_hex().starts_with(id));
    matching.sort_by_key(|job| job.side == Side::Sold);
    let is_one = matching.windows(2).all(|pair| pair[0].id == pair[1].id);
    Ok(matching.into_iter().next().filter(|_| is_one))
}

async fn jobs(State(app): State<App>, query: ListQuery) -> Result<Json<Vec<JobView>>, Failure> {
    Ok(Json(list(&app, listing(&query)?, 100).await?))
}

async fn job(
    State(app): State<App>,
    Path(id): Path<String>,
    query: ListQuery,
) -> Result<Json<JobView>, Failure> {
    let found = find(&app, &id, listing(&query)?.side).await?;
    found.map(Json).ok_or_else(|| Failure::not_found("There is no such job here."))
}

async fn result(State(app): State<App>, Path(id): Path<String>) -> Result<Json<ResultView>, Failure> {
    let id: JobId = id.parse().map_err(|_| Failure::bad_request("A job id has 64 hexadecimal digits."))?;
    let content =
        app.reader.content(id)?.ok_or_else(|| Failure::not_found("There is no such result here."))?;
    let sha256 = hex::encode(Sha256::digest(content.as_bytes()));
    Ok(Json(ResultView { id, content, sha256 }))
}

fn read_json<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Failure> {
    body.map(|Json(body)| body).map_err(|error| {
        let message = view::clean(&error.body_text(), 300);
        let next = "Send JSON (`content-type: application/json`) in the shape the API documents.";
        Failure(error.status(), problem("bad-request", &message, "No money moved.", next))
    })
}

async fn ask(
    State(app): State<App>,
    body: Result<Json<AskBody>, JsonRejection>,
) -> Result<Json<openagents_api::Asked>, Failure> {
    Ok(Json(app.desk.ask(read_json(body)?).await?))
}

async fn cancel(State(app): State<App>, Path(id): Path<String>) -> Result<Json<JobView>, Failure> {
    let missing = || Failure::not_found("There is no such job here.");
    let found = find(&app, &id, None).await?.ok_or_else(missing)?;
    if found.side == Side::Sold {
        return Err(Failure::conflict("This job is sold here: only its customer can take it back."));
    }
    if !found.open {
        return Err(Failure::conflict(&format!("The job is over already: {}.", found.state)));
    }
    app.desk.cancel(found.id).await?;
    Ok(Json(after_change(&app, found).await?))
}

/// How a job stands once something about it has changed, or after a moment if nothing does.
async fn after_change(app: &App, before: JobView) -> Result<JobView, StoreError> {
    let archive = app.archive().await;
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK).await;
        match archive.job(before.id, Some(before.side))? {
            Some(now) if now.state != before.state => return Ok(now),
            _ => {}
        }
    }
    Ok(before)
}

async fn ledger(
    State(app): State<App>,
    query: ListQuery,
) -> Result<Json<openagents_api::LedgerView>, Failure> {
    Ok(Json(ledger_view(&app, listing(&query)?.limit.unwrap_or(100)).await?))
}

pub(super) async fn ledger_view(app: &App, limit: u32) -> Result<openagents_api::LedgerView, StoreError> {
    let rows = app.reader.ledger(limit)?;
    let balance = app.facts.node().await.wallet.and_then(|wallet| wallet.balance_msat);
    Ok(view::ledger(rows, app.reader.net_msat()?, balance))
}

async fn audit(
    State(app): State<App>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Vec<AuditView>>, Failure> {
    let message =
        "The query takes `since`, in seconds since 1970; `after`, the `seq` of a check; and `limit`.";
    let Ok(Query(wanted)) = query else { return Err(Failure::bad_request(message)) };
    let reader = app.reader.clone();
    let limit = wanted.limit.unwrap_or(500);
    let read = tokio::task::spawn_blocking(move || reader.audit(wanted.since, wanted.after, limit));
    let rows = read.await.unwrap_or_else(|_| Ok(Vec::new()))?;
    Ok(Json(rows.into_iter().map(AuditView::from).collect()))
}

async fn clear_audit(State(app): State<App>) -> Result<Json<Cleared>, Failure> {
    let cleared = app.desk.clear_audit().await?;
    Ok(Json(Cleared { cleared }))
}

async fn history(
    State(app): State<App>,
    query: ListQuery,
) -> Result<Json<Vec<openagents_api::TransactionView>>, Failure> {
    Ok(Json(app.facts.history(listing(&query)?.limit.unwrap_or(50)).await?))
}

async fn seeds(State(app): State<App>) -> Result<Json<SeedsView>, Failure> {
    Ok(Json(SeedsView { schema_version: SCHEMA_VERSION, seeds: app.facts.seeds().await? }))
}

async fn reconcile(State(app): State<App>) -> Result<Json<openagents_api::ReconcileView>, Failure> {
    Ok(Json(app.desk.reconcile().await?))
}

async fn ads(State(app): State<App>) -> Result<Json<openagents_api::AdsView>, Failure> {
    Ok(Json(app.desk.ads().await?))
}

async fn publish_ads(State(app): State<App>) -> Result<Json<openagents_api::AdsReport>, Failure> {
    Ok(Json(app.desk.ads_report(true).await?))
}

async fn verify_ads(State(app): State<App>) -> Result<Json<openagents_api::AdsReport>, Failure> {
    Ok(Json(app.desk.ads_report(false).await?))
}

async fn shift(
    State(app): State<App>,
    Path(order): Path<openagents_api::ShiftOrder>,
) -> Result<Json<openagents_api::NodeView>, Failure> {
    Ok(Json(app.desk.shift(order).await?))
}

async fn destination(
    State(app): State<App>,
    body: Result<Json<DestinationBody>, JsonRejection>,
) -> Result<Json<DestinationView>, Failure> {
    Ok(Json(app.desk.destination(&read_json(body)?).await?))
}

async fn pay(
    State(app): State<App>,
    body: Result<Json<PayBody>, JsonRejection>,
) -> Result<Json<TransferView>, Failure> {
    Ok(Json(app.desk.pay(&read_json(body)?).await?))
}

async fn receive(
    State(app): State<App>,
    body: Result<Json<ReceiveBody>, JsonRejection>,
) -> Result<Json<TransferView>, Failure> {
    Ok(Json(app.desk.receive(&read_json(body)?).await?))
}

async fn transfer(State(app): State<App>, Path(hash): Path<String>) -> Result<Json<TransferView>, Failure> {
    let hash: PaymentHash =
        hash.parse().map_err(|_| Failure::bad_request("A payment hash has 64 hexadecimal digits."))?;
    let found = app.reader.transfer(hash)?;
    let missing = || Failure::not_found("There is no such payment by hand here.");
    found.map(|transfer| Json(crate::hand::view(&transfer))).ok_or_else(missing)
}

async fn events(State(ctx): State<Ctx>, headers: HeaderMap) -> Response {
    let came_back = headers.contains_key("last-event-id");
    let watcher = if came_back { Watcher::Returning } else { Watcher::New };
    match ctx.gallery.watch(&ctx.app.bus, watcher) {
        Some(stream) => stream.into_response(),
        None => {
            let next = "Close another page of this node, or try again later.";
            let body = problem("busy", "Too many watch this node already.", "Money is where it was.", next);
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

#[derive(Debug, Deserialize)]
struct ExtensionBody {
    /// What to do, such as `list_channels`.
    method: String,
    /// With what.
    #[serde(default)]
    params: Value,
}

async fn lightning(
    State(app): State<App>,
    body: Result<Json<ExtensionBody>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let ExtensionBody { method, params } = read_json(body)?;
    Ok(Json(app.desk.lightning(&method, params).await?))
}

async fn ecash(
    State(app): State<App>,
    body: Result<Json<ExtensionBody>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let ExtensionBody { method, params } = read_json(body)?;
    Ok(Json(app.desk.ecash(&method, params).await?))
}

async fn testnet_wallet(
    State(app): State<App>,
    body: Result<Json<TestWalletBody>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let body = read_json(body)?;
    let uri = app.desk.testnet_wallet(&body).await?;
    Ok(Json(json!({ "uri": uri })))
}

async fn testnet_audit(State(app): State<App>) -> Result<Json<Value>, Failure> {
    let audit = app.desk.testnet_audit().await;
    audit.map(Json).ok_or_else(|| Failure::not_found("This node serves no testnet."))
}

/// Prometheus text format.
async fn metrics(State(ctx): State<Ctx>) -> Result<String, Failure> {
    use std::fmt::Write;
    let node = ctx.app.facts.node().await;
    let mut text = String::from("# TYPE openagents_jobs gauge\n");
    for (side, state, count) in &node.counts {
        let _ = writeln!(text, "openagents_jobs{{side=\"{}\",state=\"{state}\"}} {count}", side.word());
    }
    let _ = writeln!(
        text,
        "# TYPE openagents_ledger_net_msat gauge\nopenagents_ledger_net_msat {}",
        ctx.app.reader.net_msat()?
    );
    let _ =
        writeln!(text, "# TYPE openagents_watchers gauge\nopenagents_watchers {}", ctx.gallery.watchers());
    if let Some(provider) = &node.provider {
        let _ = writeln!(text, "# TYPE openagents_queued gauge\nopenagents_queued {}", provider.queued);
        let _ = writeln!(text, "# TYPE openagents_running gauge\nopenagents_running {}", provider.running);
    }
    text.push_str("# TYPE openagents_relay_up gauge\n");
    for relay in &node.relays {
        let (url, up) = (relay.url.replace(['"', '\\', '\n'], ""), u8::from(relay.connected));
        let _ = writeln!(text, "openagents_relay_up{{relay=\"{url}\"}} {up}");
    }
    Ok(text)
}
