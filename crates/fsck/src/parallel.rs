//! Work that is shared by threads, with results in the order of the items.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Items per thread that may be handed out before the oldest of them is merged. Bounds the memory
/// of results that wait for a slow one.
const AHEAD: u64 = 8;

struct Queue<I, R> {
    items: I,
    /// The number of the item to be handed out next.
    next: u64,
    /// The number of the result to be merged next.
    merged: u64,
    /// Whether nothing more is handed out.
    ended: bool,
    /// Threads that have not ended.
    working: usize,
    results: BTreeMap<u64, R>,
}

/// Calls `work` for every item in `threads` threads, and `merge` in the calling thread with each
/// result, in the order of the items. Ends early when `merge` returns false; the results of items
/// that were handed out already are dropped.
pub fn ordered<T, R, I>(
    threads: usize,
    items: I,
    work: impl Fn(T) -> R + Sync,
    merge: impl FnMut(R) -> bool,
) where
    T: Send,
    R: Send,
    I: Iterator<Item = T> + Send,
{
    ordered_with(threads, items, || (), |(), item| work(item), merge);
}

/// As [`ordered`], with a value per thread that `own` makes and `work` reuses.
pub fn ordered_with<T, R, I, O>(
    threads: usize,
    items: I,
    own: impl Fn() -> O + Sync,
    work: impl Fn(&mut O, T) -> R + Sync,
    mut merge: impl FnMut(R) -> bool,
) where
    T: Send,
    R: Send,
    I: Iterator<Item = T> + Send,
{
    // No more threads than items, where their number is known.
    let threads = threads.min(items.size_hint().1.unwrap_or(threads)).max(1);
    if threads == 1 {
        let mut own = own();
        items.map(|item| work(&mut own, item)).all(merge);
        return;
    }
    let results = BTreeMap::new();
    let queue = Queue { items, next: 0, merged: 0, ended: false, working: threads, results };
    let (queue, changed) = (Mutex::new(queue), Condvar::new());
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = |guard| changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
    let ahead = AHEAD * threads as u64;

    let worker = || {
        // When `work` panics its result never comes, and the others would wait for it forever.
        let _leaving = Leaving(|| {
            let mut guard = lock();
            guard.working -= 1;
            guard.ended |= thread::panicking();
            changed.notify_all();
        });
        let mut own = own();
        loop {
            let mut guard: MutexGuard<'_, Queue<I, R>> = lock();
            while !guard.ended && guard.next >= guard.merged + ahead {
                guard = wait(guard);
            }
            if guard.ended {
                return;
            }
            let Some(item) = guard.items.next() else {
                guard.ended = true;
                return;
            };
            let number = guard.next;
            guard.next += 1;
            drop(guard);
            let result = work(&mut own, item);
            lock().results.insert(number, result);
            changed.notify_all();
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worker);
        }
        loop {
            let mut guard = lock();
            let result = loop {
                let number = guard.merged;
                if let Some(result) = guard.results.remove(&number) {
                    guard.merged += 1;
                    break Some(result);
                }
                if guard.working == 0 {
                    break None;
                }
                guard = wait(guard);
            };
            drop(guard);
            changed.notify_all();
            let Some(result) = result else { return };
            if !merge(result) {
                lock().ended = true;
                changed.notify_all();
                return;
            }
        }
    });
}

struct Leaving<F: Fn()>(F);

impl<F: Fn()> Drop for Leaving<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for threads in [0, 1, 2, 7] {
            let mut seen = Vec::new();
            let work = |item: u64| {
                if item.is_multiple_of(5) {
                    thread::yield_now();
                }
                item * 2
            };
            ordered(threads, 0..1000, work, |result| {
                seen.push(result);
                true
            });
            assert!(seen.into_iter().eq((0..1000).map(|item| item * 2)), "{threads} threads");
        }
    }

    #[test]
    fn it_ends_when_merging_says_so() {
        let done = AtomicU64::new(0);
        let mut merged = 0;
        let work = |_| done.fetch_add(1, Ordering::Relaxed);
        ordered(3, 0..1_000_000, work, |_| {
            merged += 1;
            merged < 10
        });
        assert_eq!(merged, 10);
        assert!(done.into_inner() <= 10 + 3 * AHEAD + 3);
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_ends_it() {
        ordered(3, 0..100, |item| assert_ne!(item, 50), |()| true);
    }
}
