//! Files that can have a volume inside them, but are none: images in other formats, compressed files.

use ocfs2_device::Device;
use ocfs2_format::Structure;
use ocfs2_format::image::ImageHeader;

/// Formats of disk images that `qemu-img` converts, by their first bytes.
const IMAGES: &[(&[u8], &str)] = &[
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "VMDK"),
    (b"vhdxfile", "VHDX"),
    (b"<<< Oracle VM VirtualBox Disk Image >>>", "VDI"),
];

/// Formats of compressed files, by their first bytes, with what unpacks them.
const COMPRESSED: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"\xfd7zXZ\0", "xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
    (b"BZh", "bzip2", "bunzip2"),
];

/// Returns what `device` is, as the end of a sentence, with what makes a volume of it, if it is a
/// file in a format that may contain one, or empty.
pub fn container(device: &dyn Device) -> Option<String> {
    if device.size_bytes() == 0 {
        return Some("it is empty".to_owned());
    }
    let mut start = [0; 512];
    let len = start.len().min(usize::try_from(device.size_bytes()).unwrap_or(usize::MAX));
    device.read_at(start.get_mut(..len)?, 0).ok()?;
    if ImageHeader::decode(&start).is_ok_and(|header| header.verify().is_ok()) {
        let reads = "debugfs.ocfs2 -i reads it, o2image -I installs it";
        return Some(format!("it is a packed image of o2image: {reads}"));
    }
    if let Some((_, name)) = IMAGES.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some(format!(
            "it is a {name} image: `qemu-img convert -O raw IMAGE FILE` makes a file that this \
             program reads"
        ));
    }
    let found = COMPRESSED.iter().find(|(magic, ..)| start.starts_with(magic));
    found.map(|(_, name, unpacks)| format!("it is compressed with {name}: {unpacks} unpacks it"))
}
