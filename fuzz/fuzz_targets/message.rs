//! Every family of events behind a valid signature: what is decoded is sound, what we write of it our
//! own gate takes, and it decodes to what was written.
#![no_main]

use libfuzzer_sys::{
    arbitrary::{Arbitrary, Result, Unstructured},
    fuzz_target,
};
use nostr::Tag;
use openagents_fuzz::{NOW, keys, words};
use openagents_protocol::{
    Keyring, Limits, Message, Verified, accept, ad, decode, encode_customer, encode_provider, request,
};
use openagents_types::{
    Draft, Feedback, Invoice, JobKind, JobRequest, JobSpec, Msat, Network, Notice, PaymentHash, ProviderKey,
    Status, Terms, Timestamp,
};

const CUSTOMER: u8 = 1;
const PROVIDER: u8 = 2;
const KINDS: [u16; 14] = [5, 5000, 5001, 5050, 5999, 6001, 6500, 6599, 7000, 7009, 7500, 9735, 11998, 31990];

#[derive(Debug)]
struct Case {
    event: Verified,
    text: String,
    amount: u64,
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let kind = if u.ratio(9, 10)? { *u.choose(&KINDS)? } else { u.arbitrary()? };
        let author = if (5000..6000).contains(&kind) || kind == 5 { CUSTOMER } else { PROVIDER };
        let at = if u.ratio(9, 10)? { NOW.secs() } else { u.arbitrary()? };
        let (text, amount) = (words::value(u)?, u.arbitrary()?);
        let tags = words::tags(u)?.into_iter().filter_map(|tag| Tag::parse(tag).ok()).collect();
        let content = words::value(u)?;
        Ok(Self { event: Verified::sign(&keys(author), kind, tags, content, at), text, amount })
    }
}

fn read(event: &Verified, reader: u8) -> Message {
    decode(event, &mut Keyring::new(keys(reader))).expect("what is written is read")
}

fn gated(event: &Verified) {
    let again = accept(event.json(), &Limits::default()).expect("our own gate takes what we write");
    assert_eq!(again.event(), event.event());
}

/// What a request says can be asked again, in our own words, in the open and sealed.
fn asked_again(said: &JobRequest) {
    for encrypt in [false, true] {
        let spec = JobSpec {
            kind: said.kind,
            inputs: said.inputs.clone(),
            params: said.params.clone(),
            output: said.output.clone(),
            bid: said.bid.unwrap_or(Msat::new(1)),
            provider: Some(ProviderKey::from_bytes(keys(PROVIDER).public_key().to_bytes())),
            encrypt,
            relays: said.relays.clone(),
            expires_at: NOW,
            refund_to: None,
        };
        let Ok(event) = request::encode(&spec, &keys(CUSTOMER), NOW) else { continue };
        gated(&event);
        let Message::Request(again) = read(&event, PROVIDER) else { panic!("not a request: {event:?}") };
        let (providers, bid) = (spec.provider.into_iter().collect::<Vec<_>>(), Some(spec.bid));
        assert_eq!((&again.inputs, &again.params), (&spec.inputs, &spec.params));
        assert_eq!((&again.output, &again.relays), (&spec.output, &spec.relays));
        assert_eq!((again.kind, again.bid, again.expires_at), (spec.kind, bid, Some(NOW)));
        assert_eq!(again.providers, providers);
    }
}

fn invoice(amount: u64) -> Invoice {
    Invoice {
        bolt11: "lnbcrt10n1qqqqqqqq".into(),
        payment_hash: PaymentHash::from_bytes([5; 32]),
        amount: Msat::new(amount),
        expires_at: NOW,
        network: Network::Regtest,
    }
}

/// Every word of a provider about a request reads as what it was.
fn answered(said: &JobRequest, text: &str, amount: u64) {
    let (price, message) = (Msat::new(amount), text.to_owned());
    let drafts = [
        Draft::Quote {
            invoice: invoice(amount),
            expires_at: NOW,
            eta: None,
            terms: Terms::Escrow,
            ecash: None,
        },
        Draft::Partial { index: 0, text: message.clone() },
        Draft::Notice(Notice::Processing { message: message.clone() }),
        Draft::Notice(Notice::RefundOwed {
            paid: PaymentHash::from_bytes([6; 32]),
            amount: price,
            message: message.clone(),
        }),
        Draft::Result { content: message, price, unused: Msat::ZERO, made_by: None },
    ];
    for draft in drafts {
        let (seller, mut ring) = (keys(PROVIDER), Keyring::new(keys(PROVIDER)));
        let Ok(event) = encode_provider(said, &draft, &seller, &mut ring, NOW) else { continue };
        gated(&event);
        match (&draft, read(&event, CUSTOMER)) {
            (Draft::Result { content, .. }, Message::Result(result)) => {
                assert_eq!(
                    (result.job, &result.content, result.kind),
                    (said.id, content, said.kind.result())
                );
                assert_eq!(result.amount, Some(price).filter(|price| !price.is_zero()));
            }
            (draft, Message::Feedback(feedback)) => heard(said, draft, &feedback),
            (draft, message) => panic!("{draft:?} reads as {message:?}"),
        }
    }
}

