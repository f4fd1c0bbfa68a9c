//! Money by us in escrow: ecash that we lock to a payment hash and a payee's key, and take back once its locktime
//! is over. A mint signs each piece of it once, so one hash is locked once, whatever was repeated or forgotten;
//! who was faster in the end is for the mint alone to say.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cdk::{
    Amount,
    nuts::{CurrencyUnit, ProofState, Proofs, ProofsMethods as _, State as ProofIs, Token},
    secret::Secret,
    wallet::Wallet as Kit,
};
use cdk_common::bitcoin::hashes::{Hash as _, sha256};
use serde_json::{Value, json};

use crate::{
    book::{
        Bytes,
        escrows::{Escrow, Purpose, Stage},
        now,
    },
    escrow::Regained,
    held::unlocked,
    mint::{Mint, unclear},
    swap::{Active, Asking, Ending, Output, Swap},
    talk::Refusal,
    terms::{Lock, Terms},
    wallet::{BREATH, Wallet, bytes},
};

/// How long after the locktime ecash is taken back, in seconds: a mint's clock may be behind ours.
const MARGIN: u64 = 2;

/// How long ecash that other payments are using is waited for: their change.
const CHANGE: Duration = Duration::from_secs(10);

/// What is to be locked, and for how much at most.
struct Wanted<'a> {
    terms: &'a Terms,
    /// The most that it may cost on top, in millisatoshis.
    max_fee: Option<u64>,
}

impl Wallet {
    /// What a request asks for, and whether this wallet could lock it now. No mint is asked.
    pub(crate) async fn read_ecash_request(&self, params: &Value) -> Result<Value, Refusal> {
        let terms = Terms::read(params["request"].as_str().unwrap_or_default())?;
        let payable = self.can_lock(&terms).await;
        Ok(json!({
            "amount": terms.amount,
            "payment_hash": hex::encode(terms.hash),
            "locktime": terms.locktime,
            "expires_at": terms.expires_at,
            "description": terms.description,
            "mints": terms.mints.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "payable": payable.is_ok(),
            "reason": payable.err().map(|refusal| refusal.to_string()),
        }))
    }

    async fn can_lock(&self, terms: &Terms) -> Result<(), Refusal> {
        terms.is_timely()?;
        self.is_unused(terms.hash)?;
        self.holders(terms).await.map(drop)
    }

    fn is_unused(&self, hash: Bytes) -> Result<(), Refusal> {
        let book = self.book();
        match book.escrow(hash)? {
            Some(known) if known.incoming => Err(Refusal::restricted("the request is this wallet's own")),
            Some(_) => Err(Refusal::restricted("ecash was locked for this payment hash before")),
            None if book.get(hash)?.is_some() => {
                Err(Refusal::restricted("the payment hash is that of an invoice"))
            }
            None => Ok(()),
        }
    }

    /// The mints that are trusted on both sides and hold enough, in the order of trust.
    async fn holders(&self, terms: &Terms) -> Result<Vec<Arc<Mint>>, Refusal> {
        let common: Vec<_> = self.mints.iter().filter(|mint| terms.mints.contains(&mint.url)).collect();
        if common.is_empty() {
            return Err(Refusal::restricted("it asks for ecash of mints that you do not trust"));
        }
        let mut holders = Vec::new();
        for mint in common {
            if mint.holding().await?.saturating_mul(1_000) >= terms.amount {
                holders.push(mint.clone());
            }
        }
        if holders.is_empty() {
            return Err(Refusal::insufficient(format!(
                "no mint that both sides trust holds {} sat of yours",
                terms.amount / 1_000
            )));
        }
        Ok(holders)
    }

