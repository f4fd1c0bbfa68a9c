//! The only way out: requests to one mint, beneath its own address, each with an end. Wherever a token, an
//! invoice or an answer may point, nothing is asked anywhere else.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use cdk::{nuts::AuthToken, wallet::HttpTransport};
use cdk_http_client::{
    Async, HttpError, RawResponse,
    ws::{WsError, WsReceiver, WsSender},
};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

/// How long a mint may take over an ordinary answer: as long as anybody waits for it.
const CALL: Duration = Duration::from_secs(15);

/// How long it may take over a payment before it is asked how that stands. Mints that do not answer before
/// the payment is over take as long as the payment.
const PAYMENT: Duration = Duration::from_secs(90);

/// A transport to one mint.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    mint: Url,
    inner: Async,
}

impl Fence {
    /// To this mint alone.
    pub(crate) fn new(mint: Url) -> Self {
        Self { mint, inner: Async::default() }
    }

    fn lets(&self, url: &Url) -> Result<Duration, HttpError> {
        let beneath = self.mint.path().trim_end_matches('/');
        let path = url.path().strip_prefix(beneath).filter(|rest| rest.starts_with('/'));
        match path {
            Some(path) if url.origin() == self.mint.origin() => {
                Ok(if path.starts_with("/v1/melt/") { PAYMENT } else { CALL })
            }
            _ => Err(HttpError::Other("that address is not this mint's".into())),
        }
    }
}

/// Waits for an answer as long as that makes sense.
async fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, HttpError>> + Send,
) -> Result<T, HttpError> {
    tokio::time::timeout(time, answer).await.unwrap_or(Err(HttpError::Timeout))
}

#[async_trait]
impl HttpTransport for Fence {
    async fn ws_connect(
        &self,
        _url: &str,
        _headers: &[(&str, &str)],
    ) -> Result<(WsSender, WsReceiver), WsError> {
        // A payment is asked for; what a mint says by itself would only come sooner.
        Err(WsError::NotSupported("it is asked instead".into()))
    }

    fn with_proxy(&mut self, _proxy: Url, _matcher: Option<&str>, _any: bool) -> Result<(), HttpError> {
        Err(HttpError::Proxy("there is no proxy here".into()))
    }

    async fn http_get<R>(&self, url: Url, auth: Option<AuthToken>) -> Result<R, HttpError>
    where
        R: DeserializeOwned,
    {
        within(self.lets(&url)?, self.inner.http_get_raw(url, auth)).await?.json_or_status_error()
    }

    async fn http_get_raw(&self, url: Url, auth: Option<AuthToken>) -> Result<RawResponse, HttpError> {
        within(self.lets(&url)?, self.inner.http_get_raw(url, auth)).await
    }

    async fn http_post<P, R>(&self, url: Url, auth: Option<AuthToken>, payload: &P) -> Result<R, HttpError>
    where
        P: Serialize + Send + Sync,
        R: DeserializeOwned,
    {
        let time = self.lets(&url)?;
        // What an answer says is read at once: no await is left for it.
        let inner = self.inner.clone();
        let answer = async move { inner.http_post::<P, serde_json::Value>(url, auth, payload).await };
        let value = within(time, answer).await?;
        serde_json::from_value(value).map_err(|error| HttpError::Serialization(error.to_string()))
    }

    async fn http_post_form_raw<P>(
        &self,
        url: Url,
        auth: Option<AuthToken>,
        payload: &P,
    ) -> Result<RawResponse, HttpError>
    where
        P: Serialize + Send + Sync,
    {
        within(self.lets(&url)?, self.inner.http_post_form_raw(url, auth, payload)).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn nothing_is_asked_but_beneath_the_mint() {
        let fence = Fence::new(Url::parse("https://mint.example/Bitcoin").unwrap());
        let lets = |text: &str| fence.lets(&Url::parse(text).unwrap());
        assert_eq!(lets("https://mint.example/Bitcoin/v1/keys").unwrap(), CALL);
        assert_eq!(lets("https://mint.example/Bitcoin/v1/melt/bolt11").unwrap(), PAYMENT);
        for other in [
            "https://mint.example/v1/keys",
            "https://mint.example/Bitcoins/v1/keys",
            "http://mint.example/Bitcoin/v1/keys",
            "https://mint.example:444/Bitcoin/v1/keys",
            "https://evil.example/Bitcoin/v1/keys",
            "https://mint.example/Bitcoin/../v1/keys",
        ] {
            assert!(lets(other).is_err(), "{other}");
        }
    }
}
