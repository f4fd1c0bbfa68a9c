//! Inputs that are events and results of earlier jobs: what is believed, what is waited for, what is
//! refused, on real relays.

use openagents_protocol::{Keyring, Verified, encode_customer, encode_provider, request};
use openagents_relay::{Hub, HubConfig, RelayUrl};
use openagents_types::{
    Draft, EventId, JobId, JobKind, JobRequest, JobSpec, Millis, Msat, Notice, ProviderKey, Timestamp,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    relays::Relays,
    resolve::earlier::{self, Standing},
};

/// A node's own relay, and a resolver that reads there.
pub(super) struct Market {
    hub: Hub,
    resolver: Resolver,
}

impl Market {
    /// A resolver that may also dial relays at these addresses, and waits for jobs so long.
    fn new(allowed: &[&str], patience: Duration) -> Self {
        let mut market = Self::with_lookup(allowed, Arc::new(SystemLookup));
        market.resolver.events.as_mut().unwrap().patience = patience;
        market
    }

    /// One that waits for nothing, with names looked up by `lookup`.
    pub(super) fn with_lookup(allowed: &[&str], lookup: Arc<dyn Lookup>) -> Self {
        let hub = Hub::new(HubConfig::default());
        let url = RelayUrl::parse("ws://127.0.0.1:1/").unwrap();
        let mut client = hub.attach(url, 1_024);
        let relays = Relays::new(vec![client.handle()], None);
        let listener = relays.clone();
        tokio::spawn(async move {
            while let Some((url, news)) = client.recv().await {
                listener.hear(url, news).await;
            }
        });
        let mut events = Events::new(relays, None, 1_024);
        events.patience = AT_ONCE;
        let allowed: Vec<String> = allowed.iter().map(|&text| text.to_owned()).collect();
        Self { hub, resolver: Resolver::with_lookup(&allowed, lookup).with_events(events) }
    }

    fn publish(&self, events: &[Verified]) {
        for event in events {
            assert!(self.hub.publish(event).accepted(), "{}", event.json());
        }
    }

    pub(super) async fn read(&self, input: JobInput) -> Result<String, String> {
        let inputs = self.resolver.resolve(&[input]).await.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(inputs[0].bytes.clone()).unwrap())
    }
}

const AT_ONCE: Duration = Duration::ZERO;
const PATIENT: Duration = Duration::from_secs(10);

fn now() -> Timestamp {
    crate::clock::now()
}

fn input(input_type: InputType, id: &impl ToString, relay: Option<&str>) -> JobInput {
    JobInput { data: id.to_string(), input_type, relay: relay.map(str::to_owned), marker: None }
}

fn event(id: EventId) -> JobInput {
    input(InputType::Event, &id, None)
}

fn job(id: JobId) -> JobInput {
    input(InputType::Job, &id, None)
}

fn note(text: &str) -> Verified {
    Verified::sign(&Keys::generate(), 1, Vec::new(), text.to_owned(), now().secs())
}

fn key(keys: &Keys) -> ProviderKey {
    ProviderKey::from_bytes(keys.public_key().to_bytes())
}

/// An earlier job, its customer, and those who may answer it.
struct Earlier {
    customer: Keys,
    event: Verified,
    request: JobRequest,
}

impl Earlier {
    fn new(provider: Option<&Keys>, encrypt: bool, inputs: Vec<JobInput>) -> Self {
        let customer = Keys::generate();
        let spec = JobSpec {
            kind: JobKind::SUMMARIZATION,
            inputs,
            params: Vec::new(),
            output: Vec::new(),
            bid: Msat::ZERO,
            provider: provider.map(key),
            encrypt,
            relays: Vec::new(),
            expires_at: now().after(Millis::from_secs(60)),
            refund_to: None,
        };
        let event = request::encode(&spec, &customer, now()).unwrap();
        // As whoever it is addressed to reads it.
        let mut ring = Keyring::new(provider.cloned().unwrap_or_else(Keys::generate));
        let Ok(openagents_protocol::Message::Request(request)) =
            openagents_protocol::decode(&event, &mut ring)
        else {
            panic!("not a request: {}", event.json());
        };
        Self { customer, event, request: *request }
    }

