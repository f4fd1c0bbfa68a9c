//! What is for sale at this moment: offers follow what model servers report, and a kind whose servers are all away is not
//! advertised.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use openagents_backend::ServerState;
use openagents_engine::{Input, Offer};
use openagents_types::JobKind;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    driver::DriverHandle,
    offers::{self, Seat, Table},
};

/// How often the servers' last words are read; they are watched more often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a server may be away before its kinds are advertised no more: one that is started again is back by then.
const AWAY_AFTER: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stock {
    /// One for each kind that the settings sell, by kind.
    pub(crate) offers: Vec<Offer>,
    /// Those of them that nothing here can do now.
    pub(crate) away: BTreeSet<JobKind>,
}

impl Stock {
    /// What can be done now.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Offer> {
        self.offers.iter().filter(|offer| !self.away.contains(&offer.kind))
    }

    /// Whether a kind can be done now.
    pub(crate) fn shows(&self, kind: JobKind) -> bool {
        self.shown().any(|offer| offer.kind == kind)
    }
}

/// Keeps the stock current.
pub(crate) struct StockKeeper {
    config: Config,
    table: Table,
    /// When a backend of a kind could last work.
    seen: HashMap<JobKind, Instant>,
    tell: watch::Sender<Stock>,
}

impl StockKeeper {
    /// With a first look, which the engine is made with.
    pub(crate) fn new(config: Config, table: Table) -> (Self, watch::Receiver<Stock>) {
        let (tell, stock) = watch::channel(Stock::default());
        let mut keeper = Self { config, table, seen: HashMap::new(), tell };
        let first = keeper.look(Instant::now());
        keeper.tell.send_replace(first);
        (keeper, stock)
    }

    /// Looks until the node stops. The engine hears of other models and prices first, then whoever advertises them.
    pub(crate) async fn run(mut self, driver: DriverHandle, stop: CancellationToken) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let stock = self.look(Instant::now());
            if stock == *self.tell.borrow() {
                continue;
            }
            if stock.offers != self.tell.borrow().offers {
                driver.report(Input::Stock(stock.offers.clone())).await;
            }
            self.tell.send_replace(stock);
        }
    }

    fn look(&mut self, now: Instant) -> Stock {
        for (kind, seats) in &self.table {
            if seats.iter().any(can_work) {
                self.seen.insert(*kind, now);
            }
        }
        let is_away = |kind: &JobKind| self.seen.get(kind).is_none_or(|seen| now >= *seen + AWAY_AFTER);
        let away = self.table.keys().copied().filter(is_away).collect();
        Stock { offers: offers::offers(&self.config, &self.table), away }
    }
}

/// What stands on no server was ready at the start, or is not in the table.
fn can_work(seat: &Seat) -> bool {
    seat.backend.server().is_none_or(|server: ServerState| server.health.is_ready())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use openagents_backend::{Backend, BackendError, Health, Model, Output, Rejection, Work};
    use openagents_types::Param;
    use tokio::sync::mpsc;

    use super::*;

    /// A model server that is as it is told to be.
    struct Server(Mutex<(Health, Vec<&'static str>)>);

    #[async_trait]
    impl Backend for Server {
        fn name(&self) -> &'static str {
            "server"
        }

        fn kinds(&self) -> Vec<JobKind> {
            vec![JobKind::TEXT_GENERATION]
        }

        async fn probe(&self) -> Health {
            self.0.lock().unwrap().0.clone()
        }

        fn models(&self, _kind: JobKind) -> Vec<Model> {
            self.0.lock().unwrap().1.iter().map(|name| Model::named(*name)).collect()
        }

        fn check(&self, _kind: JobKind, _params: &[Param], _bytes: u64) -> Result<(), Rejection> {
            Ok(())
        }

        fn server(&self) -> Option<ServerState> {
            let health = self.0.lock().unwrap().0.clone();
            let (kind, place, about) = ("server".into(), "here".into(), String::new());
            Some(ServerState { kind, place, about, health, models: Vec::new(), warning: None })
        }

        async fn run(
            &self,
            _work: Work,
            _pieces: mpsc::Sender<String>,
            _stop: CancellationToken,
        ) -> Result<Output, BackendError> {
            unreachable!("nothing is run")
        }
    }

    #[test]
    fn a_kind_is_shown_from_when_its_server_comes_until_it_has_been_away_for_a_while() {
        let server = Arc::new(Server(Mutex::new((Health::Down("not there".into()), vec![]))));
        let seat = Seat { label: "server".into(), backend: server.clone(), gauge: Arc::default() };
        let table = Table::from([(JobKind::TEXT_GENERATION, vec![seat])]);
        let (mut keeper, stock) = StockKeeper::new(Config::default(), table);
        assert_eq!((stock.borrow().offers.len(), stock.borrow().shown().count()), (1, 0), "it never came");

        let begun = Instant::now();
        *server.0.lock().unwrap() = (Health::Ready, vec!["small"]);
        let there = keeper.look(begun);
        assert!(there.shows(JobKind::TEXT_GENERATION));
        assert_eq!(there.offers[0].models[0].name, "small");

        server.0.lock().unwrap().0 = Health::Starting;
        assert_eq!(keeper.look(begun + AWAY_AFTER / 2), there, "it is started again");
        assert!(!keeper.look(begun + AWAY_AFTER).shows(JobKind::TEXT_GENERATION));
        server.0.lock().unwrap().0 = Health::Ready;
        assert_eq!(keeper.look(begun + 2 * AWAY_AFTER), there, "it is back");
    }
}
