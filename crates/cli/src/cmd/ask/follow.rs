//! Waits for a bought job, tells how it goes, and takes it back when it is interrupted.

use std::{convert::Infallible, io::IsTerminal, time::Duration};

use openagents_api::{AskBody, Client, ClientError, JobView, NewsView};
use openagents_types::{JobId, Msat, ProviderKey};
use serde::Serialize;
use serde_json::Value;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, interval},
};

use super::{
    outcome::{self, Answer, Ending},
    unfinished::Unfinished,
};
use crate::{
    args::Global,
    exit::Exit,
    failure::Failure,
    show,
    stop::Stop,
    tables::now_ms,
    text::{one_line, printable},
};

/// How often the node is asked although it said nothing, in case its news were lost.
const LOOK: Duration = Duration::from_millis(500);

/// How long a decided job's payment may take to settle before it is reported as under way.
const SETTLING: Duration = Duration::from_secs(10);

/// How long the node may go on answering nothing before we stop waiting.
const SILENCE: Duration = Duration::from_secs(15);

/// News that may wait; the node is asked anyway, so none is precious.
const BACKLOG: usize = 1_024;

/// How many words of providers are shown for one job: anybody can send them.
const WORDS: usize = 16;

/// What became of a job that was asked.
pub(super) struct Bought {
    /// The job, as it was last seen.
    pub(super) job: Option<JobView>,
    pub(super) result: Option<String>,
    pub(super) exit: Exit,
    /// What is known of a job whose end was not seen.
    unfinished: Option<Value>,
    /// What was shown of the result already, if pieces were shown.
    streamed: Option<String>,
}

/// A job for programs.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ForPrograms<'a> {
    Decided(Box<Answer<'a>>),
    Unfinished(&'a Option<Value>),
}

impl Bought {
    /// The object for programs.
    pub(super) fn for_programs(&self) -> ForPrograms<'_> {
        match (&self.job, &self.unfinished) {
            (Some(job), None) => ForPrograms::Decided(Box::new(Answer::new(job, self.result.as_deref()))),
            (_, unfinished) => ForPrograms::Unfinished(unfinished),
        }
    }

    /// Prints the result, unless it is on the screen already. Pipes and files get its very bytes.
    pub(super) fn show(&self) -> std::io::Result<()> {
        match (&self.result, &self.streamed) {
            (None, _) => Ok(()),
            (Some(result), None) => show::line(result),
            (Some(result), Some(streamed)) if streamed.trim() == result.trim() => Ok(()),
            (Some(result), Some(_)) => show::line(&printable(result)),
        }
    }
}

/// Whether pieces of the result are shown as they come.
pub(super) fn may_stream(global: &Global) -> bool {
    !global.json && std::io::stdout().is_terminal()
}

/// Buys the job, waits until it is decided, and reports it.
pub(super) async fn buy(global: &Global, client: &Client, body: &AskBody) -> anyhow::Result<Exit> {
    let bought = until_bought(client, body, may_stream(global)).await?;
    if global.json {
        show::json(&bought.for_programs())?;
    } else {
        bought.show()?;
    }
    Ok(bought.exit)
}

/// Buys the job, waits until it is decided, and says how it went.
pub(super) async fn until_bought(client: &Client, body: &AskBody, streams: bool) -> anyhow::Result<Bought> {
    let (news, heard) = mpsc::channel(BACKLOG);
    tokio::select! {
        bought = ask(client, body, streams, heard) => bought,
        never = watch(client, news) => match never {},
    }
}

async fn ask(
    client: &Client,
    body: &AskBody,
    streams: bool,
    heard: mpsc::Receiver<NewsView>,
) -> anyhow::Result<Bought> {
    // Heard from before the job is asked, so that none is left behind by a stop at the wrong moment.
    let mut stop = Stop::listen()?;
    let id = client.ask(body).await.map_err(|error| not_asked(body, error))?.id;
    let mut following = Following::new(client, id, body, streams);
    match following.until_decided(heard, &mut stop).await? {
        End::Decided(job) => following.conclude(*job).await,
        End::Lost => Ok(following.leave(Exit::Pending)),
        End::Left => Ok(following.leave(Exit::Interrupted)),
    }
}

/// Why there is no job; a node that broke off may have asked it all the same.
fn not_asked(body: &AskBody, error: ClientError) -> anyhow::Error {
    match error {
        ClientError::BrokenOff { .. } | ClientError::Garbled { .. } if body.bid_msat > 0 => Failure {
            exit: Exit::Pending,
            what: format!("the node broke off while it was being asked: {error}"),
            money: format!("at most {} and routing may be under way", Msat::new(body.bid_msat)),
            next: "start the node with `openagents up` and look with `openagents jobs list`; do not ask again before"
                .into(),
        }
        .into(),
        error => error.into(),
    }
}

/// How waiting ended.
enum End {
    /// Nothing more will come.
    Decided(Box<JobView>),
    /// The node no longer answers.
    Lost,
    /// Stopped a second time.
    Left,
}

/// Passes news on. Without them the job is looked at now and then, which is slower and no less right.
async fn watch(client: &Client, news: mpsc::Sender<NewsView>) -> Infallible {
    let _ = client.watch(|piece| !matches!(news.try_send(piece), Err(TrySendError::Closed(_)))).await;
    std::future::pending().await
}

/// How long is still waited, and for what.
struct Patience {
    decided_at: Option<Instant>,
    answered_at: Instant,
    silent: bool,
}

impl Patience {
    fn new() -> Self {
        Self { decided_at: None, answered_at: Instant::now(), silent: false }
    }

