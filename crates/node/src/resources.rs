//! The machine, looked at every few seconds: what it can tell of itself, what the engine's rules make of that, and who is told.

mod linux;
mod macos;
mod tools;

use std::{path::PathBuf, time::Duration};

use openagents_engine::{
    Host, Input,
    resources::{Guard, Reason, ResourceRules, Sample, Verdict},
};
use openagents_types::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{clock, config::ResourceSettings, driver::DriverHandle, shift::Foreman};

/// What looks at a machine. Nothing it cannot find is an error: it is unknown.
pub(crate) trait Sensors: Send {
    /// What there is to see now. May take as long as a small program; called on a thread that may wait.
    fn sample(&mut self) -> Sample;
}

/// The sensors of this system, for the disk that holds `home`.
fn system(home: PathBuf) -> Box<dyn Sensors> {
    if cfg!(target_os = "macos") {
        Box::new(macos::MacOs::new(home))
    } else {
        Box::new(linux::Linux::at("/".into(), home))
    }
}

/// Sensors of the system, under what a tool of the operator's writes into a file.
struct WithFile {
    system: Box<dyn Sensors>,
    file: Option<PathBuf>,
}

impl Sensors for WithFile {
    fn sample(&mut self) -> Sample {
        let sample = self.system.sample();
        let text = self.file.as_ref().and_then(|file| std::fs::read(file).ok());
        text.map_or(sample, |text| overlaid(sample, &text))
    }
}

/// A sample, with what stands in a JSON object in its place. Anything else is left out.
fn overlaid(sample: Sample, text: &[u8]) -> Sample {
    let (Ok(mut own), Ok(serde_json::Value::Object(theirs))) =
        (serde_json::to_value(sample), serde_json::from_slice(text))
    else {
        return sample;
    };
    for (name, value) in theirs {
        let before = std::mem::replace(&mut own[&name], value);
        if serde_json::from_value::<Sample>(own.clone()).is_err() {
            own[&name] = before;
        }
    }
    serde_json::from_value(own).unwrap_or(sample)
}

/// The machine as it was seen last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) sample: Sample,
    pub(crate) verdict: Verdict,
    /// What would let work go on.
    pub(crate) remedy: Option<String>,
}

/// Looks at the machine.
pub(crate) struct Watcher {
    sensors: Box<dyn Sensors>,
    guard: Guard,
    every: Duration,
    seen: watch::Sender<Seen>,
}

impl Watcher {
    /// On this system. A market of its own has its customers here: it works on battery too.
    pub(crate) fn new(settings: &ResourceSettings, home: PathBuf, offline: bool) -> Self {
        let sensors = WithFile {
            system: system(home),
            file: Some(&settings.sample_file).filter(|file| !file.is_empty()).map(PathBuf::from),
        };
        let mut rules = settings.rules();
        if offline {
            rules.battery_from = 0;
        }
        Self::with(Box::new(sensors), rules, Duration::from_millis(settings.look_every_ms))
    }

    fn with(sensors: Box<dyn Sensors>, rules: ResourceRules, every: Duration) -> Self {
        Self { sensors, guard: Guard::new(rules), every, seen: watch::Sender::default() }
    }

    /// Shows what is seen.
    pub(crate) fn listen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Looks once. Waits for small programs.
    pub(crate) fn look(&mut self, now: Timestamp, running: usize) -> Host {
        let sample = self.sensors.sample();
        let verdict = self.guard.look(now, &sample, running);
        let remedy = verdict.pause().map(|reason: &Reason| reason.remedy(self.guard.rules()));
        self.seen.send_replace(Seen { sample, verdict: verdict.clone(), remedy });
        Host::of(verdict, &sample)
    }

    /// Looks until the node stops, and tells the engine and whoever advertises.
    pub(crate) async fn run(mut self, driver: DriverHandle, foreman: Foreman, stop: CancellationToken) {
        use std::sync::atomic::Ordering::Relaxed;
        while stop.run_until_cancelled(tokio::time::sleep(self.every)).await.is_some() {
            let running = driver.gauges.running.load(Relaxed);
            let looked = tokio::task::spawn_blocking(move || {
                let host = self.look(clock::now(), running);
                (self, host)
            });
            let Ok((watcher, host)) = looked.await else { return };
            self = watcher;
            let paused = host.verdict.pause().is_some();
            driver.report(Input::Host(host)).await;
            foreman.host(paused).await;
        }
    }
}

#[cfg(test)]
mod tests;
