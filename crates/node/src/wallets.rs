//! Connecting a wallet, and the testnet that an offline node serves.

use std::sync::Arc;

use nostr::{Keys, RelayUrl as NostrUrl, SecretKey};
use openagents_api::TransactionView;
use openagents_engine::Config;
use openagents_relay::{Hub, RelayUrl};
use openagents_types::{DayBudget, Millis, Msat, Network};
use openagents_wallet::{
    Transaction, Wallet,
    child::{Child, Program},
    nwc::{Connection, Nwc},
    testnet::{Ledger, Opening, Service},
};
use serde_json::json;

use crate::{
    clock,
    config::CashuSettings,
    home::{Home, HomeError},
    link::RelayLink,
    runtime::Tasks,
};

/// What a node's own testnet account is opened with.
const OWN_FUNDS: Msat = Msat::new(1_000_000_000);

/// Why a wallet cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalletsError {
    /// The wallet does not answer or refuses.
    #[error("the wallet cannot be used: {0}; no money moved; check the connection with your wallet")]
    Wallet(#[from] openagents_wallet::WalletError),
    /// The connection names no relay we would dial.
    #[error("the wallet's relay cannot be used: {0}")]
    Relay(#[from] openagents_relay::RelayUrlError),
    /// The testnet's ledger cannot be kept.
    #[error("the testnet cannot be kept: {0}")]
    Testnet(#[from] openagents_wallet::testnet::LedgerError),
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A key file of the testnet is not a key.
    #[error("testnet.key is damaged; move testnet.key and testnet.jsonl away to start a new testnet")]
    Key,
}

/// Connects to a wallet. One that the testnet of this very node serves is reached without a socket.
pub(crate) async fn connect(
    connection: Connection,
    budget: Option<DayBudget>,
    tasks: &Tasks,
    testnet: Option<&Testnet>,
) -> Result<(Arc<dyn Wallet>, Network), WalletsError> {
    let link: Arc<RelayLink> = match testnet.filter(|testnet| testnet.serves(&connection)) {
        Some(testnet) => Arc::new(RelayLink::embedded(&testnet.hub, &testnet.url, tasks)),
        None => {
            let urls =
                connection.relays().iter().map(|url| RelayUrl::parse(url)).collect::<Result<Vec<_>, _>>()?;
            Arc::new(RelayLink::remote(urls, tasks))
        }
    };
    let (mut wallet, listener) = Nwc::connect(connection, link, clock::now).await?;
    tasks.spawn_until_stop(listener.run());
    let info = wallet.introduce().await?;
    if let Some(budget) = budget {
        wallet.set_budget(budget);
    }
    Ok((Arc::new(wallet), info.network))
}

/// Runs a wallet's program for as long as the node runs.
pub(crate) async fn run(
    program: Program,
    budget: Option<DayBudget>,
    tasks: &Tasks,
) -> Result<(Arc<dyn Wallet>, Network), WalletsError> {
    let (mut wallet, supervisor) = Child::new(program, clock::now);
    tasks.spawn(supervisor.run(tasks.stop_token()));
    let info = wallet.introduce().await?;
    if let Some(budget) = budget {
        wallet.set_budget(budget);
    }
    Ok((Arc::new(wallet), info.network))
}

/// Whether a wallet can lock payments.
pub(crate) async fn holds(wallet: Option<&Arc<dyn Wallet>>) -> bool {
    match wallet {
        Some(wallet) => wallet.info().await.is_ok_and(|info| info.hold),
        None => false,
    }
}

/// Has the engine trade with ecash, if the wallet has some: as a provider that takes it, and as a customer of the
/// mints that the settings trust.
pub(crate) fn trade_ecash(engine: &mut Config, wallet: Option<&Arc<dyn Wallet>>, settings: &CashuSettings) {
    if wallet.is_none_or(|wallet| wallet.ecash().is_none()) {
        return;
    }
    if let Some(provider) = &mut engine.provider {
        provider.ecash_lock = Some(Millis::from_secs(settings.lock_s));
        provider.whole_sats = true;
    }
    engine.customer.mints.clone_from(&settings.mints);
}

/// The testnet wallet service of an offline node.
#[derive(Clone)]
pub struct Testnet {
    service: Service,
    hub: Hub,
    url: RelayUrl,
    key: nostr::PublicKey,
}

impl std::fmt::Debug for Testnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testnet").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Testnet {
    /// Opens the testnet of a home and serves it on the embedded relay.
    pub(crate) async fn open(
        home: &Home,
        hub: &Hub,
        url: &RelayUrl,
        tasks: &Tasks,
    ) -> Result<Self, WalletsError> {
        let keys = Keys::new(secret(home, "testnet.key")?);
        let ledger = Ledger::open(**keys.secret_key(), &home.data_file("testnet.jsonl"))?;
        let key = keys.public_key();
        let link = Arc::new(RelayLink::embedded(hub, url, tasks));
        let service = Service::new(ledger, keys, link, clock::now);
        let (serving, stop) = (service.clone(), tasks.stop_token());
        tasks.spawn(async move {
            if let Err(error) = serving.run(stop).await {
                tracing::error!(%error, "the testnet wallet service ended");
            }
        });
        // The service subscribes before this node's own wallet asks it anything.
        tokio::task::yield_now().await;
        Ok(Self { service, hub: hub.clone(), url: url.clone(), key })
    }

    fn serves(&self, connection: &Connection) -> bool {
        connection.wallet() == self.key
    }

    /// The account of this node itself, opened with test money the first time.
    pub(crate) fn own_account(&self, home: &Home) -> Result<Connection, WalletsError> {
        let secret = secret(home, "testnet-account.key")?;
        let opening = Opening { label: "this node", funds: OWN_FUNDS, plain: false };
        Ok(self.service.open_account(opening, secret, self.relays())?)
    }

    /// A new account with test money: its `nostr+walletconnect://` connection, which spends.
    ///
    /// # Errors
    /// The testnet's journal cannot be written.
    pub fn new_account(&self, opening: Opening<'_>) -> Result<String, WalletsError> {
        let connection = self.service.open_account(opening, SecretKey::generate(), self.relays())?;
        Ok(connection.expose())
    }

    /// The service itself, to make it misbehave.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Where all test money is.
    pub fn audit(&self) -> serde_json::Value {
        let audit = self.service.audit();
        let balances: Vec<_> = audit
            .balances
            .iter()
            .map(|(label, msat)| json!({ "label": label, "msat": msat.get() }))
            .collect();
        json!({
            "issued_msat": audit.issued.get(),
            "in_flight_msat": audit.in_flight.get(),
            "balances": balances,
            "conserved": audit.conserved,
            "paid_again": audit.paid_again,
        })
    }

    fn relays(&self) -> Vec<NostrUrl> {
        NostrUrl::parse(self.url.as_str()).into_iter().collect()
    }
}

/// A secret key in a file of the home, made on first use.
fn secret(home: &Home, name: &str) -> Result<SecretKey, WalletsError> {
    let path = home.data_file(name);
    let text = home.secret_text(&path, || SecretKey::generate().to_secret_hex())?;
    SecretKey::parse(&text).map_err(|_| WalletsError::Key)
}

pub(crate) fn transaction_view(row: &Transaction) -> TransactionView {
    TransactionView {
        hash: row.hash.to_hex(),
        direction: if row.incoming { "in" } else { "out" }.into(),
        state: row.state.into(),
        amount_msat: row.amount.get(),
        fee_msat: row.fee.get(),
        description: row.description.clone(),
        at: row.at.millis(),
        rail: row.rail.word().into(),
        fiat: None,
    }
}
