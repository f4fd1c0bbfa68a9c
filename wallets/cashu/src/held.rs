//! Money to us in escrow: ecash that is asked for, looked at when it comes, and changed for ecash of ours once
//! its preimage is given. Until then nothing is spent.

use std::{collections::HashSet, str::FromStr as _, sync::Arc};

use cdk::nuts::{
    CurrencyUnit, HTLCWitness, Proof, Proofs, ProofsMethods as _, State as ProofIs, Token, Witness,
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
    incoming::whole,
    mint::Mint,
    talk::Refusal,
    terms::{Lock, Terms},
    tokens::{LONGEST, untrusted},
    wallet::{Wallet, bytes},
};

/// The most pieces of ecash that a locked token may have: any amount takes less, and each costs us work.
const PIECES: usize = 100;

/// How long after the end of a request its ecash may still come: it was locked in time, and is on its way.
const GRACE: u64 = 60;

impl Wallet {
    /// A request for ecash that a preimage opens. Nobody sees it before it is in the book, and the same hash
    /// gives the same request.
    pub(crate) async fn make_ecash_request(&self, params: &Value) -> Result<Value, Refusal> {
        let number = |name: &str| params[name].as_u64().filter(|number| *number > 0);
        let wants = |name: &str| Refusal::restricted(format!("a request for ecash needs {name}"));
        let hash = bytes(params, "payment_hash").ok_or_else(|| wants("payment_hash"))?;
        let _busy = self.work_when_free(hash).await;
        let amount = number("amount").ok_or_else(|| wants("amount"))?;
        whole(amount)?;
        let locktime = number("locktime").ok_or_else(|| wants("locktime"))?;
        if let Some(known) = self.known_request(hash, amount, locktime)? {
            return Ok(known);
        }
        let mut mints = Vec::new();
        let mut full = None;
        for mint in &self.mints {
            match self.has_room(mint, amount).await {
                Ok(()) => mints.push(mint.url.clone()),
                Err(refusal) => full = Some(refusal),
            }
        }
        if let Some(full) = full.filter(|_| mints.is_empty()) {
            return Err(full);
        }
        let terms = Terms {
            hash,
            key: self.escrow_keys.claim(hash).map_err(Refusal::fault)?.public_key(),
            amount,
            locktime,
            expires_at: number("expires_at").ok_or_else(|| wants("expires_at"))?,
            mints,
            description: params["description"].as_str().unwrap_or_default().chars().take(200).collect(),
        };
        terms.is_timely()?;
        let mut escrow = Escrow::new(&terms, true);
        escrow.request = terms.write();
        self.book().put_escrow(&escrow)?;
        Ok(answer(&escrow, &terms))
    }

    /// The request that was made for a hash before.
    fn known_request(&self, hash: Bytes, amount: u64, locktime: u64) -> Result<Option<Value>, Refusal> {
        let book = self.book();
        let Some(known) = book.escrow(hash)? else {
            return match book.get(hash)? {
                None => Ok(None),
                Some(_) => Err(Refusal::restricted("the payment hash is that of an invoice")),
            };
        };
        let terms = Terms::read(&known.request)?;
        if !known.incoming || terms.amount != amount || terms.locktime != locktime {
            return Err(Refusal::restricted("the payment hash is in use for something else"));
        }
        Ok(Some(answer(&known, &terms)))
    }

    /// Looks at ecash that is said to be locked to us, and holds it if it is what was asked for. A mint is asked
    /// whether it is unspent; nothing is spent.
    pub(crate) async fn accept_ecash(&self, params: &Value) -> Result<Value, Refusal> {
        let hash = bytes(params, "payment_hash").ok_or_else(Refusal::not_found)?;
        let text = params["token"].as_str().unwrap_or_default().trim();
        let text = text.strip_prefix("cashu:").unwrap_or(text);
        let _busy = self.work_when_free(hash).await;
        let known = self.book().escrow(hash)?.filter(|escrow| escrow.incoming);
        let mut escrow = known.ok_or_else(Refusal::not_found)?;
        if !escrow.token.is_empty() && escrow.token == text {
            return Ok(escrow.value());
        }
        let refuse = |what: &str| {
            Err(Refusal::restricted(format!(
                "{what}; this ecash was not taken, and is its sender's again after its locktime"
            )))
        };
        match escrow.stage {
            Stage::Asked if now() >= escrow.locktime.min(escrow.expires_at.saturating_add(GRACE)) => {
                return refuse("the request has expired");
            }
            Stage::Asked => {}
            Stage::Cancelled => return refuse("the request was given up"),
            _ => return refuse("other ecash came for this payment hash before"),
        }
        let terms = Terms::read(&escrow.request)?;
        let (mint, proofs, amount) = self.inspect(&terms, text).await?;
        // One at a time: two could each have the room that is there for one.
        let _turn = self.accepting.lock().await;
        self.has_room(&mint, amount).await?;
        escrow.mint = mint.name();
        escrow.amount = amount;
        escrow.proofs = serde_json::to_string(&proofs).map_err(Refusal::fault)?;
        text.clone_into(&mut escrow.token);
        escrow.stage = Stage::Held;
        self.book().put_escrow(&escrow)?;
        self.mouth.notify("hold_invoice_accepted", &escrow.value());
        Ok(escrow.value())
    }

