//! Receipts for those who ask: as views, one or many, and made public.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use openagents_api::{DisputeView, PublishedReceipt, ReceiptQuery, ReceiptView, Side};
use openagents_engine::receipt::Dispute;
use openagents_types::JobId;
use serde_json::{Value, json};

use super::{App, routes::Failure, view::clean};
use crate::store::ReceiptRow;

/// A receipt as it is shown. What strangers named is without what terminals and browsers obey; the proof is
/// as it was signed.
pub(super) fn view(row: &ReceiptRow) -> ReceiptView {
    let mut receipt = row.receipt.clone();
    receipt.usage.backend = clean(&receipt.usage.backend, 60);
    receipt.usage.model = receipt.usage.model.map(|model| clean(&model, 60));
    receipt.usage.digest = receipt.usage.digest.map(|digest| clean(&digest, 80));
    let event = |json: &Option<String>| {
        json.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok()).unwrap_or(Value::Null)
    };
    ReceiptView {
        seq: row.seq,
        side: row.side,
        state: word(row).into(),
        receipt,
        dispute: row.dispute.as_ref().map(dispute),
        proof: json!({
            "body": row.body, "receipt": event(&row.signed), "countersignature": event(&row.countersigned),
        }),
    }
}

const fn word(row: &ReceiptRow) -> &'static str {
    if row.dispute.is_some() {
        "disputed"
    } else if row.countersigned.is_some() {
        "countersigned"
    } else {
        "issued"
    }
}

fn dispute(dispute: &Dispute) -> DisputeView {
    let Dispute { field, says, known } = dispute;
    DisputeView { field: clean(field, 40), says: clean(says, 200), known: clean(known, 200) }
}

/// A query as it came.
type Asked = Result<Query<ReceiptQuery>, QueryRejection>;

fn wanted(query: &Asked) -> Result<ReceiptQuery, Failure> {
    let message =
        "The query takes `side`, which is `sold` or `bought`; `after`, the `seq` of a receipt; and `limit`.";
    query.as_ref().map(|Query(wanted)| *wanted).map_err(|_| Failure::bad_request(message))
}

fn job(id: &str) -> Result<JobId, Failure> {
    id.parse().map_err(|_| Failure::bad_request("A job id has 64 hexadecimal digits."))
}

fn unknown() -> Failure {
    Failure::not_found("There is no receipt for this job here.")
}

pub(super) async fn list(State(app): State<App>, query: Asked) -> Result<Json<Vec<ReceiptView>>, Failure> {
    let (wanted, archive) = (wanted(&query)?, app.archive().await);
    let read = tokio::task::spawn_blocking(move || archive.receipts(&wanted, 100));
    Ok(Json(read.await.unwrap_or_else(|_| Ok(Vec::new()))?))
}

pub(super) async fn one(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Asked,
) -> Result<Json<ReceiptView>, Failure> {
    let (job, side) = (job(&id)?, wanted(&query)?.side);
    app.archive().await.receipt(job, side)?.map(Json).ok_or_else(unknown)
}

pub(super) async fn publish(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Asked,
) -> Result<Json<PublishedReceipt>, Failure> {
    let (job, side) = (job(&id)?, wanted(&query)?.side);
    let found = app.archive().await.receipt(job, side)?.ok_or_else(unknown)?;
    let event = app.desk.publish_receipt(job, found.side).await?;
    Ok(Json(PublishedReceipt { job, event }))
}

/// What the page of a job says about its receipt.
pub(super) fn sentence(receipt: &ReceiptView) -> String {
    match (&receipt.dispute, receipt.side, receipt.state.as_str()) {
        (Some(dispute), ..) => format!(
            "Disputed: it says {} is {}, our records say {}. It is kept and not countersigned.",
            dispute.field, dispute.says, dispute.known
        ),
        (None, _, "countersigned") => "Signed by the provider and countersigned by the customer.".into(),
        (None, Side::Sold, _) => "Signed by us; the customer has not countersigned.".into(),
        (None, Side::Bought, _) => "Signed by the provider.".into(),
    }
}
