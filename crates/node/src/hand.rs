//! Payments by hand as the API takes them: what was pasted is read, an LNURL's server is asked for its invoice, and
//! what is checked is paid or waited for. The engine's rules decide; here is what has to be known before they can.

use crate::{
    clock,
    driver::{DriverHandle, NotBegun},
    lnurl::{self, PATIENCE, ServerError},
    resolve::Resolver,
    store::{Reader, StoreError},
};
use openagents_api::{
    DestinationBody, DestinationView, PayBody, Problem, ReceiveBody, SCHEMA_VERSION, TransferView,
};
use openagents_engine::{Direction, Transfer, TransferRefused, TransferState};
use openagents_types::{Millis, Msat, Network, PaymentHash};
use openagents_wallet::{
    MakeInvoice, Outgoing, Wallet,
    bolt11::{self, Purpose},
    destination::{self, Destination, DestinationError},
};

/// How long an invoice by hand can be paid, unless its owner says otherwise, and at most.
const LIFETIME: Millis = Millis::from_secs(3_600);
const LONGEST_LIFETIME: Millis = Millis::from_secs(7 * 86_400);

/// The longest description: what wallets put into an invoice (BOLT 11), in bytes.
const LONGEST_DESCRIPTION: usize = 639;

/// What payments by hand need of a node.
pub(crate) struct Hand<'a> {
    pub(crate) wallet: &'a dyn Wallet,
    pub(crate) network: Network,
    pub(crate) driver: &'a DriverHandle,
    pub(crate) reader: &'a Reader,
    pub(crate) resolver: &'a Resolver,
    /// The most that routing may cost if the payer does not say.
    pub(crate) max_fee: Msat,
}

/// Why a payment by hand was not begun. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandError {
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error(transparent)]
    Server(ServerError),
    #[error("an invoice has its amount, {invoice}, and {asked} was asked for; leave the amount out")]
    Amount { asked: Msat, invoice: Msat },
    #[error("an invoice takes no comment; leave it out")]
    Comment,
    #[error("this is an invoice of this node's own; give it to whoever shall pay it")]
    Own,
    #[error("{0}")]
    Body(&'static str),
    #[error(
        "the wallet knows this payment already ({0}), and it is not sent again; look at `openagents wallet history`"
    )]
    InWallet(&'static str),
    #[error("{0}")]
    Wallet(String),
    #[error(transparent)]
    NotBegun(NotBegun),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ServerError> for HandError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Lnurl(error) => Self::Destination(error.into()),
            error @ (ServerError::Unasked { .. } | ServerError::Private { .. }) => Self::Server(error),
        }
    }
}

impl Hand<'_> {
    /// What would be paid.
    pub(crate) async fn destination(&self, body: &DestinationBody) -> Result<DestinationView, HandError> {
        let asked = body.amount_msat.map(Msat::new);
        let (invoice, to, description) = match destination::read(&body.to)? {
            Destination::Invoice(_) if !body.comment.is_empty() => return Err(HandError::Comment),
            Destination::Invoice(invoice) => {
                if let Some(asked) = asked.filter(|asked| *asked != invoice.amount) {
                    return Err(HandError::Amount { asked, invoice: invoice.amount });
                }
                let words = match bolt11::purpose(&invoice.bolt11) {
                    Ok(Purpose::Text(words)) => words,
                    Ok(Purpose::Hash(_)) | Err(_) => String::new(),
                };
                (invoice, None, words)
            }
            Destination::Server(code) => {
                let (resolver, network) = (self.resolver, self.network);
                let (invoice, words) =
                    lnurl::invoice_of(resolver, network, &code, asked, &body.comment).await?;
                (invoice, Some(code.name().to_owned()), words)
            }
        };
        let known = self.sent_before(invoice.payment_hash)?;
        Ok(DestinationView {
            schema_version: SCHEMA_VERSION,
            hash: invoice.payment_hash.to_hex(),
            amount_msat: invoice.amount.get(),
            to,
            description,
            expires_at: invoice.expires_at.millis(),
            max_fee_msat: self.max_fee.get(),
            bolt11: invoice.bolt11,
            known,
        })
    }

    /// Pays an invoice, unless that was begun before: how it stands.
    pub(crate) async fn pay(&self, body: &PayBody) -> Result<TransferView, HandError> {
        let invoice = bolt11::decode(&body.bolt11).map_err(DestinationError::from)?;
        let hash = invoice.payment_hash;
        let max_fee = body.max_fee_msat.map_or(self.max_fee, Msat::new);
        let about = crate::app::clean(&body.about, LONGEST_DESCRIPTION);
        let transfer = Transfer { max_fee, ..Transfer::new(invoice, Direction::Out, about, clock::now()) };
        if let Some(known) = self.sent_before(hash)? {
            return Ok(known);
        }
        self.check_wallet(hash).await?;
        match self.driver.transfer(transfer.clone()).await {
            Ok(()) => Ok(view(&transfer)),
            Err(NotBegun::Known(known)) if known.direction == Direction::Out => Ok(view(&known)),
            Err(NotBegun::Known(_)) => Err(HandError::Own),
            Err(error) => Err(HandError::NotBegun(error)),
        }
    }

    /// How a payment stands that was begun by hand before.
    fn sent_before(&self, hash: PaymentHash) -> Result<Option<TransferView>, HandError> {
        match self.reader.transfer(hash)? {
            Some(known) if known.direction == Direction::In => Err(HandError::Own),
            known => Ok(known.as_ref().map(view)),
        }
    }

    /// Books from an old backup know less than the wallet, and the wallet may be paid from elsewhere.
    async fn check_wallet(&self, hash: PaymentHash) -> Result<(), HandError> {
        match tokio::time::timeout(PATIENCE, self.wallet.lookup_outgoing(hash)).await {
            Ok(Ok(Outgoing::Unknown)) => Ok(()),
            Ok(Ok(Outgoing::Pending)) => Err(HandError::InWallet("under way")),
            Ok(Ok(Outgoing::Settled { .. })) => Err(HandError::InWallet("paid")),
            Ok(Ok(Outgoing::Failed { .. })) => Err(HandError::InWallet("failed")),
            Ok(Err(error)) => Err(HandError::Wallet(error.to_string())),
            Err(_) => Err(HandError::Wallet("it did not answer in time".into())),
        }
    }

    /// Makes an invoice and waits for its payment from then on.
    pub(crate) async fn receive(&self, body: &ReceiveBody) -> Result<TransferView, HandError> {
        let amount = Msat::new(body.amount_msat);
        if amount.is_zero() || amount > Msat::MAX {
            return Err(HandError::Body("an invoice asks for some money, and for no more than there is"));
        }
        if body.description.len() > LONGEST_DESCRIPTION {
            return Err(HandError::Body("an invoice holds at most 639 bytes of description"));
        }
        let expiry = body.lifetime_ms.map_or(LIFETIME, Millis);
        if expiry < Millis::from_secs(60) || expiry > LONGEST_LIFETIME {
            return Err(HandError::Body(
                "an invoice can be paid for a minute at least and for a week at most",
            ));
        }
        let description = crate::app::clean(&body.description, LONGEST_DESCRIPTION);
        let wanted = MakeInvoice { amount, description: description.clone(), expiry, hold: None };
        let made = self.wallet.make_invoice(wanted).await;
        let invoice = made.map_err(|error| HandError::Wallet(error.to_string()))?;
        let transfer = Transfer::new(invoice, Direction::In, description, clock::now());
        self.driver.transfer(transfer.clone()).await.map_err(HandError::NotBegun)?;
        Ok(view(&transfer))
    }
}

