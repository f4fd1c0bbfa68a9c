//! A screen that keeps nothing: the terminal's second one, which has no history and is wiped when it is left, however
//! that happens.

use std::{io::Write, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin},
    runtime::Runtime,
};
use zeroize::Zeroizing;

use crate::stop::Stop;

/// To the second screen, wiped.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[2J\u{1b}[H";

/// Wipes it, with what a terminal that has only one screen remembers, and goes back.
const LEAVE: &str = "\u{1b}[2J\u{1b}[3J\u{1b}[H\u{1b}[?1049l";

/// What came from the keyboard.
pub(super) enum Heard {
    /// A line, without its end.
    Line(Zeroizing<String>),
    /// Nothing, for as long as was waited.
    Quiet,
    /// Ctrl-C, SIGTERM, or the end of the input.
    Stopped,
}

/// See the module.
pub(super) struct Screen {
    /// Waits for keyboard, clock and signals at once: an ordinary Ctrl-C would leave the words standing there.
    runtime: Option<Runtime>,
    lines: Lines<BufReader<Stdin>>,
    stop: Stop,
}

impl Screen {
    /// Shows the second screen.
    pub(super) fn open() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (lines, stop) = {
            let _inside = runtime.enter();
            (BufReader::new(tokio::io::stdin()).lines(), Stop::listen()?)
        };
        let screen = Self { runtime: Some(runtime), lines, stop };
        put(ENTER)?;
        Ok(screen)
    }

    /// Shows this, and nothing else.
    pub(super) fn draw(&mut self, text: &str) -> std::io::Result<&mut Self> {
        put(&format!("\u{1b}[2J\u{1b}[3J\u{1b}[H{text}\n"))?;
        Ok(self)
    }

    /// Adds this to what is shown.
    pub(super) fn say(&mut self, text: &str) -> std::io::Result<()> {
        put(text)
    }

    /// Waits for a line, as long as it takes.
    pub(super) fn listen(&mut self) -> anyhow::Result<Heard> {
        self.wait(Duration::MAX)
    }

    /// Waits for a line, a stop, or the time.
    pub(super) fn wait(&mut self, time: Duration) -> anyhow::Result<Heard> {
        let Self { runtime: Some(runtime), lines, stop } = self else { return Ok(Heard::Stopped) };
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.next() => Ok(Heard::Stopped),
                line = lines.next_line() => Ok(line?.map_or(Heard::Stopped, |line| Heard::Line(Zeroizing::new(line)))),
                () = tokio::time::sleep(time) => Ok(Heard::Quiet),
            }
        })
    }

    /// Whether the person presses Enter.
    pub(super) fn is_told_to_go_on(&mut self) -> anyhow::Result<bool> {
        Ok(matches!(self.listen()?, Heard::Line(_)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is there to be told that the terminal is gone.
        let _ = put(LEAVE);
        if let Some(runtime) = self.runtime.take() {
            // A read of the keyboard cannot be called back.
            runtime.shutdown_background();
        }
    }
}

fn put(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