    /// Whether the job is decided, and its money is or had the time to be.
    fn is_over(&mut self, job: &JobView) -> bool {
        (self.answered_at, self.silent) = (Instant::now(), false);
        if !outcome::is_decided(job) {
            self.decided_at = None;
            return false;
        }
        let since = self.decided_at.get_or_insert_with(Instant::now);
        !job.open || since.elapsed() >= SETTLING
    }

    /// Nobody answered: whether that was once too often.
    fn has_lost_the_node(&mut self) -> bool {
        if !self.silent {
            self.silent = true;
            show::talk(&format!("the node does not answer; waiting {} s for it", SILENCE.as_secs()));
        }
        self.answered_at.elapsed() >= SILENCE
    }
}

/// One job being waited for.
struct Following<'a> {
    client: &'a Client,
    id: JobId,
    deadline_ms: Option<u64>,
    /// Whether pieces of the result are shown as they come.
    streams: bool,
    streamed: String,
    said: String,
    /// What providers said.
    words: Vec<String>,
    bid: Msat,
    /// The job as it was last seen.
    seen: Option<JobView>,
    interrupted: bool,
}

impl<'a> Following<'a> {
    fn new(client: &'a Client, id: JobId, body: &AskBody, streams: bool) -> Self {
        show::talk(&format!("asked: job {id}"));
        Self {
            client,
            id,
            deadline_ms: body.deadline_ms,
            streams,
            streamed: String::new(),
            said: String::new(),
            words: Vec::new(),
            bid: Msat::new(body.bid_msat),
            seen: None,
            interrupted: false,
        }
    }

    /// The job once it is decided and its money is, too, or has had the time to be.
    async fn until_decided(
        &mut self,
        mut heard: mpsc::Receiver<NewsView>,
        stop: &mut Stop,
    ) -> anyhow::Result<End> {
        let mut look = interval(LOOK);
        let mut patience = Patience::new();
        loop {
            tokio::select! {
                Some(news) = heard.recv() => if !self.concerns(news)? { continue },
                _ = look.tick() => {}
                () = stop.next() => if self.is_left() { return Ok(End::Left) } else { self.take_back().await },
            }
            match self.client.job(self.id).await {
                Ok(job) => {
                    self.say(&job);
                    if patience.is_over(&job) {
                        return Ok(End::Decided(Box::new(job)));
                    }
                    self.seen = Some(job);
                }
                Err(_) if patience.has_lost_the_node() => return Ok(End::Lost),
                Err(_) => {}
            }
        }
    }

    /// Whether the job has to be looked at again because of this. Pieces of the result are shown.
    fn concerns(&mut self, news: NewsView) -> std::io::Result<bool> {
        match news {
            NewsView::Piece { id, text } if id == self.id => self.piece(&text).map(|()| false),
            NewsView::Word { id, provider, message } if id == self.id => {
                self.word(provider, &message);
                Ok(false)
            }
            NewsView::Piece { .. } | NewsView::Word { .. } => Ok(false),
            NewsView::Job { id, .. } => Ok(id == self.id),
            NewsView::Lagged => Ok(true),
        }
    }

    fn piece(&mut self, text: &str) -> std::io::Result<()> {
        if self.streams {
            self.streamed.push_str(text);
            show::piece(&printable(text))?;
        }
        Ok(())
    }

    /// What a provider says while it is waited for: once, and no more than a person would read.
    fn word(&mut self, provider: ProviderKey, message: &str) {
        let line = format!("  {}… says: {}", &provider.to_hex()[..8], one_line(message, 200));
        if !message.trim().is_empty() && self.words.len() < WORDS && !self.words.contains(&line) {
            show::talk(&line);
            self.words.push(line);
        }
    }

    /// One line for each new state.
    fn say(&mut self, job: &JobView) {
        if self.said != job.state {
            self.said.clone_from(&job.state);
            if !outcome::is_decided(job) {
                show::talk(&format!("{}: {}", one_line(&job.state, 30), one_line(&job.explanation, 300)));
            }
        }
    }

    /// Whether this is the second time that the job is no longer wanted.
    fn is_left(&mut self) -> bool {
        std::mem::replace(&mut self.interrupted, true)
    }

    async fn take_back(&self) {
        show::talk("taking the job back; Ctrl-C again leaves at once and lets the node finish");
        if let Err(error) = self.client.cancel(self.id).await {
            show::talk(&format!("the node did not take it back: {error}"));
        }
    }

    /// Ends without knowing how the job ends. Money may be under way: that is said, never guessed.
    fn leave(self, exit: Exit) -> Bought {
        let unfinished = Unfinished { id: self.id, bid: self.bid, seen: self.seen.as_ref(), exit };
        show::talk(&unfinished.words());
        let (exit, answer) = (unfinished.exit(), unfinished.answer());
        Bought { job: self.seen, result: None, exit, unfinished: Some(answer), streamed: None }
    }

    async fn conclude(self, job: JobView) -> anyhow::Result<Bought> {
        let result = match outcome::is_delivered(&job) {
            true => Some(self.client.result(self.id).await?.content),
            false => None,
        };
        let expired =
            self.deadline_ms.is_some_and(|allowed| now_ms() >= job.asked_at.saturating_add(allowed));
        let why = match self.interrupted {
            true => Ending::Interrupted,
            false if expired => Ending::Expired,
            false => Ending::Its,
        };
        let exit = outcome::exit(&job, why);
        show::talk(&format!(
            "{}{}",
            if self.streamed.is_empty() { "" } else { "\n" },
            outcome::words(&job, exit)
        ));
        let streamed = self.streams.then_some(self.streamed);
        Ok(Bought { job: Some(job), result, exit, unfinished: None, streamed })
    }
}
