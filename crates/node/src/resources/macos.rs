//! What macOS tells by its own small programs: power, memory, load, when somebody touched it. Its heat is told to nobody without a privilege,
//! so that is unknown.

use std::{path::PathBuf, time::Duration};

use openagents_engine::resources::{Power, Sample};
use openagents_types::Millis;

use super::{
    Sensors,
    linux::percent_of_processors,
    tools::{self, Tool},
};

/// How often they are asked: starting one takes some milliseconds.
const EVERY: Duration = Duration::from_secs(4);

/// Sensors of macOS.
pub(super) struct MacOs {
    home: PathBuf,
    battery: Tool,
    memory: Tool,
    total: Tool,
    load: Tool,
    idle: Tool,
    local_time: Tool,
}

impl MacOs {
    pub(super) const fn new(home: PathBuf) -> Self {
        Self {
            home,
            battery: Tool::new("pmset", &["-g", "batt"], EVERY),
            memory: Tool::new("vm_stat", &[], EVERY),
            total: Tool::new("sysctl", &["-n", "hw.memsize"], Duration::from_secs(3_600)),
            load: Tool::new("sysctl", &["-n", "vm.loadavg"], EVERY),
            idle: Tool::new("ioreg", &["-c", "IOHIDSystem", "-d", "4"], EVERY),
            local_time: Tool::local_time(),
        }
    }
}

impl Sensors for MacOs {
    fn sample(&mut self) -> Sample {
        Sample {
            load_percent: self.load.says().as_deref().and_then(load),
            memory_free: self.memory.says().as_deref().and_then(memory),
            memory_total: self.total.says().and_then(|text| text.trim().parse().ok()),
            disk_free: tools::disk_free(&self.home),
            power: self.battery.says().as_deref().and_then(power),
            user_idle: self.idle.says().as_deref().and_then(idle),
            utc_offset_min: self.local_time.says().as_deref().and_then(tools::offset),
            ..Sample::default()
        }
    }
}

/// `Now drawing from 'Battery Power'`, and a line with `57%;`.
fn power(text: &str) -> Option<Power> {
    let percent = || text.split_once("%;")?.0.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    if text.contains("'Battery Power'") {
        Some(Power::Battery { percent: percent() })
    } else {
        text.contains("'AC Power'").then_some(Power::Mains)
    }
}

/// Pages that could be had: free, inactive, speculative and purgeable ones.
fn memory(text: &str) -> Option<u64> {
    let number =
        |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u64>().ok();
    let size = number(text.lines().next()?.split_once("page size of")?.1)?;
    let row = |name: &str| text.lines().find_map(|line| number(line.strip_prefix(name)?));
    let others =
        ["Pages inactive:", "Pages speculative:", "Pages purgeable:"].iter().filter_map(|name| row(name));
    let pages = others.fold(row("Pages free:")?, u64::saturating_add);
    pages.checked_mul(size)
}

/// `{ 1.93 2.01 2.11 }`.
fn load(text: &str) -> Option<u32> {
    let first = text.trim().trim_start_matches('{').split_whitespace().next()?;
    percent_of_processors(first.replace(',', ".").parse().ok()?)
}

/// `"HIDIdleTime" = 123456789`, in nanoseconds.
fn idle(text: &str) -> Option<Millis> {
    let rest = text.split_once("\"HIDIdleTime\" = ")?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<u64>().ok().map(|nanoseconds| Millis(nanoseconds / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_programs_print_is_read() {
        let battery = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t57%; discharging; 3:10 remaining\n";
        assert_eq!(power(battery), Some(Power::Battery { percent: Some(57) }));
        assert_eq!(power("Now drawing from 'AC Power'\n"), Some(Power::Mains));
        let pages = "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:      10.\n\
                     Pages active:    99.\nPages inactive:  5.\nPages speculative: 1.\n";
        assert_eq!(memory(pages), Some(16 * 16_384));
        assert_eq!(load("{ 0.00 2.01 2.11 }\n"), Some(0));
        assert_eq!(idle("| \"HIDIdleTime\" = 1500000000\n"), Some(Millis(1_500)));
    }

    #[test]
    fn what_they_do_not_print_is_unknown() {
        for text in ["", "junk", "\"HIDIdleTime\" = x", "{", "(page size of bytes)", "%;"] {
            assert_eq!(
                (power(text), memory(text), load(text), idle(text)),
                (None, None, None, None),
                "{text}"
            );
        }
    }
}
