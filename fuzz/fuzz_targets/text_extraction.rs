//! HTML to text: what comes out can be printed. In the product this runs in a child with limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openagents_backend::parse_document;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = parse_document("html", bytes) else { return };
    assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{text:?}");
    assert!(!text.contains("\n\n\n") && text.trim() == text, "{text:?}");
    assert_eq!(parse_document("html", bytes).as_deref(), Some(text.as_str()));
});
