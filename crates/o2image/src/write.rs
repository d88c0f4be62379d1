//! Writing an image.

use std::io;
use std::ops::Range;

use anyhow::Result;
use ocfs2_cli::{Interrupt, Progress};
use ocfs2_device::Device;
use ocfs2_format::Structure;
use ocfs2_format::feature::Compat;
use ocfs2_format::image::ImageHeader;
use ocfs2_format::superblock::backup_blocks;
use ocfs2_volume::Volume;

use crate::{Blocks, Cleaner, Selected, Sink, qcow2};

/// Bytes that are read at a time.
const PIECE: u64 = 1 << 20;

/// The file format of an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Only the saved blocks, consecutively, with a header that states the time, and a bitmap.
    Packed {
        /// Time of the image, in seconds since 1970.
        time: u32,
    },
    /// Each block in its place, as long as the volume.
    Raw,
    /// A disk image for QEMU.
    Qcow2,
}

/// The source of the blocks to save.
pub struct Source<'d> {
    device: &'d dyn Device,
    block_size: u64,
    cleaner: Option<&'d Cleaner>,
}

impl<'d> Source<'d> {
    /// The device of `volume`, read for the blocks in `selected`.
    fn new(volume: &'d Volume, selected: &'d Selected) -> Self {
        let block_size = volume.block_size().bytes().into();
        Self { device: &**volume.device(), block_size, cleaner: selected.cleaner.as_ref() }
    }
}

impl Source<'_> {
    /// Reads blocks. Those that cannot be read become zeros and are added to `unreadable`.
    pub fn read(&self, range: Range<u64>, unreadable: &mut Unreadable) -> Vec<u8> {
        let first = range.start;
        let mut bytes = self.read_as_it_is(range, unreadable);
        if let Some(cleaner) = self.cleaner {
            cleaner.clean(first, &mut bytes);
        }
        bytes
    }

    /// The first block from `block` on that may hold something else than zeros, as far as that is
    /// known without reading.
    pub fn next_data(&self, block: u64) -> u64 {
        self.device.next_data(block * self.block_size).start / self.block_size
    }

    /// Fills `bytes`, which are zeros, from `offset`, without reading holes.
    fn read_data(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        if end > self.device.size_bytes() {
            // What a short device lacks is no hole.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut data = self.device.next_data(offset);
        while data.start < end && !data.is_empty() {
            let within = |at: u64| (at.min(end) - offset) as usize;
            if let Some(part) = bytes.get_mut(within(data.start)..within(data.end)) {
                self.device.read_at(part, data.start)?;
            }
            data = self.device.next_data(data.end);
        }
        Ok(())
    }

    fn read_as_it_is(&self, range: Range<u64>, unreadable: &mut Unreadable) -> Vec<u8> {
        let size = self.block_size;
        let mut bytes = vec![0; ((range.end - range.start) * size) as usize];
        if self.read_data(&mut bytes, range.start * size).is_ok() {
            return bytes;
        }
        for (block, bytes) in range.zip(bytes.chunks_exact_mut(size as usize)) {
            if self.device.read_at(bytes, block * size).is_err() {
                bytes.fill(0);
                match unreadable.0.last_mut().filter(|last| last.end == block) {
                    Some(last) => last.end = block + 1,
                    None => unreadable.0.push(block..block + 1),
                }
            }
        }
        bytes
    }
}

/// Blocks that could not be read, and are zeros in the image.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Unreadable(pub Vec<Range<u64>>);

