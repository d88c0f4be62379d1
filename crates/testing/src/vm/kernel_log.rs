//! The kernel's log: telling complaints about OCFS2 from the noise of booting.

use std::fmt;

/// What the kernel printed on its console: warnings and worse, no notices or informational
/// messages.
#[derive(Clone, Debug, Default)]
pub struct KernelLog(String);

/// Marks of messages about OCFS2, its cluster stack and its journal. The kernel prints function
/// names, too.
const SUBSYSTEMS: [&str; 9] =
    ["ocfs2", "jbd2", "o2dlm", "o2net", "o2hb", "o2cb", "o2quo", "dlm_", "vfs: busy inodes"];
/// Marks of failures in any part of the kernel.
const DISASTERS: [&str; 12] = [
    "bug:",
    "kernel bug at",
    "warning:",
    "oops",
    "general protection",
    "kernel panic",
    "call trace",
    "blocked for more than",
    "soft lockup",
    "rcu stall",
    "i/o error",
    " error: ",
];

/// Lines of these subsystems that are not complaints about a volume.
const HARMLESS: [&str; 5] = [
    // Printed when dlmfs is loaded.
    "OCFS2 User DLM kernel interface loaded",
    // What this service says of itself.
    "dlm_controld[",
    // The lock manager's work queues have long names since Linux 7.
    "workqueue: name exceeds WQ_NAME_LEN",
    // The volume was written by a kernel before 6.2, or for one.
    "directory index with signed name hash",
    "xattr tree with signed name hash",
];

impl KernelLog {
    /// Makes the log from the output of a console.
    pub fn new(console: &str) -> Self {
        Self(console.replace('\r', ""))
    }

    /// Returns the lines about OCFS2 or about a failure of the kernel, except those that contain
    /// one of the texts in `allowed`.
    pub fn complaints(&self, allowed: &[String]) -> Vec<&str> {
        let complains = |line: &&str| {
            let lower = line.to_lowercase();
            SUBSYSTEMS.iter().chain(&DISASTERS).any(|word| lower.contains(word))
        };
        let unexpected = |line: &&str| !allowed.iter().any(|text| line.contains(text.as_str()));
        let means_harm = |line: &&str| !HARMLESS.iter().any(|text| line.contains(text));
        self.0.lines().filter(complains).filter(unexpected).filter(means_harm).collect()
    }
}

impl fmt::Display for KernelLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "[    0.1] acpi PNP0A03:00: fail to add MMCONFIG information\r\n\
        [    4.2] (mount,93,0):ocfs2_read_blocks:245 ERROR: status = -5\r\n\
        [    4.3] OCFS2: ERROR (device vda): ocfs2_validate_gd_parent: bad group\r\n\
        [    4.4] JBD2: Error while async write back metadata bh 1234.\r\n\
        [    4.5] ------------[ cut here ]------------\r\n\
        [    4.5] kernel BUG at fs/ext4/inode.c:123!\r\n";

    #[test]
    fn complaints_are_told_from_the_noise_of_booting() {
        let log = KernelLog::new(CONSOLE);
        let complaints = log.complaints(&[]);
        assert_eq!(complaints.len(), 4, "{complaints:#?}");
        assert!(complaints.iter().all(|line| !line.contains("MMCONFIG")));
    }

    #[test]
    fn only_a_line_that_is_expected_is_allowed() {
        let log = KernelLog::new(CONSOLE);
        let complaints = log.complaints(&["ocfs2_read_blocks".into(), "Error while async".into()]);
        assert_eq!(complaints.len(), 2, "{complaints:#?}");
    }
}
