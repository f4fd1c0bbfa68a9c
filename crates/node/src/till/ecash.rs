//! Ecash, as the engine asks for it: requests, locks, and tokens that came in.

use std::sync::Arc;

use openagents_engine::{Input, Outgoing};
use openagents_types::{EcashAsk, EcashRelease, EcashToken, JobId, Msat, PaymentHash, Preimage};
use openagents_wallet::{
    Wallet, WalletError,
    ecash::{LockEcash, RequestEcash},
};

use super::{cancel, incoming, is_unknown, outgoing};

/// What a wallet without ecash is asked for nothing of.
const NONE: &str = "this wallet has no ecash";

pub(super) async fn request(wallet: &Arc<dyn Wallet>, job: JobId, request: RequestEcash) -> Option<Input> {
    let Some(ecash) = wallet.ecash() else { return Some(not_requested(job, NONE.into())) };
    crate::failpoint::hit("wallet.ecash.request.before");
    let asked = ecash.request(request).await;
    crate::failpoint::hit("wallet.ecash.request.after");
    match asked {
        Ok(ask) => Some(Input::EcashRequested { job, outcome: Ok(ask) }),
        Err(error) if is_unknown(&error) => None,
        Err(error) => Some(not_requested(job, error.to_string())),
    }
}

pub(super) const fn not_requested(job: JobId, reason: String) -> Input {
    Input::EcashRequested { job, outcome: Err(reason) }
}

/// Ecash to lock, as the engine decided it.
pub(super) struct Lock {
    pub(super) ask: EcashAsk,
    pub(super) amount: Msat,
    pub(super) max_fee: Msat,
    pub(super) first: bool,
}

/// Locks. A wallet that will not, may have done so before; what it says of the hash counts.
pub(super) async fn lock(wallet: &Arc<dyn Wallet>, lock: Lock) -> Option<Input> {
    let Lock { ask, amount, max_fee, first } = lock;
    let hash = ask.hash;
    let Some(ecash) = wallet.ecash() else { return Some(failed(hash, NONE.into())) };
    crate::failpoint::hit("wallet.ecash.lock.before");
    let locked = ecash.lock(LockEcash { ask: &ask, amount, max_fee, first_attempt: first }).await;
    crate::failpoint::hit("wallet.ecash.lock.after");
    match locked {
        Ok(locked) => Some(Input::Locked { hash, token: locked.token }),
        Err(error) if is_unknown(&error) => None,
        Err(error) => match outgoing(hash, wallet.lookup_outgoing(hash).await)? {
            Input::Outgoing { state: Outgoing::Unknown | Outgoing::Failed { .. }, .. } => {
                tracing::warn!(%error, %hash, "ecash was not locked");
                Some(failed(hash, error.to_string()))
            }
            known => Some(known),
        },
    }
}

/// What a payment that came back cost all the same, where the wallet has ecash.
pub(super) async fn with_cost(wallet: &Arc<dyn Wallet>, input: Input) -> Input {
    let (Input::Outgoing { hash, state: Outgoing::Failed { .. } }, Some(ecash)) = (&input, wallet.ecash())
    else {
        return input;
    };
    match ecash.cost(*hash).await {
        Ok(fee) if !fee.is_zero() => Input::TakenBack { hash: *hash, fee },
        Ok(_) | Err(_) => input,
    }
}

pub(super) const fn failed(hash: PaymentHash, reason: String) -> Input {
    Input::Outgoing { hash, state: Outgoing::Failed { reason } }
}

pub(super) async fn accept(wallet: &Arc<dyn Wallet>, hash: PaymentHash, token: &EcashToken) -> Option<Input> {
    let Some(ecash) = wallet.ecash() else {
        return Some(Input::TokenRefused { hash, reason: NONE.into() });
    };
    crate::failpoint::hit("wallet.ecash.accept.before");
    let accepted = ecash.accept(hash, token).await;
    crate::failpoint::hit("wallet.ecash.accept.after");
    match accepted {
        Ok(state) => Some(Input::Incoming { hash, state: incoming(state) }),
        Err(error) if is_unknown(&error) => {
            tracing::warn!(%error, %hash, "ecash that came in is not checked yet");
            None
        }
        Err(error) => {
            tracing::warn!(%error, %hash, "ecash that came in is not taken");
            Some(Input::TokenRefused { hash, reason: words(error) })
        }
    }
}

/// Gives up ecash, with what it can be taken back with if the wallet can say that.
pub(super) async fn release(wallet: &Arc<dyn Wallet>, preimage: Preimage) -> Option<Input> {
    let hash = preimage.hash();
    crate::failpoint::hit("wallet.ecash.release.before");
    let released = match wallet.ecash() {
        Some(ecash) => ecash.release(preimage).await,
        None => return cancel(wallet, hash).await,
    };
    crate::failpoint::hit("wallet.ecash.release.after");
    match released {
        Ok(release) => Some(Input::Released { hash, release }),
        Err(error) if is_unknown(&error) => None,
        Err(_) => cancel(wallet, hash).await,
    }
}

/// Takes back what was given up, and says how the payment then stands.
pub(super) async fn take_back(
    wallet: &Arc<dyn Wallet>,
    hash: PaymentHash,
    release: &EcashRelease,
) -> Option<Input> {
    if let Err(error) = wallet.ecash()?.take_back(hash, release).await {
        tracing::warn!(%error, %hash, "ecash that was given up is not back yet");
    }
    Some(with_cost(wallet, outgoing(hash, wallet.lookup_outgoing(hash).await)?).await)
}

/// What is wrong with a token, for whoever sent it: the program's words, without whose wallet they are.
fn words(error: WalletError) -> String {
    match error {
        WalletError::Restricted(words)
        | WalletError::PaymentFailed(words)
        | WalletError::InsufficientBalance(words)
        | WalletError::QuotaExceeded(words)
        | WalletError::NotImplemented(words) => words,
        other => other.to_string(),
    }
}
