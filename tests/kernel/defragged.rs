//! `defragfs.ocfs2` on a mounted volume.

use std::time::Duration;

use anyhow::Result;
use ocfs2_testing::{Run, Scratch, program};

use crate::lab::shared_out;
use crate::volume::{LOCAL, NEW_JOURNAL, assert_fsck_is_content, mkfs};

/// Clusters of 4 KiB that a file is written in: first all odd ones, then all even ones.
const PIECES: u32 = 90;

fn scattered(name: &str, pieces: u32) -> String {
    let write = |from: u32| {
        format!(
            "for i in $(seq {from} 2 {}); do
                yes $i | dd of=/mnt/tree/{name} bs=4096 count=1 seek=$i conv=notrunc iflag=fullblock
            done 2>/dev/null; sync\n",
            pieces - 1
        )
    };
    write(1) + &write(0)
}

/// Runs what follows with a mounted volume.
fn mounted(script: &str) -> String {
    format!("set -e\nmount-volume /dev/vda /mnt\n{script}\numount /mnt\n")
}

#[test]
fn files_in_pieces_are_put_together_while_they_are_mounted() -> Result<()> {
    let works = [("-b 4K -C 4K", "1M"), ("-b 1K -C 4K", "64K")];
    shared_out(&works, |lab, works| {
        for (form, threshold) in works {
            let scratch = Scratch::new();
            let options: Vec<_> =
                form.split(' ').chain(["-N", "2", "-J", "size=8M"]).chain(LOCAL).collect();
            let image = mkfs(&scratch, "volume.img", 300 << 20, &options);
            let run = |script: &str| {
                let machine =
                    lab.vm().disk(&image).program(program("defragfs.ocfs2")).allow(NEW_JOURNAL);
                let run =
                    machine.script(mounted(script)).timeout(Duration::from_secs(300)).run()?;
                run.assert_ok();
                anyhow::Ok(run.output().to_owned())
            };
            let fill = format!(
                "mkdir -p /mnt/tree/below /mnt/lost+found
                {}{}
                printf tail >>/mnt/tree/file; ln -s file /mnt/tree/link
                echo small >/mnt/tree/below/small; : >/mnt/tree/below/empty
                md5sum /mnt/tree/file /mnt/tree/origin",
                scattered("file", PIECES),
                scattered("origin", 30)
            );
            let sums = run(&fill)?;
            let debugfs = Run::new(program("debugfs.ocfs2")).args(["-w", "-R"]);
            debugfs.arg("reflink /tree/origin /tree/shared").arg(&image).success();
            let output = run(&format!(
                "defragfs.ocfs2 -c -t {threshold} /mnt
                defragfs.ocfs2 -n -v -t {threshold} /mnt
                md5sum /mnt/tree/file /mnt/tree/origin
                defragfs.ocfs2 -v --threads 3 -t {threshold} /dev/vda
                echo again; defragfs.ocfs2 -v -t {threshold} /mnt/tree
                md5sum /mnt/tree/file /mnt/tree/origin
                echo shared; defragfs.ocfs2 --shared -t {threshold} /mnt/tree/shared --json
                echo refused; defragfs.ocfs2 /tmp || echo status $?
                defragfs.ocfs2 -g || echo status $?"
            ))?;
            let said = |text: &str| assert!(output.contains(text), "{form}: {text}:\n{output}");
            said("       1 files should be defraged in [/mnt]\n5 files have ");
            let file = |output: &str| -> Vec<String> {
                let lines = output.lines().filter_map(|line| line.strip_prefix("/mnt/tree/file: "));
                lines.map(str::to_owned).collect()
            };
            let lines = file(&output);
            assert!(lines[0].ends_with(" to be moved"), "{output}");
            let before = lines[0].split(' ').next().unwrap_or_default().to_owned();
            assert!(before.parse::<u32>()? >= PIECES, "{output}");
            let after = lines[1].strip_prefix(&format!("{before} pieces, now ")).unwrap();
            // Pieces of the threshold need not lie in a row; the last cluster is not full.
            let most = if threshold == "1M" { 2 } else { 7 };
            assert!(after.parse::<u32>()? <= most, "{form}: {lines:?}");
            said("/mnt/tree/shared: 30 pieces\n");
            said("/mnt/tree/origin: 30 pieces\n");
            said("1 of 5 files moved");
            said("again\n");
            said("0 of 5 files moved");
            said("\"moved\": 1,");
            said("/tmp: it is not on an OCFS2 volume\nstatus 1\n");
            said("so there is nothing to resume\nstatus 1\n");
            // What is left is as good as it gets.
            assert!(lines[2] == format!("{after} pieces"), "{lines:?}");
            let expected: Vec<_> = sums.lines().collect();
            let found: Vec<_> = output.lines().filter(|it| it.contains("  /mnt/tree/")).collect();
            assert_eq!(found, [&expected[..], &expected].concat(), "{form}");
            assert_fsck_is_content(&image, &[]);
        }
        Ok(())
    })
}

#[test]
fn what_was_put_together_offline_is_as_it_was_for_linux() -> Result<()> {
    let works = ["-b 4K -C 4K --fs-features=metaecc,indexed-dirs", "-b 1K -C 4K"];
    shared_out(&works, |lab, works| {
        for form in works {
            let scratch = Scratch::new();
            let options: Vec<_> =
                form.split(' ').chain(["-N", "2", "-J", "size=8M"]).chain(LOCAL).collect();
            let image = mkfs(&scratch, "volume.img", 300 << 20, &options);
            let run = |script: &str| {
                let machine = lab.vm().disk(&image).allow(NEW_JOURNAL);
                let run =
                    machine.script(mounted(script)).timeout(Duration::from_secs(300)).run()?;
                run.assert_ok();
                anyhow::Ok(run.output().to_owned())
            };
            let look = "cd /mnt/tree; md5sum file origin
                for dir in one two; do ls -i $dir | sort | md5sum; ls -l $dir | md5sum; done
                cat one/300* | wc -c; cd /";
            let fill = format!(
                "mkdir -p /mnt/tree/one /mnt/tree/two
                {}{}
                for i in $(seq 600); do
                    : >/mnt/tree/one/$i-$(printf %0120d 0); echo $i >/mnt/tree/two/$i-$(printf %0120d 0)
                done
                {look}",
                scattered("file", PIECES),
                scattered("origin", 30)
            );
            let before = run(&fill)?;
            let debugfs = Run::new(program("debugfs.ocfs2")).args(["-w", "-R"]);
            debugfs.arg("reflink /tree/origin /tree/shared").arg(&image).success();
            let defragfs = Run::new(program("defragfs.ocfs2")).args(["--offline", "--pack", "-v"]);
            let said = defragfs.arg(&image).success().stdout;
            assert!(said.contains("/tree/file: ") && said.contains("pieces, now 1\n"), "{said}");
            let after = run(&format!(
                "{look}
                echo more >>/mnt/tree/file; rm /mnt/tree/one/1*; touch /mnt/tree/two/new
                cmp /mnt/tree/origin /mnt/tree/shared"
            ))?;
            let own = |output: &str| -> Vec<String> {
                let is_sum = |line: &&str| line.contains("  ") || line.parse::<u64>().is_ok();
                output.lines().filter(is_sum).map(str::to_owned).collect()
            };
            assert!(own(&before).len() >= 6, "{before}");
            assert_eq!(own(&after), own(&before), "{form}");
            assert_fsck_is_content(&image, &[]);
        }
        Ok(())
    })
}