    fn open(provider: Option<&Keys>) -> Self {
        Self::new(provider, false, vec![JobInput::text("a text")])
    }

    fn id(&self) -> JobId {
        self.request.id
    }

    fn said(&self, draft: &Draft, by: &Keys) -> Verified {
        encode_provider(&self.request, draft, by, &mut Keyring::new(by.clone()), now()).unwrap()
    }

    fn answer(&self, content: &str, by: &Keys) -> Verified {
        self.said(
            &Draft::Result { content: content.into(), price: Msat::ZERO, unused: Msat::ZERO, made_by: None },
            by,
        )
    }

    fn begins(&self, by: &Keys) -> Verified {
        self.said(&Draft::Notice(Notice::Processing { message: String::new() }), by)
    }

    fn refuses(&self, reason: &str, by: &Keys) -> Verified {
        let (code, message) = ("failed".into(), reason.into());
        self.said(&Draft::Notice(Notice::Refused { code, message, minimum: None }), by)
    }

    fn taken_back(&self) -> Verified {
        let draft = Draft::Cancel { provider: None, reason: String::new() };
        encode_customer(self.id(), &draft, &self.customer, now()).unwrap()
    }
}

#[tokio::test]
async fn an_event_is_read_from_our_own_relays() {
    let market = Market::new(&[], AT_ONCE);
    let text = note("what an event says");
    market.publish(std::slice::from_ref(&text));
    assert_eq!(market.read(event(text.id())).await, Ok("what an event says".into()));
    let many = market.resolver.resolve(&[event(text.id()), JobInput::text("and words")]).await.unwrap();
    assert_eq!(many.len(), 2);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_refused_with_a_way_out() {
    let market = Market::new(&[], AT_ONCE);
    let (alice, missing) = (Keys::generate(), note("never published"));
    let sealed = Earlier::new(Some(&alice), true, vec![JobInput::text("secret")]);
    market.publish(std::slice::from_ref(&sealed.event));
    let unseen = "wss://127.0.0.1:4848";
    let cases = [
        (event(missing.id()), "no event"),
        (event(missing.id()), "send the text itself"),
        (input(InputType::Event, &"note1zzz", None), "64 hexadecimal digits"),
        (input(InputType::Event, &"\u{1b}[31m", None), "\"[31m\" is not an event id"),
        (event(sealed.event.id()), "is encrypted"),
        (
            input(InputType::Event, &missing.id(), Some(unseen)),
            "yours is not dialled: it is on a private network",
        ),
        (input(InputType::Event, &missing.id(), Some("http://a.example")), "not an address of a relay"),
    ];
    for (input, expected) in cases {
        let error = market.read(input.clone()).await.unwrap_err();
        assert!(error.contains(expected), "{input:?}: {error}");
    }
}

/// A relay on port 0 that strangers reach.
async fn public_relay() -> (Hub, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let hub = Hub::new(HubConfig::default());
    tokio::spawn(openagents_relay::serve(listener, hub.clone(), CancellationToken::new()));
    (hub, url)
}

#[tokio::test]
async fn what_our_own_relays_lack_is_read_from_the_relay_that_the_input_names() {
    let (elsewhere, url) = public_relay().await;
    let (text, alice) = (note("elsewhere"), Keys::generate());
    let earlier = Earlier::open(Some(&alice));
    for event in [&text, &earlier.event, &earlier.answer("done elsewhere", &alice)] {
        elsewhere.publish(event);
    }
    let market = Market::new(&["127.0.0.1"], AT_ONCE);
    let hinted = |input_type, id: EventId| input(input_type, &id, Some(url.as_str()));
    assert_eq!(market.read(hinted(InputType::Event, text.id())).await, Ok("elsewhere".into()));
    assert_eq!(market.read(hinted(InputType::Job, earlier.event.id())).await, Ok("done elsewhere".into()));
    let missing = market.read(hinted(InputType::Event, note("nowhere").id())).await.unwrap_err();
    assert!(missing.contains("or the one you named"), "{missing}");
    // Whoever runs this node has not allowed that relay.
    let strict = Market::new(&[], AT_ONCE);
    let refused = strict.read(hinted(InputType::Event, text.id())).await.unwrap_err();
    assert!(refused.contains("not dialled"), "{refused}");
}

/// A relay that answers every question with this frame, whatever was asked.
async fn lying_relay(event: String) -> String {
    use axum::extract::ws::{Message, WebSocketUpgrade};
    let answer = move |upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(Message::Text(text))) = socket.recv().await {
                let asked: serde_json::Value = serde_json::from_str(&text).unwrap();
                let event: serde_json::Value = serde_json::from_str(&event).unwrap();
                for frame in
                    [serde_json::json!(["EVENT", asked[1], event]), serde_json::json!(["EOSE", asked[1]])]
                {
                    let _ = socket.send(Message::Text(frame.to_string().into())).await;
                }
            }
        })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(axum::routing::any(answer));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test]
