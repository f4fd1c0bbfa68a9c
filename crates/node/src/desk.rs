//! The counter: what the pages and the API may ask of the node, answered from the store, the gauges
//! and the wallet.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use openagents_api::{
    AdView, AdsReport, AdsView, AskBody, Asked, DestinationBody, DestinationView, FiatView, MachineView,
    ModelView, NodeView, OfferView, PayBody, Problem, ProviderView, ReceiveBody, ReconcileView, RelayView,
    SCHEMA_VERSION, SeedView, ShiftOrder, Side, TestWalletBody, TransactionView, TransferView, WalletView,
};
use openagents_engine::{
    AskOptions, Input, ModelOffer, ProviderConfig, Shift,
    bidding::{Load, Measure, PriceRule},
    resources::{Host, Verdict, minute_of_day},
};
use openagents_protocol::Verified;
use openagents_types::{EventId, JobId, JobSpec, Millis, Msat, Network, ProviderKey, Timestamp};
use openagents_wallet::{
    HistoryFilter, Transaction, Wallet, WalletError, destination::check_refund, testnet::Opening,
};

use crate::{
    acceptable::{Content, Gate, Objection},
    advertise::{Stand, survey},
    app::{Desk, Facts},
    clock,
    config::Config,
    driver::{AskRefused, DriverHandle, Order, PublishRefused},
    fiat::Prices,
    hand::{Hand, HandError},
    home::Home,
    identity::Identity,
    node::Up,
    offers::Labels,
    reconcile::{ReconcileError, Reconciliation},
    relays::Relays,
    resolve::Resolver,
    resources::Seen,
    seeds::{SeedError, Seeds},
    shift::Foreman,
    store::Reader,
    till::Till,
    wallets::{self, Testnet},
};

/// What a Lightning node may be asked for from outside: never payments, which the engine decides.
const LIGHTNING: [&str; 6] =
    ["get_info", "new_address", "onchain_balance", "list_channels", "open_channel", "close_channel"];

/// What an ecash wallet may be asked for from outside.
const ECASH: [&str; 5] = ["list_mints", "send_token", "receive_token", "list_tokens", "reclaim_token"];

/// How often it is looked whether relays have what was published, and how long between.
const ADS_LOOKS: u32 = 5;
const ADS_LOOK: Duration = Duration::from_millis(300);

/// How long a page waits for the wallet.
const WALLET_PATIENCE: Duration = Duration::from_secs(3);

/// See the module.
pub(crate) struct Counter {
    pub(crate) up: Up,
    pub(crate) home: Home,
    pub(crate) started_at: Timestamp,
    pub(crate) identity: Arc<Identity>,
    pub(crate) config: Config,
    pub(crate) gate: Gate,
    pub(crate) network: Network,
    pub(crate) resolver: Resolver,
    pub(crate) prices: Prices,
    pub(crate) driver: DriverHandle,
    pub(crate) reader: Arc<Reader>,
    pub(crate) relays: Relays,
    pub(crate) till: Till,
    pub(crate) provider: Option<ProviderConfig>,
    pub(crate) stand: Option<Stand>,
    pub(crate) foreman: Foreman,
    pub(crate) labels: Labels,
    pub(crate) machine: tokio::sync::watch::Receiver<Seen>,
    pub(crate) servers: crate::offers::Servers,
    /// What is for sale now.
    pub(crate) stock: tokio::sync::watch::Receiver<crate::stock::Stock>,
    pub(crate) testnet: Option<Testnet>,
}

#[async_trait]
impl Facts for Counter {
    async fn node(&self) -> NodeView {
        NodeView {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION").into(),
            npub: self.identity.npub(),
            app: self.up.app.clone(),
            relay: self.testnet.as_ref().and(self.up.relay.clone()),
            started_at: self.started_at.millis(),
            test_money: self.network != Network::Mainnet,
            relays: self.relay_views(),
            provider: self.provider.as_ref().map(|provider| self.provider_view(provider)),
            wallet: self.wallet_view().await,
            counts: self.counts(),
            fiat: self.prices.view(clock::now()),
        }
    }

    async fn provider_key(&self) -> Option<ProviderKey> {
        self.provider.as_ref().map(|provider| provider.key)
    }

