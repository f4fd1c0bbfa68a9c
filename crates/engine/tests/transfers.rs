//! Payments by hand, one rule a test. The worlds of `sim` have them in storms.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::collections::HashMap;

use openagents_engine::{
    Action, Ask, AskOptions, Config, CustomerConfig, Direction, Engine, Entry, Incoming, Input, Movement,
    Outgoing, Record, Transfer, TransferRefused, TransferState,
};
use openagents_types::{
    CustomerKey, DayBudget, EventId, Invoice, JobId, JobKind, JobSpec, Millis, Msat, Network, PaymentHash,
    Preimage, ProviderKey, Quote, Terms, Timestamp,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const PRICE: Msat = Msat::new(21_000);

fn preimage(n: u8) -> Preimage {
    Preimage::from_bytes([n; 32])
}

fn invoice(n: u8) -> Invoice {
    Invoice {
        bolt11: format!("lnbcrt{n}"),
        payment_hash: preimage(n).hash(),
        amount: PRICE,
        expires_at: NOW.after(Millis::from_secs(600)),
        network: Network::Regtest,
    }
}

fn config(limit: Option<u64>) -> Config {
    let mut customer = CustomerConfig::new(Network::Regtest);
    customer.budget = limit.map(|limit| DayBudget::new(Msat::new(limit), NOW, HashMap::new()));
    Config { provider: None, customer }
}

fn sent(n: u8) -> Transfer {
    let transfer = Transfer::new(invoice(n), Direction::Out, "a friend".into(), NOW);
    Transfer { max_fee: Msat::new(1_000), ..transfer }
}

fn received(n: u8) -> Transfer {
    Transfer::new(invoice(n), Direction::In, "coffee".into(), NOW)
}

fn begin(transfer: Transfer) -> (Engine, Vec<Action>) {
    let mut engine = Engine::new(config(None));
    let actions = engine.handle(NOW, Input::Transfer(Box::new(transfer)));
    (engine, actions)
}

fn pays(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Pay { .. })).count()
}

fn state(actions: &[Action]) -> Option<TransferState> {
    actions.iter().rev().find_map(|action| match action {
        Action::Save(Record::Transfer(transfer)) => Some(transfer.state.clone()),
        _ => None,
    })
}

fn entries(actions: &[Action]) -> Vec<(Movement, u64)> {
    let entry = |action: &Action| match action {
        Action::Save(Record::Entry(Entry { movement, amount, .. })) => Some((*movement, amount.get())),
        _ => None,
    };
    actions.iter().filter_map(entry).collect()
}

fn word(n: u8, state: Outgoing) -> Input {
    Input::Outgoing { hash: preimage(n).hash(), state }
}

fn failed() -> Outgoing {
    Outgoing::Failed { reason: "no route".into() }
}

#[test]
fn the_intent_is_saved_with_its_hash_before_the_wallet_hears_of_it() {
    let (_, actions) = begin(sent(1));
    let first = actions.iter().position(|action| matches!(action, Action::Pay { first: true, .. })).unwrap();
    let row = actions.iter().find_map(|action| match action {
        Action::Save(Record::Payment(row)) => Some(row.clone()),
        _ => None,
    });
    let row = row.unwrap();
    assert_eq!((row.hash, row.direction, row.amount), (preimage(1).hash(), Direction::Out, PRICE));
    assert_eq!(row.job, sent(1).id());
    assert!(first < actions.len() && state(&actions) == Some(TransferState::Pending));
}

#[test]
fn what_arrived_is_booked_with_its_fee_and_proof_once() {
    let (mut engine, _) = begin(sent(1));
    let settled = Outgoing::Settled { preimage: preimage(1), fee: Msat::new(3) };
    let lie = Outgoing::Settled { preimage: preimage(2), fee: Msat::ZERO };
    assert_eq!(engine.handle(NOW, word(1, lie)), [], "a false proof proves nothing");
    let actions = engine.handle(NOW, word(1, settled.clone()));
    assert_eq!(entries(&actions), [(Movement::Sent, 21_000), (Movement::Fee, 3)]);
    let proof = Some(preimage(1).to_hex());
    assert_eq!(
        state(&actions),
        Some(TransferState::Settled { amount: PRICE, fee: Msat::new(3), preimage: proof })
    );
    assert!(!engine.knows(preimage(1).hash()) && engine.next_wake().is_none());
    assert_eq!(engine.handle(NOW, word(1, settled)), []);
}

