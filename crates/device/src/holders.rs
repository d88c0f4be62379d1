//! What on this machine uses a block device: mounts, swap, device mapper, RAID.

use crate::shown;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// One use of a device, or of a disk or partition that overlaps it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Holder {
    /// It is mounted.
    Mounted {
        /// The mounted device, e.g. `/dev/sda1`.
        device: PathBuf,
        /// The mount point.
        mount_point: PathBuf,
    },
    /// It is swap space in use.
    Swap {
        /// The swap device or file.
        device: PathBuf,
    },
    /// It is part of a device made of others (device mapper, RAID).
    Part {
        /// The part.
        device: PathBuf,
        /// The device it is part of, e.g. `/dev/mapper/vg-home`.
        of: PathBuf,
    },
    /// Another process has it exclusively: the device, its image, or a loop device over that image.
    Process {
        /// The one that is taken.
        path: PathBuf,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted { device, mount_point } => {
                write!(f, "{} is mounted on {}", shown::path(device), shown::path(mount_point))
            }
            Self::Swap { device } => write!(f, "{} is used as swap", shown::path(device)),
            Self::Part { device, of } => {
                write!(f, "{} is part of {}", shown::path(device), shown::path(of))
            }
            Self::Process { path } => write!(f, "another process has {}", shown::path(path)),
        }
    }
}

/// Returns who uses the block device or image file `path`, as far as this machine can tell.
///
/// A partition is also used by what uses its whole disk, a disk by what uses one of its partitions,
/// and a file by what uses a loop device over it. Only mounts that this process can see are found,
/// so an empty list does not prove that nobody uses it.
///
/// # Errors
/// `path` cannot be looked at.
pub fn holders(path: &Path) -> io::Result<Vec<Holder>> {
    let metadata = fs::metadata(path)?;
    let system = System::running();
    if metadata.file_type().is_block_device() {
        return Ok(system.holders(Number::from_rdev(metadata.rdev())));
    }
    let path = fs::canonicalize(path)?;
    let mut found: Vec<_> =
        system.loops_over(&path).into_iter().flat_map(|number| system.holders(number)).collect();
    let swap = system.swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    if swap.map(unescape).any(|swap| swap == path) {
        found.push(Holder::Swap { device: path });
    }
    Ok(found)
}

/// Whether a loop device is over the file `path`.
pub fn is_behind_loop(path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|path| !System::running().loops_over(&path).is_empty())
}

/// Returns where the block device `path` itself is mounted, in the order of their names; nothing for
/// what is not a block device.
pub fn mount_points(path: &Path) -> Vec<PathBuf> {
    let Ok(metadata) = fs::metadata(path) else { return Vec::new() };
    if !metadata.file_type().is_block_device() {
        return Vec::new();
    }
    let number = Number::from_rdev(metadata.rdev());
    let system = System::running();
    let of = system.mounts().filter(|(device, _)| *device == number).map(|(_, folder)| folder);
    of.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether the kernel treats the block device `path` as read-only.
pub(super) fn is_read_only(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    let system = System::running();
    metadata.file_type().is_block_device()
        && system.read(Number::from_rdev(metadata.rdev()), "ro").is_some_and(|ro| ro == "1")
}

/// Device number of a block device.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Number {
    pub major: u32,
    pub minor: u32,
}

impl Number {
    pub(super) fn from_rdev(rdev: u64) -> Self {
        Self { major: rustix::fs::major(rdev), minor: rustix::fs::minor(rdev) }
    }

    /// Parses text like `8:1`.
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// The sources of all answers; tests use their own.
pub(super) struct System {
    pub sys: PathBuf,
    mountinfo: String,
    swaps: String,
    number_of: fn(&Path) -> Option<Number>,
}

impl System {
    pub(super) fn running() -> Self {
        let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Self {
            sys: PathBuf::from("/sys"),
            mountinfo: read("/proc/self/mountinfo"),
            swaps: read("/proc/swaps"),
            number_of: |path| {
                let metadata = fs::metadata(path).ok()?;
                let is_block = metadata.file_type().is_block_device();
                is_block.then(|| Number::from_rdev(metadata.rdev()))
            },
        }
    }

    fn dir(&self, number: Number) -> PathBuf {
        self.sys.join(format!("dev/block/{}:{}", number.major, number.minor))
    }

    fn read(&self, number: Number, file: &str) -> Option<String> {
        fs::read_to_string(self.dir(number).join(file)).ok().map(|text| text.trim().to_owned())
    }

    /// The path by which people know a device; `None` if sysfs does not know it.
    pub(super) fn name(&self, number: Number) -> Option<PathBuf> {
        if let Some(name) = self.read(number, "dm/name") {
            return Some(Path::new("/dev/mapper").join(name));
        }
        let dir = fs::canonicalize(self.dir(number)).ok()?;
        // sysfs writes the slash of names like cciss/c0d0 as an exclamation mark.
        Some(Path::new("/dev").join(dir.file_name()?.to_string_lossy().replace('!', "/")))
    }

