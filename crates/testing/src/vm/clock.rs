//! The rate of this computer's clock, which machines are told.
//!
//! A machine that finds out the rate by itself while this computer is busy may be wrong by a factor
//! of 40. Its clock then runs that much too fast, and every timeout of a cluster ends too early.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::kernel::locked_cache;
use super::{Lab, Machines};

/// Prints the rate in kHz once the kernel has found the same one in two ways.
const MEASURE: &str = r#"
    for i in $(seq 20); do
        dmesg | sed -n 's/.*Refined TSC clocksource calibration: \([0-9]*\)[.]\([0-9]*\) MHz.*/\1\2/p' |
            grep . && exit
        usleep 500000
    done
    exit 1
"#;

/// How often to measure: the two ways do not agree while this computer is busy.
const TRIES: usize = 6;

/// Returns the rate in kHz. It is measured by a machine the first time after this computer was
/// booted. `None` if it cannot be found out.
///
/// # Errors
/// If there is no cache folder, or a machine cannot be started.
pub(super) fn rate_khz(lab: &Lab) -> Result<Option<u32>> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let (folder, _lock) = locked_cache("clock.lock")?;
    let path = folder.join("clock");
    let known = fs::read_to_string(&path).ok();
    if let Some((_, khz)) = known.as_deref().and_then(parse).filter(|(of, _)| *of == boot.trim()) {
        return Ok(Some(khz));
    }
    for _ in 0..TRIES {
        let machine = Machines::new(lab, 1).script(MEASURE).timeout(Duration::from_secs(60));
        let run = machine.start_with(None)?.wait()?;
        if let Some(khz) = run.output().lines().next().and_then(rate) {
            let new = folder.join("clock.new");
            fs::write(&new, format!("{} {khz}\n", boot.trim()))?;
            fs::rename(&new, &path).context("the rate of the clock")?;
            return Ok(Some(khz));
        }
    }
    eprintln!(
        "the rate of this computer's clock cannot be found out; machines measure it themselves"
    );
    Ok(None)
}

/// The boot and the rate in a line of the cache.
fn parse(line: &str) -> Option<(&str, u32)> {
    let (boot, khz) = line.trim().split_once(' ')?;
    Some((boot, rate(khz)?))
}

/// A rate in kHz: any computer of today has more than 100 MHz.
fn rate(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|khz| *khz > 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_for_one_boot() {
        assert_eq!(parse("0a-1b 2899999\n"), Some(("0a-1b", 2_899_999)));
        assert_eq!(parse("0a-1b 12\n"), None);
        assert_eq!(parse("2899999\n"), None);
    }
}
