//! `openagents ask`: from words on the command line to a job that a node buys.

mod chain;
mod follow;
mod input;
mod outcome;
mod unfinished;

use clap::Args;
use nostr::PublicKey;
use openagents_api::AskBody;
use openagents_types::{JobInput, JobKind, Msat, Param, ProviderKey};
use openagents_wallet::destination::check_refund;

use crate::{args::Global, exit::Exit, failure::Failure, link, show};

/// The job.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  \
        openagents ask --kind 5001 --file paper.pdf --param length=\"100 words\" --max-sat 10\n  \
        openagents ask --kind summarization --url https://example.com/article --max-sat 10 --json\n  \
        openagents ask \"Why is the sky blue?\" --kind 5050 --param model=qwen3 --max-sat 20\n  \
        cat notes.txt | openagents ask --kind 5001 --file - --max-sat 0\n  \
        openagents ask --kind 5000 --file report.pdf --then 5001 --param length=\"100 words\" \\\n      \
            --then 5002 --param language=de --max-sat 30\n  \
        openagents ask --file report.pdf --chain 5000 --chain 5001 --max-sat 20",
    after_help = "The result goes to stdout, everything else to stderr. With --json the last line of stdout is one\n\
        object with job_id, state, provider, paid_msat, fee_msat, result, result_sha256, made_by, rail, terms, payment_hash,\n\
        preimage and refusals; for a chain with `steps`, such an object for each.\n\
        Ctrl-C takes the job back and says where the money is; a second one leaves at once.\n\
        Exit codes: openagents help exit-codes"
)]
pub(crate) struct AskArgs {
    /// What to work on, as text
    text: Option<String>,
    /// The kind of work: its number, or its name such as text-extraction, summarization, text-generation
    #[arg(long, value_parser = kind)]
    kind: Option<JobKind>,
    /// Send this file (text, HTML, PDF, docx, odt, pptx); `-` is standard input. Repeat for several
    #[arg(long, value_name = "FILE")]
    file: Vec<String>,
    /// Let the provider fetch this address. Repeat for several
    #[arg(long, value_name = "URL", value_parser = address)]
    url: Vec<String>,
    #[command(flatten)]
    steps: chain::Steps,
    /// The most to pay, for all steps together, in satoshis, such as 10 or 0.5; 0 takes free offers only
    #[arg(long, value_name = "N", conflicts_with = "max_msat", allow_negative_numbers = true, value_parser = Msat::parse_sat)]
    max_sat: Option<Msat>,
    /// The most to pay, in millisatoshis
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = amount)]
    max_msat: Option<u64>,
    /// Ask only this provider
    #[arg(long, value_name = "NPUB|HEX", value_parser = provider)]
    provider: Option<ProviderKey>,
    /// Hide text and parameters from relays; needs --provider
    #[arg(long, requires = "provider")]
    encrypt: bool,
    /// How long to collect offers, in milliseconds
    #[arg(long, value_name = "MS")]
    window: Option<u64>,
    /// How long the result is of use, such as 60s, 5m
    #[arg(long, value_name = "TIME", value_parser = deadline, default_value = "60s")]
    deadline: u64,
    /// How long a chosen provider has before the next is tried, such as 10s
    #[arg(long, value_name = "TIME", value_parser = span)]
    patience: Option<u64>,
    /// Where a refund goes that this node does not claim itself (a Lightning address or an LNURL), instead of
    /// `customer.refund_to`
    #[arg(long, value_name = "NAME@HOST", value_parser = refund)]
    refund_to: Option<String>,
    /// Let the balance pay that a provider keeps of this earlier job; relays see that both are yours
    #[arg(long, value_name = "JOB", requires = "provider")]
    balance_of: Option<openagents_types::JobId>,
    /// With --balance-of: pay from the wallet where that balance does not cover the price
    #[arg(long, requires = "balance_of")]
    or_wallet: bool,
    /// Print what would be asked, ask nobody, pay nothing
    #[arg(long)]
    dry_run: bool,
}