async fn a_forged_event_is_as_good_as_none() {
    let market = Market::new(&["127.0.0.1"], AT_ONCE);
    let real = note("what was said");
    let forged = real.json().replace("what was said", "what was never said");
    let other = note("quite another event");
    for lie in [forged, other.json().to_owned()] {
        let url = lying_relay(lie.clone()).await;
        let error = market.read(input(InputType::Event, &real.id(), Some(&url))).await.unwrap_err();
        assert!(error.contains("no event"), "{lie}: {error}");
    }
    let url = lying_relay(real.json().to_owned()).await;
    assert_eq!(
        market.read(input(InputType::Event, &real.id(), Some(&url))).await,
        Ok("what was said".into()),
        "the relay that lies can also tell the truth"
    );
}

#[tokio::test]
async fn the_result_of_a_job_is_believed_from_whom_the_job_ties_to_it() {
    let (alice, mallory) = (Keys::generate(), Keys::generate());
    type Said = fn(&Earlier, &Keys, &Keys) -> Vec<Verified>;
    let cases: [(&str, bool, Said, Result<&str, &str>); 13] = [
        ("named, answered", true, |job, a, _| vec![job.answer("yes", a)], Ok("yes")),
        (
            "named, answered by others too",
            true,
            |job, a, m| vec![job.answer("lie", m), job.answer("yes", a)],
            Ok("yes"),
        ),
        (
            "named, answered by others alone",
            true,
            |job, _, m| vec![job.answer("lie", m)],
            Err("no result for"),
        ),
        ("open, one answer", false, |job, a, _| vec![job.answer("yes", a)], Ok("yes")),
        (
            "open, two authors",
            false,
            |job, a, m| vec![job.answer("yes", a), job.answer("no", m)],
            Err("several answers"),
        ),
        ("named, failed", true, |job, a, _| vec![job.refuses("no disk", a)], Err("failed: no disk")),
        ("named, others refuse", true, |job, _, m| vec![job.refuses("no", m)], Err("no result for")),
        ("open, refused by some", false, |job, a, _| vec![job.refuses("busy", a)], Err("answered: busy")),
        (
            "open, begun and failed",
            false,
            |job, a, _| vec![job.begins(a), job.refuses("no disk", a)],
            Err("failed: no disk"),
        ),
        (
            "open, one failed and one works",
            false,
            |job, a, m| vec![job.begins(a), job.refuses("no disk", a), job.begins(m)],
            Err("no result for"),
        ),
        (
            "failed first, done after",
            true,
            |job, a, _| vec![job.refuses("no disk", a), job.answer("yes", a)],
            Ok("yes"),
        ),
        // Relays forget what its author deletes (NIP-09).
        ("taken back", true, |job, _, _| vec![job.taken_back()], Err("no request of job")),
        ("silence", true, |_, _, _| Vec::new(), Err("no result for")),
    ];
    for (what, named, said, expected) in cases {
        let market = Market::new(&[], AT_ONCE);
        let earlier = Earlier::open(named.then_some(&alice));
        market.publish(std::slice::from_ref(&earlier.event));
        market.publish(&said(&earlier, &alice, &mallory));
        let found = market.read(job(earlier.id())).await;
        match expected {
            Ok(text) => assert_eq!(found, Ok(text.into()), "{what}"),
            Err(words) => {
                assert!(found.clone().is_err_and(|error| error.contains(words)), "{what}: {found:?}")
            }
        }
    }
}

