//! The way from a command to the home and to the node that runs in it.

use openagents_api::{Client, TestWalletBody};
use openagents_node::home::Home;
use serde::Deserialize;

use crate::{args::Global, exit::Exit, failure::Failure};

/// The home the command works in.
pub(crate) fn home(global: &Global) -> anyhow::Result<Home> {
    // What is printed or announced has to mean the same from every directory.
    let directory = global.home.as_deref().map(std::path::absolute).transpose()?;
    Ok(Home::open(directory)?)
}

/// Where the home keeps its wallet connection, secret included.
pub(crate) fn wallet_file(home: &Home) -> std::path::PathBuf {
    home.data_file("wallet.nwc")
}

/// A client of the node that runs in this home.
pub(crate) fn connect(home: &Home) -> anyhow::Result<Client> {
    let (app, token) = address(home)?;
    Ok(Client::new(&app, &token)?)
}

/// Where the running node listens, and the token that opens its API.
fn address(home: &Home) -> anyhow::Result<(String, String)> {
    let app = home.running_app().ok_or_else(not_running)?;
    let path = home.data_file("api.token");
    let token = std::fs::read_to_string(&path).map_err(|error| {
        let what = format!("a node runs at {app}, but its token {} cannot be read: {error}", path.display());
        Failure::new(Exit::Auth, what, "run this as the user who started the node")
    })?;
    Ok((app, token.trim().to_owned()))
}

/// What has to be said where a command needs a node.
pub(crate) fn not_running() -> Failure {
    Failure {
        exit: Exit::Error,
        what: "no node runs in this home".into(),
        money: "this command moved none; what an earlier node had under way is settled when one runs again".into(),
        next: "start one in another terminal with `openagents up` (or `openagents up --offline` to try it without a \
               network)"
            .into(),
    }
}

/// Opens a funded testnet account at the running node: its wallet connection.
pub(crate) async fn new_testnet_wallet(home: &Home, wanted: &TestWalletBody) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Opened {
        uri: String,
    }
    let (app, token) = address(home)?;
    #[allow(clippy::disallowed_methods, reason = "talks to our own node on loopback only")]
    let http = reqwest::Client::builder().no_proxy().build()?;
    let request = http.post(format!("{app}/api/v1/testnet/wallets")).bearer_auth(token);
    let response = request.json(wanted).send().await?;
    if !response.status().is_success() {
        let status = response.status();
        return Err(match response.json::<openagents_api::Problem>().await {
            Ok(problem) => openagents_api::ClientError::Refused(problem).into(),
            Err(_) => {
                Failure::new(Exit::Error, format!("the node answered HTTP {status}"), "see the node's log")
                    .into()
            }
        });
    }
    Ok(response.json::<Opened>().await?.uri)
}
