//! `openagents provider price`: what work could cost, and setting what it does.

use clap::{Args, Subcommand};
use openagents_api::{AdView, OfferView, SCHEMA_VERSION};
use openagents_node::{
    config::Config,
    home::{Home, write_private},
    speeds::{self, SpeedBook, Track},
    suggest::{Costs, Good, Now, Suggestion, suggest},
};
use openagents_types::JobKind;
use serde_json::json;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::{
    args::Global, cmd::ask::kind, exit::Exit, failure::Failure, link, show, tables::table, text::one_line,
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Price {
    /// A price from measured speed, the cost of energy and what others ask; nothing is changed
    #[command(
        before_help = "Examples:\n  openagents provider price suggest\n  openagents provider price suggest --measure --json",
        after_help = "Speed is that of this machine's own runs. What energy costs is read from the settings:\n\
            energy.watts, energy.price_per_kwh, energy.msat_per_unit. What others ask is read by the running node from its\n\
            relays. What is not known is left out and named."
    )]
    Suggest {
        /// Do a short job with each model that was never measured
        #[arg(long)]
        measure: bool,
    },
    /// Write the price of a kind, or of one model of it, into the settings
    Set(SetArgs),
}

/// A price.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The kind: its number, or its name such as summarization or text-translation
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: JobKind,
    /// The model; without it the price is of jobs that name none, and of models without a price of their own
    #[arg(long)]
    model: Option<String>,
    /// For any job, in millisatoshis
    #[arg(long, value_name = "N")]
    base_msat: u64,
    /// For each KiB of input begun, in millisatoshis
    #[arg(long, value_name = "N")]
    per_kib_msat: Option<u64>,
    /// For a thousand tokens that a job lets be written, used or not, in millisatoshis
    #[arg(long, value_name = "N")]
    per_1000_output_msat: Option<u64>,
    /// For each second that a job usually takes, in millisatoshis
    #[arg(long, value_name = "N")]
    per_second_msat: Option<u64>,
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Price) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    match command {
        Price::Suggest { measure } => suggest_all(global, &home, *measure),
        Price::Set(args) => set(global, &home, args),
    }
}

fn suggest_all(global: &Global, home: &Home, measure: bool) -> anyhow::Result<Exit> {
    let config = Config::load(home)?;
    let book = SpeedBook::open(home);
    if measure && home.running_app().is_some() {
        return Err(Failure::usage(
            "the node is running: measuring beside it would load its models a second time and slow its jobs",
            "leave --measure out, since a node measures each job that it does; or stop it first",
        )
        .into());
    }
    if measure {
        let found = config.clone().with_models(home)?;
        super::super::wait(async { Ok(speeds::measure(&found, home, &book).await?) })?;
        book.keep();
    }
    let (offers, ads, node) = seen(home);
    let goods = goods(&config, &book, &offers);
    let costs = Costs {
        msat_per_second: config.energy.msat_per_second(),
        margin_percent: config.energy.margin_percent,
    };
    let found: Vec<Suggestion> = goods.iter().map(|good| suggest(good, &ads, costs)).collect();
    if global.json {
        show::json(&json!({
            "schema_version": SCHEMA_VERSION,
            "energy": { "msat_per_second": costs.msat_per_second, "margin_percent": costs.margin_percent },
            "ads": ads.len(),
            "node": node,
            "suggestions": found,
        }))?;
        return Ok(Exit::Ok);
    }
    if found.is_empty() {
        show::line(
            "nothing is known to be for sale; start the node with `openagents up`, or measure with --measure",
        )?;
        return Ok(Exit::Ok);
    }
    show::line(&report(&config, costs, &found, &ads, node))?;
    Ok(Exit::Ok)
}

/// What the running node sells and what it sees others ask, and whether one runs.
fn seen(home: &Home) -> (Vec<OfferView>, Vec<AdView>, bool) {
    let Ok(client) = link::connect(home) else { return (Vec::new(), Vec::new(), false) };
    let asked = super::super::wait(async {
        let offers = client.node().await?.provider.map_or_else(Vec::new, |provider| provider.offers);
        let ads = client.market_ads().await?;
        Ok((offers, ads))
    });
    asked.map_or((Vec::new(), Vec::new(), false), |(offers, ads)| (offers, ads, true))
}