#[test]
fn a_job_that_was_taken_back_is_not_waited_for() {
    let alice = Keys::generate();
    let (earlier, other) = (Earlier::open(Some(&alice)), Earlier::open(Some(&alice)));
    let standing = |said: &[Verified]| earlier::standing(&earlier.request, said);
    let withdrawn = EarlierError::Withdrawn(earlier.id());
    assert!(matches!(standing(&[earlier.taken_back()]), Standing::Never(error) if error == withdrawn));
    assert!(matches!(standing(&[earlier.answer("done", &alice), earlier.taken_back()]), Standing::Done(_)));
    // Somebody else cannot take it back, and one provider that is told to stop is not all.
    let forged = encode_customer(
        earlier.id(),
        &Draft::Cancel { provider: None, reason: String::new() },
        &other.customer,
        now(),
    );
    let for_one = encode_customer(
        earlier.id(),
        &Draft::Cancel { provider: Some(key(&alice)), reason: String::new() },
        &earlier.customer,
        now(),
    );
    for said in [forged.unwrap(), for_one.unwrap()] {
        assert!(matches!(standing(&[said]), Standing::Open(None)));
    }
}

#[tokio::test]
async fn what_only_its_customer_can_read_is_refused_in_words() {
    let market = Market::new(&[], AT_ONCE);
    let alice = Keys::generate();
    let earlier = Earlier::new(Some(&alice), true, vec![JobInput::text("secret")]);
    market.publish(&[earlier.event.clone(), earlier.answer("a secret", &alice)]);
    let error = market.read(job(earlier.id())).await.unwrap_err();
    assert!(error.contains("is encrypted") && error.contains("send its text itself"), "{error}");
    // A provider that hides its answer to an open request helps nobody either.
    let open = Earlier::open(Some(&alice));
    let hidden = JobRequest { encryption: openagents_types::Encryption::Nip44, ..open.request.clone() };
    let draft =
        Draft::Result { content: "hidden".into(), price: Msat::ZERO, unused: Msat::ZERO, made_by: None };
    let answer = encode_provider(&hidden, &draft, &alice, &mut Keyring::new(alice.clone()), now()).unwrap();
    market.publish(&[open.event.clone(), answer]);
    assert!(market.read(job(open.id())).await.unwrap_err().contains("is encrypted"));
}

#[tokio::test]
async fn what_is_no_job_or_nowhere_is_refused() {
    let market = Market::new(&[], AT_ONCE);
    let text = note("not a job");
    market.publish(std::slice::from_ref(&text));
    let error = market.read(job(JobId::from(text.id()))).await.unwrap_err();
    assert!(error.contains("is no job") && error.contains("type event"), "{error}");
    let error = market.read(job(Earlier::open(None).id())).await.unwrap_err();
    assert!(error.contains("no request of job"), "{error}");
}