    fn name_or_number(&self, number: Number) -> PathBuf {
        let Number { major, minor } = number;
        self.name(number).unwrap_or_else(|| format!("device {major}:{minor}").into())
    }

    /// The disk a partition is on; `None` for what is not a partition.
    pub(super) fn disk_of(&self, number: Number) -> Option<Number> {
        let dir = fs::canonicalize(self.dir(number)).ok()?;
        let disk = dir.parent().filter(|_| dir.join("partition").exists())?;
        Number::parse(&fs::read_to_string(disk.join("dev")).ok()?)
    }

    /// The device itself, its disk if it is a partition, and its partitions if it is a disk.
    fn overlapping(&self, number: Number) -> BTreeSet<Number> {
        let mut all = BTreeSet::from([number]);
        all.extend(self.disk_of(number));
        let entries = fs::read_dir(self.dir(number)).into_iter().flatten().flatten();
        let parts = entries.map(|entry| entry.path()).filter(|dir| dir.join("partition").exists());
        let number_in = |dir: PathBuf| Number::parse(&fs::read_to_string(dir.join("dev")).ok()?);
        all.extend(parts.filter_map(number_in));
        all
    }

    fn holders(&self, number: Number) -> Vec<Holder> {
        let devices = self.overlapping(number);
        let mut found = BTreeSet::new();
        for (device, mount_point) in self.mounts() {
            if devices.contains(&device) {
                found.insert(Holder::Mounted { device: self.name_or_number(device), mount_point });
            }
        }
        let swaps = self.swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        for device in swaps.filter_map(|path| (self.number_of)(&unescape(path))) {
            if devices.contains(&device) {
                found.insert(Holder::Swap { device: self.name_or_number(device) });
            }
        }
        for device in devices {
            let holders = fs::read_dir(self.dir(device).join("holders"));
            for of in holders.into_iter().flatten().flatten() {
                let number = fs::read_to_string(of.path().join("dev"));
                let of = match number.ok().and_then(|text| Number::parse(&text)) {
                    Some(number) => self.name_or_number(number),
                    None => Path::new("/dev").join(of.file_name()),
                };
                found.insert(Holder::Part { device: self.name_or_number(device), of });
            }
        }
        found.into_iter().collect()
    }

    /// The mounted devices and their mount points. The device number in the table is that of the
    /// file system, which btrfs makes up, so the source device is returned as well.
    fn mounts(&self) -> impl Iterator<Item = (Number, PathBuf)> + '_ {
        self.mountinfo.lines().flat_map(|line| {
            let (fields, tail) = line.split_once(" - ").unwrap_or((line, ""));
            let mut fields = fields.split(' ');
            let number = fields.nth(2).and_then(Number::parse);
            let mount_point = fields.nth(1).map(unescape).unwrap_or_default();
            let source = tail.split(' ').nth(1).map(unescape);
            let source = source.filter(|path| path.is_absolute());
            let source = source.and_then(|path| (self.number_of)(&path));
            let both = number.into_iter().chain(source);
            both.map(move |number| (number, mount_point.clone()))
        })
    }

    /// Loop devices over the file `path`, whatever name they were created with.
    pub(super) fn loops_over(&self, path: &Path) -> Vec<Number> {
        let entries = fs::read_dir(self.sys.join("block")).into_iter().flatten().flatten();
        let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        let own = identity(path);
        let over = |dir: &Path| {
            let file = backing_file(dir)?;
            if file != path && (own.is_none() || identity(&file) != own) {
                return None;
            }
            Number::parse(&fs::read_to_string(dir.join("dev")).ok()?)
        };
        entries.filter_map(|entry| over(&entry.path())).collect()
    }

    /// All devices that a device consists of, down to the disks: itself, its disk if it is a
    /// partition, and those below it if it is made of others (device mapper, RAID).
    pub(super) fn made_of(&self, number: Number) -> BTreeSet<Number> {
        let mut all = BTreeSet::new();
        let mut open = vec![number];
        while let Some(number) = open.pop() {
            if !all.insert(number) {
                continue;
            }
            open.extend(self.disk_of(number));
            let slaves = fs::read_dir(self.dir(number).join("slaves"));
            let slaves = slaves.into_iter().flatten().flatten();
            let number_in =
                |dir: PathBuf| Number::parse(&fs::read_to_string(dir.join("dev")).ok()?);
            open.extend(slaves.filter_map(|entry| number_in(entry.path())));
        }
        all
    }

    /// The image a loop device is over; `None` for other devices.
    pub(super) fn image_of(&self, number: Number) -> Option<PathBuf> {
        backing_file(&self.dir(number))
    }
}

/// The image of the loop device with this folder in sysfs.
fn backing_file(dir: &Path) -> Option<PathBuf> {
    let file = fs::read(dir.join("loop/backing_file")).ok()?;
    let file = file.strip_suffix(b"\n").unwrap_or(&file);
    Some(Path::new(OsStr::from_bytes(file)).to_owned())
}

