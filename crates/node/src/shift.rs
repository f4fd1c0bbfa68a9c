//! The operator's word to the provider: kept in a file, so that a provider that was stopped stays so after a restart,
//! and passed on to whoever goes by it.

use std::path::PathBuf;

use openagents_engine::{Input, Shift};
use tokio::sync::{mpsc, watch};

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

    /// What was said last; a provider that was told nothing works. Whoever wrote something else into the file
    /// meant to stop it.
    pub(crate) fn read(&self) -> Shift {
        let Ok(text) = std::fs::read_to_string(&self.0) else { return Shift::Open };
        WORDS.into_iter().find(|shift| shift.word() == text.trim()).unwrap_or(Shift::Stopped)
    }
}

/// Changes it.
#[derive(Clone, Debug)]
pub(crate) struct Foreman {
    file: ShiftFile,
    shift: watch::Sender<Shift>,
    drain: mpsc::Sender<()>,
    driver: DriverHandle,
}

impl Foreman {
    /// With what was said last, and what hears of a wish to drain.
    pub(crate) fn new(file: ShiftFile, driver: DriverHandle) -> (Self, mpsc::Receiver<()>) {
        let (drain, wishes) = mpsc::channel(1);
        let shift = watch::Sender::new(file.read());
        (Self { file, shift, drain, driver }, wishes)
    }

    pub(crate) fn shift(&self) -> Shift {
        *self.shift.borrow()
    }

    /// Hears of every change.
    pub(crate) fn listen(&self) -> watch::Receiver<Shift> {
        self.shift.subscribe()
    }

    /// Writes the word down, then passes it on.
    ///
    /// # Errors
    /// It cannot be written down; then nothing has changed.
    pub(crate) async fn tell(&self, shift: Shift) -> Result<(), HomeError> {
        write_private(&self.file.0, shift.word().as_bytes())?;
        self.driver.report(Input::Shift(shift)).await;
        self.shift.send_replace(shift);
        Ok(())
    }

    /// Takes no new jobs, and ends the node when those in hand are done. After the next start it works again.
    pub(crate) async fn drain(&self) {
        self.driver.report(Input::Shift(Shift::Paused)).await;
        self.shift.send_replace(Shift::Paused);
        // One wish is enough.
        let _ = self.drain.try_send(());
    }
}
