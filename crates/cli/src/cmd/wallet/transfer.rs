//! How a payment by hand is followed and told.

use std::time::Duration;

use openagents_api::{Client, TransferView};
use openagents_types::Msat;

use crate::{
    exit::Exit,
    failure::Failure,
    show,
    stop::Stop,
    text::{one_line, printable},
};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Follows a payment until it is over, the time is up, or somebody interrupts.
pub(super) async fn follow(
    client: &Client,
    begun: TransferView,
    patience: Option<Duration>,
    stop: &mut Stop,
) -> anyhow::Result<TransferView> {
    let until = patience.map(|patience| tokio::time::Instant::now() + patience);
    let mut view = begun;
    while matches!(view.state.as_str(), "pending" | "doubtful")
        && until.is_none_or(|until| tokio::time::Instant::now() < until)
    {
        tokio::select! {
            () = stop.next() => return Ok(view),
            () = tokio::time::sleep(LOOK) => {}
        }
        view = client.transfer(&view.hash).await?;
    }
    Ok(view)
}

/// What a payment that was followed comes to.
pub(super) fn exit(view: &TransferView) -> Exit {
    match view.state.as_str() {
        "settled" => Exit::Ok,
        "pending" | "doubtful" => Exit::Pending,
        "expired" => Exit::Timeout,
        _ => Exit::Error,
    }
}

/// Says how a payment by us stands; one that did not arrive is a failure.
pub(super) fn tell_sent(view: &TransferView) -> anyhow::Result<Exit> {
    let amount = Msat::new(view.amount_msat);
    let to = if view.about.is_empty() { String::new() } else { format!(" ({})", one_line(&view.about, 80)) };
    let reason = view.reason.as_deref().map_or_else(String::new, |reason| format!(": {}", printable(reason)));
    let (what, money, next) = match view.state.as_str() {
        "settled" => {
            let fee = Msat::new(view.fee_msat);
            show::line(&format!("paid {amount}{to}, routing cost {fee}"))?;
            if let Some(preimage) = &view.preimage {
                show::line(&format!("preimage (proof of payment): {}", one_line(preimage, 64)))?;
            }
            return Ok(Exit::Ok);
        }
        "pending" => (
            format!("the payment of {amount}{to} is under way"),
            "pending, funds safe: it arrives, or it comes back".to_owned(),
            look_again(view),
        ),
        "doubtful" => (
            format!(
                "the wallet says that the payment of {amount}{to} did not arrive{reason}; it is asked again"
            ),
            "pending, funds safe: it arrives, or it comes back".to_owned(),
            look_again(view),
        ),
        _ => (
            format!("the payment of {amount}{to} did not arrive{reason}"),
            "it is in the wallet: nothing was spent".to_owned(),
            "ask the receiver for a new invoice; this one is not sent again".to_owned(),
        ),
    };
    Err(Failure { exit: exit(view), what, money, next }.into())
}

/// How to ask once more. An address makes a new invoice each time, so only its hash names the payment.
fn look_again(view: &TransferView) -> String {
    format!(
        "do not pay again: `openagents wallet history` and `openagents wallet reconcile` say how payment {} stands",
        one_line(&view.hash, 64)
    )
}
