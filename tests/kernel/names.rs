//! Names with bytes from 0x80 on, and attributes in buckets, as kernels look them up.

use std::fs;

use anyhow::Result;
use ocfs2_format::hash::CharSign;
use ocfs2_testing::vm::Lab;
use ocfs2_testing::{Run, Scratch, program};

use crate::lab::labs;
use crate::volume::{LOCAL, NEW_JOURNAL, mkfs};

/// Number of names in a folder, more than fit into an inode. Each is UTF-8 that is not ASCII.
const NAMES: usize = 300;

/// Returns an archive of a folder with such names, and of files with these numbers of attributes.
fn archive(attributes: &[usize]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut member = |name: &str, attributes: usize| {
        let keys = (0..attributes).map(|number| format!("SCHILY.xattr.user.größe-{number}"));
        let keys: Vec<_> = keys.collect();
        builder.append_pax_extensions(keys.iter().map(|key| (key.as_str(), &b"red"[..])))?;
        let mut header = tar::Header::new_gnu();
        header.set_path(name)?;
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(9);
        header.set_cksum();
        builder.append(&header, &b""[..])
    };
    for number in 0..NAMES {
        member(&format!("many/größe-日本-{number}"), 0)?;
    }
    for count in attributes {
        member(&format!("attributes-{count}"), *count)?;
    }
    Ok(builder.into_inner()?)
}

/// Opens every name, reads every attribute, and changes both.
fn script(letters: &str) -> String {
    letters.chars().fold(String::from("set -e\n"), |script, letter| {
        script
            + &format!(
                "mount-volume /dev/vd{letter} /mnt
                for number in $(seq 0 {last}); do cat /mnt/many/größe-日本-$number; done
                volume-contents describe /mnt >/tmp/found
                echo \"{letter} $(grep -c 'user.gr' /tmp/found)\"
                cp /mnt/many/größe-日本-1 /mnt/many/größe-日本-more
                rm /mnt/many/größe-日本-2 /mnt/attributes-*
                umount /mnt\n",
                last = NAMES - 1
            )
    })
}

fn judge(lab: &Lab, disks: &[std::path::PathBuf], attributes: usize) -> Result<()> {
    let letters: String = ('a'..).take(disks.len()).collect();
    let run = lab
        .vm()
        .disks(disks)
        .program(program("volume-contents"))
        .script(script(&letters))
        .allow(NEW_JOURNAL)
        .run()?;
    run.assert_ok();
    for letter in letters.chars() {
        let line = format!("{letter} {attributes}");
        assert!(run.output().lines().any(|it| it == line), "not `{line}`: {run}");
    }
    for disk in disks {
        Run::new(program("fsck.ocfs2")).arg("-fn").arg(disk).output().expect_status(0);
    }
    Ok(())
}

#[test]
fn a_kernel_finds_names_and_attributes_of_the_hash_it_looks_for() -> Result<()> {
    let counts = [31, 32, 60, 64, 150];
    for lab in labs() {
        let scratch = Scratch::new();
        fs::write(scratch.join("files.tar"), archive(&counts)?)?;
        let source = scratch.join("files.tar").display().to_string();
        let sign = lab.name_hash();
        let other = CharSign::ALL.into_iter().find(|it| *it != sign).unwrap_or_default();
        let make = |name: &str, block_size: &str, sign: CharSign| {
            let sign = sign.to_string();
            let options = ["-b", block_size, "-d", &source, "--name-hash", &sign];
            mkfs(&scratch, name, 64 << 20, &[&options, &LOCAL[..]].concat())
        };
        let rehashed = make("rehashed.img", "512", other);
        let fsck = Run::new(program("fsck.ocfs2")).args(["-fyD", "--name-hash"]);
        fsck.arg(sign.to_string()).arg(&rehashed).output().expect_status(1);
        let disks = [
            make("512.img", "512", sign),
            make("1k.img", "1K", sign),
            make("2k.img", "2K", sign),
            rehashed,
        ];
        judge(&lab, &disks, counts.iter().sum())?;
    }
    Ok(())
}
