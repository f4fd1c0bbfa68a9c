//! What the app promises, asked over a real socket as a browser would.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod samples;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use openagents_api::{
    AdView, AskBody, Asked, DestinationBody, DestinationView, JobView, LedgerView, NodeView, OfferView,
    PayBody, Problem, ProviderView, ReceiptView, ReceiveBody, ReconcileView, RelayView, SCHEMA_VERSION,
    SeedView, Side, TestWalletBody, TransactionView, TransferView, WalletView,
};
use openagents_engine::Record;
use openagents_policy::{AuditEntry, Category};
use openagents_types::{EventId, JobId, JobKind, ProviderKey};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};

use super::{App, Desk, Facts, router, view};
use crate::{
    audit::Audited,
    bus::{Bus, News},
    config::MediaSettings,
    driver::PublishRefused,
    media::Media,
    store::{Batch, Reader, Store},
};

const TOKEN: &str = "5ec2e7";

/// Facts that are made up, and a desk that notes what it was asked.
#[derive(Default)]
struct Fake {
    cancelled: Mutex<Vec<JobId>>,
    asked: Mutex<Vec<AskBody>>,
}

#[async_trait]
impl Facts for Fake {
    async fn ads(&self) -> Vec<AdView> {
        Vec::new()
    }

    async fn node(&self) -> NodeView {
        NodeView {
            schema_version: SCHEMA_VERSION,
            version: "0.1.0".into(),
            npub: format!("npub1{}", "q".repeat(58)),
            app: "http://127.0.0.1:9099".into(),
            relay: Some("ws://127.0.0.1:9099/relay".into()),
            started_at: samples::THEN.millis(),
            test_money: true,
            relays: vec![
                RelayView { url: "wss://relay.one".into(), state: "connected".into(), connected: true },
                RelayView { url: "wss://relay.two".into(), state: "refused".into(), connected: false },
            ],
            provider: Some(ProviderView {
                offers: vec![OfferView {
                    kind: JobKind::SUMMARIZATION,
                    backend: "extractive".into(),
                    now_base_msat: None,
                    base_msat: 1_000,
                    per_kib_msat: 50,
                    per_1000_output_msat: 0,
                    per_second_msat: 0,
                    models: Vec::new(),
                    backends: Vec::new(),
                }],
                queued: 2,
                running: 1,
                slots: 4,
                draining: false,
                shift: "open".into(),
                machine: None,
                servers: Vec::new(),
            }),
            wallet: Some(WalletView {
                kind: "nwc".into(),
                alias: samples::HOSTILE.into(),
                network: "regtest".into(),
                balance_msat: Some(1_234_567_000),
                balance_fiat: None,
                escrow: true,
            }),
            counts: vec![(Side::Sold, "settled".into(), 3)],
            fiat: None,
        }
    }

    async fn provider_key(&self) -> Option<ProviderKey> {
        Some(ProviderKey::from_bytes([0xa1; 32]))
    }

    async fn history(&self, _limit: u32) -> Result<Vec<TransactionView>, Problem> {
        Err(Problem {
            code: "no-wallet".into(),
            message: "No wallet is connected.".into(),
            money: "No money moved.".into(),
            next: "Connect one.".into(),
        })
    }

    async fn seeds(&self) -> Result<Vec<SeedView>, Problem> {
        Ok(vec![SeedView {
            network: "mainnet".into(),
            fingerprint: "73c5da0a".into(),
            words: 12,
            passphrase: false,
            created_at: samples::THEN.millis(),
            storage: "keyring".into(),
            verified_at: None,
            verified_by: None,
        }])
    }
}

#[async_trait]
impl Desk for Fake {
    async fn ask(&self, body: AskBody) -> Result<Asked, Problem> {
        self.asked.lock().unwrap().push(body);
        Ok(Asked { id: JobId::from_bytes([1; 32]) })
    }

    async fn cancel(&self, id: JobId) -> Result<(), Problem> {
        self.cancelled.lock().unwrap().push(id);
        Ok(())
    }

    async fn ads(&self) -> Result<openagents_api::AdsView, Problem> {
        unreachable!("no test asks for it")
    }

