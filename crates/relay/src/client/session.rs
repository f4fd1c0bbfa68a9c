//! One connection to a relay, from handshake to loss: what is written, what is read, what is borne.

use std::{collections::VecDeque, future::poll_fn, task::ready, time::Duration};

use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use nostr::Tag;
use openagents_protocol::ingress::{Verified, accept};
use openagents_types::EventId;
use tokio::{sync::mpsc, time::Instant};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{
    RelayConfig,
    book::{Book, Mine},
    wire::Socket,
};
use crate::{
    RelayNews, RelayUrl,
    frame::{self, RelayFrame},
    handle::Command,
    hub::unix_now,
    server::AUTH_KIND,
    text::printable,
};

/// Longest text from a relay that is passed on, in characters.
const LONGEST_TEXT: usize = 512;

/// Pings in a row without a sign of life after which a relay counts as gone.
const MOST_UNANSWERED_PINGS: u32 = 2;

/// Notices of one connection that are passed on; the rest only counts as noise.
const MOST_NOTICES: u32 = 16;

/// Calls of the node that are taken before their frames are written, so that they share a write.
const BATCH: usize = 256;

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody needs it any more.
    Stopped,
    /// The connection broke or fell silent.
    Lost(String),
    /// The relay sent more rubbish than is borne.
    Misbehaved(String),
}

/// Where authentication (NIP-42) stands on this connection. It happens at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Auth {
    /// The relay has not asked.
    Unasked,
    /// We answered with this event.
    Sent(EventId),
    /// It was accepted.
    Done,
    /// It was refused, or we have no key to answer with.
    Impossible,
}

/// See the module's own words.
pub(super) struct Session<'a> {
    config: &'a RelayConfig,
    book: &'a mut Book,
    news: &'a mpsc::Sender<(RelayUrl, RelayNews)>,
    control: VecDeque<Message>,
    unflushed: bool,
    auth: Auth,
    noise: Noise,
    notices: u32,
    useful: bool,
    /// The last sign of life, by the wall clock, in seconds.
    heard: u64,
    pings_out: u32,
}

type Sink = SplitSink<Socket, Message>;

impl<'a> Session<'a> {
    pub(super) fn new(
        config: &'a RelayConfig,
        book: &'a mut Book,
        news: &'a mpsc::Sender<(RelayUrl, RelayNews)>,
    ) -> Self {
        let auth = if config.auth.is_some() { Auth::Unasked } else { Auth::Impossible };
        Self {
            config,
            book,
            news,
            control: VecDeque::new(),
            unflushed: false,
            auth,
            noise: Noise::new(config.most_noise),
            notices: 0,
            useful: false,
            heard: unix_now(),
            pings_out: 0,
        }
    }

    /// Whether the relay did anything it is there for.
    pub(super) fn was_useful(&self) -> bool {
        self.useful
    }

    /// Runs until the connection ends.
    pub(super) async fn run(&mut self, socket: Socket, commands: &mut mpsc::Receiver<Command>) -> End {
        let (mut sink, mut stream) = socket.split();
        if self.news.send((self.config.url.clone(), RelayNews::Connected)).await.is_err() {
            return End::Stopped;
        }
        let end = self.talk(&mut sink, &mut stream, commands).await;
        self.book.heard_until(self.heard);
        // A relay that no longer reads must not hold us up.
        let _ = tokio::time::timeout(Duration::from_millis(200), sink.close()).await;
        end
    }

    async fn talk(
        &mut self,
        sink: &mut Sink,
        stream: &mut SplitStream<Socket>,
        commands: &mut mpsc::Receiver<Command>,
    ) -> End {
        let (news, every) = (self.news, self.config.ping_every);
        let mut pings = tokio::time::interval_at(Instant::now() + every, every);
        // A frame is read only when there is room for the news in it: a slow node slows the relay.
        let mut room: Option<mpsc::Permit<'_, (RelayUrl, RelayNews)>> = None;
        loop {
            let now = Instant::now();
            let due = self.book.next_due();
            tokio::select! {
                biased;
                written = self.write(sink), if self.has_work(now) => if let Err(error) = written {
                    return End::Lost(in_words(&error));
                },
                command = commands.recv() => match command {
                    Some(command) => self.note_all(command, commands),
                    None => return End::Stopped,
                },
                _ = pings.tick() => if self.missed_pings(room.is_some()) {
                    return End::Lost("the relay stopped answering".into());
                },
                () = sleep_until(due), if due.is_some_and(|at| at > now) => {}
                permit = news.reserve(), if room.is_none() => match permit {
                    Ok(permit) => room = Some(permit),
                    Err(_) => return End::Stopped,
                },
                message = stream.next(), if room.is_some() => match self.take(message) {
                    Ok(Some(told)) => if let Some(room) = room.take() {
                        room.send((self.config.url.clone(), told));
                    },
                    Ok(None) => {}
                    Err(end) => return end,
                },
            }
        }
    }