    /// The ecash of a token, and what it brings in millisatoshis, if it is what was asked for.
    async fn inspect(&self, terms: &Terms, text: &str) -> Result<(Arc<Mint>, Proofs, u64), Refusal> {
        let refuse = |what: &str| Refusal::restricted(what);
        if text.len() > LONGEST {
            return Err(refuse("the token is too long"));
        }
        let token = Token::from_str(text).map_err(|_| refuse("that is no Cashu token"))?;
        let url = token.mint_url().map_err(|_| refuse("the token is of several mints"))?;
        let mint = self.mint(&url.to_string()).ok_or_else(|| untrusted(&url.to_string()))?;
        if !terms.mints.contains(&mint.url) {
            return Err(refuse("the token is of a mint that the request does not name"));
        }
        if token.unit() != Some(CurrencyUnit::Sat) {
            return Err(refuse("the token is not in satoshis"));
        }
        let secrets = token.token_secrets();
        if secrets.is_empty() || secrets.len() > PIECES {
            return Err(refuse("the token has no ecash, or too many pieces of it"));
        }
        for secret in secrets {
            is_as_asked(&Lock::of(secret)?, terms)?;
        }
        let _turn = mint.turn.read().await;
        mint.check_keys(self.shared_book()).await?;
        let proofs = self.genuine(mint, &token).await?;
        let sum = proofs.total_amount().map_err(|_| refuse("the token's value is no sum"))?;
        let fee = mint.fee_of(&proofs).await?;
        let brings = u64::from(sum).saturating_sub(fee).saturating_mul(1_000);
        if brings < terms.amount {
            return Err(Refusal::restricted(format!(
                "the token brings {brings} msat after the mint's fee of {fee} sat, and {} were asked for",
                terms.amount
            )));
        }
        for state in mint.states(proofs.ys().map_err(Refusal::fault)?).await? {
            match state.state {
                ProofIs::Unspent => {}
                ProofIs::Spent => return Err(refuse("the token was spent before")),
                _ => return Err(Refusal::fault("the token is being spent")),
            }
        }
        Ok((mint.clone(), proofs, brings))
    }

    /// The ecash of a token, each piece once and with the proof that the mint signed it (NUT-12).
    async fn genuine(&self, mint: &Mint, token: &Token) -> Result<Proofs, Refusal> {
        let proofs = token.proofs(&mint.keysets().await?);
        let mut proofs = proofs
            .map_err(|_| Refusal::restricted("the token is of a keyset that its mint does not have"))?;
        let mut seen = HashSet::new();
        for proof in &mut proofs {
            let keys = mint.keys_of(self.shared_book(), proof.keyset_id).await?;
            let key = keys.amount_key(proof.amount);
            if key.is_none_or(|key| proof.verify_dleq(key).is_err()) {
                return Err(Refusal::restricted(format!(
                    "the token does not prove that the mint {} signed it",
                    mint.url
                )));
            }
            if !seen.insert(proof.secret.clone()) {
                return Err(Refusal::restricted("the token has a piece of ecash twice"));
            }
            proof.witness = None;
        }
        Ok(proofs)
    }

    /// Takes what is held. The preimage is in the book before the mint sees it, so that a restart takes it all
    /// the same. After the locktime it is still tried; the mint decides who was first.
    pub(crate) async fn settle(self: &Arc<Self>, params: &Value) -> Result<Value, Refusal> {
        let preimage = bytes(params, "preimage").ok_or_else(Refusal::not_found)?;
        let hash = sha256::Hash::hash(&preimage).to_byte_array();
        let wallet = self.clone();
        // Whoever asked may be gone before it is over.
        let taking = tokio::spawn(async move {
            let _busy = wallet.work_when_free(hash).await;
            wallet.take_escrow(hash, preimage).await
        });
        taking.await.map_err(Refusal::fault)??;
        let known = self.book().escrow(hash)?.ok_or_else(Refusal::not_found)?;
        match known.stage {
            Stage::Taken => Ok(json!({})),
            Stage::Failed => Err(Refusal::failed(known.reason)),
            _ => Err(Refusal::fault(format!(
                "the mint {} has not said yet whether the ecash was taken; it is asked again",
                known.mint
            ))),
        }
    }

