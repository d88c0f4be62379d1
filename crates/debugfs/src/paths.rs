//! Paths on the volume.

use ocfs2_format::Blkno;

use crate::error::Problem;
use crate::lock::Lock;
use crate::volume::Fs;
use crate::words::number;

/// The most symbolic links followed for one path, as in the kernel.
const MOST_LINKS: u32 = 40;

/// The starting points of paths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// The directory of `/`.
    pub root: Blkno,
    /// The directory of relative paths.
    pub cwd: Blkno,
}

impl Start {
    /// Finds the block that a word names: `<number>`, `<lock>`, or a path.
    ///
    /// # Errors
    /// [`Problem::NotFound`], or what is wrong on the way there.
    pub fn find(self, fs: &Fs, word: &[u8]) -> Result<Blkno, Problem> {
        if let Some(blkno) = block_of(word) {
            return if fs.is_block(blkno) { Ok(blkno) } else { Err(Problem::InvalidBlock) };
        }
        if let Some(path) = word.strip_prefix(b"//") {
            return self.follow(fs, fs.volume.superblock().s_system_dir_blkno, path);
        }
        let start = if word.starts_with(b"/") { self.root } else { self.cwd };
        self.follow(fs, start, word)
    }

    /// Follows a path from `start`. A link is followed unless it is the last component.
    fn follow(self, fs: &Fs, start: Blkno, path: &[u8]) -> Result<Blkno, Problem> {
        let parts = |path: &[u8]| -> Vec<Vec<u8>> {
            let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
            parts.rev().map(<[u8]>::to_vec).collect()
        };
        let (mut at, mut left, mut links) = (start, parts(path), 0);
        while let Some(name) = left.pop() {
            let dir = fs.inode(at)?;
            if !dir.is_dir() {
                return Err(Problem::NotFound);
            }
            let next = fs.lookup(&dir, &name)?;
            if left.is_empty() {
                return Ok(next);
            }
            let inode = fs.inode(next)?;
            if !Fs::is_link(&inode) {
                at = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(Problem::TooManyLinks);
            }
            let target = fs.link_target(&inode)?;
            if target.starts_with(b"/") {
                at = self.root;
            }
            left.extend(parts(&target));
        }
        Ok(at)
    }
}

/// The block in `<number>`, or of the lock in `<lock>`.
pub fn block_of(word: &[u8]) -> Option<Blkno> {
    let inner = word.strip_prefix(b"<")?.strip_suffix(b">")?;
    number(inner).map(Blkno).or_else(|| Lock::parse(inner).map(|lock| lock.block))
}
