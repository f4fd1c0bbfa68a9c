//! One mint: the dev kit's wallet for it, behind the fence, and what is believed of it. A keyset has the keys
//! that it had when it was first seen, or the mint is not dealt with any more.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cdk::{
    Amount,
    amount::SplitTarget,
    mint_url::MintUrl,
    nuts::{CurrencyUnit, Id, KeySet, Keys, PaymentMethod, State as ProofState},
    wallet::{MintConnector as _, Wallet as Kit, WalletBuilder},
};
use cdk_common::{database::WalletDatabase, wallet::TransactionId};
use cdk_sqlite::WalletSqliteDatabase;
use tokio::sync::RwLock;
use url::Url;
use uuid::Uuid;

use crate::{
    book::Book,
    eprint,
    fence::Fence,
    setup::{Setup, SetupError},
    talk::Refusal,
    wallet::lock,
};

/// How long the keys of a mint are believed before they are looked at again.
const LOOK: Duration = Duration::from_secs(600);

/// How often what is half done is looked through: each time the mint is asked about all of it.
const TIDY: Duration = Duration::from_secs(10);

/// What the dev kit keeps its ecash in.
pub(crate) type Store = Arc<dyn WalletDatabase<cdk_common::database::Error> + Send + Sync>;
type Client = cdk::wallet::BaseHttpClient<Fence>;

/// A mint.
pub(crate) struct Mint {
    /// Its address.
    pub(crate) url: MintUrl,
    /// The dev kit's wallet for it.
    pub(crate) kit: Kit,
    /// What that keeps.
    pub(crate) store: Store,
    /// Whoever does something at the mint holds it to read; the dev kit's own tidying up holds it to write,
    /// since it takes what is being done for what a crash left behind.
    pub(crate) turn: RwLock<()>,
    /// Whether there is something to tidy up.
    pub(crate) untidy: AtomicBool,
    pub(crate) client: Arc<Client>,
    looked: Mutex<Option<Instant>>,
    tidied: Mutex<Option<Instant>>,
}

/// The dev kit's words for what a mint said, or for its silence. What became of the request is unknown.
pub(crate) fn unclear(error: &cdk::Error) -> Refusal {
    // It may repeat what the mint said, which is anything.
    Refusal::fault(error.to_string().chars().take(200).collect::<String>())
}

/// All mints, with one store.
pub(crate) async fn open(setup: &Setup, seed: &[u8; 64]) -> Result<Vec<Arc<Mint>>, SetupError> {
    let build = |error: String| SetupError::Build(error);
    let path = setup.storage.join("ecash.db");
    let store = WalletSqliteDatabase::new(path).await.map_err(|error| build(error.to_string()))?;
    let store: Store = Arc::new(store);
    let mut mints = Vec::new();
    for url in setup.mints()? {
        let address = Url::parse(&url.to_string()).map_err(|error| build(error.to_string()))?;
        let client = Arc::new(Client::with_transport(url.clone(), Fence::new(address), None));
        let builder = WalletBuilder::new().mint_url(url.clone()).unit(CurrencyUnit::Sat);
        let builder = builder.localstore(store.clone()).seed(*seed).shared_client(client.clone());
        let kit = builder.without_rate_limiting().build().map_err(|error| build(error.to_string()))?;
        let (turn, looked, tidied) = (RwLock::default(), Mutex::default(), Mutex::default());
        let (store, untidy) = (store.clone(), AtomicBool::new(true));
        mints.push(Arc::new(Mint { url, kit, store, turn, untidy, client, looked, tidied }));
    }
    Ok(mints)
}

impl Mint {
    /// Its address, as it is written down.
    pub(crate) fn name(&self) -> String {
        self.url.to_string()
    }

    /// What can be spent here now, in satoshis.
    pub(crate) async fn balance(&self) -> Result<u64, Refusal> {
        self.kit.total_balance().await.map(u64::from).map_err(Refusal::fault)
    }

