//! Settings: whatever is read prints as what reads the same, and every setting has an origin.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use openagents_fuzz::config::{Config, Origin};

fn read(text: &str, flags: &[(&str, &str)]) -> Option<Config> {
    let (config, origins) = Config::read(Path::new("config.toml"), text, |_| None, flags)
        .inspect_err(|error| assert!(!error.to_string().is_empty()))
        .ok()?;
    for (key, _) in config.rows() {
        assert!(origins.of(&key).is_some(), "{key} has no origin");
    }
    for (key, _) in flags {
        assert_eq!(origins.of(key), Some(Origin::Flag));
    }
    let printed = config.to_toml();
    let (again, _) = Config::read(Path::new("config.toml"), &printed, |_| None, &[])
        .unwrap_or_else(|error| panic!("what was printed is not read: {error}\n{printed}"));
    assert_eq!(again.to_toml(), printed);
    assert_eq!(again.rows(), config.rows());
    Some(config)
}

// A file, and perhaps after a line of dashes a setting and its value on two lines.
fuzz_target!(|text: &str| {
    let (file, flag) = text.split_once("\n---\n").unwrap_or((text, ""));
    let config = read(file, &[]);
    if let Some(flag) = flag.split_once('\n') {
        let _ = read(file, &[flag]);
    }
    if let Some(config) = config {
        let _ = (config.hosts(config.listen), config.backend.settings(), config.limits.relay_rate());
    }
});
