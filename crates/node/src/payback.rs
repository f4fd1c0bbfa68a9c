//! Refunds to the address that a customer named: its server is asked for an invoice, and the driver hears what came of
//! it. Only the engine decides whether that invoice is paid.

use std::sync::{Arc, OnceLock};

use openagents_engine::Input;
use openagents_types::{JobId, Msat, Network};
use openagents_wallet::{
    bolt11,
    destination::{self, Destination},
};
use tokio::sync::Semaphore;

use crate::{app::clean, clock, driver::DriverHandle, lnurl, resolve::Resolver, runtime::Tasks};

/// How many servers are asked at once: strangers name them.
const AT_ONCE: usize = 8;

/// How much is kept of why there is no invoice, in characters: some of it may be a stranger's words.
const LONGEST_REASON: usize = 300;

/// Whoever asks the addresses. Clones share it.
#[derive(Clone)]
pub struct Payback(Arc<Inner>);

struct Inner {
    resolver: Resolver,
    network: Network,
    places: Semaphore,
    tasks: Tasks,
    driver: OnceLock<DriverHandle>,
}

impl Payback {
    /// Asks through `resolver`, for invoices on `network`.
    pub fn new(resolver: Resolver, network: Network, tasks: Tasks) -> Self {
        let (places, driver) = (Semaphore::new(AT_ONCE), OnceLock::new());
        Self(Arc::new(Inner { resolver, network, places, tasks, driver }))
    }

    /// Whom to report to. Called once, before anything is asked.
    pub fn attach(&self, driver: DriverHandle) {
        let _ = self.0.driver.set(driver);
    }

    /// Has the address `to` make an invoice for exactly `amount`, and reports it.
    pub fn ask(&self, job: JobId, to: String, amount: Msat) {
        let inner = self.0.clone();
        self.0.tasks.spawn_until_stop(async move {
            let Ok(_place) = inner.places.acquire().await else { return };
            let outcome = inner.invoice(&to, amount).await.map_err(|reason| clean(&reason, LONGEST_REASON));
            if let Err(reason) = &outcome {
                tracing::warn!(%job, %amount, %reason, "a refund could not be paid to the address it shall go to");
            }
            if let Some(driver) = inner.driver.get() {
                driver.report(Input::AddressAnswered { job, outcome }).await;
            }
        });
    }
}

impl Inner {
    async fn invoice(&self, to: &str, amount: Msat) -> Result<openagents_types::Invoice, String> {
        match destination::read(to).map_err(|error| error.to_string())? {
            Destination::Server(code) => {
                let asked = lnurl::invoice_of(&self.resolver, self.network, &code, Some(amount), "").await;
                asked.map(|(invoice, _)| invoice).map_err(|error| error.to_string())
            }
            Destination::Invoice(invoice) if invoice.network != self.network => {
                Err(format!("the invoice is for {}", invoice.network))
            }
            Destination::Invoice(invoice) => {
                let payable = bolt11::payable(&invoice, clock::now());
                payable.map(|()| invoice).map_err(|error| error.to_string())
            }
        }
    }
}