    /// Locks ecash as a request asks, once, and says the token; asked again, it says the same.
    pub(crate) async fn lock_ecash(self: &Arc<Self>, params: &Value) -> Result<Value, Refusal> {
        let request = params["request"].as_str().unwrap_or_default().trim().to_owned();
        let terms = Terms::read(&request)?;
        let number = |name: &str| params[name].as_u64().unwrap_or(0);
        let hash = bytes(params, "payment_hash").unwrap_or_default();
        terms.agree(number("amount"), hash, number("locktime"))?;
        let max_fee = params["max_fee"].as_u64();
        let wallet = self.clone();
        // Whoever asked may be gone before it is over.
        let locking = tokio::spawn(async move {
            let _busy = wallet.work_when_free(hash).await;
            wallet.lock_once(request, &Wanted { terms: &terms, max_fee }).await
        });
        locking.await.map_err(Refusal::fault)??;
        let known = self.book().escrow(hash)?.ok_or_else(|| Refusal::fault("nothing was locked"))?;
        match known.stage {
            Stage::Locked | Stage::Paid | Stage::Unproven => Ok(json!({
                "token": known.token,
                "mint": known.mint,
                "fees_paid": known.fee,
            })),
            Stage::Failed => Err(Refusal::failed(known.reason)),
            _ => Err(Refusal::fault(format!(
                "the mint {} has not said yet whether the ecash is locked; it is asked again",
                known.mint
            ))),
        }
    }

    async fn lock_once(&self, request: String, wanted: &Wanted<'_>) -> Result<(), Refusal> {
        let terms = wanted.terms;
        let known = self.book().escrow(terms.hash)?.filter(|known| !known.incoming);
        let begun = match known {
            Some(known) if known.request != request => {
                return Err(Refusal::restricted(
                    "ecash was locked for this payment hash and another request",
                ));
            }
            Some(known) if known.stage == Stage::Sent => {
                let mint = self.mint_of(&known)?;
                let _turn = mint.turn.read().await;
                return self.pursue_lock(&mint, known).await;
            }
            Some(known) if known.stage != Stage::Begun => return Ok(()),
            Some(known) => known,
            None => {
                self.is_unused(terms.hash)?;
                let mut escrow = Escrow::new(terms, false);
                escrow.request = request;
                escrow
            }
        };
        terms.is_timely()?;
        self.book().put_escrow(&begun)?;
        let locked = self.lock_somewhere(begun, wanted).await;
        // If no mint was told, there is nothing to remember.
        self.book().remove_begun(Some(terms.hash))?;
        locked
    }

    /// Locks at the first mint that can. An error while the escrow is still `Begun` means that none was told.
    async fn lock_somewhere(&self, begun: Escrow, wanted: &Wanted<'_>) -> Result<(), Refusal> {
        let mut refused = None;
        for mint in self.holders(wanted.terms).await? {
            let _turn = mint.turn.read().await;
            match self.lock_at(&mint, begun.clone(), wanted).await {
                Ok(sent) => return self.pursue_lock(&mint, sent).await,
                Err(refusal) => refused = Some(refusal),
            }
        }
        Err(refused.unwrap_or_else(|| Refusal::fault("no mint was asked")))
    }

    /// Sets ecash aside and writes down how it is to be locked.
    async fn lock_at(&self, mint: &Mint, mut escrow: Escrow, wanted: &Wanted<'_>) -> Result<Escrow, Refusal> {
        mint.check_keys(self.shared_book()).await?;
        let active = mint.active(self.shared_book()).await?;
        let outputs = self.locked_outputs(wanted.terms, &active)?;
        let sats = outputs.iter().map(|output| u64::from(output.amount)).sum();
        let inputs = self.set_aside(mint, &escrow, &active, sats).await?;
        let ys = inputs.ys().map_err(Refusal::fault)?;
        escrow.mint = mint.name();
        escrow.stage = Stage::Sent;
        let drafted = match change(mint, wanted, &inputs, sats).await {
            Ok((change, fee)) => {
                escrow.fee = fee;
                self.write_lock(mint, &escrow, &active, Swap { inputs, keyset: active.id, outputs }, change)
                    .await
            }
            Err(refusal) => Err(refusal),
        };
        match drafted {
            Ok(()) => Ok(escrow),
            Err(refusal) => {
                mint.kit.unreserve_proofs(ys).await.map_err(Refusal::fault)?;
                Err(refusal)
            }
        }
    }

