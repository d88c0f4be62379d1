//! Advice on how to free a device that is in use on this machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ocfs2_cli::terminal;
use ocfs2_device::holders::Holder;

/// Returns what would free the device, as the first half of a sentence.
pub fn advice(holders: &[Holder]) -> String {
    let mut steps: Vec<_> = holders.iter().map(step).collect();
    steps.dedup();
    match steps.is_empty() {
        true => "stop what uses it first".to_owned(),
        false => format!("{} first", steps.join(" and ")),
    }
}

fn step(holder: &Holder) -> String {
    match holder {
        Holder::Mounted { .. } => "unmount it".to_owned(),
        Holder::Swap { .. } => "swapoff it".to_owned(),
        Holder::Part { of, .. } => format!("take {} apart", ocfs2_cli::shown(of)),
        Holder::Process { path } => match process(path) {
            Some(process) => format!("stop {process}"),
            None => "stop what uses it".to_owned(),
        },
    }
}

/// The process that holds the lock of the image `path`, with number and name.
fn process(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok()?;
    let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
    let pid = holder_of(&fs::read_to_string("/proc/locks").ok()?, &place)?;
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("process {pid} ({})", terminal(name.trim_ascii_end())))
}

/// The process that has locked the file at `place` (device and inode) according to /proc/locks.
fn holder_of(locks: &str, place: &str) -> Option<u32> {
    locks.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "FLOCK", _, _, pid, at, ..] if at == place => pid.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_lock_is_in_the_table() {
        let locks = "1: FLOCK  ADVISORY  WRITE 30986 00:1b:44 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 7 fe:01:9 0 EOF\n\
                     2: POSIX  ADVISORY  READ 5 00:1b:45 0 EOF\n";
        assert_eq!(holder_of(locks, "00:1b:44"), Some(30_986));
        assert_eq!((holder_of(locks, "00:1b:45"), holder_of(locks, "fe:01:9")), (None, None));
    }

    #[test]
    fn each_use_has_its_way_to_end() {
        let mounted =
            |at: &str| Holder::Mounted { device: "/dev/x".into(), mount_point: at.into() };
        let of = Holder::Part { device: "/dev/x".into(), of: "/dev/mapper/a".into() };
        assert_eq!(advice(&[mounted("/a"), mounted("/b")]), "unmount it first");
        assert_eq!(advice(&[mounted("/a"), of]), "unmount it and take /dev/mapper/a apart first");
        let gone = Holder::Process { path: "/nowhere".into() };
        assert_eq!(advice(&[gone]), "stop what uses it first");
        assert_eq!(advice(&[]), "stop what uses it first");
    }
}
