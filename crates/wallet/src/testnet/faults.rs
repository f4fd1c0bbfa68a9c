//! Misbehaviour on demand: what real wallets were seen to do, at a chosen rate and from a seed.

use std::time::Duration;

/// One way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Do what was asked and never answer.
    Timeout,
    /// Do what was asked and say that it failed.
    FailThenSettle,
    /// Do what was asked, and answer late.
    Late(Duration),
    /// Do not do what was asked, and never answer.
    Lose,
    /// Answer twice.
    Repeat,
    /// Claim that a payment settled, with a preimage that proves nothing.
    Lie,
}

/// A plan of misbehaviour: each fault with how many in a thousand calls it befalls.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    plan: Vec<(Fault, u32)>,
    state: u64,
}

impl Faults {
    /// No faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// These faults, each so many times in a thousand calls, drawn from a seed.
    pub fn new(seed: u64, plan: Vec<(Fault, u32)>) -> Self {
        Self { plan, state: seed }
    }

    /// What befalls the next call.
    pub fn draw(&mut self) -> Option<Fault> {
        if self.plan.is_empty() {
            return None;
        }
        let mut ticket = u32::try_from(self.next() % 1_000).unwrap_or(0);
        for (fault, share) in &self.plan {
            if ticket < *share {
                return Some(*fault);
            }
            ticket -= share;
        }
        None
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