fn heard(said: &JobRequest, draft: &Draft, feedback: &Feedback) {
    assert_eq!(feedback.job, said.id);
    match draft {
        Draft::Quote { invoice, .. } => {
            assert_eq!((feedback.status, feedback.amount), (Status::PaymentRequired, Some(invoice.amount)));
            assert_eq!(feedback.bolt11.as_deref(), Some(invoice.bolt11.as_str()));
            assert_eq!((feedback.terms, feedback.expires_at), (Terms::Escrow, Some(NOW)));
        }
        Draft::Partial { text, .. } => {
            assert_eq!((feedback.status, &feedback.content), (Status::Partial, text));
        }
        Draft::Notice(Notice::RefundOwed { amount, message, .. }) => {
            assert_eq!(
                (feedback.status, feedback.amount, &feedback.message),
                (Status::Error, Some(*amount), message)
            );
            assert_eq!(feedback.code.as_deref(), Some("refund-owed"));
        }
        _ => assert_eq!(feedback.status, Status::Processing),
    }
}

fn requested(event: &Verified, said: &JobRequest, case: &Case) {
    assert_eq!((said.id.event(), said.kind.get()), (event.id(), event.event().kind.as_u16()));
    assert!(said.relays.len() <= 8 && said.relays.iter().all(|url| url.starts_with("ws")));
    assert!(said.output.len() <= 64);
    asked_again(said);
    if case.event.event().pubkey == keys(CUSTOMER).public_key() {
        answered(said, &case.text, case.amount);
        let claim = Draft::RefundClaim {
            provider: ProviderKey::from_bytes(keys(PROVIDER).public_key().to_bytes()),
            invoice: invoice(case.amount),
        };
        let claim = encode_customer(said.id, &claim, &keys(CUSTOMER), NOW).expect("a claim is short");
        let Message::RefundClaim(read) = read(&claim, PROVIDER) else { panic!("not a claim") };
        assert_eq!((read.job, read.by), (said.id, said.customer));
    }
}

fuzz_target!(|case: Case| {
    for reader in [CUSTOMER, PROVIDER] {
        let Ok(message) = decode(&case.event, &mut Keyring::new(keys(reader))) else { continue };
        let again = decode(&case.event, &mut Keyring::new(keys(reader)));
        assert_eq!(format!("{again:?}"), format!("Ok({message:?})"));
        match message {
            Message::Request(said) => requested(&case.event, &said, &case),
            Message::Feedback(feedback) => {
                let bolt11 = feedback.bolt11.unwrap_or("lnbc".into());
                assert!(bolt11.starts_with("lnbc") || bolt11.starts_with("lntb"), "{bolt11}");
            }
            Message::Result(result) => assert!(matches!(result.kind, 6000..=6999 | 7500..=7599)),
            Message::Ad(advertised) => {
                assert!(advertised.name.chars().count() <= 256 && advertised.about.chars().count() <= 256);
                // What is said in two spellings may be too large.
                let Ok(event) = ad::encode(&advertised, &keys(PROVIDER), NOW) else { continue };
                let Message::Ad(read) = read(&event, CUSTOMER) else { panic!("not an advertisement") };
                let seconds = advertised.timeout.0 / 1_000;
                assert_eq!(
                    (read.base, read.name, read.timeout.0 / 1_000),
                    (advertised.base, advertised.name, seconds)
                );
            }
            Message::Heartbeat(seen) => {
                assert_eq!(seen.at, Timestamp::from_secs(case.event.event().created_at.as_secs()))
            }
            Message::Receipt(received) => {
                let author = case.event.event().pubkey.to_bytes();
                assert_eq!(received.receipt.provider.as_bytes(), &author, "a receipt by somebody else");
            }
            Message::Cancels(_)
            | Message::RefundClaim(_)
            | Message::Ecash(_)
            | Message::Release(_)
            | Message::Countersignature(_)
            | Message::Other => {}
        }
    }
    let _ = JobKind::try_from(case.event.event().kind.as_u16());
});
