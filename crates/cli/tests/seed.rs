//! Money seeds as their owner meets them: the real program, at a terminal where it wants one (`script` lends
//! it), killed where it may be, and searched for everything it must not say.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed, as it should")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use openagents_seed::{Mnemonic, Passphrase};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_openagents");

/// The words of a vector of BIP39.
const WORDS: &str = "letter advice cage absurd amount doctor acoustic avoid letter advice cage above";

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("home")
    }

    /// A file beside the home, which is not searched for secrets.
    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.file(name), text).unwrap();
        self.file(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        for name in ["OPENAGENTS_PASSPHRASE_FILE", "OPENAGENTS_FAILPOINT", "OPENAGENTS_LOG"] {
            command.env_remove(name);
        }
        command.env("OPENAGENTS_HOME", self.path()).args(arguments).stdin(Stdio::null());
        command
    }

    fn seed(&self, arguments: &[&str]) -> Output {
        self.command(&[&["wallet", "seed"], arguments].concat()).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.seed(arguments);
        assert!(output.status.success(), "{arguments:?}\n{}", text(&output));
        text(&output)
    }

    /// The words, the only way they come out of the program.
    fn words(&self) -> String {
        let output = self.seed(&["show", "--force-stdout"]);
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What `status` says of the only seed.
    fn status(&self) -> Value {
        let output = self.seed(&["status", "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["seeds"][0].clone()
    }

    fn old(&self) -> Vec<PathBuf> {
        let folder = self.path().join("seed/mainnet/old");
        std::fs::read_dir(folder)
            .map_or_else(|_| Vec::new(), |all| all.map(|entry| entry.unwrap().path()).collect())
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The program at a terminal.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
    read: usize,
}

impl Terminal {
    fn run(home: &Home, arguments: &str) -> Self {
        let mut command = Command::new("script");
        command.args(["-qefc", &format!("{PROGRAM} wallet seed {arguments}"), "/dev/null"]);
        command
            .env("OPENAGENTS_HOME", home.path())
            .env("TERM", "xterm")
            .env_remove("OPENAGENTS_PASSPHRASE_FILE");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(String::new()));
        let sink = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut bytes) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { child, keys, shown, read: 0 }
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits until this is shown, after what was waited for before; gives what stands between.
    fn until(&mut self, awaited: &str) -> String {
        let start = Instant::now();
        loop {
            let shown = self.shown();
            if let Some(at) = shown[self.read..].find(awaited) {
                let before = shown[self.read..self.read + at].to_owned();
                self.read += at + awaited.len();
                return before;
            }
            assert!(start.elapsed() < PATIENCE, "{awaited:?} is not shown: {:?}", &shown[self.read..]);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types what must not be shown. A prompt is there a moment before the terminal shows nothing more; a person is slower.
    fn type_secret(&mut self, line: &str) {
        std::thread::sleep(Duration::from_millis(300));
        self.type_line(line);
    }

    fn type_line(&mut self, line: &str) {
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn ends(mut self, exit: i32) -> String {
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(exit), "{}", self.shown());
        self.shown()
    }
}

/// Whether this machine lends terminals.
fn there_are_terminals() -> bool {
    let there = Command::new("script").arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "script is missing");
    if !there {
        eprintln!("script is missing; skipped");
    }
    there
}

/// What is left on the terminal's first screen, where history is kept.
fn first_screen(shown: &str) -> String {
    let mut left = String::new();
    let mut rest = shown;
    while let Some((before, after)) = rest.split_once("\u{1b}[?1049h") {
        left.push_str(before);
        rest = after.split_once("\u{1b}[?1049l").map_or("", |(_, after)| after);
    }
    left + rest
}

#[test]
fn words_are_shown_one_by_one_and_none_is_left_on_the_screen() {
    if !there_are_terminals() {
        return;
    }
    let home = Home::new();
    home.done(&["create"]);
    let words = home.words();
    let mut terminal = Terminal::run(&home, "show");
    terminal.until("Enter shows the first word");
    for (place, word) in words.split(' ').enumerate() {
        terminal.type_line("");
        terminal.until(&format!("word {} of 12", place + 1));
        let seen = terminal.until("Enter ");
        assert_eq!(seen.trim(), word, "one word at a time");
    }
    terminal.type_line("");
    let shown = terminal.ends(0);
    let left = first_screen(&shown);
    assert!(left.contains("now prove what you wrote"), "{left}");
    // Some of what it says are words of the list as well.
    let left = left.replace("now prove what you wrote: openagents wallet seed verify --network", "");
    assert!(!words.split(' ').any(|word| left.split_whitespace().any(|seen| seen == word)), "{left}");
}

#[test]
fn words_are_hidden_when_nobody_comes_back_and_a_passphrase_is_asked_for_again() {
    if !there_are_terminals() {
        return;
    }
    let home = Home::new();
    let passphrase = home.with("passphrase", "correct horse\n");
    let sealed =
        home.command(&["wallet", "seed", "create"]).env("OPENAGENTS_PASSPHRASE_FILE", passphrase).status();
    assert!(sealed.unwrap().success());
    assert_eq!(home.status()["storage"], "passphrase");
    let mut terminal = Terminal::run(&home, "show --lock-after 1");
    terminal.until("the passphrase of this home");
    terminal.type_secret("correct horse");
    terminal.until("Enter shows the first word");
    terminal.until("Locked. Enter unlocks");
    terminal.type_line("");
    terminal.until("the passphrase of this home");
    terminal.type_secret("battery staple");
    let shown = terminal.ends(4);
    assert!(first_screen(&shown).contains("the mainnet seed cannot be unlocked"), "{shown}");
    assert!(!shown.contains("battery") && !shown.contains("horse"), "{shown}");
}

#[test]
fn ctrl_c_leaves_no_word_behind() {
    if !there_are_terminals() {
        return;
    }
    let home = Home::new();
    home.done(&["create"]);
    let mut terminal = Terminal::run(&home, "show --all");
    terminal.until("Enter shows them");
    terminal.type_line("");
    terminal.until("Enter clears the screen");
    terminal.keys.write_all(b"\x03").unwrap();
    let shown = terminal.ends(130);
    assert!(shown.trim_end().ends_with("\u{1b}[?1049l"), "{shown:?}");
}

#[test]
fn the_quiz_asks_other_words_after_a_mistake_and_ends_the_reminders() {
    if !there_are_terminals() {
        return;
    }
    let home = Home::new();
    home.done(&["create", "--words", "24"]);
    let words: Vec<String> = home.words().split(' ').map(str::to_owned).collect();
    let reminded =
        || text(&home.command(&["doctor", "--offline"]).output().unwrap()).contains("not backed up");
    assert!(reminded());
    let mut terminal = Terminal::run(&home, "verify");
    let mut ask = |right: bool| {
        let mut asked = Vec::new();
        for _ in 0..5 {
            terminal.until("word ");
            let position: usize = terminal.until(": ").parse().unwrap();
            terminal.type_line(if right { &words[position - 1] } else { "abandon" });
            asked.push(position);
        }
        asked
    };
    let first = ask(false);
    let second = ask(true);
    assert_ne!(first, second, "by chance once in five million times");
    let shown = terminal.ends(0);
    assert!(shown.contains("Not all of these were right"), "{shown}");
    let left = first_screen(&shown);
    assert!(left.contains("is backed up (shown by: quiz)"), "{left}");
    // What is said there, such as "seed", may be among the words by chance.
    let seen = words.iter().filter(|word| left.split_whitespace().any(|seen| seen == *word)).count();
    assert!(seen < 4, "{left}");
    assert_eq!(home.status()["verified_by"], "quiz");
    assert!(!reminded());
}

#[test]
fn words_are_typed_with_help_and_restore_the_seed() {
    if !there_are_terminals() {
        return;
    }
    let home = Home::new();
    let mut terminal = Terminal::run(&home, "restore");
    terminal.until("12 or 24?");
    terminal.type_line("12");
    terminal.until("word 1 of 12: ");
    terminal.type_line("leter");
    terminal.until("this word is not in the list; perhaps later, letter");
    terminal.type_line("lett advice cake absurd");
    terminal.until("word 5 of 12: ");
    terminal.type_line("amount doctor acoustic avoid letter advice cage above");
    terminal.until("the checksum fails");
    terminal.until("word 3 is cage, not cake");
    terminal.until("which word is to be typed again");
    terminal.type_line("3");
    terminal.until("word 3: ");
    terminal.type_line("cage");
    let shown = terminal.ends(0);
    assert!(first_screen(&shown).contains("restored the mainnet seed"), "{shown}");
    assert_eq!(home.words(), WORDS);
    assert_eq!(home.status()["verified_by"], "words");
}

#[test]
fn of_two_processes_that_make_a_seed_at_once_one_wins_and_nothing_is_lost() {
    for _ in 0..3 {
        let home = Home::new();
        // The home itself, so that what is raced for is the seed.
        assert!(home.command(&["identity", "create"]).output().unwrap().status.success());
        let start =
            || home.command(&["wallet", "seed", "create", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let racers = [start(), start(), start()];
        let outputs = racers.map(|racer| racer.wait_with_output().unwrap());
        let made: Vec<&Output> = outputs.iter().filter(|output| output.status.success()).collect();
        assert_eq!(made.len(), 1);
        let told: Value = serde_json::from_slice(&made[0].stdout).unwrap();
        assert_eq!(told["seed"]["fingerprint"], home.status()["fingerprint"]);
        assert_eq!(fingerprint(&home.words()), told["seed"]["fingerprint"]);
        assert!(home.old().is_empty());
    }
}

fn fingerprint(words: &str) -> String {
    Mnemonic::parse(words).unwrap().seed(None).fingerprint().to_string()
}

#[cfg(debug_assertions)]
#[test]
fn a_replacement_that_is_cut_short_leaves_the_old_seed_or_the_new_one() {
    for (failpoint, is_new) in [("seed-set-aside", false), ("seed-written", true)] {
        let home = Home::new();
        home.done(&["create"]);
        let (before, file) =
            (home.words(), std::fs::read(home.path().join("seed/mainnet/seed.json")).unwrap());
        let mut cut = home.command(&["wallet", "seed", "create", "--replace"]);
        assert_eq!(
            cut.env("OPENAGENTS_FAILPOINT", failpoint).output().unwrap().status.code(),
            None,
            "{failpoint}"
        );
        let after = home.words();
        assert_eq!(after != before, is_new, "{failpoint}");
        assert_eq!(fingerprint(&after), home.status()["fingerprint"].as_str().unwrap());
        let kept = home.old();
        assert_eq!(kept.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>(), [file]);
        // And the old one comes back, by its words or by its file.
        std::fs::copy(&kept[0], home.path().join("seed/mainnet/seed.json")).unwrap();
        assert_eq!(home.words(), before);
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_move_to_a_passphrase_and_back_that_is_cut_short_anywhere_loses_no_seed() {
    let home = Home::new();
    home.done(&["create"]);
    home.done(&["create", "--replace"]);
    let words = home.words();
    let passphrase = home.with("passphrase", "correct horse\n");
    let run = |arguments: &[&str], failpoint: Option<&str>| {
        let mut command = home.command(arguments);
        command.env("OPENAGENTS_PASSPHRASE_FILE", &passphrase);
        if let Some(name) = failpoint {
            command.env("OPENAGENTS_FAILPOINT", name);
        }
        command.output().unwrap()
    };
    for (to, failpoints) in [
        ("--passphrase", &["seed-resealed", "seed-resealed", "secret-forgotten"][..]),
        ("--file", &["secret-moved", "seed-resealed", "seed-resealed"][..]),
    ] {
        for failpoint in failpoints {
            let cut = run(&["identity", "protect", to], Some(failpoint));
            assert_eq!(cut.status.code(), None, "{to} {failpoint}: {}", text(&cut));
            let shown = run(&["wallet", "seed", "show", "--force-stdout"], None);
            assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), words, "{to} {failpoint}");
        }
        let end = run(&["identity", "protect", to], None);
        assert!(end.status.success(), "{}", text(&end));
    }
    assert_eq!(home.words(), words);
    std::fs::copy(&home.old()[0], home.path().join("seed/mainnet/seed.json")).unwrap();
    assert_ne!(home.words(), words, "the one that was set aside moved too, and opens");
}

/// Everything that must be said nowhere, as text and as bytes.
struct Canaries(Vec<(&'static str, Vec<u8>)>);

impl Canaries {
    fn of(words: &str, passwords: &[&'static str]) -> Self {
        let mnemonic = Mnemonic::parse(words).unwrap();
        let (entropy, seed) = (mnemonic.entropy(), mnemonic.seed(None));
        let three: Vec<&str> = words.split(' ').take(3).collect();
        let mut all = vec![
            ("three words", three.join(" ").into_bytes()),
            ("three words as a list", three.join("\",\"").into_bytes()),
            ("the entropy", entropy.to_vec()),
            ("the entropy's digits", hex(&entropy).into_bytes()),
            ("the seed", seed.expose()[..32].to_vec()),
            ("the seed's digits", hex(&seed.expose()[..32]).into_bytes()),
        ];
        all.extend(passwords.iter().map(|password| ("a password", password.as_bytes().to_vec())));
        Self(all)
    }

    fn found_in(&self, haystack: &[u8]) -> Option<&'static str> {
        let is_in =
            |needle: &Vec<u8>| haystack.windows(needle.len()).any(|window| window == needle.as_slice());
        self.0.iter().find(|(_, needle)| is_in(needle)).map(|(name, _)| *name)
    }

    fn none_in(&self, place: &str, haystack: &[u8]) {
        assert_eq!(self.found_in(haystack), None, "{place} tells it");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A node, killed when it is no longer looked at.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_word_no_seed_and_no_password_is_told_where_it_was_not_asked_for() {
    let (home, other) = (Home::new(), Home::new());
    let passphrase = home.with("passphrase", "canary of the home\n");
    let password = home.with("password", "canary of the file\n");
    let (password, backup) = (password.to_str().unwrap(), home.file("seed.backup"));
    let backup = backup.to_str().unwrap();
    let traced = |home: &Home, arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("OPENAGENTS_PASSPHRASE_FILE", &passphrase).env("OPENAGENTS_LOG", "trace");
        command
    };
    let run = |home: &Home, arguments: &[&str]| {
        let output = traced(home, arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}\n{}", text(&output));
        text(&output).into_bytes()
    };
    let mut said = run(&home, &["wallet", "seed", "create", "--words", "24"]);
    let shown = traced(&home, &["wallet", "seed", "show", "--force-stdout"]).output().unwrap();
    let words = String::from_utf8(shown.stdout).unwrap().trim().to_owned();
    said.extend(shown.stderr);
    let canaries = Canaries::of(&words, &["canary of the home", "canary of the file"]);
    assert!(canaries.found_in(words.as_bytes()).is_some(), "what is looked for can be found");

    said.extend(run(&home, &["wallet", "seed", "backup", backup, "--password-file", password]));
    said.extend(run(&home, &["wallet", "seed", "verify", "--backup", backup, "--password-file", password]));
    said.extend(run(&other, &["wallet", "seed", "restore", "--file", backup, "--password-file", password]));
    let written = home.with("words", &words);
    said.extend(run(&other, &["wallet", "seed", "restore", "--file", written.to_str().unwrap()]));
    said.extend(run(&home, &["identity", "create"]));
    said.extend(run(&home, &["doctor", "--offline"]));
    canaries.none_in("the program's output and its log", &said);
    assert_eq!(other.status()["fingerprint"], home.status()["fingerprint"]);

    let log = std::fs::File::create(home.file("log")).unwrap();
    let mut up = traced(&home, &["up", "--offline", "--free", "--listen", "127.0.0.1:0", "--json", "-vvv"]);
    let mut node = Node(up.stdout(Stdio::piped()).stderr(log).spawn().unwrap());
    let mut first = String::new();
    BufReader::new(node.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let up: Value = serde_json::from_str(&first).unwrap();
    let app = up["app"].as_str().unwrap().to_owned();
    let token = std::fs::read_to_string(home.path().join("api.token")).unwrap();
    for path in ["/api/v1/wallet/seed/status", "/api/v1/node", "/", "/metrics", "/api/v1/wallet/seed"] {
        let answer = get(&app, &token, path);
        canaries.none_in(path, answer.as_bytes());
        if path.ends_with("status") {
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            let view: Value = serde_json::from_str(body).unwrap();
            assert_eq!(view["seeds"][0]["verified_by"], "backup", "{view}");
            assert_eq!(view["seeds"][0]["fingerprint"], home.status()["fingerprint"]);
        }
    }
    let refused =
        traced(&home, &["wallet", "seed", "restore", "--file", written.to_str().unwrap()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "a node runs: {}", text(&refused));
    canaries.none_in("a refusal", text(&refused).as_bytes());
    for name in ["cmdline", "environ"] {
        let path = format!("/proc/{}/{name}", node.0.id());
        canaries.none_in(&path, &std::fs::read(&path).unwrap());
    }
    drop(node);
    canaries.none_in("the node's log", &std::fs::read(home.file("log")).unwrap());
    for path in [files(&home.path()), files(&other.path()), vec![backup.into()]].concat() {
        canaries.none_in(&path.display().to_string(), &std::fs::read(&path).unwrap());
    }
}

/// An answer of the node, whole.
fn get(app: &str, token: &str, path: &str) -> String {
    let host = app.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let token = token.trim();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_sheet_is_for_its_owner_alone_and_is_not_written_over_anything() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    home.done(&["create"]);
    let words = home.words();
    let (full, blank) = (home.file("full.html"), home.file("blank.html"));
    let told = home.done(&["show", "--paper", full.to_str().unwrap()]);
    assert!(told.contains("delete the file now"), "{told}");
    home.done(&["show", "--paper", blank.to_str().unwrap(), "--blank"]);
    for path in [&full, &blank] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let page = std::fs::read_to_string(path).unwrap();
        assert!(!page.contains("{rows}"), "{page}");
        let cells = page.split("<th>").skip(1).filter_map(|rest| rest.split("</td>").next());
        let mut numbered: Vec<(usize, &str)> = cells
            .filter_map(|cell| cell.split_once(".</th><td>"))
            .map(|(n, word)| (n.parse().unwrap(), word))
            .collect();
        numbered.sort_unstable();
        let expected: Vec<(usize, &str)> =
            words.split(' ').enumerate().map(|(n, word)| (n + 1, word)).collect();
        let expected = if path == &full { expected } else { (1..=12).map(|n| (n, "")).collect() };
        assert_eq!(numbered, expected);
    }
    let again = home.seed(&["show", "--paper", full.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
}

/// The fingerprint of [`WORDS`] with a passphrase.
fn fingerprint_with(passphrase: &str) -> String {
    let passphrase = Passphrase::new(passphrase).unwrap();
    Mnemonic::parse(WORDS).unwrap().seed(Some(&passphrase)).fingerprint().to_string()
}

#[test]
fn a_passphrase_is_typed_twice_and_asked_for_before_the_quiz() {
    if !there_are_terminals() {
        return;
    }
    let home = Home::new();
    let mut terminal = Terminal::run(&home, "create --passphrase");
    terminal.until("the passphrase that belongs to the words (not shown): ");
    terminal.type_secret("blue ocean");
    terminal.until("the same once more (not shown): ");
    terminal.type_secret("blue 0cean");
    assert!(terminal.ends(2).contains("the two are not the same"));
    assert!(home.status().is_null(), "nothing is made");

    let mut terminal = Terminal::run(&home, "create --passphrase");
    for question in ["that belongs to the words (not shown): ", "once more (not shown): "] {
        terminal.until(question);
        terminal.type_secret("blue ocean");
    }
    let shown = terminal.ends(0);
    assert!(
        shown.contains("a mainnet seed of 12 words and a passphrase") && !shown.contains("ocean"),
        "{shown}"
    );
    assert_eq!(home.status()["passphrase"], true);

    let words: Vec<String> = home.words().split(' ').map(str::to_owned).collect();
    let mut terminal = Terminal::run(&home, "verify");
    terminal.until("belongs to the words (not shown): ");
    terminal.type_secret("blue Ocean");
    terminal.until("this is not the passphrase");
    terminal.until("belongs to the words (not shown): ");
    terminal.type_secret("blue ocean");
    for _ in 0..4 {
        terminal.until("word ");
        let position: usize = terminal.until(": ").parse().unwrap();
        terminal.type_line(&words[position - 1]);
    }
    let shown = terminal.ends(0);
    assert!(shown.contains("is backed up (shown by: quiz)") && !shown.contains("ocean"), "{shown}");

    let mut terminal = Terminal::run(&home, "verify");
    for _ in 0..3 {
        terminal.until("belongs to the words (not shown): ");
        terminal.type_line("");
    }
    assert!(terminal.ends(4).contains("the passphrase was not right"));
}

#[test]
fn words_with_their_passphrase_restore_the_seed_and_the_backup_has_both() {
    let home = Home::new();
    let (words, secret) = (home.with("words", WORDS), home.with("secret", "TREZOR\n"));
    let (words, secret) = (words.to_str().unwrap(), secret.to_str().unwrap());
    let told = home.done(&["restore", "--file", words, "--passphrase-file", secret]);
    assert!(
        told.contains("of 12 words and a passphrase") && told.contains("compare the fingerprint"),
        "{told}"
    );
    assert_eq!(home.status()["fingerprint"], fingerprint_with("TREZOR"));
    assert!(home.done(&["status"]).contains("12 and a passphrase"));
    let shown = home.seed(&["show", "--force-stdout"]);
    assert!(text(&shown).contains("a passphrase belongs to these words"), "{}", text(&shown));
    assert!(!text(&shown).contains("TREZOR"));

    let sheet = home.file("sheet.html");
    home.done(&["show", "--paper", sheet.to_str().unwrap()]);
    let page = std::fs::read_to_string(&sheet).unwrap();
    assert!(page.contains("a passphrase that is not on this sheet") && !page.contains("TREZOR"), "{page}");
    assert!(!page.contains("{apart}") && !page.contains("no passphrase"), "{page}");

    let password = home.with("password", "four random words here");
    let backup = home.file("seed.backup");
    let (password, backup) = (password.to_str().unwrap(), backup.to_str().unwrap());
    home.done(&["backup", backup, "--password-file", password]);
    let file = std::fs::read_to_string(backup).unwrap();
    assert!(file.contains("words and passphrase") && !file.contains("TREZOR"), "{file}");
    home.done(&["verify", "--backup", backup, "--password-file", password]);

    let other = Home::new();
    let twice = ["restore", "--file", backup, "--password-file", password, "--passphrase-file", secret];
    let refused = other.seed(&twice);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("a backup holds its passphrase itself"), "{}", text(&refused));
    other.done(&twice[..5]);
    assert_eq!(other.status()["fingerprint"], fingerprint_with("TREZOR"));

    for (content, words) in [("", "the passphrase is empty"), (&*"x".repeat(300), "longer than 255 bytes")] {
        let file = home.with("bad", content);
        let refused =
            home.seed(&["create", "--network", "signet", "--passphrase-file", file.to_str().unwrap()]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused).contains(words), "{}", text(&refused));
    }
    let nobody = home.seed(&["create", "--network", "signet", "--passphrase"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(text(&nobody).contains("give it with --passphrase-file FILE"), "{}", text(&nobody));
}
