//! What a world has to stand.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    Storm,
    /// A storm in which dead nodes come back with an earlier disk.
    Backups,
    /// A storm in which operators pause and stop their providers, and open them again.
    Shifts,
    /// A storm in which owners also pay each other by hand, some of them twice.
    ByHand,
    /// A storm in which customers keep their keys and ask one provider each time, and refunds soon become balances.
    Balances,
    /// A storm in which customers keep their keys and pay after the work.
    Bills,
}

impl Weather {
    /// Whether customers sign all jobs with one key, and ask one provider each time.
    pub(crate) const fn is_faithful(self) -> bool {
        matches!(self, Self::Balances | Self::Bills)
    }
}
