//! Files that are results, for whoever knows their hash: `GET` and `HEAD` of `/<sha256>[.ext]`, as Blossom has
//! it (BUD-01). They are no pages of this app: nothing in them runs here.

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use tower_http::services::ServeFile;

use super::App;
use crate::media::hash_in;

/// A file never changes under its name.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// What a browser may do with it when it is opened by itself: nothing.
const INERT: &str = "default-src 'none'; media-src 'self'; img-src 'self'; sandbox";

/// Whether a request asks for a file: those need no token, and any site may.
pub(super) fn is_asked(request: &Request) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    reads && request.uri().path().strip_prefix('/').is_some_and(|name| hash_in(name).is_some())
}

/// The file, or a part of it.
pub(super) async fn file(State(app): State<App>, Path(name): Path<String>, request: Request) -> Response {
    if hash_in(&name).is_none() {
        return super::routes::nothing_here(request.uri().clone()).await;
    }
    let Some(path) = app.media.find(&name) else { return missing() };
    match ServeFile::new(path).try_call(request).await {
        Ok(found) if found.status() != StatusCode::NOT_FOUND => {
            let mut response = found.map(Body::new);
            mark(response.headers_mut());
            response
        }
        _ => missing(),
    }
}

/// What another site's page asks before it asks.
pub(super) async fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    open(response.headers_mut());
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Range, *"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn missing() -> Response {
    let mut response = (StatusCode::NOT_FOUND, "there is no such file").into_response();
    response.headers_mut().insert("x-reason", HeaderValue::from_static("there is no such file"));
    open(response.headers_mut());
    response
}

fn open(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

fn mark(headers: &mut HeaderMap) {
    open(headers);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(FOREVER));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(INERT));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Content-Length, Content-Range, Accept-Ranges"),
    );
    // Only what cannot hold a script keeps its type.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let inert = ["audio/", "video/", "image/"].iter().any(|start| kind.starts_with(start));
    if !inert || kind.starts_with("image/svg") {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
}
