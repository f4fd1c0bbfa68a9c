//! `openagents ask … --then KIND`: a chain of jobs, each on the result of the one before, bought one
//! after the other for one sum.

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use openagents_api::{AskBody, Client, JobView, Problem, SCHEMA_VERSION};
use openagents_registry::{Builder, Fault};
use openagents_types::{InputType, JobInput, JobKind, Msat, Param, Timestamp};
use serde::Serialize;

use super::{
    follow::{self, Bought, ForPrograms},
    input, kind, param,
};
use crate::{
    args::Global,
    exit::Exit,
    failure::{self, Failure},
    show,
    stop::Stop,
};

/// What `--param` and `--then` say. A parameter belongs to the last `--then` before it, or to the first
/// job if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// How to do the first job.
    pub(super) params: Vec<Param>,
    /// What follows it.
    pub(super) then: Vec<Step>,
}

/// A job on the result of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    kind: JobKind,
    params: Vec<Param>,
}

impl clap::Args for Steps {
    fn augment_args(command: Command) -> Command {
        let how =
            "How to do it, such as length=\"100 words\"; after --then, how to do that. Repeat for several";
        let then =
            "Then do this kind of work on the result, as part of the same sum. Repeat for a longer chain";
        let repeated = |name, value| Arg::new(name).long(name).value_name(value).action(ArgAction::Append);
        command
            .arg(repeated("param", "NAME=VALUE").value_parser(param).help(how))
            .arg(repeated("then", "KIND").visible_alias("chain").value_parser(kind).help(then))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut then: Vec<(usize, Step)> = placed::<JobKind>(matches, "then")
            .map(|(at, kind)| (at, Step { kind, params: Vec::new() }))
            .collect();
        let mut params = Vec::new();
        for (at, param) in placed::<Param>(matches, "param") {
            match then.iter_mut().rfind(|(before, _)| *before < at) {
                Some((_, step)) => step.params.push(param),
                None => params.push(param),
            }
        }
        Ok(Self { params, then: then.into_iter().map(|(_, step)| step).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The values of an argument with their places on the command line.
fn placed<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    name: &str,
) -> impl Iterator<Item = (usize, T)> {
    let places = matches.indices_of(name).into_iter().flatten();
    places.zip(matches.get_many::<T>(name).into_iter().flatten().cloned())
}

/// Finds what no provider would take before the first job is paid for.
pub(super) fn check(then: &[Step]) -> Result<(), Failure> {
    for (number, step) in (2..).zip(then) {
        let job = Builder::new(step.kind).event("0".repeat(64), None).params(step.params.clone());
        match job.build(Timestamp::NEVER) {
            // A kind that is in no catalogue may be sold all the same.
            Ok(_) | Err(Fault::UnknownKind(_)) => {}
            Err(fault) => {
                let next = format!("see what the kind takes with `openagents registry show {}`", step.kind);
                return Err(Failure::usage(format!("step {number} cannot be asked: {fault}"), next));
            }
        }
    }
    Ok(())
}

/// What would be asked, as far as it is known before the first result.
pub(super) fn preview(first: &AskBody, then: &[Step]) -> Vec<AskBody> {
    let later = then.iter().map(|step| AskBody { inputs: Vec::new(), ..step.body(first) });
    std::iter::once(first.clone()).chain(later).collect()
}

impl Steps {
    /// The same with the first step as the job itself, for whoever names no other kind.
    pub(super) fn led_by_the_first(&self) -> Option<(JobKind, Self)> {
        let (first, then) = self.then.split_first()?;
        let params = self.params.iter().chain(&first.params).cloned().collect();
        Some((first.kind, Self { params, then: then.to_vec() }))
    }
}

impl Step {
    /// The job as the first one was asked: by whom, how long, how secret, for how much at most.
    fn body(&self, first: &AskBody) -> AskBody {
        AskBody { kind: self.kind, params: self.params.clone(), ..first.clone() }
    }
}

/// Buys the first job and, with its result, each further one, until one is not delivered.
pub(super) async fn buy(
    global: &Global,
    client: &Client,
    first: AskBody,
    then: &[Step],
) -> anyhow::Result<Exit> {
    let mut chain = Chain { length: then.len() + 1, done: Vec::new(), total: Msat::new(first.bid_msat) };
    // Heard between the steps as well, when nobody follows a job.
    let mut stop = Stop::listen()?;
    let mut later = then.iter();
    let mut body = first.clone();
    loop {
        body.bid_msat = chain.left().get();
        chain.announce(&body);
        let streams = chain.is_last() && follow::may_stream(global);
        let bought = match follow::until_bought(client, &body, streams).await {
            Ok(bought) => bought,
            Err(error) => return chain.broken_off(global, error),
        };
        let exit = bought.exit;
        chain.done.push((body.kind, bought));
        let Some(step) = later.next().filter(|_| exit == Exit::Ok) else {
            return chain.ended(global, exit);
        };
        if has_come(stop.next()).await {
            return chain.ended(global, Exit::Interrupted);
        }
        body = step.body(&first);
        body.inputs = match chain.hand_over(client, first.encrypt).await {
            Ok(inputs) => inputs,
            Err(error) => return chain.broken_off(global, error),
        };
    }
}

/// Whether something has happened already.
async fn has_come(event: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = event => true,
        () = std::future::ready(()) => false,
    }
}

/// A chain being bought.
struct Chain {
    length: usize,
    done: Vec<(JobKind, Bought)>,
    /// What all of it may cost.
    total: Msat,
}

/// The last line of a chain with `--json`.
#[derive(Serialize)]
struct ChainAnswer<'a> {
    schema_version: u32,
    steps: Vec<StepAnswer<'a>>,
    steps_wanted: usize,
    result: Option<&'a str>,
    paid_msat: u64,
    fee_msat: u64,
    in_flight_msat: u64,
    /// Why a step could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

#[derive(Serialize)]
struct StepAnswer<'a> {
    kind: JobKind,
    #[serde(flatten)]
    answer: ForPrograms<'a>,
}

impl Chain {
    fn announce(&self, body: &AskBody) {
        let (number, length) = (self.done.len() + 1, self.length);
        let most = Msat::new(body.bid_msat);
        show::talk(&format!("step {number} of {length}: kind {}, for at most {most}", body.kind));
    }

