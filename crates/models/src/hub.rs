//! A hub of models, as Hugging Face's: what a repository has at a commit, and the bytes of its files.
//!
//! The way there is HTTPS, or loopback. Redirects are followed by hand, so that the token goes to the hub's own origin
//! and never to the storage that it sends us to. Answers are bounded; a server that falls silent is given up.
//! The API: <https://huggingface.co/docs/hub/api>.

use std::{collections::BTreeSet, time::Duration};

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE},
    redirect::Policy,
};
use serde::Deserialize;
use serde_json::Value;

use crate::names::{FilePath, NameError, Repository};

/// The longest list of files that is read, in bytes: a repository of thousands of files.
const LONGEST_LIST: usize = 16 << 20;
/// Redirects that are followed: the hub renames repositories, and sends to its storage.
const MOST_REDIRECTS: usize = 6;
/// Of a text that the hub says, such as a license.
const LONGEST_WORD: usize = 80;

/// How long a hub is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// For the next bytes. There is no limit for a whole file.
    pub stall: Duration,
    /// How often in a row it is tried again without anything having come.
    pub retries: u32,
    /// Before it is tried again the first time; doubled with each failure.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            retries: 4,
            pause: Duration::from_millis(500),
        }
    }
}

/// The secret that opens gated repositories. It cannot be printed.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Token {
    /// From its text; `None` if no header can carry it.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut value = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| !text.is_empty())?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// What the hub says that a file's hash is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The SHA-256 of a large file.
    Sha256(String),
    /// Git's hash of a small one: the SHA-1 of its length and its bytes.
    Blob(String),
}

/// A file that a hub lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub path: FilePath,
    /// Its length in bytes.
    pub size: u64,
    /// Its hash; one without is not fetched.
    pub known: Option<Known>,
}

/// A repository at a commit.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Which.
    pub repository: Repository,
    /// What was asked for.
    pub revision: String,
    /// The commit that this was then.
    pub commit: String,
    /// Its license, if it names one.
    pub license: Option<String>,
    /// Whether only those may have its files whom its owner lets.
    pub gated: bool,
    /// All its files.
    pub files: Vec<Listed>,
}

/// Why a hub gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No address of a hub.
    #[error("models.hub is {0:?}; it must be like https://huggingface.co (http is for this machine alone)")]
    Address(String),
    /// No client can be made.
    #[error("no HTTP client can be made: {0}; run `openagents doctor`")]
    Client(String),
    /// It is not reached, or broke off.
    #[error("{host} does not answer: {reason}; try again: what has come is kept")]
    Unreachable {
        /// Who.
        host: String,
        /// Why.
        reason: String,
    },
    /// No such repository, at least not for us.
    #[error(
        "the hub has no repository {0} that everybody may see; look for its name there, or set HF_TOKEN if it is \
         private"
    )]
    NoRepository(String),
    /// No such revision.
    #[error(
        "{repository} has no revision {revision:?}; leave --revision out, or name a branch, a tag or a commit of it"
    )]
    NoRevision {
        /// The repository.
        repository: String,
        /// What it has not.
        revision: String,
    },
    /// It wants a token.
    #[error(
        "{0} is gated: its owner wants to know who has it; accept its terms on the hub, make a token with read access \
         there and set HF_TOKEN to it"
    )]
    Gated(String),
    /// The token does not open it.
    #[error(
        "{0} is gated, and HF_TOKEN does not open it; accept its terms on the hub with the account of the token, or \
         set HF_TOKEN to another"
    )]
    NotLetIn(String),
    /// Any other answer.
    #[error("{host} answered HTTP {status}; try again later: what has come is kept")]
    Status {
        /// Who.
        host: String,
        /// What.
        status: u16,
    },
    /// An answer that is none.
    #[error("{host} answered what makes no sense: {reason}; look whether models.hub is the address of a hub")]
    Garbled {
        /// Who.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It sends us where we do not go.
    #[error("the hub sends to {0}, which is not safe; nothing was fetched from there")]
    Redirect(String),
    /// A name that leads out of the store.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What it has is not what it listed.
    #[error("the hub now has another {0} than it listed; try again, and do not use this hub if it stays so")]
    Changed(FilePath),
}

