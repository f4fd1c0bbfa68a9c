//! The API as functions: what the program, the tests and strangers' Rust programs call.

use futures::StreamExt;
use openagents_types::JobId;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;

use crate::{
    AdView, AdsReport, AdsView, AskBody, Asked, AuditQuery, AuditView, Cleared, DestinationBody,
    DestinationView, JobView, LedgerView, Listing, NewsView, NodeView, PayBody, Problem, PublishedReceipt,
    ReceiptQuery, ReceiptView, ReceiveBody, ReconcileView, ResultView, SeedsView, ShiftOrder, Side,
    TestWalletBody, TransactionView, TransferView,
};

/// A node's API at one address.
#[derive(Clone)]
pub struct Client {
    base: String,
    token: String,
    http: reqwest::Client,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("no node answers at {base}: {reason}; start one with `openagents up`")]
    Unreachable {
        /// The address.
        base: String,
        /// Why.
        reason: String,
    },
    /// The node was reached and then broke off: what was asked of it may have been done.
    #[error("the node at {base} broke off: {reason}; look with `openagents jobs list` before you ask again")]
    BrokenOff {
        /// The address.
        base: String,
        /// Why.
        reason: String,
    },
    /// The node refused.
    #[error("{} {}; {}", .0.message, .0.money, .0.next)]
    Refused(Problem),
    /// The answer is not what it should be.
    #[error("the node at {base} answered something else than expected: {reason}")]
    Garbled {
        /// The address.
        base: String,
        /// What came.
        reason: String,
    },
}

impl Client {
    /// A client for the node at `base`, such as `http://127.0.0.1:9099`, with its bearer token.
    ///
    /// # Errors
    /// No HTTP client can be made on this machine.
    pub fn new(base: &str, token: &str) -> Result<Self, ClientError> {
        let base = base.trim_end_matches('/').to_owned();
        // Without a TLS implementation no client can be made, even for plain HTTP on loopback. If
        // another is installed already it stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(|error| ClientError::Unreachable { base: base.clone(), reason: error.to_string() })?;
        Ok(Self { base, token: token.to_owned(), http })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        match response.json::<Problem>().await {
            Ok(problem) => Err(ClientError::Refused(problem)),
            Err(_) => Err(ClientError::Garbled { base: self.base.clone(), reason: format!("HTTP {status}") }),
        }
    }

