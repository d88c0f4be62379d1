//! The answers to the requests of FUSE.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use ocfs2_format::Blkno;
use ocfs2_format::dir::FileType as EntryType;
use ocfs2_volume::{Error, Inode, MAX_NAME_BYTES, Volume};

use crate::attributes::{attributes, kind, names, value};
use crate::handles::Handles;
use crate::log::Log;

/// The number of the root directory in FUSE, which no inode of OCFS2 has.
const ROOT: INodeNo = INodeNo(1);

/// `SEEK_DATA` and `SEEK_HOLE`.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Largest read that the kernel may ask for.
const LARGEST_READ: u32 = 1 << 20;

/// A mounted volume.
#[derive(Debug)]
pub(crate) struct Answers {
    volume: Volume,
    root: Blkno,
    handles: Handles,
    log: Log,
    /// How long the kernel may keep what it was told.
    kept: Duration,
    /// Whether it may keep contents from one opening of a file to the next.
    keeps_contents: bool,
}

impl Answers {
    /// Answers for a volume. `is_fixed` says that nobody changes it meanwhile.
    pub fn new(volume: Volume, is_fixed: bool, log: Log) -> Self {
        let root = volume.superblock().s_root_blkno;
        let kept = if is_fixed { Duration::from_secs(3600) } else { Duration::ZERO };
        Self { volume, root, handles: Handles::default(), log, kept, keeps_contents: is_fixed }
    }

    fn blkno(&self, ino: INodeNo) -> Blkno {
        if ino == ROOT { self.root } else { Blkno(ino.0) }
    }

    fn number(&self, blkno: Blkno) -> INodeNo {
        if blkno == self.root { ROOT } else { INodeNo(blkno.0) }
    }

    /// Reports an error, and returns what the kernel is told.
    fn failed(&self, ino: INodeNo, err: &Error) -> Errno {
        self.log.report(&format!("inode {}: {err}", self.blkno(ino)));
        Errno::EIO
    }

    fn inode(&self, ino: INodeNo) -> Result<Inode, Errno> {
        self.volume.inode(self.blkno(ino)).map_err(|err| self.failed(ino, &err))
    }

    fn attr(&self, ino: INodeNo, inode: &Inode) -> Result<FileAttr, Errno> {
        attributes(&self.volume, ino, inode).ok_or_else(|| {
            let mode = inode.dinode.i_mode;
            self.log.report(&format!("inode {}: mode {mode:#o} has no type", inode.blkno));
            Errno::EIO
        })
    }

    fn look_up(&self, parent: INodeNo, name: &OsStr) -> Result<(FileAttr, Generation), Errno> {
        if name.len() > MAX_NAME_BYTES as usize {
            return Err(Errno::ENAMETOOLONG);
        }
        let dir = self.inode(parent)?;
        if !dir.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let found = self.volume.lookup(&dir, name.as_bytes());
        let entry = found.map_err(|err| self.failed(parent, &err))?.ok_or(Errno::ENOENT)?;
        self.known(entry.inode)
    }

    fn known(&self, blkno: Blkno) -> Result<(FileAttr, Generation), Errno> {
        let ino = self.number(blkno);
        let inode = self.inode(ino)?;
        Ok((self.attr(ino, &inode)?, Generation(inode.dinode.i_generation.into())))
    }

    fn open_inode(&self, ino: INodeNo) -> Result<u64, Errno> {
        self.inode(ino).map(|inode| self.handles.add(inode))
    }

    fn read_at(
        &self,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
    ) -> Result<Vec<u8>, Errno> {
        let handle = self.handles.get(fh.0).ok_or(Errno::EBADF)?;
        let failed = |err: Error| self.failed(ino, &err);
        let file = self.volume.file(&handle.inode).map_err(failed)?;
        let left = file.size().saturating_sub(offset);
        let mut bytes =
            vec![0; size.min(LARGEST_READ).min(left.try_into().unwrap_or(u32::MAX)) as usize];
        let count = file.read_at(&mut bytes, offset).map_err(failed)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Calls `add` with the number, the place after it, the type and the name of each entry of an
    /// open directory from `offset` on, until it returns true. What is damaged is reported and left
    /// out; a directory of which something was left out ends with an error.
    fn list(
        &self,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut add: impl FnMut(Blkno, u64, Option<EntryType>, &OsStr) -> bool,
    ) -> Result<(), Errno> {
        let handle = self.handles.get(fh.0).ok_or(Errno::EBADF)?;
        let entries = self.volume.entries_from(&handle.inode, offset);
        let mut entries = entries.map_err(|err| self.failed(ino, &err))?;
        let mut is_any = false;
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => {
                    // The kernel takes nothing else for a name.
                    if entry.name.is_empty()
                        || entry.name.contains(&0)
                        || entry.name.contains(&b'/')
                    {
                        self.log.report(&format!(
                            "inode {}: an entry has no valid name",
                            self.blkno(ino)
                        ));
                        handle.is_damaged.store(true, Ordering::Relaxed);
                        continue;
                    }
                    let name = OsStr::from_bytes(&entry.name);
                    if add(entry.inode, entries.position(), entry.file_type, name) {
                        return Ok(());
                    }
                    is_any = true;
                }
                Err(err) => {
                    self.failed(ino, &err);
                    handle.is_damaged.store(true, Ordering::Relaxed);
                }
            }
        }
        match !is_any && handle.is_damaged.load(Ordering::Relaxed) {
            true => Err(Errno::EIO),
            false => Ok(()),
        }
    }

    fn seek(&self, ino: INodeNo, fh: FileHandle, offset: i64, whence: i32) -> Result<i64, Errno> {
        let handle = self.handles.get(fh.0).ok_or(Errno::EBADF)?;
        let failed = |err: Error| self.failed(ino, &err);
        let file = self.volume.file(&handle.inode).map_err(failed)?;
        let mut at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        if at >= file.size() {
            return Err(Errno::ENXIO);
        }
        let found = match whence {
            SEEK_DATA => file.next_data(at).map_err(failed)?.ok_or(Errno::ENXIO)?.start,
            SEEK_HOLE => {
                while let Some(data) =
                    file.next_data(at).map_err(failed)?.filter(|it| it.start == at)
                {
                    at = data.end;
                }
                at.min(file.size())
            }
            _ => return Err(Errno::EINVAL),
        };
        i64::try_from(found).map_err(|_| Errno::EOVERFLOW)
    }
}

