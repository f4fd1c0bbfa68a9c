//! Live news over server-sent events.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt};
use openagents_api::{NewsView, Side};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

use crate::bus::{Bus, News};

/// How many may watch at once.
const WATCHERS: usize = 64;

/// A quiet stream says at least this often that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Counts watchers.
#[derive(Clone, Debug, Default)]
pub(super) struct Gallery(Arc<AtomicUsize>);

/// A seat, given back when dropped.
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gallery {
    pub(super) fn watchers(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// The stream of news, or `None` if too many watch already.
    pub(super) fn watch(
        &self,
        bus: &Bus,
    ) -> Option<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= WATCHERS {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let seat = Seat(self.0.clone());
        let stream = BroadcastStream::new(bus.watch()).map(move |news| {
            let _seat = &seat;
            let view = match news {
                Ok(news) => view(news),
                Err(BroadcastStreamRecvError::Lagged(_)) => NewsView::Lagged,
            };
            Ok(Event::default().data(serde_json::to_string(&view).unwrap_or_default()))
        });
        Some(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
    }
}

fn view(news: News) -> NewsView {
    match news {
        News::Sold { job, word, at } => {
            NewsView::Job { id: job, side: Side::Sold, state: word.into(), at: at.millis() }
        }
        News::Bought { job, word, at } => {
            NewsView::Job { id: job, side: Side::Bought, state: word.into(), at: at.millis() }
        }
        News::Piece { job, text } => NewsView::Piece { id: job, text },
    }
}