    async fn take_escrow(&self, hash: Bytes, preimage: Bytes) -> Result<(), Refusal> {
        let known = self.book().escrow(hash)?.filter(|escrow| escrow.incoming);
        let mut escrow = known.ok_or_else(Refusal::not_found)?;
        match escrow.stage {
            Stage::Held => {
                escrow.stage = Stage::Taking;
                escrow.preimage = Some(preimage);
                self.book().put_escrow(&escrow)?;
            }
            Stage::Taking => {}
            Stage::Taken | Stage::Failed => return Ok(()),
            Stage::Cancelled => return Err(Refusal::restricted("it was given up, and is the payer's")),
            _ => return Err(Refusal::restricted("nothing has been locked for it")),
        }
        let mint = self.mint_of(&escrow)?;
        let _turn = mint.turn.read().await;
        self.pursue_taking(&mint, escrow).await
    }

    /// Changes what is held for ecash of ours. Safe to repeat.
    pub(crate) async fn pursue_taking(&self, mint: &Mint, mut escrow: Escrow) -> Result<(), Refusal> {
        let preimage = escrow.preimage.ok_or_else(|| Refusal::fault("a preimage is missing"))?;
        let key = self.escrow_keys.claim(escrow.hash).map_err(Refusal::fault)?;
        let inputs = unlocked(escrow.ecash()?, &hex::encode(preimage), &key)?;
        match self.regain(mint, &escrow, Purpose::Take, inputs).await? {
            Regained::Ours(fee) => {
                escrow.fee = fee;
                escrow.stage = Stage::Taken;
                escrow.settled_at = now();
                self.book().end_escrow(&escrow, &[Purpose::Take])?;
                self.mouth.notify("payment_received", &escrow.value());
                Ok(())
            }
            Regained::Elsewhere(_) => self.lost(escrow),
            Regained::Refused(why) => {
                Err(Refusal::fault(format!("the mint refuses to change the ecash now: {why}")))
            }
            Regained::Unknown => Ok(()),
        }
    }

    /// Looks whether the payer has taken back what is held, which can be once its locktime is over.
    pub(crate) async fn look_after(&self, mint: &Mint, escrow: Escrow) -> Result<(), Refusal> {
        if now() < escrow.locktime {
            return Ok(());
        }
        let states = mint.states(escrow.ecash()?.ys().map_err(Refusal::fault)?).await?;
        if states.iter().any(|state| state.state == ProofIs::Spent) {
            return self.lost(escrow);
        }
        Ok(())
    }

    fn lost(&self, mut escrow: Escrow) -> Result<(), Refusal> {
        escrow.stage = Stage::Failed;
        escrow.reason = format!(
            "the payer was faster: the mint {} says that the ecash was spent by another",
            escrow.mint
        );
        self.book().end_escrow(&escrow, &[Purpose::Take])?;
        Ok(())
    }

    /// Gives up what is held or asked for: it will never be spent here, and is the payer's after its locktime.
    pub(crate) async fn cancel(&self, params: &Value) -> Result<Value, Refusal> {
        let hash = bytes(params, "payment_hash").ok_or_else(Refusal::not_found)?;
        let _busy = self.work_when_free(hash).await;
        let known = self.book().escrow(hash)?.filter(|escrow| escrow.incoming);
        let mut escrow = known.ok_or_else(Refusal::not_found)?;
        match escrow.stage {
            Stage::Asked | Stage::Held => {
                escrow.stage = Stage::Cancelled;
                escrow.reason = "given up".into();
                self.book().put_escrow(&escrow)?;
            }
            Stage::Cancelled | Stage::Failed => {}
            _ => return Err(Refusal::restricted("the payment is taken")),
        }
        Ok(json!({}))
    }
}

fn answer(escrow: &Escrow, terms: &Terms) -> Value {
    json!({
        "request": escrow.request,
        "mints": terms.mints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "payment_hash": hex::encode(escrow.hash),
    })
}

/// Whether ecash is locked as it was asked to be.
fn is_as_asked(lock: &Lock, terms: &Terms) -> Result<(), Refusal> {
    let what = if lock.hash != terms.hash {
        "another payment hash"
    } else if lock.key != terms.key {
        "another key"
    } else if lock.locktime != terms.locktime {
        "another time"
    } else {
        return Ok(());
    };
    Err(Refusal::restricted(format!("the token is locked to {what} than was asked for")))
}

/// Ecash with the witnesses that spend it: a preimage, or none, and a signature.
pub(crate) fn unlocked(
    mut proofs: Proofs,
    preimage: &str,
    key: &cdk::nuts::SecretKey,
) -> Result<Proofs, Refusal> {
    for proof in &mut proofs {
        let Proof { secret, witness, .. } = proof;
        let signature = key.sign(secret.as_bytes()).map_err(Refusal::fault)?.to_string();
        let (preimage, signatures) = (preimage.to_owned(), Some(vec![signature]));
        *witness = Some(Witness::HTLCWitness(HTLCWitness { preimage, signatures }));
    }
    Ok(proofs)
}
