//! Ecash in escrow that goes back before its locktime: the payee gives it up and signs it away, and the payer
//! changes it for new. Whoever has the token and its release can spend it, so a release is for the payer alone.

use std::sync::Arc;

use cdk::{
    nuts::{HTLCWitness, Proofs, Witness},
    secp256k1::schnorr::Signature,
};
use cdk_common::bitcoin::hashes::{Hash as _, sha256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    book::{
        Bytes,
        escrows::{Escrow, Stage},
    },
    held::unlocked,
    talk::Refusal,
    terms::Terms,
    tokens::LONGEST,
    wallet::{Wallet, bytes},
};

/// What opens each piece of a token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    /// In hexadecimal.
    preimage: String,
    /// One for each piece, in any order.
    signatures: Vec<String>,
}

impl Wallet {
    /// Gives up what is held, and says what the payer can take it back with.
    pub(crate) async fn release_ecash(&self, params: &Value) -> Result<Value, Refusal> {
        let hash = bytes(params, "payment_hash").ok_or_else(Refusal::not_found)?;
        let preimage = bytes(params, "preimage").filter(|preimage| opens(preimage, hash));
        let preimage = preimage.ok_or_else(|| Refusal::restricted("that is not the preimage"))?;
        self.cancel(params).await?;
        let escrow = self.book().escrow(hash)?.filter(|escrow| escrow.stage == Stage::Cancelled);
        let escrow = escrow.ok_or_else(|| Refusal::restricted("the payer has it back already"))?;
        if escrow.proofs.is_empty() {
            return Err(Refusal::restricted("nothing was locked for it"));
        }
        let key = self.escrow_keys.claim(hash).map_err(Refusal::fault)?;
        let preimage = hex::encode(preimage);
        let opened = unlocked(escrow.ecash()?, &preimage, &key)?;
        let signatures = opened.iter().filter_map(|proof| proof.witness.as_ref()?.signatures());
        let release = Release { preimage, signatures: signatures.flatten().collect() };
        Ok(json!({ "release": serde_json::to_string(&release).map_err(Refusal::fault)? }))
    }

    /// Takes back what we locked, with a release of the payee's. Safe to repeat.
    pub(crate) async fn take_back_ecash(self: &Arc<Self>, params: &Value) -> Result<Value, Refusal> {
        let hash = bytes(params, "payment_hash").ok_or_else(Refusal::not_found)?;
        let text = params["release"].as_str().filter(|text| text.len() <= LONGEST).unwrap_or_default();
        let release = serde_json::from_str::<Release>(text);
        let release = release.map_err(|_| Refusal::restricted("that is no release"))?;
        let wallet = self.clone();
        // Whoever asked may be gone before it is over.
        let taking = tokio::spawn(async move {
            let _busy = wallet.work_when_free(hash).await;
            wallet.take_released(hash, &release).await
        });
        taking.await.map_err(Refusal::fault)??;
        let known = self.book().escrow(hash)?.ok_or_else(Refusal::not_found)?;
        match known.stage {
            Stage::Failed => Ok(known.value()),
            Stage::Paid | Stage::Unproven => Err(Refusal::failed("the payee took it, and released it after")),
            _ => Err(Refusal::fault(format!(
                "the mint {} has not said yet whether the ecash is yours again; it is asked again",
                known.mint
            ))),
        }
    }

    async fn take_released(&self, hash: Bytes, release: &Release) -> Result<(), Refusal> {
        let known = self.book().escrow(hash)?.filter(|escrow| !escrow.incoming);
        let escrow = known.ok_or_else(Refusal::not_found)?;
        if escrow.stage != Stage::Locked {
            return Ok(());
        }
        // Looked at here: a mint that refuses would leave open whether it might not.
        let opened = open_with(&escrow, release)?;
        let mint = self.mint_of(&escrow)?;
        let _turn = mint.turn.read().await;
        self.take_back(&mint, escrow, opened, "the payee released it, and it is yours again").await
    }
}

fn opens(preimage: &Bytes, hash: Bytes) -> bool {
    sha256::Hash::hash(preimage).to_byte_array() == hash
}

/// The ecash of an escrow with the witnesses of a release, each of which has to open it.
fn open_with(escrow: &Escrow, release: &Release) -> Result<Proofs, Refusal> {
    let wrong = || Refusal::restricted("the release does not open what is locked");
    let mut preimage = [0; 32];
    hex::decode_to_slice(&release.preimage, &mut preimage).map_err(|_| wrong())?;
    if !opens(&preimage, escrow.hash) {
        return Err(wrong());
    }
    let key = Terms::read(&escrow.request)?.key;
    let mut proofs = escrow.ecash()?;
    if release.signatures.len() != proofs.len() {
        return Err(wrong());
    }
    for proof in &mut proofs {
        let signs = |text: &&String| {
            let signature: Result<Signature, _> = text.parse();
            signature.is_ok_and(|signature| key.verify(proof.secret.as_bytes(), &signature).is_ok())
        };
        let signature = release.signatures.iter().find(signs).ok_or_else(wrong)?;
        let (preimage, signatures) = (release.preimage.clone(), Some(vec![signature.clone()]));
        proof.witness = Some(Witness::HTLCWitness(HTLCWitness { preimage, signatures }));
    }
    Ok(proofs)
}
