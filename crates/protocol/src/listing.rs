//! Whether viewers show an advertisement, and how well, from what a relay holds of its provider.
//!
//! The rules are those of the programs that list providers today: a mobile client that hides whoever has no
//! heartbeat of the last 15 minutes and whatever is older than 90 days, and the framework whose providers most of
//! the network runs, which reads the content as JSON and takes names and spellings as it writes them itself.

use openagents_types::{JobKind, Millis, Timestamp};
use serde_json::Value;

use crate::{
    Verified,
    ad::KIND,
    heartbeat::{self, STALE_AFTER},
    tags::{self, Raw},
};

/// What is older is not listed.
const OLDEST: Millis = Millis::from_secs(90 * 24 * 3_600);

/// How far ahead of our clock others may be.
const AHEAD: Millis = Millis::from_secs(900);

/// What is wrong with an advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whether nobody sees it because of this.
    pub hides: bool,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: &'static str,
}

/// Mended by writing it anew.
const PUBLISH: &str = "publish it again: openagents provider ads publish";
/// Mended in the settings.
const SETTINGS: &str =
    "set name and about under [provider] (openagents config edit), then start the node again";
/// Mended by a node that runs.
const ALIVE: &str = "keep the node running with `openagents up`, and see that the relay takes its events";

/// What is wrong with `ad`, as one relay holds it beside `beats`, the heartbeats of its provider. Nothing wrong means
/// that it is shown whole.
pub fn check(ad: &Verified, beats: &[Verified], now: Timestamp) -> Vec<Fault> {
    let found = tags::from_tags(ad.event().tags.iter());
    let mut faults = Faults::default();
    faults.addressed(ad, &found);
    faults.dated(ad, &found, now);
    faults.worded(&ad.event().content);
    faults.alive(ad, &found, beats, now);
    faults.0
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn hides(&mut self, what: impl Into<String>, mend: &'static str) {
        self.0.push(Fault { hides: true, what: what.into(), mend });
    }

    fn spoils(&mut self, what: impl Into<String>, mend: &'static str) {
        self.0.push(Fault { hides: false, what: what.into(), mend });
    }

    fn addressed(&mut self, ad: &Verified, found: &[Raw]) {
        if ad.event().kind.as_u16() != KIND {
            self.hides("it is no advertisement (kind 31990)", PUBLISH);
        }
        if tags::first(found, tags::IDENTIFIER).is_none_or(str::is_empty) {
            self.hides("it has no `d` tag, so it cannot be addressed or replaced", PUBLISH);
        }
        let kinds: Vec<&String> = tags::all(found, tags::KIND).flatten().collect();
        match kinds.as_slice() {
            [] => self.hides("it has no `k` tag, so no list of a kind of jobs has it", PUBLISH),
            [one] if one.parse::<JobKind>().is_ok() => {}
            [one] => self.hides(format!("its `k` tag {one:?} is no kind of jobs"), PUBLISH),
            _ => self.spoils("it has several `k` tags; some viewers read only the first", PUBLISH),
        }
        if tags::first(found, tags::RELAYS).is_none() {
            self.spoils(
                "it names no relays, so customers guess where to ask",
                "add one: openagents relay add wss://…",
            );
        }
    }

    fn dated(&mut self, ad: &Verified, found: &[Raw], now: Timestamp) {
        let at = Timestamp::from_secs(ad.event().created_at.as_secs());
        if now.since(at) > OLDEST {
            self.hides("it is older than 90 days", PUBLISH);
        }
        if at.since(now) > AHEAD {
            self.hides("it is dated ahead of now", "set this machine's clock, then publish it again");
        }
        if expired(found, now) {
            self.hides("it has expired", PUBLISH);
        }
    }

    fn worded(&mut self, text: &str) {
        let Ok(Value::Object(content)) = serde_json::from_str(text) else {
            return self.hides("its content is no JSON object", PUBLISH);
        };
        let word = |name: &str| content.get(name).and_then(Value::as_str).unwrap_or_default().trim();
        if word("name").is_empty() {
            self.hides("it has no name", SETTINGS);
        }
        if word("about").is_empty() {
            self.spoils("it does not say what it does (`about`)", SETTINGS);
        }
        let amount = content.get("amount").map_or("", |amount| amount.as_str().unwrap_or_default());
        if !matches!(amount, "free" | "flexible") && amount.parse::<u64>().is_err() {
            self.spoils("`amount` is neither \"free\", \"flexible\" nor satoshis as text", PUBLISH);
        }
        for (one, other) in [
            ("picture", "image"),
            ("supportsEncryption", "encryptionSupported"),
            ("acceptsNutZaps", "cashuAccepted"),
        ] {
            if content.get(one) != content.get(other) {
                self.spoils(format!("`{one}` and `{other}`, two spellings of one thing, differ"), PUBLISH);
            }
        }
        let is_param = |param: &Value| param["required"].is_boolean() && param["values"].is_array();
        match content.get("nip90Params") {
            Some(Value::Object(params)) if params.values().all(is_param) => {}
            _ => self.spoils("`nip90Params` does not say of each parameter `required` and `values`", PUBLISH),
        }
    }

    fn alive(&mut self, ad: &Verified, found: &[Raw], beats: &[Verified], now: Timestamp) {
        let author = ad.event().pubkey;
        let own =
            |beat: &&Verified| beat.event().kind.as_u16() == heartbeat::KIND && beat.event().pubkey == author;
        let Some(last) = beats.iter().filter(own).max_by_key(|beat| beat.event().created_at) else {
            return self.hides("its provider has no heartbeat (kind 11998) here", ALIVE);
        };
        let tags = tags::from_tags(last.event().tags.iter());
        let at = Timestamp::from_secs(last.event().created_at.as_secs());
        if !heartbeat::is_live(at, now) || expired(&tags, now) {
            let what = format!("its provider's last heartbeat is not of the last {} s", STALE_AFTER.0 / 1000);
            return self.hides(what, ALIVE);
        }
        let named: Vec<&String> =
            tags::all(&tags, tags::IDENTIFIER).filter_map(|values| values.first()).collect();
        let identifier = tags::first(found, tags::IDENTIFIER).unwrap_or_default();
        if !named.is_empty() && !named.iter().any(|name| *name == identifier) {
            self.hides("its provider's heartbeat speaks for other advertisements", ALIVE);
        }
    }
}

fn expired(found: &[Raw], now: Timestamp) -> bool {
    let at = tags::first(found, tags::EXPIRATION).and_then(|text| text.parse().ok());
    at.is_some_and(|at: u64| at <= now.secs())
}