#[tokio::test]
async fn a_result_that_comes_late_is_waited_for() {
    let market = Market::new(&[], PATIENT);
    let alice = Keys::generate();
    let earlier = Earlier::open(Some(&alice));
    let (hub, request, answer) =
        (market.hub.clone(), earlier.event.clone(), earlier.answer("at last", &alice));
    tokio::spawn(async move {
        // Even the request comes after the job that refers to it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        hub.publish(&request);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        hub.publish(&answer);
    });
    assert_eq!(market.read(job(earlier.id())).await, Ok("at last".into()));
}

#[tokio::test]
async fn a_request_that_relays_forgot_is_read_from_the_answer_that_quotes_it() {
    let market = Market::new(&[], AT_ONCE);
    let alice = Keys::generate();
    let earlier = Earlier::open(Some(&alice));
    market.publish(&[earlier.answer("still here", &alice)]);
    assert_eq!(market.read(job(earlier.id())).await, Ok("still here".into()));
}

/// Jobs each of which needs the result of the one before; the first is the last of the list.
fn lineage(length: usize, alice: &Keys) -> Vec<Earlier> {
    let mut jobs: Vec<Earlier> = vec![Earlier::open(Some(alice))];
    while jobs.len() < length {
        let before = jobs.last().unwrap().id();
        jobs.push(Earlier::new(Some(alice), false, vec![job(before)]));
    }
    jobs
}

#[tokio::test]
async fn jobs_that_wait_for_each_other_too_deep_are_not_waited_for() {
    let alice = Keys::generate();
    for (length, expected) in [(8, "no result for"), (9, "more than 8 deep")] {
        let market = Market::new(&[], AT_ONCE);
        let jobs = lineage(length, &alice);
        market.publish(&jobs.iter().map(|job| job.event.clone()).collect::<Vec<_>>());
        let error = market.read(job(jobs.last().unwrap().id())).await.unwrap_err();
        assert!(error.contains(expected), "{length}: {error}");
    }
    // With its result there, nobody waits, however long the way to it was.
    let market = Market::new(&[], AT_ONCE);
    let jobs = lineage(12, &alice);
    let last = jobs.last().unwrap();
    market.publish(&[last.event.clone(), last.answer("done", &alice)]);
    assert_eq!(market.read(job(last.id())).await, Ok("done".into()));
}

#[test]
fn jobs_that_wait_for_each_other_in_a_circle_are_found() {
    let id = |n: u8| JobId::from_bytes([n; 32]);
    let check = |edges: &[(u8, &[u8])]| {
        let parents = edges.iter().map(|(n, of)| (id(*n), of.iter().map(|n| id(*n)).collect())).collect();
        earlier::depth(id(1), &parents, &mut std::collections::HashMap::new())
    };
    assert_eq!(check(&[(1, &[])]), Ok(1));
    assert_eq!(check(&[(1, &[2, 3]), (2, &[4]), (3, &[4]), (4, &[])]), Ok(3), "two ways are no circle");
    assert_eq!(check(&[(1, &[1])]), Err(EarlierError::Cycle(id(1))));
    assert_eq!(check(&[(1, &[2]), (2, &[3]), (3, &[2])]), Err(EarlierError::Cycle(id(2))));
    // Every job of a layer needs every job of the next: many ways, each looked at once.
    let layers: Vec<(u8, Vec<u8>)> = (0..24).map(|n| (n + 1, (n + 2..=24).collect())).collect();
    let layers: Vec<(u8, &[u8])> = layers.iter().map(|(n, of)| (*n, of.as_slice())).collect();
    assert_eq!(check(&layers), Err(EarlierError::TooDeep));
}

#[tokio::test]
async fn only_so_many_jobs_wait_here() {
    let market = Market::new(&[], PATIENT);
    let earlier = Earlier::open(None);
    market.publish(std::slice::from_ref(&earlier.event));
    let events = market.resolver.events.clone().unwrap();
    let _all = events.waiting.acquire_many(32).await.unwrap();
    let error = market.read(job(earlier.id())).await.unwrap_err();
    assert!(error.contains("too many jobs wait here"), "{error}");
}
