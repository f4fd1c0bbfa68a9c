//! A wallet in a child process, against a program that misbehaves on purpose: this test binary itself,
//! started again as `the_program`. What it does wrong is in its setup.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod fake;

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use fake::Fault;
use openagents_types::{DayBudget, EcashAsk, EcashToken, Invoice, Msat, Network, PaymentHash, Timestamp};
use openagents_wallet::{
    Incoming, Outgoing, Pay, Wallet, WalletError, WalletEvent,
    child::{Child, Limits, Program, Setup},
    ecash::{LockEcash, RequestEcash},
    nwc::Patience,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const SEED: &str = "5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed";

/// The fake program; it runs only with a setup on its stdin.
#[test]
#[ignore = "started by the other tests"]
fn the_program() {
    fake::run();
}

fn program(storage: &Path, fault: Fault) -> Program {
    let open = json!({ "network": "regtest", "storage": storage, "fault": fault });
    let limits = Limits {
        ready: Duration::from_secs(20),
        stop: Duration::from_secs(2),
        pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(100),
    };
    Program {
        path: std::env::current_exe().unwrap(),
        arguments: ["--exact", "the_program", "--ignored", "--nocapture"].map(String::from).to_vec(),
        setup: Setup::new(open.as_object().unwrap().clone(), vec![("seed", Zeroizing::new(SEED.into()))]),
        network: Network::Regtest,
        limits,
    }
}

struct Kept {
    wallet: Child,
    stop: CancellationToken,
    supervisor: tokio::task::JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Kept {
    fn start(program: impl FnOnce(&Path) -> Program) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut wallet, supervisor) = Child::new(program(dir.path()), || NOW);
        wallet.set_patience(Patience { call: Duration::from_secs(5), pay: Duration::from_secs(5) });
        let stop = CancellationToken::new();
        let supervisor = tokio::spawn(supervisor.run(stop.clone()));
        Self { wallet, stop, supervisor, dir }
    }

    async fn with(fault: Fault) -> Self {
        let mut kept = Self::start(|dir| program(dir, fault));
        kept.wallet.introduce().await.unwrap();
        kept
    }

    fn noted(&self, name: &str) -> usize {
        fake::noted(self.dir.path(), name)
    }

    async fn pay(&self, first_attempt: bool) -> Result<Outgoing, WalletError> {
        let invoice = invoice();
        self.wallet.pay(Pay { invoice: &invoice, max_fee: Msat::new(7), first_attempt }).await
    }

    /// Asks until the program is there again.
    async fn outgoing(&self) -> Outgoing {
        loop {
            match self.wallet.lookup_outgoing(hash()).await {
                Ok(state) => return state,
                Err(error) => assert!(!error.is_definitive(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn hash() -> PaymentHash {
    fake::PREIMAGE.hash()
}

fn invoice() -> Invoice {
    Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: hash(),
        amount: Msat::new(1_000),
        expires_at: NOW,
        network: Network::Regtest,
    }
}

fn settled() -> Outgoing {
    Outgoing::Settled { preimage: fake::PREIMAGE, fee: Msat::new(3) }
}

#[tokio::test]
async fn secrets_go_through_the_pipe_alone() {
    let kept = Kept::with(Fault::None).await;
    let info = kept.wallet.info().await.unwrap();
    assert_eq!(info.alias, format!("environment 0, seed {}, seen in arguments false", SEED.len()));
    assert!(info.hold && info.notifications && info.network == Network::Regtest);
    assert!(!format!("{:?} {:?}", kept.wallet, program(kept.dir.path(), Fault::None)).contains(SEED));
    assert_eq!(kept.wallet.balance().await.unwrap(), Msat::new(42));
    assert_eq!(kept.pay(true).await.unwrap(), settled());
    assert_eq!(kept.noted("max_fee 7"), 1, "the limit on fees is told");
    assert_eq!(kept.pay(false).await.unwrap(), settled());
    assert_eq!(kept.noted("paid"), 1);
}

#[tokio::test]
async fn noise_and_wrong_ids_change_nothing() {
    let kept = Kept::with(Fault::Noise).await;
    for _ in 0..20 {
        assert_eq!(kept.wallet.balance().await.unwrap(), Msat::new(42));
    }
    assert_eq!(kept.pay(true).await.unwrap(), settled());
}

#[tokio::test]
async fn silence_is_no_answer_and_a_late_one_is_still_heard() {
    let mut kept = Kept::with(Fault::Late).await;
    kept.wallet.set_patience(Patience { call: Duration::from_secs(2), pay: Duration::from_millis(100) });
    let mut news = kept.wallet.events();
    assert_eq!(kept.pay(true).await.unwrap(), Outgoing::Pending);
    let heard = news.recv().await.unwrap();
    assert_eq!(heard, WalletEvent::Outgoing { hash: hash(), state: settled() });
}

#[tokio::test]
async fn a_program_that_hangs_leaves_everything_unknown() {
    let mut kept = Kept::with(Fault::Hang).await;
    kept.wallet.set_patience(Patience { call: Duration::from_millis(50), pay: Duration::from_millis(50) });
    assert_eq!(kept.wallet.balance().await, Err(WalletError::Timeout));
    assert_eq!(kept.wallet.lookup_outgoing(hash()).await, Err(WalletError::Timeout));
    assert_eq!(kept.pay(true).await, Ok(Outgoing::Pending));
}

#[tokio::test]
async fn a_payment_that_the_wallet_has_not_read_yet_is_under_way() {
    let mut kept = Kept::with(Fault::Unread).await;
    kept.wallet.set_patience(Patience { call: Duration::from_secs(5), pay: Duration::from_secs(1) });
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        kept.wallet.lookup_outgoing(hash()).await
    };
    let (paid, known) = tokio::join!(kept.pay(true), meanwhile);
    assert_eq!((paid, known), (Ok(Outgoing::Pending), Ok(Outgoing::Pending)));
    assert_eq!(kept.outgoing().await, Outgoing::Unknown, "nobody is sending it any more");
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_payment_is_asked_about_and_pays_once() {
    let kept = Kept::with(Fault::Crash).await;
    assert_eq!(kept.pay(true).await, Ok(Outgoing::Pending), "it may have been sent");
    assert_eq!(kept.outgoing().await, settled());
    assert_eq!(kept.pay(false).await.unwrap(), settled());
    assert_eq!((kept.noted("started"), kept.noted("paid")), (2, 1));
}

#[tokio::test]
async fn a_line_that_is_too_long_is_read_past() {
    let mut kept = Kept::with(Fault::Giant).await;
    kept.wallet.set_patience(Patience { call: Duration::from_millis(500), pay: Duration::from_secs(5) });
    assert_eq!(kept.wallet.balance().await, Err(WalletError::Timeout));
    assert_eq!(kept.pay(true).await.unwrap(), settled());
    assert_eq!(kept.noted("started"), 1);
}

#[tokio::test]
async fn a_false_proof_and_an_answer_to_another_question_are_not_believed() {
    let kept = Kept::with(Fault::Lie).await;
    assert_eq!(kept.pay(true).await, Err(WalletError::FalseProof));
    assert!(!kept.wallet.lookup_outgoing(hash()).await.unwrap_err().is_definitive());
    let balance = kept.wallet.balance().await;
    assert!(matches!(balance, Err(WalletError::Garbled(_))), "{balance:?}");
}

#[tokio::test]
async fn our_own_budget_holds_before_the_program_is_asked() {
    let mut kept = Kept::with(Fault::None).await;
    kept.wallet.set_budget(DayBudget::new(Msat::new(1_006), NOW, HashMap::new()));
    let over = kept.pay(true).await;
    assert!(matches!(over, Err(WalletError::OverBudget(_))), "{over:?}");
    assert_eq!(kept.noted("paid"), 0);
}

#[tokio::test]
async fn a_program_that_cannot_run_says_why_and_moves_nothing() {
    let missing = |dir: &Path| Program { path: dir.join("none"), ..program(dir, Fault::None) };
    let elsewhere = |dir: &Path| Program { network: Network::Mainnet, ..program(dir, Fault::None) };
    let hurried = |dir: &Path| {
        let mut program = program(dir, Fault::NeverReady);
        program.limits.ready = Duration::from_millis(300);
        program
    };
    let mut refused = Vec::new();
    for mut kept in [
        Kept::start(missing),
        Kept::start(elsewhere),
        Kept::start(hurried),
        Kept::start(|dir| program(dir, Fault::Fatal)),
    ] {
        let error = kept.wallet.introduce().await.unwrap_err();
        assert!(matches!(error, WalletError::Unreachable(_)), "{error:?}");
        assert!(matches!(kept.pay(true).await, Err(WalletError::Unreachable(_))));
        assert_eq!(kept.noted("paid"), 0);
        refused.push(error.to_string());
    }
    let words = ["cannot start", "is on regtest, not on", "ready in time", "no chain here (CHAIN)"];
    for (error, words) in refused.iter().zip(words) {
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn it_ends_when_its_stdin_does_or_is_killed() {
    for (fault, ended) in [(Fault::None, 1), (Fault::Stubborn, 0)] {
        let kept = Kept::with(fault).await;
        let start = Instant::now();
        kept.stop.cancel();
        kept.supervisor.await.unwrap();
        assert_eq!(fake::noted(kept.dir.path(), "ended"), ended, "{fault:?}");
        assert_eq!(start.elapsed() >= Duration::from_secs(2), ended == 0, "{fault:?}");
        let pid = fake::pid(kept.dir.path());
        assert!(!Path::new("/proc").join(pid).exists(), "{fault:?}: it still runs");
    }
}

const LOCKTIME: Timestamp = Timestamp::from_secs(1_700_001_890);

fn request() -> RequestEcash {
    RequestEcash {
        amount: Msat::new(7_000),
        hash: hash(),
        locktime: LOCKTIME,
        expires_at: Timestamp::from_secs(1_700_000_090),
        description: "job".into(),
    }
}

#[tokio::test]
async fn only_a_program_that_names_all_of_it_has_ecash() {
    let plain = Kept::with(Fault::None).await;
    assert!(plain.wallet.ecash().is_none() && plain.wallet.info().await.unwrap().hold);
    let kept = Kept::with(Fault::Ecash).await;
    assert!(kept.wallet.ecash().is_some() && !kept.wallet.info().await.unwrap().hold);
}

#[tokio::test]
async fn ecash_is_requested_locked_and_accepted_in_the_programs_words() {
    let mut kept = Kept::with(Fault::Ecash).await;
    kept.wallet.set_budget(DayBudget::new(Msat::new(10_000), NOW, HashMap::new()));
    let ecash = kept.wallet.ecash().unwrap();
    let ask = ecash.request(request()).await.unwrap();
    assert_eq!(
        (ask.hash, ask.locktime, ask.mints.as_slice()),
        (hash(), LOCKTIME, ["https://mint.example".to_owned()].as_slice())
    );
    let lock =
        |amount, first_attempt| LockEcash { ask: &ask, amount, max_fee: Msat::new(3_000), first_attempt };
    let refused = ecash.lock(lock(Msat::new(6_000), true)).await.unwrap_err();
    assert!(refused.is_definitive(), "{refused}");
    for first_attempt in [true, false] {
        let locked = ecash.lock(lock(Msat::new(7_000), first_attempt)).await.unwrap();
        assert_eq!((locked.token.expose(), locked.fee), ("cashuBgood", Msat::new(2_000)));
    }
    assert_eq!(kept.noted("locked 7000 for at most 3000"), 2);
    let other = EcashAsk { hash: PaymentHash::from_bytes([9; 32]), ..ask.clone() };
    let over = LockEcash { ask: &other, ..lock(Msat::new(7_000), true) };
    assert!(matches!(ecash.lock(over).await, Err(WalletError::OverBudget(_))), "the day allows one");
    let accept = async |text: &str| ecash.accept(hash(), &EcashToken::new(text.into())).await;
    assert_eq!(accept("cashuBgood").await, Ok(Incoming::Held { amount: Msat::new(7_000) }));
    assert!(accept("cashuBshort").await.is_err_and(|error| error.is_definitive()));
    assert!(accept("cashuBaway").await.is_err_and(|error| !error.is_definitive()), "asked again");
    let release = ecash.release(fake::PREIMAGE).await.unwrap();
    ecash.take_back(hash(), &release).await.unwrap();
    assert_eq!(kept.noted(&format!("for {}", fake::PREIMAGE.to_hex())), 1);
}

#[tokio::test]
async fn a_request_for_something_else_is_not_offered() {
    let kept = Kept::with(Fault::OtherRequest).await;
    let refused = kept.wallet.ecash().unwrap().request(request()).await;
    assert!(matches!(refused, Err(WalletError::Garbled(_))), "{refused:?}");
}
