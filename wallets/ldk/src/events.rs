//! What the node says by itself. An event is acknowledged once the book holds what it says, so a crash at any
//! point only makes it come again.

use std::time::Duration;

use ldk_node::{Event, lightning_types::payment::PaymentHash};

use crate::{
    book::{BookError, State, now},
    eprint,
    wallet::Wallet,
};

/// How long a disk that refuses is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Hears events for as long as the process lives.
pub(crate) fn listen(wallet: &Wallet) {
    loop {
        let event = wallet.node.wait_next_event();
        while let Err(error) = hear(wallet, &event) {
            eprint(format_args!("{error}"));
            std::thread::sleep(PAUSE);
        }
        while let Err(error) = wallet.node.event_handled() {
            eprint(format_args!("an event was not acknowledged: {error}"));
            std::thread::sleep(PAUSE);
        }
    }
}

fn hear(wallet: &Wallet, event: &Event) -> Result<(), BookError> {
    match event {
        Event::PaymentClaimable { payment_hash, claimable_amount_msat, claim_deadline, .. } => {
            claimable(wallet, *payment_hash, *claimable_amount_msat, *claim_deadline)
        }
        Event::PaymentReceived { payment_hash, amount_msat, .. } => {
            received(wallet, *payment_hash, *amount_msat)
        }
        Event::PaymentSuccessful { payment_hash, payment_preimage, fee_paid_msat, .. } => {
            let preimage = payment_preimage.map(|preimage| preimage.0);
            succeeded(wallet, *payment_hash, preimage, fee_paid_msat.unwrap_or(0))
        }
        Event::PaymentFailed { payment_hash: Some(hash), reason, .. } => {
            let reason = reason.map_or_else(|| "it failed".into(), |reason| format!("{reason:?}"));
            failed(wallet, *hash, reason)
        }
        _ => Ok(()),
    }
}

/// A payment to us is locked. One that nobody wants any more goes back at once.
fn claimable(
    wallet: &Wallet,
    hash: PaymentHash,
    amount: u64,
    deadline: Option<u32>,
) -> Result<(), BookError> {
    let book = wallet.book();
    let Some(mut payment) = book.get(hash.0)?.filter(|payment| payment.incoming) else {
        wallet.give_back(hash.0);
        return Ok(());
    };
    match payment.state {
        State::Open | State::Held => {
            payment.amount = amount;
            payment.deadline = deadline;
            let late = payment.state == State::Open && payment.expires_at < now();
            payment.state = if late { State::Failed } else { State::Held };
            book.put(&payment)?;
            if late {
                wallet.give_back(hash.0);
            } else {
                wallet.mouth.notify("hold_invoice_accepted", &payment.value(0));
            }
        }
        State::Settling => wallet.claim(&payment),
        State::Failed => {
            payment.deadline = deadline;
            book.put(&payment)?;
            wallet.give_back(hash.0);
        }
        State::Settled | State::Begun | State::Sent => {}
    }
    Ok(())
}

/// A payment is ours.
fn received(wallet: &Wallet, hash: PaymentHash, amount: u64) -> Result<(), BookError> {
    let book = wallet.book();
    let Some(mut payment) = book.get(hash.0)?.filter(|payment| payment.incoming) else { return Ok(()) };
    if payment.state != State::Settled {
        payment.amount = amount;
        payment.state = State::Settled;
        payment.settled_at = now();
        book.put(&payment)?;
    }
    drop(book);
    wallet.mouth.notify("payment_received", &payment.value(0));
    wallet.resolve(&payment);
    Ok(())
}

/// A payment of ours arrived. That is final, whatever was said before.
fn succeeded(
    wallet: &Wallet,
    hash: PaymentHash,
    preimage: Option<[u8; 32]>,
    fee: u64,
) -> Result<(), BookError> {
    let book = wallet.book();
    let Some(mut payment) = book.get(hash.0)?.filter(|payment| !payment.incoming) else { return Ok(()) };
    if payment.state != State::Settled {
        payment.preimage = preimage;
        payment.fee = fee;
        payment.state = State::Settled;
        payment.settled_at = now();
        book.put(&payment)?;
    }
    drop(book);
    wallet.mouth.notify("payment_sent", &payment.value(0));
    wallet.resolve(&payment);
    Ok(())
}

/// A payment of ours came back.
fn failed(wallet: &Wallet, hash: PaymentHash, reason: String) -> Result<(), BookError> {
    let book = wallet.book();
    let Some(mut payment) = book.get(hash.0)?.filter(|payment| !payment.incoming) else { return Ok(()) };
    if payment.state == State::Settled {
        return Ok(());
    }
    payment.state = State::Failed;
    payment.reason = reason;
    book.put(&payment)?;
    drop(book);
    wallet.resolve(&payment);
    Ok(())
}
