//! Measuring the volumes on devices that are faster or slower than this machine's disk.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::fsck::{Volume, others, subjects};
use super::volumes::Tree;
use super::{Options, table};

/// An image that is shown as a device.
pub trait Shown {
    /// The device.
    fn device(&self) -> PathBuf;
    /// Makes sure that the device has to be read.
    fn prepare(&self) -> Result<()>;
}

/// A volume to check on such a device.
pub struct Work {
    pub title: &'static str,
    pub volume: Volume,
    /// The same tree for the checkers of other file systems, if they are measured.
    pub others: Option<Tree>,
}

/// Measures `works` on the devices that `show` makes of their images, and adds the tables. `kind`
/// names the kind of device.
pub fn measure<S: Shown>(
    options: &Options,
    folder: &Path,
    text: &mut String,
    works: &[Work],
    show: impl Fn(&Path) -> Result<S>,
    kind: &str,
) -> Result<()> {
    for Work { title, volume, others: tree } in works {
        let mut images = vec![volume.ocfs2(folder)?];
        if let Some(tree) = tree {
            images.extend([tree.ext4()?, tree.xfs()?]);
        }
        let shown = images.iter().map(|image| show(image)).collect::<Result<Vec<_>>>()?;
        let of = |image: &Path| images.iter().zip(&shown).find(|(it, _)| *it == image);
        let device = |image: &Path| of(image).map_or_else(|| image.into(), |it| it.1.device());
        let mut all = subjects(folder, &images[0], device)?;
        if let Some(tree) = tree {
            all.extend(others(tree, device)?);
        }
        eprintln!("fsck.ocfs2 -fn, {title}, {kind}, {} x", options.runs);
        for _ in 0..options.runs.max(1) {
            for subject in &mut all {
                if let Some((_, shown)) = of(&subject.image) {
                    shown.prepare()?;
                }
                subject.run()?;
            }
        }
        let _ = write!(text, "\n## fsck.ocfs2 -fn, {title}, {kind}\n\n");
        let rows: Vec<_> = all.into_iter().map(|subject| subject.row).collect();
        text.push_str(&table(&rows));
    }
    Ok(())
}
