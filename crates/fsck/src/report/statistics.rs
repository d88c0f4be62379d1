//! Time and reads per pass.

use std::sync::Arc;
use std::time::Instant;

use ocfs2_device::{CountingDevice, Device};
use serde::Serialize;

use crate::Pass;

/// What a pass took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PassStatistics {
    pub pass: Pass,
    pub seconds: f64,
    pub read_bytes: u64,
    pub reads: u64,
}

/// Measures the whole run and each pass.
pub(crate) struct Stopwatch {
    started: Instant,
    device: Option<Arc<CountingDevice<Arc<dyn Device>>>>,
    current: Option<(Pass, Instant, u64, u64)>,
    passes: Vec<PassStatistics>,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { started: Instant::now(), device: None, current: None, passes: Vec::new() }
    }

    /// Counts the reads of this device from now on.
    pub fn watch(&mut self, device: Arc<CountingDevice<Arc<dyn Device>>>) {
        self.device = Some(device);
    }

    /// Begins a pass and ends the one before.
    pub fn begin(&mut self, pass: Pass) {
        self.end();
        let (bytes, reads) = self.read();
        self.current = Some((pass, Instant::now(), bytes, reads));
    }

    /// Ends the last pass; returns what it took.
    pub fn end(&mut self) -> Option<&PassStatistics> {
        let (pass, since, bytes_before, reads_before) = self.current.take()?;
        let (bytes, reads) = self.read();
        self.passes.push(PassStatistics {
            pass,
            seconds: rounded(since.elapsed().as_secs_f64()),
            read_bytes: bytes - bytes_before,
            reads: reads - reads_before,
        });
        self.passes.last()
    }

    pub fn passes(&self) -> &[PassStatistics] {
        &self.passes
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        rounded(self.started.elapsed().as_secs_f64())
    }

    /// Bytes read from the device so far, and the number of reads.
    pub fn read(&self) -> (u64, u64) {
        let counts = self.device.as_ref().map(|device| device.counts()).unwrap_or_default();
        (counts.read_bytes, counts.reads)
    }
}

/// Rounds to milliseconds.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// The peak memory of this process in bytes.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocfs2_device::MemoryDevice;

    #[test]
    fn what_is_read_belongs_to_the_pass_that_reads_it() {
        let memory: Arc<dyn Device> = Arc::new(MemoryDevice::new(4096));
        let device = Arc::new(CountingDevice::new(memory));
        let mut watch = Stopwatch::start();
        watch.watch(Arc::clone(&device));
        device.read_at(&mut [0; 7], 0).unwrap();
        watch.begin(Pass::Inodes);
        device.read_at(&mut [0; 100], 0).unwrap();
        watch.begin(Pass::Directories);
        device.read_at(&mut [0; 10], 0).unwrap();
        device.read_at(&mut [0; 10], 0).unwrap();
        watch.end();
        assert!(watch.end().is_none());
        let passes: Vec<_> =
            watch.passes().iter().map(|pass| (pass.pass, pass.read_bytes, pass.reads)).collect();
        assert_eq!(passes, [(Pass::Inodes, 100, 1), (Pass::Directories, 20, 2)]);
        assert_eq!(watch.read(), (127, 4));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(peak_memory().is_some_and(|bytes| bytes > 100_000));
    }
}
