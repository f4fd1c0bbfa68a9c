//! What a cheat would write: requests for ecash, and tokens, that are almost those that were asked for.

use std::{str::FromStr as _, sync::Arc};

use cdk::{
    mint::Mint,
    mint_url::MintUrl,
    nuts::{PaymentRequest, SecretKey, Token},
};
use serde_json::{Value, json};

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A request like another, but for what is asked.
pub(crate) fn request(asked: &Value) -> Result<Value, String> {
    let mut request =
        PaymentRequest::from_str(asked["request"].as_str().unwrap_or_default()).map_err(text)?;
    if let Some(sats) = asked["sats"].as_u64() {
        request.amount = Some(sats.into());
    }
    if let Some(mint) = asked["url"].as_str() {
        request.mints = vec![MintUrl::from_str(mint).map_err(text)?];
    }
    let lock = request.nut10.as_mut().ok_or("it asks for no lock")?;
    if let Some(hash) = asked["hash"].as_str() {
        hash.clone_into(&mut lock.data);
    }
    for tag in lock.tags.iter_mut().flatten() {
        let name = tag.first().cloned().unwrap_or_default();
        if let Some(value) = asked[name.as_str()].as_str() {
            *tag = vec![name, value.to_owned()];
        }
    }
    Ok(json!({ "request": request.to_string() }))
}

/// A token like another, but for what is done to it.
pub(crate) fn token(mint: &Arc<Mint>, asked: &Value) -> Result<Value, String> {
    let token = Token::from_str(asked["token"].as_str().unwrap_or_default()).map_err(text)?;
    let mut proofs = token.proofs(&mint.keysets().keysets).map_err(text)?;
    match asked["how"].as_str().unwrap_or_default() {
        "without proof" => proofs.iter_mut().for_each(|proof| proof.dleq = None),
        "with a false proof" => {
            for dleq in proofs.iter_mut().filter_map(|proof| proof.dleq.as_mut()) {
                dleq.e = SecretKey::generate();
            }
        }
        "with a piece twice" => proofs.push(proofs[0].clone()),
        "with a piece less" => drop(proofs.pop()),
        "as it is" => {}
        other => return Err(format!("what is {other:?}?")),
    }
    let url = match asked["url"].as_str() {
        Some(url) => MintUrl::from_str(url),
        None => return token_of(token.mint_url().map_err(text)?, proofs, &token),
    };
    token_of(url.map_err(text)?, proofs, &token)
}

fn token_of(url: MintUrl, proofs: cdk::nuts::Proofs, like: &Token) -> Result<Value, String> {
    let unit = like.unit().ok_or("it has no unit")?;
    Ok(json!({ "token": Token::new(url, proofs, None, unit).to_string() }))
}