    async fn ads(&self) -> Vec<AdView> {
        let offers = self.provider.iter().flat_map(|provider| &provider.offers);
        let kinds: Vec<_> = offers.map(|offer| offer.kind).collect();
        if kinds.is_empty() {
            Vec::new()
        } else {
            crate::market::ads(&self.relays, &self.identity, &kinds).await
        }
    }

    async fn history(&self, limit: u32) -> Result<Vec<TransactionView>, Problem> {
        let wallet = self.till.wallet().ok_or_else(no_wallet)?;
        let filter = HistoryFilter { limit, ..HistoryFilter::default() };
        let history = tokio::time::timeout(WALLET_PATIENCE, wallet.history(filter)).await;
        match history {
            Ok(Ok(transactions)) => Ok(transactions.iter().map(|row| self.transaction_view(row)).collect()),
            Ok(Err(error)) => Err(wallet_silent(&error.to_string())),
            Err(_) => Err(wallet_silent("it did not answer in time")),
        }
    }

    async fn seeds(&self) -> Result<Vec<SeedView>, Problem> {
        let seeds = Seeds::new(&self.home).all();
        Ok(seeds.map_err(|error| seeds_unreadable(&error))?.iter().map(SeedView::from).collect())
    }
}

#[async_trait]
impl Desk for Counter {
    async fn ask(&self, body: AskBody) -> Result<Asked, Problem> {
        if body.bid_msat > 0 && self.till.wallet().is_none() {
            return Err(no_wallet());
        }
        if let Some(to) = &body.refund_to {
            check_refund(to).map_err(|error| Problem::from(HandError::from(error)))?;
        }
        let order = self.order(body);
        if order.spec.expires_at <= clock::now().after(order.options.window) {
            return Err(too_short());
        }
        if let Ok(schema) = openagents_registry::find(order.spec.kind) {
            schema.read_spec(&order.spec).map_err(|fault| invalid(&fault))?;
        }
        let JobSpec { kind, ref inputs, ref params, .. } = order.spec;
        let content = Content { kind, inputs, params, fetched: &[] };
        if let Err(objection) = self.gate.admit(Side::Bought, content).await {
            self.driver.write_audit().await;
            return Err(unacceptable(&objection));
        }
        match self.driver.ask(order).await {
            Ok(id) => Ok(Asked { id }),
            Err(refused) => Err(refusal(&refused)),
        }
    }

    async fn cancel(&self, id: JobId) -> Result<(), Problem> {
        self.driver.report(Input::Withdraw { job: id, reason: "no longer wanted".into() }).await;
        Ok(())
    }

    async fn ads(&self) -> Result<AdsView, Problem> {
        let stand = self.stand.as_ref().ok_or_else(no_provider)?;
        let unsigned = |event: &Verified| {
            let mut event: serde_json::Value = serde_json::from_str(event.json()).unwrap_or_default();
            event.as_object_mut().map(|event| event.remove("sig"));
            event
        };
        let ads = stand.ads().into_iter().map(|(_, event)| event);
        Ok(AdsView {
            schema_version: SCHEMA_VERSION,
            relays: stand.relays().iter().map(ToString::to_string).collect(),
            events: ads.chain(stand.beats()).map(|event| unsigned(&event)).collect(),
        })
    }

    async fn ads_report(&self, publish: bool) -> Result<AdsReport, Problem> {
        let stand = self.stand.as_ref().ok_or_else(no_provider)?;
        if !publish {
            return Ok(survey::report(stand).await);
        }
        if *self.foreman.listen().borrow() != Shift::Open {
            return Err(Problem {
                code: "shift".into(),
                message: "Nothing was published: the provider is paused or stopped.".into(),
                money: "No money moved.".into(),
                next: "Let it take jobs again: `openagents provider resume`.".into(),
            });
        }
        stand.advertise();
        stand.beat();
        stand.tidy().await;
        let mut report = survey::report(stand).await;
        for _ in 0..ADS_LOOKS {
            if report.visible {
                break;
            }
            // Relays take a moment to write.
            tokio::time::sleep(ADS_LOOK).await;
            report = survey::report(stand).await;
        }
        Ok(report)
    }

