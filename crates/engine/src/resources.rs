//! Whether the machine may work: what its owner allows, by what is known of the machine.
//!
//! [`Guard::look`] is `(now, sample) -> Verdict`. It pauses at once and lets work go on only when nothing has spoken
//! against it for a while, a margin away from the bound that was passed, so that a value on the bound does not turn the provider on and off.
//! What is unknown forbids nothing: a probe that a machine does not have must not stop it.

use std::fmt;

use openagents_types::{JobId, Millis, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Actions, Job,
    job::{State, Why},
    provider::ProviderDesk,
};

/// For so many times as long as a job may run it may be put back by a machine that pauses.
const LONGEST: u64 = 3;

/// What was seen of the machine at one moment; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How busy its processors are, in percent of all of them.
    pub cpu_percent: Option<u8>,
    /// How many processes want to run, in percent of the processors (load average of a minute).
    pub load_percent: Option<u32>,
    /// Memory that could be had, in bytes.
    pub memory_free: Option<u64>,
    /// All memory, in bytes.
    pub memory_total: Option<u64>,
    /// Memory of the graphics card that is free, in bytes.
    pub gpu_memory_free: Option<u64>,
    /// Space on the disk of the node's home, in bytes.
    pub disk_free: Option<u64>,
    /// Where its power comes from.
    pub power: Option<Power>,
    /// How hot it is: 0 nominal, 1 fair, 2 serious, 3 critical, 4 about to switch off.
    pub thermal: Option<u8>,
    /// How long nobody has touched keyboard, mouse or terminal.
    pub user_idle: Option<Millis>,
    /// How far local time is ahead of UTC, in minutes.
    pub utc_offset_min: Option<i32>,
}

/// Where a machine's power comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum Power {
    /// The mains.
    Mains,
    /// A battery.
    Battery {
        /// How full it is.
        percent: Option<u8>,
    },
}

/// What the owner allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceRules {
    /// How full a battery must be to work on it, in percent; over 100 never works on one, 0 always.
    pub battery_from: u8,
    /// From this heat on no work is begun (0-4); over 4 never pauses.
    pub pause_heat: u8,
    /// From this heat on half of the slots are used.
    pub ease_heat: u8,
    /// Memory that has to be free, in bytes.
    pub memory_free: u64,
    /// Disk space that has to be free, in bytes.
    pub disk_free: u64,
    /// From this load of the processors on no work is begun, in percent; 0 never pauses.
    pub cpu_most: u8,
    /// The hours of the day in which work is done, local time; empty is the whole day.
    pub hours: Vec<Hours>,
    /// No work until then.
    pub quiet_until: Option<Timestamp>,
    /// How long nobody must have used the machine; `None` asks nothing.
    pub idle_only: Option<Millis>,
    /// How long nothing must speak against work after a pause.
    pub settle: Millis,
    /// Whether jobs that run are stopped by a pause. They wait, or fail if a piece was sent.
    pub at_once: bool,
}

impl Default for ResourceRules {
    /// A machine on mains power does everything; on battery it pauses.
    fn default() -> Self {
        Self {
            battery_from: 101,
            pause_heat: 3,
            ease_heat: 2,
            memory_free: 128 << 20,
            disk_free: 256 << 20,
            cpu_most: 0,
            hours: Vec::new(),
            quiet_until: None,
            idle_only: None,
            settle: Millis::from_secs(30),
            at_once: false,
        }
    }
}

/// A span of the day, in minutes after midnight: from the first, up to and without the second. It may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// The first minute.
    pub from: u16,
    /// The minute after the last; the same as `from` is the whole day.
    pub to: u16,
}

