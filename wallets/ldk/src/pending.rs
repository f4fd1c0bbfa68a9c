//! What an earlier run left open, and what time does to payments.
//!
//! A payment goes through three writes: the book says that it is begun, the node sends it, the book says that
//! it is sent. A process that dies between them does not know whether the node remembers the payment. It does
//! if any of it is on its way: it finds those in its channels when it starts, and refuses to send the same
//! payment again. So once it has dealt with everything that happened before, an open payment is handed to it
//! once more. Either that is a duplicate, or it was never sent and is sent now, as it was asked for.

use std::{
    collections::HashMap,
    str::FromStr as _,
    time::{Duration, Instant},
};

use ldk_node::{
    LightningBalance, NodeError,
    lightning::ln::channelmanager::PaymentId,
    lightning_invoice::Bolt11Invoice,
    payment::{PaymentKind, PaymentStatus},
};

use crate::{
    book::{BookError, Bytes, Payment, State, now},
    eprint,
    wallet::{Wallet, lock},
};

/// How often the state of things is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// How long the node gets after its start to pass on what happened before: it does so at once.
const GRACE: Duration = Duration::from_secs(5);

/// How long after its start a payment that cannot be sent again, and of which nothing is on its way, counts
/// as never sent: the peers are there by then.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// Payments by us of an earlier run whose end is not known.
#[derive(Default)]
pub(crate) struct Unresolved(HashMap<Bytes, Payment>);

impl Wallet {
    /// Before anything is asked: does again what the book says was begun, as far as that is safe at once.
    pub(crate) fn begin_again(&self) {
        if let Err(error) = self.take_up() {
            eprint(format_args!("{error}"));
        }
    }

    fn take_up(&self) -> Result<(), BookError> {
        let book = self.book();
        for payment in book.all(State::Settling)? {
            self.claim(&payment);
        }
        for payment in book.all(State::Failed)? {
            if payment.incoming && payment.deadline.is_some() && !payment.lapsed(self.height()) {
                self.give_back(payment.hash);
            }
        }
        let mut unresolved = lock(&self.unresolved);
        for state in [State::Begun, State::Sent] {
            for mut payment in book.all(state)? {
                if !self.known_to_node(&mut payment) {
                    unresolved.0.insert(payment.hash, payment);
                    continue;
                }
                book.put(&payment)?;
            }
        }
        Ok(())
    }

    /// Takes over how a payment ended, if the node's own store says so.
    fn known_to_node(&self, payment: &mut Payment) -> bool {
        let Some(details) = self.node.payment(&PaymentId(payment.hash)) else { return false };
        match (details.status, details.kind) {
            (PaymentStatus::Succeeded, PaymentKind::Bolt11 { preimage: Some(preimage), .. }) => {
                payment.state = State::Settled;
                payment.preimage = Some(preimage.0);
                payment.fee = details.fee_paid_msat.unwrap_or(0);
                payment.settled_at = now();
                true
            }
            (PaymentStatus::Failed, _) => {
                payment.state = State::Failed;
                payment.reason = "it failed".into();
                true
            }
            _ => false,
        }
    }

    /// Hands payments of an earlier run to the node once more, until each is known to it or was never sent.
    fn resolve_old(&self, uptime: Duration) -> Result<(), BookError> {
        let open: Vec<Payment> = lock(&self.unresolved).0.values().cloned().collect();
        for old in open {
            let book = self.book();
            let Some(mut payment) = book.get(old.hash)? else { continue };
            if matches!(payment.state, State::Begun | State::Sent) {
                match self.send_again(&payment) {
                    Ok(()) | Err(NodeError::DuplicatePayment) => payment.state = State::Sent,
                    Err(_) if uptime > GIVEN_UP && self.nothing_is_on_its_way() => {
                        payment.state = State::Failed;
                        payment.reason = "it was never sent".into();
                    }
                    Err(_) => continue,
                }
                book.put(&payment)?;
            }
            drop(book);
            lock(&self.unresolved).0.remove(&payment.hash);
            if payment.state == State::Failed {
                self.resolve(&payment);
            }
        }
        Ok(())
    }

    fn send_again(&self, payment: &Payment) -> Result<(), NodeError> {
        let invoice = Bolt11Invoice::from_str(&payment.bolt11).map_err(|_| NodeError::InvalidInvoice)?;
        // Its store refuses what it knows before the channels are asked, and those are what counts.
        self.node.remove_payment(&PaymentId(payment.hash))?;
        self.send(&invoice, payment)
    }

    /// Whether no channel holds a payment of ours. Those too small for an output count by their amount alone.
    fn nothing_is_on_its_way(&self) -> bool {
        self.node.list_balances().lightning_balances.iter().all(|balance| match balance {
            LightningBalance::ClaimableOnChannelClose { outbound_payment_htlc_rounded_msat, .. } => {
                *outbound_payment_htlc_rounded_msat == 0
            }
            LightningBalance::MaybeTimeoutClaimableHTLC { outbound_payment, .. } => !outbound_payment,
            _ => true,
        })
    }

    /// What was held too long has gone back by itself.
    fn lapse(&self, claimed: &mut HashMap<Bytes, Instant>) -> Result<(), BookError> {
        let (book, height) = (self.book(), self.height());
        let mut lapsed = Vec::new();
        for state in [State::Held, State::Settling] {
            lapsed.extend(book.all(state)?.into_iter().filter(|payment| payment.lapsed(height)));
        }
        for payment in &mut lapsed {
            let since = *claimed.entry(payment.hash).or_insert_with(Instant::now);
            // The node says at once that it has taken a payment; if it has not, there was none to take.
            if payment.state == State::Settling && since.elapsed() < GRACE {
                continue;
            }
            claimed.remove(&payment.hash);
            payment.state = State::Failed;
            payment.reason = "it was held too long and went back".into();
            book.put(payment)?;
            self.give_back(payment.hash);
        }
        drop(book);
        for payment in lapsed.iter().filter(|payment| payment.state == State::Failed) {
            self.resolve(payment);
        }
        Ok(())
    }
}

/// Looks at the clock and the chain for as long as the process lives.
pub(crate) fn keep_time(wallet: &Wallet) {
    let (start, mut claimed) = (Instant::now(), HashMap::new());
    loop {
        std::thread::sleep(PERIOD);
        let old = if start.elapsed() > GRACE { wallet.resolve_old(start.elapsed()) } else { Ok(()) };
        if let Err(error) = old.and_then(|()| wallet.lapse(&mut claimed)) {
            eprint(format_args!("{error}"));
        }
    }
}
