//! Limits of quota, as Linux keeps them.

use ocfs2_format::Structure;
use ocfs2_format::quota::{GlobalInfo, QuotaEntry, QuotaHeader, QuotaKind};

use super::quota::Change;
use super::{Edit, EditError};
use crate::{InBlock, SystemFile};

/// Seconds of grace where a volume states none: 7 days.
const GRACE: u32 = 7 * 24 * 60 * 60;

impl Edit {
    /// Keeps the limits of quota from now on, or no longer: a step after which a user or a group
    /// has more than a hard limit, or than a soft one for longer than its grace, fails.
    pub fn keep_limits(&mut self, keep: bool) {
        self.keeps_limits = keep;
    }

    /// Fails if an id would exceed a limit. A grace that begins or ends is noted.
    pub(super) fn verify_limits(
        &mut self,
        kind: QuotaKind,
        id: u32,
        change: Change,
    ) -> Result<(), EditError> {
        // Root has no limits.
        if id == 0 {
            return Ok(());
        }
        let Some(entry) = self.quota_entry(kind, id)? else { return Ok(()) };
        let now = self.time().seconds.max(1) as u64;
        let (space_grace, inodes_grace) = self.graces(kind)?;
        let space = Limit {
            used: entry.dqb_curspace,
            by: change.bytes,
            hard: entry.dqb_bhardlimit,
            soft: entry.dqb_bsoftlimit,
            until: entry.dqb_btime,
            grace: space_grace,
        };
        let inodes = Limit {
            used: entry.dqb_curinodes,
            by: change.inodes,
            hard: entry.dqb_ihardlimit,
            soft: entry.dqb_isoftlimit,
            until: entry.dqb_itime,
            grace: inodes_grace,
        };
        let exceeded = || EditError::Quota { kind, id };
        let (Some(space), Some(inodes)) =
            (space.after(now, self.keeps_limits), inodes.after(now, self.keeps_limits))
        else {
            return Err(exceeded());
        };
        if (space, inodes) == (entry.dqb_btime, entry.dqb_itime) {
            return Ok(());
        }
        self.set_graces(kind, id, |entry| (entry.dqb_btime, entry.dqb_itime) = (space, inodes))
    }

    fn graces(&self, kind: QuotaKind) -> Result<(u32, u32), EditError> {
        let (blkno, block) = self.quota_file(SystemFile::Quota(kind))?.read(self.volume(), 0)?;
        let info = block.get(QuotaHeader::SIZE..).unwrap_or_default();
        let info = GlobalInfo::decode(info).in_block(blkno)?;
        let or = |grace: u32| if grace == 0 { GRACE } else { grace };
        Ok((or(info.dqi_bgrace), or(info.dqi_igrace)))
    }

    fn set_graces(
        &mut self,
        kind: QuotaKind,
        id: u32,
        change: impl FnOnce(&mut QuotaEntry),
    ) -> Result<(), EditError> {
        let file = self.quota_file(SystemFile::Quota(kind))?;
        let Some((blkno, mut block, offset)) = file.find(self.volume(), id)? else {
            return Ok(());
        };
        let bytes = block.get_mut(offset..).unwrap_or_default();
        let mut entry = QuotaEntry::decode(bytes).in_block(blkno)?;
        change(&mut entry);
        entry.encode(bytes).in_block(blkno)?;
        Ok(super::quota::QuotaFile::write(self.volume(), blkno, &block)?)
    }
}

/// A limit, and what is used of it.
struct Limit {
    used: u64,
    by: i64,
    hard: u64,
    soft: u64,
    /// When the grace ends; 0 if it is not running.
    until: u64,
    grace: u32,
}

impl Limit {
    /// When the grace ends after the change; `None` if the change is not allowed.
    fn after(&self, now: u64, is_kept: bool) -> Option<u64> {
        let after = self.used.saturating_add_signed(self.by);
        let grows = self.by > 0;
        if is_kept && grows && self.hard > 0 && after > self.hard {
            return None;
        }
        if self.soft == 0 {
            return Some(self.until);
        }
        if after <= self.soft {
            return Some(0);
        }
        match self.until {
            0 if grows => Some(now + u64::from(self.grace)),
            until if is_kept && grows && until > 0 && now >= until => None,
            until => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_hard_at_once_and_soft_after_its_grace() {
        let limit = |used, by, until| Limit { used, by, hard: 100, soft: 50, until, grace: 7 };
        assert_eq!(limit(90, 10, 5).after(1, true), Some(5));
        assert_eq!(limit(90, 11, 5).after(1, true), None);
        assert_eq!(limit(90, 11, 5).after(1, false), Some(5));
        assert_eq!(limit(40, 11, 0).after(1, true), Some(8));
        assert_eq!(limit(51, 1, 8).after(8, true), None);
        assert_eq!(limit(51, -1, 8).after(9, true), Some(0));
        assert_eq!(limit(60, -1, 8).after(9, true), Some(8));
    }
}
