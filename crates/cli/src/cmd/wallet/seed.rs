//! `openagents wallet seed`: the words from which a wallet of this node can be made again.

mod paper;
mod screen;
mod typing;

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use openagents_api::{SCHEMA_VERSION, SeedView, SeedsView};
use openagents_node::{
    home::Home,
    identity::Storage,
    seeds::{self, Kept, Proof, Replace, SeedError, SeedStatus, Seeds},
};
use openagents_seed::{Mnemonic, Passphrase, Quiz, WordCount, backup};
use openagents_types::Network;
use serde_json::json;
use zeroize::Zeroizing;

use self::screen::{Heard, Screen};
use crate::{
    args::Global,
    exit::Exit,
    failure::Failure,
    link,
    secret::{PassphraseSource, PasswordSource, SecretSource},
    show,
    tables::{ago, now_ms, table},
};

/// How often the quiz may be tried in one call, each time about other words.
const ATTEMPTS: usize = 3;

/// What a seed is for, said when one is made, so that nobody takes it for the seed of a wallet they connected.
const PURPOSE: &str = "it is for a wallet that this node keeps itself: a Lightning node of its own, or one on Spark \
                       (docs/wallets.md). A wallet connected with `openagents wallet connect` has a seed of its own, \
                       elsewhere";

/// What is to be known of a passphrase, said when a seed gets one.
const BESIDE: &str = "the passphrase belongs to the words: without it they open nothing, and no command shows it. Keep it \
                      apart from them";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Seed {
    /// Make a new seed; its words are not shown
    Create(CreateArgs),
    /// Show the words, one by one
    #[command(before_help = "Examples:\n  openagents wallet seed show\n  \
        openagents wallet seed show --paper sheet.html --blank   a sheet to write them on")]
    Show(ShowArgs),
    /// Prove that you have written the words down, or that a backup opens
    Verify(VerifyArgs),
    /// Take a seed you have: its words, or an encrypted backup
    #[command(
        before_help = "Examples:\n  openagents wallet seed restore                  asks for word after word\n  \
        openagents wallet seed restore --file words.txt\n  \
        openagents wallet seed restore --file seed.backup --password-file password.txt"
    )]
    Restore(RestoreArgs),
    /// Write an encrypted backup to a file
    Backup(BackupArgs),
    /// Which seeds there are, and whether they are backed up
    Status,
}

/// Whose money a seed keeps.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum NetworkName {
    Mainnet,
    Testnet,
    Signet,
    Regtest,
}

/// Which seed.
#[derive(Debug, Args)]
struct Which {
    /// The seed of this network: each has its own
    #[arg(long, value_enum, default_value = "mainnet", value_name = "NETWORK")]
    network: NetworkName,
}

impl Which {
    const fn network(&self) -> Network {
        match self.network {
            NetworkName::Mainnet => Network::Mainnet,
            NetworkName::Testnet => Network::Testnet,
            NetworkName::Signet => Network::Signet,
            NetworkName::Regtest => Network::Regtest,
        }
    }
}

/// How many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Words {
    #[value(name = "12")]
    Twelve,
    #[value(name = "24")]
    TwentyFour,
}

/// How to make one.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    which: Which,
    /// How many words
    #[arg(long, value_enum, default_value = "12", value_name = "N")]
    words: Words,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// Show the words at once
    #[arg(long)]
    show: bool,
    /// Put the seed that is there aside
    #[arg(long)]
    replace: bool,
}

/// How to show them.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// All words at once: one look, or one photograph, is enough to take the money
    #[arg(long)]
    all: bool,
    /// Print the words even if this is no terminal, for scripts
    #[arg(long, conflicts_with_all = ["paper", "all"])]
    force_stdout: bool,
    /// Write a sheet to print to this file
    #[arg(long, value_name = "FILE.html")]
    paper: Option<PathBuf>,
    /// Leave the lines of the sheet empty, to write on
    #[arg(long, requires = "paper")]
    blank: bool,
    /// Hide the words and unlock again after so many seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    lock_after: u64,
}

/// What to prove.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    which: Which,
    /// That this backup opens and holds this seed, instead of a quiz about the words
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordSource,
}

/// What to restore.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    secret: SecretSource,
    #[command(flatten)]
    passphrase: PassphraseSource,
    #[command(flatten)]
    password: PasswordSource,
    /// Put the seed that is there aside
    #[arg(long)]
    replace: bool,
}

/// Where to write it.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    which: Which,
    /// A new file; it may lie anywhere, a cloud included
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    password: PasswordSource,
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Seed) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    match command {
        Seed::Create(args) => create(global, &home, args),
        Seed::Show(args) => show_words(global, &home, args),
        Seed::Verify(args) => verify(global, &home, args),
        Seed::Restore(args) => restore(global, &home, args),
        Seed::Backup(args) => write_backup(global, &home, args),
        Seed::Status => status(global, &home),
    }
}

