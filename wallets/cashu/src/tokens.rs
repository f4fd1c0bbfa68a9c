//! Tokens: ecash to hand to somebody, and ecash that somebody handed to us. A token that is made is in the
//! book before anybody sees it, so it can be shown again or taken back; one that comes in is changed for
//! ecash of ours at once, at a mint that is trusted, or refused.

use std::{
    str::FromStr as _,
    sync::{Arc, atomic::Ordering},
};

use cdk::{
    Amount,
    nuts::{CurrencyUnit, PublicKey, SecretKey, SpendingConditions, Token},
    wallet::{ReceiveOptions, SendOptions},
};
use cdk_common::bitcoin::hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use cdk_common::wallet::OperationData;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    book::{BookError, Made, now},
    mint::{Mint, unclear},
    talk::Refusal,
    wallet::Wallet,
};

/// The longest token that is read, in bytes: some thousand pieces of ecash.
pub(crate) const LONGEST: usize = 500_000;

/// The key that tokens for us can be locked to (NUT-11), from the seed by a one-way function.
pub(crate) fn key(seed: &[u8; 64]) -> Result<SecretKey, cdk::nuts::nut01::Error> {
    let mut engine = HmacEngine::<sha256::Hash>::new(seed);
    engine.input(b"openagents cashu p2pk 1");
    SecretKey::from_slice(&Hmac::from_engine(engine).to_byte_array())
}

impl Wallet {
    /// Makes a token of `amount` millisatoshis at `mint`, or at the first that has so much; with a `lock`, only
    /// that public key can spend it.
    pub(crate) async fn send_token(&self, params: &Value) -> Result<Value, Refusal> {
        let amount = params["amount"].as_u64().filter(|amount| *amount > 0);
        let amount = amount.ok_or_else(|| Refusal::restricted("a token needs an amount"))?;
        let sats = crate::incoming::whole(amount)?;
        let mint = self.holder(params["mint"].as_str(), sats).await?;
        let _turn = mint.turn.read().await;
        mint.check_keys(self.shared_book()).await?;
        let lock = params["lock"].as_str().map(PublicKey::from_str).transpose();
        let lock =
            lock.map_err(|_| Refusal::restricted("the token cannot be locked to that: it is no key"))?;
        let conditions = lock.map(|key| SpendingConditions::new_p2pk(key, None));
        let options = SendOptions { include_fee: true, conditions, ..SendOptions::default() };
        let prepared =
            mint.kit.prepare_send(Amount::from(sats), options).await.map_err(|error| match error {
                cdk::Error::InsufficientFunds => Refusal::insufficient(format!(
                    "the mint {} does not hold {sats} sat of yours to spend",
                    mint.url
                )),
                error => unclear(&error),
            })?;
        let mut made = Made {
            operation: prepared.operation_id().to_string(),
            mint: mint.name(),
            sats,
            token: String::new(),
            state: "made".into(),
            created_at: now(),
        };
        self.book().put_token(&made)?;
        mint.untidy.store(true, Ordering::Release);
        let token = prepared.confirm(None).await.map_err(|error| unclear(&error))?;
        made.token = token.to_string();
        self.book().put_token(&made)?;
        Ok(made.value())
    }

    /// The named mint, or the first that holds so many satoshis.
    async fn holder(&self, name: Option<&str>, sats: u64) -> Result<&Arc<Mint>, Refusal> {
        if let Some(name) = name {
            return self.mint(name.trim_end_matches('/')).ok_or_else(|| untrusted(name));
        }
        for mint in &self.mints {
            if mint.balance().await? >= sats {
                return Ok(mint);
            }
        }
        Err(Refusal::insufficient(format!("no mint holds {sats} sat of yours to spend now")))
    }

    /// Takes in a token: changes its ecash for ours, so that whoever gave it cannot spend it any more.
    pub(crate) async fn receive_token(&self, params: &Value) -> Result<Value, Refusal> {
        let text = params["token"].as_str().unwrap_or_default().trim();
        let text = text.strip_prefix("cashu:").unwrap_or(text);
        if text.len() > LONGEST {
            return Err(Refusal::restricted("the token is too long"));
        }
        let token = Token::from_str(text).map_err(|_| Refusal::restricted("that is no Cashu token"))?;
        let url = token.mint_url().map_err(|_| Refusal::restricted("the token is of several mints"))?;
        let mint = self.mint(&url.to_string()).ok_or_else(|| untrusted(&url.to_string()))?;
        if token.unit() != Some(CurrencyUnit::Sat) {
            return Err(Refusal::restricted("the token is not in satoshis"));
        }
        let keys =
            token.p2pk_pubkeys().map_err(|_| Refusal::restricted("the token's lock makes no sense"))?;
        if !keys.is_empty() && !keys.contains(&self.key.public_key()) {
            return Err(Refusal::restricted("the token is locked to another key"));
        }
        let value = u64::from(token.value().map_err(|_| Refusal::restricted("the token's value is no sum"))?);
        let _turn = mint.turn.read().await;
        mint.check_keys(self.shared_book()).await?;
        self.has_room(mint, value.saturating_mul(1_000)).await?;
        mint.kit.verify_token_dleq(&token).await.map_err(|error| not_taken(mint, &error))?;
        mint.untidy.store(true, Ordering::Release);
        let options =
            ReceiveOptions { p2pk_signing_keys: vec![self.key.clone()], ..ReceiveOptions::default() };
        let sats = mint.kit.receive(text, options).await.map_err(|error| not_taken(mint, &error))?;
        Ok(json!({ "amount": u64::from(sats) * 1_000, "mint": mint.name() }))
    }

