//! `openagents wallet pay`: pays what was pasted, once it is read, shown and confirmed.

use std::{
    io::{BufRead, IsTerminal, Write},
    time::Duration,
};

use clap::Args;
use openagents_api::{ClientError, DestinationBody, DestinationView, PayBody};
use openagents_node::home::Home;
use openagents_types::Msat;

use super::transfer;
use crate::{args::Global, exit::Exit, failure::Failure, link, show, text::one_line};

/// How long an arriving payment is waited for; a longer one is followed by the node alone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to pay.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  openagents wallet pay lnbc210n1...\n  \
        openagents wallet pay ann@example.com --amount 21sat --comment thanks\n  \
        openagents wallet pay lnurl1... --amount 21sat --yes --json",
    after_help = "What comes from an LNURL's server is checked before anything is paid: the amount to the millisatoshi, \
        what it is for, the network and how long it can be paid. The payment is written down before it is sent, counts \
        against customer.daily_limit_msat, and the same invoice is never paid twice: asked again, this says how it \
        stands. Exit codes: openagents help exit-codes"
)]
pub(crate) struct PayArgs {
    /// A Lightning invoice, an LNURL, a Lightning address (name@host), or a bitcoin: address with one of them in it
    #[arg(value_name = "INVOICE|LNURL|ADDRESS")]
    to: String,
    /// How much, where the payer chooses: 21sat, or 21000 in millisatoshis
    #[arg(long, value_name = "AMOUNT")]
    amount: Option<Msat>,
    /// A word to the receiver, where one is taken
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    /// The most that routing may cost on top [default: customer.max_fee_msat]
    #[arg(long, value_name = "AMOUNT")]
    max_fee: Option<Msat>,
    /// Pay without asking
    #[arg(long)]
    yes: bool,
}

/// Does it.
pub(super) fn run(global: &Global, home: &Home, args: &PayArgs) -> anyhow::Result<Exit> {
    let client = link::connect(home)?;
    let wanted = DestinationBody {
        to: args.to.clone(),
        amount_msat: args.amount.map(Msat::get),
        comment: args.comment.clone(),
    };
    crate::cmd::wait(async move {
        let found = client.destination(&wanted).await?;
        let begun = match &found.known {
            Some(known) => {
                show::talk("this invoice was paid by hand before; it is not sent again");
                known.clone()
            }
            None => {
                confirm(&found, args)?;
                client.pay(&body(&found, args)).await.map_err(|error| uncertain(error, &found.hash))?
            }
        };
        let followed = transfer::follow(&client, begun, Some(PATIENCE)).await;
        let view = followed.map_err(|error| match error.downcast::<ClientError>() {
            Ok(error) => uncertain(error, &found.hash),
            Err(error) => error,
        })?;
        if global.json {
            show::json(&view)?;
            Ok(transfer::exit(&view))
        } else {
            transfer::tell_sent(&view)
        }
    })
}

/// A node that breaks off after it was told to pay may have sent the payment, and will follow it after its next start.
fn uncertain(error: ClientError, hash: &str) -> anyhow::Error {
    if matches!(error, ClientError::Refused(_)) {
        return error.into();
    }
    let hash = one_line(hash, 64);
    Failure {
        exit: Exit::Pending,
        what: format!("{error}; whether payment {hash} was sent is not known here"),
        money: "it may be under way, funds safe: it arrives, or it comes back".into(),
        next: "start the node, then see how it stands with `openagents wallet history --books --pending`; do not pay again before".into(),
    }
    .into()
}

fn body(found: &DestinationView, args: &PayArgs) -> PayBody {
    let about = match (&found.to, found.description.is_empty()) {
        (Some(to), true) => to.clone(),
        (Some(to), false) => format!("{to}: {}", found.description),
        (None, _) => found.description.clone(),
    };
    PayBody { bolt11: found.bolt11.clone(), about, max_fee_msat: args.max_fee.map(Msat::get) }
}

/// Shows what would be paid, and asks unless that was said already.
fn confirm(found: &DestinationView, args: &PayArgs) -> anyhow::Result<()> {
    let fee = args.max_fee.unwrap_or(Msat::new(found.max_fee_msat));
    let to = found.to.as_deref().map_or_else(String::new, |to| format!(" to {}", one_line(to, 80)));
    show::talk(&format!("pays {}{to}, and at most {fee} for routing", Msat::new(found.amount_msat)));
    if !found.description.is_empty() {
        show::talk(&format!("for: {}", one_line(&found.description, 160)));
    }
    if args.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let next = "add --yes if a script has to pay";
        return Err(Failure::usage("nobody is at a terminal to confirm the payment", next).into());
    }
    let _ = write!(std::io::stderr().lock(), "pay? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Exit::Refused, "it was not confirmed", "repeat the command to pay after all").into())
    }
}