impl HubError {
    /// Whether it may be otherwise in a moment.
    pub(crate) const fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

/// A hub.
#[derive(Clone, Debug)]
pub struct Hub {
    base: Url,
    client: Client,
    token: Option<Token>,
    pub(crate) patience: Patience,
}

impl Hub {
    /// Whether an address can be a hub's.
    ///
    /// # Errors
    /// It is none of HTTPS or loopback, or names more than a place.
    pub fn check(address: &str) -> Result<(), HubError> {
        base(address).map(drop)
    }

    /// The hub at an address.
    ///
    /// # Errors
    /// The address is none of HTTPS or loopback, or no client can be made.
    pub fn new(address: &str, token: Option<Token>, patience: Patience) -> Result<Self, HubError> {
        let base = base(address)?;
        // A compressed range is a range of something else.
        let client = Client::builder().no_proxy().no_gzip().no_brotli().redirect(Policy::none());
        let client = client.connect_timeout(patience.connect).read_timeout(patience.stall).build();
        let client = client.map_err(|error| HubError::Client(error.to_string()))?;
        Ok(Self { base, client, token, patience })
    }

    /// Its address.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What a repository has at a revision, which is some commit from here on.
    ///
    /// # Errors
    /// There is none, it is not for us, or what is said of it cannot be.
    pub async fn listing(&self, repository: &Repository, revision: &str) -> Result<Listing, HubError> {
        let mut url = self.at(["api", "models", &repository.owner, &repository.name, "revision", revision]);
        url.set_query(Some("blobs=true"));
        let response = self.get(url, 0).await?.response;
        if !response.status().is_success() {
            return Err(self.refused(&response, repository, Some(revision)));
        }
        let bytes = bounded(response).await?;
        let said: Said = serde_json::from_slice(&bytes).map_err(|error| self.garbled(&error.to_string()))?;
        self.listed(repository, revision, said)
    }

    fn listed(&self, repository: &Repository, revision: &str, said: Said) -> Result<Listing, HubError> {
        let is_commit = said.sha.len() == 40 && said.sha.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_commit {
            return Err(self.garbled("it names no commit"));
        }
        let license = said.license();
        let mut seen = BTreeSet::new();
        let mut files = Vec::new();
        for sibling in said.siblings {
            let file = sibling.read()?;
            if seen.insert(file.path.clone()) {
                files.push(file);
            }
        }
        Ok(Listing {
            repository: repository.clone(),
            revision: revision.into(),
            commit: said.sha.to_ascii_lowercase(),
            license,
            gated: !matches!(said.gated, Value::Null | Value::Bool(false)),
            files,
        })
    }

    /// The bytes of a file from an offset on; the answer may be the whole file all the same.
    pub(crate) async fn file(
        &self,
        listing: &Listing,
        file: &Listed,
        from: u64,
    ) -> Result<Response, HubError> {
        let Repository { owner, name } = &listing.repository;
        let path = file.path.as_str().split('/');
        let url = self.at([owner.as_str(), name, "resolve", &listing.commit].into_iter().chain(path));
        let Answer { response, linked } = self.get(url, from).await?;
        if let (Some(linked), Some(Known::Sha256(wanted))) = (linked, &file.known)
            && linked != *wanted
        {
            return Err(HubError::Changed(file.path.clone()));
        }
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            _ => Err(self.refused(&response, &listing.repository, None)),
        }
    }

