//! A node from bind to shutdown.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use openagents_engine::{
    AdvanceLimit, Config as EngineConfig, CustomerConfig, Offer, PreimageSeed, ProviderConfig,
};
use openagents_policy::Policy;
use openagents_relay::{Hub, HubConfig, RelayActor, RelayConfig, RelayHandle, RelayUrl};
use openagents_types::{DayBudget, JobKind, Network, ProviderKey};
use openagents_wallet::Wallet;
use serde::Serialize;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use crate::{
    acceptable::Gate,
    advertise::{Advertiser, Goods, Stand},
    app::{self, App},
    audit::AuditLog,
    bus::Bus,
    clock,
    config::{Config, ConfigError},
    desk::Counter,
    driver::{self, Command, Driver, DriverHandle, Parts, Restored},
    fiat::{Prices, Source},
    guests::Guests,
    home::{Home, HomeError, Lock},
    identity::Identity,
    judge::Judge,
    media::Media,
    nostr_work, offers,
    payback::Payback,
    relays::Relays,
    resolve::{Events, Resolver},
    resources::Watcher,
    router::Router,
    runtime::Tasks,
    server,
    shift::{Foreman, ShiftFile},
    speeds::SpeedBook,
    stock::StockKeeper,
    store::{Reader, Store, StoreError},
    templates,
    till::Till,
    wallets::{self, Testnet, WalletsError},
    workers::Workers,
    zaps::{ZapFinder, ZapServer},
};

/// How long running work may take to finish after the node was told to stop.
const DRAIN: Duration = Duration::from_secs(25);

/// How long a drained node stays for what it said last to be sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long relays may take to be told that nothing is sold here any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much the embedded relay keeps, in bytes: a market's last minutes, in little memory.
const RELAY_BYTES: usize = 16 << 20;

/// What a node needs to start.
#[derive(Debug)]
pub struct Options {
    /// Where everything is kept.
    pub home: Home,
    /// What its owner has decided.
    pub config: Config,
    /// Who it is.
    pub identity: Identity,
    /// Where its money is.
    pub wallet: WalletChoice,
    /// Which halves it has.
    pub role: Role,
    /// Whether the embedded relay and the testnet wallet service are served.
    pub offline: bool,
}

/// Where a node's money is.
#[derive(Debug)]
pub enum WalletChoice {
    /// Nowhere: it sells and buys only what is free.
    None,
    /// In a wallet that speaks NIP-47.
    Connected(openagents_wallet::nwc::Connection),
    /// In a wallet that is a program of its own, which the node runs.
    Program(openagents_wallet::child::Program),
    /// In an account of the node's own testnet wallet service.
    Testnet,
}

/// Which halves of the market a node takes part in. Every node can buy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It sells, and buys.
    Provider,
    /// It only buys.
    Customer,
}

