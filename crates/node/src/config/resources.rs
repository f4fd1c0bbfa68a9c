//! `[resources]`: when this machine may work for others.

use openagents_engine::resources::{Hours, ResourceRules};
use openagents_types::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// When this machine may work for others. What a machine cannot tell of itself forbids nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceSettings {
    /// Whether it works on battery: `pause` or `work`. A market of its own (`up --offline`) works on battery too.
    pub on_battery: OnBattery,
    /// How full the battery has to be to work on it, in percent.
    pub battery_from_percent: u8,
    /// From this heat on no work is begun: 1 fair, 2 serious, 3 critical, 4 about to switch off; 5 never pauses.
    pub pause_heat: u8,
    /// From this heat on half of the slots are used.
    pub ease_heat: u8,
    /// Memory that has to be free to begin work, in MiB; 0 asks nothing.
    pub memory_free_mb: u64,
    /// Disk space that has to be free to begin work, in MiB; 0 asks nothing.
    pub disk_free_mb: u64,
    /// From this load of all processors on no work is begun, in percent; our own work counts. 0 asks nothing.
    pub cpu_most_percent: u8,
    /// When work is done, local time, such as `["22:00-07:00"]`; empty is always.
    pub hours: Vec<String>,
    /// No work is begun until then, in seconds since 1970 as `date +%s` writes them; 0 is no such time.
    pub quiet_until: u64,
    /// How long nobody must have used the machine, in seconds; where that is not known, its load is looked at.
    /// 0 asks nothing.
    pub idle_only_s: u64,
    /// How long nothing must speak against work after a pause, in seconds.
    pub settle_s: u64,
    /// Whether a pause stops jobs that run. They wait, and fail if their customer has read a piece.
    pub at_once: bool,
    /// How often the machine is looked at, in milliseconds.
    pub look_every_ms: u64,
    /// A file in which a tool of yours writes what it knows of the machine, as JSON: what stands in it counts. Empty: none.
    pub sample_file: String,
    /// What single backends may do at once: `[[resources.backend]]` with `name`, and `slots` or `context`.
    pub backend: Vec<BackendLimit>,
}

/// Whether a machine works on battery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBattery {
    /// It does not.
    #[default]
    Pause,
    /// It does, while the battery is full enough.
    Work,
}

/// What one backend may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendLimit {
    /// The backend, as `openagents provider status` names it.
    pub name: String,
    /// Jobs at once.
    #[serde(default)]
    pub slots: Option<usize>,
    /// Tokens of prompt and answer together.
    #[serde(default)]
    pub context: Option<u64>,
}

impl Default for ResourceSettings {
    fn default() -> Self {
        let rules = ResourceRules::default();
        Self {
            on_battery: OnBattery::Pause,
            battery_from_percent: 40,
            pause_heat: rules.pause_heat,
            ease_heat: rules.ease_heat,
            memory_free_mb: rules.memory_free >> 20,
            disk_free_mb: rules.disk_free >> 20,
            cpu_most_percent: rules.cpu_most,
            hours: Vec::new(),
            quiet_until: 0,
            idle_only_s: 0,
            settle_s: rules.settle.0 / 1_000,
            at_once: rules.at_once,
            look_every_ms: 5_000,
            sample_file: String::new(),
            backend: Vec::new(),
        }
    }
}

impl ResourceSettings {
    /// As the engine takes them.
    pub fn rules(&self) -> ResourceRules {
        ResourceRules {
            battery_from: match self.on_battery {
                OnBattery::Pause => 101,
                OnBattery::Work => self.battery_from_percent.min(100),
            },
            pause_heat: self.pause_heat,
            ease_heat: self.ease_heat,
            memory_free: self.memory_free_mb << 20,
            disk_free: self.disk_free_mb << 20,
            cpu_most: self.cpu_most_percent,
            hours: self.hours.iter().filter_map(|text| hours(text)).collect(),
            quiet_until: (self.quiet_until > 0).then(|| Timestamp::from_secs(self.quiet_until)),
            idle_only: (self.idle_only_s > 0).then(|| Millis::from_secs(self.idle_only_s)),
            settle: Millis::from_secs(self.settle_s),
            at_once: self.at_once,
        }
    }

    /// What a backend may do.
    pub fn limit(&self, backend: &str) -> Option<&BackendLimit> {
        self.backend.iter().find(|limit| limit.name == backend)
    }

    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(text) = self.hours.iter().find(|text| hours(text).is_none()) {
            return Err(ConfigError::Hours { key: "resources.hours", text: text.clone() });
        }
        let range = |key, value: u64, least: u64, most: u64, rule| match value {
            value if (least..=most).contains(&value) => Ok(()),
            value => Err(ConfigError::Unusable { key, value, rule }),
        };
        let heat = "it must be from 1 to 5";
        range("resources.pause_heat", self.pause_heat.into(), 1, 5, heat)?;
        range("resources.ease_heat", self.ease_heat.into(), 1, 5, heat)?;
        range("resources.cpu_most_percent", self.cpu_most_percent.into(), 0, 100, "it must be at most 100")?;
        for slots in self.backend.iter().filter_map(|limit| limit.slots) {
            range("resources.backend.slots", slots as u64, 1, u64::MAX, "it must be at least 1")?;
        }
        range("resources.look_every_ms", self.look_every_ms, 50, 600_000, "it must be from 50 to 600000")
    }
}

/// A span of the day, such as `22:00-07:00`.
pub(super) fn hours(text: &str) -> Option<Hours> {
    let (from, to) = text.split_once('-')?;
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (minute < 60 && (hour < 24 || (hour == 24 && minute == 0))).then_some(hour * 60 + minute)
    };
    Some(Hours { from: minute(from)? % 1_440, to: minute(to)? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    #[test]
    fn hours_are_read_and_may_go_over_midnight() {
        let at = |text: &str, minute: u16| hours(text).unwrap().holds(minute);
        assert!(at("08:00-18:30", 480) && at("08:00-18:30", 1_109) && !at("08:00-18:30", 1_110));
        assert!(at("22:00-07:00", 1_439) && at("22:00-07:00", 0) && !at("22:00-07:00", 420));
        assert!(at("08:00-24:00", 1_439) && !at("08:00-24:00", 0));
        for text in ["8-18", "08:00", "25:00-26:00", "08:60-09:00", "", "a:b-c:d", "24:30-25:00"] {
            assert!(hours(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_defaults_let_a_desktop_work_and_a_battery_rest() {
        assert_eq!(ResourceSettings::default().rules(), ResourceRules::default());
    }
}