    async fn shift(&self, order: ShiftOrder) -> Result<NodeView, Problem> {
        if self.provider.is_none() {
            return Err(no_provider());
        }
        let shift = match order {
            ShiftOrder::Resume => Shift::Open,
            ShiftOrder::Pause => Shift::Paused,
            ShiftOrder::Kill => Shift::Stopped,
            ShiftOrder::Drain => {
                self.foreman.drain().await;
                return Ok(self.node().await);
            }
        };
        match self.foreman.tell(shift).await {
            Ok(()) => Ok(self.node().await),
            Err(error) => Err(Problem {
                code: "home".into(),
                message: format!("Nothing was changed: {error}."),
                money: "No money moved.".into(),
                next: "Mend the home; `openagents doctor` says what is wrong. Ctrl-C stops the whole node."
                    .into(),
            }),
        }
    }

    async fn reconcile(&self) -> Result<ReconcileView, Problem> {
        let wallet = self.till.wallet().ok_or_else(no_wallet)?;
        let reconciliation =
            Reconciliation { wallet, till: &self.till, driver: &self.driver, reader: &self.reader };
        reconciliation.run().await.map_err(|error| match error {
            ReconcileError::Wallet(error) => wallet_silent(&error.to_string()),
            ReconcileError::Store(error) => Problem {
                code: "store".into(),
                message: format!("The books cannot be read: {error}."),
                money: "Money is where it was.".into(),
                next: "Run `openagents doctor`.".into(),
            },
        })
    }

    async fn clear_audit(&self) -> Result<u64, Problem> {
        self.driver.clear_audit().await.ok_or_else(|| Problem {
            code: "store".into(),
            message: "The checks could not be forgotten: the disk refused, or the node is stopping.".into(),
            money: "No money moved.".into(),
            next: "Run `openagents doctor`.".into(),
        })
    }

    async fn destination(&self, body: &DestinationBody) -> Result<DestinationView, Problem> {
        let wallet = self.till.wallet().ok_or_else(no_wallet)?;
        Ok(self.hand(wallet.as_ref()).destination(body).await?)
    }

    async fn pay(&self, body: &PayBody) -> Result<TransferView, Problem> {
        let wallet = self.till.wallet().ok_or_else(no_wallet)?;
        Ok(self.hand(wallet.as_ref()).pay(body).await?)
    }

    async fn receive(&self, body: &ReceiveBody) -> Result<TransferView, Problem> {
        let wallet = self.till.wallet().ok_or_else(no_wallet)?;
        Ok(self.hand(wallet.as_ref()).receive(body).await?)
    }

    async fn lightning(&self, method: &str, params: serde_json::Value) -> Result<serde_json::Value, Problem> {
        let wallet = self.till.wallet().ok_or_else(no_lightning)?;
        if !LIGHTNING.contains(&method) {
            return Err(no_lightning());
        }
        match wallet.extension(method, params).await {
            Ok(answer) => Ok(answer),
            Err(WalletError::NotImplemented(_)) => Err(no_lightning()),
            Err(error) => Err(Problem {
                code: "lightning".into(),
                message: format!("The Lightning node did not do it: {error}."),
                money: "What it holds is in its channels and on chain, as before or as it was asked.".into(),
                next: "Look at its channels with `openagents wallet ldk channels`, then try again.".into(),
            }),
        }
    }

    async fn ecash(&self, method: &str, params: serde_json::Value) -> Result<serde_json::Value, Problem> {
        let wallet = self.till.wallet().ok_or_else(no_ecash)?;
        if !ECASH.contains(&method) {
            return Err(no_ecash());
        }
        match wallet.extension(method, params).await {
            Ok(answer) => Ok(answer),
            Err(WalletError::NotImplemented(_)) => Err(no_ecash()),
            Err(error) => Err(Problem {
                code: "ecash".into(),
                message: format!("The ecash wallet did not do it: {error}."),
                money: if error.is_definitive() {
                    "No money moved.".into()
                } else {
                    "What was begun is written down, and finished or taken back by itself.".into()
                },
                next: "Look at it with `openagents wallet cashu info` and `openagents wallet cashu tokens`, then try again."
                    .into(),
            }),
        }
    }

    async fn publish_receipt(&self, job: JobId, side: Side) -> Result<EventId, Problem> {
        self.driver.publish_receipt(job, side).await.map_err(|refused| unpublished(&refused))
    }

