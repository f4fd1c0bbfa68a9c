//! What the program says of money when something stops in the middle: the node that pays, or the ask that
//! waits; and when the day's budget is spent. Scripts act on these exits, so they run the real program.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod common;

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use common::{Market, program, run};
use serde_json::Value;

/// How long anything here may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(40);

/// An ask that collects offers for longer than the test needs.
fn slow_ask(home: &Path, bid: &str) -> Child {
    let mut command = program(home);
    command.args(["ask", "--kind", "5001", "Relays carry events. Customers name relays.", "--json"]);
    command.args(["--max-sat", bid, "--window", "30000"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The name of the newest job, once there is one.
fn newest_job(home: &Path) -> String {
    let began = Instant::now();
    loop {
        let jobs = json(&run(home, &["jobs", "list", "--json"]));
        if let Some(id) = jobs["jobs"][0]["id"].as_str() {
            return id.to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "no job was asked");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn signal(child: &Child, name: &str) {
    let told = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(told.success());
}

#[test]
fn an_ask_whose_node_dies_ends_as_pending_and_names_job_and_sum() {
    let home = tempfile::tempdir().unwrap();
    let mut market = Market::start(home.path());
    let ask = slow_ask(home.path(), "10");
    let id = newest_job(home.path());
    // The node has written the job down; that it says so to the ask takes a moment more.
    std::thread::sleep(Duration::from_secs(1));
    market.kill();
    let output = ask.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let answer = json(&output);
    assert_eq!((answer["job_id"].as_str(), answer["state"].as_str()), (Some(id.as_str()), Some("unknown")));
    assert_eq!(answer["max_msat"], 10_000);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&format!("jobs show {id}")) && told.contains("do not ask again"), "{told}");
    assert!(!told.contains("none moved"), "{told}");

    let shown = run(home.path(), &["jobs", "show", &id]);
    let words = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && words.contains("state     collecting"), "{shown:?}");
    assert!(String::from_utf8_lossy(&shown.stderr).contains("no node runs"), "{shown:?}");

    let refused = run(home.path(), &["wallet", "balance", "--json"]);
    let error = json(&refused);
    assert_eq!((refused.status.code(), &error["exit"]), (Some(1), &Value::from(1)));
    assert!(error["error"]["money"].as_str().unwrap().contains("settled when one runs again"), "{error}");
}

#[test]
fn an_ask_that_is_told_to_stop_takes_its_job_back_and_says_so() {
    for name in ["-TERM", "-INT"] {
        let home = tempfile::tempdir().unwrap();
        let _market = Market::start(home.path());
        let ask = slow_ask(home.path(), "10");
        let id = newest_job(home.path());
        signal(&ask, name);
        let output = ask.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{name}: {output:?}");
        assert_eq!(json(&output)["state"], "cancelled", "{name}");
        let job = json(&run(home.path(), &["jobs", "show", &id, "--json"]));
        assert_eq!((&job["job"]["state"], &job["job"]["in_flight_msat"]), (&"cancelled".into(), &0.into()));
    }
}

#[test]
fn an_offer_above_the_days_budget_is_refused_by_name_and_so_is_the_next_ask() {
    let home = tempfile::tempdir().unwrap();
    let config = "[customer]\nmax_fee_msat = 0\ndaily_limit_msat = 2000\n";
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let ask =
        ["ask", "--kind", "5001", "Relays carry events.", "--max-sat", "10", "--window", "300", "--json"];
    let mut market = Market::start(home.path());
    let bought = json(&run(home.path(), &ask));
    assert_eq!((&bought["state"], &bought["paid_msat"]), (&"settled".into(), &1_010.into()), "{bought}");
    // What was spent before a restart counts after it.
    market.kill();
    let _market = Market::start(home.path());
    let refused = run(home.path(), &ask);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    let answer = json(&refused);
    assert_eq!((&answer["state"], &answer["paid_msat"]), (&"no-offer".into(), &0.into()));
    assert_eq!(answer["refusals"][0]["code"], "daily-limit", "{answer}");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("daily_limit_msat") && !told.contains("paying"), "{told}");
}
