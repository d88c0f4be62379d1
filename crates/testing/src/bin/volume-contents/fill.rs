//! Filling a volume. What is made depends only on the arguments and the block size; times and
//! places differ.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::fs::{FallocateFlags, FileType, IFlags, Mode, XattrFlags};

/// Makes the files of each kind in `kinds`, such as `names` or `folders=1500`.
pub fn fill(folder: &Path, cluster_size: u64, kinds: &[&str]) -> Result<()> {
    fs::create_dir_all(folder)?;
    let block_size = rustix::fs::statvfs(folder)?.f_bsize;
    let volume = Filler { root: folder.to_owned(), block_size, cluster_size };
    for kind in kinds {
        let (kind, count) = kind.split_once('=').unwrap_or((kind, "0"));
        let count: u64 = count.parse().with_context(|| format!("count of {kind}"))?;
        let made = match kind {
            "many" => volume.many(count),
            "sizes" => volume.sizes(),
            "names" => volume.names(),
            "utf8" => volume.utf8(count),
            "special" => volume.special(),
            "meta" => volume.meta(),
            "folders" => volume.folders(count),
            "sparse" => volume.sparse(),
            "extents" => volume.extents(count),
            "xattrs" => volume.xattrs(),
            "xattr-churn" => volume.xattr_churn(),
            "reflinks" => volume.reflinks(),
            "owners" => volume.owners(),
            "disks" => volume.disks(),
            "scattered" => volume.scattered(count),
            "thinned" => volume.thinned(count),
            "aged" => volume.aged(count),
            _ => bail!("there is no kind {kind}"),
        };
        made.with_context(|| kind.to_owned())?;
    }
    Ok(())
}

struct Filler {
    root: PathBuf,
    block_size: u64,
    cluster_size: u64,
}

impl Filler {
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Makes small files, empty files, folders and links in one folder.
    fn many(&self, count: u64) -> Result<()> {
        let many = self.folder("many")?;
        for number in 0..count {
            let path = many.join(format!("number-{number}"));
            match number % 10 {
                0 => fs::create_dir(path)?,
                1 => symlink(format!("number-{}", number - 1), path)?,
                2 => fs::write(path, "")?,
                3 => fs::hard_link(many.join(format!("number-{}", number - 1)), path)?,
                // Up to a few clusters of 4 KiB, or one of 1 MiB.
                _ => fs::write(path, text(number, number * 97 % 9000))?,
            }
        }
        Ok(())
    }

    /// Makes files whose lengths are close to each limit: the room in an inode, a block, a cluster.
    fn sizes(&self) -> Result<()> {
        let folder = self.folder("sizes")?;
        let (block, cluster) = (self.block_size, self.cluster_size);
        let inline = block.saturating_sub(0xc8);
        let mut sizes = vec![0, 1, 100, 255, 256, 4095, 4096, 4097, 65536, 100_000, 1_048_577];
        for size in [block, cluster, inline, inline.saturating_sub(256)] {
            sizes.extend([size - 1, size, size + 1]);
        }
        sizes.sort_unstable();
        sizes.dedup();
        for size in sizes {
            fs::write(folder.join(format!("bytes-{size}")), text(size, size))?;
        }
        // One file outgrows its inode, another one is truncated.
        let mut file = File::create_new(folder.join("appended"))?;
        for number in 0..40 {
            file.write_all(&text(number, 200))?;
        }
        let file = File::create_new(folder.join("cut"))?;
        file.write_all_at(&text(1, 400_000), 0)?;
        file.sync_all()?;
        file.set_len(70_000)?;
        Ok(())
    }

    /// Makes names with bytes from 0x80 on: names of files in one folder, and of attributes in
    /// buckets.
    fn utf8(&self, count: u64) -> Result<()> {
        const WORDS: [&str; 6] = ["größe", "日本語", "Ελλάδα", "Москва", "ñandú-ÿ", "🦀"];
        let folder = self.folder("utf8")?;
        for number in 0..count {
            let word = WORDS[number as usize % WORDS.len()];
            fs::write(folder.join(format!("{word}-{number}")), word)?;
        }
        for number in (0..count).step_by(7) {
            let word = WORDS[number as usize % WORDS.len()];
            fs::rename(
                folder.join(format!("{word}-{number}")),
                folder.join(format!("{number}-umbenannt-é-{word}")),
            )?;
        }
        let path = folder.join("attribute");
        File::create_new(&path)?;
        for number in 0..100 {
            set(&path, &format!("user.größe-{number}"), &text(number, 60))?;
        }
        Ok(())
    }

