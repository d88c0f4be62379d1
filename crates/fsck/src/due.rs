//! Whether a cleanly unmounted volume is due for a check.

use ocfs2_format::feature::Incompat;
use ocfs2_format::superblock::{STATE_ERROR, SuperBlock};

/// Whether a check is due, by the superblock.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// Now, for this reason: the rest of a sentence that begins with the name of the device.
    Now(String),
    /// Later: when, or `None` if never.
    Later(Option<String>),
}

impl Due {
    /// Decides by the superblock at the time `now`, in seconds since 1970.
    pub fn new(superblock: &SuperBlock, now: u64) -> Self {
        let now_because = |reason: &str| Self::Now(reason.to_owned());
        // The limit is signed, as for the kernel and the C tools.
        let limit = u16::try_from(superblock.s_max_mnt_count as i16).ok().filter(|max| *max > 0);
        let interval = Some(u64::from(superblock.s_checkinterval)).filter(|span| *span > 0);
        let age = now.saturating_sub(superblock.s_lastcheck);
        if superblock.has(Incompat::RESIZE_INPROG) {
            return now_because("incomplete volume resize detected");
        }
        if superblock.has(Incompat::TUNEFS_INPROG) {
            return now_because("incomplete tunefs operation detected");
        }
        if superblock.s_state & STATE_ERROR != 0 {
            return now_because("contains a file system with errors");
        }
        let mounts = superblock.s_mnt_count;
        if limit.is_some_and(|limit| mounts > limit) {
            return Self::Now(format!("has been mounted {mounts} times without being checked"));
        }
        if interval.is_some_and(|interval| age >= interval) {
            return Self::Now(format!("has gone {} without being checked", span(age)));
        }
        let mut when = Vec::new();
        if let Some(limit) = limit {
            when.push(format!("after {} additional mounts", limit - mounts));
        }
        if let Some(interval) = interval {
            when.push(format!("in {}", span(interval - age)));
        }
        Self::Later((!when.is_empty()).then(|| when.join(" or ")))
    }
}

/// A span of time in words: in hours, from two days on in days.
fn span(seconds: u64) -> String {
    match seconds / 3600 {
        hours @ 0..48 => format!("{hours} hours"),
        hours => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn due(change: impl FnOnce(&mut SuperBlock)) -> Due {
        let mut superblock = SuperBlock::of_block(&[0; 4096]).unwrap();
        superblock.s_lastcheck = 1000 * DAY;
        change(&mut superblock);
        Due::new(&superblock, 1010 * DAY)
    }

    #[test]
    fn mounts_and_time_are_counted() {
        let mounted = |mounts, max| {
            due(|superblock| (superblock.s_mnt_count, superblock.s_max_mnt_count) = (mounts, max))
        };
        assert_eq!(mounted(5, 20), Due::Later(Some("after 15 additional mounts".into())));
        assert_eq!(mounted(20, 20), Due::Later(Some("after 0 additional mounts".into())));
        let reason = "has been mounted 21 times without being checked";
        assert_eq!(mounted(21, 20), Due::Now(reason.into()));
        assert_eq!(mounted(999, 0), Due::Later(None));
        assert_eq!(mounted(999, 0xffff), Due::Later(None));

        let every = |days: u32| due(|superblock| superblock.s_checkinterval = days * 86_400);
        assert_eq!(every(12), Due::Later(Some("in 2 days".into())));
        assert_eq!(every(11), Due::Later(Some("in 24 hours".into())));
        assert_eq!(every(10), Due::Now("has gone 10 days without being checked".into()));
    }

    #[test]
    fn what_went_wrong_or_was_not_finished_makes_it_due() {
        let feature = |bit: Incompat| due(|superblock| superblock.s_feature_incompat |= bit.bits());
        let now = |reason: &str| Due::Now(reason.into());
        assert_eq!(feature(Incompat::RESIZE_INPROG), now("incomplete volume resize detected"));
        assert_eq!(feature(Incompat::TUNEFS_INPROG), now("incomplete tunefs operation detected"));
        let errors = due(|superblock| superblock.s_state = STATE_ERROR);
        assert_eq!(errors, now("contains a file system with errors"));
    }
}
