//! The program of the Spark wallet (`wallets/spark`), under its supervisor. Its own rules are proven on an
//! imitation of the SDK over a network with test money (`spark_fake/`, `spark_net/`), which is compared with the
//! SDK itself where that is. Skipped, and said so, where there is no Python.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that panics has failed, as it should")]

mod rules;
mod spark_net;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use openagents_types::{Invoice, Millis, Msat, Network};
use openagents_wallet::{
    HistoryFilter, Incoming, MakeInvoice, Outgoing, Pay, Wallet, WalletError, WalletEvent, Which,
    child::{Child, Limits, Program, Setup},
    nwc::Patience,
};
use rules::{PRICE, again, first, plain};
use serde_json::{Value, json};
use spark_net::{FUNDS, Fault, Net, now};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

const WORDS: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

/// How long anything may take on a busy machine before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);

fn here(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

/// The program on the imitation.
fn program(storage: &Path) -> Program {
    let open = json!({ "network": "regtest", "storage": storage });
    Program {
        path: python().unwrap(),
        arguments: ["-I".into(), here("tests/spark_fake/run.py"), script()].to_vec(),
        setup: setup(open, WORDS),
        network: Network::Regtest,
        limits: limits(),
    }
}

fn script() -> String {
    here("../../wallets/spark/openagents_spark.py")
}

fn setup(open: Value, words: &str) -> Setup {
    let Value::Object(open) = open else { panic!("no object") };
    Setup::new(open, vec![("seed", Zeroizing::new(words.into()))])
}

fn limits() -> Limits {
    Limits {
        ready: PATIENCE,
        stop: Duration::from_secs(10),
        pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(200),
    }
}

/// A Python, or `None` where there is none.
fn python() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("python3")).find(|path| path.is_file());
    if found.is_none() {
        println!("SKIPPED: there is no python3");
    }
    found
}

/// A running wallet.
struct Kept {
    wallet: Arc<Child>,
    stop: CancellationToken,
    supervisor: tokio::task::JoinHandle<()>,
}

impl Kept {
    async fn start(program: Program) -> Result<Self, WalletError> {
        let (mut wallet, supervisor) = Child::new(program, now);
        wallet.set_patience(Patience { call: Duration::from_secs(20), pay: Duration::from_secs(20) });
        let stop = CancellationToken::new();
        let supervisor = tokio::spawn(supervisor.run(stop.clone()));
        let introduced = wallet.introduce().await;
        if introduced.is_err() {
            stop.cancel();
        }
        introduced.map(|_| Self { wallet: Arc::new(wallet), stop, supervisor })
    }

    async fn end(self) {
        self.stop.cancel();
        self.supervisor.await.unwrap();
    }
}

/// A seller and a buyer on one network.
struct Market {
    seller: Arc<Child>,
    buyer: Arc<Child>,
    net: Net,
    dir: tempfile::TempDir,
    kept: [Kept; 2],
}