/// What is for sale: what the running node sells, else what was measured here.
fn goods(config: &Config, book: &SpeedBook, offers: &[OfferView]) -> Vec<Good> {
    let measured = book.rows();
    let speed = |kind: JobKind, model: Option<&str>| {
        let same =
            measured.iter().filter(|row| row.track.kind == kind && row.track.model.as_deref() == model);
        same.max_by_key(|row| row.speed.runs).map(|row| row.speed)
    };
    let good = |kind, model: Option<&str>, now| Good {
        kind,
        model: model.map(str::to_owned),
        speed: speed(kind, model),
        now,
    };
    let mut goods = Vec::new();
    for offer in offers {
        let rule = |base, per_kib, per_1000_output| Now { base, per_kib, per_1000_output };
        if offer.models.is_empty() {
            goods.push(good(offer.kind, None, rule(offer.base_msat, offer.per_kib_msat, 0)));
        }
        goods.extend(offer.models.iter().map(|model| {
            let now = rule(model.base_msat, model.per_kib_msat, model.per_1000_output_msat);
            good(offer.kind, Some(&model.name), now)
        }));
    }
    if offers.is_empty() {
        for row in &measured {
            let Track { kind, model, .. } = &row.track;
            if !goods.iter().any(|good: &Good| good.kind == *kind && good.model == *model) {
                let now = config.provider.price(*kind, model.as_deref(), None).into();
                goods.push(good(*kind, model.as_deref(), now));
            }
        }
    }
    goods
}

fn report(config: &Config, costs: Costs, found: &[Suggestion], ads: &[AdView], node: bool) -> String {
    let energy = match costs.msat_per_second {
        Some(cost) => format!(
            "{} W at {} {} a kWh, {} msat each: {cost:.4} msat a second; asked: {} percent of that",
            config.energy.watts,
            config.energy.price_per_kwh,
            one_line(&config.energy.currency, 12),
            config.energy.msat_per_unit,
            costs.margin_percent
        ),
        None => "unknown; set energy.watts, energy.price_per_kwh and energy.msat_per_unit".into(),
    };
    let market = match (node, ads.len()) {
        (false, _) => "unknown; no node runs here that could ask its relays".into(),
        (true, 0) => "no advertisement of another provider on the relays".into(),
        (true, count) => {
            format!("{count} advertisements of others; quarter, half and three quarters of them")
        }
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let heading = ["kind", "model", "made/s", "energy/1000", "market", "now", "suggested"];
    let mut text = format!(
        "energy  {energy}\nmarket  {market}\nprices are of one KiB read and 512 tokens written, in msat\n\n{}",
        table(&heading, &rows)
    );
    let commands: Vec<String> = found.iter().filter_map(command).collect();
    if commands.is_empty() {
        text.push_str("\n\nnothing is known to make a price of");
    } else {
        text.push_str(&format!("\n\nto take them:\n  {}", commands.join("\n  ")));
    }
    text
}

fn row(it: &Suggestion) -> Vec<String> {
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "?".into());
    let market = it.market.map(|m| format!("{} {} {}", m.low_msat, m.median_msat, m.high_msat));
    vec![
        it.kind.to_string(),
        it.model.as_deref().map_or_else(|| "-".into(), |name| one_line(name, 40)),
        or_unknown(it.per_second.map(|speed| format!("{speed:.1} ({})", it.runs))),
        or_unknown(it.energy_msat_per_1000.map(|cost| format!("{cost:.2}"))),
        or_unknown(market),
        it.now_msat.to_string(),
        or_unknown(it.usual_msat.map(|msat| msat.to_string())),
    ]
}

/// The command that takes a suggestion.
fn command(it: &Suggestion) -> Option<String> {
    let model = it.model.as_ref().map(|name| format!(" --model {}", quoted(name))).unwrap_or_default();
    let (base, per_kib, per_1000) = (it.base_msat?, it.per_kib_msat?, it.per_1000_output_msat?);
    let tokens = if per_1000 > 0 { format!(" --per-1000-output-msat {per_1000}") } else { String::new() };
    let kind = it.kind;
    Some(format!(
        "openagents provider price set --kind {kind}{model} --base-msat {base} --per-kib-msat {per_kib}{tokens}"
    ))
}

/// A word as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:/".contains(c));
    if plain && !name.is_empty() {
        name.into()
    } else {
        format!("'{}'", one_line(name, 200).replace('\'', "'\\''"))
    }
}