    /// Writes down the exchange that locks, with so many satoshis of change.
    async fn write_lock(
        &self,
        mint: &Mint,
        escrow: &Escrow,
        active: &Active,
        mut swap: Swap,
        change: u64,
    ) -> Result<(), Refusal> {
        swap.outputs.extend(mint.ours(&self.seed, active, change).await?);
        // A mint must not see by the order which are locked.
        swap.outputs.sort_by_key(|output| output.amount);
        Ok(self.book().put_swap(escrow, Purpose::Lock, &swap.write()?)?)
    }

    /// The pieces that bring the payee what is asked, once the mint has had its fee for them.
    fn locked_outputs(&self, terms: &Terms, active: &Active) -> Result<Vec<Output>, Refusal> {
        let wanted = terms.amount / 1_000;
        let mut sats = wanted;
        let amounts = loop {
            let amounts = Amount::from(sats).split(&active.parts).map_err(Refusal::fault)?;
            let count = u64::try_from(amounts.len()).map_err(Refusal::fault)?;
            let needed = wanted.saturating_add(count.saturating_mul(active.fee_ppk).div_ceil(1_000));
            if needed <= sats {
                break amounts;
            }
            sats = needed;
        };
        let refund = self.escrow_keys.refund(terms.hash).map_err(Refusal::fault)?.public_key();
        let keyset = active.id.to_bytes();
        let mut outputs = Vec::new();
        for (index, amount) in (0..).zip(amounts) {
            let nonce = self.escrow_keys.nonce(terms.hash, &keyset, index);
            let lock = json!({
                "nonce": nonce,
                "data": hex::encode(terms.hash),
                "tags": Lock::tags(terms, &refund),
            });
            outputs.push(Output {
                secret: Secret::new(json!(["HTLC", lock]).to_string()),
                r: self.escrow_keys.blind(terms.hash, &keyset, index).map_err(Refusal::fault)?,
                amount,
                locked: true,
            });
        }
        Ok(outputs)
    }