/// Why a node did not start. Nothing was changed but what an earlier line of the log says.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}; stop what uses it or choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        reason: std::io::Error,
    },
    /// A relay's address is not one.
    #[error(transparent)]
    Relay(#[from] openagents_relay::RelayUrlError),
    /// The wallet cannot be used.
    #[error(transparent)]
    Wallet(#[from] WalletsError),
    /// A backend cannot be used.
    #[error(transparent)]
    Offers(#[from] offers::OffersError),
    /// The policy asks a judge, or a backend a model, that there is not.
    #[error(transparent)]
    Judge(#[from] ConfigError),
    /// A file of the node cannot be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
}

/// What a node that is up tells whoever started it.
#[derive(Clone, Debug, Serialize)]
pub struct Up {
    /// The embedded relay's address, if it is served, else the first relay.
    pub relay: Option<String>,
    /// The app.
    pub app: String,
    /// The provider's public key (hexadecimal), if the node sells.
    pub provider: Option<ProviderKey>,
    /// What it sells.
    pub kinds: Vec<JobKind>,
    /// Every relay it uses.
    pub relays: Vec<String>,
    /// The network of its wallet's money; `None` without a wallet.
    pub wallet: Option<Network>,
    /// Where the API's bearer token is.
    pub token_file: PathBuf,
}

/// A node whose ports are open and whose jobs are restored.
pub struct Node {
    up: Up,
    tasks: Tasks,
    driver: DriverHandle,
    thread: std::thread::JoinHandle<Result<(), StoreError>>,
    /// Hears when the node shall finish what it has and end.
    wishes: watch::Receiver<bool>,
    testnet: Option<Testnet>,
    token: Arc<str>,
    relays: Relays,
    /// What is said of the provider, and taken back at the end.
    stand: Option<Stand>,
    _lock: Lock,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("up", &self.up).finish_non_exhaustive()
    }
}

impl Node {
    /// Opens every port, restores every open job, and starts to serve.
    ///
    /// # Errors
    /// Another node uses the home, the address is taken, the database or the wallet cannot be used, a model is missing.
    pub async fn bind(mut options: Options) -> Result<Self, NodeError> {
        options.config = options.config.with_models(&options.home)?;
        let lock = options.home.lock()?;
        let listener = listen(options.config.listen).await?;
        let address = listener.local_addr().unwrap_or(options.config.listen);
        let started = Builder { address, tasks: Tasks::new(), options }.build(listener).await?;
        lock.announce(&started.up.app)?;
        Ok(Self {
            up: started.up,
            tasks: started.tasks,
            driver: started.driver,
            thread: started.thread,
            wishes: started.wishes,
            testnet: started.testnet,
            token: started.token,
            relays: started.relays,
            stand: started.stand,
            _lock: lock,
        })
    }

    /// Where it is and what it sells.
    pub fn up(&self) -> &Up {
        &self.up
    }

    /// A client of its own API.
    ///
    /// # Errors
    /// No HTTP client can be made on this machine.
    pub fn client(&self) -> Result<openagents_api::Client, openagents_api::ClientError> {
        openagents_api::Client::new(&self.up.app, &self.token)
    }

    /// The link that opens the app in a browser, once.
    pub fn app_link(&self) -> String {
        format!("{}/?k={}", self.up.app, self.token)
    }

    /// The testnet wallet service, if this node serves it.
    pub fn testnet(&self) -> Option<&Testnet> {
        self.testnet.as_ref()
    }

    /// Serves until `stop` is ready, then lets running work finish and ends.
    ///
    /// # Errors
    /// The disk refused; nothing was done about what could not be written down.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), StoreError> {
        tokio::select! {
            () = stop => {}
            () = driver_ended(&self.thread) => {}
            () = drained(&mut self.wishes, &self.driver) => {}
        }
        self.shutdown().await
    }

    /// Takes no new jobs, waits for running ones, and ends every task.
    ///
    /// # Errors
    /// The disk refused.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        self.driver.tell(Command::Drain).await;
        if let Some(stand) = &self.stand {
            stand.close();
        }
        let _ = tokio::time::timeout(DRAIN, self.idle()).await;
        self.relays.written(FAREWELL).await;
        self.driver.tell(Command::Stop).await;
        let thread = self.thread;
        let ended = tokio::task::spawn_blocking(move || thread.join()).await;
        self.tasks.finish().await;
        match ended {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Ok(()),
        }
    }

    /// Waits until no work runs.
    async fn idle(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        while !self.thread.is_finished() && self.driver.gauges.running.load(Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn driver_ended(thread: &std::thread::JoinHandle<Result<(), StoreError>>) {
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until it is wished that the node ends, and everything that was promised is done and said.
async fn drained(wish: &mut watch::Receiver<bool>, driver: &DriverHandle) {
    use std::sync::atomic::Ordering::Relaxed;
    loop {
        if wish.wait_for(|wished| *wished).await.is_err() {
            return std::future::pending().await;
        }
        if driver.gauges.promised.load(Relaxed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        // What was decided last is on its way to wallet and relays.
        tokio::time::sleep(LAST_WORDS).await;
        if *wish.borrow() && !driver.gauges.promised.load(Relaxed) {
            return;
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, NodeError> {
    server::bind(address).await.map_err(|reason| NodeError::Listen { address, reason })
}

/// A node in the making.
struct Builder {
    options: Options,
    address: SocketAddr,
    tasks: Tasks,
}

struct Started {
    up: Up,
    tasks: Tasks,
    driver: DriverHandle,
    thread: std::thread::JoinHandle<Result<(), StoreError>>,
    /// Hears when the node shall finish what it has and end.
    wishes: watch::Receiver<bool>,
    testnet: Option<Testnet>,
    token: Arc<str>,
    relays: Relays,
    stand: Option<Stand>,
}

impl Builder {
    async fn build(self, listener: TcpListener) -> Result<Started, NodeError> {
        let (news, heard) = mpsc::channel(driver::INBOX);
        let embedded = self.embedded_relay()?;
        let resolver = Resolver::new(&self.options.config.allow_private_urls);
        let guests = self.guests(&resolver);
        let relays = Relays::new(self.relay_handles(embedded.as_ref(), &news)?, guests);
        let testnet = match &embedded {
            Some((hub, url)) => Some(Testnet::open(&self.options.home, hub, url, &self.tasks).await?),
            None => None,
        };
        let database = self.options.home.data_file("node.db");
        let store = Store::open(&database)?;
        let budget = self.budget(&store)?;
        let (wallet, network) = self.wallet(budget.clone(), testnet.as_ref()).await?;
        let reader = Arc::new(Reader::open(&database)?);
        let selling = self.options.role == Role::Provider;
        let (backends, servers) = if selling { self.backends(&relays).await? } else { Default::default() };
        let escrow = wallets::holds(wallet.as_ref()).await;
        let (keeper, stock) = StockKeeper::new(self.options.config.clone(), backends.clone());
        let offers = stock.borrow().offers.clone();
        let mut engine = self.engine_config(offers, network, escrow);
        let mut watcher = self.watcher();
        if let Some(provider) = &mut engine.provider {
            provider.host = watcher.look(clock::now(), 0);
        }
        engine.customer.budget = budget;
        if let Some(provider) = &mut engine.provider {
            provider.whole_sats = self.options.config.wallet.kind.moves_whole_sats();
        }
        wallets::trade_ecash(&mut engine, wallet.as_ref(), &self.options.config.wallet.cashu);
        let (zap_finder, zaps) = self.zap_finder(&mut engine, wallet.is_some(), &resolver)?;
        let pages = resolver.clone();
        let payback = Payback::new(resolver.clone(), network, self.tasks.clone());
        let resolver = resolver.with_events(self.events(&relays, &reader));
        let prices = self.prices();
        let audit = AuditLog::default();
        let gate = self.gate(audit.clone())?;
        let media = self.media();
        let labels = offers::labels(&backends);
        let speeds = SpeedBook::open(&self.options.home);
        self.tasks.spawn(speeds.clone().keep_up(self.tasks.stop_token()));
        let makers = offers::makers(&backends);
        let routes = Router::new(backends, &self.options.config, speeds);
        let workers = Workers::new(routes, media.clone(), resolver, gate.clone(), self.tasks.clone());
        let till = Till::new(wallet, network, self.tasks.clone());
        let identity = Arc::new(self.options.identity.clone());
        let bus = Bus::new();
        let provider = engine.provider.clone();
        let host_paused = provider.as_ref().is_some_and(|it| it.host.verdict.pause().is_some());
        let parts = Parts {
            store,
            config: engine,
            identity: identity.clone(),
            relays: relays.clone(),
            till: till.clone(),
            workers: workers.clone(),
            bus: bus.clone(),
            audit,
            allowance: self.options.config.limits.allowance(),
            payback: payback.clone(),
            prices: prices.clone(),
        };
        let Restored { driver, handle, wake, owed } = Driver::restore(parts)?;
        relays.attach(handle.clone());
        workers.attach(handle.clone());
        till.attach(handle.clone());
        payback.attach(handle.clone());
        let thread = std::thread::Builder::new()
            .name("driver".into())
            .spawn(move || driver.run(owed))
            .map_err(|reason| NodeError::Write { path: database, reason })?;

        self.tasks.spawn_until_stop(driver::keep_time(wake, handle.clone()));
        self.tasks.spawn_until_stop(relays.clone().listen(heard));
        self.tasks.spawn_until_stop(till.clone().listen());
        if let Some(finder) = zap_finder {
            self.tasks.spawn_until_stop(finder.run(handle.clone()));
        }
        let (foreman, wishes) = Foreman::new(ShiftFile::of(&self.options.home), handle.clone(), host_paused);
        let token = self.token()?;
        let up = self.up(embedded.as_ref(), provider.as_ref(), till.wallet().map(|_| network));
        let stand = provider.clone().map(|provider| {
            let (identity, stock) = (identity.clone(), stock.clone());
            let goods = Goods { identity, provider, stock, makers, zaps: zaps.clone() };
            Stand::new(&self.options.config, goods, relays.clone(), handle.clone())
        });
        let counter = Counter {
            stand: stand.clone(),
            up: up.clone(),
            home: self.options.home.clone(),
            started_at: clock::now(),
            identity,
            config: self.options.config.clone(),
            gate,
            network,
            resolver: pages,
            prices,
            driver: handle.clone(),
            reader: reader.clone(),
            relays: relays.clone(),
            till,
            provider,
            stock: stock.clone(),
            foreman: foreman.clone(),
            machine: watcher.listen(),
            labels,
            servers,
            testnet: testnet.clone(),
        };
        if let Some(stand) = stand.clone() {
            let ads = Advertiser::new(stand, foreman.listen(), stock, zaps);
            self.tasks.spawn(keeper.run(handle.clone(), self.tasks.stop_token()));
            self.tasks.spawn(ads.run(self.tasks.stop_token()));
            self.tasks.spawn(watcher.run(handle.clone(), foreman, self.tasks.stop_token()));
        }
        let router = self.router(counter, reader, bus, media, token.clone(), embedded);
        self.tasks.spawn(server::serve(listener, router, self.tasks.clone()));
        Ok(Started { up, tasks: self.tasks, driver: handle, thread, wishes, testnet, token, relays, stand })
    }

    /// Whoever finds out whose receipts of zaps are believed, where the settings name an address; a wallet that has ecash
    /// offers that beside its invoices, and no third way. A market of its own asks nobody.
    fn zap_finder(
        &self,
        engine: &mut EngineConfig,
        has_wallet: bool,
        resolver: &Resolver,
    ) -> Result<(Option<ZapFinder>, watch::Receiver<Option<ZapServer>>), NodeError> {
        let code = self.options.config.provider.zaps()?;
        let asks = has_wallet && !self.options.offline;
        let selling = engine.provider.as_mut().filter(|it| asks && it.ecash_lock.is_none());
        let (Some(code), Some(provider)) = (code, selling) else { return Ok((None, watch::channel(None).1)) };
        provider.zaps = true;
        let (finder, zaps) = ZapFinder::new(code, resolver.clone());
        Ok((Some(finder), zaps))
    }

    /// What does the work.
    async fn backends(&self, relays: &Relays) -> Result<(offers::Table, offers::Servers), NodeError> {
        let config = &self.options.config;
        let (mut own, schedule) = nostr_work::backends(&config.backend.nostr, &self.options.home, relays);
        // What was sold by an earlier run is published, whether or not it is still sold.
        self.tasks.spawn_until_stop(schedule.run());
        let servers = config.backend.chat_servers();
        let built =
            templates::backends(&servers, &config.backend.templates).map_err(offers::OffersError::from)?;
        own.extend(built);
        let logs = self.options.home.data_file("logs");
        Ok(offers::backends(config, own, logs, &self.tasks).await?)
    }

    /// What a bitcoin costs, where the settings say whom to ask. A market of its own asks nobody beyond this machine.
    fn prices(&self) -> Prices {
        let Config { fiat, allow_private_urls, .. } = &self.options.config;
        if self.options.offline && fiat.own_machine().is_none() {
            return Prices::default();
        }
        let Some((source, prices)) = Source::new(fiat, allow_private_urls) else { return Prices::default() };
        self.tasks.spawn_until_stop(source.run());
        prices
    }

    /// What looks at this machine.
    fn watcher(&self) -> Watcher {
        let home = self.options.home.data_file("");
        Watcher::new(&self.options.config.resources, home, self.options.offline)
    }

    /// The relay of a node that is a market of its own.
    fn embedded_relay(&self) -> Result<Option<(Hub, RelayUrl)>, NodeError> {
        if !self.options.offline {
            return Ok(None);
        }
        let rate = self.options.config.limits.relay_rate();
        let config = HubConfig { most_bytes: RELAY_BYTES, rate, ..HubConfig::default() };
        let url = RelayUrl::parse_plaintext(&format!("ws://{}/relay", self.address))?;
        Ok(Some((Hub::new(config), url)))
    }

    /// The files that are results. The customers of a market of its own are on this machine.
    fn media(&self) -> Media {
        let settings = &self.options.config.media;
        let own = format!("http://{}", self.address);
        let base = match settings.public_url.as_str() {
            "" if self.options.offline => Some(own.as_str()),
            "" => None,
            public => Some(public),
        };
        Media::open(self.options.home.data_file("media"), base, settings)
    }

    /// Who checks jobs, to buy and to sell. One judge for both halves.
    fn gate(&self, audit: AuditLog) -> Result<Gate, NodeError> {
        let config = &self.options.config;
        let judge = config.judge()?.map(Judge::new).transpose().map_err(offers::OffersError::from)?;
        Ok(Gate::new(Policy::new(config.policy.clone()), judge, audit))
    }

    /// The relays of customers. A market of its own speaks to no other relay.
    fn guests(&self, resolver: &Resolver) -> Option<Guests> {
        let most = self.options.config.provider.customer_relays;
        let wanted = most > 0 && !self.options.offline && self.options.role == Role::Provider;
        wanted.then(|| Guests::new(most, resolver.clone(), &self.tasks))
    }

    /// Where inputs are looked for that are events. A market of its own dials no other relay for them.
    fn events(&self, relays: &Relays, reader: &Arc<Reader>) -> Events {
        let strangers = if self.options.offline { 0 } else { self.options.config.provider.customer_relays };
        Events::new(relays.clone(), Some(reader.clone()), strangers)
    }

    fn relay_handles(
        &self,
        embedded: Option<&(Hub, RelayUrl)>,
        news: &mpsc::Sender<(RelayUrl, openagents_relay::RelayNews)>,
    ) -> Result<Vec<RelayHandle>, NodeError> {
        if let Some((hub, url)) = embedded {
            let mut client = hub.attach(url.clone(), driver::INBOX);
            let (handle, news) = (client.handle(), news.clone());
            self.tasks.spawn_until_stop(async move {
                while let Some(item) = client.recv().await {
                    if news.send(item).await.is_err() {
                        return;
                    }
                }
            });
            return Ok(vec![handle]);
        }
        let mut handles = Vec::new();
        for relay in &self.options.config.relays {
            let mut config = RelayConfig::new(RelayUrl::parse(relay)?);
            config.auth = Some(self.options.identity.keys().clone());
            let (handle, actor) = RelayActor::new(config, news.clone());
            self.tasks.spawn(actor.run(self.tasks.stop_token()));
            handles.push(handle);
        }
        Ok(handles)
    }

    /// What may be spent in a day, and what was begun today.
    fn budget(&self, store: &Store) -> Result<Option<DayBudget>, StoreError> {
        let Some(per_day) = self.options.config.customer.daily_limit() else { return Ok(None) };
        let now = clock::now();
        Ok(Some(DayBudget::new(per_day, now, store.begun_since(now.day_began())?)))
    }

    async fn wallet(
        &self,
        budget: Option<DayBudget>,
        testnet: Option<&Testnet>,
    ) -> Result<(Option<Arc<dyn Wallet>>, Network), NodeError> {
        let connected = match (&self.options.wallet, testnet) {
            (WalletChoice::Connected(connection), _) => {
                Some(wallets::connect(connection.clone(), budget, &self.tasks, testnet).await?)
            }
            (WalletChoice::Program(program), _) => {
                Some(wallets::run(program.clone(), budget, &self.tasks).await?)
            }
            (WalletChoice::Testnet, Some(testnet)) => {
                let connection = testnet.own_account(&self.options.home)?;
                Some(wallets::connect(connection, budget, &self.tasks, Some(testnet)).await?)
            }
            (WalletChoice::None | WalletChoice::Testnet, _) => None,
        };
        Ok(match connected {
            Some((wallet, network)) => (Some(wallet), network),
            None if self.options.offline => (None, Network::Regtest),
            None => (None, Network::Mainnet),
        })
    }

    fn engine_config(&self, offers: Vec<Offer>, network: Network, escrow: bool) -> EngineConfig {
        let provider = (self.options.role == Role::Provider).then(|| {
            let key = ProviderKey::from_bytes(self.options.identity.keys().public_key().to_bytes());
            let seed = PreimageSeed::new(self.options.identity.derive_secret(b"hold-preimages"));
            let settings = &self.options.config.provider;
            ProviderConfig {
                shift: ShiftFile::of(&self.options.home).read(),
                offers,
                tariff: settings.tariff(),
                require_bid: settings.require_bid,
                metered: settings.metered,
                escrow,
                slots: settings.slots,
                queue_limit: settings.queue_limit,
                quote_lifetime: settings.quote_lifetime(),
                job_timeout: settings.job_timeout(),
                recheck: settings.recheck(),
                receipts: self.options.config.receipts.send,
                claim_time: settings.claim_time(),
                credit_after: settings.credit_after(),
                credit: settings.credit(),
                ..ProviderConfig::new(key, seed)
            }
        });
        let mut customer = CustomerConfig::new(network);
        customer.recheck = self.options.config.customer.recheck();
        customer.receipts = self.options.config.receipts.send;
        let (newcomer, most) = self.options.config.customer.advance();
        customer.advance = Some(AdvanceLimit { newcomer, most });
        EngineConfig { provider, customer }
    }

    /// The bearer token, made once and kept readable for its owner alone.
    fn token(&self) -> Result<Arc<str>, NodeError> {
        let path = self.options.home.data_file("api.token");
        self.options
            .home
            .secret_text(&path, || hex::encode(rand::random::<[u8; 24]>()))
            .map_err(NodeError::Home)
    }

    fn up(
        &self,
        embedded: Option<&(Hub, RelayUrl)>,
        provider: Option<&ProviderConfig>,
        wallet: Option<Network>,
    ) -> Up {
        let configured = || self.options.config.relays.first().cloned();
        Up {
            relay: embedded.map(|(_, url)| url.to_string()).or_else(configured),
            app: format!("http://{}", self.address),
            provider: provider.map(|provider| provider.key),
            kinds: provider.map_or_else(Vec::new, |p| p.offers.iter().map(|offer| offer.kind).collect()),
            relays: embedded
                .map_or_else(|| self.options.config.relays.clone(), |(_, url)| vec![url.to_string()]),
            wallet,
            token_file: self.options.home.data_file("api.token"),
        }
    }

    fn router(
        &self,
        counter: Counter,
        reader: Arc<Reader>,
        bus: Bus,
        media: Media,
        token: Arc<str>,
        embedded: Option<(Hub, RelayUrl)>,
    ) -> axum::Router {
        let counter = Arc::new(counter);
        let hosts = Arc::new(self.options.config.hosts(self.address));
        let app = App { reader, bus, media, token, facts: counter.clone(), hosts, desk: counter };
        let router = app::router(app);
        match embedded {
            Some((hub, _)) => router.merge(relay_route(hub, self.tasks.stop_token())),
            None => router,
        }
    }
}

/// `/relay`: open to any Nostr client that reaches this port; events prove themselves.
fn relay_route(hub: Hub, stop: tokio_util::sync::CancellationToken) -> axum::Router {
    use axum::{extract::WebSocketUpgrade, response::IntoResponse, routing::get};
    let information = hub.clone();
    let handler =
        move |upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>| {
            let answer = match upgrade {
                Ok(upgrade) => openagents_relay::upgrade(upgrade, hub.clone(), stop.clone()),
                Err(_) => {
                    let kind = [(axum::http::header::CONTENT_TYPE, "application/nostr+json")];
                    (kind, information.information().to_string()).into_response()
                }
            };
            std::future::ready(answer)
        };
    axum::Router::new().route("/relay", get(handler))
}
