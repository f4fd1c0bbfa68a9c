//! Checking a result: what a customer does before it believes that it got what it paid for, and a
//! provider before it sends.

use serde_json::Value;

use crate::{
    Extra, Fault, JobParams, KindSchema, TextForm,
    fault::short,
    schema::{self, check},
};

/// The longest result looked at, in bytes: some relays carry events of a mebibyte, none more.
const MOST_BYTES: usize = 1 << 20;

impl KindSchema {
    /// Checks the content of a result. `params` are those of its request.
    ///
    /// Where a kind has both forms, JSON is checked if the customer asked for it, text otherwise. A
    /// JSON result of the form `{"error": {"code", "message"}}` is a failure, whatever the kind.
    ///
    /// # Errors
    /// It is not what the kind promises, or it reports a failure.
    pub fn check_result(&self, content: &str, params: &JobParams) -> Result<(), Fault> {
        if content.len() > MOST_BYTES {
            return Err(Fault::result(format!("it has {} bytes", content.len())));
        }
        let json_wanted = params.output() == Some("application/json");
        match (&self.result.text, &self.result.json) {
            (Some(form), None) => self.check_text(form, content),
            (Some(form), Some(_)) if !json_wanted => self.check_text(form, content),
            _ => self.check_json(content, params),
        }
    }

    fn check_text(&self, form: &TextForm, content: &str) -> Result<(), Fault> {
        let content = content.trim();
        if let TextForm::Tags { names } = form {
            return check_tags(names, content);
        }
        if content.is_empty() {
            return Err(Fault::result("it is empty"));
        }
        match form {
            TextForm::Links if !are_links(content) => Err(Fault::result("it is not a list of addresses")),
            TextForm::Pattern { .. } => match &self.compiled()?.text {
                Some(pattern) if !pattern.is_match(content) => {
                    Err(Fault::result(format!("{:?} is not {}", short(content), self.result.about)))
                }
                _ => Ok(()),
            },
            TextForm::Plain | TextForm::Links | TextForm::Tags { .. } => Ok(()),
        }
    }

    fn check_json(&self, content: &str, params: &JobParams) -> Result<(), Fault> {
        let value: Value =
            serde_json::from_str(content).map_err(|error| Fault::result(format!("not JSON: {error}")))?;
        if let Some(failure) = reported(&value) {
            return Err(Fault::Reported(failure));
        }
        if let Some(validator) = &self.compiled()?.json {
            check(validator, &value)?;
        }
        match self.result.extra {
            None => Ok(()),
            Some(Extra::CustomerSchema) => match params.get(schema::PARAM) {
                Some(wanted) => check(&schema::customer(wanted)?, &value),
                None => Ok(()),
            },
            Some(Extra::LeadingZeroBits) => check_work(&value, params.u64("pow").unwrap_or(0)),
        }
    }
}

/// The failure that a result reports instead of an answer.
fn reported(value: &Value) -> Option<String> {
    let error = value.as_object()?.get("error")?.as_object()?;
    let said = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let (code, message) = (said("code"), said("message"));
    let text = if code.is_empty() { message.to_owned() } else { format!("{code}: {message}") };
    Some(short(text.trim_end_matches([':', ' '])))
}

/// Each line, or each item of a JSON array, is an address.
fn are_links(content: &str) -> bool {
    let is_link = |text: &str| {
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let hosted = matches!(scheme, "http" | "https" | "ipfs") && rest.len() > 2 && rest.starts_with("//");
        hosted || (scheme == "data" && !rest.is_empty())
    };
    match serde_json::from_str::<Vec<String>>(content) {
        Ok(links) => !links.is_empty() && links.iter().all(|link| is_link(link)),
        Err(_) => content.split_whitespace().all(is_link),
    }
}

/// A list of tags: a JSON array of them, the same without its outer brackets as the public pages show it,
/// or lines such as `nostr:note1…`. A search may find nothing.
fn check_tags(names: &[String], content: &str) -> Result<(), Fault> {
    if content.is_empty() {
        return Ok(());
    }
    let tags: Vec<Vec<String>> = match serde_json::from_str(content) {
        Ok(tags) => tags,
        Err(_) => match serde_json::from_str(&format!("[{}]", content.trim_end_matches(','))) {
            Ok(tags) => tags,
            Err(_) if content.lines().all(is_entity) => return Ok(()),
            Err(_) => return Err(Fault::result("it is neither a list of tags nor lines of nostr: names")),
        },
    };
    let wrong = tags.iter().find(|tag| !matches!(tag.as_slice(), [name, _, ..] if names.contains(name)));
    match wrong {
        None => Ok(()),
        Some(tag) => Err(Fault::result(format!(
            "{:?} is not a tag {} with a value",
            short(&tag.join(",")),
            names.join(" or ")
        ))),
    }
}

/// A line that names an event or a key in bech32 (NIP-19, NIP-21).
fn is_entity(line: &str) -> bool {
    let name = line.trim();
    let name = name.strip_prefix("nostr:").unwrap_or(name);
    name.is_empty()
        || ["note1", "nevent1", "naddr1", "npub1", "nprofile1"].iter().any(|start| name.starts_with(start))
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The leading zero bits of the event's id (NIP-13).
fn check_work(event: &Value, wanted: u64) -> Result<(), Fault> {
    let id = event.get("id").and_then(Value::as_str).unwrap_or_default();
    let zeros = id.bytes().take_while(|byte| *byte == b'0').count();
    let next = id.as_bytes().get(zeros).and_then(|byte| char::from(*byte).to_digit(16));
    // A hexadecimal digit has four bits, of which `to_digit` counts in 32.
    let bits = 4 * zeros as u64 + next.map_or(0, |digit| u64::from(digit.leading_zeros() - 28));
    if bits >= wanted {
        Ok(())
    } else {
        Err(Fault::result(format!("its id has {bits} zero bits, not {wanted}")))
    }
}
