//! Bytes choose what happens to an engine that sells and buys: strangers, wallets that contradict
//! themselves, backends that fail, crashes. What can be seen from outside must hold at every step.
#![no_main]

#[path = "engine/books.rs"]
mod books;
#[path = "engine/cast.rs"]
mod cast;

use books::Books;
use libfuzzer_sys::{
    arbitrary::{Arbitrary, Unstructured},
    fuzz_target,
};
use openagents_engine::{Action, Engine, Input, Sent};
use openagents_types::{Millis, Timestamp};

/// The most steps of one world.
const STEPS: usize = 200;

/// How many instants a crash waits for until nothing is due in the next.
const SETTLE: usize = 8;

/// One step of a world.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    /// Something is said, by anybody, about anything.
    Hear(cast::Said),
    /// So many milliseconds pass.
    Wait(u16),
    /// So many seconds pass.
    Sleep(u8),
    /// Time passes until the engine wants to be woken.
    Wake,
    /// The process dies and goes on from its records.
    Crash,
}

struct World {
    engine: Engine,
    books: Books,
    now: Timestamp,
    escrow: bool,
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Hear(said) => {
                if let Some(input) = self.books.admissible(&self.engine, said.input(self.now, self.escrow)) {
                    self.feed(input);
                }
            }
            Step::Wait(span) => self.now = self.now.after(Millis(span.into())),
            Step::Sleep(span) => self.now = self.now.after(Millis::from_secs(span.into())),
            Step::Wake => {
                if let Some(at) = self.engine.next_wake().filter(|at| *at != Timestamp::NEVER) {
                    self.now = self.now.max(at);
                }
                self.feed(Input::Tick);
                if let Some(next) = self.engine.next_wake() {
                    assert!(next > self.now, "woken at {:?}, it wants to be woken at {next:?}", self.now);
                }
            }
            Step::Crash => self.crash(),
        }
    }

    fn feed(&mut self, input: Input) {
        if let Some(record) = self.books.forgotten(&self.engine, &input) {
            self.books.note_recall(&record);
            let _ = self.engine.handle(self.now, Input::Recall(Box::new(record)));
        }
        self.books.before(&input);
        let actions = self.engine.handle(self.now, input.clone());
        self.take(Some(&input), &actions);
    }

    /// Saves, then acts.
    fn take(&mut self, input: Option<&Input>, actions: &[Action]) {
        let saves = |action: &&Action| matches!(action, Action::Save(_));
        let others = actions.iter().filter(|action| !saves(action));
        for action in actions.iter().filter(saves).chain(others) {
            self.books.take(input, action);
        }
        self.books.hold(&self.engine);
    }

    /// What is due is done first, so that the old and the new engine stand at the same instant.
    /// What was decided this instant is looked at again in the next.
    fn crash(&mut self) {
        for _ in 0..SETTLE {
            self.now = self.now.after(Millis(1));
            self.feed(Input::Tick);
            if self.engine.next_wake().is_none_or(|at| at > self.now.after(Millis(1))) {
                break;
            }
        }
        let records = self.books.open_records();
        let config = cast::config(self.escrow);
        let (mut engine, mut owed) = Engine::restore(self.now, config, records);
        // The wallet has sent nothing that the books do not name.
        owed.extend(engine.handle(self.now, Input::Sent(Sent::Told(Vec::new()))));
        self.books.same(&self.engine, &engine);
        self.books.restated(&self.engine, &owed);
        self.engine = engine;
        self.take(None, &owed);
    }
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let escrow = u.arbitrary().unwrap_or(true);
    let engine = Engine::new(cast::config(escrow));
    let mut world = World { engine, books: Books::new(escrow), now: openagents_fuzz::NOW, escrow };
    // For a person who replays a crash.
    let told = std::env::var_os("FUZZ_STEPS").is_some();
    for _ in 0..STEPS {
        if u.is_empty() {
            return;
        }
        let Ok(step) = u.arbitrary::<Step>() else { return };
        if told {
            eprintln!("{:?} {step:?}", world.now);
        }
        world.step(step);
    }
});
