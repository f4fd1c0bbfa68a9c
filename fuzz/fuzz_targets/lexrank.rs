//! Summaries: never longer than asked, made of the text's own sentences, and always the same.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use openagents_backend::{Backend, BackendError, Extraction, Extractive, Output, Work};
use openagents_types::{JobKind, Param, ResolvedInput};
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_util::sync::CancellationToken;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime needs nothing from outside")
});

/// The longest text: every sentence is compared with every other.
const LONGEST: usize = 4_096;

fn summarize(text: &str, length: &str) -> Result<Output, BackendError> {
    // No document is read here, so there need be no program that could.
    let backend = Extractive::new(Extraction::with_program("/nonexistent".into()));
    let params = vec![Param::new("length", length)];
    backend
        .check(JobKind::SUMMARIZATION, &params, text.len() as u64)
        .map_err(|error| BackendError::BadInput(error.to_string()))?;
    let inputs = vec![ResolvedInput::text(text)];
    let work = Work { kind: JobKind::SUMMARIZATION, inputs, params, output: Vec::new() };
    RUNTIME.block_on(backend.run(work, mpsc::channel(1).0, CancellationToken::new()))
}

// A line with a length, then the text.
fuzz_target!(|data: &str| {
    let Some((length, text)) = data.split_once('\n').filter(|(_, text)| text.len() <= LONGEST) else {
        return;
    };
    let Ok(output) = summarize(text, length) else { return };
    assert!(!output.content.is_empty());
    assert_eq!(summarize(text, length).map(|again| again.content), Ok(output.content.clone()));
    if let Ok(most) = length.trim().parse::<u64>()
        && output.usage.output_tokens > most
    {
        // The one exception: every sentence is longer than asked, and one is given whole.
        let one = summarize(text, "1 sentence").expect("there are sentences").usage.output_tokens;
        assert!(output.usage.output_tokens > most && one > most, "{output:?}");
    }
});
