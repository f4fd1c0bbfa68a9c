//! What Linux tells in `/proc` and `/sys`. When somebody touched keyboard or mouse it tells nobody, so that is unknown.

use std::path::{Path, PathBuf};

use openagents_engine::resources::{Power, Sample};

use super::{
    Sensors,
    tools::{self, Tool},
};

/// Sensors under a root, which is `/` but in tests.
pub(super) struct Linux {
    root: PathBuf,
    home: PathBuf,
    /// Processor time so far: busy, and all.
    before: Option<(u64, u64)>,
    local_time: Tool,
    nvidia: Tool,
}

impl Linux {
    pub(super) fn at(root: PathBuf, home: PathBuf) -> Self {
        Self { root, home, before: None, local_time: Tool::local_time(), nvidia: Tool::nvidia() }
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(path)).ok()
    }

    fn cpu_percent(&mut self) -> Option<u8> {
        let now = processor_time(&self.read("proc/stat")?)?;
        let (busy, all) =
            self.before.replace(now).map(|(busy, all)| (now.0.checked_sub(busy), now.1.checked_sub(all)))?;
        let (busy, all) = (busy?, all.filter(|all| *all > 0)?);
        u8::try_from((busy * 100 / all).min(100)).ok()
    }
}

impl Sensors for Linux {
    fn sample(&mut self) -> Sample {
        let memory = self.read("proc/meminfo").unwrap_or_default();
        let load = self.read("proc/loadavg").unwrap_or_default();
        Sample {
            cpu_percent: self.cpu_percent(),
            load_percent: load_percent(&load),
            memory_free: memory_row(&memory, "MemAvailable"),
            memory_total: memory_row(&memory, "MemTotal"),
            gpu_memory_free: self.nvidia.says().as_deref().and_then(tools::most_mib),
            disk_free: tools::disk_free(&self.home),
            power: power(&self.root.join("sys/class/power_supply")),
            thermal: thermal(&self.root.join("sys/class/thermal")),
            user_idle: None,
            utc_offset_min: self.local_time.says().as_deref().and_then(tools::offset),
        }
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, …
fn processor_time(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|number| number.parse().ok()).collect();
    let idle = ticks.get(3)?.checked_add(*ticks.get(4).unwrap_or(&0))?;
    let all = ticks.iter().try_fold(0_u64, |sum, ticks| sum.checked_add(*ticks))?;
    Some((all.checked_sub(idle)?, all))
}

/// The load of the last minute, in percent of all processors.
fn load_percent(text: &str) -> Option<u32> {
    let load: f64 = text.split_whitespace().next()?.parse().ok()?;
    percent_of_processors(load)
}

/// A load, in percent of all processors.
pub(super) fn percent_of_processors(load: f64) -> Option<u32> {
    let processors = u32::try_from(std::thread::available_parallelism().ok()?.get()).ok()?;
    let percent = load * 100.0 / f64::from(processors);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    (0.0..1e9).contains(&percent).then_some(percent as u32)
}

fn memory_row(text: &str, name: &str) -> Option<u64> {
    let row = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    row.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1_024)
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn word(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(name)).ok().map(|text| text.trim().to_owned())
}

/// On battery if one of the machine's own is being emptied and no mains supply is there; unknown where there are no supplies.
fn power(path: &Path) -> Option<Power> {
    let supplies = folders(path);
    let is =
        |folder: &PathBuf, name: &str, value: &str| word(folder, name).is_some_and(|found| found == value);
    // Batteries of mice and keyboards say that they are a device's.
    let batteries: Vec<&PathBuf> =
        supplies.iter().filter(|it| is(it, "type", "Battery") && !is(it, "scope", "Device")).collect();
    let plugged = supplies.iter().any(|it| !is(it, "type", "Battery") && is(it, "online", "1"));
    if !plugged && let Some(emptied) = batteries.iter().find(|it| is(it, "status", "Discharging")) {
        let percent = word(emptied, "capacity").and_then(|text| text.parse().ok());
        return Some(Power::Battery { percent });
    }
    (!supplies.is_empty()).then_some(Power::Mains)
}

