//! What is sealed to us: opened, broken, or nested wrongly, it never panics; and inner tags say the
//! same as they would in the open.
#![no_main]

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use libfuzzer_sys::{
    arbitrary::{Arbitrary, Result, Unstructured},
    fuzz_target,
};
use nostr::{
    Tag,
    nips::{nip04, nip44::v2},
};
use openagents_fuzz::{NOW, keys, words};
use openagents_protocol::{Keyring, Message, Verified, decode};

static CONVERSATION: LazyLock<v2::ConversationKey> = LazyLock::new(|| {
    v2::ConversationKey::derive(keys(1).secret_key(), &keys(2).public_key()).expect("both are keys")
});

/// What stands in the content.
#[derive(Arbitrary, Debug)]
enum Payload {
    /// Anything.
    Text(String),
    /// Bytes in Base64, perhaps with the right version before them.
    Bytes { version: bool, bytes: Vec<u8> },
    /// NIP-04's shape around anything.
    Nip04 { text: Vec<u8>, iv: Vec<u8> },
    /// Sealed with the right key.
    Sealed { old: bool, text: String },
    /// Tags sealed with the right key.
    Tags(Tags),
}

#[derive(Debug)]
struct Tags(Vec<Vec<String>>);

impl<'a> Arbitrary<'a> for Tags {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        words::tags(u).map(Self)
    }
}

fn seal(text: &str) -> Option<String> {
    v2::encrypt_to_bytes(&CONVERSATION, text.as_bytes()).ok().map(|bytes| STANDARD.encode(bytes))
}

fn event(kind: u16, tags: &[Vec<String>], content: String) -> Verified {
    let tags = tags.iter().filter_map(|tag| Tag::parse(tag.clone()).ok()).collect();
    Verified::sign(&keys(1), kind, tags, content, NOW.secs())
}

fn read(event: &Verified) -> Option<Message> {
    decode(event, &mut Keyring::new(keys(2))).ok()
}

/// A request with these tags inside, and one with the same outside.
fn same(tags: &[Vec<String>], outer: &[Vec<String>]) {
    let reserved = ["encrypted", "p"];
    let tags: Vec<Vec<String>> = tags
        .iter()
        .filter(|tag| !reserved.contains(&tag[0].as_str()) && !tag[0].is_empty())
        .cloned()
        .collect();
    let Some(content) = seal(&serde_json::to_string(&tags).expect("text is JSON")) else { return };
    let plain: Vec<Vec<String>> = tags.iter().cloned().chain([outer[1].clone()]).collect();
    let (hidden, open) = (event(5001, outer, content), event(5001, &plain, String::new()));
    match (read(&hidden), read(&open)) {
        (Some(Message::Request(hidden)), Some(Message::Request(open))) => {
            assert_eq!((&hidden.inputs, &hidden.params, hidden.bid), (&open.inputs, &open.params, open.bid));
            assert_eq!((&hidden.output, &hidden.relays), (&open.output, &open.relays));
            assert_eq!((&hidden.providers, hidden.expires_at), (&open.providers, open.expires_at));
        }
        (hidden, open) => panic!("{hidden:?} inside, {open:?} outside"),
    }
}

fuzz_target!(|payload: Payload| {
    let outer = [vec!["encrypted".to_owned()], vec!["p".to_owned(), keys(2).public_key().to_hex()]];
    let content = match payload {
        Payload::Text(text) => Some(text),
        Payload::Bytes { version, bytes } => {
            let mut all = vec![2; usize::from(version)];
            all.extend(bytes);
            Some(STANDARD.encode(all))
        }
        Payload::Nip04 { text, iv } => Some(format!("{}?iv={}", STANDARD.encode(text), STANDARD.encode(iv))),
        Payload::Sealed { old: true, text } => {
            nip04::encrypt(keys(1).secret_key(), &keys(2).public_key(), text).ok()
        }
        Payload::Sealed { old: false, text } => seal(&text),
        Payload::Tags(Tags(tags)) => {
            same(&tags, &outer);
            seal(&serde_json::to_string(&tags).expect("text is JSON"))
        }
    };
    let Some(content) = content else { return };
    for kind in [5001, 6001, 6500, 7000, 7009] {
        let mut tags = outer.to_vec();
        tags.push(vec!["e".into(), "5a".repeat(32)]);
        let _ = read(&event(kind, &tags, content.clone()));
    }
});
