//! Lays flags over the environment over the file over the defaults, and remembers who said what.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{Config, ConfigError};

/// The variables that set something, and what. Lists are separated by commas.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("OPENAGENTS_LISTEN", "listen"),
    ("OPENAGENTS_RELAYS", "relays"),
    ("OPENAGENTS_ALLOW_PRIVATE_URLS", "allow_private_urls"),
    ("OPENAGENTS_PROVIDER_NAME", "provider.name"),
    ("OPENAGENTS_PROVIDER_FREE", "provider.free"),
    ("OPENAGENTS_PROVIDER_SLOTS", "provider.slots"),
];

/// Who decided a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Nobody: it is the default.
    Default,
    /// `config.toml`.
    File,
    /// The environment variable.
    Env(&'static str),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Env(name) => f.write_str(name),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Who decided each value.
#[derive(Clone, Debug)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Who decided this setting, such as `provider.slots`; `None` if there is no such setting.
    pub fn of(&self, key: &str) -> Option<Origin> {
        self.0.get(key).copied()
    }

    /// All settings, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Origin)> {
        self.0.iter().map(|(key, origin)| (key.as_str(), *origin))
    }
}

/// A configuration as a table.
pub(super) fn table(config: &Config) -> Table {
    Table::try_from(config).unwrap_or_default()
}

/// Every setting in a table, by its dotted name. Lists are one setting each.
pub(super) fn leaves(table: &Table) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect(table, "", &mut found);
    found
}

fn collect(table: &Table, prefix: &str, found: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => collect(inner, &format!("{key}."), found),
            leaf => drop(found.insert(key, leaf.clone())),
        }
    }
}

/// All layers in one.
pub(super) fn merge(
    path: &Path,
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
    flags: &[(&str, &str)],
) -> Result<(Config, Origins), ConfigError> {
    let defaults = table(&Config::default());
    let from_file: Config = toml::from_str(text).map_err(|error| {
        let meant = text.parse().ok().and_then(|file| stranger(&file, &defaults, ""));
        let hint = meant.map(|key| format!("did you mean `{key}`?")).unwrap_or_default();
        let reason = match wanted(text, &error, &defaults) {
            Some(words) => error.to_string().replace(error.message(), &words),
            None => error.to_string(),
        };
        ConfigError::Invalid { path: path.to_path_buf(), reason: format!("{reason}{hint}") }
    })?;
    let mut origins: BTreeMap<String, Origin> =
        leaves(&defaults).into_keys().map(|key| (key, Origin::Default)).collect();
    for key in leaves(&text.parse().unwrap_or_default()).into_keys() {
        origins.insert(key, Origin::File);
    }
    let mut merged = Merged { table: table(&from_file), config: from_file, defaults, origins };
    for (name, key) in ENVIRONMENT {
        if let Some(value) = variable(name) {
            merged.set(key, &value, Origin::Env(name))?;
        }
    }
    for (key, value) in flags {
        merged.set(key, value, Origin::Flag)?;
    }
    Ok((merged.config, Origins(merged.origins)))
}

struct Merged {
    config: Config,
    table: Table,
    defaults: Table,
    origins: BTreeMap<String, Origin>,
}

impl Merged {
    fn set(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let refused =
            |reason: String| ConfigError::Value { key: key.into(), value: text.into(), origin, reason };
        let Some(usual) = leaves(&self.defaults).remove(key) else {
            let hint = nearest(key, leaves(&self.defaults).keys());
            return Err(refused(format!("there is no such setting; did you mean `{hint}`?")));
        };
        let value = read(&usual, text).ok_or_else(|| refused(format!("it must be {}", in_words(&usual))))?;
        put(&mut self.table, key, value);
        self.config = Config::deserialize(self.table.clone()).map_err(|error| {
            let words = expected(error.message()).map(|kind| format!("it must be {}", example(kind, &usual)));
            refused(words.unwrap_or_else(|| error.message().into()))
        })?;
        self.origins.insert(key.into(), origin);
        Ok(())
    }
}

/// What a key of the file wants, where it has a value of another type; `None` for other errors.
fn wanted(text: &str, error: &toml::de::Error, defaults: &Table) -> Option<String> {
    let kind = expected(error.message())?;
    let key = key_at(text, error.span()?.start);
    let usual = leaves(defaults).remove(&key).unwrap_or(Value::Integer(10));
    Some(format!("{key} must be {}", example(kind, &usual)))
}

/// What serde expected, in its words: behind `invalid type: string "x", expected usize`.
fn expected(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    rest.rsplit_once(", expected ").map(|(_, kind)| kind.trim())
}

/// The dotted name of the key in whose line a byte of the file is.
fn key_at(text: &str, at: usize) -> String {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let is_header = |line: &&str| line.starts_with('[');
    let section = |line: &str| line.trim_matches(['[', ']']).trim().to_owned();
    if is_header(&line.trim()) {
        return section(line.trim());
    }
    let name = line.split('=').next().unwrap_or_default().trim();
    let before = text.get(..start).unwrap_or_default();
    match before.lines().map(str::trim).rfind(is_header) {
        Some(header) => format!("{}.{name}", section(header)),
        None => name.to_owned(),
    }
}

