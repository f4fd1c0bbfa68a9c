//! The routes of every case, by a table.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use openagents_backend::{LlamaCpp, LlamaCppSettings, Place};

use super::*;

fn idle(models: &[&str]) -> Candidate {
    Candidate {
        tier: 0,
        models: models.iter().map(|name| Model::named(*name)).collect(),
        meant: None,
        usual: None,
        features: &[Feature::System],
        availability: Availability::Ready,
        running: 0,
        slots: None,
        speed: None,
    }
}

fn named(model: &str) -> Need {
    Need { model: Some(model.into()), tokens: 100, ..Need::default() }
}

#[test]
fn each_case_has_its_order() {
    let any = Need { tokens: 100, ..Need::default() };
    let a = || idle(&["a", "b"]);
    let b = || idle(&["b"]);
    let at = |speed: f64, running: usize| Candidate { speed: Some(speed), running, ..a() };
    let small = || Candidate { models: vec![Model { context: Some(99), ..Model::named("a") }], ..a() };
    for (what, need, candidates, order) in [
        ("the settings' order, where nothing else is known", any.clone(), vec![a(), b()], vec![0, 1]),
        ("by the model alone", named("a"), vec![b(), a()], vec![1]),
        ("by each that has the model", named("b"), vec![a(), b()], vec![0, 1]),
        (
            "by the model that it calls by another name",
            named("a:latest"),
            vec![b(), Candidate { meant: Some("a".into()), ..a() }],
            vec![1],
        ),
        ("without a model, if none is named", any.clone(), vec![idle(&[])], vec![0]),
        (
            "the operator's order first",
            any.clone(),
            vec![Candidate { tier: 1, ..at(99.0, 0) }, at(1.0, 0)],
            vec![1, 0],
        ),
        ("the faster first", any.clone(), vec![at(10.0, 0), at(50.0, 0)], vec![1, 0]),
        ("the one that is done first", any.clone(), vec![at(50.0, 9), at(10.0, 0)], vec![1, 0]),
        (
            "the less busy, where none was measured",
            any.clone(),
            vec![Candidate { running: 1, ..a() }, a()],
            vec![1, 0],
        ),
        (
            "one not measured counts as the fastest",
            any.clone(),
            vec![at(10.0, 0), at(50.0, 0), a()],
            vec![1, 2, 0],
        ),
        (
            "a free slot first",
            any.clone(),
            vec![Candidate { slots: Some(1), running: 1, ..at(99.0, 1) }, at(1.0, 1)],
            vec![1, 0],
        ),
        (
            "what failed lately last, whatever its place",
            any.clone(),
            vec![
                Candidate { availability: Availability::Limited, ..at(99.0, 0) },
                Candidate { tier: 5, ..a() },
            ],
            vec![1, 0],
        ),
        ("only where there is room", any.clone(), vec![small(), a()], vec![1]),
        (
            "only what can do it",
            Need { features: vec![Feature::System], ..any.clone() },
            vec![Candidate { features: &[], ..a() }, a()],
            vec![1],
        ),
        (
            "the usual model has to be there",
            Need { model: None, ..any },
            vec![Candidate { usual: Some("b".into()), ..a() }],
            vec![0],
        ),
    ] {
        assert_eq!(route(&need, &candidates), Ok(order), "{what}");
    }
}

#[test]
fn what_nobody_can_do_is_refused_with_what_there_is() {
    let small = Candidate { models: vec![Model { context: Some(99), ..Model::named("a") }], ..idle(&[]) };
    let stop = Need { features: vec![Feature::Stop], ..Need::default() };
    for (need, candidates, words) in [
        (
            named("x"),
            vec![idle(&["a"]), idle(&["b", "a"])],
            "\"x\" is not among those of this provider: a, b",
        ),
        (named("A"), vec![idle(&["a"])], "\"A\" is not among"),
        (named("x"), vec![idle(&[])], "no models to choose from"),
        (named("x"), vec![idle(&["/home/ann/m.gguf"])], "not among those of this provider: m;"),
        (named("a"), vec![small], "about 100 tokens with its answer, the model takes 99"),
        (stop, vec![idle(&["a"])], "\"stop\""),
    ] {
        let error = route(&need, &candidates).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("nothing was charged"), "{error}");
    }
}

