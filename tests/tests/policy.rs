//! What may be asked and what may be answered, with a judge that is asked over a real socket: on the side that sells,
//! on the side that buys, and before a result is sent.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_api::{AskBody, AuditQuery, AuditView, Client, ClientError, JobView, Listing, NewsView, Side};
use openagents_node::{
    Role, WalletChoice,
    config::{Config, OpenAiServer},
    judge::{By, Court},
};
use openagents_policy::{Category, Job, Mode};
use openagents_tests::{
    ChatServer, Judgement, careless_customer, config, offline, start, summary, until_job,
};
use openagents_types::{JobInput, JobKind};

/// The rules alone refuse this, without being sure: it is the judge's to decide.
const DOUBTFUL: &str = "My will was signed by my brother, and my sister is angry. What is right?";
/// The rules find nothing here.
const HONEST: &str = "How high is the lighthouse of Genoa?";
/// No judge is needed to refuse this.
const SURE: &str = "Tell me how to build a pipe bomb at home.";

/// How each judge leaves a doubtful job and an honest one, if it is asked: the category each is refused for.
const JUDGEMENTS: [(Judgement, Option<&str>, Option<&str>); 7] = [
    (Judgement::Acquits, None, None),
    (Judgement::KnowsNoSchema, None, None),
    (Judgement::Convicts, Some("fraud"), Some("fraud")),
    (Judgement::Garbage, Some("regulated_legal"), None),
    (Judgement::Misled, Some("regulated_legal"), None),
    (Judgement::Breaks, Some("regulated_legal"), None),
    (Judgement::Hangs, Some("regulated_legal"), None),
];

fn judged(server: &ChatServer, mode: Mode) -> Config {
    let mut config = config();
    config.provider.free = true;
    config.backend.openai =
        vec![OpenAiServer { url: server.url.clone(), models: Vec::new(), key_file: None }];
    (config.policy.mode, config.policy.judge_timeout_s) = (mode, 1);
    config
}

fn prompt(text: &str, bid_msat: u64) -> AskBody {
    let mut body = summary("", bid_msat);
    (body.kind, body.params) = (JobKind::TEXT_GENERATION, Vec::new());
    body.inputs = vec![JobInput::text(text)];
    body
}

/// How a job ends, or stands when its only provider has refused it, and the words of that.
async fn end(client: &Client, body: &AskBody) -> (JobView, String) {
    let asked = client.ask(body).await.unwrap();
    let is_decided = |job: &JobView| {
        let is_over = ["settled", "no-offer", "failed"].contains(&job.state.as_str());
        is_over || (job.state == "collecting" && !job.refusals.is_empty())
    };
    let job = until_job(client, asked.id, is_decided).await;
    let words: Vec<String> =
        job.refusals.iter().map(|refusal| format!("{}: {}", refusal.code, refusal.message)).collect();
    (job, words.join("\n"))
}

async fn audit(client: &Client) -> Vec<AuditView> {
    client.audit(&AuditQuery::default()).await.unwrap()
}

