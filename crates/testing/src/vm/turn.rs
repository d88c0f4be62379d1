//! Limits the number of machines that run at a time to what a small computer can run.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Number of machines that run at the same time, of all test programs of this user together.
const MACHINES: usize = 2;

/// Permission to run some machines, given back when dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "they are locked")] Vec<File>);

impl Turn {
    /// Waits for the permission to run `count` machines.
    pub fn wait(folder: &Path, count: usize) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // First come, first served: otherwise two machines would never be free at once.
        let queue = lock_file(&folder.join("queue"))?;
        queue.lock()?;
        let mut locked = Vec::new();
        while locked.len() < count {
            locked.clear();
            for number in 0..MACHINES {
                let file = lock_file(&folder.join(format!("machine-{number}")))?;
                if locked.len() < count && file.try_lock().is_ok() {
                    locked.push(file);
                }
            }
            if locked.len() < count {
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(Self(locked))
    }
}

fn lock_file(path: &Path) -> Result<File> {
    // Not truncated: another process may have it locked.
    let options = File::options().create(true).truncate(false).write(true).open(path);
    options.with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Scratch;

    #[test]
    fn no_more_than_two_machines_run_at_a_time() {
        let scratch = Scratch::new();
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for count in [1, 2, 1, 1, 2] {
                let (scratch, running, most) = (&scratch, &running, &most);
                scope.spawn(move || {
                    let _turn = Turn::wait(scratch.path(), count).unwrap();
                    let now = running.fetch_add(count, Ordering::SeqCst) + count;
                    most.fetch_max(now, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(20));
                    running.fetch_sub(count, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.into_inner(), 2);
    }
}