    async fn ads_report(&self, _: bool) -> Result<openagents_api::AdsReport, Problem> {
        unreachable!("no test asks for it")
    }

    async fn shift(&self, _: openagents_api::ShiftOrder) -> Result<NodeView, Problem> {
        Ok(self.node().await)
    }
    async fn reconcile(&self) -> Result<ReconcileView, Problem> {
        Ok(ReconcileView {
            schema_version: SCHEMA_VERSION,
            payments: vec![],
            differences: vec![],
            compared: 0,
            agree: true,
        })
    }

    async fn clear_audit(&self) -> Result<u64, Problem> {
        Ok(3)
    }

    async fn destination(&self, body: &DestinationBody) -> Result<DestinationView, Problem> {
        Ok(DestinationView {
            schema_version: SCHEMA_VERSION,
            bolt11: body.to.clone(),
            hash: "00".repeat(32),
            amount_msat: body.amount_msat.unwrap_or_default(),
            to: None,
            description: body.comment.clone(),
            expires_at: 0,
            max_fee_msat: 5_000,
            known: None,
        })
    }

    async fn pay(&self, body: &PayBody) -> Result<TransferView, Problem> {
        Ok(samples::transfer("out", &body.bolt11, &body.about))
    }

    async fn receive(&self, body: &ReceiveBody) -> Result<TransferView, Problem> {
        Ok(samples::transfer("in", "lnbcrt1", &body.description))
    }

    async fn lightning(
        &self,
        method: &str,
        _params: serde_json::Value,
    ) -> Result<serde_json::Value, Problem> {
        Ok(serde_json::json!({ "asked": method }))
    }

    async fn ecash(&self, method: &str, _params: serde_json::Value) -> Result<serde_json::Value, Problem> {
        Ok(serde_json::json!({ "asked": method }))
    }

    async fn publish_receipt(&self, job: JobId, side: Side) -> Result<EventId, Problem> {
        match side {
            Side::Sold => Ok(job.event()),
            Side::Bought => Err(crate::desk::unpublished(&PublishRefused::Disputed)),
        }
    }

    async fn testnet_wallet(&self, wanted: &TestWalletBody) -> Result<String, Problem> {
        Ok(format!("nostr+walletconnect://{}?{}", wanted.label, wanted.sats))
    }

    async fn testnet_audit(&self) -> Option<serde_json::Value> {
        None
    }
}

/// A node's app that serves.
struct Site {
    _dir: tempfile::TempDir,
    host: String,
    bus: Bus,
    fake: Arc<Fake>,
    http: reqwest::Client,
}

impl Site {
    async fn with(records: Vec<Record>) -> Self {
        Self::holding(&Batch { records, ..Batch::default() }).await
    }

    async fn holding(batch: &Batch) -> Self {
        crate::install_tls();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.db");
        Store::open(&path).unwrap().commit(batch).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (bus, fake) = (Bus::new(), Arc::new(Fake::default()));
        let app = App {
            media: Media::open(dir.path().join("media"), None, &MediaSettings::default()),
            reader: Arc::new(Reader::open(&path).unwrap()),
            bus: bus.clone(),
            token: TOKEN.into(),
            facts: fake.clone(),
            desk: fake.clone(),
            hosts: Arc::new(vec![host.clone(), "node.home".into()]),
        };
        tokio::spawn(async move { axum::serve(listener, router(app)).await });
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { _dir: dir, host, bus, fake, http: http.build().unwrap() }
    }

    async fn full() -> Self {
        Self::with(samples::records()).await
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.host))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.call(Method::GET, path).bearer_auth(TOKEN)
    }

    async fn page(&self, path: &str) -> String {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.unwrap()
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        self.get(path).send().await.unwrap().json().await.unwrap()
    }
}

fn id(n: u8) -> JobId {
    JobId::from_bytes([n; 32])
}

fn assert_harmless(text: &str, whence: &str) {
    for harm in ["<script>alert", "<img", "javascript:", "\u{1b}", "\u{7}", "\u{202e}"] {
        assert!(!text.contains(harm), "{whence} contains {harm:?}");
    }
}

