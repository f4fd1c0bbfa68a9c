//! What an engine's owner has decided.

use std::fmt;

use openagents_types::{
    DayBudget, JobId, JobKind, Millis, Msat, Network, Param, Preimage, ProviderKey, ReceiptRule,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    bidding::{PriceRule, Tariff},
    credit::Credit,
    customer::AdvanceLimit,
    resources::Host,
    shift::Shift,
};

/// Settings of both halves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The provider's half; `None` if this node only buys.
    pub provider: Option<ProviderConfig>,
    /// The customer's half.
    pub customer: CustomerConfig,
}

/// Settings of the provider's half.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// The key the provider signs with.
    pub key: ProviderKey,
    /// Where preimages of hold invoices come from.
    pub seed: PreimageSeed,
    /// What is for sale.
    pub offers: Vec<Offer>,
    /// What load does to prices.
    pub tariff: Tariff,
    /// Whether jobs that cost something have to name a bid.
    pub require_bid: bool,
    /// What the operator has told it to do.
    pub shift: Shift,
    /// Whether its machine may work, and how hard it does.
    pub host: Host,
    /// Whether the wallet can hold invoices, so that payments are locked and not taken first.
    pub escrow: bool,
    /// How long ecash stays locked for us after a quote's end; `None` if the wallet takes none.
    pub ecash_lock: Option<Millis>,
    /// Whether a zap of a job counts as its payment.
    pub zaps: bool,
    /// Jobs that run at once.
    pub slots: usize,
    /// Jobs that may wait for a slot; beyond that new ones are refused as overloaded.
    pub queue_limit: usize,
    /// Quotes that may stand unpaid at once; beyond that new requests are refused as overloaded.
    pub offer_limit: usize,
    /// How long a quote stands.
    pub quote_lifetime: Millis,
    /// How long a job may run.
    pub job_timeout: Millis,
    /// How old or how far ahead of our clock a request may be (N3, N4).
    pub freshness: Millis,
    /// How long after a plain invoice expired a payment may still arrive for it.
    pub late_window: Millis,
    /// How much longer a job that costs nothing waits than one that was paid for: those paid for come first, until it has
    /// waited so much longer. What arrives later than that comes later, so nothing waits forever.
    pub free_waits: Millis,
    /// How much later one of two jobs may arrive for each rank that it is above the other, and still come first.
    pub rank_wait: Millis,
    /// How often work on one job may begin. Two: once, and once more after a crash.
    pub attempts: u32,
    /// How long to wait before a wallet that did not answer is asked again.
    pub recheck: Millis,
    /// How long a job may run in silence before the customer is told that it does.
    pub silence: Millis,
    /// How long a job's inputs may be fetched and checked before the customer is told what is waited for.
    pub resolving_silence: Millis,
    /// Which jobs get a receipt.
    pub receipts: ReceiptRule,
    /// How long a refund waits for its customer's claim before the address that the request names is asked.
    pub claim_time: Millis,
    /// How long a refund without an address waits for a claim before it becomes the customer's balance; `None` keeps
    /// no balances, and what nobody claims stays owed.
    pub credit_after: Option<Millis>,
    /// How much unpaid work customers may have.
    pub credit: Credit,
    /// Whether prices are rounded up to whole satoshis, because the wallet moves nothing smaller.
    pub whole_sats: bool,
    /// Whether what a job did not use of a price by tokens becomes its customer's balance, where balances are kept.
    pub metered: bool,
}

impl ProviderConfig {
    /// Settings with this project's defaults, selling nothing yet.
    pub fn new(key: ProviderKey, seed: PreimageSeed) -> Self {
        Self {
            key,
            seed,
            offers: Vec::new(),
            tariff: Tariff::default(),
            require_bid: false,
            shift: Shift::Open,
            host: Host::default(),
            escrow: true,
            ecash_lock: None,
            zaps: false,
            slots: 2,
            queue_limit: 1_000,
            offer_limit: 20_000,
            // Two relay round trips and a person reading the price.
            quote_lifetime: Millis::from_secs(90),
            job_timeout: Millis::from_secs(300),
            freshness: Millis::from_secs(600),
            late_window: Millis::from_secs(600),
            free_waits: Millis::from_secs(600),
            // A bid of twice the price overtakes what came up to fifty seconds before it.
            rank_wait: Millis::from_secs(1),
            attempts: 2,
            recheck: Millis::from_secs(5),
            silence: Millis(500),
            // Most pages and answers are there by then.
            resolving_silence: Millis::from_secs(3),
            receipts: ReceiptRule::Paid,
            // A customer that is there claims at once; one that lost its relay has the time to come back.
            claim_time: Millis::from_secs(60),
            // A customer that is away comes back within the day, and a claim is paid all the same.
            credit_after: Some(Millis::from_secs(86_400)),
            credit: Credit::default(),
            whole_sats: false,
            metered: true,
        }
    }

    /// Whether what a job does not use of its price is given back: it needs balances to be kept.
    pub const fn is_metered(&self) -> bool {
        self.metered && self.credit_after.is_some()
    }

