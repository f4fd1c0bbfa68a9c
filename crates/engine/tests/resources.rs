//! When a machine may work: every turn of the rules, and that no job starts while they forbid it.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_engine::{
    Action, Config, CustomerConfig, Engine, Host, Incoming, Input, InputSize, InvoiceFor, Offer,
    PreimageSeed, ProviderConfig, RunFault,
    resources::{Guard, Hours, Power, Reason, ResourceRules, Sample, Verdict, minute_of_day},
};
use openagents_types::{
    CustomerKey, Draft, Invoice, JobId, JobInput, JobKind, JobRequest, Millis, Msat, Network, Notice,
    ProviderKey, Timestamp, Usage,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SEED: [u8; 32] = [7; 32];

fn on(power: Power) -> Sample {
    Sample { power: Some(power), ..Sample::default() }
}

fn battery(percent: u8) -> Sample {
    on(Power::Battery { percent: Some(percent) })
}

fn hot(level: u8) -> Sample {
    Sample { thermal: Some(level), ..Sample::default() }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "allowed",
        Verdict::Eased => "eased",
        Verdict::Paused { reason, .. } => reason.word(),
    }
}

#[test]
fn every_turn_of_the_rules_is_a_line() {
    let rules = ResourceRules { settle: Millis::from_secs(30), ..ResourceRules::default() };
    let memory = |mib: u64| Sample { memory_free: Some(mib << 20), ..Sample::default() };
    let disk = |mib: u64| Sample { disk_free: Some(mib << 20), ..Sample::default() };
    let cpu = |percent: u8| Sample { cpu_percent: Some(percent), ..Sample::default() };
    let load = |percent: u32| Sample { load_percent: Some(percent), ..Sample::default() };
    let idle = |secs: u64| Sample { user_idle: Some(Millis::from_secs(secs)), ..load(99) };
    let idle_only = ResourceRules { idle_only: Some(Millis::from_secs(60)), ..rules.clone() };
    let from_forty = ResourceRules { battery_from: 40, ..rules.clone() };
    let capped = ResourceRules { cpu_most: 60, ..rules.clone() };
    let unknown = Sample::default;
    // (what, rules, [(seconds, sample, jobs that run, what may be)])
    type Story = Vec<(u64, Sample, usize, &'static str)>;
    let stories: Vec<(&str, &ResourceRules, Story)> = vec![
        ("what is unknown forbids nothing", &rules, vec![(0, unknown(), 0, "allowed")]),
        ("a desktop works", &rules, vec![(0, on(Power::Mains), 0, "allowed")]),
        (
            "a battery pauses, and mains let it go on after a while",
            &rules,
            vec![
                (0, battery(100), 0, "battery"),
                (5, on(Power::Mains), 0, "settling"),
                (34, on(Power::Mains), 0, "settling"),
                (35, on(Power::Mains), 0, "allowed"),
            ],
        ),
        (
            "what returns meanwhile begins the while anew",
            &rules,
            vec![
                (0, battery(9), 0, "battery"),
                (5, on(Power::Mains), 0, "settling"),
                (9, battery(9), 0, "battery"),
                (36, on(Power::Mains), 0, "settling"),
                (66, on(Power::Mains), 0, "allowed"),
            ],
        ),
        (
            "a battery that is full enough works, with a margin",
            &from_forty,
            vec![
                (0, battery(40), 0, "allowed"),
                (1, battery(39), 0, "battery"),
                (2, battery(44), 0, "battery"),
                (3, battery(45), 0, "settling"),
                (33, battery(45), 0, "allowed"),
                (34, battery(44), 0, "allowed"),
            ],
        ),
        (
            "heat eases, then pauses, and has to fall a level further",
            &rules,
            vec![
                (0, hot(1), 0, "allowed"),
                (1, hot(2), 0, "eased"),
                (2, hot(3), 0, "heat"),
                (3, hot(2), 0, "heat"),
                (4, hot(1), 0, "settling"),
                (34, hot(1), 0, "allowed"),
            ],
        ),
        (
            "little memory",
            &rules,
            vec![
                (0, memory(128), 0, "allowed"),
                (1, memory(127), 0, "memory"),
                (2, memory(140), 0, "memory"),
                (3, memory(160), 0, "settling"),
                (33, memory(130), 0, "memory"),
                (34, memory(160), 0, "settling"),
                (64, memory(160), 0, "allowed"),
            ],
        ),
        ("little disk space", &rules, vec![(0, disk(255), 0, "disk"), (1, disk(320), 0, "settling")]),
        (
            "busy processors",
            &capped,
            vec![
                (0, cpu(59), 0, "allowed"),
                (1, cpu(60), 1, "cpu"),
                (2, cpu(50), 1, "cpu"),
                (3, cpu(44), 1, "settling"),
            ],
        ),
        (
            "somebody is there",
            &idle_only,
            vec![(0, idle(59), 0, "in-use"), (1, idle(60), 0, "settling"), (31, idle(90), 0, "allowed")],
        ),
        (
            "where nobody can tell, load that is not ours is somebody",
            &idle_only,
            vec![
                (0, load(25), 0, "in-use"),
                (1, load(24), 0, "settling"),
                (31, load(24), 0, "allowed"),
                (32, load(90), 1, "allowed"),
                (33, load(90), 0, "in-use"),
            ],
        ),
    ];
    for (what, rules, story) in stories {
        let mut guard = Guard::new(rules.clone());
        for (seconds, sample, running, expected) in story {
            let verdict = guard.look(NOW.after(Millis::from_secs(seconds)), &sample, running);
            assert_eq!(word(&verdict), expected, "{what}, after {seconds} s: {verdict:?}");
        }
    }
}

#[test]
fn hours_and_quiet_go_by_the_clock_on_the_wall() {
    let minute = |offset: i32| u64::from(minute_of_day(NOW, offset));
    let open = Hours { from: 22 * 60, to: 7 * 60 };
    let rules = ResourceRules { hours: vec![open], settle: Millis(0), ..ResourceRules::default() };
    for offset in [-720, -1, 0, 60, 330, 840] {
        let sample = Sample { utc_offset_min: Some(offset), ..Sample::default() };
        for hour in 0..24 {
            let now = NOW.after(Millis::from_secs(hour * 3_600));
            let at = (minute(offset) + hour * 60) % 1_440;
            let expected = if (7 * 60..22 * 60).contains(&at) { "hours" } else { "allowed" };
            assert_eq!(word(&Guard::new(rules.clone()).look(now, &sample, 0)), expected, "{offset} {hour}");
        }
    }
    let until = NOW.after(Millis::from_secs(60));
    let mut guard = Guard::new(ResourceRules { quiet_until: Some(until), ..rules });
    assert_eq!(guard.look(NOW, &Sample::default(), 0).pause(), Some(&Reason::Quiet { until }));
    assert_eq!(
        word(&guard.look(until, &Sample::default(), 0)),
        "allowed",
        "unknown local time sets no hours"
    );
}

fn engine(slots: usize) -> Engine {
    let mut provider = ProviderConfig::new(ProviderKey::from_bytes([9; 32]), PreimageSeed::new(SEED));
    provider.offers =
        vec![Offer::free(JobKind::TEXT_GENERATION), Offer::flat(JobKind::SUMMARIZATION, Msat::new(1_000))];
    provider.slots = slots;
    Engine::new(Config { provider: Some(provider), customer: CustomerConfig::new(Network::Regtest) })
}

fn id(n: u32) -> JobId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    JobId::from_bytes(bytes)
}