    fn note_all(&mut self, first: Command, more: &mut mpsc::Receiver<Command>) {
        self.book.note(first);
        for _ in 1..BATCH {
            match more.try_recv() {
                Ok(command) => self.book.note(command),
                Err(_) => break,
            }
        }
    }

    fn has_work(&self, now: Instant) -> bool {
        self.unflushed || !self.control.is_empty() || self.book.has_frame(now)
    }

    /// Writes what there is to write and flushes it. Safe to cancel: a frame is taken only when the
    /// socket has room for it.
    async fn write(&mut self, sink: &mut Sink) -> Result<(), tungstenite::Error> {
        poll_fn(|cx| {
            loop {
                ready!(sink.poll_ready_unpin(cx))?;
                let Some(message) = self.next_message() else {
                    ready!(sink.poll_flush_unpin(cx))?;
                    self.unflushed = false;
                    return Ok(()).into();
                };
                self.unflushed = true;
                sink.start_send_unpin(message)?;
            }
        })
        .await
    }

    fn next_message(&mut self) -> Option<Message> {
        let frame = || self.book.next_frame(Instant::now()).map(|frame| Message::Text(frame.into()));
        self.control.pop_front().or_else(frame)
    }

    /// Pings; `true` if the relay owes too many answers. While we do not read, it owes none.
    fn missed_pings(&mut self, reading: bool) -> bool {
        if !reading {
            self.pings_out = 0;
            return false;
        }
        self.pings_out += 1;
        self.control.push_back(Message::Ping(tungstenite::Bytes::new()));
        self.pings_out > MOST_UNANSWERED_PINGS
    }

