//! What the program says of the worth of money: beside the balance, in the history, in `doctor` when the source of
//! prices is of no use.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use common::{Market, run};
use serde_json::Value;

fn told(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server that gives one answer to everybody.
fn price_server(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    url
}

/// A market whose node asks a server for prices, once that has answered.
fn market(home: &Path, answer: &'static str) -> Market {
    let url = price_server(answer);
    let config = format!("[fiat]\ncurrency = \"CHF\"\nsource = \"{url}\"\npointer = \"/chf\"\n");
    std::fs::write(home.join("config.toml"), config).unwrap();
    let market = Market::start(home);
    let began = Instant::now();
    while doctor(home)["detail"].as_str().unwrap().contains("is being asked") {
        assert!(began.elapsed() < Duration::from_secs(20), "the source was never asked");
    }
    market
}

/// What `doctor` says of the source.
fn doctor(home: &Path) -> Value {
    let output = run(home, &["doctor", "--offline", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == "fiat").unwrap_or_else(|| panic!("{report}")).clone()
}

fn buy(home: &Path) {
    told(home, &["ask", "--kind", "5001", "Relays carry events.", "--max-sat", "10", "--window", "300"]);
}

#[test]
fn balance_and_history_tell_what_money_is_and_was_worth() {
    let home = tempfile::tempdir().unwrap();
    let _market = market(home.path(), "{\"chf\":\"50000\"}");
    assert_eq!(doctor(home.path())["detail"], "a bitcoin costs 50000.00 CHF, says 127.0.0.1");
    let balance = told(home.path(), &["wallet", "balance"]);
    assert!(balance.starts_with("1000000 sat, worth 500.00 CHF  "), "{balance}");
    buy(home.path());
    for arguments in [&["wallet", "history"][..], &["wallet", "history", "--books"]] {
        let table = told(home.path(), arguments);
        assert!(table.contains("value then") && table.contains("0.000505 CHF"), "{table}");
    }
    let csv = told(home.path(), &["wallet", "history", "--books", "--sent", "--csv"]);
    let line = csv.lines().nth(1).unwrap();
    assert!(line.contains(",-1010,settled,") && line.contains(",-0.000505,CHF,50000.00,20"), "{csv}");
    let json: Value =
        serde_json::from_str(&told(home.path(), &["wallet", "history", "--books", "--sent", "--json"]))
            .unwrap();
    let fiat = &json["movements"][0]["fiat"];
    assert_eq!((&fiat["amount"], &fiat["currency"]), (&"-0.000505".into(), &"CHF".into()), "{json}");
}

#[test]
fn a_source_that_tells_no_price_is_named_and_leaves_values_out() {
    let home = tempfile::tempdir().unwrap();
    let _market = market(home.path(), "<html>Sorry</html>");
    let check = doctor(home.path());
    assert_eq!(check["status"], "warn", "{check}");
    let detail = check["detail"].as_str().unwrap();
    assert!(detail.contains("not JSON") && detail.contains("noted without a value"), "{detail}");
    buy(home.path());
    assert!(!told(home.path(), &["wallet", "history", "--books"]).contains("value then"));
    assert!(!told(home.path(), &["wallet", "balance"]).contains("worth"));
}