    /// Takes over what has changed about kinds that are sold. Jobs that have a quote keep its terms.
    pub(crate) fn restock(&mut self, offers: Vec<Offer>) {
        for new in offers {
            if let Some(known) = self.offers.iter_mut().find(|known| known.kind == new.kind) {
                *known = new;
            }
        }
    }

    /// What is offered for a kind.
    pub fn offer(&self, kind: JobKind) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.kind == kind)
    }
}

/// One kind of work for sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The kind.
    pub kind: JobKind,
    /// What it costs, where the model has no price of its own.
    pub price: PriceRule,
    /// The models there are, each with its price; empty where there are none to choose from.
    pub models: Vec<ModelOffer>,
    /// The largest input taken, all inputs together, in bytes.
    pub max_input_bytes: u64,
    /// How long a job of this kind usually takes.
    pub eta: Millis,
}

/// A model of a kind for sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelOffer {
    /// Its name, as jobs write it.
    pub name: String,
    /// What a job by it costs.
    pub price: PriceRule,
}

/// Settings of the customer's half.
#[derive(Clone, Debug)]
pub struct CustomerConfig {
    /// The network our wallet pays on; invoices for another are refused.
    pub network: Network,
    /// How long a quote must still stand when it is chosen, so that it cannot expire on the way.
    pub quote_margin: Millis,
    /// How long to wait before a wallet that did not answer is asked again.
    pub recheck: Millis,
    /// How many offers are remembered for one job; later ones are ignored.
    pub offers_kept: usize,
    /// How long an invoice for a refund can be paid.
    pub claim_lifetime: Millis,
    /// How long after its window an offer may still come for a job that somebody has refused.
    pub late_offer: Millis,
    /// The same if providers have to fetch the job's inputs first.
    pub late_offer_on_fetched: Millis,
    /// What may be paid in a day, and what was begun today; `None` sets no limit.
    pub budget: Option<DayBudget>,
    /// What may be with one provider in advance; `None` sets no limit.
    pub advance: Option<AdvanceLimit>,
    /// For which jobs a receipt is waited for.
    pub receipts: ReceiptRule,
    /// The mints whose ecash our wallet has and can lock; none if it cannot.
    pub mints: Vec<String>,
    /// How long ecash may stay locked for one job.
    pub longest_lock: Millis,
}

impl CustomerConfig {
    /// Settings with this project's defaults.
    pub const fn new(network: Network) -> Self {
        Self {
            network,
            // The thirty seconds that must be left when it is sent, and the way there.
            quote_margin: Millis::from_secs(35),
            recheck: Millis::from_secs(5),
            offers_kept: 64,
            claim_lifetime: Millis::from_secs(3600),
            late_offer: Millis::from_secs(3),
            // Providers give an address twenty seconds, and read what it held.
            late_offer_on_fetched: Millis::from_secs(40),
            budget: None,
            advance: None,
            receipts: ReceiptRule::Paid,
            mints: Vec::new(),
            // Whoever asks for more keeps money from its owner for longer than any job takes.
            longest_lock: Millis::from_secs(7_200),
        }
    }
}

/// A secret from which the preimage of each job's hold invoice is derived. Deriving, and not
/// drawing, means that a crash between making an invoice and saving it makes the same one again.
#[derive(Clone)]
pub struct PreimageSeed(Zeroizing<[u8; 32]>);

impl PreimageSeed {
    /// A seed from 32 secret bytes, which must differ from every signing key.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(Zeroizing::new(secret))
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.0
    }

    /// The preimage for a job's hold invoice.
    pub fn preimage(&self, job: JobId) -> Preimage {
        self.derive(b"openagents/hold-preimage", job)
    }

    /// The preimage for ecash that is locked for a job. Another one than the invoice's: who pays both would give
    /// two payments one name.
    pub fn ecash_preimage(&self, job: JobId) -> Preimage {
        self.derive(b"openagents/ecash-preimage", job)
    }

    fn derive(&self, purpose: &[u8], job: JobId) -> Preimage {
        let mut hasher = Sha256::new();
        hasher.update(purpose);
        hasher.update(*self.0);
        hasher.update(job.as_bytes());
        Preimage::from_bytes(hasher.finalize().into())
    }
}

impl fmt::Debug for PreimageSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreimageSeed(…)")
    }
}

impl Offer {
    /// Whether what a job costs depends on its parameters.
    pub fn looks_at_params(&self) -> bool {
        !self.models.is_empty() || !self.price.per_1000_output.is_zero()
    }

    /// What a job costs before load is looked at: by the model it names, if that has a price of its own.
    pub fn price_of(&self, params: &[Param]) -> PriceRule {
        let named = params.iter().find(|param| param.name == "model");
        let name = named.and_then(|param| param.values.first());
        let model = self.models.iter().find(|model| Some(&model.name) == name);
        model.map_or(self.price, |model| model.price)
    }

    /// An offer that costs nothing.
    pub const fn free(kind: JobKind) -> Self {
        Self::flat(kind, Msat::ZERO)
    }

    /// An offer at a flat price.
    pub const fn flat(kind: JobKind, price: Msat) -> Self {
        Self {
            kind,
            price: PriceRule::flat(price),
            models: Vec::new(),
            max_input_bytes: 1_000_000,
            eta: Millis(1_000),
        }
    }
}