    fn is_last(&self) -> bool {
        self.done.len() + 1 == self.length
    }

    fn sum(&self, of: impl Fn(&JobView) -> u64) -> u64 {
        self.done.iter().filter_map(|(_, bought)| bought.job.as_ref()).map(of).sum()
    }

    /// What the next job may cost. What is locked counts as spent.
    fn left(&self) -> Msat {
        let spent = self.sum(|job| job.paid_msat + job.fee_msat + job.in_flight_msat);
        Msat::new(self.total.get().saturating_sub(spent))
    }

    fn is_delivered(&self) -> bool {
        self.done.len() == self.length && self.done.iter().all(|(_, bought)| bought.exit == Exit::Ok)
    }

    /// The last result as the input of the next job: by the id of its event, which nobody can forge, or
    /// as text if only we can read it.
    async fn hand_over(&self, client: &Client, secret: bool) -> anyhow::Result<Vec<JobInput>> {
        let last = self.done.last().map(|(_, bought)| bought);
        let job = last.and_then(|bought| bought.job.as_ref());
        let event = job.and_then(|job| job.result_event).filter(|_| !secret);
        let inputs = match event {
            Some(event) => vec![JobInput {
                data: event.to_hex(),
                input_type: InputType::Event,
                relay: relay(client).await,
                marker: None,
            }],
            None => vec![JobInput::text(last.and_then(|bought| bought.result.clone()).unwrap_or_default())],
        };
        let too_large = |_| Failure {
            exit: Exit::Error,
            what: "the last result is larger than an encrypted request can carry".into(),
            money: "the steps so far are paid".into(),
            next: "ask for a shorter one, or for the chain without --encrypt".into(),
        };
        input::fits(&inputs).map_err(too_large)?;
        Ok(inputs)
    }

    /// Says how the chain ended and what it cost; prints what it was for.
    fn ended(&self, global: &Global, exit: Exit) -> anyhow::Result<Exit> {
        show::talk(&self.words());
        if global.json {
            show::json(&self.answer(None))?;
        } else if let Some(bought) = self.result() {
            bought.show()?;
        }
        Ok(exit)
    }

    /// The same where a step could not even be asked. Programs get one object, with the error in it.
    fn broken_off(&self, global: &Global, error: anyhow::Error) -> anyhow::Result<Exit> {
        show::talk(&self.words());
        if !global.json {
            return Err(error);
        }
        let exit = failure::report(&error, false);
        show::json(&self.answer(Some(failure::describe(&error))))?;
        Ok(exit)
    }