    async fn testnet_wallet(&self, wanted: &TestWalletBody) -> Result<String, Problem> {
        let Some(testnet) = &self.testnet else {
            return Err(Problem {
                code: "no-testnet".into(),
                message: "this node serves no testnet wallets.".into(),
                money: "No money moved.".into(),
                next: "Start it with `openagents up --offline`.".into(),
            });
        };
        let amount = Msat::from_sat(wanted.sats).map_err(|error| Problem {
            code: "amount".into(),
            message: format!("{error}."),
            money: "No money moved.".into(),
            next: "Ask for fewer sats.".into(),
        })?;
        let opening = Opening { label: &wanted.label, funds: amount, plain: wanted.plain };
        testnet.new_account(opening).map_err(|error| wallet_silent(&error.to_string()))
    }

    async fn testnet_audit(&self) -> Option<serde_json::Value> {
        self.testnet.as_ref().map(Testnet::audit)
    }
}

impl Counter {
    fn hand<'a>(&'a self, wallet: &'a dyn Wallet) -> Hand<'a> {
        Hand {
            wallet,
            network: self.network,
            driver: &self.driver,
            reader: &self.reader,
            resolver: &self.resolver,
            max_fee: self.config.customer.max_fee(),
        }
    }

    fn order(&self, body: AskBody) -> Order {
        let defaults = &self.config.customer;
        let lifetime = body.deadline_ms.map_or(defaults.deadline(), Millis);
        Order {
            spec: JobSpec {
                kind: body.kind,
                inputs: body.inputs,
                params: body.params,
                output: Vec::new(),
                bid: Msat::new(body.bid_msat),
                provider: body.provider,
                encrypt: body.encrypt,
                relays: self.up.relay.iter().cloned().collect(),
                expires_at: clock::now().after(lifetime),
                refund_to: body.refund_to.or_else(|| defaults.refund_to()),
            },
            options: AskOptions {
                // Half of a short life is left for the work.
                window: body.window_ms.map_or(defaults.window().min(Millis(lifetime.0 / 2)), Millis),
                patience: body.patience_ms.map(Millis),
                max_fee: defaults.max_fee(),
            },
            key_of: body.balance_of,
            or_wallet: body.or_wallet,
        }
    }

    fn relay_views(&self) -> Vec<RelayView> {
        let states = self.relays.states().into_iter();
        states
            .map(|(url, state)| RelayView {
                url: url.to_string(),
                state: state.word,
                connected: state.connected,
            })
            .collect()
    }

