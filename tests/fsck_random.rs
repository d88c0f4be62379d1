//! fsck.ocfs2 survives damage by chance: no panic, no hang, little memory, and no volume called
//! sound that is not.
//!
//! A case that fails is printed with its seed. `OCFS2_SEED=N` runs that one alone.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, thread};

use ocfs2_cli::Interrupt;
use ocfs2_fsck::{Context, Found, Observer, Options, Pass, check};
use ocfs2_testing::damage::{Damage, Metadata};
use ocfs2_testing::{Run, Scratch, fixture, fixture_copy, program};
use ocfs2_volume::device::{DeviceOptions, OverlayDevice, SliceDevice, open};
use ocfs2_volume::{Device, Volume, VolumeOptions};

/// The volumes that are damaged.
const BASES: [&str; 5] =
    ["clean-512-local", "clean-1k-local", "clean-2k-local", "clean-4k-o2cb", "clean-1m-global"];
/// Cases of the ordinary tests that are run within this process, and by the program.
const CASES: u64 = 2400;
const PROGRAM_CASES: u64 = 60;
/// A case that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// What this process may have resident while it runs several cases at a time.
const MEMORY_KB: u64 = 2 << 20;

/// A sound volume.
struct Base {
    name: &'static str,
    device: Arc<dyn Device>,
    block_size: u32,
    metadata: Metadata,
}

impl Base {
    fn all() -> Vec<Self> {
        let base = |name| {
            let device = open(&fixture(name), &DeviceOptions::default()).unwrap();
            let volume = Volume::open(Arc::clone(&device), &VolumeOptions::default()).unwrap();
            let metadata = Metadata::of(&volume);
            Self { name, device, block_size: volume.block_size().bytes(), metadata }
        };
        BASES.map(base).into()
    }
}

/// What came of a case.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum End {
    /// The volume can not be opened.
    Refused,
    /// Something was found.
    Found,
    /// Nothing was found.
    Sound,
}

#[derive(Default)]
struct Codes(Vec<String>);

impl Observer for Codes {
    fn pass(&mut self, _pass: Pass, _total: u64) {}

    fn found(&mut self, found: Found<'_>) {
        // A flood of findings is no reason to take memory here.
        if self.0.len() < 10_000 {
            self.0.push(format!("{} {}", found.finding.code, found.finding.text));
        }
    }
}

struct Story<'a>(&'a Base, u64, &'a Damage);

impl Story<'_> {
    /// Of a case that is run alone it is said before what is done.
    fn tell(self) -> Self {
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

fn base_of(bases: &[Base], seed: u64) -> &Base {
    &bases[(seed % bases.len() as u64) as usize]
}

/// Damages a volume in memory, and checks it.
fn in_process(bases: &[Base], seed: u64) -> Result<End, String> {
    let base = base_of(bases, seed);
    let overlay = Arc::new(OverlayDevice::new(Arc::clone(&base.device), base.block_size));
    let damage = base.metadata.damage(seed, &*overlay);
    let device: Arc<dyn Device> = match damage.size {
        None => overlay,
        Some(size) => Arc::new(SliceDevice::new(overlay, 0, size).unwrap()),
    };
    let story = Story(base, seed, &damage).tell();
    let run = |threads| {
        let opened = Volume::open(Arc::clone(&device), &VolumeOptions::default());
        let Ok(volume) = opened else { return None };
        let options = Options { threads, ..Default::default() };
        let interrupt = Interrupt::default();
        let context = Context { volume: &volume, options: &options, interrupt: &interrupt };
        let mut codes = Codes::default();
        let outcome = check(&context, &mut codes).expect("nobody interrupts it");
        assert!(outcome.findings >= codes.0.len() as u64);
        Some(codes.0)
    };
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let found = run(1);
        if seed.is_multiple_of(16) {
            assert_eq!(run(3), found, "it depends on the number of threads");
        }
        found
    }));
    match checked {
        Err(_) => Err(format!("{story}: panicked")),
        Ok(None) => Ok(End::Refused),
        Ok(Some(codes)) if codes.is_empty() && damage.must_be_found => {
            Err(format!("{story}: nothing was found"))
        }
        Ok(Some(codes)) if codes.is_empty() => Ok(End::Sound),
        Ok(Some(_)) => Ok(End::Found),
    }
}