impl Hours {
    /// Whether a minute of the day is in it.
    pub const fn holds(self, minute: u16) -> bool {
        if self.from < self.to {
            self.from <= minute && minute < self.to
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// The minute of the local day.
pub fn minute_of_day(now: Timestamp, utc_offset_min: i32) -> u16 {
    let minutes = i64::try_from(now.secs() / 60).unwrap_or(0) + i64::from(utc_offset_min);
    u16::try_from(minutes.rem_euclid(24 * 60)).unwrap_or(0)
}

/// Whether work may be begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Verdict {
    /// It may.
    #[default]
    Allowed,
    /// It may, in half of the slots.
    Eased,
    /// It may not.
    Paused {
        /// Why.
        reason: Reason,
        /// Whether jobs that run are stopped.
        at_once: bool,
    },
}

impl Verdict {
    /// Why no work may be begun.
    pub const fn pause(&self) -> Option<&Reason> {
        match self {
            Self::Allowed | Self::Eased => None,
            Self::Paused { reason, .. } => Some(reason),
        }
    }
}

/// Why no work may be begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// It is not to be disturbed until then.
    Quiet {
        /// When that ends.
        until: Timestamp,
    },
    /// It is not one of its hours.
    Hours,
    /// It runs on its battery.
    Battery {
        /// How full the battery is.
        percent: Option<u8>,
    },
    /// It is too hot.
    Heat {
        /// How hot, 0-4.
        level: u8,
    },
    /// Too little memory is free.
    Memory {
        /// What is free, in bytes.
        free: u64,
    },
    /// Too little disk space is free.
    Disk {
        /// What is free, in bytes.
        free: u64,
    },
    /// Its processors are busy.
    Cpu {
        /// How busy, in percent.
        percent: u8,
    },
    /// Somebody uses it.
    InUse,
    /// Nothing speaks against it any more, but not for long.
    Settling {
        /// Until when that has to stay so.
        until: Timestamp,
    },
}

impl Reason {
    /// One word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Quiet { .. } => "quiet",
            Self::Hours => "hours",
            Self::Battery { .. } => "battery",
            Self::Heat { .. } => "heat",
            Self::Memory { .. } => "memory",
            Self::Disk { .. } => "disk",
            Self::Cpu { .. } => "cpu",
            Self::InUse => "in-use",
            Self::Settling { .. } => "settling",
        }
    }

    /// What would let work go on.
    pub fn remedy(&self, rules: &ResourceRules) -> String {
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        match self {
            Self::Quiet { .. } => "it ends by itself; or clear resources.quiet_until".into(),
            Self::Hours => {
                let hours: Vec<String> = rules.hours.iter().map(ToString::to_string).collect();
                format!("resources.hours allows {}", hours.join(", "))
            }
            Self::Battery { .. } if rules.battery_from > 100 => {
                "plug it in, or set resources.battery_from_percent to work on battery".into()
            }
            Self::Battery { .. } => {
                format!("plug it in; on battery it works from {} percent on", rules.battery_from)
            }
            Self::Heat { .. } => format!("it works again below heat level {}", rules.pause_heat),
            Self::Memory { .. } => format!("{} have to be free, and a quarter more", mib(rules.memory_free)),
            Self::Disk { .. } => format!("{} have to be free, and a quarter more", mib(rules.disk_free)),
            Self::Cpu { .. } => format!("it works again well below {} percent", rules.cpu_most),
            Self::InUse => "leave it alone for a while, or set resources.idle_only_s to 0".into(),
            Self::Settling { .. } => "nothing; it goes on by itself".into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quiet { .. } => f.write_str("it is not to be disturbed"),
            Self::Hours => f.write_str("this is not one of its hours"),
            Self::Battery { percent: Some(percent) } => {
                write!(f, "it runs on its battery ({percent} percent)")
            }
            Self::Battery { percent: None } => f.write_str("it runs on its battery"),
            Self::Heat { level } => write!(f, "it is too hot (level {level} of 4)"),
            Self::Memory { free } => write!(f, "only {} MiB of memory are free", free >> 20),
            Self::Disk { free } => write!(f, "only {} MiB of disk space are free", free >> 20),
            Self::Cpu { percent } => write!(f, "its processors are {percent} percent busy"),
            Self::InUse => f.write_str("somebody uses it"),
            Self::Settling { .. } => f.write_str("nothing speaks against work any more, but not for long"),
        }
    }
}

