//! What the kernel rejects is found and repaired: it accepts the same volumes afterwards.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use ocfs2_fsck::codes::kernels::{CHECKS, KernelCheck, Series, Verdict};
use ocfs2_testing::damage::{Base, Image, Recipe, all};
use ocfs2_testing::vm::{Heartbeat, Lab};
use ocfs2_testing::{Run, Scratch, program};

use crate::lab::labs;

/// Number of rows per machine, which has a damaged and a repaired disk for each.
const ROWS: usize = 12;

/// Damage that a script does not meet, because it is in a slot that the machine does not take; or
/// because only the removal of an open file would meet it, which Linux does not survive.
const NOT_MET: [&str; 4] = [
    "an orphan directory is empty in its inode",
    "the list of a group in pieces has less room than there is",
    "the journal of a slot has no magic number",
    "the journal of a slot has a feature nobody knows",
];

const SHELL: &str = r#"
    set -- $(uname -v | sed 's/.* \([0-9]*\)\.\([0-9]*\)\.\([0-9]*\)-.*/\1 \2 \3/')
    release=$(($1 * 1000000 + $2 * 1000 + $3))
    # Fails where something cannot be read. Of the thousands in /dirs some are looked up, which
    # takes no process each.
    read_all() {
        number=0
        for dir in /mnt/dirs/*/; do
            for file in $dir*; do
                number=$((number + 1))
                [ $((number % 10)) != 0 ] || [ -e "$file" ] || [ -L "$file" ] || return
            done
        done
        find /mnt -path /mnt/dirs -prune -o -print0 | xargs -0 ls -lad >/dev/null &&
            find /mnt -path /mnt/dirs -prune -o -type f -size -2000k -print0 |
            xargs -0 cat >/dev/null &&
            { [ ! -d /mnt/xattr ] || volume-contents describe /mnt/xattr >/dev/null; }
    }
    write_to_shared() {
        for file in /mnt/reflink/*; do
            [ ! -e $file ] || echo more | dd of=$file conv=notrunc 2>/dev/null || return
        done
    }
    # refuses DISK RELEASE NAME: this kernel, if it is that release or a later one, does not mount
    # the volume, or says what is wrong when it is read and written.
    refuses() {
        [ "$release" -ge "$2" ] || { echo "not looked at by this kernel: $3"; return; }
        dmesg -c >/dev/null
        echo "damaged: $3"
        mount-volume /dev/$1 /mnt 2>/dev/null || return
        { read_all; write_to_shared; rm -r /mnt/reflink /mnt/special; } 2>/dev/null
        umount /mnt
        dmesg | grep -q 'OCFS2: ERROR' || { echo "taken: $3"; wrong=1; }
    }
    # takes DISK NAME: it mounts the volume, reads all of it, writes to it, and says nothing.
    takes() {
        dmesg -c >/dev/null
        echo "repaired: $2"
        mount-volume /dev/$1 /mnt && read_all && write_to_shared || exit 1
        mkdir /mnt/after && cd /mnt/after || exit 1
        for n in $(seq 20); do echo $n >file-$n || exit 1; done
        dd if=/dev/zero of=large bs=65536 count=32 2>/dev/null && sync && rm large file-7 || exit 1
        cd / && rm -r /mnt/after && umount /mnt || exit 1
        ! dmesg | grep -E 'OCFS2: ERROR|ERROR: status' || exit 1
    }
"#;

/// Returns a release as the number that the script compares.
fn comparable(release: &str) -> u32 {
    let mut parts = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    next() * 1_000_000 + next() * 1000 + next()
}

fn series(lab: &Lab) -> Series {
    match lab.kernel_release().split('.').collect::<Vec<_>>()[..] {
        ["6", "1", ..] => Series::Linux6_1,
        ["6", "12", ..] => Series::Linux6_12,
        _ => Series::Linux7,
    }
}

fn is_local(recipe: &Recipe) -> bool {
    match recipe.on {
        Base::Fixture(name) | Base::Repaired(name) => name.ends_with("-local"),
        Base::Made(options, _) => options.contains(&"local"),
    }
}

type Row = (&'static KernelCheck, Recipe);

/// Returns the rows of a kernel, each with its recipe.
fn rows(series: Series) -> Vec<Row> {
    let recipes = all();
    let of = |check: &'static KernelCheck| {
        let recipe = recipes.iter().find(|recipe| recipe.name == check.damage)?;
        (check.verdict(series) != Verdict::Takes).then_some((check, *recipe))
    };
    CHECKS.iter().filter_map(of).collect()
}

/// Gives the damaged volumes to the newest kernel, and the volumes repaired by `fsck.ocfs2 -fy`.
fn judge(rows: &[Row]) -> Result<()> {
    let Some(lab) = labs().pop() else { return Ok(()) };
    for rows in rows.chunks(ROWS) {
        judge_some(&lab, rows)?;
    }
    Ok(())
}

fn judge_some(lab: &Lab, rows: &[Row]) -> Result<()> {
    let scratch = Scratch::new();
    let images: Vec<Image> = rows.iter().map(|(_, recipe)| recipe.image()).collect();
    let mut disks: Vec<PathBuf> = Vec::new();
    let [mut heartbeats, mut damaged, mut repaired] = [const { String::new() }; 3];
    let mut add = |path: PathBuf, recipe: &Recipe| {
        let disk = format!("vd{}", char::from(b'a' + disks.len() as u8));
        disks.push(path);
        if !is_local(recipe) {
            heartbeats += &format!("heartbeat-start /dev/{disk} &\n");
        }
        disk
    };
    for (number, ((check, recipe), image)) in rows.iter().zip(&images).enumerate() {
        // A kernel that stops would stop the machine with it.
        if let Verdict::Refuses(release) = check.verdict(series(lab))
            && !NOT_MET.contains(&recipe.name)
        {
            let copy = scratch.join(format!("damaged-{number}.img"));
            Run::new("cp").arg("--sparse=always").arg(image.path()).arg(&copy).success();
            let disk = add(copy, recipe);
            damaged += &format!("refuses {disk} {} '{}'\n", comparable(release), recipe.name);
        }
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fy").arg(image.path()).output();
        assert_eq!(fsck.status, 1, "{}: {fsck}", recipe.name);
        let disk = add(image.path().to_owned(), recipe);
        repaired += &format!("takes {disk} '{}'\n", recipe.name);
    }
    let machine = lab.vm().disks(&disks).program(program("volume-contents"));
    let machine = if heartbeats.is_empty() { machine } else { machine.o2cb(Heartbeat::Local) };
    let script = format!("{SHELL}{heartbeats} wait\n{damaged}{repaired}exit ${{wrong:-0}}\n");
    // Complaints about the damaged volumes are wanted; the script looks for those about the
    // repaired ones.
    let machine = machine.script(script).allow("").timeout(Duration::from_secs(600));
    machine.run().context("damaged and repaired volumes")?.assert_ok();
    for ((_, recipe), image) in rows.iter().zip(&images) {
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fn").arg(image.path()).output();
        assert_eq!(fsck.status, 0, "{}: {fsck}", recipe.name);
    }
    Ok(())
}

/// Codes for damage that no fsck looked for before kernels rejected it.
const OF_KERNELS: [&str; ROWS] = [
    "INODE_SYSTEM_FLAG",
    "SYSTEM_FILE_INVALID",
    "INODE_RDEV",
    "ORPHAN_FLAG",
    "EXTENT_LIST_COUNT",
    "CHAIN_COUNT",
    "DEALLOC_COUNT",
    "LALLOC_SIZE",
    "DX_TREE_CORRUPT",
    "DX_LEAF_INVALID",
    "REFCOUNT_LIST_COUNT",
    "XATTR_BUCKET_FULL",
];

#[test]
fn what_only_the_kernel_refuses_it_takes_once_it_is_repaired() -> Result<()> {
    let Some(lab) = labs().pop() else { return Ok(()) };
    let rows = rows(series(&lab));
    let of = |code: &&str| rows.iter().find(|(_, recipe)| recipe.code == *code).copied();
    let some: Vec<_> = OF_KERNELS.iter().filter_map(of).collect();
    assert!(some.len() > 8 && some.iter().all(|(_, recipe)| is_local(recipe)));
    judge(&some)
}

#[test]
#[ignore = "slow: run by cargo xtask kernel --all"]
fn all_that_the_kernel_refuses_it_takes_once_it_is_repaired() -> Result<()> {
    let Some(lab) = labs().pop() else { return Ok(()) };
    let rows = rows(series(&lab));
    assert!(rows.len() > 30, "{}", rows.len());
    judge(&rows)
}
