//! Who a provider is (kind 0) and on which relays it can be met (NIP-65, kind 10002): what viewers look up beside
//! an advertisement. Both carry our name, so that what another program wrote for the key is never overwritten.

use nostr::Keys;
use openagents_types::Timestamp;
use serde_json::{Value, json};

use crate::{
    Verified,
    tags::{self, make},
};

/// The kind of a profile.
pub const PROFILE: u16 = 0;

/// The kind of a relay list.
pub const RELAY_LIST: u16 = 10_002;

/// What marks an event as written by this program.
const OURS: &str = "openagents";

/// Who a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it does.
    pub about: String,
    /// The address of a picture; empty for none.
    pub picture: String,
    /// Where it is zapped, if it takes zaps.
    pub zaps: Option<ZapAddress>,
}

/// Where a provider is zapped, by either name that viewers look it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZapAddress {
    /// A Lightning address (`lud16`).
    Name(String),
    /// An LNURL in bech32 (`lud06`).
    Lnurl(String),
}

impl ZapAddress {
    /// Writes it into a profile, or what an advertisement says in place of one.
    pub(crate) fn write(&self, content: &mut Value) {
        match self {
            Self::Name(name) => content["lud16"] = name.clone().into(),
            Self::Lnurl(lnurl) => content["lud06"] = lnurl.clone().into(),
        }
    }

    /// Reads it; a name before an LNURL.
    pub(crate) fn read(content: &Value) -> Option<Self> {
        let short =
            |name: &str| content[name].as_str().filter(|text| !text.is_empty() && text.len() <= 2_048);
        let name = short("lud16").map(|text| Self::Name(text.to_owned()));
        name.or_else(|| short("lud06").map(|text| Self::Lnurl(text.to_owned())))
    }
}

/// Writes a profile.
pub fn encode(profile: &Profile, keys: &Keys, now: Timestamp) -> Verified {
    let mut content = json!({
        "name": profile.name, "display_name": profile.name, "about": profile.about, "bot": true,
    });
    if !profile.picture.is_empty() {
        content["picture"] = profile.picture.clone().into();
    }
    if let Some(zaps) = &profile.zaps {
        zaps.write(&mut content);
    }
    let raw = vec![make([tags::CLIENT, OURS])];
    Verified::sign(keys, PROFILE, tags::to_tags(raw), content.to_string(), now.secs())
}

/// Writes a relay list: all of them to read and to write.
pub fn encode_relays(relays: &[String], keys: &Keys, now: Timestamp) -> Verified {
    let mut raw: Vec<_> = relays.iter().map(|relay| make([tags::RELAY, relay])).collect();
    raw.push(make([tags::CLIENT, OURS]));
    Verified::sign(keys, RELAY_LIST, tags::to_tags(raw), String::new(), now.secs())
}

/// Whether this program wrote it.
pub fn is_ours(event: &Verified) -> bool {
    tags::first(&tags::from_tags(event.event().tags.iter()), tags::CLIENT) == Some(OURS)
}
