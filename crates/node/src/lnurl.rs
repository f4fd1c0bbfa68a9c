//! Asking an LNURL-pay server for an invoice: two answers, fetched like everything strangers name, each checked before
//! it counts.

use std::time::Duration;

use openagents_types::{Invoice, Msat, Network};
use openagents_wallet::lnurl::{LONGEST_ANSWER, LnurlError, PayCode, PayOffer};
use url::Url;

use crate::{
    clock,
    resolve::{ResolveError, Resolver, Said},
};

/// How long a server may take for each of its two answers.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Why a server gave no invoice that may be paid. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Lnurl(#[from] LnurlError),
    #[error(
        "the server {host} could not be asked: {reason}; check the address, or ask the receiver for an invoice"
    )]
    Unasked { host: String, reason: String },
    #[error(
        "the server {host} is on a private network; if it is yours, name it in allow_private_urls (openagents config \
         edit) and restart the node, else ask the receiver for an invoice"
    )]
    Private { host: String },
}

/// Has a server make an invoice, and checks it: the invoice, and what it is for in the server's words. Without an
/// amount the server has to take one alone.
pub(crate) async fn invoice_of(
    resolver: &Resolver,
    network: Network,
    code: &PayCode,
    asked: Option<Msat>,
    comment: &str,
) -> Result<(Invoice, String), ServerError> {
    let offer = offer_of(resolver, code).await?;
    let amount = offer.amount(asked)?;
    let answer = ask(resolver, &offer.callback(amount, comment)?).await?;
    let invoice = offer.invoice(&answer, amount, network, clock::now())?;
    Ok((invoice, offer.description))
}

/// What a server takes.
pub(crate) async fn offer_of(resolver: &Resolver, code: &PayCode) -> Result<PayOffer, ServerError> {
    Ok(PayOffer::read(&ask(resolver, code.url()).await?)?)
}

async fn ask(resolver: &Resolver, url: &Url) -> Result<Vec<u8>, ServerError> {
    let host = || url.host_str().unwrap_or_default().to_owned();
    match resolver.say(url.as_str(), LONGEST_ANSWER, PATIENCE).await {
        Ok(Said { status, body }) if (200..300).contains(&status) || body.starts_with(b"{") => Ok(body),
        Ok(Said { status, .. }) => {
            Err(ServerError::Unasked { host: host(), reason: format!("it answered {status}") })
        }
        Err(error) if error.is_private() => Err(ServerError::Private { host: host() }),
        Err(error) => Err(ServerError::Unasked { host: host(), reason: unasked(&error) }),
    }
}

/// What went wrong, without what is of use only to a provider's customers.
pub(crate) fn unasked(error: &ResolveError) -> String {
    match error {
        ResolveError::Refused(reason) | ResolveError::Failed(reason) => reason.clone(),
        ResolveError::TooLarge => "its answer is larger than any honest one".into(),
        other => other.to_string(),
    }
}