    /// What is ours here, in satoshis, whether it can be spent now or is in use.
    pub(crate) async fn holding(&self) -> Result<u64, Refusal> {
        let reserved = self.kit.total_reserved_balance().await.map_err(Refusal::fault)?;
        let pending = self.kit.total_pending_balance().await.map_err(Refusal::fault)?;
        Ok(self.balance().await? + u64::from(reserved) + u64::from(pending))
    }

    /// Looks at the keys of the mint, if that was not done lately: each keyset's name has to be that of its
    /// keys (NUT-02), and its keys those that it had.
    pub(crate) async fn check_keys(&self, book: &Mutex<Book>) -> Result<(), Refusal> {
        if lock(&self.looked).is_some_and(|at| at.elapsed() < LOOK) {
            return Ok(());
        }
        let keysets = self.client.get_mint_keys().await.map_err(|error| unclear(&error))?;
        for keyset in &keysets {
            self.check_keyset(book, keyset)?;
        }
        *lock(&self.looked) = Some(Instant::now());
        Ok(())
    }

    fn check_keyset(&self, book: &Mutex<Book>, keyset: &KeySet) -> Result<(), Refusal> {
        let refuse = |what: &str| {
            Refusal::restricted(format!(
                "the mint {} shows {what} for its keyset {}; it is not dealt with",
                self.url, keyset.id
            ))
        };
        if keyset.verify_id().is_err() {
            return Err(refuse("keys that are not the keyset's"));
        }
        let keys = serde_json::to_string(&keyset.keys).map_err(Refusal::fault)?;
        if lock(book).pin(&self.name(), &keyset.id.to_string(), &keys)? != keys {
            return Err(refuse("other keys than before"));
        }
        Ok(())
    }

    /// The keys of a keyset: those that it had when it was first seen.
    pub(crate) async fn keys_of(&self, book: &Mutex<Book>, id: Id) -> Result<Keys, Refusal> {
        let known = lock(book).pinned(&self.name(), &id.to_string())?;
        if let Some(keys) = known {
            return serde_json::from_str(&keys).map_err(Refusal::fault);
        }
        let keyset = self.client.get_mint_keyset(id).await.map_err(|error| unclear(&error))?;
        if keyset.id != id || keyset.unit != CurrencyUnit::Sat {
            return Err(Refusal::restricted(format!("the mint {} shows another keyset than {id}", self.url)));
        }
        self.check_keyset(book, &keyset)?;
        Ok(keyset.keys)
    }

    /// The Lightning node that the mint's invoices name as their payee. A mint pays its own invoices by
    /// itself, and then has no preimage: no proof.
    pub(crate) async fn payee(&self, book: &Mutex<Book>) -> Result<String, Refusal> {
        let known = lock(book).payee(&self.name())?;
        if !known.is_empty() {
            return Ok(known);
        }
        // An invoice that nobody will see.
        let quote = self.kit.mint_quote(PaymentMethod::BOLT11, Some(Amount::ONE), None, None).await;
        let quote = quote.map_err(|error| unclear(&error))?;
        let invoice: lightning_invoice::Bolt11Invoice = quote.request.parse().map_err(Refusal::fault)?;
        let payee = invoice.get_payee_pub_key().to_string();
        lock(book).put_payee(&self.name(), &payee)?;
        Ok(payee)
    }

    /// Finishes or takes back what a crash or a silent mint left half done, if nothing is being done now.
    pub(crate) async fn tidy(&self, book: &Mutex<Book>) {
        let lately = lock(&self.tidied).is_some_and(|at| at.elapsed() < TIDY);
        if lately || !self.untidy.load(Ordering::Acquire) {
            return;
        }
        let Ok(_turn) = self.turn.try_write() else { return };
        *lock(&self.tidied) = Some(Instant::now());
        let recovered = self.kit.recover_incomplete_sagas().await;
        let released = self.release_orphans(book).await;
        match recovered.and_then(|report| released.map(|()| report)) {
            Ok(report) if report.skipped == 0 && report.failed == 0 => {
                self.untidy.store(false, Ordering::Release);
            }
            Ok(_) => {}
            Err(error) => eprint(format_args!("{}: {error}", self.url)),
        }
    }

