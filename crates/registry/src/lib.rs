//! The catalogue of job kinds: what may be asked, with which parameters, and what comes back.
//!
//! One JSON file per kind stands in `kinds/` and is compiled in; nothing is fetched, ever. [`find`] gives
//! a [`KindSchema`]. A provider passes what it read from an event to [`KindSchema::read`], which accepts
//! what peers are known to send and returns typed [`JobParams`], or a [`Fault`] that can be shown to the
//! customer as it is. A customer writes a job with [`Builder`] and checks the result with
//! [`KindSchema::check_result`]. There is no clock, no randomness and no I/O here, and no Nostr: an event
//! becomes inputs and parameters in a codec, such as `openagents-protocol`.
//!
//! ```
//! use openagents_registry::{Builder, find};
//! use openagents_types::{JobKind, Msat, Timestamp};
//!
//! let spec = Builder::new(JobKind::SUMMARIZATION)
//!     .text("A long text.")
//!     .param("length", "2 paragraphs")
//!     .bid(Msat::new(1_000))
//!     .build(Timestamp::from_secs(1_800_000_000))?;
//! let schema = find(spec.kind)?;
//! let params = schema.read(&spec.inputs, &spec.params, &spec.output)?;
//! assert_eq!(params.str("length"), Some("2 paragraphs"));
//! schema.check_result("Short.", &params)?;
//! # Ok::<(), openagents_registry::Fault>(())
//! ```
//!
//! Read in this order: `kind.rs` (what a file says), `param.rs` and `read.rs` (requests), `result.rs` and
//! `schema.rs` (results), `builder.rs`, `export.rs` (other forms of the same facts), `validate.rs` (what
//! every file must be).

mod builder;
mod catalogue;
mod export;
mod fault;
mod kind;
mod param;
mod read;
mod result;
mod schema;
mod validate;

pub use builder::Builder;
pub use catalogue::{Common, UPDATED, VERSION, all, common, find, find_name};
pub use export::catalogue as to_json;
pub use fault::Fault;
pub use kind::{
    AcceptableUse, Category, Example, ExampleResult, Extra, Inputs, KindSchema, Origin, Outputs, PriceGuide,
    ProhibitedUse, ResultSpec, TextForm,
};
pub use param::{ItemType, ParamSpec, ParamType, Spelling, Wire};
pub use read::{JobParams, canonical_params};
pub use validate::validate;