#[test]
fn failed_is_believed_the_second_time_and_a_late_arrival_is_booked_all_the_same() {
    let (mut engine, _) = begin(sent(1));
    let once = engine.handle(NOW, word(1, failed()));
    assert_eq!(state(&once), Some(TransferState::Doubtful { reason: "no route".into() }));
    let again = engine.handle(engine.next_wake().unwrap(), Input::Tick);
    assert_eq!(again, [Action::LookUpOutgoing(preimage(1).hash())]);
    let twice = engine.handle(NOW, word(1, failed()));
    let returned = TransferState::Returned { reason: "no route".into() };
    assert_eq!(state(&twice), Some(returned.clone()));
    assert_eq!(pays(&twice), 0);

    let record = Transfer { state: returned, ..sent(1) };
    engine.handle(NOW, Input::Recall(Box::new(Record::Transfer(Box::new(record)))));
    let late = Outgoing::Settled { preimage: preimage(1), fee: Msat::ZERO };
    assert_eq!(entries(&engine.handle(NOW, word(1, late))), [(Movement::Sent, 21_000)]);
}

#[test]
fn after_a_crash_the_wallet_is_asked_and_only_what_it_never_heard_of_is_sent() {
    let restart = |at| Engine::restore(at, config(None), [Record::Transfer(Box::new(sent(1)))]);
    let (mut engine, owed) = restart(NOW);
    assert_eq!(owed, [Action::LookUpOutgoing(preimage(1).hash())]);
    assert_eq!(engine.handle(NOW, word(1, Outgoing::Pending)), []);
    let actions = engine.handle(NOW, word(1, Outgoing::Unknown));
    assert!(matches!(actions.as_slice(), [Action::Pay { first: false, .. }]), "{actions:?}");

    let late = NOW.after(Millis::from_secs(1_300));
    let (mut engine, _) = restart(late);
    let actions = engine.handle(late, word(1, Outgoing::Unknown));
    assert_eq!(pays(&actions), 0, "an expired invoice is not paid");
    assert!(matches!(state(&actions), Some(TransferState::Returned { .. })), "{actions:?}");
}

#[test]
fn one_invoice_is_paid_once_however_often_it_is_asked() {
    let (mut engine, _) = begin(sent(1));
    assert_eq!(engine.may_transfer(NOW, &sent(1)), Err(TransferRefused::InHand));
    assert_eq!(engine.handle(NOW, Input::Transfer(Box::new(sent(1)))), []);
    assert_eq!(engine.may_transfer(NOW, &received(1)), Err(TransferRefused::InHand));
}

#[test]
fn an_invoice_serves_either_a_job_or_a_hand() {
    let job = JobId::from_bytes([7; 32]);
    let spec = JobSpec::new(JobKind::SUMMARIZATION, Msat::new(50_000), NOW.after(Millis::from_secs(300)));
    let options = AskOptions { window: Millis(1_000), patience: None, max_fee: Msat::ZERO };
    let ask = || {
        Input::Ask(Box::new(Ask::new(
            job,
            CustomerKey::from_bytes([1; 32]),
            "".into(),
            spec.clone(),
            options,
            NOW,
        )))
    };
    let quote = || {
        Input::Quote(Quote {
            job,
            provider: ProviderKey::from_bytes([9; 32]),
            event: EventId::from_bytes([5; 32]),
            price: PRICE,
            expires_at: NOW.after(Millis::from_secs(90)),
            invoice: invoice(1),
            eta: None,
            terms: Terms::Prepaid,
            ecash: None,
        })
    };
    let mut offered = Engine::new(config(None));
    offered.handle(NOW, ask());
    offered.handle(NOW, quote());
    assert_eq!(offered.may_transfer(NOW, &sent(1)), Err(TransferRefused::InHand), "an offer lies before us");
    let chosen = offered.handle(NOW.after(Millis(1_001)), Input::Tick);
    assert_eq!(pays(&chosen), 1);
    assert_eq!(offered.may_transfer(NOW, &sent(1)), Err(TransferRefused::InHand));

    let (mut by_hand, _) = begin(sent(1));
    by_hand.handle(NOW, ask());
    by_hand.handle(NOW, quote());
    assert_eq!(pays(&by_hand.handle(NOW.after(Millis(1_001)), Input::Tick)), 0, "it is paid by hand");
}

