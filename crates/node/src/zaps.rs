//! Zaps: whose receipts are believed. The address in the settings is asked as any payer would ask it (LNURL-pay); the key
//! that its server says it signs receipts with is the only author that counts (NIP-57). Until it has said so, nobody is
//! told that jobs can be zapped here, and no receipt is believed.

use std::time::Duration;

use nostr::PublicKey;
use openagents_protocol::profile::ZapAddress;
use openagents_wallet::{
    destination::{DestinationError, read_server},
    lnurl::{PayCode, PayOffer},
};
use tokio::sync::watch;

use crate::{
    driver::{Command, DriverHandle},
    lnurl,
    resolve::Resolver,
};

/// How often a server is asked that answers: it may sign with another key some day.
const DAILY: Duration = Duration::from_secs(24 * 3_600);

/// When one is asked again that does not; twice as long each time, up to [`RARELY`].
const SOON: Duration = Duration::from_secs(15);

const RARELY: Duration = Duration::from_secs(3_600);

/// Whoever tells that we were zapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZapServer {
    /// The key that it signs receipts with.
    pub key: PublicKey,
    /// Our LNURL, as a zap may name it.
    pub lnurl: String,
    /// Where we are zapped, as viewers look it up.
    pub address: ZapAddress,
}

/// Asks an address who signs its receipts, and tells those who have to know.
pub(crate) struct ZapFinder {
    code: PayCode,
    resolver: Resolver,
    found: watch::Sender<Option<ZapServer>>,
}

/// Reads where a provider is zapped: a Lightning address or an LNURL.
///
/// # Errors
/// It is neither.
pub(crate) fn read(text: &str) -> Result<PayCode, DestinationError> {
    read_server(text, "name the Lightning address (name@host) or the LNURL of the wallet that this node uses")
}

impl ZapFinder {
    /// One that asks `code`, and where to hear of what it finds.
    pub(crate) fn new(code: PayCode, resolver: Resolver) -> (Self, watch::Receiver<Option<ZapServer>>) {
        let (found, hears) = watch::channel(None);
        (Self { code, resolver, found }, hears)
    }

    /// Runs until the node stops.
    pub(crate) async fn run(self, driver: DriverHandle) {
        let (mut wait, mut told) = (SOON, String::new());
        loop {
            match self.ask().await {
                Ok(server) => {
                    (wait, told) = (SOON, String::new());
                    self.tell(Some(server), &driver).await;
                    tokio::time::sleep(DAILY).await;
                }
                Err(no) => {
                    let (name, reason) = (self.code.name(), no.to_string());
                    if told != reason {
                        tracing::warn!(%name, %reason, "zaps are not taken as payment of jobs");
                        told = reason;
                    }
                    // One that is silent for a while still signs with the key that it had.
                    if matches!(no, NoZaps::Refused(_)) {
                        self.tell(None, &driver).await;
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RARELY);
                }
            }
        }
    }

    async fn ask(&self) -> Result<ZapServer, NoZaps> {
        let offer = lnurl::offer_of(&self.resolver, &self.code).await?;
        let key = signer(&offer)?;
        let (lnurl, name) = (self.code.lnurl(), self.code.name());
        let address =
            if name.contains('@') { ZapAddress::Name(name.into()) } else { ZapAddress::Lnurl(lnurl.clone()) };
        Ok(ZapServer { key, lnurl, address })
    }

    async fn tell(&self, server: Option<ZapServer>, driver: &DriverHandle) {
        if *self.found.borrow() == server {
            return;
        }
        if let Some(ZapServer { key, .. }) = &server {
            tracing::info!(name = %self.code.name(), %key, "jobs can be paid by zaps; receipts have to be signed by this key");
        }
        driver.tell(Command::Zaps(server.clone())).await;
        self.found.send_replace(server);
    }
}

/// Why no receipt can be believed.
#[derive(Debug, thiserror::Error)]
enum NoZaps {
    #[error(transparent)]
    Unasked(#[from] lnurl::ServerError),
    #[error("{0}; use an address whose server signs zap receipts, or empty provider.zaps")]
    Refused(&'static str),
}

/// The key that a server signs receipts with.
fn signer(offer: &PayOffer) -> Result<PublicKey, NoZaps> {
    let key =
        offer.zapper.as_deref().ok_or(NoZaps::Refused("its server does not take zaps (allowsNostr)"))?;
    PublicKey::from_hex(key).map_err(|_| {
        NoZaps::Refused("its server does not name the key that it signs zap receipts with (nostrPubkey)")
    })
}
