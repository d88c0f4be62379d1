//! Detection of OCFS2 volumes by their signature alone.

use std::io;

use ocfs2_device::Device;
use ocfs2_format::dinode::Dinode;
use ocfs2_format::superblock::{SUPERBLOCK_SIGNATURE, SuperBlock};
use ocfs2_format::{BlockSize, Structure};

/// Returns the superblock of `device`, however damaged the rest of the volume is; `None` if there
/// is none.
///
/// As in `mounted.ocfs2` of the C tools and in blkid, the first of the four places with the
/// signature counts. A superblock that states the block size of its place takes precedence.
///
/// # Errors
/// If no superblock was found and a place within the device cannot be read.
pub fn detect(device: &dyn Device) -> io::Result<Option<SuperBlock>> {
    let mut found = None;
    let mut failed = None;
    for block_size in BlockSize::ALL {
        let mut head = [0; 512];
        match device.read_at(&mut head, 2 * u64::from(block_size.bytes())) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(err) => {
                failed = Some(err);
                continue;
            }
        }
        let (Ok(dinode), Ok(sb)) = (Dinode::decode(&head), SuperBlock::of_block(&head)) else {
            continue;
        };
        if dinode.i_signature != SUPERBLOCK_SIGNATURE {
            continue;
        }
        if sb.block_size() == Some(block_size) {
            return Ok(Some(sb));
        }
        found.get_or_insert(sb);
    }
    match (found, failed) {
        (None, Some(err)) => Err(err),
        (found, _) => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_device::MemoryDevice;

    use super::*;

    fn signature(device: &MemoryDevice, offset: u64, bits: u32) {
        device.write_at(&SUPERBLOCK_SIGNATURE, offset).unwrap();
        device.write_at(&bits.to_le_bytes(), offset + 0xf8).unwrap();
    }

    #[test]
    fn the_superblock_that_states_its_own_place_is_taken() {
        let device = MemoryDevice::new(1 << 20);
        assert_eq!(detect(&device).unwrap(), None);
        signature(&device, 1024, 12);
        assert_eq!(detect(&device).unwrap().unwrap().s_blocksize_bits, 12);
        signature(&device, 4096, 11);
        assert_eq!(detect(&device).unwrap().unwrap().s_blocksize_bits, 11);
    }

    #[test]
    fn a_device_too_small_for_a_superblock_has_none() {
        assert_eq!(detect(&MemoryDevice::new(100)).unwrap(), None);
        let device = MemoryDevice::new(1536);
        signature(&device, 1024, 9);
        assert!(detect(&device).unwrap().is_some());
    }
}
