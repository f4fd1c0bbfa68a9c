//! Whether a job may be done here: its kind and every text in it, by the rules of `openagents-policy`.
//! Asked by the provider before a price is made, and by the customer before anything is sent.

use openagents_policy::{Job, Policy, Verdict};
use openagents_types::{InputType, JobInput, JobKind, Param, ResolvedInput};

/// What a job holds, as far as it is known: inputs that were fetched count with their content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    pub(crate) kind: JobKind,
    pub(crate) inputs: &'a [JobInput],
    pub(crate) params: &'a [Param],
    /// Empty before anything was fetched; else one for each input.
    pub(crate) fetched: &'a [ResolvedInput],
}

/// Why a job is not done here, in a sentence for whoever asked; `None` if it may be.
pub(crate) fn objection(policy: &Policy, content: Content<'_>) -> Option<String> {
    match policy.check_by_rules(&job(content)) {
        Verdict::Allowed => None,
        Verdict::Flagged { violations } => {
            for hit in violations {
                tracing::info!(kind = %content.kind, rule = hit.rule, place = hit.place, "a job was flagged");
            }
            None
        }
        Verdict::Denied { reason, category, violations } => {
            let rule = violations.first().map(|hit| hit.rule.as_str());
            tracing::info!(kind = %content.kind, %category, rule, "a job is not acceptable");
            Some(reason)
        }
    }
}

fn job(content: Content<'_>) -> Job<'_> {
    let mut job = Job::new(content.kind.get());
    if let Ok(schema) = openagents_registry::find(content.kind) {
        job = job.named(schema.name.as_str());
    }
    for (index, input) in content.inputs.iter().enumerate() {
        job = match content.fetched.get(index) {
            // What is no text, such as a PDF, has no words yet; its parser finds them later.
            Some(page) if input.input_type != InputType::Text => match std::str::from_utf8(&page.bytes) {
                Ok(text) => job.page(page.source.as_str(), text),
                Err(_) => job.input(page.source.as_str()),
            },
            _ => job.input(input.data.as_str()),
        };
    }
    for param in content.params {
        job = param.values.iter().fold(job, |job, value| job.param(param.name.as_str(), value.as_str()));
    }
    job
}

#[cfg(test)]
mod tests {
    use openagents_policy::PolicyConfig;

    use super::*;

    fn refused(kind: u16, inputs: &[JobInput], params: &[Param], fetched: &[ResolvedInput]) -> bool {
        let kind = JobKind::try_from(kind).unwrap_or_else(|error| panic!("{error}"));
        let content = Content { kind, inputs, params, fetched };
        objection(&Policy::new(PolicyConfig::default()), content).is_some()
    }

    const ASKED: &str = "I have had a headache for three days. What medication should I take and how much?";

    #[test]
    fn what_is_asked_is_checked_wherever_it_stands() {
        let harmless = [JobInput::text("Which sea is the deepest?")];
        let url = [JobInput::url("https://example.com/a")];
        let page = [ResolvedInput { source: "https://example.com/a".into(), ..ResolvedInput::text(ASKED) }];
        assert!(!refused(5050, &harmless, &[], &[]));
        assert!(refused(5050, &[JobInput::text(ASKED)], &[], &[]));
        assert!(refused(5050, &harmless, &[Param::new("prompt", ASKED)], &[]));
        assert!(!refused(5050, &url, &[], &[]), "nothing is fetched yet");
        assert!(refused(5050, &url, &[], &page));
    }

    #[test]
    fn what_is_no_text_is_left_to_its_parser() {
        let url = [JobInput::url("https://example.com/a.pdf")];
        let bytes = ResolvedInput { bytes: vec![0xff, 0xfe, 0x25], ..ResolvedInput::text("") };
        assert!(!refused(5000, &url, &[], &[bytes]));
    }
}
