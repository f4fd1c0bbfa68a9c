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
    /// A storm in which some providers take ecash besides invoices, and some customers have some.
    Rails,
    /// The same in fair weather.
    FairRails,
    /// The same with earlier disks.
    OldRails,
    /// A storm in which customers keep their keys and ask one provider each time, and refunds soon become balances.
    Balances,
    /// The same where some also pay with ecash.
    BalancesOnRails,
    /// A storm in which customers keep their keys and pay after the work.
    Bills,
    /// The same where some also pay with ecash.
    BillsOnRails,
    /// A storm in which jobs are zapped as well: in time and late, enough and too little, and in words alone.
    Zaps,
    /// The same with earlier disks.
    OldZaps,
    /// The same where refunds soon become balances.
    ZapsOnBalances,
    /// The same where customers pay after the work.
    ZapsOnBills,
}

impl Weather {
    pub(crate) const fn is_fair(self) -> bool {
        matches!(self, Self::Fair | Self::FairRails)
    }

    /// Whether dead nodes come back with an earlier disk.
    pub(crate) const fn restores(self) -> bool {
        matches!(self, Self::Backups | Self::OldRails | Self::OldZaps)
    }

    pub(crate) const fn has_ecash(self) -> bool {
        matches!(
            self,
            Self::Rails | Self::FairRails | Self::OldRails | Self::BalancesOnRails | Self::BillsOnRails
        )
    }

    pub(crate) const fn has_zaps(self) -> bool {
        matches!(self, Self::Zaps | Self::OldZaps | Self::ZapsOnBalances | Self::ZapsOnBills)
    }

    /// Whether customers lose their patience and change their mind.
    pub(crate) const fn is_hasty(self) -> bool {
        matches!(self, Self::Storm | Self::Rails | Self::Zaps)
    }

    /// Whether customers sign all jobs with one key, and ask one provider each time.
    pub(crate) const fn is_faithful(self) -> bool {
        self.keeps_balances() || self.has_bills()
    }

    pub(crate) const fn keeps_balances(self) -> bool {
        matches!(self, Self::Balances | Self::BalancesOnRails | Self::ZapsOnBalances)
    }

    pub(crate) const fn has_bills(self) -> bool {
        matches!(self, Self::Bills | Self::BillsOnRails | Self::ZapsOnBills)
    }
}