fn request(n: u32, kind: JobKind) -> Input {
    let request = JobRequest::new(id(n), CustomerKey::from_bytes([1; 32]), kind, NOW);
    Input::Request(Box::new(JobRequest {
        inputs: vec![JobInput::text("words")],
        providers: vec![ProviderKey::from_bytes([9; 32])],
        ..request
    }))
}

fn resolved(n: u32) -> Input {
    Input::Resolved { job: id(n), outcome: Ok(InputSize { bytes: 5 }) }
}

fn host(verdict: Verdict) -> Input {
    Input::Host(Host { verdict, ..Host::default() })
}

fn paused(at_once: bool) -> Verdict {
    Verdict::Paused { reason: Reason::InUse, at_once }
}

fn starts(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Run { .. })).count()
}

#[test]
fn while_it_pauses_nothing_new_is_taken_and_what_waits_starts_afterwards() {
    let mut engine = engine(1);
    let free = JobKind::TEXT_GENERATION;
    for n in 0..2 {
        engine.handle(NOW, request(n, free));
        engine.handle(NOW, resolved(n));
    }
    assert_eq!(engine.queue_depth(), (1, 1));
    engine.handle(NOW, host(paused(false)));
    assert!(!engine.is_open());
    let finished = Input::Finished { job: id(0), content: "text".into(), usage: Usage::default() };
    assert_eq!(starts(&engine.handle(NOW, finished)), 0, "what runs goes on, nothing new starts");
    let said = engine.handle(NOW, request(7, free));
    assert!(said.iter().any(|action| matches!(
        action,
        Action::Publish { draft: Draft::Notice(Notice::Refused { code, .. }), .. } if code == "paused"
    )));
    assert_eq!(starts(&engine.handle(NOW, host(Verdict::Allowed))), 1);
}