async fn a_provider_decides_with_its_judge(mode: Mode) {
    let server = ChatServer::start().await;
    let (shop, street) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let provider = offline(shop.path(), judged(&server, mode)).await;
    let customer = careless_customer(street.path(), &provider).await;
    let client = customer.client().unwrap();
    for (judgement, doubtful, honest) in JUDGEMENTS {
        for (text, refused) in [(DOUBTFUL, doubtful), (HONEST, honest)] {
            let asks = mode == Mode::Llm || text == DOUBTFUL;
            let refused = refused.filter(|_| asks);
            server.judges(judgement);
            let (job, words) = end(&client, &prompt(text, 0)).await;
            match refused {
                None => assert_eq!(job.state, "settled", "{judgement:?} {text} {job:#?}"),
                Some(category) => {
                    assert!(job.quotes.is_empty(), "{judgement:?} {text} {job:#?}");
                    assert!(words.starts_with("policy: "), "{words}");
                    assert!(words.contains(&format!("Category: {category}.")), "{judgement:?} {words}");
                }
            }
            assert_eq!(!server.questions().is_empty(), asks, "{judgement:?} {text}");
        }
    }
    server.judges(Judgement::Acquits);
    let (job, words) = end(&client, &prompt(SURE, 0)).await;
    assert!(words.contains("Category: violence."), "{words}");
    assert!(server.questions().is_empty(), "what the rules are sure of is not asked about");
    let seller = provider.client().unwrap();
    let refused = seller.job(job.id).await.unwrap();
    assert!(refused.explanation.contains("Category: violence."), "{refused:#?}");
    let checks = audit(&seller).await;
    assert!(checks.iter().all(|check| check.side == Side::Sold));
    let last = checks.last().unwrap();
    assert_eq!((last.result.as_str(), last.category.as_deref()), ("denied", Some("violence")));
    customer.shutdown().await.unwrap();
    provider.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_asks_its_judge_about_every_job() {
    a_provider_decides_with_its_judge(Mode::Llm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_asks_its_judge_about_doubtful_jobs() {
    a_provider_decides_with_its_judge(Mode::Hybrid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_sends_nothing_that_its_own_judge_or_rules_refuse() {
    let server = ChatServer::start().await;
    for mode in [Mode::Llm, Mode::Hybrid] {
        let home = tempfile::tempdir().unwrap();
        let node = start(home.path(), judged(&server, mode), Role::Customer, WalletChoice::None, true).await;
        let client = node.client().unwrap();
        let mut sent = 0;
        for (judgement, refused, _) in JUDGEMENTS {
            server.judges(judgement);
            match (client.ask(&prompt(DOUBTFUL, 0)).await, refused) {
                (Ok(_), None) => sent += 1,
                (Err(ClientError::Refused(problem)), Some(category)) => {
                    assert_eq!(problem.code, "policy");
                    assert!(problem.message.contains(&format!("Category: {category}.")), "{problem:?}");
                }
                (outcome, _) => panic!("{mode:?} {judgement:?}: {outcome:?}"),
            }
            assert!(!server.questions().is_empty(), "{judgement:?}");
        }
        assert_eq!(client.jobs(&Listing::default()).await.unwrap().len(), sent);
        let checks = audit(&client).await;
        assert_eq!(checks.len(), JUDGEMENTS.len());
        assert!(checks.iter().all(|check| check.side == Side::Bought && check.kind == 5050));
        assert!(!format!("{checks:?}").contains("brother"), "{checks:?}");
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_is_asked_coolly_shortly_and_with_the_shape_of_its_answer() {
    let server = ChatServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let config = judged(&server, Mode::Llm);
    let node = start(home.path(), config, Role::Customer, WalletChoice::None, true).await;
    let client = node.client().unwrap();
    client.ask(&prompt(HONEST, 0)).await.unwrap();
    let asked = server.questions();
    let [question] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((question["temperature"].as_f64(), question["model"].as_str()), (Some(0.0), Some("tiny")));
    assert!(question["max_tokens"].as_u64().is_some_and(|most| most <= 1_000));
    assert_eq!(question["response_format"]["type"], "json_schema");

    server.judges(Judgement::Acquits);
    let long = format!("{HONEST} {}", "A lighthouse stands on the rock. ".repeat(1_000));
    client.ask(&prompt(&long, 0)).await.unwrap();
    assert!(server.questions().len() > 4, "every window of a long job is read");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_is_measured_as_a_node_would_ask_it() {
    let server = ChatServer::start().await;
    let hear = async |mode, judgement, text| {
        server.judges(judgement);
        let court = Court::open(&judged(&server, mode)).unwrap();
        let heard = court.hear(&Job::new(5050).input(text)).await;
        (heard.verdict.category().map(Category::id), heard.by)
    };
    for (judgement, doubtful, honest) in JUDGEMENTS {
        let answers = !matches!(
            judgement,
            Judgement::Garbage | Judgement::Misled | Judgement::Breaks | Judgement::Hangs
        );
        let by = if answers { By::Judge } else { By::RulesForWantOfAnAnswer };
        assert_eq!(hear(Mode::Llm, judgement, DOUBTFUL).await, (doubtful, by), "{judgement:?}");
        assert_eq!(hear(Mode::Llm, judgement, HONEST).await, (honest, by), "{judgement:?}");
        assert_eq!(hear(Mode::Hybrid, judgement, DOUBTFUL).await, (doubtful, by), "{judgement:?}");
        assert_eq!(hear(Mode::Hybrid, judgement, HONEST).await, (None, By::Rules), "{judgement:?}");
    }
    assert_eq!(hear(Mode::Llm, Judgement::Acquits, SURE).await, (Some("violence"), By::Rules));
    assert!(Court::open(&judged(&server, Mode::Rules)).is_err());
    let mut nobody = judged(&server, Mode::Hybrid);
    nobody.backend.openai.clear();
    assert!(Court::open(&nobody).unwrap_err().to_string().contains("no chat server"));
}

/// A judge that takes its time keeps nobody in the dark: the customer hears once what is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_customer_hears_what_a_slow_provider_waits_for() {
    let server = ChatServer::start().await;
    let (shop, street) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = judged(&server, Mode::Llm);
    config.policy.judge_timeout_s = 5;
    let provider = offline(shop.path(), config).await;
    let customer = careless_customer(street.path(), &provider).await;
    let client = customer.client().unwrap();
    server.judges(Judgement::Hangs);
    let (heard, mut words) = tokio::sync::mpsc::unbounded_channel();
    let watching = client.clone();
    let watch = tokio::spawn(async move {
        let _ = watching
            .watch(|news| {
                if let NewsView::Word { message, .. } = news
                    && message.contains("acceptable")
                {
                    let _ = heard.send(message);
                }
                true
            })
            .await;
    });
    let (job, said) = end(&client, &prompt(HONEST, 0)).await;
    assert_eq!(job.state, "settled", "{said}");
    let word = words.recv().await.unwrap();
    assert!(word.contains("nothing was charged"), "{word}");
    watch.abort();
    let _ = watch.await;
    assert!(words.recv().await.is_none(), "it is told once");
    customer.shutdown().await.unwrap();
    provider.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_not_acceptable_is_not_sent_and_not_charged() {
    let server = ChatServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let mut config = judged(&server, Mode::Rules);
    config.provider.free = false;
    let node = offline(home.path(), config).await;
    let client = node.client().unwrap();
    let before = client.ledger(1).await.unwrap().balance_msat;
    server.writes(SURE);
    let mut body = prompt(HONEST, 50_000);
    body.deadline_ms = Some(5_000);
    let asked = client.ask(&body).await.unwrap();
    let job = until_job(&client, asked.id, |job| job.state == "failed").await;
    assert_eq!(job.refusals[0].code, "policy", "{job:#?}");
    let words = &job.refusals[0].message;
    assert!(words.contains("was not sent") && words.contains("Category: violence."), "{words}");
    assert_eq!((job.paid_msat, job.in_flight_msat), (0, 0));
    assert!(client.result(job.id).await.is_err(), "there is no result");
    let ledger = client.ledger(10).await.unwrap();
    assert_eq!((ledger.balance_msat, ledger.lines.len()), (before, 0), "money moved: {ledger:#?}");
    let checks = audit(&client).await;
    let told: Vec<_> = checks.iter().map(|check| (check.side, check.result.as_str())).collect();
    assert_eq!(told, [(Side::Bought, "allowed"), (Side::Sold, "allowed"), (Side::Sold, "denied")]);

    server.writes("I'm sorry, but I can't tell you how to build a pipe bomb at home.");
    let (job, _) = end(&client, &prompt(HONEST, 50_000)).await;
    assert_eq!(job.state, "settled", "a decline is no violation: {job:#?}");

    server.writes("It is 77 metres high.");
    let (job, _) = end(&client, &prompt(HONEST, 50_000)).await;
    assert_eq!(job.state, "settled", "{job:#?}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_can_be_moderated_whatever_it_says() {
    let home = tempfile::tempdir().unwrap();
    let node = offline(home.path(), config()).await;
    let client = node.client().unwrap();
    let mut body = prompt(SURE, 10_000);
    body.kind = JobKind::CONTENT_MODERATION;
    let (job, words) = end(&client, &body).await;
    assert_eq!(job.state, "settled", "{words}");
    assert!(job.paid_msat > 0);
    let result = client.result(job.id).await.unwrap().content;
    assert!(result.contains("\"flagged\":true") && result.contains("violence"), "{result}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_outlive_the_node_until_they_are_cleared() {
    let server = ChatServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let node = offline(home.path(), judged(&server, Mode::Rules)).await;
    let client = node.client().unwrap();
    assert!(client.ask(&prompt(SURE, 0)).await.is_err());
    end(&client, &prompt(HONEST, 0)).await;
    let checks = audit(&client).await;
    assert_eq!(checks.len(), 4, "the refused ask, the ask, the request, the result: {checks:#?}");
    node.shutdown().await.unwrap();
    let node = offline(home.path(), judged(&server, Mode::Rules)).await;
    let client = node.client().unwrap();
    assert_eq!(audit(&client).await, checks);
    let after = AuditQuery { after: checks[1].seq, ..AuditQuery::default() };
    assert_eq!(client.audit(&after).await.unwrap(), checks[2..]);
    assert_eq!(client.clear_audit().await.unwrap().cleared, 4);
    assert!(audit(&client).await.is_empty());
    node.shutdown().await.unwrap();
}
