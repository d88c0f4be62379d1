//! `ocfs2-fuse` beside `fuse2fs`: many small files and a large one, written, read and removed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ocfs2_testing::{Random, Run};
use xtask::cargo;

use super::Options;
use super::fsck::prepare;
use super::volumes::program;

/// Files in the archive, and GiB of the large file. `OCFS2_BENCH_FUSE_FILES` and
/// `OCFS2_BENCH_FUSE_GIB` choose others.
const FILES: u64 = 50_000;
const GIB: u64 = 1;

/// Files in a folder, and bytes of one at most.
const IN_FOLDER: u64 = 250;
const MOST_BYTES: usize = 12_000;

/// Reads at random places, and their size.
const READS: u64 = 20_000;
const READ: usize = 4096;

/// Programs that mount an image on a folder in the foreground.
struct Subject {
    name: &'static str,
    program: PathBuf,
    image: PathBuf,
    seconds: BTreeMap<usize, Vec<f64>>,
}

/// What is measured, in this order.
const WORK: [&str; 6] = [
    "unpack",
    "read all, not cached",
    "remove",
    "write a large file",
    "read it, not cached",
    "read it at random",
];

/// Measures and adds the table.
pub fn run(options: &Options, folder: &Path, text: &mut String) -> Result<()> {
    let number = |name: &str, usual: u64| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| name.to_owned()),
        Err(_) => Ok(usual),
    };
    let files = number("OCFS2_BENCH_FUSE_FILES", FILES)?;
    let gib = number("OCFS2_BENCH_FUSE_GIB", GIB)?;
    let scratch = tempfile::tempdir_in(cargo::target_dir().join("bench"))?;
    let archive = scratch.path().join("files.tar");
    pack(&archive, files)?;
    let (ours, theirs) = (scratch.path().join("ocfs2.img"), scratch.path().join("ext4.img"));
    let subject = |name, program, image| Subject { name, program, image, seconds: BTreeMap::new() };
    let mut subjects = [
        subject("ocfs2-fuse", folder.join("ocfs2-fuse"), ours),
        subject("fuse2fs", program("fuse2fs")?, theirs),
    ];
    eprintln!("ocfs2-fuse and fuse2fs, {files} files, {gib} GiB, {} x", options.runs);
    for _ in 0..options.runs.max(1) {
        for subject in &mut subjects {
            let bytes = ((gib + 3) << 30) + files * 8192;
            let _ = fs::remove_file(&subject.image);
            File::create(&subject.image)?.set_len(bytes)?;
            match subject.name {
                "fuse2fs" => Run::new(program("mke2fs")?).args(["-q", "-F", "-t", "ext4"]),
                _ => Run::new(folder.join("mkfs-ocfs2")).args(["-q", "-M", "local", "-N", "1"]),
            }
            .arg(&subject.image)
            .success();
            subject.measure(&scratch.path().join("mnt"), &archive, gib)?;
        }
    }
    let _ = write!(text, "\n## {files} files of up to {MOST_BYTES} bytes, a file of {gib} GiB\n\n");
    let _ = writeln!(text, "| seconds | {} | {} | |", subjects[0].name, subjects[1].name);
    let _ = writeln!(text, "|-|-:|-:|-:|");
    for (index, what) in WORK.iter().enumerate() {
        let [ours, theirs] = [&subjects[0], &subjects[1]].map(|it| median(&it.seconds[&index]));
        let times = theirs / ours.max(0.001);
        let _ = writeln!(text, "| {what} | {ours:.2} | {theirs:.2} | {times:.1} x |");
    }
    Ok(())
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Makes an archive of many small files.
fn pack(archive: &Path, files: u64) -> Result<()> {
    let mut builder = tar::Builder::new(std::io::BufWriter::new(File::create(archive)?));
    let mut random = Random(1);
    for index in 0..files {
        let len = random.below(MOST_BYTES);
        let bytes = random.bytes(len);
        let mut header = tar::Header::new_gnu();
        header.set_size(len as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000 + index);
        let path = format!("tree/{:04}/file-{index}", index / IN_FOLDER);
        builder.append_data(&mut header, path, &bytes[..])?;
    }
    Ok(builder.into_inner()?.flush()?)
}

impl Subject {
    fn measure(&mut self, folder: &Path, archive: &Path, gib: u64) -> Result<()> {
        let _ = fs::create_dir(folder);
        let mut child = self.mount(folder)?;
        let (tree, large) = (folder.join("tree"), folder.join("large"));
        let mut seconds = Vec::new();
        let timed = |seconds: &mut Vec<f64>, work: &mut dyn FnMut() -> Result<()>| {
            let start = Instant::now();
            work()?;
            seconds.push(start.elapsed().as_secs_f64());
            anyhow::Ok(())
        };
        let run = |command: &mut Command| {
            ensure!(command.stdout(Stdio::null()).status()?.success(), "{command:?}");
            Ok(())
        };
        let synced = || Ok(File::open(folder)?.sync_all()?);
        timed(&mut seconds, &mut || {
            run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder))?;
            synced()
        })?;
        child = self.again(child, folder)?;
        timed(&mut seconds, &mut || run(Command::new("tar").arg("-cf").arg("-").arg(&tree)))?;
        timed(&mut seconds, &mut || {
            run(Command::new("rm").arg("-r").arg(&tree))?;
            synced()
        })?;
        let mut bytes = vec![0; 1 << 20];
        bytes.copy_from_slice(&Random(2).bytes(1 << 20));
        timed(&mut seconds, &mut || {
            let mut file = File::create(&large)?;
            for _ in 0..gib << 10 {
                file.write_all(&bytes)?;
            }
            Ok(file.sync_all()?)
        })?;
        child = self.again(child, folder)?;
        timed(&mut seconds, &mut || {
            let mut file = File::open(&large)?;
            while file.read(&mut bytes)? > 0 {}
            Ok(())
        })?;
        child = self.again(child, folder)?;
        timed(&mut seconds, &mut || {
            let (file, mut random) = (File::open(&large)?, Random(3));
            let blocks = (gib << 30) as usize / READ;
            for _ in 0..READS {
                file.read_exact_at(&mut bytes[..READ], (random.below(blocks) * READ) as u64)?;
            }
            Ok(())
        })?;
        self.unmount(child, folder)?;
        for (index, seconds) in seconds.into_iter().enumerate() {
            self.seconds.entry(index).or_default().push(seconds);
        }
        Ok(())
    }

    fn unmount(&self, mut child: Child, folder: &Path) -> Result<()> {
        Run::new("umount").arg(folder).success();
        ensure!(child.wait()?.success(), "{} did not end well", self.name);
        Ok(())
    }

    /// Mounts it again, so that nothing is cached.
    fn again(&self, child: Child, folder: &Path) -> Result<Child> {
        self.unmount(child, folder)?;
        prepare(&self.image, true)?;
        self.mount(folder)
    }

    fn mount(&self, folder: &Path) -> Result<Child> {
        let mut child = Command::new(&self.program)
            .arg("-f")
            .args([&self.image, folder])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let start = Instant::now();
        while fs::read_dir(folder)?.next().is_none() {
            let is_late = start.elapsed() > Duration::from_secs(60);
            ensure!(child.try_wait()?.is_none() && !is_late, "{} cannot mount", self.name);
            thread::sleep(Duration::from_millis(20));
        }
        Ok(child)
    }
}
