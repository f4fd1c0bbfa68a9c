//! Questions that our relays answer from what they have stored, asked over the connections that stand.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openagents_protocol::Verified;
use openagents_relay::{Filter, RelayHandle, RelayNews, RelayUrl, SubId};
use tokio::sync::mpsc;

/// How much of an answer may wait to be taken: as a rule, and of questions with large limits.
const BACKLOG: usize = 256;
const MOST_ROOM: usize = 50_000;

/// The questions that are open. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Questions {
    open: Arc<Mutex<HashMap<SubId, mpsc::Sender<Answer>>>>,
    asked: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Answer {
    Event(Verified),
    /// This relay has nothing more to say.
    End(RelayUrl),
}

/// One question. It is closed on every relay when it is dropped.
#[derive(Debug)]
pub(super) struct Question {
    questions: Questions,
    sub: SubId,
    asked: Vec<RelayHandle>,
    answers: mpsc::Receiver<Answer>,
}

impl Questions {
    /// Asks these relays.
    pub(super) fn ask(&self, asked: Vec<RelayHandle>, filters: &[Filter]) -> Question {
        // Relays send an event once for each subscription, so a name is never used again.
        let name = format!("question-{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let sub = SubId::parse(&name).unwrap_or_else(|_| SubId::named("question"));
        let limits: usize = filters.iter().filter_map(|filter| filter.limit).sum();
        // Room for all that relays give who keep to the limits, with the end of each.
        let room = limits.saturating_add(1).saturating_mul(asked.len()).min(MOST_ROOM);
        let (sender, answers) = mpsc::channel(room.max(BACKLOG));
        self.lock().insert(sub.clone(), sender);
        let take = |handle: &RelayHandle| handle.subscribe(sub.clone(), filters.to_vec()).is_ok();
        let asked = asked.into_iter().filter(take).collect();
        Question { questions: self.clone(), sub, asked, answers }
    }

    /// Takes what answers a question out of the news; gives back all other news.
    pub(super) fn hear(&self, url: &RelayUrl, news: RelayNews) -> Option<RelayNews> {
        let (RelayNews::Event(sub, _) | RelayNews::Stored(sub) | RelayNews::Closed { sub, .. }) = &news
        else {
            return Some(news);
        };
        let Some(asker) = self.lock().get(sub).cloned() else {
            // The end of an answer that nobody waits for any more is no news either.
            return (!sub.as_str().starts_with("question-")).then_some(news);
        };
        let answer = match news {
            RelayNews::Event(_, event) => Answer::Event(event),
            _ => Answer::End(url.clone()),
        };
        // More than is taken is not missed: the question has a limit of its own.
        let _ = asker.try_send(answer);
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SubId, mpsc::Sender<Answer>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    /// All that the relays give, if each comes to an end in time.
    pub(super) async fn whole(mut self, patience: Duration) -> Option<Vec<Verified>> {
        if self.asked.is_empty() {
            return None;
        }
        let mut silent: HashSet<RelayUrl> = self.asked.iter().map(|handle| handle.url().clone()).collect();
        let mut found: HashMap<_, Verified> = HashMap::new();
        let answered = async {
            while !silent.is_empty() {
                match self.answers.recv().await? {
                    Answer::Event(event) => drop(found.insert(event.id(), event)),
                    Answer::End(url) => drop(silent.remove(&url)),
                }
            }
            Some(())
        };
        tokio::time::timeout(patience, answered).await.ok().flatten()?;
        Some(found.into_values().collect())
    }

    /// What the relays have, as far as they say so in time.
    pub(super) async fn collect(mut self, most: usize, patience: Duration) -> Vec<Verified> {
        let mut found: HashMap<_, Verified> = HashMap::new();
        let mut silent: HashSet<RelayUrl> = self.asked.iter().map(|handle| handle.url().clone()).collect();
        let answered = async {
            while !silent.is_empty() && found.len() < most {
                match self.answers.recv().await {
                    Some(Answer::Event(event)) => drop(found.insert(event.id(), event)),
                    Some(Answer::End(url)) => drop(silent.remove(&url)),
                    None => return,
                }
            }
        };
        // Whoever is late is left out.
        let _ = tokio::time::timeout(patience, answered).await;
        found.into_values().collect()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.questions.lock().remove(&self.sub);
        for handle in &self.asked {
            let _ = handle.close(self.sub.clone());
        }
    }
}