    /// Takes in one message.
    fn take(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<Option<RelayNews>, End> {
        let message = match message {
            None => return Err(End::Lost("the relay ended the connection".into())),
            Some(Err(tungstenite::Error::Capacity(error))) => return Err(End::Misbehaved(error.to_string())),
            Some(Err(error)) => return Err(End::Lost(in_words(&error))),
            Some(Ok(message)) => message,
        };
        self.heard = unix_now();
        self.pings_out = 0;
        match message {
            Message::Text(text) => self.hear(&text),
            Message::Binary(_) => self.bear(None),
            Message::Close(_) => Err(End::Lost("the relay closed the connection".into())),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
        }
    }

    fn hear(&mut self, text: &str) -> Result<Option<RelayNews>, End> {
        match RelayFrame::parse(text) {
            Err(_) => self.bear(None),
            Ok(RelayFrame::Event { sub, event }) => self.event(&sub, event),
            Ok(RelayFrame::Ok { id, accepted, message }) => self.ok(id, accepted, &message),
            Ok(RelayFrame::Eose(sub)) => Ok(self.eose(&sub)),
            Ok(RelayFrame::Closed { sub, reason }) => self.closed(&sub, &reason),
            Ok(RelayFrame::Notice(words)) => self.notice(&words),
            Ok(RelayFrame::Auth(challenge)) => self.challenged(&challenge),
        }
    }

    /// Counts rubbish, and passes on `news` about it if it is still borne.
    fn bear(&mut self, news: Option<RelayNews>) -> Result<Option<RelayNews>, End> {
        if self.noise.add(Instant::now()) {
            return Ok(news);
        }
        Err(End::Misbehaved("the relay floods us with invalid or unwanted messages".into()))
    }

    fn event(&mut self, sub: &str, event: &str) -> Result<Option<RelayNews>, End> {
        // Events of a subscription that was just closed are still on their way: no fault.
        let Some(sub) = self.book.open(sub) else { return Ok(None) };
        if frame::claimed_id(event).is_some_and(|id| self.book.has_seen(&sub, id)) {
            return Ok(None);
        }
        match accept(event, &self.config.limits) {
            Ok(event) if self.book.takes(&sub, &event) => {
                self.useful = true;
                Ok(Some(RelayNews::Event(sub, event)))
            }
            Ok(_) => self.bear(None),
            Err(error) => {
                let error = printable(&error.to_string(), LONGEST_TEXT);
                tracing::debug!(relay = %self.config.url, error, "event refused");
                self.bear(None)
            }
        }
    }

    fn eose(&mut self, sub: &str) -> Option<RelayNews> {
        let sub = self.book.open(sub)?;
        self.useful = true;
        self.book.caught_up(&sub).then_some(RelayNews::Stored(sub))
    }

    fn ok(&mut self, event: EventId, accepted: bool, message: &str) -> Result<Option<RelayNews>, End> {
        if self.auth == Auth::Sent(event) {
            return Ok(self.auth_answered(accepted, message));
        }
        let until_auth = !accepted && message.starts_with("auth-required:") && self.auth_may_help();
        let mine = if until_auth { self.book.refused_until_auth(event) } else { self.book.answered(event) };
        if mine == Mine::No {
            return self.bear(None);
        }
        self.useful = true;
        let message = printable(message, LONGEST_TEXT);
        Ok((!until_auth).then_some(RelayNews::Ok { event, accepted, message }))
    }

    fn auth_may_help(&self) -> bool {
        matches!(self.auth, Auth::Unasked | Auth::Sent(_))
    }

    fn closed(&mut self, sub: &str, reason: &str) -> Result<Option<RelayNews>, End> {
        let Some(sub) = self.book.open(sub) else { return self.bear(None) };
        let until_auth = reason.starts_with("auth-required:") && self.auth_may_help();
        self.book.closed(&sub, Instant::now(), self.heard, until_auth);
        let reason = printable(reason, LONGEST_TEXT);
        Ok((!until_auth).then_some(RelayNews::Closed { sub, reason }))
    }

    fn notice(&mut self, words: &str) -> Result<Option<RelayNews>, End> {
        self.notices = self.notices.saturating_add(1);
        let told = RelayNews::Notice(printable(words, LONGEST_TEXT));
        self.bear((self.notices <= MOST_NOTICES).then_some(told))
    }

    fn challenged(&mut self, challenge: &str) -> Result<Option<RelayNews>, End> {
        let Some(keys) = self.config.auth.as_ref().filter(|_| self.auth == Auth::Unasked) else {
            return self.bear(None);
        };
        let url = self.config.url.as_str();
        let tags = [["relay", url], ["challenge", challenge]].map(Tag::parse);
        let Ok(tags) = tags.into_iter().collect::<Result<Vec<_>, _>>() else { return self.bear(None) };
        let answer = Verified::sign(keys, AUTH_KIND, tags, String::new(), unix_now());
        self.control.push_back(Message::Text(frame::carrying("AUTH", answer.json()).into()));
        self.auth = Auth::Sent(answer.id());
        Ok(None)
    }

    fn auth_answered(&mut self, accepted: bool, message: &str) -> Option<RelayNews> {
        let now = Instant::now();
        if accepted {
            self.auth = Auth::Done;
            self.book.authenticated(now);
            return None;
        }
        self.auth = Auth::Impossible;
        let given_up = self.book.not_authenticated(now).len();
        let words = printable(message, LONGEST_TEXT);
        Some(RelayNews::Notice(format!("authentication refused, {given_up} events not sent: {words}")))
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn in_words(error: &tungstenite::Error) -> String {
    printable(&error.to_string(), LONGEST_TEXT)
}

/// A leaky bucket of rubbish: `most` at once, one forgiven each second.
#[derive(Debug)]
struct Noise {
    level: f64,
    most: f64,
    since: Instant,
}

impl Noise {
    fn new(most: u32) -> Self {
        Self { level: 0.0, most: f64::from(most), since: Instant::now() }
    }

    /// One more; `false` if that is too much.
    fn add(&mut self, now: Instant) -> bool {
        let forgiven = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        self.level = (self.level - forgiven).max(0.0) + 1.0;
        self.level <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rubbish_is_borne_in_small_doses_and_forgiven_in_time() {
        let mut now = Instant::now();
        let mut noise = Noise::new(3);
        assert_eq!((0..5).filter(|_| noise.add(now)).count(), 3);
        now += Duration::from_secs(60);
        assert!(noise.add(now));
    }
}