/// Every tag that is opened is closed in order: proof that nobody's text became a tag.
fn assert_well_formed(html: &str, whence: &str) {
    let mut open = Vec::new();
    for tag in html.split('<').skip(1) {
        let name: String = tag.chars().take_while(|c| *c != '>' && !c.is_whitespace()).collect();
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop().as_deref(), Some(closed), "{whence}: …<{tag}"),
            None if matches!(name.as_str(), "!doctype" | "meta" | "link" | "br") => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, Vec::<String>::new(), "{whence} leaves tags open");
}

#[test]
fn every_state_of_a_sold_job_says_where_the_money_is() {
    let untouched = "No money has moved.";
    let expected = [
        untouched,
        untouched,
        untouched,
        untouched,
        "2.5 sat are locked for us.",
        "locked and not ours",
        "2.5 sat came in and are owed back.",
        "The refund of 2.5 sat is being paid.",
        "no money is involved",
        "no money is involved",
        "2.5 sat are locked until delivery",
        "2.5 sat are locked until delivery",
        "2.5 sat are paid",
        "2.5 sat are paid",
        "from the customer's balance",
        "from the customer's balance",
        "2.5 sat are ours.",
        "It was free.",
        "we have nothing",
        "No money moved.",
        "No money moved.",
        "Any payment went back.",
        "Any payment went back.",
        "2.5 sat were paid back.",
        "became the customer's balance",
    ];
    let states = samples::states();
    assert_eq!(states.len(), expected.len());
    for (state, money) in states.into_iter().zip(expected) {
        let job = samples::sold(1, state);
        let view = view::sold(&job, Some(ProviderKey::from_bytes([0xa1; 32])));
        assert!(view.explanation.contains(money), "{}: {}", view.state, view.explanation);
        assert!(view.explanation.matches('.').count() >= 3, "{}: {}", view.state, view.explanation);
        assert_eq!(view.open, !job.state.is_closed());
    }
}

#[test]
fn every_phase_of_a_bought_job_says_where_the_money_is() {
    let expected = [
        ("collecting", "No money moved."),
        ("paying", "2.5 sat are pending, funds safe"),
        ("paying", "2.5 sat were paid."),
        ("paying", "2.5 sat are pending, funds safe"),
        ("abandoning", "it is asked once more"),
        ("abandoning", "claimed back"),
        ("settled", "2.5 sat were paid."),
        ("delivered", "The wallet is asked until every payment is certain."),
        ("settled", "No money moved."),
        ("no-offer", "No money moved. The reasons say"),
        ("failed", "All money came back."),
        ("failed", "claimed back"),
        ("failed", "2.5 sat are pending, funds safe"),
        ("cancelled", "2.5 sat were paid and came back."),
    ];
    let phases = samples::phases();
    assert_eq!(phases.len(), expected.len());
    for ((phase, monies), (word, money)) in phases.into_iter().zip(expected) {
        let view = view::bought(&samples::bought(101, phase, monies));
        assert_eq!(view.state, word);
        assert!(view.explanation.contains(money), "{}: {}", view.state, view.explanation);
        assert!(view.explanation.matches('.').count() >= 3, "{}: {}", view.state, view.explanation);
    }
}

#[test]
fn strangers_text_loses_what_terminals_obey_and_keeps_what_people_read() {
    assert_eq!(view::clean("a\u{1b}[2J\u{202e}b\nc\u{2029}\u{feff}", 99), "a[2Jb\nc");
    assert_eq!(view::clean("👩\u{200d}🔬 שלום", 99), "👩\u{200d}🔬 שלום");
    assert_eq!(view::clean("abcdef", 3), "abc");
}

#[tokio::test]
async fn the_first_page_shows_every_job_and_obeys_none() {
    let site = Site::full().await;
    let html = site.page("/").await;
    assert_harmless(&html, "the first page");
    assert_well_formed(&html, "the first page");
    assert!(html.len() <= 100_000, "{} bytes", html.len());
    for job in site.json::<Vec<JobView>>("/api/v1/jobs").await {
        assert!(html.contains(&format!("/jobs/{}", job.id)), "{} is missing", job.id);
    }
    for part in ["Test money", "1\u{2009}234\u{2009}567 sat", "1 running", "summary", "wss://relay.two"] {
        assert!(html.contains(part), "{part} is missing");
    }
    assert!(html.contains("Sum of all movements</th><td class=\"amount\" title=\"-2500 msat\">−2.5 sat"));
}

