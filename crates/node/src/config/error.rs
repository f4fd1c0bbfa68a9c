//! Why settings cannot be used, with the key and what to do.

use std::path::PathBuf;

use openagents_wallet::destination::DestinationError;

use super::{Origin, ServerFault};
use crate::resolve::AllowError;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The file says something that is no setting. TOML's own message names line and key.
    #[error("{path} is not valid:\n{reason}\nsee every key with `openagents config show`")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A flag or a variable does not name a setting, or not a value of its type.
    #[error("{value:?} from {origin} cannot be {key}: {reason}")]
    Value {
        /// The setting.
        key: String,
        /// What was given.
        value: String,
        /// By whom.
        origin: Origin,
        /// Why not.
        reason: String,
    },
    /// A value that no node can work with.
    #[error("{key} is {value}; {rule}")]
    Unusable {
        /// The setting.
        key: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        rule: &'static str,
    },
    /// A mode of the policy that needs a judge.
    #[error(
        "policy.mode asks a language model as judge, and no chat server is configured; \
         add [[backend.openai]] with its `url`, or use mode = \"rules\""
    )]
    NoJudge,
    /// The judge is no server and no model that is configured.
    #[error(
        "policy.judge is {judge:?}, which is no model and no url of [[backend.openai]]; name one of: {known}"
    )]
    UnknownJudge {
        /// What it is.
        judge: String,
        /// What it could be.
        known: String,
    },
    /// No address under which files could be got.
    #[error("media.public_url is {0:?}; it must be https://name or http://name, without a path")]
    PublicUrl(String),
    /// A number that no node can work with.
    #[error("{key} is {text}; it must be {rule}")]
    Number {
        /// The setting.
        key: &'static str,
        /// What it is.
        text: String,
        /// What it may be.
        rule: &'static str,
    },
    /// A text that no node can work with.
    #[error("{key} is {text:?}; it must be {rule}")]
    Text {
        /// The setting.
        key: &'static str,
        /// What it is.
        text: String,
        /// What it may be.
        rule: &'static str,
    },
    /// A span of the day that is none.
    #[error("{key}: {text:?} is no span of the day; write it as \"22:00-07:00\"")]
    Hours {
        /// The setting.
        key: &'static str,
        /// What stands there.
        text: String,
    },
    /// Something has two values.
    #[error("{key} names {what} twice; leave one of them")]
    Twice {
        /// The setting.
        key: &'static str,
        /// What it names.
        what: String,
    },
    /// A customer is named by no key.
    #[error("provider.credit names {0:?}; a customer is an npub or 64 hexadecimal digits")]
    Customer(String),
    /// No refund can be paid there.
    #[error("customer.refund_to is {to:?}: {reason}")]
    RefundTo {
        /// What it is.
        to: String,
        /// What is wrong with it.
        reason: DestinationError,
    },
    /// Nobody can be zapped there.
    #[error("provider.zaps is {text:?}: {reason}")]
    Zaps {
        /// What it is.
        text: String,
        /// What is wrong with it.
        reason: DestinationError,
    },
    /// A wallet whose offers have two rails already.
    #[error(
        "provider.zaps is for a Lightning wallet, and wallet.kind is \"cashu\": offers are paid by invoice or with \
         ecash there; empty one of the two"
    )]
    ZapsOnEcash,
    /// A model server cannot be used as it is described.
    #[error("{0}; correct it with `openagents config edit`")]
    Server(ServerFault),
    /// A model of the store is not there, or of another kind.
    #[error("{0}")]
    Model(ServerFault),
    /// No address of a hub.
    #[error("{0}")]
    Hub(openagents_models::HubError),
    /// An entry of `allow_private_urls` is nothing that can be allowed.
    #[error("allow_private_urls: {0}; correct it with `openagents config edit`")]
    Allow(#[from] AllowError),
}