#[test]
fn what_may_not_be_paid_is_refused_before_anything_is_saved() {
    let refusal = |engine: &mut Engine, transfer: Transfer| {
        let refused = engine.may_transfer(NOW, &transfer).unwrap_err();
        assert_eq!(engine.handle(NOW, Input::Transfer(Box::new(transfer))), [], "{refused}");
        refused
    };
    let mut engine = Engine::new(config(Some(22_000 + 21_999)));
    let mainnet = Transfer { invoice: Invoice { network: Network::Mainnet, ..invoice(1) }, ..sent(1) };
    assert!(matches!(refusal(&mut engine, mainnet), TransferRefused::Network { .. }));
    let expiring = Transfer {
        invoice: Invoice { expires_at: NOW.after(Millis::from_secs(34)), ..invoice(1) },
        ..sent(1)
    };
    assert_eq!(refusal(&mut engine, expiring), TransferRefused::Expiring);
    assert_eq!(pays(&engine.handle(NOW, Input::Transfer(Box::new(sent(1))))), 1);
    let over = TransferRefused::OverBudget {
        asked: Msat::new(22_000),
        left: Msat::new(21_999),
        limit: Msat::new(43_999),
    };
    assert_eq!(refusal(&mut engine, sent(2)), over);
    engine.handle(NOW, word(1, failed()));
    engine.handle(NOW, word(1, failed()));
    assert_eq!(engine.may_transfer(NOW, &sent(2)), Ok(()), "what came back may be spent again");
}

#[test]
fn an_invoice_by_hand_is_waited_for_until_it_is_paid_or_nobody_can_pay_it() {
    let hash = preimage(1).hash();
    let heard = |state| Input::Incoming { hash, state };
    let (mut engine, actions) = begin(received(1));
    assert_eq!(pays(&actions), 0);
    assert_eq!(engine.handle(engine.next_wake().unwrap(), Input::Tick), [Action::LookUpIncoming(hash)]);
    assert_eq!(engine.handle(NOW, heard(Incoming::Open)), []);
    let paid = engine.handle(NOW, heard(Incoming::Settled { amount: Msat::new(22_000) }));
    assert_eq!(entries(&paid), [(Movement::Received, 22_000)], "what came, not what was asked");

    let (mut engine, _) = begin(received(1));
    assert_eq!(
        state(&engine.handle(NOW, heard(Incoming::Expired))),
        None,
        "paid in its last second, perhaps"
    );
    assert_eq!(state(&engine.handle(NOW, heard(Incoming::Cancelled))), Some(TransferState::Lapsed));
    let (mut engine, _) = begin(received(1));
    let long_after = NOW.after(Millis::from_secs(1_300));
    assert_eq!(state(&engine.handle(long_after, heard(Incoming::Unknown))), Some(TransferState::Lapsed));
    let lapsed = Transfer { state: TransferState::Lapsed, ..received(1) };
    engine.handle(NOW, Input::Recall(Box::new(Record::Transfer(Box::new(lapsed)))));
    let late = engine.handle(NOW, heard(Incoming::Settled { amount: PRICE }));
    assert_eq!(entries(&late), [(Movement::Received, 21_000)], "money that comes late is booked");
    assert_eq!(PaymentHash::from_bytes(*received(1).id().as_bytes()), hash);
}