impl Market {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let net = Net::open(dir.path(), &["seller", "buyer"]);
        let seller = Kept::start(program(&dir.path().join("seller"))).await.unwrap();
        let buyer = Kept::start(program(&dir.path().join("buyer"))).await.unwrap();
        let (kept, one, two) = ([&seller, &buyer].map(|kept| kept.wallet.clone()), seller, buyer);
        let [seller, buyer] = kept;
        Self { seller, buyer, net, dir, kept: [one, two] }
    }

    async fn assert_moved(&self, amount: Msat) {
        let expected = FUNDS.checked_add(amount).unwrap();
        assert_eq!(self.seller.balance().await.unwrap(), expected);
        self.net.assert_conserved();
    }

    async fn assert_nothing_moved(&self) {
        self.assert_moved(Msat::ZERO).await;
        assert_eq!(self.buyer.balance().await.unwrap(), FUNDS);
    }

    async fn sent(&self, invoice: &Invoice) -> usize {
        self.net.moved(invoice.payment_hash)
    }

    /// An invoice of another network's ledger.
    async fn foreign(&self) -> Invoice {
        let dir = tempfile::tempdir().unwrap();
        Net::open(dir.path(), &["seller"]).invoice("seller", &plain(PRICE))
    }

    /// An invoice whose time is up.
    async fn expired(&self) -> Invoice {
        let wanted = MakeInvoice { expiry: Millis(0), ..plain(PRICE) };
        self.seller.make_invoice(wanted).await.unwrap()
    }

    /// Asks until the buyer's wallet says this of a payment.
    async fn until(&self, invoice: &Invoice, is_so: impl Fn(&Outgoing) -> bool) -> Outgoing {
        let start = Instant::now();
        loop {
            match self.buyer.lookup_outgoing(invoice.payment_hash).await {
                Ok(state) if is_so(&state) => return state,
                Ok(state) => assert!(start.elapsed() < PATIENCE, "{state:?}"),
                Err(error) => assert!(!error.is_definitive() && start.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn is_settled(state: &Outgoing) -> bool {
    matches!(state, Outgoing::Settled { .. })
}

/// Runs a test on a market, if there can be one here.
fn on_spark(test: impl AsyncFnOnce(Market)) {
    if python().is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { test(Market::open().await).await });
}

plain_wallet_tests!(on_the_imitation, crate::on_spark);

#[test]
fn one_killed_between_the_price_and_the_sending_has_sent_nothing_and_pays_once() {
    on_spark(async |market| {
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        market.net.set_fault(Some(Fault::DieAtPrice));
        assert_eq!(market.buyer.pay(first(&invoice)).await, Ok(Outgoing::Pending), "it may have been sent");
        let state = market.until(&invoice, |state| *state != Outgoing::Pending).await;
        assert_eq!(state, Outgoing::Unknown, "nothing was sent, so it may be paid");
        assert!(is_settled(&market.buyer.pay(again(&invoice)).await.unwrap()));
        assert_eq!(market.net.moved(invoice.payment_hash), 1);
        market.assert_moved(PRICE).await;
    });
}

#[test]
fn one_killed_as_it_sends_pays_once_whether_it_was_sent_or_not() {
    for fault in [Fault::DieUnsent, Fault::DieSent] {
        on_spark(async |market| {
            let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
            market.net.set_fault(Some(fault));
            assert_eq!(market.buyer.pay(first(&invoice)).await, Ok(Outgoing::Pending), "{fault:?}");
            assert!(is_settled(&market.until(&invoice, is_settled).await), "{fault:?}");
            assert!(is_settled(&market.buyer.pay(again(&invoice)).await.unwrap()));
            assert_eq!(market.net.moved(invoice.payment_hash), 1, "{fault:?}");
            market.assert_moved(PRICE).await;
        });
    }
}

#[test]
fn an_error_of_a_send_is_never_told_as_failed() {
    for fault in [Fault::ErrorUnsent, Fault::ErrorUnseen, Fault::ErrorBroke] {
        on_spark(async |market| {
            let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
            market.net.set_fault(Some(fault));
            let doubtful = market.buyer.pay(first(&invoice)).await.unwrap_err();
            assert!(matches!(doubtful, WalletError::Internal(_)), "{fault:?}: {doubtful:?}");
            if fault != Fault::ErrorUnsent {
                // It is sent again by itself, and by whoever asks; both under the name it has.
                for _ in 0..2 {
                    let state = market.buyer.lookup_outgoing(invoice.payment_hash).await;
                    assert_eq!(state, Ok(Outgoing::Pending), "{fault:?}");
                    let again = market.buyer.pay(first(&invoice)).await;
                    assert!(again.as_ref().is_err_and(|e| !e.is_definitive()), "{fault:?}: {again:?}");
                }
                market.net.set_fault(None);
            }
            assert!(is_settled(&market.until(&invoice, is_settled).await), "{fault:?}");
            assert_eq!(market.net.moved(invoice.payment_hash), 1, "{fault:?}");
            market.assert_moved(PRICE).await;
        });
    }
}

#[test]
fn a_payment_under_way_is_pending_until_it_arrives_or_comes_back() {
    on_spark(async |market| {
        let mut news = market.buyer.events();
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        market.net.set_fault(Some(Fault::Slow));
        let (buyer, paid) = (market.buyer.clone(), invoice.clone());
        let paying = tokio::spawn(async move { buyer.pay(first(&paid)).await });
        while market.net.moved(invoice.payment_hash) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let state = market.buyer.lookup_outgoing(invoice.payment_hash).await;
        assert_eq!(state, Ok(Outgoing::Pending));
        market.net.complete();
        let settled = paying.await.unwrap().unwrap();
        assert!(is_settled(&settled));
        let told = WalletEvent::Outgoing { hash: invoice.payment_hash, state: settled };
        assert_eq!(news.recv().await.unwrap(), told);
        market.assert_moved(PRICE).await;
        let returned = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        market.net.set_fault(Some(Fault::Returned));
        let state = market.buyer.pay(first(&returned)).await.unwrap();
        assert!(matches!(state, Outgoing::Failed { .. }), "{state:?}");
        market.assert_moved(PRICE).await;
    });
}

#[test]
fn what_proves_nothing_is_not_settled() {
    for fault in [Fault::NoProof, Fault::FalseProof] {
        on_spark(async |market| {
            let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
            market.net.set_fault(Some(fault));
            let (buyer, paid) = (market.buyer.clone(), invoice.clone());
            let paying = tokio::spawn(async move { buyer.pay(first(&paid)).await });
            while market.net.moved(invoice.payment_hash) == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            let state = market.buyer.lookup_outgoing(invoice.payment_hash).await;
            assert_eq!(state, Ok(Outgoing::Pending), "{fault:?}");
            market.net.set_fault(None);
            assert!(is_settled(&paying.await.unwrap().unwrap()), "{fault:?}");
        });
    }
}

#[test]
fn the_limit_on_fees_is_checked_before_anything_is_sent() {
    on_spark(async |market| {
        market.net.set_fee(3);
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        let with = |max_fee: u64| Pay { invoice: &invoice, max_fee: Msat::new(max_fee), first_attempt: true };
        let Ok(Outgoing::Failed { reason }) = market.buyer.pay(with(2_999)).await else {
            panic!("it was paid")
        };
        assert!(reason.contains("3000 msat"), "{reason}");
        assert_eq!(market.net.asked("send"), 0);
        let paid = market.buyer.pay(with(3_000)).await.unwrap();
        assert!(matches!(paid, Outgoing::Settled { fee, .. } if fee == Msat::new(3_000)), "{paid:?}");
    });
}

#[test]
fn parts_of_a_satoshi_are_refused_for_good() {
    on_spark(async |market| {
        let odd = MakeInvoice { amount: Msat::new(1_500), ..plain(PRICE) };
        let refused = market.seller.make_invoice(odd.clone()).await.unwrap_err();
        assert!(refused.is_definitive() && refused.to_string().contains("1500 msat"), "{refused}");
        let invoice = market.net.invoice("seller", &odd);
        let refused = market.buyer.pay(first(&invoice)).await.unwrap_err();
        assert!(refused.is_definitive() && refused.to_string().contains("1500 msat"), "{refused}");
        market.assert_nothing_moved().await;
    });
}

#[test]
fn unpaid_invoices_are_listed_for_whoever_asks_and_outlive_the_program() {
    on_spark(async |market| {
        let open = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        let paid = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        assert!(is_settled(&market.buyer.pay(first(&paid)).await.unwrap()));
        let Market { seller, net, dir, kept: [one, two], .. } = market;
        let until = Instant::now();
        while seller.lookup_incoming(paid.payment_hash).await != Ok(Incoming::Settled { amount: PRICE }) {
            assert!(until.elapsed() < PATIENCE);
        }
        one.end().await;
        two.end().await;
        let kept = Kept::start(program(&dir.path().join("seller"))).await.unwrap();
        let listed = async |params: Value| {
            let answer = kept.wallet.extension("list_transactions", params).await.unwrap();
            let rows = answer["transactions"].as_array().unwrap().clone();
            rows.iter().map(|row| (row["payment_hash"].clone(), row["state"].clone())).collect::<Vec<_>>()
        };
        let row = |invoice: &Invoice, state: &str| (json!(invoice.payment_hash.to_hex()), json!(state));
        assert_eq!(listed(json!({})).await, [row(&paid, "settled")]);
        let all = listed(json!({ "unpaid": true })).await;
        assert!(all.len() == 2 && all.contains(&row(&open, "pending")), "{all:?}");
        assert!(listed(json!({ "unpaid": true, "limit": 1, "offset": 2 })).await.is_empty());
        assert!(listed(json!({ "type": "outgoing", "unpaid": true })).await.is_empty());
        let state = kept.wallet.lookup_incoming(open.payment_hash).await.unwrap();
        assert_eq!(state, Incoming::Open);
        net.assert_conserved();
        kept.end().await;
    });
}

#[test]
fn a_book_that_was_lost_is_written_again_and_nothing_is_paid_a_second_time() {
    on_spark(async |market| {
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        assert!(is_settled(&market.buyer.pay(first(&invoice)).await.unwrap()));
        let Market { net, dir, kept: [_, buyer], .. } = market;
        buyer.end().await;
        let storage = dir.path().join("buyer");
        std::fs::remove_dir_all(&storage).unwrap();
        let kept = Kept::start(program(&storage)).await.unwrap();
        let rows =
            kept.wallet.history(HistoryFilter { which: Which::Outgoing, ..HistoryFilter::default() }).await;
        assert_eq!(rows.unwrap()[0].hash, invoice.payment_hash);
        assert!(is_settled(&kept.wallet.pay(first(&invoice)).await.unwrap()));
        assert_eq!((net.moved(invoice.payment_hash), net.asked("send")), (1, 1));
    });
}

/// Writes into a book that a payment was being sent when the program ended, and when its invoice expires.
fn left_sending(storage: &Path, invoice: &Invoice, expires: i64) {
    let code = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('INSERT INTO payments \
                (hash, way, stage, invoice, description, amount, created, expires) VALUES \
                (?, \"outgoing\", \"sending\", ?, \"\", 21000, 0, ?)', sys.argv[2:]); db.commit()";
    let mut insert = Command::new(python().unwrap());
    insert.args(["-c", code]).arg(storage.join("book.db"));
    insert.args([invoice.payment_hash.to_hex(), invoice.bolt11.clone(), expires.to_string()]);
    assert!(insert.status().unwrap().success());
}

#[test]
fn a_doubt_ends_in_failure_only_when_the_invoice_has_long_expired_and_nobody_saw_it() {
    on_spark(async |market| {
        let Market { net, dir, kept: [_seller, buyer], .. } = market;
        buyer.end().await;
        let storage = dir.path().join("buyer");
        let seconds = i64::try_from(now().secs()).unwrap();
        let [old, young, sent] = [(); 3].map(|()| net.invoice("seller", &plain(PRICE)));
        left_sending(&storage, &old, seconds - 3_700);
        left_sending(&storage, &young, seconds - 60);
        left_sending(&storage, &sent, seconds - 3_700);
        net.send_as_the_program_would("buyer", &sent);
        let kept = Kept::start(program(&storage)).await.unwrap();
        let state =
            async |invoice: &Invoice| kept.wallet.lookup_outgoing(invoice.payment_hash).await.unwrap();
        let start = Instant::now();
        while state(&old).await == Outgoing::Pending {
            assert!(start.elapsed() < PATIENCE, "it stays in doubt");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(matches!(state(&old).await, Outgoing::Failed { .. }));
        assert_eq!(state(&young).await, Outgoing::Pending);
        assert!(is_settled(&state(&sent).await), "somebody saw it");
        assert_eq!(
            (net.moved(old.payment_hash), net.moved(young.payment_hash), net.asked("send")),
            (0, 0, 0)
        );
        kept.end().await;
    });
}

#[test]
fn without_a_network_nothing_is_told_as_known() {
    on_spark(async |market| {
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        let Market { net, dir, kept: [_, buyer], .. } = market;
        buyer.end().await;
        std::fs::remove_dir_all(dir.path().join("buyer")).unwrap();
        net.set_fault(None);
        let kept = Kept::start(program(&dir.path().join("buyer"))).await.unwrap();
        net.set_fault(Some(Fault::Offline));
        let unknown = kept.wallet.pay(first(&invoice)).await.unwrap_err();
        assert!(matches!(unknown, WalletError::Internal(_)), "{unknown:?}");
        let made = kept.wallet.make_invoice(plain(PRICE)).await.unwrap_err();
        assert!(matches!(made, WalletError::Internal(_)), "{made:?}");
        assert_eq!(net.moved(invoice.payment_hash), 0);
        net.set_fault(None);
        assert!(is_settled(&kept.wallet.pay(again(&invoice)).await.unwrap()));
    });
}

#[test]
fn a_network_that_hangs_leaves_everything_unknown() {
    on_spark(async |market| {
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        assert_eq!(market.buyer.balance().await, Ok(FUNDS));
        market.net.set_fault(Some(Fault::Hang));
        let balance = market.buyer.balance().await.unwrap_err();
        assert!(matches!(balance, WalletError::Internal(_)), "{balance:?}");
        let paid = market.buyer.pay(first(&invoice)).await.unwrap_err();
        assert!(!paid.is_definitive(), "{paid:?}");
        market.net.set_fault(None);
        assert!(is_settled(&market.buyer.pay(again(&invoice)).await.unwrap()));
        assert_eq!(market.net.moved(invoice.payment_hash), 1);
    });
}

#[test]
fn a_library_that_prints_spoils_nothing() {
    on_spark(async |market| {
        market.net.set_fault(Some(Fault::Noise));
        for _ in 0..5 {
            assert_eq!(market.buyer.balance().await.unwrap(), FUNDS);
        }
        let invoice = market.seller.make_invoice(plain(PRICE)).await.unwrap();
        assert!(is_settled(&market.buyer.pay(first(&invoice)).await.unwrap()));
    });
}

#[test]
fn a_storage_serves_one_seed_one_network_and_one_program() {
    on_spark(async |market| {
        let Market { dir, kept: [seller, buyer], net: _net, .. } = market;
        let storage = dir.path().join("seller");
        let why = async |program: Program| Kept::start(program).await.err().unwrap().to_string();
        let second = why(program(&storage)).await;
        assert!(second.contains("IN_USE"), "{second}");
        seller.end().await;
        buyer.end().await;
        let words = "letter advice cage absurd amount doctor acoustic avoid letter advice cage above";
        let setup_of = |network: &str, words: &str| {
            setup(json!({ "network": network, "storage": storage, "api_key": "k".repeat(40) }), words)
        };
        let other = Program { setup: setup_of("regtest", words), ..program(&storage) };
        assert!(why(other).await.contains("another seed"));
        let Value::Object(open) = json!({ "network": "regtest", "storage": storage }) else { unreachable!() };
        let secret = |text: &str| Zeroizing::new(text.to_owned());
        let both = vec![("seed", secret(WORDS)), ("seed_passphrase", secret("TREZOR"))];
        let other = Program { setup: Setup::new(open, both), ..program(&storage) };
        assert!(why(other).await.contains("another seed"), "the same words with a passphrase");
        let setup = setup_of("mainnet", WORDS);
        let other = Program { setup, network: Network::Mainnet, ..program(&storage) };
        let refused = why(other).await;
        assert!(refused.contains("on regtest, not on mainnet"), "{refused}");
    });
}

/// The Python that has the SDK itself, or `None` where it is not: `cargo xtask test --only spark` brings it.
fn real_python() -> Option<PathBuf> {
    let found = std::env::var_os("OPENAGENTS_TEST_SPARK").map(PathBuf::from);
    if found.is_none() {
        println!("SKIPPED: OPENAGENTS_TEST_SPARK is not set");
    }
    found
}

/// The program on the SDK itself.
fn real(python: PathBuf, setup: Setup, network: Network) -> Program {
    Program { path: python, arguments: vec!["-I".into(), script()], setup, network, limits: limits() }
}

fn on_the_sdk(test: impl AsyncFnOnce(PathBuf, &Path)) {
    let Some(python) = real_python() else { return };
    let dir = tempfile::tempdir().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(test(python, dir.path()));
}

#[test]
fn the_imitation_is_shaped_like_the_sdk() {
    let Some(python) = real_python() else { return };
    let output = Command::new(python).arg("-I").arg(here("tests/spark_fake/compare.py")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_sdk_itself_loads_and_without_a_network_says_that_it_knows_nothing() {
    on_the_sdk(async |python, dir| {
        let open = json!({ "network": "regtest", "storage": dir, "log": "trace" });
        let kept = Kept::start(real(python, setup(open, WORDS), Network::Regtest)).await.unwrap();
        let info = kept.wallet.info().await.unwrap();
        assert!(info.network == Network::Regtest && info.notifications && !info.hold, "{info:?}");
        let told = kept.wallet.extension("get_info", json!({})).await.unwrap();
        // The key that the SDK derives from these words, wherever it runs.
        assert_eq!(told["pubkey"], "02dfe7995713f80633f7b22b7745fa43694aec00a0744c43cb18c5fb4aed2a6fdf");
        let elsewhere = Net::open(dir, &["seller"]).invoice("seller", &plain(PRICE));
        if kept.wallet.balance().await.is_ok() {
            println!(
                "SKIPPED: the Spark network can be reached from here; these are the answers without one"
            );
            return kept.end().await;
        }
        let made = kept.wallet.make_invoice(plain(PRICE)).await.unwrap_err();
        assert!(matches!(made, WalletError::Internal(_)), "{made:?}");
        let paid = kept.wallet.pay(first(&elsewhere)).await.unwrap_err();
        assert!(matches!(&paid, WalletError::Internal(why) if why.contains("nothing was sent")), "{paid:?}");
        let expired = MakeInvoice { expiry: Millis(0), ..plain(PRICE) };
        let expired = Net::open(&dir.join("sdk"), &["seller"]).invoice("seller", &expired);
        // The look-up that follows a refusal finds no network either, so nothing is told for sure.
        let refused = kept.wallet.pay(first(&expired)).await.unwrap_err();
        assert!(matches!(refused, WalletError::Internal(_)), "{refused:?}");
        kept.end().await;
    });
}

#[test]
fn the_sdk_itself_refuses_a_bad_seed_a_missing_key_and_a_key_that_is_none() {
    on_the_sdk(async |python, dir| {
        let why = async |network: Network, open: Value, words: &str| {
            let program = real(python.clone(), setup(open, words), network);
            Kept::start(program).await.err().unwrap().to_string()
        };
        let regtest = json!({ "network": "regtest", "storage": dir.join("a") });
        let bad = why(Network::Regtest, regtest, "legal winner").await;
        assert!(bad.contains("word count") && bad.contains("(SEED)"), "{bad}");
        let mut mainnet = json!({ "network": "mainnet", "storage": dir.join("b") });
        let missing = why(Network::Mainnet, mainnet.clone(), WORDS).await;
        assert!(missing.contains("Missing Breez API key (API_KEY)"), "{missing}");
        mainnet["api_key"] = "not a key, though it is long enough".into();
        let wrong = why(Network::Mainnet, mainnet, WORDS).await;
        assert!(wrong.contains("(API_KEY)"), "{wrong}");
    });
}

#[test]
fn the_sdk_itself_comes_back_after_a_kill_and_ends_with_its_stdin() {
    on_the_sdk(async |python, dir| {
        let open = json!({ "network": "regtest", "storage": dir });
        let kept = Kept::start(real(python, setup(open, WORDS), Network::Regtest)).await.unwrap();
        let pid = holder(&dir.join("lock")).unwrap();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        let start = Instant::now();
        while kept.wallet.extension("get_info", json!({})).await.is_err()
            || holder(&dir.join("lock")) == Some(pid.clone())
        {
            assert!(start.elapsed() < PATIENCE, "it does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let start = Instant::now();
        kept.end().await;
        assert!(start.elapsed() < limits().stop, "it was killed");
        assert_eq!(holder(&dir.join("lock")), None);
    });
}

/// The process that has this file open.
fn holder(lock: &Path) -> Option<String> {
    let lock = lock.canonicalize().ok()?;
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let opens = |process: &Path| {
        let open = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        open.into_iter().any(|file| std::fs::read_link(file.path()).is_ok_and(|path| path == lock))
    };
    let found = processes.map(|entry| entry.path()).find(|process| opens(process))?;
    Some(found.file_name()?.to_string_lossy().into_owned())
}
