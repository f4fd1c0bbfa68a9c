//! Examples as full events, made by the market's own codec and read back with it.

use anyhow::{Context, bail, ensure};
use nostr::{Event, JsonUtil, Keys, SecretKey, secp256k1};
use openagents_protocol::{Keyring, Limits, Message, Verified, accept, decode, encode_provider, request};
use openagents_registry::{Example, KindSchema};
use openagents_types::{Draft, JobRequest, Msat, Timestamp};
use serde_json::Value;

/// When the examples were asked: a round number ahead of the first release.
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Ten minutes later the result is of no more use.
const EXPIRES: Timestamp = Timestamp::from_secs(1_800_000_600);
/// Published keys, good for examples only.
const CUSTOMER: u8 = 1;
const PROVIDER: u8 = 2;

/// One example over the wire.
pub(super) struct Exchange {
    pub(super) request: Value,
    pub(super) result: Value,
}

/// All examples of a kind. Each request is read back and validated, and so is each result.
pub(super) fn of(schema: &KindSchema) -> anyhow::Result<Vec<Exchange>> {
    schema.examples.iter().map(|example| exchange(schema, example)).collect()
}

fn exchange(schema: &KindSchema, example: &Example) -> anyhow::Result<Exchange> {
    let (customer, provider) = (keys(CUSTOMER)?, keys(PROVIDER)?);
    let spec = example.spec(schema.kind, EXPIRES)?;
    let asked = settled(&request::encode(&spec, &customer, NOW)?, &customer)?;
    let read = read_request(&asked, &provider)?;
    ensure!(
        (&read.inputs, &read.params, &read.output) == (&spec.inputs, &spec.params, &spec.output),
        "the request reads back differently"
    );
    let params = schema.read_request(&read)?;
    ensure!(params.unknown().is_empty(), "a parameter is unknown");

    let draft = Draft::Result {
        content: example.content(),
        price: example.bid_msat,
        unused: Msat::ZERO,
        made_by: None,
    };
    let said = encode_provider(&read, &draft, &provider, &mut Keyring::new(provider.clone()), NOW)?;
    let said = settled(&said, &provider)?;
    let Message::Result(result) = decode(&said, &mut Keyring::new(customer))? else {
        bail!("the result does not read as one");
    };
    ensure!(result.job == read.id, "the result is about another job");
    schema.check_result(&result.content, &params)?;
    Ok(Exchange { request: serde_json::from_str(asked.json())?, result: serde_json::from_str(said.json())? })
}

fn read_request(event: &Verified, reader: &Keys) -> anyhow::Result<JobRequest> {
    match decode(event, &mut Keyring::new(reader.clone()))? {
        Message::Request(request) => Ok(*request),
        other => bail!("the request reads as {other:?}"),
    }
}

/// The same event with the signature that BIP 340 gives without extra randomness, so that it is the same
/// each time; through the gate like any other.
fn settled(event: &Verified, keys: &Keys) -> anyhow::Result<Verified> {
    let event = event.event();
    let digest = secp256k1::Message::from_digest(event.id.to_bytes());
    let secp = secp256k1::Secp256k1::new();
    let pair = secp256k1::Keypair::from_secret_key(&secp, keys.secret_key());
    let signature = secp.sign_schnorr_no_aux_rand(&digest, &pair);
    let signed = Event::new(
        event.id,
        event.pubkey,
        event.created_at,
        event.kind,
        event.tags.clone(),
        event.content.clone(),
        signature,
    );
    accept(&signed.as_json(), &Limits::default()).context("an example does not pass the gate")
}

fn keys(byte: u8) -> anyhow::Result<Keys> {
    Ok(Keys::new(SecretKey::from_slice(&[byte; 32])?))
}