#[test]
fn a_need_is_read_from_parameters_and_size() {
    let params = [Param::new("model", "m"), Param::new("max_tokens", "40"), Param::new("stop", "END")];
    let need = Need { model: Some("m".into()), tokens: 140, features: vec![Feature::Stop] };
    assert_eq!(Need::of(JobKind::TEXT_GENERATION, &params, 400), need);
    let unnamed = [Param::new("model", "")];
    assert_eq!(
        Need::of(JobKind::TEXT_GENERATION, &unnamed, 0),
        Need { tokens: USUAL_ANSWER, ..Need::default() }
    );
    let embeddings = JobKind::try_from(6511).unwrap();
    assert_eq!(Need::of(embeddings, &unnamed, 9_000), Need::default(), "no answer, and each input by itself");
}

/// However the candidates are: nobody is named twice, and the model that was named is served or nothing.
#[test]
fn no_route_ever_leads_to_another_model() {
    let mut state = 7_u64;
    let mut draw = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let names = ["a", "b", "c"];
    for _ in 0..20_000 {
        let candidates: Vec<Candidate> = (0..draw(5))
            .map(|_| Candidate {
                tier: usize::try_from(draw(2)).unwrap(),
                models: names.iter().filter(|_| draw(2) == 0).map(|name| Model::named(*name)).collect(),
                usual: (draw(3) == 0).then(|| "a".into()),
                availability: if draw(2) == 0 { Availability::Ready } else { Availability::Limited },
                running: usize::try_from(draw(4)).unwrap(),
                slots: (draw(2) == 0).then_some(2),
                speed: [None, Some(0.0), Some(f64::MAX), Some(3.0)][usize::try_from(draw(4)).unwrap()],
                ..idle(&[])
            })
            .collect();
        let wanted = names[usize::try_from(draw(3)).unwrap()];
        if let Ok(order) = route(&named(wanted), &candidates) {
            let mut seen = order.clone();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), order.len());
            assert!(order.iter().all(|at| candidates[*at].models.iter().any(|model| model.name == wanted)));
        }
    }
}

#[tokio::test]
async fn a_backend_does_no_more_at_once_than_it_may() {
    let gauge = Arc::new(Gauge::default());
    let first = gauge.enter(Some(1)).await;
    let waits = tokio::time::timeout(Duration::from_millis(20), gauge.enter(Some(1))).await;
    assert!(waits.is_err());
    let second = gauge.enter(None).await;
    drop(second);
    let (third, ()) = tokio::join!(gauge.enter(Some(1)), async {
        tokio::task::yield_now().await;
        drop(first);
    });
    assert_eq!(gauge.running.load(Ordering::Relaxed), 1);
    drop(third);
    assert_eq!(gauge.running.load(Ordering::Relaxed), 0);
}

/// A server of the node's own that is still loading: whoever has paid waits for it, whoever asks is refused.
#[tokio::test]
async fn a_job_that_is_agreed_waits_for_a_server_that_is_away() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = LlamaCppSettings { model: "/models/m.gguf".into(), ..LlamaCppSettings::default() };
    let backend = Arc::new(LlamaCpp::new(settings, Place::default()).unwrap());
    let kind = JobKind::TEXT_GENERATION;
    let seat = Seat { label: "llamacpp".into(), backend, gauge: Arc::default() };
    let table = Table::from([(kind, vec![seat])]);
    let router = Router::new(table, &Config::default(), SpeedBook::in_memory());
    for model in ["m", "another that it may have", ""] {
        let params = [Param::new("model", model)];
        let named = if model.is_empty() { &params[..0] } else { &params };
        let asked = |agreed| Asked { kind, params: named, mimes: &["text/plain"], bytes: 10, agreed };
        assert!(router.routes(asked(false)).is_err(), "{model}");
        assert_eq!(router.routes(asked(true)).map(|routes| routes.len()), Ok(1), "{model}");
    }
}