/// The heat of the hottest zone: 0 below 75 °C, 4 from 100 °C on; unknown where there are no zones.
fn thermal(path: &Path) -> Option<u8> {
    let zones = folders(path).into_iter();
    let zones = zones
        .filter(|it| it.file_name().is_some_and(|name| name.to_string_lossy().starts_with("thermal_zone")));
    let millidegrees = zones.filter_map(|zone| word(&zone, "temp")?.parse::<i64>().ok());
    // Sensors that are not connected tell 0 or nonsense.
    let hottest = millidegrees.filter(|heat| (1..150_000).contains(heat)).max()?;
    Some(match hottest {
        ..75_000 => 0,
        75_000..85_000 => 1,
        85_000..95_000 => 2,
        95_000..100_000 => 3,
        _ => 4,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_laptop_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "proc/stat", "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n");
        write(root, "proc/meminfo", "MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n");
        write(root, "proc/loadavg", "0.00 1.00 2.00 1/2 3\n");
        write(root, "sys/class/power_supply/AC/type", "Mains\n");
        write(root, "sys/class/power_supply/AC/online", "0\n");
        write(root, "sys/class/power_supply/BAT0/type", "Battery\n");
        write(root, "sys/class/power_supply/BAT0/status", "Discharging\n");
        write(root, "sys/class/power_supply/BAT0/capacity", "57\n");
        write(root, "sys/class/power_supply/mouse/type", "Battery\n");
        write(root, "sys/class/power_supply/mouse/scope", "Device\n");
        write(root, "sys/class/thermal/thermal_zone0/temp", "48000\n");
        write(root, "sys/class/thermal/thermal_zone1/temp", "91000\n");
        write(root, "sys/class/thermal/cooling_device0/temp", "149000\n");
        let mut linux = Linux::at(root.into(), root.into());
        let first = linux.sample();
        assert_eq!((first.cpu_percent, first.load_percent), (None, Some(0)), "time has to pass first");
        assert_eq!((first.memory_free, first.memory_total), (Some(1 << 20), Some(2 << 20)));
        assert_eq!((first.power, first.thermal), (Some(Power::Battery { percent: Some(57) }), Some(2)));
        assert!(first.disk_free.is_some());
        write(root, "proc/stat", "cpu  150 0 125 725 100 0 0 0 0 0\n");
        write(root, "sys/class/power_supply/AC/online", "1\n");
        let second = linux.sample();
        assert_eq!((second.cpu_percent, second.power), (Some(75), Some(Power::Mains)));
    }

    #[test]
    fn what_is_not_there_or_makes_no_sense_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let mut linux = Linux::at(root.into(), root.join("nowhere"));
        let known = |sample: Sample| Sample { utc_offset_min: None, gpu_memory_free: None, ..sample };
        assert_eq!(known(linux.sample()), Sample::default());
        for (path, text) in [
            ("proc/stat", "cpu  99999999999999999999 x"),
            ("proc/meminfo", "MemTotal: many kB\nMemAvailable"),
            ("proc/loadavg", "NaN"),
            ("sys/class/thermal/thermal_zone0/temp", "-274000"),
        ] {
            write(root, path, text);
        }
        assert_eq!(known(linux.sample()), Sample::default());
        assert_eq!(known(linux.sample()), Sample::default());
    }

    #[test]
    fn this_machine_is_read_without_a_panic() {
        let mut linux = Linux::at("/".into(), "/".into());
        linux.sample();
        let sample = linux.sample();
        if cfg!(target_os = "linux") {
            assert!(sample.memory_free.is_some() && sample.utc_offset_min.is_some(), "{sample:?}");
        }
    }
}