    /// Makes hard links, and names that need quoting.
    fn names(&self) -> Result<()> {
        let folder = self.folder("names")?;
        fs::write(folder.join("linked"), "three names\n")?;
        fs::hard_link(folder.join("linked"), folder.join("linked-too"))?;
        fs::hard_link(folder.join("linked"), self.root.join("linked-from-above"))?;
        let longest = "n".repeat(255);
        let names = [
            "with a space",
            "-dash",
            ".hidden",
            "quo'te\"s",
            "back\\slash",
            "tab\tin it",
            "grüße-日本語",
            &longest,
        ];
        for name in names {
            fs::write(folder.join(name), name)?;
        }
        let deep = folder.join("1/2/3/4/5/6/7/8/9");
        fs::create_dir_all(&deep)?;
        fs::write(deep.join("file"), "deep\n")?;
        // Removed names leave room in the blocks of their folder.
        let renamed = self.folder("renamed")?;
        for number in 0..60 {
            let name = renamed.join(format!("old-{number}"));
            fs::write(&name, text(number, 50))?;
            match number % 3 {
                0 => fs::rename(&name, renamed.join(format!("a-longer-name-{number}")))?,
                1 => fs::remove_file(&name)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes links inside and outside the inode, devices, a pipe and a socket.
    fn special(&self) -> Result<()> {
        let folder = self.folder("special")?;
        symlink("short", folder.join("fast"))?;
        symlink("t".repeat(900) + "/target", folder.join("slow"))?;
        symlink("t".repeat(4000), folder.join("slow-and-long"))?;
        symlink("../names/linked", folder.join("to-a-file"))?;
        let nodes = [
            ("char", FileType::CharacterDevice, (1, 3)),
            ("block", FileType::BlockDevice, (254, 70_000)),
            ("fifo", FileType::Fifo, (0, 0)),
            ("socket", FileType::Socket, (0, 0)),
        ];
        for (name, kind, (major, minor)) in nodes {
            let device = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(rustix::fs::CWD, folder.join(name), kind, Mode::RUSR, device)?;
        }
        Ok(())
    }

    /// Sets modes, owners, times and flags.
    fn meta(&self) -> Result<()> {
        let folder = self.folder("meta")?;
        for mode in [0, 0o400, 0o644, 0o755, 0o4755, 0o2711, 0o1777] {
            let path = folder.join(format!("mode-{mode:o}"));
            fs::write(&path, "")?;
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        for mode in [0o1777, 0o2755] {
            let path = folder.join(format!("folder-{mode:o}"));
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        for owner in [1000, 1001, 65534, 4_000_000_000] {
            let path = folder.join(format!("owner-{owner}"));
            fs::write(&path, "mine")?;
            chown(path, Some(owner), Some(owner / 2))?;
        }
        let epoch = SystemTime::UNIX_EPOCH;
        let times = [
            ("before-1970", epoch - Duration::from_millis(500)),
            ("nanoseconds", epoch + Duration::new(1_000_000_000, 123_456_789)),
            ("year-2040", epoch + Duration::from_secs(2_208_988_800)),
        ];
        for (name, time) in times {
            let file = File::create_new(folder.join(name))?;
            file.set_modified(time)?;
        }
        for (name, flag) in [("append", APPEND), ("noatime", NOATIME), ("immutable", IMMUTABLE)] {
            let file = File::create_new(folder.join(name))?;
            file.write_all_at(name.as_bytes(), 0)?;
            rustix::fs::ioctl_setflags(&file, IFlags::from_bits_retain(flag))?;
        }
        Ok(())
    }

    /// Makes folders in an inode, in a block and with an index; thins out some and empties others.
    fn folders(&self, count: u64) -> Result<()> {
        let folder = self.folder("dirs")?;
        let fill = |name: &str, count: u64| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::create_dir(&path)?;
            for number in 0..count {
                File::create_new(path.join(format!("entry-{number}-of-{name}")))?;
            }
            Ok(path)
        };
        fill("empty", 0)?;
        fill("inline", 3)?;
        fill("one-block", 40)?;
        fill("large", count)?;
        let thinned = fill("thinned", count)?;
        for number in (0..count).filter(|number| number % 3 > 0) {
            fs::remove_file(thinned.join(format!("entry-{number}-of-thinned")))?;
        }
        let emptied = fill("emptied", 400)?;
        for number in 0..400 {
            fs::remove_file(emptied.join(format!("entry-{number}-of-emptied")))?;
        }
        Ok(())
    }

    /// Makes holes, clusters that are allocated but not written, and clusters past the end of the
    /// file.
    fn sparse(&self) -> Result<()> {
        let folder = self.folder("sparse")?;
        let new = |name: &str| File::create_new(folder.join(name));
        new("hole-in-front")?.write_all_at(b"after the hole\n", 1_000_000)?;
        let file = new("hole-inside")?;
        file.write_all_at(&text(1, 12_000), 0)?;
        file.write_all_at(&text(2, 12_000), 4_000_000)?;
        let file = new("hole-at-the-end")?;
        file.write_all_at(&text(3, 2_000), 0)?;
        file.set_len(3_000_000)?;
        new("only-a-hole")?.set_len(5_000_000_000)?;

        let file = new("unwritten")?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 2 << 20)?;
        file.write_all_at(&text(4, 9_000), 50 * 4096)?;
        let file = new("beyond-eof")?;
        file.write_all_at(b"start\n", 0)?;
        rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 1 << 20)?;
        let file = new("punched")?;
        let length = 8 * self.cluster_size.max(16_384);
        file.write_all_at(&text(5, length), 0)?;
        file.sync_all()?;
        punch(&file, length / 4 + 1000, length / 2)?;
        Ok(())
    }

    /// Makes a file of `count` extents, and a copy that shares every other one.
    fn extents(&self, count: u64) -> Result<()> {
        let folder = self.folder("extents")?;
        let step = 2 * self.cluster_size;
        let file = File::create_new(folder.join("tree"))?;
        for number in 0..count {
            let length = self.cluster_size;
            rustix::fs::fallocate(&file, FallocateFlags::empty(), number * step, length)?;
        }
        for number in [0, 1, 7, count / 2, count - 1] {
            file.write_all_at(format!("extent {number}\n").as_bytes(), number * step)?;
        }
        file.sync_all()?;
        let copy = share(&file, &folder.join("tree-shared"))?;
        for number in (1..count * 2 / 3).step_by(2) {
            copy.write_all_at(format!("own extent {number}\n").as_bytes(), number * step)?;
        }
        // Every third extent is removed, so that leaves of the tree become empty.
        let thinned = share(&file, &folder.join("tree-thinned"))?;
        for number in (0..count).step_by(3) {
            punch(&thinned, number * step, step)?;
        }
        Ok(())
    }

    /// Makes attributes in the inode, in a block, in buckets, with values outside; and access
    /// lists.
    fn xattrs(&self) -> Result<()> {
        let folder = self.folder("xattrs")?;
        let file = |name: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, name)?;
            Ok(path)
        };
        let path = file("in-the-inode")?;
        set(&path, "user.small", b"value")?;
        set(&path, "user.empty", b"")?;
        set(&path, "trusted.binary", &[0, 0xff, 0x10])?;
        let path = file("in-a-block")?;
        for number in 0..15 {
            set(&path, &format!("user.name{number}"), &text(number, 60))?;
        }
        let path = file("in-buckets")?;
        for number in 0..150 {
            set(&path, &format!("user.bucket-entry-{number}"), &text(number, 50))?;
        }
        let path = file("outside")?;
        set(&path, "user.large", &text(1, 9_000))?;
        set(&path, "user.larger", &text(2, 45_000))?;
        let path = folder.join("of-a-folder");
        fs::create_dir(&path)?;
        set(&path, "user.on-folder", b"yes")?;
        let path = folder.join("of-a-link");
        symlink("nowhere", &path)?;
        rustix::fs::lsetxattr(&path, "trusted.on-link", b"yes", XattrFlags::empty())?;

        let path = file("access-list")?;
        let access = [(OWNER, 6, NOBODY), (USER, 6, 1000), (OWNING_GROUP, 4, NOBODY)];
        let rest = [(GROUP, 4, 1001), (MASK, 6, NOBODY), (OTHERS, 4, NOBODY)];
        set(&path, "system.posix_acl_access", &access_list(&[access, rest].concat()))?;
        let path = folder.join("default-access-list");
        fs::create_dir(&path)?;
        let default = [(OWNER, 7, NOBODY), (USER, 7, 1000), (OWNING_GROUP, 5, NOBODY)];
        let rest = [(MASK, 7, NOBODY), (OTHERS, 5, NOBODY)];
        let default: Vec<_> = default.into_iter().chain(rest).collect();
        set(&path, "system.posix_acl_default", &access_list(&default))?;
        fs::write(path.join("inherits"), "")?;
        Ok(())
    }

