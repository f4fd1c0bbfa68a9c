//! HTML to text: what comes out can be printed. In the product this runs in a child with limits.
#![no_main]

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use libfuzzer_sys::fuzz_target;
use openagents_backend::parse_document;

/// A parser that panics ends the child and nothing else: only what comes out of it counts.
fn parse(bytes: &[u8]) -> Option<String> {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let text = catch_unwind(AssertUnwindSafe(|| parse_document("html", bytes).ok())).ok().flatten();
    set_hook(hook);
    text
}

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = parse(bytes) else { return };
    assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{text:?}");
    assert!(!text.contains("\n\n\n") && text.trim() == text, "{text:?}");
    assert_eq!(parse(bytes).as_deref(), Some(text.as_str()));
});
