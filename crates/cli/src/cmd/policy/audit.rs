//! `openagents policy audit`: the checks that this node has made, from the running node or from its database.

use clap::{Args, Subcommand};
use openagents_api::{AuditQuery, AuditView, Cleared, Client};
use openagents_node::{
    home::{Home, Lock},
    store::{Reader, Store},
};

use crate::{args::Global, exit::Exit, link, show, tables::now_ms};

/// Checks that are read at once.
const PAGE: u32 = 5_000;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Print the checks, oldest first; nothing in them is a job's text
    #[command(before_help = "Examples:\n  openagents policy audit export --since 7d > checks.jsonl\n  \
        openagents policy audit export --csv > checks.csv")]
    Export(ExportArgs),
    /// Forget all checks
    Clear,
}

/// How to print them.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// One JSON object a line (the default)
    #[arg(long)]
    jsonl: bool,
    /// A table with commas, for spreadsheets
    #[arg(long, conflicts_with = "jsonl")]
    csv: bool,
    /// Only those since then: `90s`, `30m`, `24h`, `7d`, or seconds since 1970
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
}

/// A beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// So many seconds ago.
    Ago(u64),
    /// So many seconds after the beginning of 1970.
    At(u64),
}

fn since(text: &str) -> Result<Since, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: Option<u64> = number.parse().ok();
    let unit = match unit {
        "" => return number.map(Since::At).ok_or_else(|| "it is empty".into()),
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    let ago = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit)).map(Since::Ago);
    ago.ok_or_else(|| "give a span such as 24h or 7d, or seconds since 1970".into())
}

/// Where the checks are.
enum Source {
    Node(Client),
    Home(Box<Idle>),
    /// No node ever ran here.
    Nothing,
}

/// The database of a home that nobody else uses meanwhile.
struct Idle {
    reader: Reader,
    store: Store,
    _lock: Lock,
}

impl Source {
    fn open(home: &Home) -> anyhow::Result<Self> {
        if home.running_app().is_some() {
            return Ok(Self::Node(link::connect(home)?));
        }
        let path = home.data_file("node.db");
        if !path.exists() {
            return Ok(Self::Nothing);
        }
        let lock = home.lock()?;
        // An older database is brought to the newest schema first.
        let store = Store::open(&path)?;
        Ok(Self::Home(Box::new(Idle { reader: Reader::open(&path)?, store, _lock: lock })))
    }

    async fn page(&self, since: u64, after: i64) -> anyhow::Result<Vec<AuditView>> {
        Ok(match self {
            Self::Node(client) => client.audit(&AuditQuery { since, after, limit: Some(PAGE) }).await?,
            Self::Home(idle) => {
                idle.reader.audit(since, after, PAGE)?.into_iter().map(AuditView::from).collect()
            }
            Self::Nothing => Vec::new(),
        })
    }

    async fn clear(&mut self) -> anyhow::Result<Cleared> {
        Ok(match self {
            Self::Node(client) => client.clear_audit().await?,
            Self::Home(idle) => Cleared { cleared: idle.store.clear_audit()? },
            Self::Nothing => Cleared { cleared: 0 },
        })
    }
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Audit) -> anyhow::Result<Exit> {
    let mut source = Source::open(&link::home(global)?)?;
    super::super::wait(async {
        match command {
            Audit::Export(args) => export(args, &source).await,
            Audit::Clear => {
                let cleared = source.clear().await?;
                if global.json {
                    show::json(&cleared)?;
                } else {
                    show::line(&format!("{} checks forgotten", cleared.cleared))?;
                }
                Ok(Exit::Ok)
            }
        }
    })
}

async fn export(args: &ExportArgs, source: &Source) -> anyhow::Result<Exit> {
    let since = match args.since {
        None => 0,
        Some(Since::At(second)) => second,
        Some(Since::Ago(seconds)) => (now_ms() / 1_000).saturating_sub(seconds),
    };
    if args.csv {
        show::line("time,side,kind,result,category,reason,content")?;
    }
    let mut after = 0;
    loop {
        let page = source.page(since, after).await?;
        let Some(last) = page.last() else { return Ok(Exit::Ok) };
        after = last.seq;
        for check in &page {
            if args.csv {
                show::line(&row(check))?;
            } else {
                show::json(check)?;
            }
        }
    }
}

/// A line of a table. Only the reason may hold commas or quotes; the other fields are words and numbers of ours.
fn row(check: &AuditView) -> String {
    let AuditView { time, kind, result, content, .. } = check;
    let (side, category) = (check.side.word(), check.category.as_deref().unwrap_or_default());
    let reason = check.reason.replace('"', "\"\"");
    format!("{time},{side},{kind},{result},{category},\"{reason}\",{content}")
}

#[cfg(test)]
mod tests {
    use openagents_api::Side;

    use super::*;

    #[test]
    fn a_beginning_is_a_span_or_a_second() {
        for (text, expected) in [
            ("90s", Some(Since::Ago(90))),
            ("24h", Some(Since::Ago(86_400))),
            ("7d", Some(Since::Ago(604_800))),
            ("1764000000", Some(Since::At(1_764_000_000))),
            ("", None),
            ("d", None),
            ("7 d", None),
            ("-1h", None),
            ("99999999999999999999d", None),
            ("yesterday", None),
        ] {
            assert_eq!(since(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_line_of_a_table_keeps_its_columns_whatever_the_reason_says() {
        let check = AuditView {
            seq: 1,
            time: 2,
            side: Side::Sold,
            kind: 5050,
            result: "denied".into(),
            category: Some("fraud".into()),
            reason: "It is \"that\", and more.".into(),
            content: "0badcafe".into(),
        };
        assert_eq!(row(&check), "2,sold,5050,denied,fraud,\"It is \"\"that\"\", and more.\",0badcafe");
    }
}
