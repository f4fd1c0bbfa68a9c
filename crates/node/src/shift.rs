//! The operator's word to the provider: kept in a file, so that a provider that was stopped stays so after a restart,
//! and passed on to whoever goes by it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use openagents_engine::{Input, Shift};
use tokio::sync::{Mutex, watch};

use crate::{
    driver::DriverHandle,
    home::{Home, HomeError, write_private},
};

const WORDS: [Shift; 3] = [Shift::Open, Shift::Paused, Shift::Stopped];

/// Where the word is written down.
#[derive(Clone, Debug)]
pub(crate) struct ShiftFile(PathBuf);

impl ShiftFile {
    pub(crate) fn of(home: &Home) -> Self {
        Self(home.data_file("provider-shift"))
    }

    /// What was said last; a provider that was told nothing works. A file that cannot be read, or holds something
    /// else, was hardly written to keep it working.
    pub(crate) fn read(&self) -> Shift {
        match std::fs::read_to_string(&self.0) {
            Ok(text) => WORDS.into_iter().find(|shift| shift.word() == text.trim()).unwrap_or(Shift::Stopped),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Shift::Open,
            Err(_) => Shift::Stopped,
        }
    }
}

/// Changes it.
#[derive(Clone, Debug)]
pub(crate) struct Foreman {
    file: ShiftFile,
    shift: watch::Sender<Shift>,
    /// The word, or paused while the machine is: what is advertised goes by it.
    open: watch::Sender<Shift>,
    host_paused: Arc<AtomicBool>,
    drain: watch::Sender<bool>,
    driver: DriverHandle,
    /// One order at a time, so that file, engine and advertisements say the same.
    order: Arc<Mutex<()>>,
}

impl Foreman {
    /// With what was said last, and what hears of a wish to drain.
    pub(crate) fn new(
        file: ShiftFile,
        driver: DriverHandle,
        host_paused: bool,
    ) -> (Self, watch::Receiver<bool>) {
        let (drain, wishes) = watch::channel(false);
        let shift = file.read();
        let open = watch::Sender::new(if host_paused { shift.max_paused() } else { shift });
        let shift = watch::Sender::new(shift);
        let host_paused = Arc::new(AtomicBool::new(host_paused));
        (Self { file, shift, open, host_paused, drain, driver, order: Arc::default() }, wishes)
    }

    pub(crate) fn shift(&self) -> Shift {
        *self.shift.borrow()
    }

    /// Whether the node ends when the jobs in hand are done.
    pub(crate) fn is_draining(&self) -> bool {
        *self.drain.borrow()
    }

    /// Hears when jobs are taken, and when not: by the operator's word, and by what the machine allows.
    pub(crate) fn listen(&self) -> watch::Receiver<Shift> {
        self.open.subscribe()
    }

    /// The machine may work, or may not.
    pub(crate) async fn host(&self, paused: bool) {
        if self.host_paused.swap(paused, Ordering::Relaxed) != paused {
            let _one = self.order.lock().await;
            self.pass_on(self.shift());
        }
    }

    fn pass_on(&self, shift: Shift) {
        self.shift.send_replace(shift);
        let open = if self.host_paused.load(Ordering::Relaxed) { shift.max_paused() } else { shift };
        self.open.send_if_modified(|before| std::mem::replace(before, open) != open);
    }

    /// Writes the word down, then passes it on.
    ///
    /// # Errors
    /// It cannot be written down; then nothing has changed.
    pub(crate) async fn tell(&self, shift: Shift) -> Result<(), HomeError> {
        let _one = self.order.lock().await;
        write_private(&self.file.0, shift.word().as_bytes())?;
        self.drain.send_replace(false);
        self.driver.report(Input::Shift(shift)).await;
        self.pass_on(shift);
        Ok(())
    }

    /// Takes no new jobs, and ends the node when those in hand are done. After the next start it works again.
    pub(crate) async fn drain(&self) {
        let _one = self.order.lock().await;
        // What was stopped stays so.
        if self.shift() == Shift::Open {
            self.driver.report(Input::Shift(Shift::Paused)).await;
            self.pass_on(Shift::Paused);
        }
        self.drain.send_replace(true);
    }
}