/// A type in words, with the default as example if that is of this type.
fn example(kind: &str, usual: &Value) -> String {
    match (kind, usual) {
        ("u8" | "u16" | "u32" | "u64" | "usize", Value::Integer(_)) => in_words(usual),
        ("u8" | "u16" | "u32" | "u64" | "usize", _) => "a whole number, such as 10".into(),
        ("i8" | "i16" | "i32" | "i64", _) => "a whole number, such as 10 or -10".into(),
        ("f32" | "f64", _) => "a number, such as 0.5".into(),
        ("a boolean", _) => "true or false".into(),
        ("a string" | "path string", _) => "text in quotes, such as \"name\"".into(),
        ("a sequence", Value::Array(_)) => in_words(usual),
        ("a sequence", _) => "a list, such as [\"a\", \"b\"]".into(),
        (kind, _) if kind.starts_with("struct ") => "a section of its own, with a key on each line".into(),
        (other, _) => other.into(),
    }
}

/// The type of a setting in words, with its default as example.
fn in_words(usual: &Value) -> String {
    match usual {
        Value::Integer(number) => format!("a whole number, such as {number}"),
        Value::Float(number) => format!("a number, such as {number:?}"),
        Value::Boolean(_) => "true or false".into(),
        Value::Array(items) if !items.is_empty() => format!("a list, such as {usual}"),
        Value::Array(_) => "a list, such as [\"a\", \"b\"]".into(),
        Value::String(text) => format!("text, such as {text:?}"),
        Value::Table(_) => "a section of its own, with a key on each line".into(),
        Value::Datetime(_) => "a time".into(),
    }
}

/// Reads a text as a value of the same type as `usual`.
fn read(usual: &Value, text: &str) -> Option<Value> {
    match usual {
        Value::String(_) => Some(Value::String(text.into())),
        Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
        Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(|item| Value::String(item.into())).collect()))
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.into(), value)),
        Some((name, rest)) => {
            if let Value::Table(inner) = table.entry(name).or_insert_with(|| Value::Table(Table::new())) {
                put(inner, rest, value);
            }
        }
    }
}

/// What was meant by the first key that is no setting.
fn stranger(table: &Table, known: &Table, prefix: &str) -> Option<String> {
    table.iter().find_map(|(name, value)| match (known.get(name), value) {
        (None, _) => Some(format!("{prefix}{}", nearest(name, known.keys()))),
        (Some(Value::Table(known)), Value::Table(inner)) => {
            stranger(inner, known, &format!("{prefix}{name}."))
        }
        _ => None,
    })
}

/// The key that takes the fewest changes to become.
fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> String {
    known.min_by_key(|known| changes(key, known)).cloned().unwrap_or_default()
}

/// How many letters must be added, dropped or replaced (Levenshtein 1966).
fn changes(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn the_environment_stands_between_the_file_and_the_flags() {
        let variable = |name: &str| match name {
            "OPENAGENTS_PROVIDER_SLOTS" => Some("5".into()),
            "OPENAGENTS_PROVIDER_NAME" => Some("from the environment".into()),
            _ => None,
        };
        let file = "[provider]\nslots = 3\nname = \"from the file\"\n";
        let (config, origins) =
            merge(Path::new("config.toml"), file, variable, &[("provider.slots", "9")]).unwrap();
        assert_eq!((config.provider.slots, config.provider.name.as_str()), (9, "from the environment"));
        assert_eq!(origins.of("provider.name"), Some(Origin::Env("OPENAGENTS_PROVIDER_NAME")));
        assert_eq!(origins.of("provider.slots"), Some(Origin::Flag));
    }

    #[test]
    fn a_value_of_another_type_is_told_in_words_with_an_example() {
        for (text, words) in [
            (
                "[provider]\n\nslots = \"three\"\n",
                ["line 3", "provider.slots must be a whole number, such as 2"],
            ),
            ("[provider]\nslots = -3\n", ["line 2", "provider.slots must be a whole number"]),
            ("[provider]\nfree = 1\n", ["line 2", "provider.free must be true or false"]),
            (
                "relays = \"wss://a\"\n",
                ["line 1", "relays must be a list, such as [\"wss://relay.damus.io\""],
            ),
            ("[provider]\nname = 3\n", ["line 2", "provider.name must be text in quotes"]),
            ("provider = 3\n", ["line 1", "provider must be a section"]),
            ("[energy]\nprice_per_kwh = \"much\"\n", ["line 2", "energy.price_per_kwh must be a number"]),
            (
                "[[provider.price]]\nkind = 5050\nbase_msat = 1.5\n",
                ["line 3", "provider.price.base_msat must be a whole number, such as 10"],
            ),
            ("[[backend.ollama]]\nmodels = \"m\"\n", ["line 2", "backend.ollama.models must be a list"]),
        ] {
            let error = merge(Path::new("config.toml"), text, |_| None, &[]).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
            assert!(!error.contains("expected") && !error.contains("invalid type"), "{text}: {error}");
        }
        let variable = |name: &str| (name == "OPENAGENTS_PROVIDER_SLOTS").then(|| "-1".into());
        let error = merge(Path::new("config.toml"), "", variable, &[]).unwrap_err().to_string();
        assert!(
            error.contains("OPENAGENTS_PROVIDER_SLOTS") && error.contains("a whole number, such as 2"),
            "{error}"
        );
    }

    #[test]
    fn every_variable_sets_a_setting_that_exists() {
        let known = leaves(&table(&Config::default()));
        assert!(ENVIRONMENT.iter().all(|(_, key)| known.contains_key(*key)));
    }
}