/// The machine, as a provider's rules take it into account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Whether it may work.
    pub verdict: Verdict,
    /// How hard it works.
    pub strain: Strain,
    /// How far local time is ahead of UTC, in minutes; unknown counts as UTC.
    pub utc_offset_min: Option<i32>,
}

impl Host {
    /// What a sample comes to.
    pub fn of(verdict: Verdict, sample: &Sample) -> Self {
        let used = |free: u64, total: u64| 100 - u128::from(free.min(total)) * 100 / u128::from(total);
        let memory = sample.memory_free.zip(sample.memory_total).filter(|(_, total)| *total > 0);
        let strain = Strain {
            thermal: sample.thermal,
            cpu_percent: sample.cpu_percent,
            memory_percent: memory.and_then(|(free, total)| u8::try_from(used(free, total)).ok()),
        };
        Self { verdict, strain, utc_offset_min: sample.utc_offset_min }
    }
}

/// How hard a machine works; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// How hot it is, 0-4.
    pub thermal: Option<u8>,
    /// How busy its processors are, in percent.
    pub cpu_percent: Option<u8>,
    /// How much of its memory is in use, in percent.
    pub memory_percent: Option<u8>,
}

/// The rules, and what they have come to so far.
#[derive(Clone, Debug)]
pub struct Guard {
    rules: ResourceRules,
    paused: bool,
    /// Since when nothing has spoken against work, while it is paused.
    clear_since: Option<Timestamp>,
}

/// Load, in percent, below which a machine counts as not in use where nobody can tell when it was touched.
const UNUSED: u32 = 25;

impl Guard {
    /// Nothing was seen yet.
    pub const fn new(rules: ResourceRules) -> Self {
        Self { rules, paused: false, clear_since: None }
    }

    /// What the owner allows.
    pub const fn rules(&self) -> &ResourceRules {
        &self.rules
    }

    /// Whether work may be begun now; `running` jobs of ours make load of their own.
    pub fn look(&mut self, now: Timestamp, sample: &Sample, running: usize) -> Verdict {
        let against = self.against(now, sample, running);
        let at_once = self.rules.at_once;
        if let Some(reason) = against {
            self.paused = true;
            self.clear_since = None;
            return Verdict::Paused { reason, at_once };
        }
        if self.paused {
            let since = *self.clear_since.get_or_insert(now);
            let until = since.after(self.rules.settle);
            if now < until {
                return Verdict::Paused { reason: Reason::Settling { until }, at_once };
            }
            (self.paused, self.clear_since) = (false, None);
        }
        if sample.thermal.is_some_and(|heat| heat >= self.rules.ease_heat) {
            Verdict::Eased
        } else {
            Verdict::Allowed
        }
    }

    /// The first thing that speaks against work. Bounds are wider while it is paused.
    fn against(&self, now: Timestamp, sample: &Sample, running: usize) -> Option<Reason> {
        let rules = &self.rules;
        if let Some(until) = rules.quiet_until.filter(|until| now < *until) {
            return Some(Reason::Quiet { until });
        }
        if let Some(offset) = sample.utc_offset_min
            && !rules.hours.is_empty()
            && !rules.hours.iter().any(|hours| hours.holds(minute_of_day(now, offset)))
        {
            return Some(Reason::Hours);
        }
        self.power(sample).or_else(|| self.room(sample)).or_else(|| self.busy(sample, running))
    }

    fn power(&self, sample: &Sample) -> Option<Reason> {
        if let Some(Power::Battery { percent }) = sample.power {
            let margin = if self.paused { 5 } else { 0 };
            let enough = match percent {
                _ if self.rules.battery_from == 0 => true,
                _ if self.rules.battery_from > 100 => false,
                Some(percent) => percent >= self.rules.battery_from.saturating_add(margin).min(100),
                None => true,
            };
            if !enough {
                return Some(Reason::Battery { percent });
            }
        }
        // Once it paused, it has to be a level cooler than what was allowed before.
        let most = self.rules.pause_heat.saturating_sub(u8::from(self.paused && self.rules.pause_heat > 1));
        let level = sample.thermal.filter(|level| self.rules.pause_heat <= 4 && *level >= most)?;
        Some(Reason::Heat { level })
    }

