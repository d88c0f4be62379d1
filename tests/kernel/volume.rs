//! Making a volume with our mkfs, and having the C fsck look at it afterwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocfs2_format::hash::CharSign;
use ocfs2_testing::{Run, Scratch, c_fsck_run, oracle, program};

/// What the kernel says of every journal that mkfs.ocfs2 made, the C one's too, when it is
/// mounted for the first time.
pub const NEW_JOURNAL: &str = "JBD2: Ignoring recovery information on journal";

/// A new volume on a sparse image.
pub fn mkfs(scratch: &Scratch, name: &str, size_bytes: u64, options: &[&str]) -> PathBuf {
    let image = scratch.image(name, size_bytes);
    Run::new(program("mkfs.ocfs2")).args(["-q", "-F"]).args(options).arg(&image).success();
    image
}

/// Whether a volume is mounted by one machine alone or by a cluster.
pub const LOCAL: [&str; 2] = ["-M", "local"];
/// The cluster of the machines.
pub const O2CB: [&str; 2] = ["--cluster-stack=o2cb", "--cluster-name=ovscluster"];

/// Demands that `fsck.ocfs2 -fn` finds nothing: ours, and the C one. The C one may be wrong about
/// some things in volumes that the kernel has written to, ours may not:
///
/// - clusters beyond the end of a file whose inode is in `preallocated`: the kernel allocates
///   them when it is told to, and to quota files without being told;
/// - the system directory having no index, which the kernel never gives it.
///
/// # Panics
/// It finds something.
pub fn assert_fsck_is_content(image: &Path, preallocated: &[u64]) {
    assert_ours_finds(image, |_| false);
    assert_c_fsck_is_content(image, preallocated);
}

/// The same of a volume to which the kernel has given attributes: before 6.12.114 it puts more into
/// a bucket than later ones take.
pub fn assert_fsck_is_content_but_of_buckets(image: &Path, preallocated: &[u64]) {
    assert_ours_finds(image, |code| code == "XATTR_BUCKET_FULL");
    assert_c_fsck_is_content(image, preallocated);
}

/// The same of a volume whose names with bytes from 0x80 on have hashes of `sign`: the C fsck
/// knows only the signed ones.
pub fn assert_fsck_is_content_but_of_hashes(image: &Path, sign: CharSign) {
    assert_ours_finds(image, |_| false);
    let hashes: &[&str] = match sign {
        CharSign::Signed => &[],
        CharSign::Unsigned => &["DX_LOOKUP_FAILED", "XATTR_HASH_INVALID"],
    };
    assert_c_fsck_finds(image, &[], hashes);
}

/// The same of a volume on which a node has crashed and another one has recovered it: what the
/// crashed one's quota files had not yet told the global ones is not always taken over by the
/// kernel, and the C fsck does not look at it.
pub fn assert_fsck_is_content_after_a_crash(image: &Path) {
    assert_ours_finds(image, |code| code.starts_with("QUOTA_"));
    assert_c_fsck_is_content(image, &[]);
}

/// Demands that our fsck finds nothing but what `allowed` is true for.
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

/// Demands that the C fsck finds nothing, or what has one of these codes.
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