/// A payment by hand as the API tells it.
pub(crate) fn view(transfer: &Transfer) -> TransferView {
    let (fee, reason, preimage) = match &transfer.state {
        TransferState::Settled { fee, preimage, .. } => (*fee, None, preimage.clone()),
        TransferState::Doubtful { reason } | TransferState::Returned { reason } => {
            (Msat::ZERO, Some(reason.clone()), None)
        }
        TransferState::Pending | TransferState::Lapsed => (Msat::ZERO, None, None),
    };
    let amount = match &transfer.state {
        TransferState::Settled { amount, .. } => *amount,
        _ => transfer.invoice.amount,
    };
    TransferView {
        schema_version: SCHEMA_VERSION,
        hash: transfer.hash().to_hex(),
        direction: if transfer.direction == Direction::In { "in" } else { "out" }.into(),
        state: transfer.state.word().into(),
        amount_msat: amount.get(),
        fee_msat: fee.get(),
        about: transfer.about.clone(),
        reason,
        preimage,
        bolt11: transfer.invoice.bolt11.clone(),
        since: transfer.since.millis(),
        expires_at: transfer.invoice.expires_at.millis(),
    }
}

impl From<HandError> for Problem {
    fn from(error: HandError) -> Self {
        let said = error.to_string();
        let (message, next) = match said.split_once("; ") {
            Some((message, next)) => (message.to_owned(), format!("{}.", capitalised(next))),
            None => (said.clone(), next_step(&error).to_owned()),
        };
        Self {
            code: code(&error).into(),
            message: format!("{}.", capitalised(&message)),
            money: "No money moved.".into(),
            next,
        }
    }
}

const fn code(error: &HandError) -> &'static str {
    match error {
        HandError::Destination(_)
        | HandError::Amount { .. }
        | HandError::Comment
        | HandError::Own
        | HandError::Body(_) => "bad-request",
        HandError::Server(_) => "lnurl",
        HandError::InWallet(_) => "paid-before",
        HandError::Wallet(_) => "wallet",
        HandError::NotBegun(NotBegun::Refused(TransferRefused::OverBudget { .. })) => "daily-limit",
        HandError::NotBegun(NotBegun::Known(_) | NotBegun::OfAJob | NotBegun::Refused(_)) => "not-paid",
        HandError::NotBegun(NotBegun::Store) | HandError::Store(_) => "store",
        HandError::NotBegun(NotBegun::Stopping) => "stopping",
    }
}

const fn next_step(error: &HandError) -> &'static str {
    match error {
        HandError::NotBegun(NotBegun::Refused(TransferRefused::OverBudget { .. })) => {
            "Wait until then, or raise `daily_limit_msat` under [customer] in config.toml and restart the node."
        }
        HandError::NotBegun(NotBegun::OfAJob | NotBegun::Refused(TransferRefused::InHand)) => {
            "See `openagents wallet history --books` for what it belongs to."
        }
        HandError::NotBegun(NotBegun::Known(_)) => "See `openagents wallet history --books`.",
        HandError::NotBegun(NotBegun::Refused(_)) | HandError::Destination(_) => {
            "Ask the receiver for a new invoice."
        }
        HandError::Wallet(_) => "Look at the wallet itself, then try again.",
        HandError::NotBegun(NotBegun::Stopping) => "Start the node again with `openagents up`.",
        HandError::NotBegun(NotBegun::Store) | HandError::Store(_) => "Run `openagents doctor`.",
        HandError::Server(_)
        | HandError::Amount { .. }
        | HandError::Comment
        | HandError::Own
        | HandError::Body(_)
        | HandError::InWallet(_) => "Correct it and try again.",
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
