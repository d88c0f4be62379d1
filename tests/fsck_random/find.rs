//! Damage is found, and does no harm to the program.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ocfs2_cli::Interrupt;
use ocfs2_device::{Device, OverlayDevice, SliceDevice};
use ocfs2_fsck::{Context, Found, Observer, Options, Pass, check};
use ocfs2_testing::{Run, Scratch, program};
use ocfs2_volume::{Volume, VolumeOptions};

use crate::cases::{Base, End, LIMIT, Story, base_of};

#[derive(Default)]
struct Codes(Vec<String>);

impl Observer for Codes {
    fn pass(&mut self, _pass: Pass, _total: u64) {}

    fn found(&mut self, found: Found<'_>) {
        // A flood of findings should not take memory here.
        if self.0.len() < 10_000 {
            self.0.push(format!("{} {}", found.finding.code, found.finding.text));
        }
    }
}

/// Damages a volume in memory and checks it.
pub fn in_process(bases: &[Base], seed: u64) -> Result<End, String> {
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

/// Damages a volume in a file and makes the program check it.
pub fn by_program(bases: &[Base], seed: u64) -> Result<End, String> {
    let base = base_of(bases, seed);
    let scratch = Scratch::in_memory();
    let (path, damage) = base.damaged(seed, &scratch);
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