    /// An address of this hub, its segments written so that none becomes two.
    fn at<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// An answer, after redirects; the token goes to the hub alone.
    async fn get(&self, mut url: Url, from: u64) -> Result<Answer, HubError> {
        let mut linked = None;
        for _ in 0..MOST_REDIRECTS {
            let is_hub = url.origin() == self.base.origin();
            let mut request = self.client.get(url.clone());
            if let Some(Token(token)) = self.token.as_ref().filter(|_| is_hub) {
                request = request.header(AUTHORIZATION, token.clone());
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = request.send().await.map_err(|error| unreachable(&url, &error))?;
            if is_hub {
                linked = linked.or_else(|| linked_sha256(response.headers()));
            }
            if !response.status().is_redirection() {
                return Ok(Answer { response, linked });
            }
            let next = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let next = next.and_then(|to| url.join(to).ok());
            url = next.ok_or_else(|| self.garbled("a redirect to nowhere"))?;
            if !self.may_go(&url) {
                return Err(HubError::Redirect(format!("{}://{}", url.scheme(), host(&url))));
            }
        }
        Err(self.garbled("one redirect after another"))
    }

    /// HTTPS leads anywhere but to this machine; a hub on this machine may send to others of it.
    fn may_go(&self, url: &Url) -> bool {
        match (is_loopback(&self.base), is_loopback(url)) {
            (true, true) => matches!(url.scheme(), "http" | "https"),
            (_, false) => url.scheme() == "https",
            (false, true) => false,
        }
    }

    fn refused(&self, response: &Response, repository: &Repository, revision: Option<&str>) -> HubError {
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok());
        let (repository, status) = (repository.to_string(), response.status());
        match (status.as_u16(), code, revision) {
            (404, Some("RevisionNotFound"), Some(revision)) => {
                HubError::NoRevision { repository, revision: revision.into() }
            }
            (401, Some("RepoNotFound"), _) | (404, ..) if revision.is_some() => {
                HubError::NoRepository(repository)
            }
            (401 | 403, ..) if self.token.is_some() => HubError::NotLetIn(repository),
            (401 | 403, ..) => HubError::Gated(repository),
            (status, ..) => HubError::Status { host: host(response.url()), status },
        }
    }

    fn garbled(&self, reason: &str) -> HubError {
        HubError::Garbled { host: host(&self.base), reason: reason.chars().take(160).collect() }
    }
}

fn base(address: &str) -> Result<Url, HubError> {
    let wrong = || HubError::Address(address.chars().take(LONGEST_WORD).collect());
    let mut base = Url::parse(address).map_err(|_| wrong())?;
    let is_bare = base.query().is_none() && base.fragment().is_none();
    let is_ours = base.username().is_empty() && base.password().is_none();
    let is_safe = base.scheme() == "https" || (base.scheme() == "http" && is_loopback(&base));
    if !(is_bare && is_ours && is_safe) {
        return Err(wrong());
    }
    let path = base.path().trim_end_matches('/').to_owned();
    base.set_path(&path);
    Ok(base)
}

/// What came at the end of all redirects, and the hash that the hub itself has named on the way.
struct Answer {
    response: Response,
    linked: Option<String>,
}

/// Why there was no answer, without the address: that of a storage is long, and lets others in.
pub(crate) fn unreachable(url: &Url, error: &reqwest::Error) -> HubError {
    let mut reason = match (error.is_timeout(), error.is_connect()) {
        (true, true) => "no connection in time".to_owned(),
        (true, false) => "it fell silent".to_owned(),
        _ => String::new(),
    };
    if reason.is_empty() {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        reason = cause.to_string().chars().take(160).collect();
    }
    HubError::Unreachable { host: host(url), reason }
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, HubError> {
    let url = response.url().clone();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&url, &error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST_LIST {
            return Err(HubError::Garbled { host: host(&url), reason: "a list without end".into() });
        }
    }
    Ok(bytes)
}

fn host(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The hash that a hub gives with its redirect, if it is a SHA-256.
fn linked_sha256(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("x-linked-etag")?.to_str().ok()?;
    sha256(text.trim_start_matches("W/").trim_matches('"'))
}

fn sha256(text: &str) -> Option<String> {
    let bare = text.strip_prefix("sha256:").unwrap_or(text);
    hexadecimal(bare, 64)
}

fn hexadecimal(text: &str, digits: usize) -> Option<String> {
    let is_it = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_it.then(|| text.to_ascii_lowercase())
}

/// What the hub says of a repository. Everything else that it says is left unread.
#[derive(Debug, Deserialize)]
struct Said {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(default)]
    gated: Value,
    #[serde(default, rename = "cardData")]
    card: Value,
    #[serde(default)]
    tags: Vec<Value>,
}

