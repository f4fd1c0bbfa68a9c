//! `openagents wallet balance`: what the wallet holds, and what of it is under way.

use openagents_api::{SCHEMA_VERSION, WalletView};
use openagents_node::{Archive, home::Home};
use openagents_types::Msat;
use serde_json::json;

use crate::{args::Global, exit::Exit, failure::Failure, link, show, text::one_line};

/// Does it.
pub(super) fn run(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    super::seed::remind(home);
    let client = link::connect(home)?;
    let wallet = crate::cmd::wait(async { Ok(client.node().await?.wallet) })?.ok_or_else(no_wallet)?;
    let pending = pending(home)?;
    if global.json {
        let pending = pending.get();
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "wallet": wallet, "pending_msat": pending }))?;
        return Ok(Exit::Ok);
    }
    show::line(&holds(&wallet))?;
    if !pending.is_zero() {
        show::line(&format!("{pending}  pending, funds safe: settled on delivery, or they come back"))?;
    }
    Ok(Exit::Ok)
}

/// What the books know to be locked or under way, in either direction.
fn pending(home: &Home) -> anyhow::Result<Msat> {
    let pending = Archive::open(home)?.map(|archive| archive.pending()).transpose()?.unwrap_or_default();
    Ok(pending.iter().map(|movement| Msat::new(movement.msat.unsigned_abs())).sum())
}

fn holds(wallet: &WalletView) -> String {
    let balance =
        wallet.balance_msat.map_or_else(|| "does not answer".into(), |msat| Msat::new(msat).to_string());
    let worth = wallet.balance_fiat.as_ref().map_or_else(String::new, |fiat| {
        format!(", worth {} {}", one_line(&fiat.amount, 40), one_line(&fiat.currency, 3))
    });
    format!("{balance}{worth}  {} on {}", one_line(&wallet.alias, 60), one_line(&wallet.network, 20))
}

fn no_wallet() -> Failure {
    Failure::new(Exit::Refused, "this node has no wallet", "connect one with `openagents wallet connect`")
}
