//! Who may ask for what is no file of a result: only callers that mean this node by name, pages only of our own origin, and whoever
//! holds the token for anything private or that changes something.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use subtle::ConstantTimeEq;

use super::{App, files, routes::problem};

/// The cookie's name begins so; the port follows, because browsers share cookies between ports and
/// several nodes may run on one machine.
const COOKIE: &str = "openagents-";

/// Paths that tell nothing private.
const OPEN: &[&str] = &["/healthz", "/readyz", "/assets/app.css", "/assets/live.js", "/favicon.svg"];

/// The check in front of every route.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    if files::is_asked(&request) {
        return next.run(request).await;
    }
    let mut response = match admit(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => *refusal,
    };
    secure(response.headers_mut());
    response
}

fn admit(app: &App, request: &Request) -> Result<(), Box<Response>> {
    let headers = request.headers();
    if !names_us(app, text(headers, header::HOST.as_str())) {
        return Err(refuse(StatusCode::FORBIDDEN, "host", "This address is not this node's."));
    }
    if !is_own_origin(app, headers) || !is_own_fetch(request.method(), headers) {
        return Err(refuse(StatusCode::FORBIDDEN, "origin", "Another site's page may not use this node."));
    }
    let path = request.uri().path();
    if OPEN.contains(&path) || has_token(app, headers) {
        return Ok(());
    }
    if path == "/"
        && request.method() == Method::GET
        && let Some(token) = request.uri().query().and_then(|query| query.strip_prefix("k="))
        && same(token, &app.token)
    {
        return Err(Box::new(let_in(&cookie_name(headers), token)));
    }
    Err(if path.starts_with("/api/") || path == "/metrics" {
        refuse(StatusCode::UNAUTHORIZED, "token", "The bearer token is missing or wrong.")
    } else {
        Box::new((StatusCode::UNAUTHORIZED, super::pages::locked()).into_response())
    })
}

/// Puts the token into a cookie that scripts and other sites cannot use, and out of the address bar.
fn let_in(name: &str, token: &str) -> Response {
    let cookie = format!("{name}={token}; HttpOnly; SameSite=Strict; Path=/");
    let mut response = Redirect::to("/").into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Box<Response> {
    let next = "Use the address and the token file that `openagents up` prints.";
    Box::new((status, problem(code, message, "No money moved.", next)).into_response())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn names_us(app: &App, host: &str) -> bool {
    app.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
}

/// Browsers name the page a request comes from; programs do not.
fn is_own_origin(app: &App, headers: &HeaderMap) -> bool {
    let origin = text(headers, header::ORIGIN.as_str());
    origin.is_empty()
        || origin
            .strip_prefix("http://")
            .or(origin.strip_prefix("https://"))
            .is_some_and(|host| names_us(app, host))
}

/// Another site may link here, and nothing else: not post, not fetch, not embed.
fn is_own_fetch(method: &Method, headers: &HeaderMap) -> bool {
    let is_link = method == Method::GET
        && text(headers, "sec-fetch-mode") == "navigate"
        && text(headers, "sec-fetch-dest") == "document";
    is_link || !matches!(text(headers, "sec-fetch-site"), "cross-site" | "same-site")
}

fn cookie_name(headers: &HeaderMap) -> String {
    let host = text(headers, header::HOST.as_str());
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    format!("{COOKIE}{}", port.trim_end_matches(|c: char| !c.is_ascii_digit()))
}

fn has_token(app: &App, headers: &HeaderMap) -> bool {
    let bearer = text(headers, header::AUTHORIZATION.as_str()).strip_prefix("Bearer ");
    let (cookies, name) = (text(headers, header::COOKIE.as_str()), cookie_name(headers));
    let cookie = cookies.split(';').find_map(|part| part.trim().strip_prefix(&name)?.strip_prefix('='));
    [bearer, cookie].into_iter().flatten().any(|token| same(token, &app.token))
}

fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn secure(headers: &mut HeaderMap) {
    let policy = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
    for (name, value) in [
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