impl Said {
    /// The license that its card names, else its tags.
    fn license(&self) -> Option<String> {
        let words = |value: &Value| match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let mut found = words(&self.card["license"]);
        if found.is_empty() {
            let tags = self.tags.iter().filter_map(Value::as_str);
            found = tags.filter_map(|tag| tag.strip_prefix("license:")).map(str::to_owned).collect();
        }
        if found == ["other"] {
            let own = words(&self.card["license_name"]);
            found = if own.is_empty() { found } else { own };
        }
        let text: String = found.join(", ").chars().filter(|c| !c.is_control()).take(LONGEST_WORD).collect();
        Some(text).filter(|text| !text.is_empty())
    }
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "blobId")]
    blob: Option<String>,
    #[serde(default)]
    lfs: Option<Large>,
}

#[derive(Debug, Deserialize)]
struct Large {
    #[serde(default)]
    sha256: String,
    #[serde(default)]
    size: u64,
}

impl Sibling {
    fn read(self) -> Result<Listed, NameError> {
        let path = self.rfilename.parse()?;
        Ok(match self.lfs {
            Some(large) => Listed { path, size: large.size, known: sha256(&large.sha256).map(Known::Sha256) },
            None => {
                let blob = self.blob.and_then(|blob| hexadecimal(&blob, 40)).map(Known::Blob);
                Listed { path, size: self.size.unwrap_or(0), known: blob.filter(|_| self.size.is_some()) }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn said(text: &str) -> Said {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_license_is_found_where_the_hub_names_it() {
        for (text, license) in [
            (r#"{"sha":"","cardData":{"license":"apache-2.0"}}"#, Some("apache-2.0")),
            (r#"{"sha":"","cardData":{"license":["mit","cc0-1.0"]}}"#, Some("mit, cc0-1.0")),
            (r#"{"sha":"","cardData":null,"tags":["gguf","license:llama3.2"]}"#, Some("llama3.2")),
            (r#"{"sha":"","cardData":{"license":"other","license_name":"gemma"}}"#, Some("gemma")),
            (r#"{"sha":"","tags":[1]}"#, None),
        ] {
            assert_eq!(said(text).license().as_deref(), license, "{text}");
        }
    }

    #[test]
    fn a_large_file_is_known_by_its_sha256_and_a_small_one_by_its_blob() {
        let of = |text: &str| serde_json::from_str::<Sibling>(text).unwrap().read();
        let (large, small) = ("A".repeat(64), "b".repeat(40));
        let file = of(&format!(
            r#"{{"rfilename":"m.gguf","size":1,"blobId":"{small}","lfs":{{"sha256":"{large}","size":9}}}}"#
        ));
        assert_eq!(
            (file.clone().unwrap().size, file.unwrap().known),
            (9, Some(Known::Sha256("a".repeat(64))))
        );
        let file = of(&format!(r#"{{"rfilename":"c.json","size":2,"blobId":"{small}"}}"#)).unwrap();
        assert_eq!(file.known, Some(Known::Blob(small)));
        assert_eq!(of(r#"{"rfilename":"c.json","lfs":{"sha256":"x"}}"#).unwrap().known, None);
        assert!(of(r#"{"rfilename":"../c.json"}"#).is_err());
    }

    #[test]
    fn hubs_are_reached_by_https_or_on_this_machine() {
        for address in
            ["https://huggingface.co", "https://mirror.example/hf/", "http://127.0.0.1:1", "http://[::1]:1"]
        {
            assert!(Hub::check(address).is_ok(), "{address}");
        }
        for address in
            ["ftp://h", "http://h.example", "http://10.0.0.1:1", "h", "https://u:p@h", "https://h?a=b"]
        {
            assert!(matches!(Hub::check(address), Err(HubError::Address(_))), "{address}");
        }
    }
}
