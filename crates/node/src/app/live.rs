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

/// A quiet stream says this often that it lives; proxies and browsers give up after a minute or two.
const HEARTBEAT: Duration = Duration::from_secs(10);

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

    /// The stream of news, or `None` if too many watch already. News are not kept, so a watcher that
    /// comes back is told first that it missed some.
    pub(super) fn watch(
        &self,
        bus: &Bus,
        watcher: Watcher,
    ) -> Option<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>> {
        let seat = Seat(self.0.clone());
        if self.0.fetch_add(1, Ordering::Relaxed) >= WATCHERS {
            return None;
        }
        let missed = (watcher == Watcher::Returning).then_some(NewsView::Lagged);
        let news = BroadcastStream::new(bus.watch()).map(|news| match news {
            Ok(news) => view(news),
            Err(BroadcastStreamRecvError::Lagged(_)) => NewsView::Lagged,
        });
        let stream = futures::stream::iter(missed).chain(news).enumerate().map(move |(number, news)| {
            let _seat = &seat;
            Ok(event(number, &news))
        });
        Some(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
    }
}

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watcher {
    /// Somebody who has just read everything.
    New,
    /// Somebody whose stream broke (`Last-Event-ID`).
    Returning,
}

/// The id only has to be there: by it a browser says that it comes back.
fn event(number: usize, news: &NewsView) -> Event {
    let name = match news {
        NewsView::Job { .. } => "job",
        NewsView::Piece { .. } => "piece",
        NewsView::Word { .. } => "word",
        NewsView::Lagged => "lagged",
    };
    let data = serde_json::to_string(news).unwrap_or_default();
    Event::default().event(name).id(number.to_string()).data(data)
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
        News::Word { job, provider, message } => NewsView::Word { id: job, provider, message },
    }
}
