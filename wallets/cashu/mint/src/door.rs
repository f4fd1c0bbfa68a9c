//! What stands before a mint: it can keep everybody waiting, lose answers, and show other keys.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;

#[derive(Clone, Default)]
struct Orders {
    /// How long an answer waits, in milliseconds.
    slow: u64,
    /// The beginning of the paths whose answers are lost after the mint has made them.
    lose: String,
    /// The beginning of the paths whose requests the mint never sees.
    shut: String,
    /// Show other keys than the mint's.
    forge: bool,
    /// How many requests came.
    asked: u64,
}

/// The door. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Door(Arc<Mutex<Orders>>);

impl Door {
    pub(crate) fn before(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), pass))
    }

    /// What is not said ends.
    pub(crate) fn set(&self, asked: &Value) {
        let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders.slow = asked["slow"].as_u64().unwrap_or(0);
        orders.lose = text("lose");
        orders.shut = text("shut");
        orders.forge = asked["forge"] == true;
    }

    pub(crate) fn asked(&self) -> u64 {
        self.orders().asked
    }

    fn orders(&self) -> Orders {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn pass(State(door): State<Door>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    door.0.lock().unwrap_or_else(PoisonError::into_inner).asked += 1;
    let orders = door.orders();
    let hits = |beginning: &str| !beginning.is_empty() && path.starts_with(beginning);
    tokio::time::sleep(Duration::from_millis(orders.slow)).await;
    if hits(&orders.shut) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    // The mint goes on when whoever asked has gone.
    let answer = tokio::spawn(next.run(request)).await.unwrap();
    if hits(&orders.lose) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    if orders.forge && path.starts_with("/v1/keys") && !path.starts_with("/v1/keysets") {
        return forged(answer).await;
    }
    answer
}

/// The same keysets, with two of their keys changed for one another.
async fn forged(answer: Response) -> Response {
    let (mut head, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut value: Value = serde_json::from_slice(&body).unwrap();
    for keyset in value["keysets"].as_array_mut().into_iter().flatten() {
        let (one, two) = (keyset["keys"]["1"].clone(), keyset["keys"]["2"].clone());
        keyset["keys"]["1"] = two;
        keyset["keys"]["2"] = one;
    }
    head.headers.remove("content-length");
    Response::from_parts(head, Body::from(value.to_string()))
}
