//! What happened in a world, counted.

/// What happened in a world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) asked: u64,
    pub(crate) delivered: u64,
    pub(crate) deaths: u64,
    pub(crate) refunds: u64,
    pub(crate) releases: u64,
    pub(crate) timeouts: u64,
    pub(crate) flips: u64,
    pub(crate) second_attempts: u64,
    pub(crate) restores: u64,
    pub(crate) recognised: u64,
    pub(crate) doubted: u64,
    /// Payments given back that no record named, and those that only the wallet's limit gave back.
    pub(crate) strays: u64,
    pub(crate) lapses: u64,
    /// Providers that were stopped.
    pub(crate) stops: u64,
    /// Jobs that were paid and delivered.
    pub(crate) paid: u64,
    pub(crate) receipts: u64,
    pub(crate) countersigned: u64,
    pub(crate) disputed: u64,
    /// Payments by hand that arrived, and that came back or were never sent.
    pub(crate) sent: u64,
    pub(crate) returned: u64,
    /// Payments with ecash that were locked and that settled, tokens that a wallet refused, and jobs that were
    /// paid both ways.
    pub(crate) locked: u64,
    pub(crate) by_ecash: u64,
    pub(crate) released: u64,
    pub(crate) tokens_refused: u64,
    pub(crate) paid_twice: u64,
    /// Refunds that did not go to the customer's wallet: paid to an address, or used as a balance.
    pub(crate) to_address: u64,
    /// Refunds that became a balance, jobs begun from one, those of them that failed, and refunds claimed out of one.
    pub(crate) credited: u64,
    pub(crate) used: u64,
    pub(crate) given_back: u64,
    pub(crate) claimed: u64,
    /// Providers that gave back what jobs did not use of their prices.
    pub(crate) unused: u64,
    /// Bills that were paid, that were not, and debts that were paid after all: with a later job or by themselves.
    pub(crate) billed: u64,
    pub(crate) unpaid: u64,
    pub(crate) paid_late: u64,
    /// Orders that a wallet read late.
    pub(crate) late_orders: u64,
    /// Receipts of zaps that were told, those that were made up, jobs that ran on a zap, zaps that came back or became a
    /// balance, and those that were a gift.
    pub(crate) zapped: u64,
    pub(crate) made_up: u64,
    pub(crate) by_zap: u64,
    pub(crate) zaps_back: u64,
    pub(crate) gifts: u64,
}

impl Report {
    pub(crate) fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.delivered += other.delivered;
        self.deaths += other.deaths;
        self.refunds += other.refunds;
        self.releases += other.releases;
        self.timeouts += other.timeouts;
        self.flips += other.flips;
        self.second_attempts += other.second_attempts;
        self.restores += other.restores;
        self.recognised += other.recognised;
        self.doubted += other.doubted;
        self.strays += other.strays;
        self.lapses += other.lapses;
        self.stops += other.stops;
        self.paid += other.paid;
        self.receipts += other.receipts;
        self.countersigned += other.countersigned;
        self.disputed += other.disputed;
        self.sent += other.sent;
        self.returned += other.returned;
        self.locked += other.locked;
        self.by_ecash += other.by_ecash;
        self.released += other.released;
        self.tokens_refused += other.tokens_refused;
        self.paid_twice += other.paid_twice;
        self.to_address += other.to_address;
        self.credited += other.credited;
        self.used += other.used;
        self.given_back += other.given_back;
        self.claimed += other.claimed;
        self.unused += other.unused;
        self.billed += other.billed;
        self.unpaid += other.unpaid;
        self.paid_late += other.paid_late;
        self.late_orders += other.late_orders;
        self.zapped += other.zapped;
        self.made_up += other.made_up;
        self.by_zap += other.by_zap;
        self.zaps_back += other.zaps_back;
        self.gifts += other.gifts;
    }
}
