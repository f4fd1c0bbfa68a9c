//! `openagents identity`: the keys a node signs with. Secrets come in by pipe, file or unseen typing,
//! and never go out.

use clap::{Args, Subcommand};
use openagents_api::SCHEMA_VERSION;
use openagents_node::identity::{Identities, IdentityFile, Storage};
use serde_json::{Value, json};

use crate::{
    args::Global, exit::Exit, failure::Failure, link, secret::SecretSource, show, tables::table,
    text::one_line,
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Identity {
    /// Make a new key
    Create {
        /// What you call it
        #[arg(long, default_value = "default", value_name = "NAME", value_parser = name)]
        name: String,
    },
    /// Take a key you have: nsec1… or 64 hexadecimal digits
    #[command(before_help = "Examples:\n  openagents identity import --name old --file key.txt\n  \
        pass show nostr | openagents identity import --name old --stdin")]
    Import {
        /// What you call it
        #[arg(long, default_value = "imported", value_name = "NAME", value_parser = name)]
        name: String,
        /// Where the secret key is
        #[command(flatten)]
        secret: SecretSource,
    },
    /// All keys
    List,
    /// Sign with this key from the next start on
    Use {
        /// Its name, its npub, or a beginning of that
        which: String,
    },
    /// One key's public half
    Show {
        /// Its name, its npub, or a beginning of that [default: the one in use]
        which: Option<String>,
    },
    /// Choose what unlocks all keys of this home
    #[command(before_help = "Examples:\n  openagents identity protect --keyring\n  \
        OPENAGENTS_PASSPHRASE_FILE=~/passphrase openagents identity protect --passphrase")]
    Protect(Protection),
}

/// What unlocks the keys.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Protection {
    /// A random secret in the system's keyring: a copy of the home is worth nothing
    #[arg(long)]
    keyring: bool,
    /// The same secret in a file beside the keys: a copy of the home is worth the keys
    #[arg(long)]
    file: bool,
    /// The passphrase in OPENAGENTS_PASSPHRASE_FILE, which every start then needs
    #[arg(long)]
    passphrase: bool,
}

impl Protection {
    /// The group has let exactly one through.
    const fn storage(&self) -> Storage {
        match (self.keyring, self.file) {
            (true, _) => Storage::Keyring,
            (_, true) => Storage::DeviceKey,
            _ => Storage::Passphrase,
        }
    }
}

/// Does it.
pub(crate) fn run(global: &Global, command: &Identity) -> anyhow::Result<Exit> {
    let home = link::home(global)?;
    let all = Identities::new(&home);
    match command {
        Identity::Create { name } => {
            free_name(&all, name)?;
            let npub = all.create(name)?.npub();
            one(global, &all, &all.find(&npub)?)
        }
        Identity::Import { name, secret } => {
            free_name(&all, name)?;
            let npub = all.import(&secret.read("the secret key")?, name)?.npub();
            one(global, &all, &all.find(&npub)?)
        }
        Identity::List => list(global, &all),
        Identity::Use { which } => one(global, &all, &all.select(which)?),
        Identity::Show { which } => {
            let which = which.clone().or_else(|| all.active_npub()).ok_or_else(none_yet)?;
            one(global, &all, &all.find(&which)?)
        }
        Identity::Protect(by) => protect(global, &all, by.storage()),
    }
}

fn protect(global: &Global, all: &Identities<'_>, by: Storage) -> anyhow::Result<Exit> {
    all.protect(by)?;
    if global.json {
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "storage": by }))?;
    } else {
        show::line(match by {
            Storage::Keyring => "the keys of this home are now unlocked by a secret in the system's keyring",
            Storage::DeviceKey => "the keys of this home are now unlocked by device.key beside them",
            Storage::Passphrase => "the keys of this home are now unlocked by your passphrase alone",
        })?;
    }
    Ok(Exit::Ok)
}

/// A name that can be seen and typed again.
fn name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a name has at least one letter".into()),
        name if name.chars().any(char::is_control) => Err("a name has no control characters".into()),
        name => Ok(name.into()),
    }
}

/// Two identities of one name could not be told apart by it.
fn free_name(all: &Identities<'_>, name: &str) -> anyhow::Result<()> {
    if all.list()?.iter().any(|file| file.name == name) {
        let what = format!("there is an identity named {:?} already", one_line(name, 60));
        return Err(Failure::usage(what, "choose another with --name").into());
    }
    Ok(())
}

fn none_yet() -> Failure {
    Failure::new(Exit::Auth, "there is no identity yet", "make one with `openagents identity create`")
}

fn list(global: &Global, all: &Identities<'_>) -> anyhow::Result<Exit> {
    let (files, active) = (all.list()?, all.active_npub());
    if global.json {
        let identities: Vec<Value> = files.iter().map(|file| view(all, file, active.as_deref())).collect();
        show::json(&json!({ "schema_version": SCHEMA_VERSION, "identities": identities }))?;
        return Ok(Exit::Ok);
    }
    if files.is_empty() {
        show::talk("no identities yet; make one with `openagents identity create`");
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = files
        .iter()
        .map(|file| {
            let mark = if active.as_deref() == Some(&file.npub) { "yes" } else { "" };
            vec![one_line(&file.name, 30), mark.into(), file.npub.clone()]
        })
        .collect();
    show::line(&table(&["name", "used", "npub"], &rows))?;
    Ok(Exit::Ok)
}

fn one(global: &Global, all: &Identities<'_>, file: &IdentityFile) -> anyhow::Result<Exit> {
    let active = all.active_npub();
    if global.json {
        let mut view = view(all, file, active.as_deref());
        view["schema_version"] = SCHEMA_VERSION.into();
        show::json(&view)?;
        return Ok(Exit::Ok);
    }
    let used = if active.as_deref() == Some(&file.npub) { "used" } else { "not used" };
    show::line(&format!("{}  {}  {used}", file.npub, one_line(&file.name, 30)))?;
    Ok(Exit::Ok)
}

fn view(all: &Identities<'_>, file: &IdentityFile, active: Option<&str>) -> Value {
    json!({
        "name": file.name,
        "npub": file.npub,
        "created_at": file.created_at.saturating_mul(1000),
        "active": active == Some(file.npub.as_str()),
        // Nothing is known of a damaged file.
        "storage": all.storage(file).ok(),
    })
}
