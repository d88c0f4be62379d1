//! Making a volume with our mkfs, and checking it afterwards with both fsck.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocfs2_format::hash::CharSign;
use ocfs2_testing::{Run, Scratch, c_fsck_run, oracle, program};

/// The kernel prints this about every journal made by mkfs.ocfs2, also the C one, when it is
/// mounted for the first time.
pub const NEW_JOURNAL: &str = "JBD2: Ignoring recovery information on journal";

/// Makes a volume on a new sparse image.
pub fn mkfs(scratch: &Scratch, name: &str, size_bytes: u64, options: &[&str]) -> PathBuf {
    let image = scratch.image(name, size_bytes);
    Run::new(program("mkfs.ocfs2")).args(["-q", "-F"]).args(options).arg(&image).success();
    image
}

/// Options for a volume that one machine mounts alone.
pub const LOCAL: [&str; 2] = ["-M", "local"];
/// Options for a volume of the cluster of the machines.
pub const O2CB: [&str; 2] = ["--cluster-stack=o2cb", "--cluster-name=ovscluster"];

/// Demands that `fsck.ocfs2 -fn` finds nothing: ours, and the C one. On volumes that the kernel has
/// written to, the C one may be wrong about some things, ours may not:
///
/// - clusters past the end of a file whose inode is in `preallocated`: the kernel allocates them
///   when it is told to, and for quota files without being told;
/// - the missing index of the system directory, which the kernel never makes.
///
/// # Panics
/// If either finds anything else.
pub fn assert_fsck_is_content(image: &Path, preallocated: &[u64]) {
    assert_ours_finds(image, |_| false);
    assert_c_fsck_is_content(image, preallocated);
}

/// Like [`assert_fsck_is_content`], for a volume on which the kernel has set attributes: before
/// 6.12.114 it puts more into a bucket than later ones accept.
pub fn assert_fsck_is_content_but_of_buckets(image: &Path, preallocated: &[u64]) {
    assert_ours_finds(image, |code| code == "XATTR_BUCKET_FULL");
    assert_c_fsck_is_content(image, preallocated);
}

/// Like [`assert_fsck_is_content`], for a volume whose names with bytes from 0x80 on have hashes of
/// `sign`: the C fsck knows only the signed ones.
pub fn assert_fsck_is_content_but_of_hashes(image: &Path, sign: CharSign) {
    assert_ours_finds(image, |_| false);
    let hashes: &[&str] = match sign {
        CharSign::Signed => &[],
        CharSign::Unsigned => &["DX_LOOKUP_FAILED", "XATTR_HASH_INVALID"],
    };
    assert_c_fsck_finds(image, &[], hashes);
}

/// Like [`assert_fsck_is_content`], for a volume on which one node has crashed and another one has
/// recovered it: the kernel does not always transfer the usage in the crashed node's quota files to
/// the global ones, and the C fsck does not check that.
pub fn assert_fsck_is_content_after_a_crash(image: &Path) {
    assert_ours_finds(image, |code| code.starts_with("QUOTA_"));
    assert_c_fsck_is_content(image, &[]);
}

/// Demands that our fsck finds nothing except codes that are `allowed`.
fn assert_ours_finds(image: &Path, allowed: impl Fn(&str) -> bool) {
    let fsck = Run::new(program("fsck.ocfs2")).arg("-fn").arg(image);
    let outcome = fsck.timeout(Duration::from_secs(120)).output();
    let codes = outcome.stdout.lines().filter_map(|line| line.strip_prefix('[')?.split_once(']'));
    let unexpected: Vec<_> = codes.filter(|(code, _)| !allowed(code)).collect();
    assert!(unexpected.is_empty(), "{outcome}");
    assert!(matches!(outcome.status, 0 | 4), "{outcome}");
}

fn assert_c_fsck_is_content(image: &Path, preallocated: &[u64]) {
    assert_c_fsck_finds(image, preallocated, &[]);
}

/// Demands that the C fsck finds nothing, or only these codes.
fn assert_c_fsck_finds(image: &Path, preallocated: &[u64], codes: &[&str]) {
    let Some(fsck) = oracle("fsck.ocfs2") else { return };
    let Some(debugfs) = oracle("debugfs.ocfs2") else { return };
    let system = Run::new(debugfs).args(["-R", "ls -l //"]).arg(image).success().stdout;
    let system_inode = |name: &str| -> Option<u64> {
        let line = system.lines().find(|line| line.ends_with(&format!(" {name}")))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let mut beyond_end: BTreeSet<u64> = preallocated.iter().copied().collect();
    beyond_end.extend(["aquota.user", "aquota.group"].into_iter().filter_map(system_inode));
    let system_directory = system_inode(".").expect("a system directory");

    let fsck = c_fsck_run(&fsck, "-fn", image).expect_status(0);
    let is_wrong_about = |line: &str| {
        let mut words = line.split_whitespace();
        let (code, _, inode) = (words.next(), words.next(), words.next());
        let Some(inode) = inode.and_then(|word| word.parse().ok()) else { return false };
        match code {
            Some("[INODE_SPARSE_SIZE]") => beyond_end.contains(&inode),
            Some("[DX_TREE_MISSING]") => inode == system_directory,
            _ => false,
        }
    };
    let output = format!("{}{}", fsck.stdout, fsck.stderr);
    let is_expected = |line: &str| codes.iter().any(|code| line.starts_with(&format!("[{code}]")));
    let finding =
        |line: &&str| line.starts_with('[') && !is_wrong_about(line) && !is_expected(line);
    let findings: Vec<_> = output.lines().filter(finding).collect();
    assert!(findings.is_empty(), "{findings:#?}\n{fsck}");
    assert!(output.contains("All passes succeeded.") || !codes.is_empty(), "{fsck}");
}
