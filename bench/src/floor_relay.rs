//! The cheapest relay: verifies, matches, passes on. Nothing is stored.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{SinkExt, StreamExt};
use nostr::{Event, Filter, JsonUtil, filter::MatchEventOptions};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::Message;

use crate::event;

/// One subscription of one connection.
struct Listener {
    sub: String,
    filters: Vec<Filter>,
    frames: mpsc::UnboundedSender<Message>,
}

type Listeners = Arc<Mutex<HashMap<u64, Vec<Listener>>>>;

pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ws://{}", listener.local_addr()?);
    let listeners = Listeners::default();
    for id in 0.. {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(id, stream, listeners.clone()));
    }
    Ok(())
}

async fn connection(id: u64, stream: TcpStream, listeners: Listeners) {
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (mut writer, mut reader) = socket.split();
    let (frames, mut outgoing) = mpsc::unbounded_channel();
    let write = async move {
        while let Some(frame) = outgoing.recv().await {
            let mut next = Some(frame);
            while let Some(frame) = next {
                if writer.feed(frame).await.is_err() {
                    return;
                }
                next = outgoing.try_recv().ok();
            }
            if writer.flush().await.is_err() {
                return;
            }
        }
    };
    let read = async {
        while let Some(Ok(Message::Text(text))) = reader.next().await {
            take(id, &text, &frames, &listeners);
        }
    };
    tokio::select! { () = write => {}, () = read => {} }
    lock(&listeners).remove(&id);
}

fn take(id: u64, text: &str, frames: &mpsc::UnboundedSender<Message>, listeners: &Listeners) {
    if let Some(json) = event::body(text) {
        if let Some(event) = event::read(json) {
            let _ = frames.send(Message::text(format!("[\"OK\",\"{}\",true,\"\"]", event.id)));
            pass_on(&event, json, listeners);
        }
    } else if let Ok(serde_json::Value::Array(parts)) = serde_json::from_str(text)
        && parts.first().and_then(|word| word.as_str()) == Some("REQ")
    {
        let sub = parts.get(1).and_then(|sub| sub.as_str()).unwrap_or_default().to_owned();
        let filters = parts.iter().skip(2).filter_map(|f| Filter::from_json(f.to_string()).ok()).collect();
        let _ = frames.send(Message::text(format!("[\"EOSE\",\"{sub}\"]")));
        lock(listeners).entry(id).or_default().push(Listener { sub, filters, frames: frames.clone() });
    }
}

fn pass_on(event: &Event, json: &str, listeners: &Listeners) {
    for listener in lock(listeners).values().flatten() {
        if listener.filters.iter().any(|filter| filter.match_event(event, MatchEventOptions::new())) {
            let _ = listener.frames.send(Message::text(format!("[\"EVENT\",\"{}\",{json}]", listener.sub)));
        }
    }
}

fn lock(listeners: &Listeners) -> std::sync::MutexGuard<'_, HashMap<u64, Vec<Listener>>> {
    listeners.lock().unwrap_or_else(PoisonError::into_inner)
}
