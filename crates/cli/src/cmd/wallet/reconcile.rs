//! `openagents wallet reconcile`: books against wallet, and what was done where the books did not know.

use clap::Args;
use openagents_api::{DifferenceView, ReconcileView, ReconciledView, Side};
use openagents_node::home::Home;
use openagents_types::Msat;

use crate::{args::Global, exit::Exit, link, show, tables::table, text::one_line};

/// How many hexadecimal digits of a name are shown.
const SHORT: usize = 12;

/// What reconciling means.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  openagents wallet reconcile\n  openagents wallet reconcile --json",
    after_help = "Every payment whose end the books do not know is asked of the wallet and settled, returned or sent \
        again by the node's own rules. What books and wallet say differently is listed and never touched; \
        then the exit code is 1. A node does the first part by itself at every start."
)]
pub(crate) struct ReconcileArgs {}

/// Does it.
pub(super) fn run(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    let client = link::connect(home)?;
    let view = crate::cmd::wait(async { Ok(client.reconcile().await?) })?;
    if global.json {
        show::json(&view)?;
    } else {
        tell(&view)?;
    }
    Ok(if view.agree { Exit::Ok } else { Exit::Error })
}

fn tell(view: &ReconcileView) -> anyhow::Result<()> {
    if !view.payments.is_empty() {
        let rows: Vec<Vec<String>> = view.payments.iter().map(payment).collect();
        show::line(&table(&["job", "side", "way", "amount", "books", "wallet", "now", "hash"], &rows))?;
    }
    if !view.differences.is_empty() {
        let rows: Vec<Vec<String>> = view.differences.iter().map(difference).collect();
        show::line(&table(&["differs", "way", "books", "wallet", "job", "hash", "for"], &rows))?;
    }
    show::line(&verdict(view))?;
    Ok(())
}

fn verdict(view: &ReconcileView) -> String {
    let compared = count(view.compared, "payment");
    let open = |direction| {
        let open = view.payments.iter().filter(move |payment| {
            payment.direction == direction && matches!(payment.done.as_str(), "sent again" | "still pending")
        });
        open.count()
    };
    let pending = match (open("out"), open("in")) {
        (0, 0) => String::new(),
        (out, 0) => format!("; {out} pending, funds safe"),
        (0, ours) => format!("; {ours} of our invoices not settled yet"),
        (out, ours) => format!("; {out} pending, funds safe; {ours} of our invoices not settled yet"),
    };
    if view.agree {
        format!("books and wallet agree: {compared} compared{pending}")
    } else {
        let different = count(view.differences.len(), "difference");
        format!(
            "books and wallet do not agree: {different}, {compared} compared{pending}; nothing was touched"
        )
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn payment(payment: &ReconciledView) -> Vec<String> {
    vec![
        payment.job.map_or_else(|| "by hand".into(), |job| job.to_hex()[..SHORT].to_owned()),
        payment.side.map_or("-", Side::word).to_owned(),
        one_line(&payment.direction, 4),
        Msat::new(payment.amount_msat).to_string(),
        one_line(&payment.books, 14),
        one_line(&payment.wallet, 14),
        one_line(&payment.done, 14),
        one_line(&payment.hash, SHORT),
    ]
}

fn difference(difference: &DifferenceView) -> Vec<String> {
    let amount = |msat: Option<u64>| msat.map_or_else(|| "-".into(), |msat| Msat::new(msat).to_string());
    vec![
        one_line(&difference.what, 14),
        one_line(&difference.direction, 4),
        amount(difference.books_msat),
        amount(difference.wallet_msat),
        difference.job.map_or_else(|| "-".into(), |job| job.to_hex()[..SHORT].to_owned()),
        one_line(&difference.hash, SHORT),
        one_line(&difference.description, 40),
    ]
}