    /// Changes the sizes of attributes and removes some, which leaves gaps in their buckets.
    fn xattr_churn(&self) -> Result<()> {
        let path = self.root.join("xattrs-replaced-and-removed");
        File::create_new(&path)?;
        for number in 0..60 {
            set(&path, &format!("user.{number}"), &text(number, 40 + number * 10))?;
        }
        for number in 0..60 {
            if number % 2 == 0 {
                set(&path, &format!("user.{number}"), &text(number, 700 - number * 10))?;
            } else {
                rustix::fs::removexattr(&path, format!("user.{number}"))?;
            }
        }
        Ok(())
    }

    /// Makes files that share clusters, and some that no longer do.
    fn reflinks(&self) -> Result<()> {
        let folder = self.folder("reflinks")?;
        let path = |name: &str| folder.join(name);
        let cluster = self.cluster_size.max(4096);
        let origin = new_synced(&path("origin"), &text(1, 16 * cluster + 1234))?;
        let rewritten = share(&origin, &path("rewritten-here-and-there"))?;
        for at in [0, 2, 5, 6, 7, 15] {
            rewritten.write_all_at(format!("rewritten {at}\n").as_bytes(), at * cluster + 100)?;
        }
        share(&origin, &path("cut"))?.set_len(7 * cluster + 10)?;
        let longer = share(&origin, &path("longer"))?;
        longer.write_all_at(&text(2, 3 * cluster), 16 * cluster + 1234)?;
        punch(&share(&origin, &path("punched"))?, 3 * cluster, 4 * cluster)?;
        for _ in 0..2 {
            share(&origin, &path("gone-again"))?;
            fs::remove_file(path("gone-again"))?;
        }
        let parent = new_synced(&path("removed"), &text(3, 9 * cluster))?;
        share(&parent, &path("survivor"))?;
        fs::remove_file(path("removed"))?;
        let small = new_synced(&path("inline"), b"small\n")?;
        share(&small, &path("inline-shared"))?;
        Ok(())
    }