/// Kinds by name; any other by its number.
const KINDS: &[(&str, JobKind)] = &[
    ("text-extraction", JobKind::TEXT_EXTRACTION),
    ("summarization", JobKind::SUMMARIZATION),
    ("text-generation", JobKind::TEXT_GENERATION),
];

/// Buys the job and waits for it.
pub(crate) fn run(global: &Global, args: &AskArgs) -> anyhow::Result<Exit> {
    let (kind, steps) = match (args.kind, args.steps.led_by_the_first()) {
        (None, Some((kind, rest))) => (Some(kind), rest),
        (kind, _) => (kind, args.steps.clone()),
    };
    let (body, then) = (body(args, kind, steps.params)?, &steps.then);
    chain::check(then)?;
    if args.dry_run && then.is_empty() {
        return dry_run(global, &body, &body);
    }
    if args.dry_run {
        return dry_run(global, &body, &chain::preview(&body, then));
    }
    let client = link::connect(&link::home(global)?)?;
    if then.is_empty() {
        return super::wait(follow::buy(global, &client, &body));
    }
    super::wait(chain::buy(global, &client, body, then))
}

fn dry_run(global: &Global, body: &AskBody, shown: &impl serde::Serialize) -> anyhow::Result<Exit> {
    if global.json {
        show::json(shown)?;
    } else {
        show::line(&serde_json::to_string_pretty(shown)?)?;
    }
    show::talk(&format!("nobody was asked; this would cost at most {}", Msat::new(body.bid_msat)));
    Ok(Exit::Ok)
}

fn body(args: &AskArgs, kind: Option<JobKind>, params: Vec<Param>) -> anyhow::Result<AskBody> {
    let inputs = inputs(args)?;
    if args.window.is_some_and(|window| window >= args.deadline) {
        let what = "the deadline is over before all offers are in (--window)";
        return Err(Failure::usage(what, "make --deadline longer than --window").into());
    }
    let kind = match kind {
        Some(kind) => kind,
        // Words alone are a question; anything else could mean several kinds.
        None if args.file.is_empty() && args.url.is_empty() => JobKind::TEXT_GENERATION,
        None => {
            return Err(
                Failure::usage("which kind of work is not said", "add --kind, such as --kind 5001").into()
            );
        }
    };
    Ok(AskBody {
        kind,
        inputs,
        params,
        bid_msat: bid(args)?.get(),
        provider: args.provider,
        encrypt: args.encrypt,
        window_ms: args.window,
        deadline_ms: Some(args.deadline),
        patience_ms: args.patience,
        refund_to: args.refund_to.clone(),
        balance_of: args.balance_of,
        or_wallet: args.or_wallet,
    })
}

fn bid(args: &AskArgs) -> anyhow::Result<Msat> {
    let bid = match (args.max_sat, args.max_msat) {
        (Some(bid), _) => bid,
        (None, Some(msat)) => Msat::new(msat),
        (None, None) => {
            let next = "add --max-sat N; --max-sat 0 takes free offers only";
            return Err(Failure::usage("how much it may cost is not said", next).into());
        }
    };
    if bid > Msat::MAX {
        return Err(Failure::usage(format!("{bid} is more than all bitcoin"), "offer less").into());
    }
    Ok(bid)
}

fn inputs(args: &AskArgs) -> anyhow::Result<Vec<JobInput>> {
    let mut inputs: Vec<JobInput> = args.text.iter().map(JobInput::text).collect();
    for file in &args.file {
        inputs.push(input::read(file)?);
    }
    inputs.extend(args.url.iter().map(JobInput::url));
    inputs.retain(|input| !input.data.trim().is_empty());
    if inputs.is_empty() {
        return Err(Failure::usage("nothing to work on is given", "give text, --file or --url").into());
    }
    input::fits(&inputs)?;
    Ok(inputs)
}

fn amount(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "an amount is a whole number, 0 or more, and no more than all bitcoin".into())
}

