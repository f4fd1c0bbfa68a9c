//! The model store, by the real program and a hub of its own that breaks off, lies, floods and sends away.
//!
//! The last test serves a model of the store with the real `llama-server`, where `OPENAGENTS_TEST_LLAMA_SERVER` and
//! `OPENAGENTS_TEST_LLAMA` say where it and its tiny model are.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that panics has failed, as it should")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use openagents_models::{Hub, HubError, Patience, Pull, PullError, Room, Store, pull};
use openagents_tests::{Fault, HubFile, HubServer, PATIENCE, programs, tiny_gguf};
use serde_json::Value;

/// Bytes of the usual model: a few dozen pieces of a slow storage.
const SIZE: usize = 600 << 10;
const SECRET: &str = "hf_onlyForTheHub";

/// A home whose settings name a hub.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(hub: &HubServer, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("home")).unwrap();
        let place = Self { folder };
        place.settings(&format!("[models]\nhub = \"{}\"\n{more}", hub.url));
        place
    }

    fn settings(&self, text: &str) {
        std::fs::write(self.home().join("config.toml"), text).unwrap();
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn models(&self) -> PathBuf {
        self.home().join("models")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(programs().join("openagents"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("OPENAGENTS_HOME", self.home()).current_dir(self.folder.path());
        command.args(words).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What a command that succeeds prints, as JSON.
    fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{words:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What a command that fails says, and its exit code.
    fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{words:?}: {said}");
        (output.status.code().unwrap(), said)
    }

    /// The models that are in the store, all of them whole.
    fn names(&self) -> Vec<String> {
        let listed = self.json(&["models", "list", "--check"]);
        let models = listed["models"].as_array().unwrap();
        assert!(models.iter().all(|model| model["faults"] == serde_json::json!([])), "{listed}");
        models.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Names of all files below the store.
    fn files(&self) -> Vec<String> {
        fn below(folder: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => below(&entry.path(), found),
                    false => found.push(entry.file_name().into_string().unwrap()),
                }
            }
        }
        let mut found = Vec::new();
        below(&self.models(), &mut found);
        found.sort();
        found
    }
}

fn usual() -> Vec<HubFile> {
    vec![
        HubFile::small("README.md", "# A model"),
        HubFile::large("tiny-Q4_K_M.gguf", tiny_gguf(1_000)),
        HubFile::large("tiny-Q8_0.gguf", tiny_gguf(SIZE)),
    ]
}

const MODEL: [&str; 3] = ["models", "pull", "o/r:Q8_0"];

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_fetched_once_at_a_commit_and_known_by_its_hash() {
    let hub = HubServer::start(usual()).await;
    let place = Place::new(&hub, "");
    let (exit, said) = place.fails(&["models", "pull", "o/r"]);
    assert_eq!(exit, 2, "{said}");
    assert!(said.contains("Q4_K_M") && said.contains("tiny-Q8_0.gguf") && said.contains("o/r:Q"), "{said}");
    let pulled = place.json(&["models", "pull", "o/r:q8_0"]);
    let model = &pulled["model"];
    assert_eq!((&pulled["fetched"], &model["license"]), (&true.into(), &"apache-2.0".into()));
    assert_eq!(model["source"]["hub"]["commit"], "0123456789abcdef0123456789abcdef01234567");
    assert_eq!((&model["quantization"], &model["format"]), (&"Q8_0".into(), &"gguf".into()));
    let path = model["path"].as_str().unwrap();
    assert_eq!(std::fs::read(path).unwrap(), tiny_gguf(SIZE));
    assert_eq!(place.names(), ["tiny-Q8_0"]);
    hub.does(Fault::None);
    assert_eq!(place.json(&MODEL)["fetched"], false);
    assert!(hub.seen().iter().all(|seen| !seen.at_storage), "what is there is not fetched again");
    // Rot is found.
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
    let output = place.run(&["models", "list", "--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("FAIL  tiny-Q8_0: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_where_it_broke_off() {
    let hub = HubServer::start(usual()).await;
    let place = Place::new(&hub, "");
    hub.does(Fault::Cuts(SIZE / 3));
    assert_eq!(place.json(&MODEL)["fetched"], true);
    let from: Vec<usize> = hub.seen().iter().filter(|it| it.at_storage).map(|it| it.from).collect();
    assert_eq!(from, [0, SIZE / 3, 2 * (SIZE / 3), 3 * (SIZE / 3)]);
    assert_eq!(place.names(), ["tiny-Q8_0"]);
    for fault in [Fault::IgnoresRange, Fault::SendsAnotherPart] {
        let place = Place::new(&hub, "");
        begun(&hub, &place);
        hub.does(fault);
        assert_eq!(place.json(&MODEL)["fetched"], true, "{fault:?}");
        assert!(hub.seen().iter().any(|seen| seen.at_storage && seen.from > 0), "{fault:?}");
        assert_eq!(place.names(), ["tiny-Q8_0"]);
    }
}

/// Begins a pull and kills it in the middle of the file.
fn begun(hub: &HubServer, place: &Place) {
    hub.does(Fault::Slow);
    let mut child = place.command(&MODEL).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !place.files().iter().any(|name| name.ends_with(".part")) {
        assert!(start.elapsed() < PATIENCE, "it never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(150));
    child.kill().unwrap();
    child.wait().unwrap();
    let listed = place.json(&["models", "list"]);
    assert_eq!(listed["models"], serde_json::json!([]), "what is not whole is no model");
    assert!(listed["unfinished"][0]["size"].as_u64().unwrap() > 0, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_it_is_killed_the_store_holds_the_old_model_or_the_new_one() {
    let hub = HubServer::start(usual()).await;
    let place = Place::new(&hub, "");
    place.json(&["models", "pull", "o/r:Q4_K_M", "--name", "m"]);
    hub.does(Fault::Slow);
    let wanted = ["models", "pull", "o/r:Q8_0", "--name", "m"];
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds < 100, "it never came to an end");
        let mut child = place.command(&wanted).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + 13 * rounds));
        let _ = child.kill();
        let ended = child.wait().unwrap();
        assert_eq!(place.names(), ["m"], "after {rounds} rounds");
        if ended.success() {
            break;
        }
    }
    let model = &place.json(&["models", "list"])["models"][0];
    assert_eq!((&model["quantization"], &model["size"]), (&"Q8_0".into(), &tiny_gguf(SIZE).len().into()));
    assert_eq!(place.files(), [".lock", "m.json", "tiny-Q8_0.gguf"], "what is used no more is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_the_hub_lists_never_gets_its_name() {
    let hub = HubServer::start(usual()).await;
    let place = Place::new(&hub, "");
    for (fault, word) in [
        (Fault::Lies, "its hash is another"),
        (Fault::Floods, "another length"),
        (Fault::SendsAway, "not safe"),
    ] {
        hub.does(fault);
        let (_, said) = place.fails(&MODEL);
        assert!(said.contains(word), "{fault:?}: {said}");
        assert_eq!(place.names(), [""; 0]);
        assert!(
            !place.files().iter().any(|name| name.ends_with(".gguf") || name.ends_with(".part")),
            "{fault:?}"
        );
    }
    // Half of another file is here from before: it is found out, and fetched from the beginning.
    let part = place.models().join("tiny-Q8_0@0123456789ab");
    std::fs::create_dir_all(&part).unwrap();
    std::fs::write(part.join("tiny-Q8_0.gguf.part"), vec![7; SIZE / 2]).unwrap();
    hub.does(Fault::None);
    assert_eq!(place.json(&MODEL)["fetched"], true);
    let from: Vec<usize> = hub.seen().iter().filter(|it| it.at_storage).map(|it| it.from).collect();
    assert_eq!(from, [SIZE / 2, 0]);
    assert_eq!(place.names(), ["tiny-Q8_0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_goes_to_the_hub_alone_and_is_never_shown() {
    let hub = HubServer::start(usual()).await;
    hub.wants(SECRET);
    let place = Place::new(&hub, "");
    let (exit, said) = place.fails(&MODEL);
    assert_eq!(exit, 4, "{said}");
    assert!(said.contains("gated") && said.contains("HF_TOKEN"), "{said}");
    let wrong = place.command(&MODEL).env("HF_TOKEN", "hf_wrong").output().unwrap();
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("does not open it"));
    hub.does(Fault::None);
    let output = place.command(&MODEL).args(["-vvv", "--json"]).env("HF_TOKEN", SECRET).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let seen = hub.seen();
    assert!(seen.iter().any(|it| it.at_storage), "{seen:?}");
    assert!(seen.iter().all(|it| it.token.is_none() == it.at_storage), "{seen:?}");
    let said = [output.stdout, output.stderr, std::fs::read(place.models().join("tiny-Q8_0.json")).unwrap()]
        .concat();
    assert!(!String::from_utf8_lossy(&said).contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_taken_is_refused_before_a_byte_of_it_comes() {
    for (file, words) in [
        (
            HubFile { listed: Some(200_000_000_000), ..HubFile::large("m.gguf", "") },
            &["quota_gb", "200 GB", "models remove"][..],
        ),
        (HubFile::large("pytorch_model.bin", "x"), &["pickle", "runs code"]),
        (HubFile::large("../../m.gguf", "x"), &["lead out of the model store"]),
        (HubFile::large("/etc/m.gguf", "x"), &["lead out of the model store"]),
        (HubFile::large("a\\m.gguf", "x"), &["lead out of the model store"]),
        (HubFile::large("m-00001-of-00002.gguf", "x"), &["1 of its 2 parts"]),
        (HubFile::small("README.md", "x"), &["no model in it"]),
    ] {
        let hub = HubServer::start(vec![file.clone()]).await;
        let place = Place::new(&hub, "");
        let (_, said) = place.fails(&["models", "pull", "o/r"]);
        assert!(words.iter().all(|word| said.contains(word)), "{}: {said}", file.name);
        assert!(hub.seen().iter().all(|seen| !seen.at_storage));
        assert_eq!(place.names(), [""; 0]);
    }
    // What is as listed and no model is not kept either.
    let hub = HubServer::start(vec![HubFile::large("m.gguf", "<html>")]).await;
    let place = Place::new(&hub, "");
    let (_, said) = place.fails(&["models", "pull", "o/r"]);
    assert!(said.contains("no GGUF file"), "{said}");
    let (_, said) = place.fails(&["models", "pull", "o/other"]);
    assert!(said.contains("no repository o/other"), "{said}");
    let (_, said) = place.fails(&["models", "pull", "o/r", "--revision", "v/2"]);
    assert!(said.contains("no revision \"v/2\""), "{said}");
    let (exit, said) = place.fails(&["models", "pull", "o"]);
    assert!(exit == 2 && said.contains("OWNER/REPOSITORY"), "{said}");
    assert!(!place.models().join("m.json").exists() && place.files() == [".lock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_for_mlx_comes_whole_and_without_code() {
    let head = "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    let weights = [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), &[0; 8]].concat();
    let hub = HubServer::start(vec![
        HubFile::small("config.json", "{\"max_position_embeddings\": 4096}"),
        HubFile::small("modeling.py", "print(1)"),
        HubFile::large("model.safetensors", weights),
        HubFile::large("tokenizer.json", "{}"),
        HubFile::large("pytorch_model.bin", "x"),
    ])
    .await;
    let place = Place::new(&hub, "[[backend.mlx]]\nmodel = \"store:mine\"\nprogram = \"sh\"\n");
    let (_, said) = place.fails(&["config", "validate"]);
    assert!(said.contains("no \"mine\"") && said.contains("models pull"), "{said}");
    let model = &place.json(&["models", "pull", "o/r", "--name", "mine"])["model"];
    assert_eq!((&model["format"], &model["used_by"]), (&"safetensors".into(), &serde_json::json!(["mlx"])));
    assert_eq!(place.files(), [".lock", "config.json", "mine.json", "model.safetensors", "tokenizer.json"]);
    assert!(place.run(&["config", "validate"]).status.success());
    let (exit, said) = place.fails(&["models", "remove", "mine", "--yes"]);
    assert!(exit == 3 && said.contains("used by mlx"), "{said}");
    assert!(place.fails(&["models", "bench", "mine", "--program", "/no/mlx"]).1.contains("not installed"));
    place.json(&["models", "remove", "mine", "--yes", "--force"]);
    assert_eq!(place.files(), [".lock"]);
    assert!(place.fails(&["up", "--offline", "--listen", "127.0.0.1:0"]).1.contains("models pull"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_commit_takes_the_place_of_the_older_one_when_no_node_may_have_it_open() {
    const NEWER: &str = "89abcdef0123456789abcdef0123456789abcdef";
    const NEWEST: &str = "fedcba9876543210fedcba9876543210fedcba98";
    let at = |size| vec![HubFile::large("tiny-Q8_0.gguf", tiny_gguf(size))];
    let hub = HubServer::start(usual()).await;
    let place = Place::new(&hub, "");
    let first = place.json(&MODEL)["model"].clone();
    hub.has(NEWER, at(2_000));
    let pulled = place.json(&MODEL);
    assert_eq!(
        (&pulled["fetched"], &pulled["model"]["source"]["hub"]["commit"]),
        (&true.into(), &NEWER.into())
    );
    assert_eq!(std::fs::read(pulled["model"]["path"].as_str().unwrap()).unwrap(), tiny_gguf(2_000));
    assert!(!Path::new(first["path"].as_str().unwrap()).exists());
    assert_eq!(place.files(), [".lock", "tiny-Q8_0.gguf", "tiny-Q8_0.json"]);
    // While a node holds its home, what it may have open stays, and nothing is deleted by mistake.
    let lock = place.home().join("node.lock");
    std::fs::write(&lock, "1\nhttp://127.0.0.1:1\n").unwrap();
    let held = std::fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    hub.has(NEWEST, at(3_000));
    place.json(&MODEL);
    assert!(Path::new(pulled["model"]["path"].as_str().unwrap()).exists());
    let (exit, said) = place.fails(&["models", "remove", "tiny-Q8_0", "--yes"]);
    assert!(exit == 3 && said.contains("a node runs") && said.contains("--force"), "{said}");
    drop(held);
    let output = place.run(&["models", "list"]);
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(listed.contains("left over: tiny-Q8_0") && !listed.contains("models remove"), "{listed}");
    assert_eq!(place.json(&MODEL)["fetched"], false);
    assert_eq!(place.files(), [".lock", "tiny-Q8_0.gguf", "tiny-Q8_0.json"]);
    assert_eq!(place.names(), ["tiny-Q8_0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_model_or_another_leaves_the_one_that_is_there() {
    let hub = HubServer::start([usual(), vec![HubFile::large("bad-Q5_0.gguf", "<html>")]].concat()).await;
    let place = Place::new(&hub, "");
    place.json(&MODEL);
    let (_, said) = place.fails(&["models", "pull", "o/r:Q5_0", "--name", "tiny-Q8_0"]);
    assert!(said.contains("no GGUF file"), "{said}");
    assert_eq!(place.files(), [".lock", "tiny-Q8_0.gguf", "tiny-Q8_0.json"]);
    assert_eq!(place.names(), ["tiny-Q8_0"]);
    let own = place.folder.path().join("tiny-Q4_K_M.gguf");
    std::fs::write(&own, tiny_gguf(10)).unwrap();
    place.json(&["models", "add", own.to_str().unwrap()]);
    hub.does(Fault::None);
    let (_, said) = place.fails(&["models", "pull", "o/r:Q4_K_M"]);
    assert!(said.contains("called tiny-Q4_K_M already") && said.contains("--name"), "{said}");
    assert!(hub.seen().iter().all(|seen| !seen.at_storage));
    place.json(&["models", "pull", "o/r:Q4_K_M", "--name", "another"]);
    assert_eq!(place.names(), ["another", "tiny-Q4_K_M", "tiny-Q8_0"]);
    // What cannot be read is told, and can be removed; the others stay.
    std::fs::write(place.models().join("another.json"), "{").unwrap();
    let listed = place.json(&["models", "list"]);
    assert!(listed["unreadable"][0].as_str().unwrap().contains("another.json cannot be read"), "{listed}");
    assert_eq!(
        (listed["models"].as_array().unwrap().len(), &listed["unfinished"]),
        (2, &serde_json::json!([]))
    );
    assert_eq!(place.fails(&["models", "list", "--check"]).0, 1);
    assert_eq!(place.fails(&["models", "remove", "another"]).0, 2, "it is asked about");
    place.json(&["models", "remove", "another", "--yes"]);
    assert_eq!(place.names(), ["tiny-Q4_K_M", "tiny-Q8_0"]);
}

#[tokio::test]
async fn a_storage_that_breaks_off_and_forgets_is_given_up() {
    openagents_node::install_tls();
    let hub = HubServer::start(usual()).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("models"));
    let second = Duration::from_secs(1);
    let patience = Patience { connect: second, stall: second, retries: 2, pause: Duration::from_millis(1) };
    let client = Hub::new(&hub.url, None, patience).unwrap();
    let wanted = "o/r:Q8_0".parse().unwrap();
    let it = Pull { wanted: &wanted, revision: "main", name: None, room: Room { quota: 1 << 30 }, now_ms: 0 };
    hub.does(Fault::Forgets(SIZE / 3));
    let check = |_, _: &Path| Ok(());
    let outcome = tokio::time::timeout(PATIENCE, pull(&store, &client, it, &check, &mut |_| ())).await;
    let error = outcome.unwrap().unwrap_err().to_string();
    assert!(error.contains("breaks off again and again"), "{error}");
    hub.does(Fault::None);
    assert!(pull(&store, &client, it, &check, &mut |_| ()).await.is_ok());
}

#[tokio::test]
async fn a_hub_that_falls_silent_is_given_up_and_a_slow_one_is_not() {
    openagents_node::install_tls();
    let hub = HubServer::start(usual()).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("models"));
    let patience = Patience {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(300),
        retries: 1,
        pause: Duration::from_millis(1),
    };
    let client = Hub::new(&hub.url, None, patience).unwrap();
    let wanted = "o/r:Q8_0".parse().unwrap();
    let room = Room { quota: 1 << 30 };
    let it = Pull { wanted: &wanted, revision: "main", name: None, room, now_ms: 0 };
    hub.does(Fault::Stalls(0));
    let outcome = pull(&store, &client, it, &|_, _| Ok(()), &mut |_| ()).await;
    assert!(matches!(outcome, Err(PullError::Fetch(_))), "{outcome:?}");
    assert!(outcome.unwrap_err().to_string().contains("fell silent"));
    assert_eq!(hub.seen().iter().filter(|seen| seen.at_storage).count(), 2, "tried again once");
    // Longer than the patience for a stall in all.
    hub.does(Fault::Slow);
    assert!(pull(&store, &client, it, &|_, _| Ok(()), &mut |_| ()).await.is_ok());
    let held = store.lock().unwrap();
    let busy = pull(&store, &client, it, &|_, _| Ok(()), &mut |_| ()).await.unwrap_err();
    assert!(busy.to_string().contains("is at work"), "{busy}");
    drop(held);
    assert!(matches!(Hub::new("http://192.0.2.1", None, patience), Err(HubError::Address(_))));
}

/// A node, which ends with the test.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_the_store_is_measured_and_sold() {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (Some(program), Some(python)) =
        (named("OPENAGENTS_TEST_LLAMA_SERVER"), named("OPENAGENTS_TEST_LLAMA"))
    else {
        eprintln!("skipped: OPENAGENTS_TEST_LLAMA_SERVER or OPENAGENTS_TEST_LLAMA is not set");
        return;
    };
    let bytes = std::fs::read(python.ancestors().nth(3).unwrap().join("tiny.gguf")).unwrap();
    let hub = HubServer::start(vec![HubFile::large("tiny-F16.gguf", bytes)]).await;
    let program = program.to_str().unwrap();
    let server = format!(
        "[[backend.llamacpp]]\nmodel = \"store:mine\"\nprogram = \"{program}\"\nthreads = 1\ncontext = 2048\n\
         [resources]\non_battery = \"work\"\nbattery_from_percent = 0\n"
    );
    let place = Place::new(&hub, &server);
    let model = place.json(&["models", "pull", "o/r", "--name", "mine"])["model"].clone();
    let bench = place.json(&["models", "bench", "mine", "--tokens", "16"]);
    assert_eq!(bench["runs"].as_array().unwrap().len(), 3, "{bench}");
    assert!(bench["runs"][0]["tokens_per_second"].as_f64().unwrap() > 0.0, "{bench}");
    let mut up = place.command(&["up", "--offline", "--listen", "127.0.0.1:0", "--json"]);
    let mut node = Node(up.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(node.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"app\""), "{line}");
    let start = Instant::now();
    let asked = loop {
        let words = ["ask", "Who runs the market?", "--kind", "5050", "--max-sat", "100", "--json"];
        let output = place.run(&words);
        if output.status.success() {
            break String::from_utf8(output.stdout).unwrap();
        }
        assert!(start.elapsed() < PATIENCE, "{output:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(asked.contains("runs the market"), "{asked}");
    let receipts = place.run(&["receipts", "list", "--json"]);
    let receipts = String::from_utf8(receipts.stdout).unwrap();
    assert!(receipts.contains(model["digest"].as_str().unwrap()), "{receipts}");
    assert!(receipts.contains("\"mine\""), "{receipts}");
}
