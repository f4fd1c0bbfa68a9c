//! What we keep for customers, as the API tells it.

use axum::{Json, extract::State};
use openagents_api::{BalanceView, BalancesView, SCHEMA_VERSION};
use openagents_types::Msat;

use super::{App, routes::Failure};
use crate::store::{Account, BalanceRow};

pub(super) async fn balances(State(app): State<App>) -> Result<Json<BalancesView>, Failure> {
    let rows = app.reader.balances(Account::Kept)?;
    let unpaid = app.reader.balances(Account::Unpaid)?.iter().map(view).collect();
    let total: Msat = rows.iter().map(|row| row.amount).sum();
    let balances = rows.iter().map(view).collect();
    Ok(Json(BalancesView { schema_version: SCHEMA_VERSION, total_msat: total.get(), balances, unpaid }))
}

fn view(row: &BalanceRow) -> BalanceView {
    BalanceView {
        customer: row.customer.to_hex(),
        msat: row.amount.get(),
        changed_at: row.changed_at.millis(),
        job: row.job,
    }
}