    /// Makes files of several users, for quotas to count.
    fn owners(&self) -> Result<()> {
        let folder = self.folder("owners")?;
        for user in [2001, 2002, 2003] {
            let home = folder.join(format!("of-{user}"));
            fs::create_dir(&home)?;
            lchown(&home, Some(user), Some(user + 1000))?;
            for number in 1..6_u32 {
                let path = home.join(format!("file-{number}"));
                fs::write(&path, text(number.into(), u64::from(user * number)))?;
                chown(path, Some(user), Some(user + 1000))?;
            }
        }
        Ok(())
    }

    /// Makes disks of virtual machines: sparse, preallocated, full, and clones of them.
    fn disks(&self) -> Result<()> {
        let folder = self.folder("disks")?;
        let path = |name: &str| folder.join(name);
        let megabyte = 1 << 20;
        let sparse = File::create_new(path("sparse.img"))?;
        sparse.set_len(3 << 30)?;
        for at in [0, 1, 100, 1000, 3071] {
            sparse.write_all_at(format!("sector at {at} MiB\n").as_bytes(), at * megabyte)?;
        }
        let preallocated = File::create_new(path("preallocated.img"))?;
        rustix::fs::fallocate(&preallocated, FallocateFlags::empty(), 0, 40 * megabyte)?;
        preallocated.write_all_at(b"boot sector\n", 0)?;
        let full = new_synced(&path("full.img"), &text(1, 12_345_678))?;
        sparse.sync_all()?;
        let clone = share(&full, &path("clone-1.img"))?;
        for at in [3, 9] {
            clone.write_all_at(b"of the clone itself\n", at * megabyte)?;
        }
        punch(&share(&full, &path("clone-2.img"))?, 4 * megabyte, 2 * megabyte)?;
        share(&full, &path("clone-3.img"))?.set_len(5_000_000)?;
        share(&full, &path("clone-4.img"))?;
        fs::remove_file(path("clone-4.img"))?;
        let clone = share(&sparse, &path("sparse-clone.img"))?;
        clone.write_all_at(b"of the clone itself\n", 50 * megabyte)?;
        for number in 1..=20 {
            fs::write(path(&format!("vm-{number}.cfg")), format!("vm {number}\n"))?;
        }
        Ok(())
    }