/// Damages a volume in a file, and has the program check it.
fn by_program(bases: &[Base], seed: u64) -> Result<End, String> {
    let base = base_of(bases, seed);
    let scratch = Scratch::new();
    let path = fixture_copy(base.name, &scratch);
    let damage = {
        let options = DeviceOptions { write: true, ..Default::default() };
        let device = open(&path, &options).unwrap();
        let damage = base.metadata.damage(seed, &*device);
        device.flush().unwrap();
        damage
    };
    if let Some(size) = damage.size {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(size).unwrap();
    }
    let story = Story(base, seed, &damage).tell();
    let changed = |path: &Path| path.metadata().unwrap().modified().unwrap();
    let before = changed(&path);
    let limited = "ulimit -v 4000000; exec timeout -k 1 60 \"$0\" -fn --json \"$1\"";
    let run = Run::new("sh").args(["-c", limited]).arg(program("fsck.ocfs2")).arg(&path);
    let outcome = run.timeout(2 * LIMIT).output();
    if changed(&path) != before {
        return Err(format!("{story}: -n wrote to the image"));
    }
    let report: Result<serde_json::Value, _> = serde_json::from_str(&outcome.stdout);
    let findings = report.as_ref().ok().and_then(|report| report["findings"].as_array());
    match (outcome.status, findings.map(Vec::len)) {
        (0, Some(0)) if !damage.must_be_found => Ok(End::Sound),
        (4 | 12, Some(1..)) => Ok(End::Found),
        (8, Some(0)) => Ok(End::Refused),
        (_, findings) => Err(format!("{story}: {findings:?} findings, {outcome}")),
    }
}

/// The cases that run now, each with its start.
type Running = Mutex<BTreeMap<u64, Instant>>;

fn locked(running: &Running) -> std::sync::MutexGuard<'_, BTreeMap<u64, Instant>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process, as a thread that hangs can not be ended.
fn end(why: &str) -> ! {
    // Not caught by the test harness, as `eprintln!` would be.
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

/// Runs the cases of `seeds`, several at a time, until `until`; demands that none fails.
fn run_all(
    seeds: Range<u64>,
    until: Option<Instant>,
    case: impl Fn(u64) -> Result<End, String> + Sync,
) {
    let seeds = match env::var("OCFS2_SEED") {
        Ok(seed) => seed.parse().unwrap()..seed.parse::<u64>().unwrap() + 1,
        Err(_) => seeds,
    };
    let next = AtomicU64::new(seeds.start);
    let running = Running::default();
    let done = AtomicBool::new(false);
    let ends = Mutex::new(BTreeMap::<End, u64>::new());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| watch(&running, &done));
        let workers: Vec<_> = (0..thread::available_parallelism().map_or(4, usize::from))
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
}

#[test]
fn any_damage_is_survived_and_none_is_called_sound() {
    let bases = Base::all();
    run_all(0..CASES, None, |seed| in_process(&bases, seed));
}

#[test]
fn the_program_survives_any_damage_and_says_so_in_its_status() {
    let bases = Base::all();
    run_all(1_000_000..1_000_000 + PROGRAM_CASES, None, |seed| by_program(&bases, seed));
}

#[test]
#[ignore = "as long as OCFS2_SOAK_SECONDS says: cargo xtask soak"]
fn soak() {
    let number = |name: &str| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let seconds = number("OCFS2_SOAK_SECONDS").unwrap_or(60);
    let start = number("OCFS2_SOAK_START").unwrap_or(2_000_000);
    let until = Instant::now() + Duration::from_secs(seconds);
    let bases = Base::all();
    run_all(start..u64::MAX, Some(until), |seed| match seed % 64 {
        0 => by_program(&bases, seed),
        _ => in_process(&bases, seed),
    });
}
