//! Waits for a bought job, tells how it goes, and takes it back when it is interrupted.

use std::{convert::Infallible, io::IsTerminal, time::Duration};

use openagents_api::{AskBody, Client, JobView, NewsView};
use openagents_types::JobId;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, interval},
};

use super::outcome::{self, Answer, Ending};
use crate::{
    args::Global,
    exit::Exit,
    failure::Failure,
    show,
    tables::now_ms,
    text::{one_line, printable},
};

/// How often the node is asked although it said nothing, in case its news were lost.
const LOOK: Duration = Duration::from_millis(500);

/// How long a decided job's payment may take to settle before it is reported as under way.
const SETTLING: Duration = Duration::from_secs(10);

/// How long after its window an offer may still come when somebody has refused already.
const LATE_OFFER: Duration = Duration::from_secs(3);

/// How long the node may go on answering nothing before we stop waiting.
const SILENCE: Duration = Duration::from_secs(15);

/// News that may wait; the node is asked anyway, so none is precious.
const BACKLOG: usize = 1_024;

/// A job that is decided, and what it brought.
pub(super) struct Bought {
    pub(super) job: JobView,
    pub(super) result: Option<String>,
    pub(super) exit: Exit,
    /// What was shown of the result already, if pieces were shown.
    streamed: Option<String>,
}

impl Bought {
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
        show::json(&Answer::new(&bought.job, bought.result.as_deref()))?;
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
    let id = client.ask(body).await?.id;
    let mut following = Following::new(client, id, body, streams);
    let job = following.until_decided(heard).await?;
    following.conclude(job).await
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
}

impl Patience {
    fn new() -> Self {
        Self { decided_at: None, answered_at: Instant::now() }
    }

    /// Whether the job is decided, and its money is or had the time to be.
    fn is_over(&mut self, job: &JobView) -> bool {
        self.answered_at = Instant::now();
        if !outcome::is_decided(job) {
            self.decided_at = None;
            return false;
        }
        let since = self.decided_at.get_or_insert_with(Instant::now);
        !job.open || since.elapsed() >= SETTLING
    }

    fn has_lost_the_node(&self) -> bool {
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
    interrupted: bool,
    /// Whether it was taken back because everybody refused.
    given_up: bool,
    asked_at: Instant,
    window: Duration,
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
            interrupted: false,
            given_up: false,
            asked_at: Instant::now(),
            window: Duration::from_millis(body.window_ms.unwrap_or(0)),
        }
    }

    /// The job once it is decided and its money is, too, or has had the time to be.
    async fn until_decided(&mut self, mut heard: mpsc::Receiver<NewsView>) -> anyhow::Result<JobView> {
        let mut look = interval(LOOK);
        let mut patience = Patience::new();
        loop {
            tokio::select! {
                Some(news) = heard.recv() => if !self.concerns(news)? { continue },
                _ = look.tick() => {}
                _ = tokio::signal::ctrl_c() => self.interrupt().await?,
            }
            match self.client.job(self.id).await {
                Ok(job) => {
                    self.say(&job);
                    self.give_up_if_all_refuse(&job).await;
                    if patience.is_over(&job) {
                        return Ok(job);
                    }
                }
                Err(error) if patience.has_lost_the_node() => return Err(error.into()),
                Err(_) => {}
            }
        }
    }

    /// Whether the job has to be looked at again because of this. Pieces of the result are shown.
    fn concerns(&mut self, news: NewsView) -> std::io::Result<bool> {
        match news {
            NewsView::Piece { id, text } if id == self.id => self.piece(&text).map(|()| false),
            NewsView::Piece { .. } => Ok(false),
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

    /// One line for each new state.
    fn say(&mut self, job: &JobView) {
        if self.said != job.state {
            self.said.clone_from(&job.state);
            if !outcome::is_decided(job) {
                show::talk(&format!("{}: {}", one_line(&job.state, 30), one_line(&job.explanation, 300)));
            }
        }
    }

    /// Whoever answers has answered by then; without an offer, waiting longer brings none.
    async fn give_up_if_all_refuse(&mut self, job: &JobView) {
        let refused = job.state == "collecting" && job.quotes.is_empty() && !job.refusals.is_empty();
        if refused && !self.given_up && self.asked_at.elapsed() >= self.window + LATE_OFFER {
            self.given_up = true;
            // If the node does not hear this, the job ends at its deadline instead.
            let _ = self.client.cancel(self.id).await;
        }
    }

    /// Takes the job back; the second time, leaves.
    async fn interrupt(&mut self) -> anyhow::Result<()> {
        if self.interrupted {
            return Err(Failure {
                exit: Exit::Interrupted,
                what: format!("left while job {} was being taken back", self.id),
                money: "the node goes on: what is locked comes back or is paid for a result".into(),
                next: "look again with `openagents jobs list`".into(),
            }
            .into());
        }
        self.interrupted = true;
        show::talk("taking the job back; Ctrl-C again leaves at once and lets the node finish");
        if let Err(error) = self.client.cancel(self.id).await {
            show::talk(&format!("the node did not take it back: {error}"));
        }
        Ok(())
    }

    async fn conclude(self, job: JobView) -> anyhow::Result<Bought> {
        let result = match outcome::is_delivered(&job) {
            true => Some(self.client.result(self.id).await?.content),
            false => None,
        };
        let expired =
            self.deadline_ms.is_some_and(|allowed| now_ms() >= job.asked_at.saturating_add(allowed));
        let why = match (self.interrupted, self.given_up) {
            (true, _) => Ending::Interrupted,
            (false, true) => Ending::GivenUp,
            (false, false) if expired => Ending::Expired,
            (false, false) => Ending::Its,
        };
        let exit = outcome::exit(&job, why);
        show::talk(&format!(
            "{}{}",
            if self.streamed.is_empty() { "" } else { "\n" },
            outcome::words(&job, exit)
        ));
        let streamed = self.streams.then_some(self.streamed);
        Ok(Bought { job, result, exit, streamed })
    }
}
