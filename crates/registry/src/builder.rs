//! Writing a job: what a customer fills in, checked against the kind before it is signed.

use openagents_types::{InputType, JobInput, JobKind, JobSpec, Msat, Param, ProviderKey, Timestamp};

use crate::{Fault, find};

/// A job that is being written. [`Self::build`] checks it; `openagents-protocol` signs what it returns.
#[derive(Clone, Debug)]
pub struct Builder(JobSpec);

impl Builder {
    /// A job of a kind, free, in the open, for everybody.
    pub const fn new(kind: JobKind) -> Self {
        Self(JobSpec {
            kind,
            inputs: Vec::new(),
            params: Vec::new(),
            output: Vec::new(),
            bid: Msat::ZERO,
            provider: None,
            encrypt: false,
            relays: Vec::new(),
            expires_at: Timestamp::NEVER,
            refund_to: None,
        })
    }

    /// One more input.
    #[must_use]
    pub fn input(mut self, input: JobInput) -> Self {
        self.0.inputs.push(input);
        self
    }

    /// A text to work on.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.input(JobInput::text(text))
    }

    /// An address to fetch.
    #[must_use]
    pub fn url(self, url: impl Into<String>) -> Self {
        self.input(JobInput::url(url))
    }

    /// The id of an event to work on, and where it may be found.
    #[must_use]
    pub fn event(self, id: impl Into<String>, relay: Option<String>) -> Self {
        self.input(JobInput { data: id.into(), input_type: InputType::Event, relay, marker: None })
    }

    /// The id of a job whose result is to be worked on, and where it may be found.
    #[must_use]
    pub fn job(self, id: impl Into<String>, relay: Option<String>) -> Self {
        self.input(JobInput { data: id.into(), input_type: InputType::Job, relay, marker: None })
    }

    /// A parameter with one value.
    #[must_use]
    pub fn param(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params([Param::new(name, value)])
    }

    /// Parameters as they are.
    #[must_use]
    pub fn params(mut self, params: impl IntoIterator<Item = Param>) -> Self {
        self.0.params.extend(params);
        self
    }

    /// One more MIME type that would be taken, best first.
    #[must_use]
    pub fn output(mut self, mime: impl Into<String>) -> Self {
        self.0.output.push(mime.into());
        self
    }

    /// The most that will be paid.
    #[must_use]
    pub const fn bid(mut self, bid: Msat) -> Self {
        self.0.bid = bid;
        self
    }

    /// One more relay on which answers are read.
    #[must_use]
    pub fn relay(mut self, url: impl Into<String>) -> Self {
        self.0.relays.push(url.into());
        self
    }

    /// The one provider that is meant.
    #[must_use]
    pub const fn provider(mut self, provider: ProviderKey) -> Self {
        self.0.provider = Some(provider);
        self
    }

    /// Hides inputs and parameters from all but one provider.
    #[must_use]
    pub const fn encrypted_to(mut self, provider: ProviderKey) -> Self {
        self.0.encrypt = true;
        self.provider(provider)
    }

    /// The job, checked. Parameters stay as they were written; the provider fills in defaults.
    ///
    /// # Errors
    /// The kind is unknown, or the job is not one that it can serve.
    pub fn build(mut self, expires_at: Timestamp) -> Result<JobSpec, Fault> {
        find(self.0.kind)?.read_spec(&self.0)?;
        self.0.expires_at = expires_at;
        Ok(self.0)
    }
}