/// Writes the selected blocks of `volume` as an image. Returns the blocks that could not be read.
///
/// # Errors
/// If the image cannot be written, or the work is interrupted.
pub fn write_image(
    volume: &Volume,
    selected: &Selected,
    form: Form,
    sink: &mut Sink,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Unreadable> {
    let size = u64::from(volume.block_size().bytes());
    let (source, blocks) = (Source::new(volume, selected), &selected.blocks);
    progress.start("Saving blocks", blocks.count());
    match form {
        Form::Packed { time } => sink.write(&header(volume, blocks, time)?)?,
        Form::Raw => {}
        Form::Qcow2 => {
            let unreadable = qcow2::write(volume, &source, blocks, sink, progress, interrupt)?;
            progress.finish();
            sink.finish()?;
            return Ok(unreadable);
        }
    }
    let mut unreadable = Unreadable::default();
    let mut done = 0;
    for range in blocks.ranges() {
        if form == Form::Raw {
            sink.skip_to(range.start * size)?;
        }
        let mut at = range.start;
        while at < range.end {
            interrupt.check()?;
            // Pieces are aligned, so that no bucket of attributes is split.
            let piece = PIECE / size;
            let end = range.end.min((at / piece + 1) * piece);
            match source.next_data(at) >= end {
                true => sink.skip((end - at) * size)?,
                false => sink.write(&source.read(at..end, &mut unreadable))?,
            }
            done += end - at;
            at = end;
            progress.update(done);
        }
    }
    progress.finish();
    match form {
        Form::Raw | Form::Qcow2 => sink.skip_to(volume.geometry().blocks() * size)?,
        Form::Packed { .. } => write_bitmap(volume, blocks, sink)?,
    }
    sink.finish()?;
    Ok(unreadable)
}

/// The header block. Unused bytes are zero, so that no memory contents of this machine leak.
fn header(volume: &Volume, blocks: &Blocks, time: u32) -> Result<Vec<u8>> {
    let geometry = volume.geometry();
    let mut header = ImageHeader {
        hdr_magic: ImageHeader::MAGIC,
        hdr_timestamp: time,
        hdr_version: 1,
        hdr_fsblkcnt: geometry.blocks(),
        hdr_fsblksz: geometry.block_size.bytes().into(),
        hdr_imgblkcnt: blocks.count(),
        hdr_bmpblksz: ImageHeader::BITMAP_PIECE,
        ..ImageHeader::default()
    };
    for (byte, expected) in header.hdr_magic_desc.iter_mut().zip(ImageHeader::DESCRIPTION) {
        *byte = expected;
    }
    if volume.features().compat.contains(Compat::BACKUP_SB) {
        let backups = backup_blocks(geometry.block_size, geometry.blocks());
        for (place, backup) in header.hdr_superblocks.iter_mut().zip(backups) {
            *place = match blocks.contains(backup.0) {
                true => 1 + blocks.count_below(backup.0),
                false => ImageHeader::NOT_SAVED,
            };
            header.hdr_superblkcnt += 1;
        }
    }
    let mut block = vec![0; geometry.block_size.size()];
    header.encode(&mut block)?;
    Ok(block)
}

/// Writes the bitmap of saved blocks; empty pieces become holes.
fn write_bitmap(volume: &Volume, blocks: &Blocks, sink: &mut Sink) -> Result<()> {
    let size = u64::from(volume.block_size().bytes());
    let start = (blocks.count() + 1) * size;
    let mut piece = vec![0; ImageHeader::BITMAP_PIECE as usize];
    let mut number = 0;
    for range in blocks.ranges() {
        for block in range.clone() {
            let at = block / ImageHeader::BLOCKS_PER_PIECE;
            if at != number {
                write_piece(sink, start, number, &mut piece)?;
                number = at;
            }
            let bit = block % ImageHeader::BLOCKS_PER_PIECE;
            if let Some(byte) = piece.get_mut((bit / 8) as usize) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    write_piece(sink, start, number, &mut piece)?;
    let pieces = volume.geometry().blocks().div_ceil(ImageHeader::BLOCKS_PER_PIECE);
    Ok(sink.skip_to(start + pieces * ImageHeader::BITMAP_PIECE)?)
}

fn write_piece(sink: &mut Sink, start: u64, number: u64, piece: &mut [u8]) -> Result<()> {
    sink.skip_to(start + number * ImageHeader::BITMAP_PIECE)?;
    sink.write(piece)?;
    piece.fill(0);
    Ok(())
}
