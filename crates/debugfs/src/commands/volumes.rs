//! Commands about the volume as a whole.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_volume::open::find_superblock;
use ocfs2_volume::{Inode, SuperblockAt, VolumeOptions};

use super::dirs::list;
use crate::error::{Explain, Failure};
use crate::screen::Screen;
use crate::shell::{OpenOptions, Shell};
use crate::show::inode;
use crate::volume::Fs;
use crate::words::number_of;

/// `open`
pub(super) fn open(shell: &mut Shell, words: &[Vec<u8>], _: &mut Screen) -> Result<(), Failure> {
    let mut options = OpenOptions::default();
    let mut device = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || number_of::<u64>(words.next().ok_or(Failure::Usage)?);
        match word.as_slice() {
            b"-s" => options.backup = Some(u8::try_from(value()?).unwrap_or(u8::MAX)),
            b"-P" => options.partition = Some(u32::try_from(value()?).unwrap_or(u32::MAX)),
            b"-i" => options.is_image = true,
            b"-w" => options.write = true,
            b"-c" => options.any_damage = true,
            word => device = Some(Path::new(std::ffi::OsStr::from_bytes(word))),
        }
    }
    let opened = shell.open(device.ok_or(Failure::Usage)?, &options);
    opened.map_err(|err| Failure::Failed(ocfs2_cli::causes(&err)))
}

/// `close`
pub(super) fn close(shell: &mut Shell, _: &[Vec<u8>], _: &mut Screen) -> Result<(), Failure> {
    match shell.close() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::NoDevice),
        Err(err) => Err(Failure::Failed(ocfs2_cli::causes(&err))),
    }
}

/// `curdev`
pub(super) fn curdev(shell: &mut Shell, _: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let device = shell.device();
    let shown = device.map_or_else(|| "No device".to_owned(), ocfs2_cli::shown);
    out.row(
        "device",
        |it| match shell.device() {
            Some(device) => it.text("device", device.as_os_str().as_bytes()),
            None => it,
        },
        format_args!("{shown}"),
    )?;
    Ok(())
}

/// `controld`
pub(super) fn controld(_: &mut Shell, words: &[Vec<u8>], _: &mut Screen) -> Result<(), Failure> {
    let text = match words.first() {
        // It no longer exists, since the kernel talks to the lock managers itself.
        Some(word) if word == b"dump" => {
            "Unable to access cluster service while obtaining the debug buffer"
        }
        Some(_) => "Invalid operation",
        None => "Operation required",
    };
    Err(Failure::Failed(text.to_owned()))
}

/// `stats`
pub(super) fn stats(shell: &mut Shell, words: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let mut only_head = false;
    let mut backup = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"-h" => only_head = true,
            b"-s" => {
                let value: u64 = number_of(words.next().ok_or(Failure::Usage)?)?;
                backup = Some(u8::try_from(value).unwrap_or(u8::MAX));
            }
            _ => return Err(Failure::Usage),
        }
    }
    let block_size = Some(fs.volume.block_size());
    let found = match backup {
        None => fs.volume.found_superblock().clone(),
        Some(number) => {
            let options = VolumeOptions {
                superblock: SuperblockAt::Backup(number),
                block_size,
                any_checksum: true,
                ..Default::default()
            };
            let found = find_superblock(fs.volume.device(), &options);
            found.map_err(|err| {
                Failure::Failed(format!(
                    "Backup superblock not found while reading backup superblock: {err}"
                ))
            })?
        }
    };
    ocfs2_show::superblock(out, &found.superblock)?;
    if only_head {
        out.structure(&found.block, fs.has_checks())?;
        return Ok(());
    }
    let inode = Inode::decode(found.blkno, found.block).explain(String::new)?;
    Ok(inode::head(out, &inode, shell.people(), fs.has_checks())?)
}

/// `stat_sysdir`
pub(super) fn stat_sysdir(
    shell: &mut Shell,
    _: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    writeln!(out, "Device: {}", ocfs2_cli::shown(&fs.device))?;
    writeln!(out, "  superblock")?;
    stats(shell, &[], out)?;
    let fs = shell.fs()?;
    let root = fs.volume.superblock().s_system_dir_blkno;
    let dir = fs.inode(root).explain(|| format!("while reading inode {root}"))?;
    writeln!(out, "\n  //")?;
    inode::head(out, &dir, shell.people(), fs.has_checks())?;
    inode::contents(out, fs, &dir)?;
    let mut is_whole = is_listed(list(fs, root, true, out))?;
    let mut entries = Vec::new();
    fs.dir_blocks::<Failure>(&dir, |block| {
        entries.extend(block.entries().filter(|entry| !entry.is_dot()));
        Ok(true)
    })?;
    for entry in entries {
        let blkno = entry.inode;
        out.record("system_file", |it| it.text("name", &entry.name).put("inode", blkno.0))?;
        writeln!(out, "\n  //{}", ocfs2_cli::terminal(&entry.name))?;
        let file = fs.inode(blkno).explain(|| format!("while reading inode {blkno}"))?;
        inode::head(out, &file, shell.people(), fs.has_checks())?;
        inode::contents(out, fs, &file)?;
        if file.is_dir() {
            is_whole &= is_listed(list(fs, blkno, true, out))?;
        }
        if entry.name == b"slot_map" {
            slots(fs, out)?;
        }
    }
    if is_whole { Ok(()) } else { Err(Failure::Said) }
}

/// Whether all of a directory was listed; what was reported does not end the command.
fn is_listed(listed: Result<(), Failure>) -> Result<bool, Failure> {
    match listed {
        Ok(()) => Ok(true),
        Err(Failure::Said) => Ok(false),
        Err(err) => Err(err),
    }
}

/// `slotmap`
pub(super) fn slotmap(shell: &mut Shell, _: &[Vec<u8>], out: &mut Screen) -> Result<(), Failure> {
    slots(shell.fs()?, out)
}

fn slots(fs: &Fs, out: &mut Screen) -> Result<(), Failure> {
    let taken = fs.volume.taken_slots().explain(|| "while reading the slot map".to_owned())?;
    writeln!(out, "\tSlot#   Node#")?;
    for slot in taken {
        out.row(
            "slot",
            |it| it.put("slot", slot.slot).put("node", slot.node),
            format_args!("\t{:>5}   {:>5}", slot.slot, slot.node),
        )?;
    }
    Ok(())
}
