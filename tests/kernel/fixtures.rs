//! Volumes that the kernel wrote earlier: it still reads the same in them.

use std::fs;

use anyhow::Result;
use ocfs2_testing::{Run, Scratch, fixture};

use crate::lab::lab;

#[test]
fn the_kernel_reads_what_it_wrote_earlier_with_small_blocks() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let scratch = Scratch::new();
    let names = ["clean-512-local", "clean-1k-local"];
    let mut script = String::new();
    for (name, dev) in names.iter().zip(["vda", "vdb"]) {
        let manifest = format!("{}/../fixtures/{name}.manifest.tar.xz", env!("CARGO_MANIFEST_DIR"));
        Run::new("tar").args(["-xJf", &manifest, "-C"]).arg(scratch.path()).success();
        // Without the large files: an emulated processor takes half a minute for their checksums.
        let list = fs::read_to_string(scratch.join(format!("{name}.sha256")))?;
        let few =
            list.lines().filter(|line| !line.contains("/sparse/") && !line.contains("/extents/"));
        let few: String = few.flat_map(|line| [line, "\n"]).collect();
        assert!(few.lines().count() > 100);
        fs::write(scratch.join(format!("{name}.sha256")), few)?;
        script += &format!("mount-volume /dev/{dev} /mnt && cd /mnt || exit\n");
        script += &format!("sha256sum -c /share/{name}.sha256 | grep -v ': OK$' && exit 1\n");
        script += "cd / && umount /mnt || exit\n";
    }
    let machine = lab.vm().snapshot().disks(names.map(fixture)).share(scratch.path());
    machine.script(script).run()?.assert_ok();
    Ok(())
}
