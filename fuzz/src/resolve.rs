//! Which addresses the node fetches: its own file, with what that file names of its neighbours.

#[path = "../../crates/node/src/resolve/address.rs"]
mod address;

use std::{
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::future::BoxFuture;
use reqwest::dns::Resolve;
use url::Url;

pub use address::{AllowError, Lookup, SystemLookup};

/// Why an input cannot be read.
#[derive(Debug)]
pub enum ResolveError {
    /// Not an address that is fetched.
    Refused(String),
    /// More than is taken.
    TooLarge,
}

fn sniff(_: &[u8], said: &str) -> String {
    said.into()
}

/// Whether every entry can be understood.
///
/// # Errors
/// The first that cannot.
pub fn check_allowed(entries: &[String]) -> Result<(), AllowError> {
    allowed(entries).map(drop)
}

fn allowed(entries: &[String]) -> Result<address::Allowed, AllowError> {
    let mut allowed = address::Allowed::default();
    entries.iter().try_for_each(|entry| allowed.add(entry))?;
    Ok(allowed)
}

/// The address as it would be fetched by a node that allows `entries`, and what of `answers` it would
/// connect to if a name server gave them; `None` if it would not be fetched at all.
pub fn reached(entries: &[String], text: &str, answers: Vec<IpAddr>) -> Option<(Url, Vec<IpAddr>)> {
    let allowed = Arc::new(allowed(entries).ok()?);
    let (url, reach) = allowed.check(text).ok()?;
    let filtered = address::Filtered { allowed, lookup: Arc::new(Answers(answers)), reach };
    let mut found = filtered.resolve("name.example".parse().ok()?);
    match found.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(found)) => Some((url, found.map(|at| at.ip()).collect())),
        Poll::Ready(Err(_)) => Some((url, Vec::new())),
        Poll::Pending => panic!("the answers are there at once"),
    }
}

/// What a `data:` address carries, in bytes.
pub fn inline(text: &str) -> Option<Vec<u8>> {
    address::inline(text).ok().map(|input| input.bytes)
}

struct Answers(Vec<IpAddr>);

impl Lookup for Answers {
    fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let answers = self.0.clone();
        Box::pin(async move { Ok(answers) })
    }
}
