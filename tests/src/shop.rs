//! A server that sells by LNURL-pay, and that lies in every way if it is asked to.

use std::time::Duration;

use bech32::{Bech32, Hrp};
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::{
    hashes::{Hash, sha256},
    secp256k1::{Secp256k1, SecretKey},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

const METADATA: &str = r#"[["text/plain","Coffee for Ann"]]"#;

/// The server. Its invoices have one hash, because the testnet pays by hashes.
#[derive(Clone, Debug)]
pub struct Shop {
    /// Host and port.
    pub address: String,
    hash: sha256::Hash,
}

impl Shop {
    /// Opens one on a port of its own, whose invoices are paid to whoever made the one with this hash.
    pub async fn open(hash: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shop = Self { address: listener.local_addr().unwrap().to_string(), hash: hash.parse().unwrap() };
        let serving = shop.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        shop
    }

    /// The LNURL at which it behaves in a certain way.
    pub fn lnurl(&self, way: &str) -> String {
        let url = format!("http://{}/{way}", self.address);
        bech32::encode::<Bech32>(Hrp::parse("lnurl").unwrap(), url.as_bytes()).unwrap()
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (mut first, mut line) = (String::new(), String::new());
        stream.read_line(&mut first).await.unwrap();
        while stream.read_line(&mut line).await.unwrap_or(0) > 2 {
            line.clear();
        }
        let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let answer = match path.split_once("/callback") {
            Some((way, query)) => self.invoice(way, query),
            None => self.offer(&path).await,
        };
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    async fn offer(&self, way: &str) -> String {
        let callback = format!("http://{}/{way}/callback", self.address);
        let offer = json!({
            "tag": "payRequest", "callback": callback, "minSendable": 1_000, "maxSendable": 50_000,
            "metadata": METADATA, "commentAllowed": 20,
        });
        match way {
            "silent" => std::future::pending().await,
            "huge" => ok(&format!("{{\"tag\":\"payRequest\",\"metadata\":\"{}", "x".repeat(1 << 20))),
            "redirect" => {
                "HTTP/1.1 302 -\r\nlocation: http://10.0.0.1/pay\r\ncontent-length: 0\r\n\r\n".into()
            }
            "missing" => "HTTP/1.1 404 -\r\ncontent-length: 4\r\n\r\nnone".into(),
            "closed" => ok(r#"{"status":"ERROR","reason":"the shop is closed"}"#),
            _ => ok(&offer.to_string()),
        }
    }

    fn invoice(&self, way: &str, query: &str) -> String {
        let amount: u64 = query.split("amount=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
        let amount = if way == "dear" { amount + 1_000 } else { amount };
        let currency = if way == "mainnet" { Currency::Bitcoin } else { Currency::Regtest };
        let metadata = if way == "other" { r#"[["text/plain","A car"]]"# } else { METADATA };
        let age = if way == "expired" { 3_600 } else { 0 };
        let now = std::time::UNIX_EPOCH.elapsed().unwrap() - Duration::from_secs(age);
        let key = SecretKey::from_slice(&[1; 32]).unwrap();
        let invoice = InvoiceBuilder::new(currency)
            .description_hash(sha256::Hash::hash(metadata.as_bytes()))
            .payment_hash(self.hash)
            .payment_secret(PaymentSecret([3; 32]))
            .duration_since_epoch(Duration::from_secs(now.as_secs()))
            .expiry_time(Duration::from_secs(600))
            .min_final_cltv_expiry_delta(144)
            .amount_milli_satoshis(amount)
            .build_signed(|m| Secp256k1::new().sign_ecdsa_recoverable(m, &key))
            .unwrap();
        ok(&json!({ "pr": invoice.to_string(), "routes": [] }).to_string())
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