/// Says on stderr which seeds are not backed up, one line each.
pub(crate) fn remind(home: &Home) {
    for seed in Seeds::new(home).all().unwrap_or_default() {
        if let Some(reminder) = reminder(&seed) {
            show::talk(&reminder);
        }
    }
}

/// What is to be said of a seed that nobody has shown to be backed up.
pub(crate) fn reminder(seed: &SeedStatus) -> Option<String> {
    let SeedStatus { network, fingerprint, .. } = seed;
    seed.verified.is_none().then(|| {
        format!(
            "the {network} seed {fingerprint} is not backed up: if this disk dies, its money is gone; \
             openagents wallet seed verify --network {network}"
        )
    })
}

const fn replacing(replace: bool) -> Replace {
    if replace { Replace::SetAside } else { Replace::Never }
}

fn create(global: &Global, home: &Home, args: &CreateArgs) -> anyhow::Result<Exit> {
    if args.show {
        needs_terminal("the words are shown on a terminal only", "leave out --show")?;
    }
    let count = if args.words == Words::Twelve { WordCount::Twelve } else { WordCount::TwentyFour };
    let network = args.which.network();
    let passphrase = args.passphrase.choose()?;
    let kept = Seeds::new(home).create(network, count, passphrase, replacing(args.replace))?;
    if global.json {
        return told_json(&kept);
    }
    let words = in_words(&kept.status);
    show::line(&format!("made a {network} seed of {words}: {}", kept.status.fingerprint))?;
    show::talk(PURPOSE);
    if kept.status.passphrase {
        show::talk(BESIDE);
    }
    old_one(&kept);
    if args.show {
        reveal(home, network, Duration::from_secs(120))?;
    }
    show::talk(&format!(
        "it is not backed up; write the words down (openagents wallet seed show --network {network}), then prove it \
         (openagents wallet seed verify --network {network})"
    ));
    Ok(Exit::Ok)
}

/// What a seed is made of.
fn in_words(seed: &SeedStatus) -> String {
    format!("{} words{}", seed.words, if seed.passphrase { " and a passphrase" } else { "" })
}

fn told_json(kept: &Kept) -> anyhow::Result<Exit> {
    show::json(&json!({
        "schema_version": SCHEMA_VERSION,
        "seed": SeedView::from(&kept.status),
        "set_aside": kept.set_aside,
    }))?;
    Ok(Exit::Ok)
}

fn old_one(kept: &Kept) {
    if let Some(path) = &kept.set_aside {
        show::talk(&format!("the seed before is kept, encrypted, in {}", path.display()));
    }
}

fn needs_terminal(what: &str, next: &str) -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage(what, next).into())
}

/// The seed, unlocked. Whoever sits at a terminal types the passphrase, however recently another command had it; without
/// one it is the file in `OPENAGENTS_PASSPHRASE_FILE`.
fn unlock(home: &Home, network: Network) -> anyhow::Result<backup::Content> {
    let seeds = Seeds::new(home);
    let status = seeds.status(network)?.ok_or(SeedError::Missing(network))?;
    if status.storage == Storage::Passphrase && std::io::stdin().is_terminal() {
        let typed = Zeroizing::new(rpassword::prompt_password("the passphrase of this home (not shown): ")?);
        return Ok(seeds.with_passphrase(typed).unlock(network)?);
    }
    Ok(seeds.unlock(network)?)
}

fn show_words(global: &Global, home: &Home, args: &ShowArgs) -> anyhow::Result<Exit> {
    let network = args.which.network();
    if Seeds::new(home).status(network)?.is_some_and(|seed| seed.passphrase) {
        show::talk("a passphrase belongs to these words; it is not shown");
    }
    if let Some(path) = &args.paper {
        return paper::write(home, network, path, args.blank);
    }
    if args.force_stdout {
        let content = unlock(home, network)?;
        if global.json {
            let words: Vec<&str> = content.mnemonic.words().collect();
            let passphrase = content.passphrase.is_some();
            show::json(&json!({
                "schema_version": SCHEMA_VERSION, "network": network, "words": words, "passphrase": passphrase,
            }))?;
        } else {
            show::line(&content.mnemonic.phrase())?;
        }
        return Ok(Exit::Ok);
    }
    needs_terminal(
        "the words are shown on a terminal only",
        "run this at a terminal, or add --force-stdout if a script has to have them",
    )?;
    let lock_after = Duration::from_secs(args.lock_after);
    if args.all { show_all(home, network, lock_after) } else { reveal(home, network, lock_after) }
}

