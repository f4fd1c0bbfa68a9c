//! Ecash in escrow (NUT-14), whichever way it goes: how it is looked up and looked after, and how ecash becomes
//! ours. What is asked for and held is in `held.rs`, what we lock in `locked.rs`.

use std::sync::Arc;

use cdk::nuts::{ProofState, Proofs, ProofsMethods as _};
use serde_json::{Value, json};

use crate::{
    book::{
        BookError, Bytes, Payment,
        escrows::{Entry, Escrow, Purpose, Stage},
        now,
    },
    eprint,
    mint::Mint,
    swap::{Asking, Ending, Swap},
    talk::Refusal,
    terms::Terms,
    wallet::{BREATH, Busy, GLANCE, Wallet, lock},
};

/// The longest that anything is locked: a month. What is locked longer is a mistake, or a trap.
const LONGEST_LOCK: u64 = 30 * 86_400;

/// How the changing of ecash for ecash of ours ended.
pub(crate) enum Regained {
    /// It is ours; the mint kept so many millisatoshis.
    Ours(u64),
    /// It went elsewhere.
    Elsewhere(Vec<ProofState>),
    /// The mint refuses, at least now.
    Refused(String),
    /// It is not known yet.
    Unknown,
}

impl Wallet {
    /// Waits until no other task works on a payment.
    pub(crate) async fn work_when_free(&self, hash: Bytes) -> Busy<'_> {
        loop {
            match self.work_on(hash) {
                Some(busy) => return busy,
                None => tokio::time::sleep(BREATH).await,
            }
        }
    }

    /// The mint of an escrow. One that is not dealt with any more leaves open how the escrow stands.
    pub(crate) fn mint_of(&self, escrow: &Escrow) -> Result<Arc<Mint>, Refusal> {
        self.mint(&escrow.mint).cloned().ok_or_else(|| {
            Refusal::fault(format!("it is at the mint {}; add that to wallet.cashu.mints again", escrow.mint))
        })
    }

    /// An escrow. One of which its mint may have news is asked about first, but not for long.
    pub(crate) async fn look_at_escrow(self: &Arc<Self>, hash: Bytes) -> Result<Option<Escrow>, Refusal> {
        let known = self.book().escrow(hash)?;
        if known.is_some_and(|escrow| escrow.stage.is_open()) {
            let wallet = self.clone();
            let asking = tokio::spawn(async move { wallet.see_to_escrow(hash).await });
            // A mint that is silent leaves open how it stands; the book says that it is.
            let _ = tokio::time::timeout(GLANCE, asking).await;
        }
        Ok(self.book().escrow(hash)?)
    }

    /// Every escrow that is open at a mint, each as often as its age allows.
    pub(crate) async fn look_through_escrows(&self, mint: &Mint) -> Result<(), BookError> {
        let open = self.book().open_escrows(&mint.name())?;
        for escrow in open {
            if self.is_time_for(&escrow) {
                self.see_to_escrow(escrow.hash).await;
            }
        }
        Ok(())
    }

    /// The older, the rarer, and often again once it can be taken back.
    fn is_time_for(&self, escrow: &Escrow) -> bool {
        let now = now();
        let since = match now >= escrow.locktime {
            true => now - escrow.locktime,
            // Until then only a payer's mint has something new to say, or one that owes an answer.
            false if escrow.stage == Stage::Held => return false,
            false => now.saturating_sub(escrow.created_at),
        };
        // Until it is ours, somebody else can have it.
        let longest = if escrow.stage == Stage::Taking { 5 } else { 60 };
        let pause = (since / 30).clamp(1, longest);
        lock(&self.asked).get(&escrow.hash).is_none_or(|at| now >= at + pause)
    }

    /// Takes one escrow a step further, if no other task does, and if its mint has something to say.
    async fn see_to_escrow(&self, hash: Bytes) {
        let Some(_busy) = self.work_on(hash) else { return };
        let Ok(Some(escrow)) = self.book().escrow(hash) else { return };
        let Some(mint) = self.mint(&escrow.mint).cloned() else { return };
        lock(&self.asked).insert(hash, now());
        let _turn = mint.turn.read().await;
        let done = match escrow.stage {
            Stage::Sent => self.pursue_lock(&mint, escrow).await,
            Stage::Locked => self.watch(&mint, escrow).await,
            Stage::Taking => self.pursue_taking(&mint, escrow).await,
            Stage::Held => self.look_after(&mint, escrow).await,
            Stage::Asked
            | Stage::Taken
            | Stage::Cancelled
            | Stage::Begun
            | Stage::Paid
            | Stage::Unproven
            | Stage::Failed => Ok(()),
        };
        if let Err(refusal) = done {
            eprint(format_args!("{}: {refusal:?}", mint.url));
        }
        let known = self.book().escrow(hash);
        if known.is_ok_and(|known| known.is_none_or(|escrow| !escrow.stage.is_open())) {
            lock(&self.asked).remove(&hash);
        }
    }

    /// Changes ecash for ecash of ours. The exchange is written down first, and asked for again until its end is
    /// known; where a mint signs with another keyset by now, another exchange of the same ecash is tried, of
    /// which at most one can be made.
    pub(crate) async fn regain(
        &self,
        mint: &Mint,
        escrow: &Escrow,
        purpose: Purpose,
        inputs: Proofs,
    ) -> Result<Regained, Refusal> {
        let book = self.shared_book();
        let written = self.book().swaps(escrow.hash, purpose)?;
        let mut swaps = written.iter().map(|text| Swap::read(text)).collect::<Result<Vec<_>, _>>()?;
        let mut swap = match swaps.pop() {
            // The payee's signature may have been in it; from now on ours does.
            Some(swap) if purpose == Purpose::Back && now() >= escrow.locktime => Swap { inputs, ..swap },
            Some(swap) => swap,
            None => self.draft(mint, escrow, purpose, inputs).await?,
        };
        let mut ending = mint.exchange(book, &swap, Asking::ToDoIt).await?;
        if matches!(ending, Ending::Refused(_)) && mint.active(book).await?.id != swap.keyset {
            let next = self.draft(mint, escrow, purpose, swap.inputs.clone()).await?;
            swaps.push(std::mem::replace(&mut swap, next));
            ending = mint.exchange(book, &swap, Asking::ToDoIt).await?;
        }
        match ending {
            Ending::Done(proofs) => self.regained(mint, &swap, proofs).await,
            Ending::Refused(why) => Ok(Regained::Refused(why)),
            Ending::Open => Ok(Regained::Unknown),
            Ending::Spent(states) => {
                for earlier in swaps {
                    if let Ending::Done(proofs) = mint.exchange(book, &earlier, Asking::WhetherDone).await? {
                        return self.regained(mint, &earlier, proofs).await;
                    }
                }
                Ok(Regained::Elsewhere(states))
            }
        }
    }

    async fn regained(&self, mint: &Mint, swap: &Swap, proofs: Proofs) -> Result<Regained, Refusal> {
        mint.take_in(swap, proofs).await?;
        Ok(Regained::Ours(swap.fee()?.saturating_mul(1_000)))
    }

    /// Writes down an exchange of ecash for ecash of ours.
    async fn draft(
        &self,
        mint: &Mint,
        escrow: &Escrow,
        purpose: Purpose,
        inputs: Proofs,
    ) -> Result<Swap, Refusal> {
        let active = mint.active(self.shared_book()).await?;
        let given = u64::from(inputs.total_amount().map_err(Refusal::fault)?);
        let got = given.saturating_sub(mint.fee_of(&inputs).await?);
        if got == 0 {
            return Err(Refusal::restricted("the mint's fee is more than the ecash is worth"));
        }
        let outputs = mint.ours(&self.seed, &active, got).await?;
        let swap = Swap { inputs, keyset: active.id, outputs };
        self.book().put_swap(escrow, purpose, &swap.write()?)?;
        Ok(swap)
    }
}

