//! Questions to the running kernel: by `o2info` about a path, by `debugfs.ocfs2` about its locks.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use ocfs2_testing::{Run, Scratch, c_tool, find_program, fixture_copy, is_c_tool, program, skip};

use crate::lab::{lab, labs};
use crate::volume::{LOCAL, NEW_JOURNAL, mkfs};

/// Copies the C `o2info` to another name, because ours has the same.
fn c_o2info(scratch: &Scratch) -> Option<PathBuf> {
    let found = c_tool("o2info").or_else(|| find_program("o2info").filter(|it| is_c_tool(it)));
    let Some(found) = found else {
        skip("there is no o2info on this machine");
        return None;
    };
    let copy = scratch.join("c-o2info");
    fs::copy(found, &copy).expect("it is copied");
    Some(copy)
}

/// Both programs with every request, with and without locks; a file with holes, and others.
const REQUESTS: &str = "
    set -e
    mount-volume /dev/vda /mnt
    dd if=/dev/urandom of=/mnt/holes bs=4096 count=3 2>/dev/null
    dd if=/dev/urandom of=/mnt/holes bs=4096 count=2 seek=20 conv=notrunc 2>/dev/null
    dd if=/dev/urandom of=/mnt/holes bs=4096 count=1 seek=300 conv=notrunc 2>/dev/null
    echo small >/mnt/small
    mkdir /mnt/folder; : >/mnt/empty; chmod 4711 /mnt/holes; chmod 1777 /mnt/folder
    sync
    set +e
    for how in '' -C; do
        for request in --fs-features --volinfo --mkfs --freeinode '--freefrag 0' '--freefrag 4096'; do
            for path in /mnt /mnt/small; do
                for who in o2info c-o2info; do
                    echo \"== $who $how $request $path\"; $who $how $request $path; echo \"= $?\"
                done
            done
        done
    done
    for path in /mnt /mnt/holes /mnt/small /mnt/empty /mnt/folder; do
        for request in --space-usage --filestat; do
            for who in o2info c-o2info; do
                echo \"== $who $request $path\"; $who $request $path; echo \"= $?\"
            done
        done
    done
    echo \"== o2info of a tmpfs\"; o2info --volinfo /root; echo \"= $?\"
    umount /mnt
";

/// Returns what a program printed for each request.
fn said<'o>(output: &'o str, who: &str) -> Vec<(&'o str, &'o str)> {
    let blocks = output.split("== ").skip(1);
    let of = |block: &'o str| {
        let (first, text) = block.split_once('\n')?;
        Some((first.strip_prefix(who)?.strip_prefix(' ')?, text))
    };
    blocks.filter_map(of).collect()
}