fn set(global: &Global, home: &Home, args: &SetArgs) -> anyhow::Result<Exit> {
    let path = home.config_file();
    let text = if path.exists() { std::fs::read_to_string(&path)? } else { String::new() };
    write_private(&path, with_price(&text, args)?.as_bytes())?;
    if let Err(error) = Config::load(home) {
        write_private(&path, text.as_bytes())?;
        return Err(error.into());
    }
    if global.json {
        show::json(
            &json!({ "schema_version": SCHEMA_VERSION, "kind": args.kind, "model": args.model, "base_msat": args.base_msat,
            "per_kib_msat": args.per_kib_msat, "per_1000_output_msat": args.per_1000_output_msat,
            "per_second_msat": args.per_second_msat }),
        )?;
    } else {
        show::line(&format!("written into {}", path.display()))?;
    }
    if home.running_app().is_some() {
        show::talk("the running node uses it from its next start on");
    }
    Ok(Exit::Ok)
}

/// The settings with this price in the place of an earlier one; every other line stays as its owner wrote it.
fn with_price(text: &str, args: &SetArgs) -> anyhow::Result<String> {
    let mut settings: DocumentMut = text.parse()?;
    let provider = settings.entry("provider").or_insert_with(implicit);
    let broken = || {
        Failure::usage(
            "provider.price in config.toml is no list of tables",
            "mend it with `openagents config edit`",
        )
    };
    let provider = provider.as_table_mut().ok_or_else(broken)?;
    let prices = provider.entry("price").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let prices = prices.as_array_of_tables_mut().ok_or_else(broken)?;
    let is_it = |price: &Table| {
        let same_kind = price.get("kind").and_then(Item::as_integer) == Some(args.kind.get().into());
        let same_model = price.get("model").and_then(Item::as_str) == args.model.as_deref();
        same_kind && same_model
    };
    // What is not named stays as it was.
    let mut price = prices.iter().find(|price| is_it(price)).cloned().unwrap_or_default();
    prices.retain(|price| !is_it(price));
    price["kind"] = value(i64::from(args.kind.get()));
    if let Some(model) = &args.model {
        price["model"] = value(model);
    }
    for (name, msat) in [
        ("base_msat", Some(args.base_msat)),
        ("per_kib_msat", args.per_kib_msat),
        ("per_1000_output_msat", args.per_1000_output_msat),
        ("per_second_msat", args.per_second_msat),
    ] {
        if let Some(msat) = msat {
            price[name] = value(i64::try_from(msat)?);
        }
    }
    prices.push(price);
    Ok(settings.to_string())
}

fn implicit() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn args(model: Option<&str>, base_msat: u64) -> SetArgs {
        SetArgs {
            kind: JobKind::TEXT_GENERATION,
            model: model.map(str::to_owned),
            base_msat,
            per_kib_msat: None,
            per_1000_output_msat: Some(7),
            per_second_msat: None,
        }
    }

    #[test]
    fn a_price_takes_the_place_of_the_earlier_and_of_nothing_else() {
        let text = "# mine\n[provider]\nslots = 3 # enough\n\n[[provider.price]]\nkind = 5050\nmodel = \"a\"\nbase_msat = 1\n";
        let text = with_price(text, &args(None, 2)).unwrap();
        let text = with_price(&text, &args(Some("a"), 3)).unwrap();
        let text = with_price(&text, &args(None, 4)).unwrap();
        assert!(text.starts_with("# mine\n[provider]\nslots = 3 # enough\n"), "{text}");
        let config: Config = toml::from_str(&text).unwrap();
        let base = |model| config.provider.price(JobKind::TEXT_GENERATION, model, None).base.get();
        assert_eq!((base(None), base(Some("a")), config.provider.price.len()), (4, 3, 2), "{text}");
        let kept =
            with_price(&text.replace("base_msat = 4", "base_msat = 4\nper_kib_msat = 10"), &args(None, 5));
        assert!(kept.unwrap().contains("per_kib_msat = 10"), "what is not named stays");
        assert!(toml::from_str::<Config>(&with_price("", &args(None, 0)).unwrap()).is_ok());
        assert!(with_price("provider = 3", &args(None, 1)).is_err());
    }

    #[test]
    fn a_command_can_be_pasted_whatever_a_model_is_called() {
        assert_eq!(quoted("qwen3:8b"), "qwen3:8b");
        assert_eq!(quoted("a b'; rm -rf ~"), "'a b'\\''; rm -rf ~'");
    }
}