/// Only what a provider can fetch.
fn address(text: &str) -> Result<String, String> {
    let known =
        ["http://", "https://", "data:"].iter().any(|start| text.to_ascii_lowercase().starts_with(start));
    if known && text.parse::<url::Url>().is_ok() {
        Ok(text.into())
    } else {
        Err("providers fetch http:// and https:// addresses; for a file use --file".into())
    }
}

/// A kind by its number, by its name in the registry, or by a name of ours.
pub(crate) fn kind(text: &str) -> Result<JobKind, String> {
    if let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == text) {
        return Ok(*kind);
    }
    if let Ok(schema) = openagents_registry::find_name(text) {
        return Ok(schema.kind);
    }
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return text.parse().map_err(|error: openagents_types::KindError| error.to_string());
    }
    Err("no kind has this name; `openagents registry list` shows them with their numbers".into())
}

fn param(text: &str) -> Result<Param, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Param::new(name, value)),
        _ => Err("write it as name=value".into()),
    }
}

fn provider(text: &str) -> Result<ProviderKey, String> {
    let key = PublicKey::parse(text)
        .map_err(|_| "not a public key; it begins with npub1 or has 64 hexadecimal digits")?;
    Ok(ProviderKey::from_bytes(key.to_bytes()))
}

/// Where an invoice for a refund can be had.
fn refund(text: &str) -> Result<String, String> {
    check_refund(text).map(|()| text.trim().into()).map_err(|error| error.to_string())
}

/// A span in which something can happen at all: an event that is over when it is sent is sent for nothing.
fn deadline(text: &str) -> Result<u64, String> {
    match span(text)? {
        0..1_000 => Err("a job takes at least a second".into()),
        millis => Ok(millis),
    }
}

/// A span of time in milliseconds: `500ms`, `60s`, `5m`, `1h`.
fn span(text: &str) -> Result<u64, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 =
        text[..text.len() - unit.len()].parse().map_err(|_| "write it as 500ms, 60s, 5m or 1h")?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("name the unit: ms, s, m or h".into()),
    };
    number.checked_mul(factor).ok_or_else(|| "that is too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert!(deadline("0s").is_err() && deadline("999ms").is_err() && deadline("1s").is_ok());
        let cases =
            [("500ms", Some(500)), ("60s", Some(60_000)), ("5m", Some(300_000)), ("60", None), ("s", None)];
        for (text, expected) in cases {
            assert_eq!(span(text).ok(), expected, "{text}");
        }
        assert!(span("99999999999999999999h").is_err());
        assert!(span("18446744073709551615s").is_err());
    }

    #[test]
    fn only_what_can_be_fetched_is_an_address() {
        for bad in ["notaurl", "ftp://example.com/a", "file:///etc/passwd", "http://", ""] {
            assert!(address(bad).is_err(), "{bad}");
        }
        assert!(address("https://example.com/a?b=c").is_ok() && address("HTTP://127.0.0.1:8000/").is_ok());
    }

    #[test]
    fn kinds_have_names_and_numbers() {
        assert_eq!(kind("summarization"), Ok(JobKind::SUMMARIZATION));
        assert_eq!(kind("text-summarization"), Ok(JobKind::SUMMARIZATION));
        assert_eq!(kind("5000"), Ok(JobKind::TEXT_EXTRACTION));
        assert!(kind("poetry").unwrap_err().contains("registry list"));
        assert!(kind("7000").is_err() && kind("poetry").is_err());
    }

    #[test]
    fn a_parameter_may_contain_equals_signs() {
        assert_eq!(param("a=b=c"), Ok(Param::new("a", "b=c")));
        assert!(param("a").is_err() && param("=b").is_err());
    }

    #[test]
    fn a_provider_is_named_by_npub_or_hex() {
        let npub = "npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9";
        let hex = "84dee6e676e5bb67b4ad4e042cf70cbd8681155db535942fcc6a0533858a7240";
        assert_eq!(provider(npub), provider(hex));
        assert!(provider(hex).is_ok() && provider("nobody").is_err());
    }
}
