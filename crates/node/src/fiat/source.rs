//! Asking for the price: the one server that the operator names, nobody if none is named. It is asked when the node
//! starts and every five minutes from then on; it learns this machine's address, and nothing of any payment.

use std::{sync::Arc, time::Duration};

use openagents_api::FiatSourceView;
use openagents_types::Timestamp;
use tokio::sync::watch;

use super::Price;
use crate::{
    clock,
    config::FiatSettings,
    lnurl,
    resolve::{ResolveError, Resolver, Said},
};

/// How long between two questions.
const BETWEEN: Duration = Duration::from_secs(300);

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes: all currencies there are, with room.
const LONGEST_ANSWER: usize = 64 << 10;

/// What the server has come to.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// The last price.
    price: Option<Price>,
    /// Why the last question got none.
    fault: Option<String>,
}

/// The last price that was told. Clones hear the same.
#[derive(Clone, Debug, Default)]
pub struct Prices(Option<Listener>);

#[derive(Clone, Debug)]
struct Listener {
    settings: Arc<FiatSettings>,
    heard: watch::Receiver<Heard>,
}

impl Prices {
    /// What a bitcoin costs at a time, if the last price is good for it.
    pub fn at(&self, time: Timestamp) -> Option<Price> {
        let price = self.0.as_ref()?.heard.borrow().price;
        price.filter(|price| price.is_good_at(time))
    }

    /// What is known of source and price; `None` if no source is named.
    pub fn view(&self, now: Timestamp) -> Option<FiatSourceView> {
        let listener = self.0.as_ref()?;
        let heard = listener.heard.borrow();
        let price = heard.price.filter(|price| price.is_good_at(now));
        Some(FiatSourceView {
            source: listener.settings.host(),
            currency: listener.settings.currency.to_string(),
            per_btc: price.map(|price| price.text()),
            at: price.map(|price| price.at.millis()),
            fault: heard.fault.clone(),
        })
    }
}

/// The one that asks.
#[derive(Debug)]
pub struct Source {
    settings: Arc<FiatSettings>,
    resolver: Resolver,
    tell: watch::Sender<Heard>,
}

impl Source {
    /// The source that the settings name, if they name one. `allowed` are the hosts that may be asked although they
    /// are private; one on this machine is.
    pub fn new(settings: &FiatSettings, allowed: &[String]) -> Option<(Self, Prices)> {
        if settings.source.is_empty() {
            return None;
        }
        let mut allowed = allowed.to_vec();
        allowed.extend(settings.own_machine());
        let settings = Arc::new(settings.clone());
        let (tell, heard) = watch::channel(Heard::default());
        let prices = Prices(Some(Listener { settings: settings.clone(), heard }));
        Some((Self { settings, resolver: Resolver::new(&allowed), tell }, prices))
    }

    /// Asks until the node stops.
    pub async fn run(self) {
        loop {
            let answer = self.ask().await;
            self.note(answer);
            tokio::time::sleep(BETWEEN).await;
        }
    }

    async fn ask(&self) -> Result<Price, String> {
        match self.resolver.say(&self.settings.source, LONGEST_ANSWER, PATIENCE).await {
            Ok(Said { status, body }) if (200..300).contains(&status) => {
                let FiatSettings { pointer, currency, .. } = &*self.settings;
                Price::read(&body, pointer, *currency, clock::now()).map_err(|error| error.to_string())
            }
            Ok(Said { status, .. }) => Err(format!("it answered {status}")),
            Err(ResolveError::TooLarge) => Err("its answer is too large".into()),
            Err(error) => Err(lnurl::unasked(&error)),
        }
    }

    /// A server that fails leaves the price that it told before, for as long as that is good.
    fn note(&self, answer: Result<Price, String>) {
        let is_news = self.tell.borrow().fault != answer.as_ref().err().cloned();
        match &answer {
            Err(fault) if is_news => {
                let host = self.settings.host();
                tracing::warn!(%host, %fault, "no price: payments go on, and are noted without a value");
            }
            Ok(_) if is_news => tracing::info!("the price is told again"),
            Ok(_) | Err(_) => {}
        }
        self.tell.send_modify(|heard| match answer {
            Ok(price) => *heard = Heard { price: Some(price), fault: None },
            Err(fault) => heard.fault = Some(fault),
        });
    }
}
