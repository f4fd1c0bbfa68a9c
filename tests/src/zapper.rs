//! A Lightning address's server that takes zaps (NIP-57): it says by whom its receipts are signed, makes the invoices of
//! zaps, and signs receipts: also such as it never should.

use std::time::Duration;

use bech32::{Bech32, Hrp};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::{
    Keys, Tag,
    hashes::{Hash, sha256},
    secp256k1::{Secp256k1, SecretKey},
};
use openagents_protocol::Verified;
use openagents_types::{EventId, ProviderKey};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// The server.
#[derive(Clone, Debug)]
pub struct Zapper {
    /// Host and port.
    pub address: String,
    /// What it signs receipts with.
    pub keys: Keys,
}

/// A zap, by what its request and its receipt say.
#[derive(Clone, Debug)]
pub struct Zap {
    /// Who zaps.
    pub by: Keys,
    /// Who is zapped.
    pub to: ProviderKey,
    /// What is zapped.
    pub about: EventId,
    /// How much the request says.
    pub asks: u64,
    /// How much the invoice says.
    pub msat: u64,
    /// Who signs the receipt.
    pub signer: Keys,
    /// What the receipt says was zapped.
    pub says: EventId,
}

impl Zapper {
    /// Opens one on a port of its own, which takes zaps or does not.
    pub async fn open(takes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let zapper = Self { address, keys: Keys::generate() };
        let answer = zapper.offer(takes);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 4_096];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        zapper
    }

    /// Its LNURL.
    pub fn lnurl(&self) -> String {
        let url = format!("http://{}/zap", self.address);
        bech32::encode::<Bech32>(Hrp::parse("lnurl").unwrap(), url.as_bytes()).unwrap()
    }

    fn offer(&self, takes: bool) -> String {
        let body = json!({
            "tag": "payRequest", "callback": format!("http://{}/callback", self.address), "minSendable": 1_000,
            "maxSendable": 1_000_000, "metadata": r#"[["text/plain","Zaps"]]"#,
            "allowsNostr": takes, "nostrPubkey": self.keys.public_key().to_hex(),
        })
        .to_string();
        let head = "HTTP/1.1 200 -\r\ncontent-type: application/json\r\nconnection: close";
        format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    /// An honest zap.
    pub fn zap(&self, by: &Keys, to: ProviderKey, about: EventId, msat: u64) -> Zap {
        Zap { by: by.clone(), to, about, asks: msat, msat, signer: self.keys.clone(), says: about }
    }

    /// What somebody who zaps signs.
    fn request(&self, zap: &Zap) -> String {
        let tags = [
            vec!["p".into(), zap.to.to_hex()],
            vec!["e".into(), zap.about.to_hex()],
            vec!["amount".into(), zap.asks.to_string()],
            vec!["lnurl".into(), self.lnurl()],
            vec!["relays".into(), "wss://relay.example".into()],
        ];
        signed(&zap.by, 9734, tags.to_vec()).json().to_owned()
    }

    /// The invoice of a zap, paid to whoever made the one with this hash, and its receipt.
    pub fn bill(&self, zap: &Zap, hash: &str) -> (String, Verified) {
        let request = self.request(zap);
        let key = SecretKey::from_slice(&[1; 32]).unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let bolt11 = InvoiceBuilder::new(Currency::Regtest)
            .description_hash(sha256::Hash::hash(request.as_bytes()))
            .payment_hash(hash.parse::<sha256::Hash>().unwrap())
            .payment_secret(PaymentSecret([3; 32]))
            .duration_since_epoch(Duration::from_secs(now))
            .expiry_time(Duration::from_secs(600))
            .min_final_cltv_expiry_delta(144)
            .amount_milli_satoshis(zap.msat)
            .build_signed(|m| Secp256k1::new().sign_ecdsa_recoverable(m, &key))
            .unwrap()
            .to_string();
        let tags = vec![
            vec!["p".into(), zap.to.to_hex()],
            vec!["P".into(), zap.by.public_key().to_hex()],
            vec!["e".into(), zap.says.to_hex()],
            vec!["bolt11".into(), bolt11.clone()],
            vec!["description".into(), request],
        ];
        (bolt11, signed(&zap.signer, 9735, tags))
    }
}

fn signed(keys: &Keys, kind: u16, tags: Vec<Vec<String>>) -> Verified {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let tags = tags.into_iter().map(|tag| Tag::parse(tag).unwrap()).collect();
    Verified::sign(keys, kind, tags, String::new(), now)
}