    fn result(&self) -> Option<&Bought> {
        self.done.last().map(|(_, bought)| bought).filter(|_| self.is_delivered())
    }

    fn answer(&self, error: Option<Problem>) -> ChainAnswer<'_> {
        let steps = self.done.iter();
        ChainAnswer {
            schema_version: SCHEMA_VERSION,
            steps: steps
                .map(|(kind, bought)| StepAnswer { kind: *kind, answer: bought.for_programs() })
                .collect(),
            steps_wanted: self.length,
            result: self.result().and_then(|bought| bought.result.as_deref()),
            paid_msat: self.sum(|job| job.paid_msat),
            fee_msat: self.sum(|job| job.fee_msat),
            in_flight_msat: self.sum(|job| job.in_flight_msat),
            error,
        }
    }

    fn words(&self) -> String {
        let delivered = self.done.iter().filter(|(_, bought)| bought.exit == Exit::Ok);
        let jobs = delivered.filter_map(|(_, bought)| bought.job.as_ref());
        let kept: Vec<String> = jobs.map(|job| job.id.to_hex()[..12].to_owned()).collect();
        let how = match (self.is_delivered(), kept.len()) {
            (true, _) => "done".into(),
            (false, steps) => format!("ended at step {}", steps + 1),
        };
        let (paid, fees) =
            (Msat::new(self.sum(|job| job.paid_msat)), Msat::new(self.sum(|job| job.fee_msat)));
        let mut lines =
            vec![format!("chain of {} {how}: {paid} paid in all, {fees} for routing", self.length)];
        if !self.is_delivered() && !kept.is_empty() {
            let commands: Vec<String> =
                kept.iter().map(|id| format!("`openagents jobs show {id}`")).collect();
            lines.push(format!("earlier results are kept: {}", commands.join(", ")));
        }
        lines.join("\n")
    }
}

/// A relay where the next provider finds what was delivered here.
async fn relay(client: &Client) -> Option<String> {
    let node = client.node().await.ok()?;
    node.relays.into_iter().find(|relay| relay.connected).map(|relay| relay.url)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use clap::Args;

    use super::*;

    fn steps(arguments: &[&str]) -> Result<Steps, clap::Error> {
        let command = Steps::augment_args(Command::new("ask").no_binary_name(true));
        Steps::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn a_parameter_belongs_to_the_step_it_follows() {
        let read = steps(&[
            "--param",
            "a=1",
            "--param",
            "b=2",
            "--then",
            "5001",
            "--param",
            "length=100 words",
            "--then",
            "5002",
            "--then",
            "5050",
            "--param",
            "model=x",
            "--param=model=y",
        ])
        .unwrap();
        assert_eq!(read.params, [Param::new("a", "1"), Param::new("b", "2")]);
        let (kinds, params): (Vec<_>, Vec<_>) =
            read.then.into_iter().map(|step| (step.kind.get(), step.params)).unzip();
        assert_eq!(kinds, [5001, 5002, 5050]);
        assert_eq!(params[0], [Param::new("length", "100 words")]);
        assert!(params[1].is_empty());
        assert_eq!(params[2], [Param::new("model", "x"), Param::new("model", "y")]);
        assert_eq!(steps(&[]).unwrap(), Steps::default());
        assert!(steps(&["--then", "poetry"]).is_err() && steps(&["--then"]).is_err());
    }

    #[test]
    fn a_chain_without_another_kind_begins_with_its_first_step() {
        let read = steps(&["--chain", "5000", "--chain", "5001", "--param", "length=9 words"]).unwrap();
        let (kind, rest) = read.led_by_the_first().unwrap();
        assert_eq!((kind, rest.params.len(), rest.then.len()), (JobKind::TEXT_EXTRACTION, 0, 1));
        assert_eq!(rest.then[0].params, [Param::new("length", "9 words")]);
        assert_eq!(steps(&["--param", "a=1"]).unwrap().led_by_the_first(), None);
    }

    #[test]
    fn a_step_that_no_provider_takes_is_found_before_anything_is_paid() {
        let then = steps(&["--then", "5001", "--then", "5002", "--param", "language=klingon!"]).unwrap().then;
        let error = check(&then).unwrap_err();
        assert!(error.what.contains("step 3") && error.next.contains("5002"), "{error}");
        assert!(check(&then[..1]).is_ok());
    }
}