    fn maker(&self, kind: openagents_types::JobKind) -> &'static str {
        let first = self.labels.get(&kind).and_then(|labels| labels.first());
        crate::offers::backend_word(kind, first.map(String::as_str))
    }

    fn provider_view(&self, provider: &ProviderConfig) -> ProviderView {
        let gauges = &self.driver.gauges;
        let load = self.load(clock::now());
        ProviderView {
            offers: self
                .stock
                .borrow()
                .offers
                .iter()
                .map(|offer| OfferView {
                    kind: offer.kind,
                    backend: self.maker(offer.kind).into(),
                    base_msat: offer.price.base.get(),
                    now_base_msat: base_now(offer.price, &load, provider),
                    per_kib_msat: offer.price.per_kib.get(),
                    per_1000_output_msat: offer.price.per_1000_output.get(),
                    per_second_msat: offer.price.per_second.get(),
                    models: offer.models.iter().map(|model| model_view(model, &load, provider)).collect(),
                    backends: self.labels.get(&offer.kind).cloned().unwrap_or_default(),
                })
                .collect(),
            queued: gauges.queued.load(Ordering::Relaxed),
            running: gauges.running.load(Ordering::Relaxed),
            slots: provider.slots,
            draining: gauges.draining.load(Ordering::Relaxed) || self.foreman.is_draining(),
            shift: self.foreman.shift().word().into(),
            machine: Some(machine_view(&self.machine.borrow())),
            servers: self.servers.iter().filter_map(server_view).collect(),
        }
    }

    /// How busy the provider is, as its prices take it into account.
    fn load(&self, now: Timestamp) -> Load {
        let (gauges, seen) = (&self.driver.gauges, self.machine.borrow());
        let host = Host::of(seen.verdict.clone(), &seen.sample);
        Load {
            waiting: gauges.queued.load(Ordering::Relaxed),
            running: gauges.running.load(Ordering::Relaxed),
            strain: host.strain,
            minute: minute_of_day(now, host.utc_offset_min.unwrap_or(0)),
        }
    }

    /// What is known of the wallet; one that does not answer in time is still there.
    async fn wallet_view(&self) -> Option<WalletView> {
        let wallet = self.till.wallet()?;
        let (info, balance) = tokio::join!(
            tokio::time::timeout(WALLET_PATIENCE, wallet.info()),
            tokio::time::timeout(WALLET_PATIENCE, wallet.balance()),
        );
        let (info, balance) = (info.ok().and_then(Result::ok), balance.ok().and_then(Result::ok));
        Some(WalletView {
            kind: if self.testnet.is_some() { "testnet" } else { "nwc" }.into(),
            alias: info.as_ref().map_or_else(|| "does not answer".into(), |info| info.alias.clone()),
            network: info.as_ref().map_or_else(|| "unknown".into(), |info| info.network.to_string()),
            balance_msat: balance.map(Msat::get),
            balance_fiat: balance.and_then(|balance| self.worth_now(balance)),
            escrow: info.is_some_and(|info| info.hold),
        })
    }

    /// What an amount is worth now.
    fn worth_now(&self, amount: Msat) -> Option<FiatView> {
        let price = self.prices.at(clock::now())?;
        Some(price.of(i64::try_from(amount.get()).ok()?))
    }

    /// A payment as the wallet tells it, with what the books noted of its worth.
    fn transaction_view(&self, row: &Transaction) -> TransactionView {
        let noted = || self.reader.price_of(row.hash, row.incoming).ok().flatten();
        let price = (row.state == "settled").then(noted).flatten();
        let fiat = price.and_then(|price| Some(price.of(i64::try_from(row.amount.get()).ok()?)));
        TransactionView { fiat, ..wallets::transaction_view(row) }
    }

    fn counts(&self) -> Vec<(Side, String, u64)> {
        let side = |word: &str| if word == "sold" { Side::Sold } else { Side::Bought };
        let counts = self.reader.counts().unwrap_or_default();
        counts.into_iter().map(|(word, state, count)| (side(&word), state, count)).collect()
    }
}

/// What any job costs now, where that is not what the settings say.
fn base_now(rule: PriceRule, load: &Load, provider: &ProviderConfig) -> Option<u64> {
    let alone = PriceRule { floor: rule.floor, ..PriceRule::flat(rule.base) };
    let now = alone.price(Measure::default(), load, &provider.tariff)?;
    let now = if provider.whole_sats { Msat::from_sat(now.to_sat_ceil()).ok()? } else { now };
    (now != rule.base).then(|| now.get())
}

fn model_view(model: &ModelOffer, load: &Load, provider: &ProviderConfig) -> ModelView {
    ModelView {
        name: model.name.clone(),
        base_msat: model.price.base.get(),
        now_base_msat: base_now(model.price, load, provider),
        per_kib_msat: model.price.per_kib.get(),
        per_1000_output_msat: model.price.per_1000_output.get(),
    }
}

/// The machine as it was seen last.
fn machine_view(seen: &Seen) -> MachineView {
    let reason = seen.verdict.pause();
    MachineView {
        state: match seen.verdict {
            Verdict::Allowed => "allowed",
            Verdict::Eased => "eased",
            Verdict::Paused { .. } => "paused",
        }
        .into(),
        reason: reason.map(|reason| reason.word().into()),
        message: reason.map(ToString::to_string),
        remedy: seen.remedy.clone(),
        sample: serde_json::to_value(seen.sample).unwrap_or_default(),
    }
}

fn too_short() -> Problem {
    Problem {
        code: "deadline".into(),
        message: "Nothing was asked: the job would end before the last offers are in.".into(),
        money: "No money moved.".into(),
        next: "Allow more time until the deadline, or make the window shorter.".into(),
    }
}

fn seeds_unreadable(error: &SeedError) -> Problem {
    Problem {
        code: "seed".into(),
        message: format!("The money seeds cannot be read: {error}."),
        money: "Money is where it was.".into(),
        next: "Run `openagents wallet seed status`.".into(),
    }
}

