//! What a Lightning node has beyond NIP-47: its money on chain, and its channels. Amounts in satoshis, as on
//! chain, where the name does not say msat.

use std::str::FromStr as _;

use ldk_node::{
    ChannelDetails, LightningBalance, bitcoin::secp256k1::PublicKey, lightning::ln::msgs::SocketAddress,
};
use serde_json::{Value, json};

use crate::{talk::Refusal, wallet::Wallet};

/// The methods that are answered here.
pub(crate) const METHODS: [&str; 6] =
    ["new_address", "onchain_balance", "open_channel", "close_channel", "list_channels", "list_balances"];

/// Does one of them.
pub(crate) fn execute(wallet: &Wallet, method: &str, params: &Value) -> Result<Value, Refusal> {
    match method {
        "new_address" => new_address(wallet),
        "onchain_balance" => Ok(onchain_balance(wallet)),
        "open_channel" => open(wallet, params),
        "close_channel" => close(wallet, params),
        "list_channels" => Ok(list(wallet)),
        "list_balances" => Ok(balances(wallet)),
        other => Err(Refusal::unknown_method(other)),
    }
}

fn new_address(wallet: &Wallet) -> Result<Value, Refusal> {
    let address = wallet.node.onchain_payment().new_address().map_err(Refusal::fault)?;
    Ok(json!({ "address": address.to_string() }))
}

fn onchain_balance(wallet: &Wallet) -> Value {
    let balances = wallet.node.list_balances();
    json!({
        "total": balances.total_onchain_balance_sats,
        "spendable": balances.spendable_onchain_balance_sats,
        "reserved": balances.total_anchor_channels_reserve_sats,
    })
}

/// Opens a channel to `node_id` at `address` with `amount`; `push_msat` of it are given to the peer.
fn open(wallet: &Wallet, params: &Value) -> Result<Value, Refusal> {
    let node_id = PublicKey::from_str(params["node_id"].as_str().unwrap_or_default())
        .map_err(|_| Refusal::restricted("node_id is no public key"))?;
    let address = SocketAddress::from_str(params["address"].as_str().unwrap_or_default())
        .map_err(|_| Refusal::restricted("address is no host and port"))?;
    let amount = params["amount"].as_u64().ok_or_else(|| Refusal::restricted("amount is missing"))?;
    let push = params["push_msat"].as_u64();
    let opened = if params["announce"] == true {
        wallet.node.open_announced_channel(node_id, address, amount, push, None)
    } else {
        wallet.node.open_channel(node_id, address, amount, push, None)
    };
    let id = opened.map_err(|error| Refusal::restricted(format!("the channel was not opened: {error}")))?;
    Ok(json!({ "id": id.0.to_string() }))
}

/// Closes the channel `id`, with the peer, or alone if `force` says so.
fn close(wallet: &Wallet, params: &Value) -> Result<Value, Refusal> {
    let id = params["id"].as_str().unwrap_or_default();
    let channels = wallet.node.list_channels();
    let channel = channels.iter().find(|channel| channel.user_channel_id.0.to_string() == id);
    let channel = channel.ok_or_else(Refusal::not_found)?;
    let (id, peer) = (&channel.user_channel_id, channel.counterparty_node_id);
    let closed = if params["force"] == true {
        wallet.node.force_close_channel(id, peer, None)
    } else {
        wallet.node.close_channel(id, peer)
    };
    closed.map_err(|error| Refusal::restricted(format!("the channel was not closed: {error}")))?;
    Ok(json!({}))
}

fn list(wallet: &Wallet) -> Value {
    json!({ "channels": wallet.node.list_channels().iter().map(channel).collect::<Vec<_>>() })
}

fn channel(channel: &ChannelDetails) -> Value {
    json!({
        "id": channel.user_channel_id.0.to_string(),
        "channel_id": channel.channel_id.to_string(),
        "peer": channel.counterparty_node_id.to_string(),
        "amount": channel.channel_value_sats,
        "outbound_msat": channel.outbound_capacity_msat,
        "inbound_msat": channel.inbound_capacity_msat,
        "ready": channel.is_channel_ready,
        "usable": channel.is_usable,
        "ours": channel.is_outbound,
        "announced": channel.is_announced,
        "confirmations": channel.confirmations,
        "confirmations_required": channel.confirmations_required,
        "funding": channel.funding_txo.map(|outpoint| outpoint.to_string()),
    })
}

/// What is locked in channels, and in which contracts.
fn balances(wallet: &Wallet) -> Value {
    let balances = wallet.node.list_balances();
    json!({
        "lightning": balances.total_lightning_balance_sats,
        "contracts": balances.lightning_balances.iter().filter_map(contract).collect::<Vec<_>>(),
        "closing": balances.pending_balances_from_channel_closures.len(),
    })
}

/// A payment that is locked in a channel (an HTLC), unless it is too small for an output of its own.
fn contract(balance: &LightningBalance) -> Option<Value> {
    let (hash, amount, outgoing) = match balance {
        LightningBalance::MaybeTimeoutClaimableHTLC {
            payment_hash,
            amount_satoshis,
            outbound_payment,
            ..
        } => (payment_hash, amount_satoshis, *outbound_payment),
        LightningBalance::MaybePreimageClaimableHTLC { payment_hash, amount_satoshis, .. } => {
            (payment_hash, amount_satoshis, false)
        }
        _ => return None,
    };
    Some(json!({ "payment_hash": hex::encode(hash.0), "amount": amount, "outgoing": outgoing }))
}
