//! The rules on labelled jobs. `eval/dev.jsonl` and `eval/own.jsonl` are what the rules were written with; how they do on
//! jobs they have not seen is measured with the example `evaluate`.

use openagents_policy::{Policy, Table, evaluate, read_rows};

fn table(name: &str) -> Table {
    let path = format!("{}/eval/{name}", env!("CARGO_MANIFEST_DIR"));
    let rows =
        read_rows(&std::fs::read_to_string(path).expect("a file of this crate")).expect("labelled jobs");
    evaluate(&Policy::default(), &rows)
}

#[test]
fn the_rules_do_not_fall_behind_on_what_they_were_written_with() {
    for name in ["dev.jsonl", "own.jsonl"] {
        let table = table(name);
        assert!(table.overall.precision() >= 0.98, "{name}\n{table}");
        assert!(table.overall.recall() >= 0.97, "{name}\n{table}");
        assert!(table.honest_refused.part * 50 <= table.honest_refused.of, "{name}\n{table}");
        for (category, score) in &table.by_category {
            assert!(score.recall() >= 0.85, "{name} {category}\n{table}");
        }
    }
}
