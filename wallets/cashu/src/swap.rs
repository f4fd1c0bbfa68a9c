//! One exchange of ecash at a mint (NUT-03) that can be asked for again and again until its end is known: its
//! inputs and the secrets of its outputs are in the book first, and a mint spends an input once and signs an
//! output once.

use std::{
    collections::HashMap,
    sync::{Mutex, atomic::Ordering},
};

use cdk::{
    Amount,
    amount::{FeeAndAmounts, SplitTarget},
    dhke::{blind_message, construct_proofs},
    nuts::{
        BlindSignature, BlindedMessage, CheckStateRequest, CurrencyUnit, Id, KeySetInfo, Keys,
        PreMintSecrets, Proof, ProofState, Proofs, ProofsMethods as _, PublicKey, RestoreRequest, SecretKey,
        State as ProofIs, SwapRequest, nut12,
    },
    secret::Secret,
    wallet::MintConnector as _,
};
use cdk_common::wallet::{KeysetLoadPolicy, ProofInfo};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    book::Book,
    mint::{Mint, unclear},
    talk::Refusal,
};

/// The keyset that a mint signs with now.
pub(crate) struct Active {
    pub(crate) id: Id,
    pub(crate) parts: FeeAndAmounts,
    /// What a thousand pieces of it cost to spend, in satoshis.
    pub(crate) fee_ppk: u64,
}

/// A piece of ecash that is to be.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Output {
    pub(crate) secret: Secret,
    pub(crate) r: SecretKey,
    pub(crate) amount: Amount,
    /// Whether it is for somebody else.
    pub(crate) locked: bool,
}

/// An exchange.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Swap {
    /// What is given, with the witnesses that spend it.
    pub(crate) inputs: Proofs,
    /// The keyset of all that is got.
    pub(crate) keyset: Id,
    /// What is got.
    pub(crate) outputs: Vec<Output>,
}

/// What a mint says of an exchange.
pub(crate) enum Ending {
    /// It was made, now or before. Pieces that an older life of this wallet had signed for other inputs count.
    Done(Proofs),
    /// It was not made, and the mint says why.
    Refused(String),
    /// It was not made yet, for all that the mint says.
    Open,
    /// Its inputs went elsewhere.
    Spent(Vec<ProofState>),
}

impl Swap {
    /// As it is written down.
    pub(crate) fn write(&self) -> Result<String, Refusal> {
        serde_json::to_string(self).map_err(Refusal::fault)
    }

    /// As it was written down.
    pub(crate) fn read(text: &str) -> Result<Self, Refusal> {
        serde_json::from_str(text).map_err(Refusal::fault)
    }

    /// What the mint keeps, in satoshis.
    pub(crate) fn fee(&self) -> Result<u64, Refusal> {
        let given = u64::from(self.inputs.total_amount().map_err(Refusal::fault)?);
        let got = self.outputs.iter().map(|output| u64::from(output.amount)).sum();
        given.checked_sub(got).ok_or_else(|| Refusal::fault("an exchange that gives more than it gets"))
    }

    fn messages(&self) -> Result<Vec<BlindedMessage>, Refusal> {
        let message = |output: &Output| {
            let (blinded, _) = blind_message(&output.secret.to_bytes(), Some(output.r.clone()))?;
            Ok(BlindedMessage::new(output.amount, self.keyset, blinded))
        };
        let messages: Result<_, cdk::dhke::Error> = self.outputs.iter().map(message).collect();
        messages.map_err(Refusal::fault)
    }

    fn ys(&self) -> Result<Vec<PublicKey>, Refusal> {
        self.inputs.ys().map_err(Refusal::fault)
    }

    /// The ecash of those outputs that were signed, which have to be what was asked for.
    fn unblind(
        &self,
        messages: &[BlindedMessage],
        mut signed: HashMap<PublicKey, BlindSignature>,
        keys: &Keys,
    ) -> Result<Proofs, Refusal> {
        let (mut signatures, mut rs, mut secrets) = (Vec::new(), Vec::new(), Vec::new());
        for (output, message) in self.outputs.iter().zip(messages) {
            let Some(signature) = signed.remove(&message.blinded_secret) else { continue };
            let key = keys.amount_key(output.amount);
            let genuine = match key.map(|key| signature.verify_dleq(key, message.blinded_secret)) {
                Some(Ok(()) | Err(nut12::Error::MissingDleqProof)) => true,
                Some(Err(_)) | None => false,
            };
            if signature.amount != output.amount || signature.keyset_id != self.keyset || !genuine {
                return Err(Refusal::fault("the mint signed something else than it was asked to"));
            }
            signatures.push(signature);
            rs.push(output.r.clone());
            secrets.push(output.secret.clone());
        }
        construct_proofs(signatures, rs, secrets, keys).map_err(Refusal::fault)
    }