    fn room(&self, sample: &Sample) -> Option<Reason> {
        let short = |free: Option<u64>, least: u64| {
            let margin = if self.paused { least / 4 } else { 0 };
            free.filter(|free| *free < least.saturating_add(margin))
        };
        let memory = short(sample.memory_free, self.rules.memory_free).map(|free| Reason::Memory { free });
        memory.or_else(|| short(sample.disk_free, self.rules.disk_free).map(|free| Reason::Disk { free }))
    }

    fn busy(&self, sample: &Sample, running: usize) -> Option<Reason> {
        let most = if self.paused { self.rules.cpu_most / 4 * 3 } else { self.rules.cpu_most };
        if let Some(percent) = sample.cpu_percent.filter(|percent| most > 0 && *percent >= most) {
            return Some(Reason::Cpu { percent });
        }
        let span = self.rules.idle_only?;
        let in_use = match (sample.user_idle, sample.load_percent) {
            (Some(idle), _) => idle < span,
            // While we work, the load is ours.
            (None, Some(load)) => running == 0 && load >= UNUSED,
            (None, None) => false,
        };
        in_use.then_some(Reason::InUse)
    }
}

impl ProviderDesk {
    /// The machine may work, or may not, or is under another strain than before.
    pub(crate) fn host(&mut self, now: Timestamp, host: Host, out: &mut Actions) {
        let was_paused = self.config.host.verdict.pause().is_some();
        self.config.host = host;
        match &self.config.host.verdict {
            Verdict::Allowed | Verdict::Eased => self.paused_since = None,
            Verdict::Paused { at_once, .. } => {
                if !was_paused || self.paused_since.is_none() {
                    self.paused_since = Some(now);
                }
                if *at_once {
                    self.stop_running(now, out);
                }
                self.end_long_waits(now, out);
            }
        }
    }

    /// Jobs that run wait again, with the attempt given back; one whose customer has read a piece fails.
    fn stop_running(&mut self, now: Timestamp, out: &mut Actions) {
        for id in self.all_where(|state| matches!(state, State::Running { .. })) {
            let Some(Job { state: State::Running { funds, rank, attempts, pieces, .. }, .. }) =
                self.jobs.get(&id)
            else {
                continue;
            };
            let (funds, rank, attempts, pieces) = (*funds, *rank, *attempts, *pieces);
            let since = self.jobs.get(&id).map_or(now, |job| job.received_at);
            let longest = Millis(self.config.job_timeout.0.saturating_mul(LONGEST));
            if pieces > 0 || now >= since.after(longest) {
                self.fail(now, id, paused(), out);
            } else {
                self.stop_work(id, out);
                self.enqueue(now, id, funds, rank, attempts.saturating_sub(1), out);
            }
        }
    }

    /// A job that was paid for and waits for the machine is given up after as long as a job may run, and its money goes back.
    fn end_long_waits(&mut self, now: Timestamp, out: &mut Actions) {
        let Some(since) = self.paused_since else { return };
        let patience = self.config.job_timeout;
        if now < since.after(patience) {
            return;
        }
        for id in self.all_where(|state| matches!(state, State::Queued { .. })) {
            if self.jobs.get(&id).is_some_and(|job| job.changed_at.after(patience) <= now) {
                self.fail(now, id, paused(), out);
            }
        }
    }

    fn all_where(&self, wanted: impl Fn(&State) -> bool) -> Vec<JobId> {
        let jobs = self.jobs.iter().filter(|(_, job)| wanted(&job.state));
        let mut ids: Vec<JobId> = jobs.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Jobs that may run at once now.
    pub(crate) fn slots(&self) -> usize {
        match &self.config.host.verdict {
            Verdict::Allowed => self.config.slots,
            Verdict::Eased => self.config.slots.div_ceil(2),
            Verdict::Paused { .. } => 0,
        }
    }
}

fn paused() -> Why {
    Why::new("paused", "this provider's machine may not work at the moment")
}
