//! Being found: one advertisement a kind (NIP-89), renewed every day and taken back at a clean stop, a heartbeat that
//! says the node is alive now, and what viewers look up beside them.
//!
//! [`Stand`] knows what is said; [`survey`] what the relays hold of it.

mod stand;
pub(crate) mod survey;

use std::time::Duration;

use openagents_engine::Shift;
use openagents_protocol::heartbeat;
use tokio::{
    sync::watch,
    time::{Instant, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{stock::Stock, zaps::ZapServer};
pub(crate) use stand::{Goods, Stand};

/// Advertisements older than some weeks are hidden by viewers; a day leaves room for failures.
const RENEW_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// How long to wait before relays that did not answer are asked again what they hold.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// How long what was said anew stands, whatever servers say meanwhile: one that comes and goes would fill the relays.
const STANDS: Duration = Duration::from_secs(20);

/// Says it while the provider works, and takes it back when it does not. Owned by the node's tasks.
pub(crate) struct Advertiser {
    stand: Stand,
    shift: watch::Receiver<Shift>,
    stock: watch::Receiver<Stock>,
    zaps: watch::Receiver<Option<ZapServer>>,
}

impl Advertiser {
    pub(crate) const fn new(
        stand: Stand,
        shift: watch::Receiver<Shift>,
        stock: watch::Receiver<Stock>,
        zaps: watch::Receiver<Option<ZapServer>>,
    ) -> Self {
        Self { stand, shift, stock, zaps }
    }

    /// Runs until the node stops, which closes the stand before.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        if !self.is_open() {
            // It may have died before it took them back.
            self.stand.take_back();
        }
        let mut renew = interval(RENEW_EVERY);
        let mut beat = interval(heartbeat::HEARTBEAT_EVERY.duration());
        let mut look = Instant::now();
        let mut restock = look;
        let mut said = self.stock.borrow_and_update().clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = self.shift.changed() => {
                    if self.is_open() {
                        self.stand.advertise();
                        self.stand.beat();
                    } else {
                        self.stand.take_back();
                    }
                }
                Ok(()) = news(&mut self.stock, restock) => {
                    restock = Instant::now() + STANDS;
                    let stock = self.stock.borrow_and_update().clone();
                    let before = std::mem::replace(&mut said, stock);
                    if self.is_open() {
                        self.stand.restock(&before);
                        self.stand.beat();
                    }
                }
                Ok(()) = self.zaps.changed() => {
                    if self.is_open() {
                        self.stand.advertise();
                    }
                    look = Instant::now();
                }
                _ = renew.tick() => if self.is_open() { self.stand.advertise() },
                _ = beat.tick() => if self.is_open() { self.stand.beat() },
                () = sleep_until(look) => {
                    let Some(answered) = stop.run_until_cancelled(self.stand.tidy()).await else { break };
                    look = Instant::now() + if answered { RENEW_EVERY } else { ASK_AGAIN };
                }
            }
        }
    }

    fn is_open(&self) -> bool {
        *self.shift.borrow() == Shift::Open && !self.stand.is_closed()
    }
}

/// Waits until there is another stock than the last that was read, and until then.
async fn news(stock: &mut watch::Receiver<Stock>, until: Instant) -> Result<(), watch::error::RecvError> {
    sleep_until(until).await;
    stock.changed().await
}
