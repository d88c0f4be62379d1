//! Recognising OCFS version 1, and the header that makes its tools refuse OCFS2.

/// Whether `sector`, the first 512 bytes of a device, is that of an OCFS1 volume.
pub fn is_ocfs1(sector: &[u8]) -> bool {
    let major = sector.get(4..8).is_some_and(|bytes| bytes == [2, 0, 0, 0]);
    major || sector.get(8..).is_some_and(|bytes| bytes.starts_with(b"OracleCFS"))
}

/// Label of an OCFS1 volume, from its first two sectors; `None` if these are cut short.
pub fn label(sectors: &[u8]) -> Option<&[u8]> {
    let label = sectors.get(512 + 0x30..512 + 0x70)?;
    label.split(|byte| *byte == 0).next()
}

/// The text in place of a signature, a mount point, a label and a cluster name.
const TEXT: &[u8; 24] = b"this is an ocfs2 volume\0";
/// Where the text stands, in bytes from the start of the device.
const TEXT_OFFSETS: [usize; 4] = [0x008, 0x088, 512 + 0x30, 512 + 0x84];

/// Fills `bytes`, blocks 0 and 1 of a volume, with what an OCFS1 implementation refuses.
///
/// Two blocks of any block size are long enough; in fewer bytes, what fits is written.
pub fn write_fake_header(bytes: &mut [u8]) {
    bytes.fill(0x02);
    for offset in TEXT_OFFSETS {
        if let Some(place) = bytes.get_mut(offset..offset + TEXT.len()) {
            place.copy_from_slice(TEXT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fake_header_is_not_taken_for_an_ocfs1_volume() {
        let mut blocks = [0; 1024];
        write_fake_header(&mut blocks);
        assert!(!is_ocfs1(&blocks));
        assert_eq!(label(&blocks), Some(&b"this is an ocfs2 volume"[..]));
        assert_eq!(blocks[..8], [2; 8]);
        assert_eq!(blocks[0x20..0x88], [2; 0x68]);
        assert_eq!(blocks[512 + 0x84..][..24], *TEXT);
        write_fake_header(&mut blocks[..100]);
    }

    #[test]
    fn version_or_signature_makes_an_ocfs1_volume() {
        let mut sector = [0; 512];
        assert!(!is_ocfs1(&sector));
        sector[8..17].copy_from_slice(b"OracleCFS");
        assert!(is_ocfs1(&sector));
        sector = [0; 512];
        sector[4] = 2;
        assert!(is_ocfs1(&sector));
        assert!(!is_ocfs1(&[]));
    }
}