impl Terms {
    /// Whether ecash can be locked like this now.
    pub(crate) fn is_timely(&self) -> Result<(), Refusal> {
        let now = now();
        let refuse = |what: &str| Err(Refusal::restricted(what));
        if self.expires_at <= now {
            return refuse("the request has expired");
        }
        if self.locktime < self.expires_at {
            return refuse("the locktime is before the end of the request");
        }
        if self.locktime > now.saturating_add(LONGEST_LOCK) {
            return refuse("the locktime is more than a month ahead");
        }
        Ok(())
    }
}

impl Escrow {
    /// One that has only begun.
    pub(crate) fn new(terms: &Terms, incoming: bool) -> Self {
        Self {
            hash: terms.hash,
            incoming,
            stage: if incoming { Stage::Asked } else { Stage::Begun },
            mint: String::new(),
            request: String::new(),
            token: String::new(),
            proofs: String::new(),
            description: terms.description.clone(),
            amount: terms.amount,
            fee: 0,
            locktime: terms.locktime,
            preimage: None,
            reason: String::new(),
            created_at: now(),
            expires_at: terms.expires_at,
            settled_at: 0,
        }
    }

    /// Its ecash.
    pub(crate) fn ecash(&self) -> Result<Proofs, Refusal> {
        serde_json::from_str(&self.proofs).map_err(Refusal::fault)
    }

    /// In NIP-47's words, as a held invoice without its BOLT11.
    pub(crate) fn value(&self) -> Value {
        let state = match self.stage {
            Stage::Asked if self.expires_at <= now() => "expired",
            Stage::Asked | Stage::Begun | Stage::Sent | Stage::Locked => "pending",
            Stage::Held | Stage::Taking => "accepted",
            Stage::Taken | Stage::Paid | Stage::Unproven => "settled",
            Stage::Cancelled | Stage::Failed => "failed",
        };
        let mut value = json!({
            "type": if self.incoming { "incoming" } else { "outgoing" },
            "state": state,
            "request": self.request,
            "description": self.description,
            "payment_hash": hex::encode(self.hash),
            "amount": self.amount,
            "fees_paid": self.fee,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "locktime": self.locktime,
            "mint": self.mint,
        });
        if state == "settled" {
            value["settled_at"] = self.settled_at.into();
            value["preimage"] = self.preimage.map(hex::encode).into();
        }
        if state == "failed" {
            value["reason"] = self.reason.as_str().into();
        }
        value
    }
}

impl Entry {
    /// In NIP-47's words.
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Payment(payment) => Payment::value(payment),
            Self::Escrow(escrow) => escrow.value(),
        }
    }
}
