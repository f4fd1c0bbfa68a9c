//! `openagents wallet history`: what went in and out.

use openagents_api::{SCHEMA_VERSION, TransactionView};
use openagents_node::home::Home;
use openagents_types::Msat;
use serde_json::json;

use crate::{
    args::Global,
    exit::Exit,
    link, show,
    tables::{ago, now_ms, table},
    text::one_line,
};

/// Does it.
pub(super) fn run(global: &Global, home: &Home, limit: u32) -> anyhow::Result<Exit> {
    let client = link::connect(home)?;
    let transactions = crate::cmd::wait(async { Ok(client.history(limit).await?) })?;
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "transactions": transactions }))?;
        return Ok(Exit::Ok);
    }
    if transactions.is_empty() {
        show::talk("nothing went in or out yet");
        return Ok(Exit::Ok);
    }
    let now = now_ms();
    let rows: Vec<Vec<String>> = transactions.iter().map(|row| cells(row, now)).collect();
    show::line(&table(&["when", "way", "amount", "fee", "state", "hash", "for"], &rows))?;
    Ok(Exit::Ok)
}

fn cells(row: &TransactionView, now: u64) -> Vec<String> {
    vec![
        ago(now, row.at),
        one_line(&row.direction, 4),
        Msat::new(row.amount_msat).to_string(),
        Msat::new(row.fee_msat).to_string(),
        one_line(&row.state, 12),
        one_line(&row.hash, 12),
        one_line(&row.description, 40),
    ]
}
