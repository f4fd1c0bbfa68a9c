//! A job may be zapped instead of its invoice being paid: the receipt is checked and the wallet is asked, and then the
//! work is done. No forgery starts any.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use nostr::Keys;
use openagents_api::{Client, PayBody, ReceiveBody, TestWalletBody};
use openagents_node::{Node, Role, WalletChoice, config::Config};
use openagents_protocol::{Keyring, Message, Verified, decode, filters, request};
use openagents_relay::{Hub, HubConfig, LocalClient, RelayNews, RelayUrl, SubId, serve};
use openagents_tests::{PATIENCE, Zap, Zapper, config, offline, start, until_job};
use openagents_types::{
    EventId, Feedback, JobId, JobInput, JobKind, JobSpec, Millis, Msat, ProviderKey, Status, Timestamp,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A market: a relay, a testnet, a provider that says where it is zapped, and the till of the address's server, which
/// makes invoices in the provider's wallet and not in its books.
struct Market {
    relay: LocalClient,
    zapper: Zapper,
    bank: Node,
    provider: Node,
    till: Node,
    homes: [tempfile::TempDir; 4],
    settings: Config,
    account: String,
}

/// A job that is offered.
struct Offered {
    id: JobId,
    by: Keys,
    quote: Feedback,
}

impl Market {
    async fn open(takes_zaps: bool, plain: bool) -> Self {
        openagents_tests::log();
        let homes = [(); 4].map(|()| tempfile::tempdir().unwrap());
        let zapper = Zapper::open(takes_zaps).await;
        let bank = offline(homes[0].path(), config()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = RelayUrl::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
        let hub = Hub::new(HubConfig::default());
        tokio::spawn(serve(listener, hub.clone(), CancellationToken::new()));
        let relay = hub.attach(url.clone(), 1_024);

        let wanted = TestWalletBody { label: "provider".into(), sats: 1_000, plain };
        let account = bank.client().unwrap().testnet_wallet(&wanted).await.unwrap();
        let wallet = || WalletChoice::Connected(account.parse().unwrap());
        let mut settings = config();
        settings.relays = vec![url.to_string()];
        settings.provider.zaps = zapper.lnurl();
        settings.allow_private_urls = vec![zapper.address.clone()];
        let provider = start(homes[1].path(), settings.clone(), Role::Provider, wallet(), false).await;
        let till = start(homes[2].path(), settings.clone(), Role::Customer, wallet(), false).await;
        Self { relay, zapper, bank, provider, till, homes, settings, account }
    }

    fn seller(&self) -> Client {
        self.provider.client().unwrap()
    }

    fn purse(&self) -> Client {
        self.bank.client().unwrap()
    }

    /// The provider ends and comes back; every receipt is told again.
    async fn restart(self) -> Self {
        self.provider.shutdown().await.unwrap();
        let wallet = WalletChoice::Connected(self.account.parse().unwrap());
        let home = self.homes[1].path();
        let provider = start(home, self.settings.clone(), Role::Provider, wallet, false).await;
        Self { provider, ..self }
    }

    /// Somebody with a wallet of its own.
    async fn payer(&self) -> Node {
        let wanted = TestWalletBody { label: "payer".into(), sats: 1_000, plain: true };
        let account = self.purse().testnet_wallet(&wanted).await.unwrap();
        let mut settings = config();
        settings.relays = vec![self.relay.handle().url().to_string()];
        let wallet = WalletChoice::Connected(account.parse().unwrap());
        start(self.homes[3].path(), settings, Role::Customer, wallet, false).await
    }

    fn key(&self) -> ProviderKey {
        self.provider.up().provider.unwrap()
    }

    /// The next event that is as it should be.
    async fn hear<T>(&mut self, what: impl Fn(&Verified) -> Option<T>) -> T {
        let heard = async {
            loop {
                if let Some((_, RelayNews::Event(_, event))) = self.relay.recv().await
                    && let Some(found) = what(&event)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap()
    }

    /// Waits until the advertisements say where the provider is zapped.
    async fn is_advertised(&mut self) {
        let lnurl = self.zapper.lnurl();
        let wanted = filters::for_ads(&[JobKind::SUMMARIZATION]);
        self.relay.handle().subscribe(SubId::named("ads"), wanted).unwrap();
        self.hear(|event| event.event().content.contains(&lnurl).then_some(())).await;
    }

    /// Asks for work, and waits for its price.
    async fn ask(&mut self) -> Offered {
        let by = Keys::generate();
        let now = Timestamp::from_secs(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs());
        let text = "The first sentence says it. The second repeats it. The third is of no use.";
        let spec = JobSpec {
            inputs: vec![JobInput::text(text)],
            ..JobSpec::new(JobKind::SUMMARIZATION, Msat::new(40_000), now.after(Millis::from_secs(80)))
        };
        let event = request::encode(&spec, &by, now).unwrap();
        let id = JobId::from(event.id());
        let handle = self.relay.handle();
        handle.subscribe(SubId::from(id), filters::for_customer(id, spec.kind)).unwrap();
        handle.publish(event).unwrap();
        let keys = by.clone();
        let quote = self
            .hear(move |event| match decode(event, &mut Keyring::new(keys.clone())) {
                Ok(Message::Feedback(said)) if said.job == id => {
                    (said.status == Status::PaymentRequired).then_some(said)
                }
                _ => None,
            })
            .await;
        Offered { id, by, quote }
    }

    /// A zap of an offer that asks what it costs.
    fn zap(&self, job: &Offered, about: EventId) -> Zap {
        self.zapper.zap(&job.by, self.key(), about, job.quote.amount.unwrap().get())
    }

    /// An invoice in somebody's wallet: its hash.
    async fn hash_at(wallet: &Client, msat: u64) -> String {
        let body = ReceiveBody { amount_msat: msat, description: "zap".into(), lifetime_ms: None };
        wallet.receive(&body).await.unwrap().hash
    }

    /// The invoice and the receipt of a zap that is paid into the provider's wallet.
    async fn bill(&self, zap: &Zap) -> (String, Verified) {
        let hash = Self::hash_at(&self.till.client().unwrap(), zap.msat).await;
        self.zapper.bill(zap, &hash)
    }

    async fn pay(&self, bolt11: String) {
        let body = PayBody { bolt11, about: "a zap".into(), max_fee_msat: None };
        self.purse().pay(&body).await.unwrap();
    }

    fn tell(&self, receipt: &Verified) {
        self.relay.handle().publish(receipt.clone()).unwrap();
    }

    async fn delivers(&self, job: &Offered) {
        until_job(&self.seller(), job.id, |view| view.state == "settled").await;
    }

    async fn balance(&self) -> u64 {
        self.seller().node().await.unwrap().wallet.unwrap().balance_msat.unwrap()
    }

    async fn earned(&self) -> Vec<(Option<JobId>, i64)> {
        let ledger = self.seller().ledger(50).await.unwrap();
        ledger.lines.iter().map(|line| (line.job, line.msat)).collect()
    }

    async fn close(self) {
        for node in [self.provider, self.till, self.bank] {
            node.shutdown().await.unwrap();
        }
    }
}

fn price(job: &Offered) -> u64 {
    job.quote.amount.unwrap().get()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zapped_job_is_done_whether_its_offer_or_its_request_was_zapped() {
    let mut market = Market::open(true, false).await;
    market.is_advertised().await;
    let before = market.balance().await;

    let offer = market.ask().await;
    let (bolt11, receipt) = market.bill(&market.zap(&offer, offer.quote.event)).await;
    market.pay(bolt11).await;
    market.tell(&receipt);
    market.delivers(&offer).await;

    // Told before the money is there: the wallet is asked again. And told twice.
    let asked = market.ask().await;
    let about = EventId::from_bytes(*asked.id.as_bytes());
    let (bolt11, receipt) = market.bill(&market.zap(&asked, about)).await;
    market.tell(&receipt);
    market.pay(bolt11).await;
    market.tell(&receipt);
    market.delivers(&asked).await;

    let mut market = Box::pin(market.restart()).await;
    let again = market.ask().await;
    let (bolt11, receipt) = market.bill(&market.zap(&again, again.quote.event)).await;
    market.pay(bolt11).await;
    market.tell(&receipt);
    market.delivers(&again).await;

    let jobs = [again, asked, offer];
    assert_eq!(market.balance().await - before, jobs.iter().map(price).sum::<u64>());
    let expected = jobs.each_ref().map(|job| (Some(job.id), price(job).cast_signed()));
    assert_eq!(market.earned().await, expected, "each once");
    let books = market.seller().reconcile().await.unwrap();
    assert!(books.differences.is_empty(), "{books:?}");
    market.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_forged_zap_starts_a_job_or_moves_a_satoshi() {
    let mut market = Market::open(true, true).await;
    market.is_advertised().await;
    let (job, other) = (market.ask().await, market.ask().await);
    let (stranger, honest) = (Keys::generate(), market.zap(&job, job.quote.event));
    let before = market.balance().await;

    let someone = ProviderKey::from_bytes(stranger.public_key().to_bytes());
    let forged = [
        Zap { signer: stranger.clone(), ..honest.clone() },
        Zap { asks: honest.msat * 2, ..honest.clone() },
        Zap { msat: honest.msat * 2, ..honest.clone() },
        Zap { to: someone, ..honest.clone() },
        Zap { says: other.quote.event, ..honest.clone() },
        Zap { about: other.quote.event, ..honest.clone() },
    ];
    for zap in &forged {
        let (_, receipt) = market.bill(zap).await;
        market.tell(&receipt);
    }
    // Sound in every way, and never paid.
    let (_, receipt) = market.bill(&honest).await;
    market.tell(&receipt);
    // Sound in every way and paid, but into another wallet: what the provider's own pays on the way is nothing.
    let elsewhere = Market::hash_at(&market.purse(), honest.msat).await;
    let (bolt11, receipt) = market.zapper.bill(&honest, &elsewhere);
    let payer = market.payer().await;
    payer
        .client()
        .unwrap()
        .pay(&PayBody { bolt11, about: "a zap".into(), max_fee_msat: None })
        .await
        .unwrap();
    market.tell(&receipt);

    // An honest one that is told after them all.
    let last = market.zap(&other, other.quote.event);
    let (bolt11, receipt) = market.bill(&last).await;
    market.pay(bolt11).await;
    market.tell(&receipt);
    market.delivers(&other).await;

    assert_eq!(market.seller().job(job.id).await.unwrap().state, "offered");
    assert_eq!(market.earned().await, [(Some(other.id), price(&other).cast_signed())]);
    assert_eq!(market.balance().await - before, price(&other));

    // And the job is still paid by its invoice.
    market.pay(job.quote.bolt11.clone().unwrap()).await;
    market.delivers(&job).await;
    assert_eq!(market.balance().await - before, price(&other) + price(&job));
    payer.shutdown().await.unwrap();
    market.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_whose_server_takes_no_zaps_is_not_advertised_and_no_receipt_is_believed() {
    let mut market = Market::open(false, true).await;
    let job = market.ask().await;
    let (bolt11, receipt) = market.bill(&market.zap(&job, job.quote.event)).await;
    market.pay(bolt11).await;
    market.tell(&receipt);
    // A job that comes after it has been through.
    let other = market.ask().await;
    market.pay(other.quote.bolt11.clone().unwrap()).await;
    market.delivers(&other).await;
    assert_eq!(market.seller().job(job.id).await.unwrap().state, "offered");
    assert_eq!(market.earned().await, [(Some(other.id), price(&other).cast_signed())]);
    let ads = serde_json::to_string(&market.seller().ads().await.unwrap()).unwrap();
    assert!(ads.contains("pricing") && !ads.contains("lud06"), "{ads}");
    market.close().await;
}
