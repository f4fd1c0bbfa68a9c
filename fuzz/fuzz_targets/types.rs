//! Every noun that is read from text: what is printed reads back as the same.
#![no_main]

use std::{fmt::Display, str::FromStr};

use libfuzzer_sys::fuzz_target;
use openagents_types::{EventId, JobKind, Msat, PaymentHash, ProviderKey};

fn reads_back<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str)
where
    T::Err: std::fmt::Debug,
{
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().expect("what was printed is read"), value);
    }
}

fuzz_target!(|text: &str| {
    reads_back::<Msat>(text);
    reads_back::<JobKind>(text);
    reads_back::<EventId>(text);
    reads_back::<PaymentHash>(text);
    reads_back::<ProviderKey>(text);
    if let Ok(kind) = text.parse::<JobKind>() {
        assert!(matches!(kind.result(), 6000..=6999 | 7500..=7599), "{kind} has no kind of result");
    }
});
