//! Learns the score's weights from labelled jobs and says how well they do on jobs they were not learnt from:
//! `cargo run --release -p openagents-policy --example train -- crates/policy/eval/{dev,own,more,writers,pages,pairs}.jsonl`
//! prints a five-fold cross-validation for each file; with `--write` first, it writes the weights as well.
#![expect(clippy::print_stdout, reason = "a program for the command line")]

use openagents_policy::{Policy, Row, cross_validate, read_rows, train};

/// Into so many parts the jobs are divided.
const PARTS: usize = 5;

/// Where the shipped weights are.
const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/score.weights");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    let write = paths.first().is_some_and(|first| first == "--write");
    if write {
        paths.remove(0);
    }
    let (mut rows, mut files) = (Vec::new(), Vec::new());
    for path in paths {
        let read = read_rows(&std::fs::read_to_string(&path)?)?;
        files.push((path, rows.len()..rows.len() + read.len()));
        rows.extend(read);
    }
    if write {
        std::fs::write(WEIGHTS, train(&rows))?;
    } else {
        for (path, range) in &files {
            let ids: Vec<&str> = rows[range.clone()].iter().map(|row| row.id.as_str()).collect();
            let counts = |row: &Row| ids.contains(&row.id.as_str());
            println!("{path}\n{}", cross_validate(&Policy::default(), &rows, PARTS, counts));
        }
    }
    Ok(())
}
