//! The kernel mounts what fsck.ocfs2 has repaired, reads all of it and writes to it; and its own
//! recovery completes an interrupted repair.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result};
use ocfs2_cli::Interrupt;
use ocfs2_device::{AfterWrites, Device, DeviceOptions, FailingDevice, OverlayDevice, open};
use ocfs2_fsck::Options;
use ocfs2_fsck::plan::plan;
use ocfs2_fsck::repair::commit::commit;
use ocfs2_testing::damage::{Base, Image, Recipe, all};
use ocfs2_testing::{Run, program};
use ocfs2_tests::Yes;
use ocfs2_volume::{Volume, VolumeOptions};

use crate::lab::{lab, shared_out};
use crate::volume::NEW_JOURNAL;

/// Number of repaired volumes that are mounted, each by one of the kernels.
const VOLUMES: usize = 12;

/// Returns recipes from all areas, for volumes that need no cluster.
fn some_of_all() -> Vec<Recipe> {
    let is_local = |base: Base| match base {
        Base::Fixture(name) | Base::Repaired(name) => name.ends_with("-local"),
        Base::Made(options, _) => options.contains(&"local"),
    };
    let wanted = env::var("OCFS2_RECIPE").unwrap_or_default();
    let mut seen = HashSet::new();
    let mut recipes = all();
    recipes.retain(|recipe| {
        is_local(recipe.on) && recipe.code.contains(&wanted) && seen.insert(recipe.code)
    });
    let step = recipes.len().div_ceil(VOLUMES).max(1);
    recipes.into_iter().step_by(step).collect()
}

#[test]
fn repaired_volumes_are_read_and_written_by_the_kernel() -> Result<()> {
    shared_out(&some_of_all(), |lab, recipes| {
        let images: Vec<Image> = recipes.iter().map(Recipe::image).collect();
        for (recipe, image) in recipes.iter().zip(&images) {
            let outcome = Run::new(program("fsck.ocfs2")).arg("-fy").arg(image.path()).output();
            assert_eq!(outcome.status, 1, "{}: {outcome}", recipe.name);
        }
        let mut script = String::new();
        for (letter, recipe) in ('a'..).zip(&recipes) {
            script += &format!(
                "echo 'volume {letter}: {code}'
                mount-volume /dev/vd{letter} /mnt || exit 1
                find /mnt -type f -size -2000k -print0 | xargs -0 cat >/dev/null || exit 1
                ls -laR /mnt >/dev/null || exit 1
                mkdir /mnt/after-the-repair && cd /mnt/after-the-repair || exit 1
                for n in $(seq 40); do echo $n >file-$n || exit 1; done
                dd if=/dev/zero of=large bs=65536 count=32 2>/dev/null || exit 1
                rm file-7 && mv file-8 file-9 && ln file-10 file-11-too || exit 1
                cd / && umount /mnt || exit 1\n",
                code = recipe.code
            );
        }
        let disks: Vec<_> = images.iter().map(|image| image.path().to_owned()).collect();
        let vm = lab.vm().disks(&disks).script(script).allow(NEW_JOURNAL);
        vm.timeout(Duration::from_secs(900)).run()?.assert_ok();
        for (recipe, image) in recipes.iter().zip(&images) {
            let outcome = Run::new(program("fsck.ocfs2")).arg("-fn").arg(image.path()).output();
            assert_eq!(outcome.status, 0, "{}: {outcome}", recipe.name);
        }
        Ok(())
    })
}

#[test]
fn the_kernels_recovery_completes_an_interrupted_repair() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let recipe = all().into_iter().find(|recipe| {
        recipe.code == "INODE_COUNT"
            && matches!(recipe.on, Base::Fixture(name) if name.ends_with("-local"))
    });
    let image = recipe.context("a recipe for INODE_COUNT")?.image();
    let device = open(image.path(), &DeviceOptions { write: true, ..Default::default() })?;
    let volume = Volume::open(Arc::clone(&device), &VolumeOptions::default())?;
    let size = volume.block_size().bytes();
    let overlay = Arc::new(OverlayDevice::new(Arc::clone(&device), size));
    let on: Arc<dyn Device> = overlay.clone();
    let open_it = || Volume::open(Arc::clone(&on), &VolumeOptions::default());
    let plan = plan(&open_it, &Options::default(), &Interrupt::default(), &mut Yes)?;
    assert!(plan.is_changed && plan.findings.iter().all(|planned| planned.is_repaired));
    // The log, the journal's inode, the journal's superblock; nothing is written to its place.
    let failing = FailingDevice::new(Arc::clone(&device), 3, AfterWrites::Fail);
    commit(&volume, &overlay, &failing, &HashSet::new()).expect_err("the device fails");
    device.flush()?;
    drop((volume, device, on, overlay));

    let fsck =
        |options: &str| Run::new(program("fsck.ocfs2")).arg(options).arg(image.path()).output();
    let waiting = fsck("-fn");
    assert!(waiting.stdout.contains("Replaying slot 0's journal"), "{waiting}");
    let before = fs::read(image.path())?;
    lab.vm()
        .disk(image.path())
        .script("mount-volume /dev/vda /mnt && ls -laR /mnt >/dev/null && umount /mnt")
        .run()?
        .assert_ok();
    assert_ne!(before, fs::read(image.path())?);
    fsck("-fn").expect_status(0);
    Ok(())
}