/// Undoes the octal escapes of the tables in /proc (`\040` is a blank).
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *first == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const MOUNTINFO: &str = "\
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:41 /sub /data\\040disk rw - btrfs /dev/sdb rw
31 22 253:0 / /srv rw shared:2 master:1 - ocfs2 /dev/mapper/vg-ovs rw
32 22 0:5 / /proc rw - proc proc rw
";
    const SWAPS: &str = "Filename Type Size Used Priority\n/dev/sda3 partition 1 0 -2\n";

    /// A tree like that of sysfs: sda with sda1 (part of dm-0), sda2 (root), sda3 (swap); sdb
    /// (btrfs); loop0 over a file, with loop0p1 (all of dm-1).
    pub fn system(root: &Path) -> System {
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (dir, number) in [
            ("devices/sda", "8:0"),
            ("devices/sda/sda1", "8:1"),
            ("devices/sda/sda2", "8:2"),
            ("devices/sda/sda3", "8:3"),
            ("devices/sdb", "8:16"),
            ("devices/cciss!c0d0", "104:0"),
            ("devices/dm-0", "253:0"),
            ("devices/dm-1", "253:1"),
            ("block/loop0", "7:0"),
            ("block/loop0/loop0p1", "259:0"),
        ] {
            write(&format!("{dir}/dev"), &format!("{number}\n"));
            if dir.contains("sda/") || dir.contains("loop0/") {
                write(&format!("{dir}/partition"), "1\n");
            }
            fs::create_dir_all(root.join("dev/block")).unwrap();
            symlink(root.join(dir), root.join("dev/block").join(number)).unwrap();
        }
        write("devices/dm-0/dm/name", "vg-ovs\n");
        write("block/loop0/loop/backing_file", "/images/with blank.img\n");
        fs::create_dir_all(root.join("devices/dm-1/slaves")).unwrap();
        symlink(root.join("block/loop0/loop0p1"), root.join("devices/dm-1/slaves/loop0p1"))
            .unwrap();
        fs::create_dir_all(root.join("devices/sda/sda1/holders")).unwrap();
        symlink(root.join("devices/dm-0"), root.join("devices/sda/sda1/holders/dm-0")).unwrap();
        System {
            sys: root.to_owned(),
            mountinfo: MOUNTINFO.to_owned(),
            swaps: SWAPS.to_owned(),
            number_of: |path| match path.to_str()? {
                "/dev/sda3" => Number::parse("8:3"),
                "/dev/sdb" => Number::parse("8:16"),
                _ => None,
            },
        }
    }

    fn of(number: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let holders = system(root.path()).holders(Number::parse(number).unwrap());
        holders.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_partition_is_held_by_its_own_users() {
        assert_eq!(of("8:1"), ["/dev/sda1 is part of /dev/mapper/vg-ovs"]);
        assert_eq!(of("8:2"), ["/dev/sda2 is mounted on /"]);
        assert_eq!(of("8:3"), ["/dev/sda3 is used as swap"]);
        assert_eq!(of("253:0"), ["/dev/mapper/vg-ovs is mounted on /srv"]);
        assert_eq!(of("7:0"), [""; 0]);
    }

    #[test]
    fn a_disk_is_held_by_the_users_of_its_partitions() {
        assert_eq!(
            of("8:0"),
            [
                "/dev/sda2 is mounted on /",
                "/dev/sda3 is used as swap",
                "/dev/sda1 is part of /dev/mapper/vg-ovs",
            ]
        );
    }

    #[test]
    fn a_file_system_with_a_number_of_its_own_is_found_by_its_source() {
        assert_eq!(of("8:16"), ["/dev/sdb is mounted on /data disk"]);
    }

    #[test]
    fn names_and_loop_devices_are_those_people_know() {
        let root = tempfile::tempdir().unwrap();
        let system = system(root.path());
        let name = |number| system.name(Number::parse(number).unwrap());
        assert_eq!(name("104:0").as_deref(), Some(Path::new("/dev/cciss/c0d0")));
        assert_eq!(name("1:2"), None);
        assert_eq!(
            system.loops_over(Path::new("/images/with blank.img")),
            [Number::parse("7:0").unwrap()]
        );
        assert!(system.loops_over(Path::new("/images/with")).is_empty());
    }

    #[test]
    fn a_device_is_made_of_the_image_below_its_partition() {
        let root = tempfile::tempdir().unwrap();
        let system = system(root.path());
        let number = |text| Number::parse(text).unwrap();
        for (device, of) in [
            ("253:1", ["7:0", "253:1", "259:0"].as_slice()),
            ("259:0", &["7:0", "259:0"]),
            ("253:0", &["253:0"]),
        ] {
            let made_of = system.made_of(number(device));
            assert_eq!(made_of, of.iter().copied().map(number).collect(), "{device}");
            let images: Vec<_> = made_of.iter().filter_map(|it| system.image_of(*it)).collect();
            let expected = Path::new("/images/with blank.img");
            assert_eq!(images.first().map(PathBuf::as_path), (of.len() > 1).then_some(expected));
        }
    }

    #[test]
    fn octal_escapes_are_undone_and_nothing_else() {
        assert_eq!(unescape(r"a\040b\134c\09\"), Path::new(r"a b\c\09\"));
    }
}
