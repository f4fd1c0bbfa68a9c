//! `openagents provider balances`: what is kept for customers' next jobs.

use nostr::{PublicKey, ToBech32};
use openagents_api::{BalanceView, BalancesView};
use openagents_types::Msat;

use crate::{
    args::Global,
    exit::Exit,
    link, show,
    tables::{ago, now_ms, table},
};

pub(super) fn run(global: &Global) -> anyhow::Result<Exit> {
    let client = link::connect(&link::home(global)?)?;
    let view = crate::cmd::wait(async { Ok(client.balances().await?) })?;
    if global.json {
        show::json(&view)?;
    } else {
        show::line(&text(&view, now_ms()))?;
    }
    Ok(Exit::Ok)
}

fn text(view: &BalancesView, now: u64) -> String {
    let total = Msat::new(view.total_msat);
    let kept = match view.balances.is_empty() {
        true => "nothing is kept for customers".into(),
        false => {
            let rows = listed("balance", &view.balances, now);
            format!("{rows}\n\n{total} in all: in the wallet, and owed")
        }
    };
    match view.unpaid.is_empty() {
        true => kept,
        false => format!("{kept}\n\n{}", listed("not paid in time", &view.unpaid, now)),
    }
}

fn listed(heading: &str, balances: &[BalanceView], now: u64) -> String {
    let row = |balance: &BalanceView| {
        vec![npub(&balance.customer), Msat::new(balance.msat).to_string(), ago(now, balance.changed_at)]
    };
    let rows: Vec<_> = balances.iter().map(row).collect();
    table(&["customer", heading, "changed"], &rows)
}

fn npub(hex: &str) -> String {
    PublicKey::from_hex(hex).ok().and_then(|key| key.to_bech32().ok()).unwrap_or_else(|| hex.into())
}

#[cfg(test)]
mod tests {
    use openagents_types::JobId;

    use super::*;

    #[test]
    fn balances_are_listed_with_their_sum() {
        let balance = |key: &str, msat| BalanceView {
            customer: key.into(),
            msat,
            changed_at: 60_000,
            job: JobId::from_bytes([1; 32]),
        };
        let key = "84dee6e676e5bb67b4ad4e042cf70cbd8681155db535942fcc6a0533858a7240";
        let balances = vec![balance(key, 7_000), balance("?", 500)];
        let said = text(
            &BalancesView {
                schema_version: 1,
                total_msat: 7_500,
                balances,
                unpaid: vec![balance(key, 9_000)],
            },
            120_000,
        );
        assert!(
            said.contains("npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9  7 sat"),
            "{said}"
        );
        assert!(said.contains("1m ago") && said.contains("7.5 sat in all"), "{said}");
        assert!(said.contains("not paid in time") && said.contains("9 sat"), "{said}");
    }
}