    /// Sets ecash aside for so many satoshis and what the mint takes for them, or waits for change that is on
    /// its way.
    async fn set_aside(
        &self,
        mint: &Mint,
        escrow: &Escrow,
        active: &Active,
        sats: u64,
    ) -> Result<Proofs, Refusal> {
        let start = Instant::now();
        let fees = mint.kit.get_keyset_fees_and_amounts().await.map_err(|error| unclear(&error))?;
        loop {
            let all = mint.kit.get_unspent_proofs().await.map_err(Refusal::fault)?;
            match Kit::select_proofs(Amount::from(sats), all, &vec![active.id], &fees, true) {
                Ok(chosen) => {
                    let ys = chosen.ys().map_err(Refusal::fault)?;
                    match mint.store.reserve_proofs(ys, &escrow.operation()).await {
                        Ok(()) => return Ok(chosen),
                        // Another task may have been faster.
                        Err(_) if start.elapsed() < CHANGE => {}
                        Err(error) => return Err(Refusal::fault(error)),
                    }
                }
                Err(cdk::Error::InsufficientFunds) => {
                    let all = mint.holding().await?;
                    if all < sats || mint.balance().await? == all || start.elapsed() > CHANGE {
                        return Err(Refusal::insufficient(format!(
                            "{sats} sat and the mint's fee, of {all} at {}",
                            mint.url
                        )));
                    }
                }
                Err(error) => return Err(unclear(&error)),
            }
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Sets ecash aside again for what is being locked: looking for the ecash of a seed (NUT-13) finds that too,
    /// unspent as it is, and puts it with what can be spent.
    pub(crate) async fn set_aside_again(&self, mint: &Mint) -> Result<(), Refusal> {
        let open = self.book().open_escrows(&mint.name())?;
        for escrow in open.into_iter().filter(|escrow| escrow.stage == Stage::Sent) {
            let written = self.book().swaps(escrow.hash, Purpose::Lock)?;
            for swap in written.iter().map(|text| Swap::read(text)) {
                mint.reserve(&swap?, escrow.operation()).await?;
            }
        }
        Ok(())
    }

    /// Has ecash locked, or finds out that it is, or makes sure that it never will be. Safe to repeat.
    pub(crate) async fn pursue_lock(&self, mint: &Mint, escrow: Escrow) -> Result<(), Refusal> {
        let written = self.book().swaps(escrow.hash, Purpose::Lock)?.pop();
        let swap = Swap::read(&written.ok_or_else(|| Refusal::fault("a lock is not written down"))?)?;
        let undoing = !self.book().swaps(escrow.hash, Purpose::Undo)?.is_empty();
        let in_time = now() < escrow.expires_at && !undoing;
        let how = if in_time { Asking::ToDoIt } else { Asking::WhetherDone };
        match mint.exchange(self.shared_book(), &swap, how).await? {
            Ending::Done(proofs) => self.locked(mint, escrow, &swap, proofs).await,
            Ending::Refused(why) => self.undo(mint, escrow, &swap, &why).await,
            Ending::Open if in_time => Ok(()),
            Ending::Open => self.undo(mint, escrow, &swap, "it did not answer in time").await,
            Ending::Spent(_) => self.undo(mint, escrow, &swap, "the ecash for it was spent elsewhere").await,
        }
    }

    /// Writes down what is locked, before anybody sees it.
    async fn locked(
        &self,
        mint: &Mint,
        mut escrow: Escrow,
        swap: &Swap,
        proofs: Proofs,
    ) -> Result<(), Refusal> {
        let (locked, change) = swap.divide(proofs);
        mint.take_in(swap, change).await?;
        escrow.proofs = serde_json::to_string(&locked).map_err(Refusal::fault)?;
        escrow.token = Token::new(mint.url.clone(), locked, None, CurrencyUnit::Sat).to_string();
        escrow.stage = Stage::Locked;
        self.book().end_escrow(&escrow, &[Purpose::Lock, Purpose::Undo])?;
        Ok(())
    }

    /// Changes ecash that was to be locked for new: from then on it cannot be locked, whatever the mint may still
    /// be reading.
    async fn undo(&self, mint: &Mint, mut escrow: Escrow, swap: &Swap, why: &str) -> Result<(), Refusal> {
        match self.regain(mint, &escrow, Purpose::Undo, swap.inputs.clone()).await? {
            Regained::Ours(fee) => escrow.fee = fee,
            Regained::Elsewhere(states) => {
                let asked = mint.exchange(self.shared_book(), swap, Asking::WhetherDone).await?;
                if let Ending::Done(proofs) = asked {
                    return self.locked(mint, escrow, swap, proofs).await;
                }
                mint.write_off(&states).await?;
                escrow.fee = 0;
            }
            Regained::Refused(why) => return Err(Refusal::fault(why)),
            Regained::Unknown => return Ok(()),
        }
        escrow.stage = Stage::Failed;
        escrow.reason = format!("the mint {} did not lock it: {why}", mint.url);
        self.book().end_escrow(&escrow, &[Purpose::Lock, Purpose::Undo])?;
        Ok(())
    }

    /// Looks whether the payee has taken what is locked, and takes it back once that can be.
    pub(crate) async fn watch(&self, mint: &Mint, escrow: Escrow) -> Result<(), Refusal> {
        let taking_back = !self.book().swaps(escrow.hash, Purpose::Back)?.is_empty();
        if taking_back || now() >= escrow.locktime.saturating_add(MARGIN) {
            let key = self.escrow_keys.refund(escrow.hash).map_err(Refusal::fault)?;
            let inputs = unlocked(escrow.ecash()?, "", &key)?;
            let why = "nobody took it before its locktime, and it is yours again";
            return self.take_back(mint, escrow, inputs, why).await;
        }
        let states = mint.states(escrow.ecash()?.ys().map_err(Refusal::fault)?).await?;
        self.paid_out(escrow, &states)
    }

    /// Changes what is locked for ecash of ours, with witnesses that open it.
    pub(crate) async fn take_back(
        &self,
        mint: &Mint,
        mut escrow: Escrow,
        inputs: Proofs,
        why: &str,
    ) -> Result<(), Refusal> {
        let locked = u64::from(inputs.total_amount().map_err(Refusal::fault)?).saturating_mul(1_000);
        match self.regain(mint, &escrow, Purpose::Back, inputs).await? {
            Regained::Ours(fee) => {
                // What was locked for the mint's fee of the payee comes back with the rest.
                let came_back = locked.saturating_sub(escrow.amount);
                escrow.fee = escrow.fee.saturating_sub(came_back).saturating_add(fee);
                escrow.stage = Stage::Failed;
                why.clone_into(&mut escrow.reason);
                self.book().end_escrow(&escrow, &[Purpose::Back])?;
                Ok(())
            }
            Regained::Elsewhere(states) => self.paid_out(escrow, &states),
            // Its clock may be far behind ours.
            Regained::Refused(why) => {
                Err(Refusal::fault(format!("the mint does not give it back yet: {why}")))
            }
            Regained::Unknown => Ok(()),
        }
    }

    /// Writes down that the payee took what was locked, if the mint says so. The preimage with which that was
    /// done is the proof (NUT-07).
    fn paid_out(&self, mut escrow: Escrow, states: &[ProofState]) -> Result<(), Refusal> {
        let shown = states.iter().filter_map(|state| state.witness.as_ref()?.preimage());
        let opens = |text: String| {
            let mut preimage = [0; 32];
            hex::decode_to_slice(text, &mut preimage).ok()?;
            (sha256::Hash::hash(&preimage).to_byte_array() == escrow.hash).then_some(preimage)
        };
        escrow.preimage = shown.filter_map(opens).next();
        if escrow.preimage.is_none() && states.iter().any(|state| state.state != ProofIs::Spent) {
            return Ok(());
        }
        escrow.stage = if escrow.preimage.is_some() { Stage::Paid } else { Stage::Unproven };
        escrow.settled_at = now();
        self.book().end_escrow(&escrow, &[Purpose::Back])?;
        if escrow.stage == Stage::Paid {
            self.mouth.notify("payment_sent", &escrow.value());
        }
        Ok(())
    }
}

/// What is left of the inputs once so many satoshis of them are locked, in satoshis, and what that costs in
/// millisatoshis, if it is no more than it may be.
async fn change(
    mint: &Mint,
    wanted: &Wanted<'_>,
    inputs: &Proofs,
    locked: u64,
) -> Result<(u64, u64), Refusal> {
    let given = u64::from(inputs.total_amount().map_err(Refusal::fault)?);
    let fee = mint.fee_of(inputs).await?;
    let change = given.checked_sub(locked).and_then(|left| left.checked_sub(fee));
    let change = change.ok_or_else(|| {
        Refusal::insufficient(format!("{locked} sat and the mint's fee of {fee} at {}", mint.url))
    })?;
    let cost = (locked + fee).saturating_mul(1_000).saturating_sub(wanted.terms.amount);
    match wanted.max_fee.filter(|most| cost > *most) {
        None => Ok((change, cost)),
        Some(most) => Err(Refusal::failed(format!(
            "the mint {} takes {cost} msat for it, and it may have {most}",
            mint.url
        ))),
    }
}