    /// Whether these are all that the exchange is about: what is locked, or everything if nothing is.
    fn is_whole(&self, proofs: &Proofs) -> bool {
        let is_locked = self.outputs.iter().any(|output| output.locked);
        let mut needed = self.outputs.iter().filter(|output| output.locked == is_locked);
        needed.all(|output| proofs.iter().any(|proof| proof.secret == output.secret))
    }

    /// Its ecash, divided into what is for somebody else and what is ours.
    pub(crate) fn divide(&self, proofs: Proofs) -> (Proofs, Proofs) {
        let locked =
            |proof: &Proof| self.outputs.iter().any(|output| output.locked && output.secret == proof.secret);
        proofs.into_iter().partition(locked)
    }
}

impl Mint {
    /// Asks for an exchange, unless it is only to be asked `how` it stands, and says how that ended.
    pub(crate) async fn exchange(
        &self,
        book: &Mutex<Book>,
        swap: &Swap,
        how: Asking,
    ) -> Result<Ending, Refusal> {
        let keys = self.keys_of(book, swap.keyset).await?;
        let messages = swap.messages()?;
        let mut refused = None;
        if how == Asking::ToDoIt {
            self.untidy.store(true, Ordering::Release);
            match self.client.post_swap(SwapRequest::new(swap.inputs.clone(), messages.clone())).await {
                Ok(answer) if answer.signatures.len() == messages.len() => {
                    let ys = messages.iter().map(|message| message.blinded_secret);
                    let signed = ys.zip(answer.signatures).collect();
                    return swap.unblind(&messages, signed, &keys).map(Ending::Done);
                }
                Ok(_) => {}
                Err(error) if error.is_definitive_failure() => {
                    refused = Some(error.to_string().chars().take(200).collect());
                }
                Err(_) => {}
            }
        }
        // In this order: what is spent now was signed before.
        let states = self.states(swap.ys()?).await?;
        let signed = self.signed(&messages).await?;
        let proofs = swap.unblind(&messages, signed, &keys)?;
        if swap.is_whole(&proofs) {
            return Ok(Ending::Done(proofs));
        }
        if states.iter().any(|state| state.state == ProofIs::Spent) {
            return Ok(Ending::Spent(states));
        }
        if states.iter().any(|state| state.state != ProofIs::Unspent) {
            return Ok(Ending::Open);
        }
        Ok(refused.map_or(Ending::Open, Ending::Refused))
    }

    /// How the mint says that ecash stands (NUT-07).
    pub(crate) async fn states(&self, ys: Vec<PublicKey>) -> Result<Vec<ProofState>, Refusal> {
        let request = CheckStateRequest { ys: ys.clone() };
        let mut states = self.client.post_check_state(request).await.map_err(|error| unclear(&error))?.states;
        let mut sorted = Vec::new();
        for y in ys {
            let at = states.iter().position(|state| state.y == y);
            let at = at.ok_or_else(|| Refusal::fault("the mint does not say how all of the ecash stands"))?;
            sorted.push(states.swap_remove(at));
        }
        Ok(sorted)
    }

    /// What the mint has signed of these (NUT-09).
    async fn signed(
        &self,
        messages: &[BlindedMessage],
    ) -> Result<HashMap<PublicKey, BlindSignature>, Refusal> {
        let request = RestoreRequest { outputs: messages.to_vec() };
        let answer = self.client.post_restore(request).await.map_err(|error| unclear(&error))?;
        if answer.outputs.len() != answer.signatures.len() {
            return Err(Refusal::fault("the mint does not say what it signed"));
        }
        let names = answer.outputs.into_iter().map(|output| output.blinded_secret);
        Ok(names.zip(answer.signatures).collect())
    }

    /// Its keysets in satoshis, old ones included, as it says now.
    pub(crate) async fn keysets(&self) -> Result<Vec<KeySetInfo>, Refusal> {
        let all = self.client.get_mint_keysets().await.map_err(|error| unclear(&error))?.keysets;
        Ok(all.into_iter().filter(|keyset| keyset.unit == CurrencyUnit::Sat).collect())
    }

    /// What it takes for spending these, in satoshis (NUT-02).
    pub(crate) async fn fee_of(&self, proofs: &Proofs) -> Result<u64, Refusal> {
        let keysets = self.keysets().await?;
        let mut ppk: u64 = 0;
        for (id, count) in proofs.count_by_keyset() {
            let keyset = keysets.iter().find(|keyset| keyset.id == id);
            let keyset = keyset.ok_or_else(|| Refusal::fault(format!("the mint has no keyset {id}")))?;
            ppk = ppk.saturating_add(keyset.input_fee_ppk.saturating_mul(count));
        }
        Ok(ppk.div_ceil(1_000))
    }