/// Answers a question about attributes: their size if `size` is 0, else the bytes if they fit.
fn sized(reply: ReplyXattr, size: u32, bytes: &[u8]) {
    match (size, bytes.len()) {
        (0, len) => reply.size(u32::try_from(len).unwrap_or(u32::MAX)),
        (size, len) if len > size as usize => reply.error(Errno::ERANGE),
        _ => reply.data(bytes),
    }
}

impl Filesystem for Answers {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Whatever an older kernel does not have is done without.
        let wanted = [
            InitFlags::FUSE_POSIX_ACL,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ];
        for flag in wanted {
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_readahead(LARGEST_READ);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(parent, name) {
            Ok((attr, generation)) => reply.entry(&self.kept, &attr, generation),
            Err(err) => reply.error(err),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.inode(ino).and_then(|inode| self.attr(ino, &inode)) {
            Ok(attr) => reply.attr(&self.kept, &attr),
            Err(err) => reply.error(err),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let target = self.inode(ino).and_then(|inode| {
            self.volume.symlink_target(&inode).map_err(|err| self.failed(ino, &err))
        });
        match target {
            Ok(target) => reply.data(&target),
            Err(err) => reply.error(err),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let keep = FopenFlags::FOPEN_KEEP_CACHE;
        let flags = if self.keeps_contents { keep } else { FopenFlags::FOPEN_DIRECT_IO };
        match self.open_inode(ino) {
            Ok(number) => reply.opened(FileHandle(number), flags),
            Err(err) => reply.error(err),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read_at(ino, fh, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(err) => reply.error(err),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.handles.remove(fh.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let keep = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
        let flags = if self.keeps_contents { keep } else { FopenFlags::empty() };
        match self.open_inode(ino) {
            Ok(number) => reply.opened(FileHandle(number), flags),
            Err(err) => reply.error(err),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.list(ino, fh, offset, |blkno, place, file_type, name| {
            reply.add(self.number(blkno), place, stated(file_type), name)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(err) => reply.error(err),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.list(ino, fh, offset, |blkno, place, file_type, name| {
            match self.known(blkno) {
                Ok((attr, generation)) => {
                    reply.add(attr.ino, place, name, &self.kept, &attr, generation)
                }
                // It is listed, and whoever looks at it gets the error: nothing of this is kept.
                Err(_) => {
                    let attr = unknown(self.number(blkno), stated(file_type));
                    reply.add(attr.ino, place, name, &Duration::ZERO, &attr, Generation(0))
                }
            }
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(err) => reply.error(err),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.handles.remove(fh.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.volume.statfs() {
            Ok(room) => {
                let bits = self.volume.geometry().bpc_bits();
                let (all, free) = (u64::from(room.clusters), u64::from(room.free_clusters));
                let size = self.volume.block_size().bytes();
                let (blocks, left) = (all << bits, free << bits);
                reply.statfs(blocks, left, left, all, free, size, MAX_NAME_BYTES, size);
            }
            Err(err) => reply.error(self.failed(ROOT, &err)),
        }
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let found = self.inode(ino).and_then(|inode| {
            value(&self.volume, &inode, name.as_bytes()).map_err(|err| self.failed(ino, &err))
        });
        match found {
            Ok(Some(value)) => sized(reply, size, &value),
            Ok(None) => reply.error(Errno::ENODATA),
            Err(err) => reply.error(err),
        }
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let listed = self.inode(ino).and_then(|inode| {
            names(&self.volume, &inode, request.uid() == 0).map_err(|err| self.failed(ino, &err))
        });
        match listed {
            Ok(names) => sized(reply, size, &names),
            Err(err) => reply.error(err),
        }
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self.seek(ino, fh, offset, whence) {
            Ok(place) => reply.offset(place),
            Err(err) => reply.error(err),
        }
    }
}

/// The type that an entry states.
fn stated(file_type: Option<EntryType>) -> FileType {
    file_type.and_then(EntryType::kind).map_or(FileType::RegularFile, kind)
}

/// The attributes of an inode that cannot be read.
fn unknown(ino: INodeNo, kind: FileType) -> FileAttr {
    FileAttr {
        ino,
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