#[test]
fn a_pause_at_once_lets_a_job_wait_and_fails_one_whose_customer_has_read_of_it() {
    let mut engine = engine(2);
    for n in 0..2 {
        engine.handle(NOW, request(n, JobKind::TEXT_GENERATION));
        engine.handle(NOW, resolved(n));
    }
    engine.handle(NOW, Input::Progress { job: id(1), text: "It".into() });
    let done = engine.handle(NOW, host(paused(true)));
    assert!(done.contains(&Action::Stop(id(0))) && done.contains(&Action::Stop(id(1))), "{done:?}");
    assert_eq!(engine.queue_depth(), (1, 0), "the other one failed");
    assert_eq!(starts(&engine.handle(NOW, host(Verdict::Eased))), 1);
    // Being stopped took none of its attempts.
    let fault = RunFault { code: "failed".into(), message: "x".into(), retryable: true };
    assert_eq!(starts(&engine.handle(NOW, Input::RunFailed { job: id(0), fault })), 1);
}

/// A customer that has paid does not wait for a machine that sleeps.
#[test]
fn a_paid_job_that_waits_too_long_for_the_machine_gets_its_money_back() {
    let mut engine = engine(1);
    engine.handle(NOW, request(0, JobKind::SUMMARIZATION));
    engine.handle(NOW, resolved(0));
    let hash = PreimageSeed::new(SEED).preimage(id(0)).hash();
    let invoice = Invoice {
        bolt11: "lnbcrt1".into(),
        payment_hash: hash,
        amount: Msat::new(1_000),
        expires_at: NOW.after(Millis::from_secs(90)),
        network: Network::Regtest,
    };
    engine.handle(NOW, Input::Invoiced { invoice_for: InvoiceFor::Quote(id(0)), outcome: Ok(invoice) });
    engine.handle(NOW, host(paused(false)));
    let held = Incoming::Held { amount: Msat::new(1_000) };
    assert_eq!(starts(&engine.handle(NOW, Input::Incoming { hash, state: held })), 0);
    let later = |secs: u64| NOW.after(Millis::from_secs(secs));
    assert!(!engine.handle(later(299), host(paused(false))).contains(&Action::CancelHold(hash)));
    assert!(engine.handle(later(300), host(paused(false))).contains(&Action::CancelHold(hash)));
}

/// Whatever happens to the machine and to jobs in whatever order: no job starts while the rules forbid it, and never more
/// than they allow.
#[test]
fn no_job_starts_while_the_rules_forbid_it() {
    let mut all_starts = 0;
    for seed in 1..200_u64 {
        let mut state = seed;
        let mut draw = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let rules = ResourceRules {
            at_once: draw(2) == 0,
            settle: Millis::from_secs(draw(20)),
            battery_from: [0, 50, 101][usize::try_from(draw(3)).unwrap()],
            ..ResourceRules::default()
        };
        let (mut guard, mut engine, mut now) = (Guard::new(rules), engine(4), NOW);
        let (mut verdict, mut next, mut starts_seen) = (Verdict::Allowed, 0_u32, 0);
        for _ in 0..300 {
            now = now.after(Millis(draw(8_000)));
            let any = id(u32::try_from(draw(u64::from(next) + 1)).unwrap());
            let input = match draw(7) {
                0 | 1 => {
                    let sample = Sample {
                        power: [
                            None,
                            Some(Power::Mains),
                            Some(Power::Battery { percent: u8::try_from(draw(101)).ok() }),
                        ][usize::try_from(draw(3)).unwrap()],
                        thermal: u8::try_from(draw(5)).ok().filter(|_| draw(3) == 0),
                        memory_free: Some(draw(400) << 20),
                        ..Sample::default()
                    };
                    verdict = guard.look(now, &sample, engine.queue_depth().1);
                    Input::Host(Host::of(verdict.clone(), &sample))
                }
                2 => {
                    next += 1;
                    let mut request = JobRequest::new(
                        id(next),
                        CustomerKey::from_bytes([1; 32]),
                        JobKind::TEXT_GENERATION,
                        now,
                    );
                    request.inputs = vec![JobInput::text("words")];
                    Input::Request(Box::new(request))
                }
                3 => resolved(next),
                4 => Input::Finished { job: any, content: "text".into(), usage: Usage::default() },
                5 => Input::Progress { job: any, text: "t".into() },
                _ => Input::Tick,
            };
            let actions = engine.handle(now, input);
            let (_, running) = engine.queue_depth();
            starts_seen += starts(&actions);
            match &verdict {
                Verdict::Paused { at_once, .. } => {
                    assert_eq!(starts(&actions), 0, "seed {seed}");
                    assert!(!at_once || running == 0, "seed {seed}");
                }
                Verdict::Eased => assert!(starts(&actions) == 0 || running <= 2, "seed {seed}"),
                Verdict::Allowed => assert!(running <= 4, "seed {seed}"),
            }
        }
        all_starts += starts_seen;
    }
    assert!(all_starts > 1_000, "{all_starts} starts prove little");
}
