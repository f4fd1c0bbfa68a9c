//! `openagents wallet pay`: pays what was pasted, once it is read, shown and confirmed.

use std::{
    io::{BufRead, IsTerminal, Write},
    time::Duration,
};

use clap::Args;
use openagents_api::{Client, ClientError, DestinationBody, DestinationView, PayBody};
use openagents_node::home::Home;
use openagents_types::Msat;

use super::transfer;
use crate::{args::Global, exit::Exit, failure::Failure, link, show, stop::Stop, text::one_line};

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
    crate::cmd::wait(async move {
        // Heard from here on, so that whoever stops it is told whether money may have moved.
        let mut stop = Stop::listen()?;
        let client = link::connect(home)?;
        let found = tokio::select! {
            () = stop.next() => return Err(stopped_in_time().into()),
            found = looked_at(&client, args) => found?,
        };
        let begun = match &found.known {
            Some(known) => {
                show::talk("this invoice was paid by hand before; it is not sent again");
                known.clone()
            }
            None => {
                confirm(&found, args, &mut stop).await?;
                let body = body(&found, args);
                tokio::select! {
                    () = stop.next() => return Err(stopped_too_late(&found.hash).into()),
                    begun = client.pay(&body) => begun.map_err(|error| uncertain(error, &found.hash))?,
                }
            }
        };
        let followed = transfer::follow(&client, begun, Some(PATIENCE), &mut stop).await;
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

/// What would be paid.
async fn looked_at(client: &Client, args: &PayArgs) -> Result<DestinationView, ClientError> {
    let wanted = DestinationBody {
        to: args.to.clone(),
        amount_msat: args.amount.map(Msat::get),
        comment: args.comment.clone(),
    };
    client.destination(&wanted).await
}

/// Stopped before the node was told to pay.
fn stopped_in_time() -> Failure {
    Failure {
        exit: Exit::Interrupted,
        what: "stopped before anything was paid".into(),
        money: "no money moved".into(),
        next: "repeat the command to pay after all".into(),
    }
}

/// Stopped when the node had been told to pay, and had not answered.
fn stopped_too_late(hash: &str) -> Failure {
    unknown_end(format!("stopped while the node was told to make payment {}", one_line(hash, 64)))
}

fn unknown_end(what: String) -> Failure {
    Failure {
        exit: Exit::Pending,
        what,
        money: "it may be under way, funds safe: it arrives, or it comes back".into(),
        next: "see how it stands with `openagents wallet history --books --pending` while a node runs; do not pay again before".into(),
    }
}

/// A node that breaks off after it was told to pay may have sent the payment, and will follow it after its next start.
fn uncertain(error: ClientError, hash: &str) -> anyhow::Error {
    if matches!(error, ClientError::Refused(_)) {
        return error.into();
    }
    let hash = one_line(hash, 64);
    unknown_end(format!("{error}; whether payment {hash} was sent is not known here")).into()
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
async fn confirm(found: &DestinationView, args: &PayArgs, stop: &mut Stop) -> anyhow::Result<()> {
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
    let answer = tokio::select! {
        () = stop.next() => {
            show::talk("");
            return Err(stopped_in_time().into());
        }
        answer = typed() => answer?,
    };
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Exit::Refused, "it was not confirmed", "repeat the command to pay after all").into())
    }
}

/// A line from the terminal, read by a thread of its own: nothing can call back who waits there, and it ends with the
/// program.
async fn typed() -> std::io::Result<String> {
    let (told, heard) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line).map(|_| line);
        // Whoever asked may have been stopped meanwhile.
        let _ = told.send(read);
    });
    heard.await.unwrap_or_else(|_| Ok(String::new()))
}
