//! Whether there is room for a model: within the store's quota, and on the disk.

use std::path::Path;

/// What is left free on the disk, whatever is fetched: a full disk stops a node from writing down who paid what.
const SPARE: u64 = 2_000_000_000;

/// How much the store may hold.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes of all models together.
    pub quota: u64,
}

/// Why there is no room. Nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The store would hold too much.
    #[error(
        "it has {}, and the model store holds {} of the {} that models.quota_gb allows; make room with `openagents \
         models remove NAME` (`openagents models list` shows them), or raise models.quota_gb",
        shown(*wanted), shown(*held), shown(*quota)
    )]
    Quota {
        /// Bytes of the model.
        wanted: u64,
        /// Bytes that are there.
        held: u64,
        /// Bytes that may be.
        quota: u64,
    },
    /// The disk would be full.
    #[error(
        "it needs {} more, and {} are free on the disk, of which {} are left free; make room with `openagents models \
         remove NAME` or elsewhere on the disk",
        shown(*wanted), shown(*free), shown(SPARE)
    )]
    Disk {
        /// Bytes that have to be written.
        wanted: u64,
        /// Bytes that are free.
        free: u64,
    },
}

impl Room {
    /// Whether a model of so many bytes fits beside what the store holds.
    pub(crate) fn within_quota(self, size: u64, held: u64) -> Result<(), RoomError> {
        let Self { quota } = self;
        if held.saturating_add(size) > quota {
            Err(RoomError::Quota { wanted: size, held, quota })
        } else {
            Ok(())
        }
    }
}

/// Whether so many bytes more can be written in a folder.
pub(crate) fn on_disk(folder: &Path, wanted: u64) -> Result<(), RoomError> {
    match free(folder) {
        Some(free) if wanted > 0 && free < wanted.saturating_add(SPARE) => {
            Err(RoomError::Disk { wanted, free })
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free(_folder: &Path) -> Option<u64> {
    None
}

/// Bytes as people say them: `4.9 GB`.
pub fn shown(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let Some((unit, word)) = UNITS.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
    if whole >= 100 { format!("{whole} {word}") } else { format!("{whole}.{tenth} {word}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_largest_unit_with_a_tenth_where_it_matters() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (4_920_000_000, "4.9 GB"),
            (770_000_000, "770 MB"),
            (1_500, "1.5 kB"),
            (120_000_000_000, "120 GB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(shown(bytes), text);
        }
    }

    #[test]
    fn what_is_too_large_says_so_and_how_to_make_room() {
        let room = Room { quota: 10_000_000_000 };
        assert!(room.within_quota(4_000_000_000, 6_000_000_000).is_ok());
        let text = room.within_quota(4_000_000_001, 6_000_000_000).map_err(|error| error.to_string());
        let text = text.err().unwrap_or_default();
        for word in ["it has 4.0 GB", "6.0 GB of the 10.0 GB", "models.quota_gb", "models remove"] {
            assert!(text.contains(word), "{text}");
        }
        assert!(on_disk(Path::new("/"), u64::MAX / 2).is_err() || cfg!(not(unix)));
        assert!(on_disk(Path::new("/"), 0).is_ok());
    }
}