/// Returns the lines that have to be the same: without chunks, of which the C tool counts one too
/// many, also in the percentage of free ones; and without times, whose fractions and zone it prints
/// wrongly.
fn comparable(text: &str) -> Vec<&str> {
    let is_other = |line: &str| {
        ["Total chunks:", "Free chunks:", "Access: 2", "Modify:", "Change:"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    text.lines().filter(|line| !is_other(line)).collect()
}

#[test]
fn o2info_says_of_a_mounted_path_what_the_c_tool_says() -> Result<()> {
    for lab in labs() {
        let scratch = Scratch::new();
        let Some(c) = c_o2info(&scratch) else { return Ok(()) };
        let options = ["-b", "1K", "-C", "4K", "-L", "asked", "-J", "size=8M", "-N", "3"];
        let disk = mkfs(&scratch, "asked.img", 200 << 20, &[&options, &LOCAL[..]].concat());
        let run = lab.vm().disk(&disk).program(program("o2info")).program(c);
        let run = run.script(REQUESTS).allow(NEW_JOURNAL).run()?;
        run.assert_ok();
        let output = run.output();
        let (ours, theirs) = (said(output, "o2info"), said(output, "c-o2info"));
        assert_eq!((ours.len(), theirs.len()), (24 + 10 + 1, 24 + 10), "{output}");
        for ((what, ours), (same, theirs)) in ours.iter().zip(&theirs) {
            assert_eq!(what, same);
            assert!(ours.ends_with("= 0\n"), "{what}: {ours}");
            // What mkfs refuses is not in ours.
            let theirs = match what.contains("--mkfs") {
                true => theirs.replace("strict-journal-super,", ""),
                false => (*theirs).to_owned(),
            };
            assert_eq!(comparable(ours), comparable(&theirs), "{what}");
        }
        // What is read from the disk afterwards is the same.
        let of_file = |text: &str| {
            let known =
                |line: &&str| !line.starts_with("  File:") && !line.starts_with("Access: 2");
            let lines = text.lines().filter(known).filter(|line| !line.starts_with("= "));
            // An image has no number of a device.
            lines.map(|line| line.split("Inode:").last().unwrap_or(line).to_owned()).collect()
        };
        let mut files = 0;
        for (what, kernel) in &ours {
            let Some((request, path)) = what.split_once(" /mnt/") else { continue };
            if !matches!(request, "--filestat" | "--space-usage") {
                continue;
            }
            let run = Run::new(program("o2info")).args([request, "--path", path]).arg(&disk);
            let read: Vec<String> = of_file(&run.success().stdout);
            assert_eq!(read, of_file(kernel), "{what}");
            files += 1;
        }
        assert_eq!(files, 8);
        let (_, refused) = ours.last().expect("it was counted");
        assert!(refused.contains("is a folder on another file system"), "{refused}");
        assert!(refused.ends_with("= 1\n"), "{refused}");
        let holes = ours.iter().find(|(what, _)| *what == "--filestat /mnt/holes");
        let (_, holes) = holes.expect("it was asked");
        assert!(holes.contains("Extents: 3 ") && holes.contains("Holes: 295 "), "{holes}");
        assert!(holes.contains("(4711/-rws--x--x)"), "{holes}");
    }
    Ok(())
}

#[test]
fn the_kernel_does_what_it_is_told_and_the_volume_stays_sound() -> Result<()> {
    for lab in labs() {
        let scratch = Scratch::new();
        let options = ["-b", "1K", "-C", "4K", "-J", "size=8M", "-N", "2"];
        let disk = mkfs(&scratch, "told.img", 200 << 20, &[&options, &LOCAL[..]].concat());
        // Room for clusters that the volume does not have yet.
        fs::File::options().write(true).open(&disk)?.set_len(208 << 20)?;
        let script = "
            set -e
            mount-volume /dev/vda /mnt
            volume-contents calls /mnt 4096 1000
            umount /mnt
        ";
        let run = lab.vm().disk(&disk).program(program("volume-contents"));
        // What it refuses, it complains about.
        let refused = ["ocfs2_reflink_ioctl", "ocfs2_group_extend", "ocfs2_group_add"];
        let run = run.script(script).allow(NEW_JOURNAL).allows(refused);
        let run = run.allow("ocfs2_verify_group_and_input").run()?;
        run.assert_ok();
        assert!(run.output().contains(" extents, then "), "{}", run.output());
        let fsck = Run::new(program("fsck.ocfs2")).arg("-fn").arg(&disk).output();
        assert_eq!(fsck.status, 0, "{fsck}");
    }
    Ok(())
}

/// Node 0 writes a file that node 1 then reads, so both know its locks.
const LOCKS: &str = "
    set -e
    mount-volume /dev/vda /mnt
    barrier mounted
    [ $NODE = 1 ] || echo written >/mnt/locked
    barrier written
    cat /mnt/locked
    barrier read
    set +e
    for command in fs_locks 'fs_locks -l' 'fs_locks -B' dlm_locks 'dlm_locks -l' net_stats \\
        'net_stats 1 2' 'encode /locked' 'findpath <'$(debugfs.ocfs2 -R 'encode /locked' /dev/vda | tr -d '\\t ')'>'; do
        echo \"== debugfs.ocfs2 $command\"; debugfs.ocfs2 -R \"$command\" /dev/vda; echo \"= $?\"
    done
    cat /sys/kernel/debug/ocfs2/*/locking_state | wc -l
    echo '== end'
    barrier asked
    [ $NODE = 0 ] || umount /mnt
    barrier unmounted
    [ $NODE = 1 ] || umount /mnt
";

#[test]
fn locks_of_a_running_cluster_are_shown() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let disk = fixture_copy("clean-4k-o2cb", &scratch);
    let run = lab.cluster(&disk).program(program("debugfs.ocfs2")).script(LOCKS);
    let run = run.allow(NEW_JOURNAL).run()?;
    run.assert_ok();
    let mut sees_other = false;
    for node in [0, 1] {
        let output = run.node(node).output.as_str();
        let said = said(output, "debugfs.ocfs2");
        let of = |wanted: &str| {
            let found = said.iter().find(|(what, _)| *what == wanted);
            found.unwrap_or_else(|| panic!("{wanted}: {output}")).1
        };
        for (what, text) in &said {
            assert!(text.contains("= 0\n"), "node {node}, {what}: {text}");
        }
        // A journal may hold something newer, which is noted first.
        let mut lines = of("encode /locked").lines().map(str::trim);
        let lock = lines.find(|line| line.starts_with('M')).unwrap_or_default().to_owned();
        assert!(lock.starts_with('M') && lock.len() == 31, "{lock}");
        let name = format!("findpath <{lock}>");
        assert!(of(&name).contains("\t/locked\n"), "{}", of(&name));
        // All locks of the kernel, each complete.
        let all = of("fs_locks");
        assert!(all.matches("Lockres: ").count() > 5, "{all}");
        assert_eq!(all.matches("Lockres: ").count(), all.matches("Disk Refreshes: ").count());
        assert!(all.contains("Mode: Protected Read") && all.contains("Mode: Exclusive"), "{all}");
        assert!(of("fs_locks -l").contains("Raw LVB:\t"), "{}", of("fs_locks -l"));
        let dlm = of("dlm_locks");
        assert!(dlm.matches("Lockres: ").count() > 5, "{dlm}");
        assert!(dlm.contains(&format!(" Granted     {node} ")), "{dlm}");
        // The owner of a resource knows the locks of both.
        sees_other |= dlm.contains(&format!(" Granted     {} ", 1 - node));
        // This node has sent messages to the other one.
        let stats = of("net_stats");
        let other = (1 - node).to_string();
        let row = stats.lines().find(|line| line.split_whitespace().next() == Some(&other));
        let sent = row.and_then(|row| row.split_whitespace().nth(1)?.parse::<u64>().ok());
        assert!(sent.is_some_and(|sent| sent > 0), "{stats}");
        assert_eq!(of("net_stats 1 2").matches("send q").count(), 2);
    }
    assert!(sees_other);
    Ok(())
}