    /// The tokens that were made here, newest first. Those that may have been taken are asked about.
    pub(crate) async fn list_tokens(&self) -> Result<Value, Refusal> {
        let all = self.book().tokens()?;
        let mut values = Vec::new();
        for mut made in all {
            if made.state == "made" && !made.token.is_empty() && self.is_spent(&made).await == Some(true) {
                made.state = "spent".into();
                self.book().put_token(&made)?;
            }
            values.push(made.value());
        }
        Ok(json!({ "tokens": values }))
    }

    /// `None` if its mint does not say.
    async fn is_spent(&self, made: &Made) -> Option<bool> {
        let mint = self.mint(&made.mint)?;
        let operation = Uuid::from_str(&made.operation).ok()?;
        let _turn = mint.turn.read().await;
        match mint.store.get_saga(&operation).await.ok()? {
            // The dev kit lets go of it when it has seen it spent.
            None => Some(true),
            Some(_) => mint.kit.check_send_status(operation).await.ok(),
        }
    }

    /// Takes a token back that nobody has taken.
    pub(crate) async fn reclaim_token(&self, params: &Value) -> Result<Value, Refusal> {
        let id = params["id"].as_str().unwrap_or_default();
        let found = self.book().tokens()?.into_iter().find(|made| made.operation == id);
        let mut made = found.ok_or_else(Refusal::not_found)?;
        if made.state == "reclaimed" {
            return Ok(made.value());
        }
        if self.is_spent(&made).await == Some(true) {
            made.state = "spent".into();
            self.book().put_token(&made)?;
            return Err(Refusal::restricted("somebody has taken the token"));
        }
        if is_locked(&made.token) {
            return Err(Refusal::restricted(
                "the token is locked to another key, and only that can spend it",
            ));
        }
        let mint = self.mint(&made.mint).ok_or_else(|| untrusted(&made.mint))?;
        let _turn = mint.turn.read().await;
        let operation = Uuid::from_str(&made.operation).map_err(Refusal::fault)?;
        mint.untidy.store(true, Ordering::Release);
        mint.kit.revoke_send(operation).await.map_err(|error| not_taken(mint, &error))?;
        made.state = "reclaimed".into();
        self.book().put_token(&made)?;
        Ok(made.value())
    }

    /// Writes down tokens that a crash kept from being shown: the dev kit knows whether they were made.
    pub(crate) async fn find_unseen(&self, mint: &Mint) -> Result<(), BookError> {
        let unseen = |made: &Made| made.state == "made" && made.token.is_empty() && made.mint == mint.name();
        let unseen: Vec<Made> = self.book().tokens()?.into_iter().filter(unseen).collect();
        for mut made in unseen {
            // Whoever is making it now has its turn.
            let Ok(_turn) = mint.turn.try_write() else { return Ok(()) };
            let Ok(operation) = Uuid::from_str(&made.operation) else { continue };
            let Ok(saga) = mint.store.get_saga(&operation).await else { continue };
            match saga.map(|saga| saga.data) {
                // It was taken back before anything was made of it.
                None => made.state = "reclaimed".into(),
                Some(OperationData::Send(data)) => match data.token {
                    Some(token) => made.token = token,
                    None => continue,
                },
                Some(_) => continue,
            }
            self.book().put_token(&made)?;
        }
        Ok(())
    }
}

/// Whether only another key can spend a token.
fn is_locked(token: &str) -> bool {
    Token::from_str(token).is_ok_and(|token| token.p2pk_pubkeys().is_ok_and(|keys| !keys.is_empty()))
}

pub(crate) fn untrusted(mint: &str) -> Refusal {
    let mint: String = mint.chars().filter(|c| !c.is_control()).take(100).collect();
    Refusal::restricted(format!(
        "the mint {mint} is not one that you trust, and was not asked; add it to wallet.cashu.mints if you do"
    ))
}

/// Why ecash was not taken in.
fn not_taken(mint: &Mint, error: &cdk::Error) -> Refusal {
    match error {
        cdk::Error::TokenAlreadySpent => Refusal::restricted("the token was spent before"),
        cdk::Error::TokenPending => Refusal::restricted("the token is being spent"),
        cdk::Error::CouldNotVerifyDleq => {
            Refusal::restricted(format!("the token does not prove that the mint {} signed it", mint.url))
        }
        error => unclear(error),
    }
}

impl Made {
    fn value(&self) -> Value {
        json!({
            "id": self.operation,
            "mint": self.mint,
            "amount": self.sats * 1_000,
            "token": self.token,
            "state": self.state,
            "created_at": self.created_at,
        })
    }
}