    /// Makes `count` files in 50 folders with indexes, removes half of them in an order without a
    /// pattern, and adds to others, which then go into the gaps, or are shared.
    fn aged(&self, count: u64) -> Result<()> {
        let folder = self.folder("aged")?;
        (0..50).try_for_each(|number| fs::create_dir(folder.join(number.to_string())))?;
        let path = |number: u64| {
            let name = format!("file-{number}-{}", "x".repeat(number as usize * 7 % 60));
            folder.join((number % 50).to_string()).join(name)
        };
        for number in 0..count {
            fs::write(path(number), text(number, number * number * 37 % 60_000))?;
        }
        let mut order: Vec<u64> = (0..count).collect();
        order.sort_by_key(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (gone, kept) = order.split_at(order.len() / 2);
        gone.iter().try_for_each(|number| fs::remove_file(path(*number)))?;
        for number in kept.iter().step_by(3) {
            let mut file = OpenOptions::new().append(true).open(path(*number))?;
            file.write_all(&text(*number, 40_000))?;
        }
        for number in kept.iter().step_by(10) {
            let file = File::open(path(*number))?;
            file.sync_all()?;
            let copy = share(&file, &path(*number).with_extension("shared"))?;
            copy.write_all_at(b"of its own\n", 0)?;
        }
        Ok(())
    }

    /// Makes `count` files and removes those between the first and the last quarter, so that groups
    /// of inodes become empty.
    fn thinned(&self, count: u64) -> Result<()> {
        let folder = self.folder("thinned")?;
        let path = |number: u64| folder.join(format!("file-{number}"));
        (0..count).try_for_each(|number| File::create_new(path(number)).map(drop))?;
        (count / 4..count / 4 * 3).try_for_each(|number| fs::remove_file(path(number)))?;
        Ok(())
    }

    /// Uses up all free space except scattered pieces of 128 KiB, then makes `count` inodes: their
    /// allocator finds no contiguous piece as long as one of its groups.
    fn scattered(&self, count: u64) -> Result<()> {
        let free = || -> Result<u64> {
            let volume = rustix::fs::statvfs(&self.root)?;
            Ok(volume.f_bavail * volume.f_bsize)
        };
        let ballast = File::create_new(self.root.join("ballast"))?;
        let length = free()?.saturating_sub(6 << 20) & !0xf_ffff;
        rustix::fs::fallocate(&ballast, FallocateFlags::empty(), 0, length)?;
        let folder = self.folder("scattered")?;
        let mut rest = Vec::new();
        loop {
            let path = folder.join(format!("rest-{}", rest.len()));
            let file = File::create_new(&path)?;
            rest.push(path);
            if rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 256 << 10).is_err() {
                break;
            }
        }
        for megabyte in 0..80 {
            punch(&ballast, megabyte << 20, 128 << 10)?;
        }
        rustix::fs::syncfs(&ballast)?;
        for number in 0..count {
            File::create_new(folder.join(format!("inode-{number}")))?;
        }
        rest.into_iter().try_for_each(fs::remove_file)?;
        Ok(())
    }
}

// Flags of inodes, with the values of linux/fs.h.
const IMMUTABLE: u32 = 0x10;
const APPEND: u32 = 0x20;
const NOATIME: u32 = 0x80;

// Tags of the entries of an access list, with the values of linux/posix_acl.h.
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;
const NOBODY: u32 = u32::MAX;

fn access_list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (whom, rights, id) in entries {
        bytes.extend(whom.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Returns `size` bytes of numbered lines.
pub fn text(seed: u64, size: u64) -> Vec<u8> {
    let size = size as usize;
    let mut text = Vec::with_capacity(size + 40);
    let mut line = 0_u64;
    while text.len() < size {
        text.extend_from_slice(format!("{seed}: line {line}\n").as_bytes());
        line += 1;
    }
    text.truncate(size);
    text
}

pub fn set(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty())
        .with_context(|| format!("{name} of {}", path.display()))
}

/// Makes a new file that shares all clusters of `origin`.
pub fn share(origin: &File, path: &Path) -> Result<File> {
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(path)?;
    rustix::fs::ioctl_ficlone(&file, origin).with_context(|| path.display().to_string())?;
    Ok(file)
}

/// Makes a new file whose clusters are allocated: before that they cannot be shared.
pub fn new_synced(path: &Path, contents: &[u8]) -> Result<File> {
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(path)?;
    file.write_all_at(contents, 0)?;
    file.sync_all()?;
    Ok(file)
}

pub fn punch(file: &File, offset: u64, length: u64) -> Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, offset, length)?)
}
