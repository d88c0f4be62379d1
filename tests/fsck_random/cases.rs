//! Randomly damaged volumes, and running many of them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, thread};

use ocfs2_device::{Device, DeviceOptions, open};
use ocfs2_testing::damage::{self, CReport, Damage, Metadata, complaints};
use ocfs2_testing::{Scratch, fixture, fixture_copy};
use ocfs2_volume::{Volume, VolumeOptions};

/// The volumes that are damaged.
const BASES: [&str; 5] =
    ["clean-512-local", "clean-1k-local", "clean-2k-local", "clean-4k-o2cb", "clean-1m-global"];
/// A case that takes longer than this hangs.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Memory in KiB that this process may have resident while it runs several cases at a time.
const MEMORY_KB: u64 = 2 << 20;

/// A sound volume.
pub struct Base {
    pub name: &'static str,
    pub device: Arc<dyn Device>,
    pub block_size: u32,
    pub metadata: Metadata,
}

impl Base {
    pub fn all() -> Vec<Self> {
        let base = |name| {
            let device = open(&fixture(name), &DeviceOptions::default()).unwrap();
            let volume = Volume::open(Arc::clone(&device), &VolumeOptions::default()).unwrap();
            let metadata = Metadata::of(&volume);
            Self { name, device, block_size: volume.block_size().bytes(), metadata }
        };
        BASES.map(base).into()
    }

    /// Returns what the C fsck wrongly reports about it.
    pub fn complaints(&self) -> Arc<CReport> {
        complaints(damage::Base::Fixture(self.name), "-fn")
    }

    /// Makes a damaged copy in a file.
    pub fn damaged(&self, seed: u64, scratch: &Scratch) -> (PathBuf, Damage) {
        self.damaged_by(scratch, |device| self.metadata.damage(seed, device))
    }

    /// Makes a heavily damaged copy in a file.
    pub fn damaged_much(&self, seed: u64, scratch: &Scratch) -> (PathBuf, Damage) {
        self.damaged_by(scratch, |device| self.metadata.damage_much(seed, device))
    }

    fn damaged_by(
        &self,
        scratch: &Scratch,
        damage: impl FnOnce(&dyn Device) -> Damage,
    ) -> (PathBuf, Damage) {
        let path = fixture_copy(self.name, scratch);
        let damage = {
            let options = DeviceOptions { write: true, ..Default::default() };
            let device = open(&path, &options).unwrap();
            let damage = damage(&*device);
            device.flush().unwrap();
            damage
        };
        if let Some(size) = damage.size {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(size).unwrap();
        }
        (path, damage)
    }
}

/// Result of a case.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum End {
    /// The volume cannot be opened.
    Refused,
    /// Something was found.
    Found,
    /// Nothing was found.
    Sound,
    /// Everything was repaired.
    Repaired,
    /// Something is left.
    Left,
    /// Something is left because the device is too short for the volume.
    Cut,
}

/// A description of a case for people.
pub struct Story<'a>(pub &'a Base, pub u64, pub &'a Damage);

impl Story<'_> {
    /// Prints the description before the case starts, if it is run alone.
    pub fn tell(self) -> Self {
        if env::var_os("OCFS2_SEED").is_some() {
            let _ = writeln!(io::stderr(), "{self}");
        }
        self
    }
}

impl fmt::Display for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(base, seed, damage) = self;
        write!(f, "OCFS2_SEED={seed} on {}: {}", base.name, damage.steps.join("; "))
    }
}

/// Returns the volume that is damaged in a case.
pub fn base_of(bases: &[Base], seed: u64) -> &Base {
    &bases[(seed % bases.len() as u64) as usize]
}

/// The running cases, each with its start.
type Running = Mutex<BTreeMap<u64, Instant>>;

fn locked(running: &Running) -> std::sync::MutexGuard<'_, BTreeMap<u64, Instant>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process, because a thread that hangs cannot be ended.
fn end(why: &str) -> ! {
    // The test harness does not capture it, as it would `eprintln!`.
    let _ = writeln!(io::stderr(), "{why}");
    exit(101);
}

/// Ends the process if a case hangs or takes too much memory.
fn watch(running: &Running, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(100));
        let running = locked(running);
        let slow = running.iter().find(|(_, start)| start.elapsed() > LIMIT);
        let seeds: Vec<_> = running.keys().collect();
        if let Some((seed, _)) = slow {
            end(&format!("OCFS2_SEED={seed} is not done after {LIMIT:?}"));
        }
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        if resident > MEMORY_KB {
            end(&format!("one of OCFS2_SEED={seeds:?} takes more than {MEMORY_KB} KiB"));
        }
    }
}

/// Runs the cases of `seeds`, several at a time, until `until`. Demands that none fails.
pub fn run_all(
    seeds: Range<u64>,
    until: Option<Instant>,
    case: impl Fn(u64) -> Result<End, String> + Sync,
) -> BTreeMap<End, u64> {
    let seeds = match env::var("OCFS2_SEED") {
        Ok(seed) => seed.parse().unwrap()..seed.parse::<u64>().unwrap() + 1,
        Err(_) => seeds,
    };
    let threads = env::var("OCFS2_SOAK_THREADS").ok().and_then(|threads| threads.parse().ok());
    let threads = threads.unwrap_or(thread::available_parallelism().map_or(4, usize::from));
    let next = AtomicU64::new(seeds.start);
    let running = Running::default();
    let done = AtomicBool::new(false);
    let ends = Mutex::new(BTreeMap::<End, u64>::new());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| watch(&running, &done));
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let is_over = until.is_some_and(|until| Instant::now() > until);
                        if !seeds.contains(&seed) || is_over {
                            return;
                        }
                        locked(&running).insert(seed, Instant::now());
                        let end = case(seed);
                        locked(&running).remove(&seed);
                        match end {
                            Ok(end) => *ends.lock().unwrap().entry(end).or_default() += 1,
                            Err(failure) => failures.lock().unwrap().push(failure),
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let (ends, failures) = (ends.into_inner().unwrap(), failures.into_inner().unwrap());
    println!("{ends:?}, {} failed", failures.len());
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(!ends.is_empty(), "there was no case");
    ends
}
