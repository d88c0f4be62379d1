//! Visits of all inodes and all metadata, by several threads.

use std::iter;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::Result;
use ocfs2_format::Blkno;
use ocfs2_volume::{Error, Inode, Volume};

/// Inodes that a thread takes at a time.
const BATCH: usize = 64;

/// Most threads that look at inodes. On a SAN, what they wait for matters more than processors.
const MOST_THREADS: usize = 8;

/// Items that are found before they are needed.
const AHEAD: usize = 4096;

/// The inodes that need work, in the order of the allocators. Only their numbers are kept.
///
/// # Errors
/// That of the first inode which cannot be read or judged.
pub(crate) fn inodes_that(
    volume: &Volume,
    need: impl Fn(&Inode) -> Result<bool, Error> + Sync,
) -> Result<Vec<Blkno>, Error> {
    let inodes = Mutex::new(volume.inodes().enumerate());
    let next = || -> Vec<_> {
        let mut inodes = inodes.lock().unwrap_or_else(PoisonError::into_inner);
        inodes.by_ref().take(BATCH).collect()
    };
    let look = || {
        let (mut found, mut failed) = (Vec::new(), None);
        for (index, inode) in iter::repeat_with(next).take_while(|it| !it.is_empty()).flatten() {
            match inode.and_then(|inode| Ok(need(&inode)?.then_some(inode.blkno))) {
                Ok(blkno) => found.extend(blkno.map(|blkno| (index, blkno))),
                Err(err) => {
                    failed = Some((index, err));
                    break;
                }
            }
        }
        (found, failed)
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(look)).collect();
        for thread in threads {
            let own = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            found.extend(own.0);
            failed.extend(own.1);
        }
    });
    if let Some((_, err)) = failed.into_iter().min_by_key(|(index, _)| *index) {
        return Err(err);
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, blkno)| blkno).collect())
}

/// Calls `each` for all items in their order, while another thread finds the next ones.
///
/// # Errors
/// The first one of `each`, after which it is not called again.
pub(crate) fn ahead<T: Send>(
    items: impl Iterator<Item = T> + Send,
    each: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    thread::scope(|scope| {
        let (found, next) = mpsc::sync_channel(AHEAD);
        scope.spawn(move || {
            for item in items {
                // The receiver has gone after an error.
                if found.send(item).is_err() {
                    return;
                }
            }
        });
        next.into_iter().try_for_each(each)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_order_and_end_with_the_first_error() {
        let mut seen = Vec::new();
        let mut each = |item: u32| {
            seen.push(item);
            anyhow::ensure!(item < 9999, "enough");
            Ok(())
        };
        assert_eq!(ahead(0..u32::MAX, &mut each).unwrap_err().to_string(), "enough");
        assert_eq!(seen, (0..=9999).collect::<Vec<_>>());
    }
}