    /// The keyset that it signs with now, the cheapest if there are several.
    pub(crate) async fn active(&self, book: &Mutex<Book>) -> Result<Active, Refusal> {
        let active = self.keysets().await?.into_iter().filter(|keyset| keyset.active);
        let keyset = active.min_by_key(|keyset| keyset.input_fee_ppk);
        let keyset = keyset.ok_or_else(|| Refusal::fault("the mint signs nothing now"))?;
        // The dev kit has to know it as well, to spend its ecash later.
        let known = self.kit.keysets(KeysetLoadPolicy::default()).await.map_err(|error| unclear(&error))?;
        if !known.iter().any(|known| known.id == keyset.id) {
            self.kit.keysets(KeysetLoadPolicy::Refresh).await.map_err(|error| unclear(&error))?;
        }
        let keys = self.keys_of(book, keyset.id).await?;
        let amounts = keys.keys().keys().map(|amount| u64::from(*amount)).collect::<Vec<_>>();
        let parts = (keyset.input_fee_ppk, amounts).into();
        Ok(Active { id: keyset.id, parts, fee_ppk: keyset.input_fee_ppk })
    }

    /// Outputs that are ours, so many satoshis of them, found again by the seed (NUT-13).
    pub(crate) async fn ours(
        &self,
        seed: &[u8; 64],
        active: &Active,
        sats: u64,
    ) -> Result<Vec<Output>, Refusal> {
        let amount = Amount::from(sats);
        let count = amount.split(&active.parts).map_err(Refusal::fault)?.len();
        let count = u32::try_from(count).map_err(Refusal::fault)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let end = self.store.increment_keyset_counter(&active.id, count).await.map_err(Refusal::fault)?;
        let target = SplitTarget::default();
        let made = PreMintSecrets::from_seed(active.id, end - count, seed, amount, &target, &active.parts);
        let made = made.map_err(Refusal::fault)?.secrets.into_iter();
        let output = |one: cdk::nuts::PreMint| Output {
            secret: one.secret,
            r: one.r,
            amount: one.amount,
            locked: false,
        };
        Ok(made.map(output).collect())
    }

    /// Puts what an exchange brought us into the dev kit's store, and out what it cost. Safe to repeat: what the
    /// store knows already, or the mint calls spent, is left as it is.
    pub(crate) async fn take_in(&self, swap: &Swap, ours: Proofs) -> Result<(), Refusal> {
        let given = swap.ys()?;
        let (got, mut fresh) = (ours.ys().map_err(Refusal::fault)?, Vec::new());
        let known = self.known(&got).await?;
        let states = self.states(given.iter().chain(&got).copied().collect()).await?;
        let (before, after) = states.split_at(given.len());
        for (proof, state) in ours.into_iter().zip(after) {
            if state.state != ProofIs::Spent && !known.iter().any(|info| info.y == state.y) {
                let info = ProofInfo::new(proof, self.url.clone(), state.state, CurrencyUnit::Sat);
                fresh.push(info.map_err(Refusal::fault)?);
            }
        }
        if !fresh.is_empty() {
            self.store.update_proofs(fresh, Vec::new()).await.map_err(Refusal::fault)?;
        }
        self.write_off(before).await
    }

    /// What the dev kit's store has of these.
    async fn known(&self, ys: &[PublicKey]) -> Result<Vec<ProofInfo>, Refusal> {
        if ys.is_empty() {
            return Ok(Vec::new());
        }
        self.store.get_proofs_by_ys(ys.to_vec()).await.map_err(Refusal::fault)
    }

    /// Sets the inputs of an exchange aside, as far as they could be spent.
    pub(crate) async fn reserve(&self, swap: &Swap, operation: Uuid) -> Result<(), Refusal> {
        let mut free = self.known(&swap.ys()?).await?;
        free.retain(|info| info.state == ProofIs::Unspent);
        if free.is_empty() {
            return Ok(());
        }
        let ys = free.iter().map(|info| info.y).collect();
        self.store.reserve_proofs(ys, &operation).await.map_err(Refusal::fault)
    }

    /// Marks as spent what the mint calls spent, and frees what it does not.
    pub(crate) async fn write_off(&self, states: &[ProofState]) -> Result<(), Refusal> {
        let known = self.known(&states.iter().map(|state| state.y).collect::<Vec<_>>()).await?;
        let held = states.iter().filter(|state| known.iter().any(|info| info.y == state.y));
        let held: Vec<_> = held.collect();
        let that_are = |what: ProofIs| {
            held.iter().filter(|state| state.state == what).map(|state| state.y).collect::<Vec<_>>()
        };
        let (spent, left) = (that_are(ProofIs::Spent), that_are(ProofIs::Unspent));
        if !spent.is_empty() {
            self.store.update_proofs_state(spent, ProofIs::Spent).await.map_err(Refusal::fault)?;
        }
        if !left.is_empty() {
            self.kit.unreserve_proofs(left).await.map_err(Refusal::fault)?;
        }
        Ok(())
    }
}

/// What a mint is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// To make an exchange, if it did not before.
    ToDoIt,
    /// Whether it made it.
    WhetherDone,
}