/// Shows the words one after another, each for itself, and leaves none on the screen. After `lock_after` they are
/// hidden, and the seed is unlocked again.
fn reveal(home: &Home, network: Network, lock_after: Duration) -> anyhow::Result<Exit> {
    let mut content = unlock(home, network)?;
    let mut screen = Screen::open()?;
    screen.draw(
        "Whoever sees these words can take the money. Write them on paper, in order; no photograph, no file.\n\n\
         Enter shows the first word. Ctrl-C ends.",
    )?;
    let mut heard = screen.wait(lock_after)?;
    let mut place = 0;
    let mut begun = std::time::Instant::now();
    loop {
        match heard {
            Heard::Line(_) => {}
            Heard::Quiet => {
                drop(content);
                if !screen.draw("Locked. Enter unlocks the seed again. Ctrl-C ends.")?.is_told_to_go_on()? {
                    return Ok(Exit::Interrupted);
                }
                content = unlock(home, network)?;
                begun = std::time::Instant::now();
            }
            Heard::Stopped => return Ok(Exit::Interrupted),
        }
        let count = content.mnemonic.count().get();
        let Some(word) = content.mnemonic.words().nth(place) else { break };
        let next = if place + 1 == count { "Enter clears the screen." } else { "Enter shows the next." };
        screen.draw(&format!("word {} of {count}\n\n    {word}\n\n{next} Ctrl-C ends.", place + 1))?;
        heard = screen.wait(lock_after.saturating_sub(begun.elapsed()))?;
        if matches!(heard, Heard::Line(_)) {
            place += 1;
        }
    }
    drop(screen);
    show::talk(&format!(
        "shown; now prove what you wrote: openagents wallet seed verify --network {network}"
    ));
    Ok(Exit::Ok)
}

fn show_all(home: &Home, network: Network, lock_after: Duration) -> anyhow::Result<Exit> {
    let content = unlock(home, network)?;
    let mut screen = Screen::open()?;
    screen.draw(
        "All words at once: one look, one camera or one shared screen is enough to take the money.\n\n\
         Enter shows them. Ctrl-C ends.",
    )?;
    if !screen.is_told_to_go_on()? {
        return Ok(Exit::Interrupted);
    }
    let lines: Vec<String> = content
        .mnemonic
        .words()
        .enumerate()
        .map(|(place, word)| format!("{:>4}  {word}", place + 1))
        .collect();
    screen.draw(&format!("{}\n\nEnter clears the screen.", lines.join("\n")))?;
    let heard = screen.wait(lock_after)?;
    drop(screen);
    Ok(if matches!(heard, Heard::Stopped) { Exit::Interrupted } else { Exit::Ok })
}

fn verify(global: &Global, home: &Home, args: &VerifyArgs) -> anyhow::Result<Exit> {
    let network = args.which.network();
    let status = match &args.backup {
        Some(path) => {
            let text = text_of(path)?;
            let password = args.password.read("the password of the backup")?;
            Seeds::new(home).verify_backup(network, &text, &password)?
        }
        None => {
            needs_terminal(
                "the quiz needs somebody at a terminal",
                "run this at a terminal, or prove a backup with --backup FILE",
            )?;
            match quiz(home, network)? {
                Some(status) => status,
                None => return Ok(Exit::Interrupted),
            }
        }
    };
    let how = status.verified.map_or("", |verified| verified.by.word());
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "seed": SeedView::from(&status) }))?;
    } else {
        show::line(&format!("the {network} seed {} is backed up (shown by: {how})", status.fingerprint))?;
    }
    Ok(Exit::Ok)
}

/// Asks for words at random positions until they are right; `None` if the person went away.
fn quiz(home: &Home, network: Network) -> anyhow::Result<Option<SeedStatus>> {
    let content = unlock(home, network)?;
    // Before the screen, whose reader of the keyboard would take what is typed.
    if let Some(passphrase) = &content.passphrase {
        prove_passphrase(passphrase)?;
    }
    let mut screen = Screen::open()?;
    for attempt in 1..=ATTEMPTS {
        let quiz = Quiz::draw(content.mnemonic.count(), seeds::random());
        let again =
            if attempt == 1 { "" } else { "Not all of these were right. Look at your copy again.\n\n" };
        screen.draw(&format!(
            "{again}Your words are asked at {} positions. Type each as you wrote it down. Ctrl-C ends.\n",
            quiz.positions().len()
        ))?;
        let mut answers = Vec::new();
        for position in quiz.positions() {
            screen.say(&format!("word {position}: "))?;
            match screen.listen()? {
                Heard::Line(answer) => answers.push(answer),
                Heard::Quiet | Heard::Stopped => return Ok(None),
            }
        }
        let answers: Vec<&str> = answers.iter().map(|answer| answer.as_str()).collect();
        if quiz.is_passed(&content.mnemonic, &answers) {
            return Ok(Some(Seeds::new(home).note(&content, Proof::Quiz)?));
        }
    }
    Err(Failure::new(
        Exit::Auth,
        format!("not all words were right, {ATTEMPTS} times"),
        format!("compare your copy with the words: openagents wallet seed show --network {network}"),
    )
    .into())
}

