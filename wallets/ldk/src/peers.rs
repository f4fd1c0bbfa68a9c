//! Reaching the peers of our channels again. The node itself tries once a minute, which is as long as a customer
//! waits for a payment.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use ldk_node::{PeerDetails, bitcoin::secp256k1::PublicKey};

use crate::wallet::Wallet;

/// How often the peers are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// How long a peer that was just lost is left alone; doubled with each try that fails, up to [`RAREST`].
const FIRST: Duration = Duration::from_secs(1);

/// The longest that a peer is left alone.
const RAREST: Duration = Duration::from_secs(60);

/// When a lost peer is tried next, and how long it is left alone after that.
struct Try {
    at: Instant,
    pause: Duration,
}

/// Connects to lost peers for as long as the process lives.
pub(crate) fn keep(wallet: &Wallet) {
    let mut tries: HashMap<PublicKey, Try> = HashMap::new();
    loop {
        std::thread::sleep(PERIOD);
        let lost = lost(wallet);
        tries.retain(|peer, _| lost.iter().any(|lost| lost.node_id == *peer));
        for peer in lost {
            let next = tries.entry(peer.node_id).or_insert(Try { at: Instant::now() + FIRST, pause: FIRST });
            if next.at > Instant::now() {
                continue;
            }
            // Whether it worked shows in the list.
            let _ = wallet.node.connect(peer.node_id, peer.address, false);
            next.pause = (next.pause * 2).min(RAREST);
            next.at = Instant::now() + next.pause;
        }
    }
}

/// The peers whose address is known and with whom there is a channel, but no connection.
fn lost(wallet: &Wallet) -> Vec<PeerDetails> {
    let channels = wallet.node.list_channels();
    let has_channel =
        |peer: &PeerDetails| channels.iter().any(|channel| channel.counterparty_node_id == peer.node_id);
    wallet.node.list_peers().into_iter().filter(|peer| !peer.is_connected && has_channel(peer)).collect()
}
