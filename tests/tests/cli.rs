//! Runs every page of the manual (`tests/cli/*.md`) against the real program in an empty home.
//!
//! A page's ```` ```console ```` blocks hold commands (`$ …`, run by `sh`), the exit code if it is not
//! zero (`? 2`), and what stdout and stderr show together. `[..]` stands for anything on a line, a line
//! `...` for any lines. A page that begins with `<!-- setup: up … -->` runs beside such a node. Beside every
//! page lie a PDF, `report.pdf`, and an office document, `report.odt`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed, as it should")]

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use openagents_tests::programs;

/// Two pages about a market.
const REPORT: &[u8] = include_bytes!("../../crates/backend/fixtures/market.pdf");
/// The same market in an office document.
const OFFICE: &[u8] = include_bytes!("../../crates/backend/fixtures/market.odt");

/// One command of a page.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    command: String,
    exit: i32,
    expected: Vec<String>,
}

/// The node a page asked for, stopped with it.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => read(&mut steps, line),
            (false, _) => {}
        }
    }
    steps
}

fn read(steps: &mut Vec<Step>, line: &str) {
    if let Some(command) = line.strip_prefix("$ ") {
        steps.push(Step { command: command.into(), ..Step::default() });
    } else if let Some(step) = steps.last_mut() {
        match line.strip_prefix("? ").and_then(|code| code.parse().ok()) {
            Some(code) => step.exit = code,
            None => step.expected.push(line.into()),
        }
    }
}

fn matches(expected: &[String], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((line, rest)) if line == "..." => (0..=actual.len()).any(|skip| matches(rest, &actual[skip..])),
        Some((line, rest)) => match actual.split_first() {
            Some((first, others)) => matches_line(line, first) && matches(rest, others),
            None => false,
        },
    }
}

fn matches_line(expected: &str, actual: &str) -> bool {
    match expected.split_once("[..]") {
        None => expected == actual,
        Some((start, rest)) => match actual.strip_prefix(start) {
            Some(others) => others
                .char_indices()
                .map(|(at, _)| at)
                .chain([others.len()])
                .any(|at| matches_line(rest, &others[at..])),
            None => false,
        },
    }
}

/// A command in an environment that holds nothing of whoever runs the tests.
fn prepared(program: &str, folder: &Path) -> Command {
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(program);
    command.env_clear().env("PATH", path).env("OPENAGENTS_HOME", folder.join("home")).current_dir(folder);
    command.stdin(Stdio::null());
    command
}

fn setup(page: &str, folder: &Path) -> Option<Node> {
    let arguments = page.lines().next()?.strip_prefix("<!-- setup: ")?.strip_suffix(" -->")?;
    let mut command = prepared("openagents", folder);
    command.args(arguments.split_whitespace()).args(["--listen", "127.0.0.1:0", "--json"]);
    let mut node = Node(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(node.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"app\""), "the node did not come up: {line}");
    Some(node)
}

/// What is wrong with a page; empty if nothing is.
fn check(page: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("report.pdf"), REPORT).unwrap();
    std::fs::write(folder.path().join("report.odt"), OFFICE).unwrap();
    let _node = setup(page, folder.path());
    let mut wrong = String::new();
    for step in steps(page) {
        let script = format!("exec 2>&1\n{}", step.command);
        let output = prepared("sh", folder.path()).args(["-c", &script]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = text.lines().collect();
        let exit = output.status.code().unwrap_or(-1);
        if exit != step.exit || !matches(&step.expected, &lines) {
            let (command, expected) = (&step.command, step.expected.join("\n"));
            writeln!(
                wrong,
                "$ {command}\n--- expected (exit {})\n{expected}\n--- got (exit {exit})\n{text}",
                step.exit
            )
            .unwrap();
        }
    }
    wrong
}

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cli");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    pages.sort();
    pages
}

#[test]
fn every_page_of_the_manual_is_true() {
    programs();
    let checked: Vec<(PathBuf, _)> = pages()
        .into_iter()
        .map(|path| {
            let page = std::fs::read_to_string(&path).unwrap();
            (path, std::thread::spawn(move || check(&page)))
        })
        .collect();
    assert!(!checked.is_empty(), "there are no pages");
    let mut wrong = String::new();
    for (path, page) in checked {
        let found = page.join().unwrap_or_else(|_| "it panicked\n".into());
        if !found.is_empty() {
            writeln!(wrong, "===== {}\n{found}", path.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_page_says_commands_exits_and_output_with_gaps() {
    let page = "text\n```console\n$ a\nx[..]z\n...\nend\n$ b\n? 3\n```\n$ not a command\n";
    let read = steps(page);
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].exit, read[1].exit, read[1].expected.len()), (0, 3, 0));
    assert!(matches(&read[0].expected, &["xyz", "1", "2", "end"]));
    assert!(matches(&read[0].expected, &["xz", "end"]));
    assert!(!matches(&read[0].expected, &["xy", "end"]));
    assert!(!matches(&read[0].expected, &["xz"]));
}