    /// Ecash that is set aside for something of which nothing is written down can be spent again: the dev kit
    /// sets it aside first, and a crash may come between. The mint says that it was not spent. What is set aside
    /// for an escrow is written down in the book.
    async fn release_orphans(&self, book: &Mutex<Book>) -> Result<(), cdk::Error> {
        let states = Some(vec![ProofState::Reserved, ProofState::Pending]);
        let aside =
            self.store.get_proofs(Some(self.url.clone()), Some(CurrencyUnit::Sat), states, None).await?;
        let mut orphans = Vec::new();
        for proof in aside {
            let Some(operation) = proof.used_by_operation else { continue };
            // A book that cannot be read frees nothing.
            let in_book = lock(book).is_set_aside(operation).unwrap_or(true);
            if !in_book && self.store.get_saga(&operation).await?.is_none() {
                orphans.push(proof.proof);
            }
        }
        if orphans.is_empty() {
            return Ok(());
        }
        let states = self.kit.check_proofs_spent(orphans).await?;
        let unspent = states.iter().filter(|state| state.state == ProofState::Unspent);
        self.kit.unreserve_proofs(unspent.map(|state| state.y).collect()).await
    }

    /// Looks for the ecash that the seed has here (NUT-13), and takes it in.
    pub(crate) async fn restore(&self) -> Result<u64, cdk::Error> {
        let _turn = self.turn.read().await;
        self.kit.load_mint_info().await?;
        let restored = self.kit.restore().await?;
        Ok(restored.unspent.into())
    }

    /// Makes sure that the ecash that was handed to the mint for a payment can pay it no more, by changing it
    /// for new. `None` if that is not sure yet.
    pub(crate) async fn take_back(&self, operation: Uuid) -> Result<Option<TakenBack>, cdk::Error> {
        let id = TransactionId::from_saga_id(operation);
        let Some(handed) = self.store.get_transaction(id).await? else {
            return Ok(Some(TakenBack::NeverHanded));
        };
        let held = self.store.get_proofs_by_ys(handed.ys.clone()).await?;
        let request = cdk::nuts::CheckStateRequest { ys: handed.ys.clone() };
        let states = self.client.post_check_state(request).await?.states;
        if states.len() != handed.ys.len() || states.iter().any(|state| state.state == ProofState::Pending) {
            return Ok(None);
        }
        if states.iter().any(|state| state.state == ProofState::Spent) {
            return Ok(Some(TakenBack::Spent));
        }
        if held.len() != handed.ys.len() || held.iter().any(|proof| proof.state != ProofState::Unspent) {
            return Ok(None);
        }
        let proofs = held.into_iter().map(|info| info.proof).collect();
        self.untidy.store(true, Ordering::Release);
        self.kit.swap(None, SplitTarget::default(), proofs, None, false, false).await?;
        Ok(Some(TakenBack::Changed))
    }

    /// Lets the store know that ecash handed over for a payment is spent, and finds the change.
    pub(crate) async fn account_for(&self, operation: Uuid) -> Result<u64, cdk::Error> {
        let id = TransactionId::from_saga_id(operation);
        let Some(handed) = self.store.get_transaction(id).await? else { return Ok(0) };
        let held = self.store.get_proofs_by_ys(handed.ys.clone()).await?;
        let stale: Vec<_> = held
            .into_iter()
            .filter(|proof| proof.state == ProofState::Unspent)
            .map(|info| info.proof)
            .collect();
        if !stale.is_empty() {
            self.kit.sync_proofs_state(stale).await?;
            self.kit.restore().await?;
        }
        Ok(handed.fee.into())
    }
}

/// What became of ecash that was handed over for a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakenBack {
    /// The mint was never told.
    NeverHanded,
    /// It is new, and ours.
    Changed,
    /// It is spent: for that payment, or changed by us before.
    Spent,
}