/// Asks for the passphrase of the words until it is right.
fn prove_passphrase(passphrase: &Passphrase) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS {
        let typed = PassphraseSource::typed("the passphrase that belongs to the words")?;
        if Passphrase::new(&typed).as_ref() == Ok(passphrase) {
            return Ok(());
        }
        show::talk("this is not the passphrase");
    }
    Err(Failure::new(
        Exit::Auth,
        format!("the passphrase was not right, {ATTEMPTS} times"),
        "look at your copy of it; if it is lost, move the money to a new seed while this home still has this one",
    )
    .into())
}

fn restore(global: &Global, home: &Home, args: &RestoreArgs) -> anyhow::Result<Exit> {
    let (network, replace, seeds) = (args.which.network(), replacing(args.replace), Seeds::new(home));
    // Before anybody types two dozen words in vain; asked again when it is done.
    if let (Some(present), Replace::Never) = (seeds.status(network)?, replace) {
        show::talk(&format!(
            "there is a {network} seed here already ({}); another one is refused without --replace",
            present.fingerprint
        ));
    }
    drop(home.lock()?);
    let kept = if args.secret.is_given() || !std::io::stdin().is_terminal() {
        let text = args.secret.read("the words")?;
        if backup::is_backup(&text) {
            if args.passphrase.is_given() {
                let what = "a backup holds its passphrase itself";
                return Err(Failure::usage(what, "leave out --passphrase and --passphrase-file").into());
            }
            let password = args.password.read("the password of the backup")?;
            seeds.restore_backup(network, &text, &password, replace)?
        } else {
            seeds.restore(network, Mnemonic::parse(&text)?, args.passphrase.choose()?, replace)?
        }
    } else {
        needs_terminal("the words are typed at a terminal", "give them with --stdin or --file FILE")?;
        // Before the screen, whose reader of the keyboard would take what is typed.
        let passphrase = args.passphrase.choose()?;
        match typing::words(Screen::open()?)? {
            Some(mnemonic) => seeds.restore(network, mnemonic, passphrase, replace)?,
            None => return Ok(Exit::Interrupted),
        }
    };
    if global.json {
        return told_json(&kept);
    }
    show::line(&format!(
        "restored the {network} seed {} of {}",
        kept.status.fingerprint,
        in_words(&kept.status)
    ))?;
    if args.passphrase.is_given() {
        show::talk(
            "a passphrase with a slip in it makes another seed: compare the fingerprint with the one you noted",
        );
    }
    old_one(&kept);
    Ok(Exit::Ok)
}

fn text_of(path: &std::path::Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read {}: {error}", path.display()), "name a file that you can read")
            .into()
    })
}

fn write_backup(global: &Global, home: &Home, args: &BackupArgs) -> anyhow::Result<Exit> {
    let network = args.which.network();
    let content = unlock(home, network)?;
    let password = args.password.choose("a password for the backup")?;
    paper::write_new(&args.file, seeds::backup_text(&content, &password)?.as_bytes())?;
    let file = args.file.display();
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "file": args.file, "network": network }))?;
    } else {
        show::line(&format!("wrote an encrypted backup of the {network} seed to {file}"))?;
    }
    show::talk(&format!(
        "it is worth nothing without the password; prove both: openagents wallet seed verify --network {network} \
         --backup {file}"
    ));
    Ok(Exit::Ok)
}

fn status(global: &Global, home: &Home) -> anyhow::Result<Exit> {
    let all = Seeds::new(home).all()?;
    if global.json {
        let seeds = all.iter().map(SeedView::from).collect();
        show::json(&SeedsView { schema_version: SCHEMA_VERSION, seeds })?;
        return Ok(Exit::Ok);
    }
    if all.is_empty() {
        show::talk("no seed yet; make one with `openagents wallet seed create`");
        return Ok(Exit::Ok);
    }
    let now = now_ms();
    let backed_up = |seed: &SeedStatus| match seed.verified {
        Some(verified) => format!("{} ({})", ago(now, verified.at.saturating_mul(1000)), verified.by.word()),
        None => "NOT BACKED UP".into(),
    };
    let row = |seed: &SeedStatus| {
        let network = seed.network.to_string();
        let words = format!("{}{}", seed.words, if seed.passphrase { " and a passphrase" } else { "" });
        vec![network, seed.fingerprint.clone(), words, seed.storage.word().into(), backed_up(seed)]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    show::line(&table(&["network", "fingerprint", "words", "storage", "verified"], &rows))?;
    Ok(Exit::Ok)
}