#[tokio::test]
async fn every_jobs_page_and_fragment_is_well_formed_and_harmless() {
    let site = Site::full().await;
    let jobs: Vec<JobView> = site.json("/api/v1/jobs?limit=500").await;
    assert_eq!(jobs.len(), samples::states().len() + samples::phases().len());
    for job in jobs {
        for path in [format!("/jobs/{}", job.id), format!("/fragments/jobs/{}", job.id)] {
            let html = site.page(&path).await;
            assert_harmless(&html, &path);
            assert_well_formed(&html, &path);
            assert!(html.len() <= 100_000, "{path}: {} bytes", html.len());
            assert!(html.contains(&job.state));
        }
    }
}

#[tokio::test]
async fn a_jobs_page_shows_result_proof_offers_and_refusals() {
    let html = Site::full().await.page(&format!("/jobs/{}", id(107))).await;
    let preimage = "5e".repeat(32);
    for part in [preimage.as_str(), "1.25 s", "Refusals", "&#60;script", "of which the first are shown"] {
        assert!(html.contains(part), "{part} is missing");
    }
    for part in ["<h2 id=\"receipt\">Receipt</h2>", "<b>disputed</b>", "our records say 2500"] {
        assert!(html.contains(part), "{part} is missing");
    }
}

#[tokio::test]
async fn receipts_are_listed_shown_and_published_only_where_they_may_be() {
    let site = Site::full().await;
    let listed: Vec<ReceiptView> = site.json("/api/v1/receipts").await;
    let shown: ReceiptView = site.json(&format!("/api/v1/receipts/{}", id(107))).await;
    assert_eq!(listed, std::slice::from_ref(&shown));
    assert_eq!((shown.state.as_str(), shown.side), ("disputed", Side::Bought));
    assert_eq!(shown.proof["receipt"]["signed"], 1);
    assert!(!shown.receipt.usage.backend.contains('\u{1b}'), "{:?}", shown.receipt.usage);
    assert!(site.json::<Vec<ReceiptView>>("/api/v1/receipts?side=sold").await.is_empty());
    for (method, path, expected) in [
        (Method::GET, format!("/api/v1/receipts/{}", id(1)), StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/receipts/zebra".into(), StatusCode::BAD_REQUEST),
        (Method::GET, "/api/v1/receipts?side=left".into(), StatusCode::BAD_REQUEST),
        (Method::POST, format!("/api/v1/receipts/{}/publish", id(1)), StatusCode::NOT_FOUND),
        (Method::POST, format!("/api/v1/receipts/{}/publish", id(107)), StatusCode::CONFLICT),
    ] {
        let response = site.call(method, &path).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
    }
    let strangers = site.call(Method::POST, &format!("/api/v1/receipts/{}/publish", id(107)));
    assert_eq!(strangers.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_empty_node_says_what_to_do_next() {
    let html = Site::with(vec![]).await.page("/").await;
    assert_well_formed(&html, "the empty page");
    assert!(html.contains("openagents ask --kind 5001"));
    assert!(html.contains("No money has moved."));
}

#[tokio::test]
async fn the_first_page_counts_what_the_policy_refused_by_category() {
    let check = |side, result: &str, category| {
        let entry = AuditEntry {
            time: samples::THEN.secs(),
            kind: 5050,
            result: result.into(),
            reason: samples::HOSTILE.into(),
            category,
            content: "0badcafe".into(),
        };
        Audited { side, entry }
    };
    let audit = vec![
        check(Side::Sold, "denied", Some(Category::Fraud)),
        check(Side::Sold, "denied", Some(Category::Violence)),
        check(Side::Bought, "denied", Some(Category::Violence)),
        check(Side::Sold, "flagged", Some(Category::Violence)),
        check(Side::Sold, "allowed", None),
    ];
    let html = Site::holding(&Batch { audit, ..Batch::default() }).await.page("/").await;
    assert_well_formed(&html, "the page of refusals");
    assert_harmless(&html, "the page of refusals");
    assert!(html.contains("3 jobs refused by the policy"), "{html}");
    let row = |name: &str, count: u64| format!("<span>{name}</span> <span class=\"amount\">{count}</span>");
    let places = [row("Violence", 2), row("Fraud", 1)].map(|row| html.find(&row));
    assert!(matches!(places, [Some(most), Some(fewer)] if most < fewer), "{html}");
    assert!(!Site::full().await.page("/").await.contains("refused by the policy"));
}

#[tokio::test]
async fn only_callers_that_name_this_node_are_answered() {
    let site = Site::full().await;
    let own = site.host.clone();
    for (host, expected) in [
        (own.as_str(), StatusCode::OK),
        ("node.home", StatusCode::OK),
        ("NODE.HOME", StatusCode::OK),
        ("evil.example", StatusCode::FORBIDDEN),
        ("127.0.0.1.evil.example", StatusCode::FORBIDDEN),
        ("node.home.evil.example:80", StatusCode::FORBIDDEN),
        ("127.0.0.1:1", StatusCode::FORBIDDEN),
    ] {
        for path in ["/", "/healthz", "/api/v1/node", "/assets/app.css"] {
            let response = site.get(path).header(header::HOST, host).send().await.unwrap();
            assert_eq!(response.status(), expected, "{host}{path}");
        }
    }
}

#[tokio::test]
async fn another_sites_page_can_link_here_and_nothing_else() {
    let site = Site::full().await;
    let own = format!("http://{}", site.host);
    let path = format!("/api/v1/jobs/{}", id(101));
    for (origin, expected) in [
        (own.as_str(), StatusCode::OK),
        ("https://evil.example", StatusCode::FORBIDDEN),
        ("http://127.0.0.1:1", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
    ] {
        let call = site.call(Method::DELETE, &path).bearer_auth(TOKEN).header(header::ORIGIN, origin);
        assert_eq!(call.send().await.unwrap().status(), expected, "{origin}");
    }
    assert_eq!(site.fake.cancelled.lock().unwrap().len(), 1);
    let fetch = |site_word: &str, mode: &str| {
        site.get("/").header("sec-fetch-site", site_word).header("sec-fetch-mode", mode)
    };
    let link = fetch("cross-site", "navigate").header("sec-fetch-dest", "document");
    assert_eq!(link.send().await.unwrap().status(), StatusCode::OK);
    let frame = fetch("cross-site", "navigate").header("sec-fetch-dest", "iframe");
    assert_eq!(frame.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    for word in ["cross-site", "same-site"] {
        assert_eq!(fetch(word, "no-cors").send().await.unwrap().status(), StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn only_an_open_job_of_our_own_can_be_taken_back() {
    let site = Site::full().await;
    let jobs: Vec<JobView> =
        site.get("/api/v1/jobs").bearer_auth(TOKEN).send().await.unwrap().json().await.unwrap();
    for job in &jobs {
        let path = format!("/api/v1/jobs/{}", job.id);
        let status = site.call(Method::DELETE, &path).bearer_auth(TOKEN).send().await.unwrap().status();
        let may = job.side == Side::Bought && job.open;
        assert_eq!(status, if may { StatusCode::OK } else { StatusCode::CONFLICT }, "{job:?}");
    }
    let open = jobs.iter().filter(|job| job.side == Side::Bought && job.open).count();
    assert_eq!(site.fake.cancelled.lock().unwrap().len(), open);
}

#[tokio::test]
async fn nothing_private_is_told_and_nothing_changes_without_the_token() {
    let site = Site::full().await;
    let job = format!("/api/v1/jobs/{}", id(1));
    let page = format!("/jobs/{}", id(1));
    let routes = [
        (Method::GET, "/"),
        (Method::GET, "/fragments/home"),
        (Method::GET, page.as_str()),
        (Method::GET, "/metrics"),
        (Method::GET, "/api/v1/node"),
        (Method::GET, "/api/v1/events"),
        (Method::GET, "/api/v1/ledger"),
        (Method::GET, "/api/v1/provider/balances"),
        (Method::GET, "/api/v1/wallet/history"),
        (Method::GET, "/api/v1/wallet/seed/status"),
        (Method::POST, "/api/v1/jobs"),
        (Method::POST, "/api/v1/testnet/wallets"),
        (Method::GET, "/api/v1/policy/audit"),
        (Method::DELETE, "/api/v1/policy/audit"),
        (Method::DELETE, job.as_str()),
        (Method::GET, "/no/such/page"),
    ];
    for (method, path) in routes {
        for token in [None, Some(""), Some("5ec2e"), Some("5ec2e7 "), Some("5ec2e77")] {
            let call = site.call(method.clone(), path);
            let call = match token {
                Some(token) => call.header(header::AUTHORIZATION, format!("Bearer {token}x")),
                None => call,
            };
            let response = call.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path} {token:?}");
            let text = response.text().await.unwrap();
            assert!(!text.contains("npub1") && !text.contains(TOKEN), "{path}");
        }
    }
    assert!(site.fake.cancelled.lock().unwrap().is_empty());
    for path in ["/healthz", "/readyz", "/assets/app.css", "/assets/live.js", "/favicon.svg"] {
        assert_eq!(site.call(Method::GET, path).send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
}

fn cookie(response: &Response) -> String {
    response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_printed_link_lets_a_browser_in_and_leaves_the_address_bar() {
    let site = Site::full().await;
    let wrong = site.call(Method::GET, "/?k=wrong").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(wrong.text().await.unwrap().contains("openagents up"));
    let right = site.call(Method::GET, &format!("/?k={TOKEN}")).send().await.unwrap();
    assert_eq!(
        (right.status(), &right.headers()[header::LOCATION]),
        (StatusCode::SEE_OTHER, &"/".parse().unwrap())
    );
    let cookie = cookie(&right);
    assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let with = |pair: &str| site.call(Method::GET, "/").header(header::COOKIE, format!("a=b; {pair}"));
    assert_eq!(with(pair).send().await.unwrap().status(), StatusCode::OK);
    let of_another_port = format!("openagents-1={TOKEN}");
    assert_eq!(with(&of_another_port).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_answer_forbids_framing_sniffing_and_scripts_from_elsewhere() {
    let site = Site::full().await;
    for path in ["/", "/api/v1/node", "/no/such/page", "/api/v1/jobs/xyz"] {
        for call in
            [site.get(path), site.call(Method::GET, path), site.get(path).header(header::HOST, "evil")]
        {
            let response = call.send().await.unwrap();
            let headers = response.headers();
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{path}");
            assert_eq!(headers["x-content-type-options"], "nosniff");
            assert_eq!(headers["x-frame-options"], "DENY");
            assert_eq!(headers["referrer-policy"], "no-referrer");
            assert_eq!(headers["cache-control"], "no-store");
            assert!(headers.get("access-control-allow-origin").is_none());
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_a_small_json_order_is_refused_with_a_reason() {
    let site = Site::full().await;
    let order = r#"{"kind":5001,"inputs":[],"bid_msat":0}"#;
    let huge = format!(r#"{{"kind":5001,"bid_msat":0,"inputs":[],"x":"{}"}}"#, "x".repeat(1 << 20));
    for (kind, body, expected) in [
        ("text/plain", order, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/x-www-form-urlencoded", order, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/json", "{", StatusCode::BAD_REQUEST),
        ("application/json", r#"{"kind":1,"inputs":[],"bid_msat":0}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("application/json", r#"{"kind":5001,"inputs":[],"bid_msat":-1}"#, StatusCode::UNPROCESSABLE_ENTITY),
        ("application/json", huge.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let call = site.call(Method::POST, "/api/v1/jobs").bearer_auth(TOKEN);
        let response = call.header(header::CONTENT_TYPE, kind).body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), expected, "{kind}");
        let problem: Problem = response.json().await.unwrap();
        assert_eq!(problem.money, "No money moved.");
    }
    assert!(site.fake.asked.lock().unwrap().is_empty());
    let call = site.call(Method::POST, "/api/v1/jobs").bearer_auth(TOKEN);
    let json = call.header(header::CONTENT_TYPE, "application/json").body(order);
    assert_eq!(json.send().await.unwrap().json::<Asked>().await.unwrap().id, id(1));
}

#[tokio::test]
async fn every_error_of_the_api_says_what_happened_where_money_is_and_what_next() {
    let site = Site::full().await;
    for (method, path, expected) in [
        (Method::GET, "/api/v1/nothing", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/jobs/ffff", StatusCode::NOT_FOUND),
        (Method::DELETE, "/api/v1/jobs/ffff", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/jobs/ffff/result", StatusCode::BAD_REQUEST),
        (Method::GET, "/api/v1/jobs?limit=many", StatusCode::BAD_REQUEST),
        (Method::GET, "/api/v1/jobs?side=left", StatusCode::BAD_REQUEST),
        (Method::GET, "/api/v1/jobs?side=sold&after=left", StatusCode::BAD_REQUEST),
        (Method::GET, AFTER_WITHOUT_SIDE, StatusCode::BAD_REQUEST),
        (Method::GET, "/api/v1/policy/audit?since=yesterday", StatusCode::BAD_REQUEST),
        (Method::GET, "/api/v1/wallet/history", StatusCode::PAYMENT_REQUIRED),
        (Method::PUT, "/api/v1/jobs", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let response = site.call(method, path).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
        let problem: Problem = response.json().await.unwrap();
        assert!(!problem.message.is_empty() && !problem.money.is_empty() && !problem.next.is_empty());
    }
}

/// Both halves are one list only to look at: a job may stand in it twice.
const AFTER_WITHOUT_SIDE: &str =
    "/api/v1/jobs?after=6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b";

#[tokio::test]
async fn a_list_is_limited_and_can_be_of_one_side() {
    let site = Site::full().await;
    assert_eq!(site.json::<Vec<JobView>>("/api/v1/jobs?limit=3").await.len(), 3);
    let bought: Vec<JobView> = site.json("/api/v1/jobs?side=bought").await;
    assert_eq!(bought.len(), samples::phases().len());
    assert!(bought.iter().all(|job| job.side == Side::Bought));
    assert!(bought.is_sorted_by_key(|job| std::cmp::Reverse(job.asked_at)));
}

#[tokio::test]
async fn a_list_of_open_jobs_holds_every_open_job_and_no_other() {
    let site = Site::full().await;
    for side in ["sold", "bought"] {
        let all: Vec<JobView> = site.json(&format!("/api/v1/jobs?side={side}")).await;
        let open: Vec<JobView> = site.json(&format!("/api/v1/jobs?side={side}&open=true")).await;
        let ids: Vec<_> = open.iter().map(|job| job.id).collect();
        let expected: Vec<_> = all.iter().filter(|job| job.open).map(|job| job.id).collect();
        assert_eq!(ids, expected, "{side}");
        assert!(!open.is_empty() && open.len() < all.len(), "{side}");
    }
}

#[tokio::test]
async fn pages_of_a_list_hold_every_job_once() {
    let site = Site::full().await;
    for side in ["sold", "bought"] {
        let whole: Vec<JobView> = site.json(&format!("/api/v1/jobs?side={side}")).await;
        let mut paged: Vec<JobView> = site.json(&format!("/api/v1/jobs?side={side}&limit=2")).await;
        while paged.len() < whole.len() {
            let last = paged.last().unwrap().id;
            let page: Vec<JobView> =
                site.json(&format!("/api/v1/jobs?side={side}&limit=2&after={last}")).await;
            assert!(!page.is_empty());
            paged.extend(page);
        }
        let ids = |jobs: &[JobView]| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
        assert_eq!(ids(&paged), ids(&whole));
    }
}

#[tokio::test]
async fn the_ledger_sums_to_its_net() {
    let ledger: LedgerView = Site::full().await.json("/api/v1/ledger").await;
    assert_eq!(ledger.lines.iter().map(|line| line.msat).sum::<i64>(), ledger.net_msat);
    assert_eq!((ledger.lines.len(), ledger.balance_msat), (3, Some(1_234_567_000)));
}

#[tokio::test]
async fn a_job_is_found_by_the_beginning_of_its_name() {
    let site = Site::full().await;
    let job: JobView = site.json("/api/v1/jobs/6b6b6b6b").await;
    assert_eq!(job.id, id(107));
}

#[tokio::test]
async fn a_beginning_that_two_jobs_share_names_neither() {
    let resolving = || samples::states().remove(0);
    let (one, mut other) = (samples::sold(9, resolving()), samples::sold(9, resolving()));
    let mut bytes = [9; 32];
    bytes[31] = 8;
    std::sync::Arc::make_mut(&mut other.request).id = JobId::from_bytes(bytes);
    let site = Site::with([one, other].map(|job| Record::Job(Box::new(job))).to_vec()).await;
    let call = site.call(Method::DELETE, "/api/v1/jobs/09090909").bearer_auth(TOKEN);
    assert_eq!(call.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert!(site.fake.cancelled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_node_that_bought_from_itself_shows_both_halves() {
    let (phase, monies) = samples::phases().remove(6);
    let (sold, bought) = (samples::sold(9, samples::states().remove(0)), samples::bought(9, phase, monies));
    let site = Site::with(vec![Record::Job(Box::new(sold)), Record::Ask(Box::new(bought))]).await;
    let state = async |query: &str| {
        let job: JobView = site.json(&format!("/api/v1/jobs/{}{query}", id(9))).await;
        job.state
    };
    assert_eq!(
        [state("").await, state("?side=bought").await, state("?side=sold").await],
        ["settled", "settled", "resolving"]
    );
    assert!(site.page(&format!("/jobs/{}?side=sold", id(9))).await.contains("Sell summary"));
    let first = site.page("/").await;
    assert!(first.contains("?side=sold") && first.contains("?side=bought"));
}

/// Reads the stream until it contains `wanted`.
async fn hear(
    stream: &mut (impl StreamExt<Item = reqwest::Result<impl AsRef<[u8]>>> + Unpin),
    wanted: &str,
) -> String {
    let mut heard = String::new();
    while !heard.contains(wanted) {
        let chunk = stream.next().await.expect("the stream goes on").unwrap();
        heard.push_str(std::str::from_utf8(chunk.as_ref()).unwrap());
    }
    heard
}

#[tokio::test]
async fn a_watcher_hears_what_happens() {
    let site = Site::full().await;
    let response = site.get("/api/v1/events").send().await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut stream = response.bytes_stream();
    site.bus.tell(News::Bought { job: id(5), word: "settled", at: samples::THEN });
    let heard = hear(&mut stream, "\n\n").await;
    assert!(heard.contains("event: job\n") && heard.contains("id: 0\n"), "{heard}");
    assert!(heard.contains(r#""news":"job""#) && heard.contains(&id(5).to_hex()), "{heard}");
    site.bus.tell(News::Piece { job: id(5), text: "a\n\nevent: job".into() });
    let heard = hear(&mut stream, "\n\n").await;
    assert!(heard.contains("event: piece\n") && heard.contains(r"a\n\nevent: job"), "{heard}");
}

#[tokio::test]
async fn a_watcher_that_comes_back_is_told_that_it_missed_some() {
    let site = Site::full().await;
    let response = site.get("/api/v1/events").header("last-event-id", "41").send().await.unwrap();
    let heard = hear(&mut response.bytes_stream(), "\n\n").await;
    assert!(heard.contains("event: lagged\n"), "{heard}");
}

#[tokio::test]
async fn watchers_are_counted_and_a_seat_is_given_back() {
    let site = Site::full().await;
    let mut watching = Vec::new();
    for _ in 0..64 {
        watching.push(site.get("/api/v1/events").send().await.unwrap());
    }
    assert!(watching.iter().all(|response| response.status() == StatusCode::OK));
    let refused = site.get("/api/v1/events").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json::<Problem>().await.unwrap().code, "busy");
    drop(watching);
    // The server notices a closed connection when it next writes or reads; news make it write.
    let seated = async {
        while site.get("/api/v1/events").send().await.unwrap().status() != StatusCode::OK {
            site.bus.tell(News::Sold { job: id(5), word: "queued", at: samples::THEN });
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, seated).await.expect("a seat becomes free");
}

#[tokio::test]
async fn metrics_are_lines_of_names_and_numbers() {
    let text = Site::full().await.page("/metrics").await;
    assert!(text.contains("openagents_jobs{side=\"sold\",state=\"settled\"} 3\n"), "{text}");
    assert!(text.contains("openagents_ledger_net_msat -2500\n"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("openagents_") && value.parse::<i64>().is_ok(), "{line}");
    }
}
