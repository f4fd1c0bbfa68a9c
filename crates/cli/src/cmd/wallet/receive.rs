//! `openagents wallet receive`: an invoice as text and as a QR code, and perhaps the wait for its payment.

use std::io::IsTerminal;

use clap::Args;
use openagents_api::{ReceiveBody, TransferView};
use openagents_node::home::Home;
use openagents_types::Msat;
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use super::transfer;
use crate::{args::Global, exit::Exit, failure::Failure, link, show, stop::Stop};

/// What to receive.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  openagents wallet receive 21sat\n  \
        openagents wallet receive 21sat --description coffee --wait\n  openagents wallet receive 21sat --json",
    after_help = "The invoice can be paid for an hour, whether this command waits or not; what comes is in \
        `openagents wallet history`. With --json and --wait a second line says how it ended."
)]
pub(crate) struct ReceiveArgs {
    /// How much: 21sat, or 21000 in millisatoshis
    amount: Msat,
    /// What it is for; the payer sees this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Wait until it is paid
    #[arg(long)]
    wait: bool,
    /// Show the QR code although nobody is at a terminal
    #[arg(long, conflicts_with = "json")]
    qr: bool,
}

/// Does it.
pub(super) fn run(global: &Global, home: &Home, args: &ReceiveArgs) -> anyhow::Result<Exit> {
    let client = link::connect(home)?;
    let wanted = ReceiveBody {
        amount_msat: args.amount.get(),
        description: args.description.clone(),
        lifetime_ms: None,
    };
    crate::cmd::wait(async move {
        let made = client.receive(&wanted).await?;
        show_invoice(global, args, &made)?;
        if !args.wait {
            return Ok(Exit::Ok);
        }
        let view = transfer::follow(&client, made, None, &mut Stop::listen()?).await?;
        if global.json {
            show::json(&view)?;
            return Ok(transfer::exit(&view));
        }
        tell(&view)
    })
}

fn show_invoice(global: &Global, args: &ReceiveArgs, made: &TransferView) -> anyhow::Result<()> {
    if global.json {
        return show::json(made);
    }
    if args.qr || std::io::stdout().is_terminal() {
        show::line(&qr(&made.bolt11)?)?;
    }
    show::line(&made.bolt11)?;
    if args.wait {
        show::talk(&format!("waiting for {}; Ctrl-C stops waiting, not the invoice", args.amount));
    }
    Ok(())
}

/// A QR code for a dark or a light terminal, in capitals: they take a third less room (BIP 21).
fn qr(bolt11: &str) -> anyhow::Result<String> {
    let text = format!("LIGHTNING:{}", bolt11.to_uppercase());
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    // Letters are light on dark in most terminals, and scanners want dark on light.
    Ok(code.render().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

fn tell(view: &TransferView) -> anyhow::Result<Exit> {
    let amount = Msat::new(view.amount_msat);
    let (what, money, next) = match view.state.as_str() {
        "settled" => {
            show::line(&format!("received {amount}"))?;
            return Ok(Exit::Ok);
        }
        "pending" => (
            format!("nobody has paid the {amount} yet"),
            "the invoice can still be paid",
            "look with `openagents wallet history --received`",
        ),
        _ => (
            format!("nobody paid the {amount} in time"),
            "none moved",
            "make a new invoice with `openagents wallet receive`",
        ),
    };
    Err(Failure { exit: transfer::exit(view), what, money: money.into(), next: next.into() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invoice_becomes_a_square_of_half_blocks() {
        let square = qr(&format!("lnbcrt210n1{}", "q".repeat(300))).unwrap();
        let lines: Vec<&str> = square.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()));
        assert!(lines[0].chars().count().div_ceil(2) == lines.len(), "two modules a letter");
        assert!(square.chars().all(|c| " ▀▄█\n".contains(c)));
    }
}
