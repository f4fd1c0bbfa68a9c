//! A streamed answer: the same however it is cut, and its pieces are the whole.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use openagents_backend::{BackendError, Output, Reading};

fn read<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Result<Output, BackendError> {
    let (mut reading, mut pieces) = (Reading::default(), String::new());
    for part in parts {
        pieces.extend(reading.take(part)?);
    }
    let mut output = reading.output(None, Instant::now())?;
    assert_eq!(output.content, pieces, "the pieces are not the whole");
    output.usage.elapsed = Default::default();
    Ok(output)
}

// A line of lengths, then the stream that is cut into them.
fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (cuts, stream) = data.split_at(end);
    let whole = read(std::iter::once(stream));
    let mut rest = stream;
    let mut cuts = cuts.iter().copied().map(usize::from);
    let parts = std::iter::from_fn(|| {
        let (part, after) = rest.split_at(cuts.next().unwrap_or(usize::MAX).min(rest.len()));
        rest = after;
        (!part.is_empty() || !rest.is_empty()).then_some(part)
    });
    assert_eq!(read(parts), whole);
    assert_eq!(read(stream.chunks(1)), whole);
});