    pub(crate) async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(self.request(Method::GET, path)).await
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        response
            .json()
            .await
            .map_err(|error| ClientError::Garbled { base: self.base.clone(), reason: error.to_string() })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let base = self.base.clone();
        if error.is_connect() {
            ClientError::Unreachable { base, reason: "connection refused".into() }
        } else {
            ClientError::BrokenOff { base, reason: error.to_string() }
        }
    }

    /// The node as a whole.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn node(&self) -> Result<NodeView, ClientError> {
        self.read(self.request(Method::GET, "/api/v1/node")).await
    }

    /// What others ask for the kinds of work that the node sells, by their advertisements on its relays.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn market_ads(&self) -> Result<Vec<AdView>, ClientError> {
        self.read(self.request(Method::GET, "/api/v1/market/ads")).await
    }

    /// What would be published of this provider now.
    ///
    /// # Errors
    /// The node does not answer, or sells nothing.
    pub async fn ads(&self) -> Result<AdsView, ClientError> {
        self.read(self.request(Method::GET, "/api/v1/ads")).await
    }

    /// Publishes it now, and says what the relays hold then.
    ///
    /// # Errors
    /// The node does not answer, or sells nothing.
    pub async fn publish_ads(&self) -> Result<AdsReport, ClientError> {
        self.read(self.request(Method::POST, "/api/v1/ads/publish")).await
    }

    /// What viewers see of this provider on each relay.
    ///
    /// # Errors
    /// The node does not answer, or sells nothing.
    pub async fn verify_ads(&self) -> Result<AdsReport, ClientError> {
        self.read(self.request(Method::GET, "/api/v1/ads/verify")).await
    }

    /// Jobs of both halves, newest first.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn jobs(&self, wanted: &Listing) -> Result<Vec<JobView>, ClientError> {
        self.read(self.request(Method::GET, "/api/v1/jobs").query(wanted)).await
    }

    /// One job; a node that bought from itself has it on both sides.
    ///
    /// # Errors
    /// The node does not answer, or knows no such job.
    pub async fn job(&self, id: JobId) -> Result<JobView, ClientError> {
        self.read(self.request(Method::GET, &format!("/api/v1/jobs/{id}"))).await
    }

    /// The payload of a result we bought.
    ///
    /// # Errors
    /// The node does not answer, or has no such result.
    pub async fn result(&self, id: JobId) -> Result<ResultView, ClientError> {
        self.read(self.request(Method::GET, &format!("/api/v1/jobs/{id}/result"))).await
    }

    /// Buys a job.
    ///
    /// # Errors
    /// The node does not answer or refuses; then nothing was bought, unless it broke off.
    pub async fn ask(&self, body: &AskBody) -> Result<Asked, ClientError> {
        self.read(self.request(Method::POST, "/api/v1/jobs").json(body)).await
    }

    /// Takes a job back.
    ///
    /// # Errors
    /// The node does not answer, or knows no such job.
    pub async fn cancel(&self, id: JobId) -> Result<JobView, ClientError> {
        self.read(self.request(Method::DELETE, &format!("/api/v1/jobs/{id}"))).await
    }

    /// Receipts of both halves, newest first.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn receipts(&self, wanted: &ReceiptQuery) -> Result<Vec<ReceiptView>, ClientError> {
        self.read(self.request(Method::GET, "/api/v1/receipts").query(wanted)).await
    }

    /// The receipt of a job; where a node bought from itself and no side is named, the bought half's.
    ///
    /// # Errors
    /// The node does not answer, or has no such receipt.
    pub async fn receipt(&self, job: JobId, side: Option<Side>) -> Result<ReceiptView, ClientError> {
        let wanted = ReceiptQuery { side, ..ReceiptQuery::default() };
        self.read(self.request(Method::GET, &format!("/api/v1/receipts/{job}")).query(&wanted)).await
    }

    /// Makes a receipt public.
    ///
    /// # Errors
    /// The node does not answer, has no such receipt, or refuses because it is disputed or its job was encrypted.
    pub async fn publish_receipt(
        &self,
        job: JobId,
        side: Option<Side>,
    ) -> Result<PublishedReceipt, ClientError> {
        let wanted = ReceiptQuery { side, ..ReceiptQuery::default() };
        let request = self.request(Method::POST, &format!("/api/v1/receipts/{job}/publish"));
        self.read(request.query(&wanted)).await
    }

    /// The ledger.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn ledger(&self, limit: u32) -> Result<LedgerView, ClientError> {
        self.read(self.request(Method::GET, &format!("/api/v1/ledger?limit={limit}"))).await
    }

    /// The wallet's own history, newest first.
    ///
    /// # Errors
    /// The node does not answer, or has no wallet.
    pub async fn history(&self, limit: u32) -> Result<Vec<TransactionView>, ClientError> {
        self.read(self.request(Method::GET, &format!("/api/v1/wallet/history?limit={limit}"))).await
    }

    /// The money seeds of the node's home: which there are, and whether they are backed up.
    ///
    /// # Errors
    /// The node does not answer, or cannot read them.
    pub async fn seeds(&self) -> Result<SeedsView, ClientError> {
        self.read(self.request(Method::GET, "/api/v1/wallet/seed/status")).await
    }

    /// Asks the wallet about every payment whose end is not known, and compares it with the books.
    ///
    /// # Errors
    /// The node does not answer, has no wallet, or the wallet does not answer.
    pub async fn reconcile(&self) -> Result<ReconcileView, ClientError> {
        self.read(self.request(Method::POST, "/api/v1/wallet/reconcile")).await
    }

    /// Tells the provider to work, to pause or to stop; how the node then stands.
    ///
    /// # Errors
    /// The node does not answer, sells nothing, or cannot write the order down.
    pub async fn shift(&self, order: ShiftOrder) -> Result<NodeView, ClientError> {
        self.read(self.request(Method::POST, &format!("/api/v1/provider/{}", order.word()))).await
    }

    /// Reads what was pasted to be paid, and has an LNURL's server make its invoice. Nothing is paid.
    ///
    /// # Errors
    /// The node does not answer or refuses, or it is nothing that can be paid.
    pub async fn destination(&self, body: &DestinationBody) -> Result<DestinationView, ClientError> {
        self.read(self.request(Method::POST, "/api/v1/wallet/destination").json(body)).await
    }

    /// Pays an invoice by hand, unless that was begun before; says how it stands.
    ///
    /// # Errors
    /// The node does not answer or refuses; then nothing was sent, unless it broke off.
    pub async fn pay(&self, body: &PayBody) -> Result<TransferView, ClientError> {
        self.read(self.request(Method::POST, "/api/v1/wallet/pay").json(body)).await
    }

    /// Makes an invoice to be paid by hand.
    ///
    /// # Errors
    /// The node does not answer, has no wallet, or that makes no invoice.
    pub async fn receive(&self, body: &ReceiveBody) -> Result<TransferView, ClientError> {
        self.read(self.request(Method::POST, "/api/v1/wallet/receive").json(body)).await
    }

    /// How a payment by hand stands.
    ///
    /// # Errors
    /// The node does not answer, or knows no such payment.
    pub async fn transfer(&self, hash: &str) -> Result<TransferView, ClientError> {
        self.read(self.request(Method::GET, &format!("/api/v1/wallet/payments/{hash}"))).await
    }

    /// Asks the Lightning node that is the node's wallet: `get_info`, `new_address`, `onchain_balance`,
    /// `list_channels`, `open_channel` (`node_id`, `address`, `amount` in satoshis, perhaps `push_msat`), or
    /// `close_channel` (`id`, perhaps `force`).
    ///
    /// # Errors
    /// The node does not answer, its wallet is no Lightning node, or that one refuses.
    pub async fn lightning(
        &self,
        method: &str,
        params: serde_json::Value,
    ) -> Result<serde_json::Value, ClientError> {
        let body = serde_json::json!({ "method": method, "params": params });
        self.read(self.request(Method::POST, "/api/v1/wallet/lightning").json(&body)).await
    }

    /// Asks the ecash wallet that is the node's wallet: `list_mints`, `send_token` (`amount` in millisatoshis,
    /// perhaps `mint`), `receive_token` (`token`), `list_tokens`, or `reclaim_token` (`id`).
    ///
    /// # Errors
    /// The node does not answer, its wallet is no ecash, or that one refuses.
    pub async fn ecash(
        &self,
        method: &str,
        params: serde_json::Value,
    ) -> Result<serde_json::Value, ClientError> {
        let body = serde_json::json!({ "method": method, "params": params });
        self.read(self.request(Method::POST, "/api/v1/wallet/ecash").json(&body)).await
    }

    /// Opens a testnet account; gives its `nostr+walletconnect://` connection,
    /// which spends.
    ///
    /// # Errors
    /// The node does not answer, or serves no testnet.
    pub async fn testnet_wallet(&self, wanted: &TestWalletBody) -> Result<String, ClientError> {
        let request = self.request(Method::POST, "/api/v1/testnet/wallets").json(wanted);
        let opened: serde_json::Value = self.read(request).await?;
        Ok(opened["uri"].as_str().unwrap_or_default().to_owned())
    }

    /// Where all test money is.
    ///
    /// # Errors
    /// The node does not answer, or serves no testnet.
    pub async fn testnet_audit(&self) -> Result<serde_json::Value, ClientError> {
        self.read(self.request(Method::GET, "/api/v1/testnet/audit")).await
    }

    /// Checks by the policy, oldest first.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn audit(&self, wanted: &AuditQuery) -> Result<Vec<AuditView>, ClientError> {
        self.read(self.request(Method::GET, "/api/v1/policy/audit").query(wanted)).await
    }

    /// Forgets all checks.
    ///
    /// # Errors
    /// The node does not answer, or its disk refuses.
    pub async fn clear_audit(&self) -> Result<Cleared, ClientError> {
        self.read(self.request(Method::DELETE, "/api/v1/policy/audit")).await
    }

    /// Calls `each` for every piece of news until it returns `false` or the node stops.
    ///
    /// # Errors
    /// The node does not answer or refuses.
    pub async fn watch(&self, mut each: impl FnMut(NewsView) -> bool + Send) -> Result<(), ClientError> {
        let response = self.send(self.request(Method::GET, "/api/v1/events")).await?;
        let mut stream = response.bytes_stream();
        let mut buffer = Vec::new();
        while let Some(Ok(chunk)) = stream.next().await {
            buffer.extend_from_slice(&chunk);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let news = line.strip_prefix(b"data:").and_then(|data| serde_json::from_slice(data).ok());
                if let Some(news) = news
                    && !each(news)
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