pub(crate) fn unpublished(refused: &PublishRefused) -> Problem {
    let (code, next) = match refused {
        PublishRefused::Unknown => ("no-receipt", "See `openagents receipts list` for what there is."),
        PublishRefused::Disputed => ("receipt", "See what is wrong with it: `openagents receipts show`."),
        PublishRefused::Encrypted => {
            ("receipt", "Hand it to whom it concerns: `openagents receipts show --json JOB`.")
        }
        PublishRefused::NoKey | PublishRefused::Encode(_) | PublishRefused::Proof(_) => {
            ("receipt", "Run `openagents doctor`.")
        }
        PublishRefused::Store(_) => ("store", "Run `openagents doctor`."),
        PublishRefused::Stopping => ("stopping", "Start the node again with `openagents up`."),
    };
    Problem {
        code: code.into(),
        message: refused.to_string(),
        money: "No money moved.".into(),
        next: next.into(),
    }
}

fn no_provider() -> Problem {
    Problem {
        code: "no-provider".into(),
        message: "This node sells nothing, so there is nothing to advertise, to pause or to stop.".into(),
        money: "No money moved.".into(),
        next: "Start it without --customer to sell.".into(),
    }
}

fn no_lightning() -> Problem {
    Problem {
        code: "no-lightning".into(),
        message: "This node's wallet is no Lightning node of its own.".into(),
        money: "No money moved.".into(),
        next: "Set wallet.kind to \"ldk\" with `openagents config edit`, and start the node again.".into(),
    }
}

fn no_ecash() -> Problem {
    Problem {
        code: "no-ecash".into(),
        message: "This node's wallet is no ecash.".into(),
        money: "No money moved.".into(),
        next: "Set wallet.kind to \"cashu\" with `openagents config edit`, and start the node again.".into(),
    }
}

fn no_wallet() -> Problem {
    Problem {
        code: "no-wallet".into(),
        message: "This node has no wallet.".into(),
        money: "No money moved.".into(),
        next: "Connect one with `openagents wallet connect`, or ask for free work with `--max-sat 0`.".into(),
    }
}

fn invalid(fault: &openagents_registry::Fault) -> Problem {
    Problem {
        code: "invalid".into(),
        message: format!("The job was not asked: {fault}."),
        money: "No money moved.".into(),
        next: "See what the kind takes with `openagents registry show KIND`, then ask again.".into(),
    }
}

fn unacceptable(objection: &Objection) -> Problem {
    Problem {
        code: "policy".into(),
        message: format!("The job was not asked: {objection}"),
        money: "No money moved.".into(),
        next: "Ask something else; if it is honest work, see `consent` and `level` under [policy] in config.toml."
            .into(),
    }
}

fn wallet_silent(reason: &str) -> Problem {
    Problem {
        code: "wallet".into(),
        message: format!("The wallet gave no answer: {reason}."),
        money: "Its money is where it was.".into(),
        next: "Look at the wallet itself, then try again.".into(),
    }
}

fn refusal(refused: &AskRefused) -> Problem {
    let (code, next) = match refused {
        AskRefused::Request(_) => ("not-asked", "Correct the job and ask again."),
        AskRefused::DailyLimit { .. } => (
            "daily-limit",
            "Wait until then, or raise `daily_limit_msat` under [customer] in config.toml and restart the node; \
             free offers are taken with `--max-sat 0`.",
        ),
        AskRefused::Stopping => ("not-asked", "Start the node again with `openagents up`."),
    };
    Problem {
        code: code.into(),
        message: format!("The job was not asked: {refused}."),
        money: "No money moved.".into(),
        next: next.into(),
    }
}
/// A model server, for whoever asks, by the name that prices and receipts call it.
fn server_view(seat: &crate::offers::Seat) -> Option<openagents_api::ServerView> {
    use openagents_backend::Health;
    let server = seat.backend.server()?;
    let (state, why) = match server.health {
        Health::Ready => ("ready", String::new()),
        Health::Starting => ("starting", String::new()),
        Health::Down(why) => ("down", why),
    };
    let models = server.models.into_iter().map(|model| openagents_api::ServedModelView {
        id: model.id,
        digest: model.digest,
        context: model.context,
    });
    Some(openagents_api::ServerView {
        backend: seat.label.to_string(),
        place: server.place,
        about: server.about,
        state: state.into(),
        why,
        models: models.collect(),
        warning: server.warning,
    })
}
