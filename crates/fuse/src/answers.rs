//! The answers to the requests of FUSE.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use ocfs2_format::Blkno;
use ocfs2_format::dinode::FileKind;
use ocfs2_format::dir::FileType as EntryType;
use ocfs2_volume::posix::{Caller, Change, Failure, New};
use ocfs2_volume::{Error, Inode, MAX_NAME_BYTES, Volume};

use crate::attributes::{attributes, kind, names, rdev, time_of, value};
use crate::handles::{Handle, Handles};
use crate::log::Log;
use crate::source::Source;
use crate::space::space;

/// The number of the root directory in FUSE, which no inode of OCFS2 has.
const ROOT: INodeNo = INodeNo(1);

/// `SEEK_DATA` and `SEEK_HOLE`.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Largest read that the kernel may ask for.
const LARGEST_READ: u32 = 1 << 20;

/// Entries of a directory that are read at once: more than fit into an answer.
const MOST_LISTED: usize = 4096;

/// Largest write that the kernel may ask for.
const LARGEST_WRITE: u32 = 1 << 20;

/// `XATTR_CREATE` and `XATTR_REPLACE`.
const XATTR_CREATE: i32 = 1;
const XATTR_REPLACE: i32 = 2;

/// A mounted volume.
#[derive(Debug)]
pub(crate) struct Answers {
    source: Arc<Source>,
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
    pub fn new(source: Arc<Source>, is_fixed: bool, log: Log) -> Self {
        let root = source.read(|volume| volume.superblock().s_root_blkno);
        let kept = if is_fixed { Duration::from_secs(3600) } else { Duration::ZERO };
        Self { source, root, handles: Handles::default(), log, kept, keeps_contents: is_fixed }
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

    /// The same of a change.
    fn refused(&self, ino: INodeNo, err: Failure) -> Errno {
        if let Some(report) = &err.report {
            self.log.report(&format!("inode {}: {report}", self.blkno(ino)));
        }
        Errno::from_i32(err.errno.raw_os_error())
    }

    fn read<T>(
        &self,
        ino: INodeNo,
        read: impl FnOnce(&Volume) -> Result<T, Error>,
    ) -> Result<T, Errno> {
        self.source.read(read).map_err(|err| self.failed(ino, &err))
    }

    fn inode(&self, ino: INodeNo) -> Result<Inode, Errno> {
        let blkno = self.blkno(ino);
        match self.source.read(|volume| volume.inode(blkno)) {
            // One that was deleted while somebody still knew it without having it open.
            Err(Error::Invalid(err)) if self.source.is_written() && err.field == "i_flags" => {
                Err(Errno::ENOENT)
            }
            found => found.map_err(|err| self.failed(ino, &err)),
        }
    }

    /// The inode of a handle as it is now.
    fn opened<'h>(&self, volume: &Volume, handle: &'h Handle) -> Result<Cow<'h, Inode>, Error> {
        match self.source.is_written() {
            true => volume.inode(handle.inode.blkno).map(Cow::Owned),
            false => Ok(Cow::Borrowed(&handle.inode)),
        }
    }

    fn attr(&self, ino: INodeNo, inode: &Inode) -> Result<FileAttr, Errno> {
        self.source.read(|volume| attributes(volume, ino, inode)).ok_or_else(|| {
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
        let found = self.read(parent, |volume| volume.lookup(&dir, name.as_bytes()))?;
        self.known(found.ok_or(Errno::ENOENT)?.inode)
    }

    fn known(&self, blkno: Blkno) -> Result<(FileAttr, Generation), Errno> {
        self.shown(&self.inode(self.number(blkno))?)
    }

    /// What the kernel is told of an inode.
    fn shown(&self, inode: &Inode) -> Result<(FileAttr, Generation), Errno> {
        let ino = self.number(inode.blkno);
        Ok((self.attr(ino, inode)?, Generation(inode.dinode.i_generation.into())))
    }

    fn open_inode(&self, ino: INodeNo) -> Result<u64, Errno> {
        let inode = match self.source.writer() {
            Ok(writer) => writer.open(self.blkno(ino)).map_err(|err| self.refused(ino, err))?,
            Err(_) => self.inode(ino)?,
        };
        Ok(self.handles.add(inode))
    }

    fn close(&self, ino: INodeNo, fh: FileHandle) {
        if let Some(handle) = self.handles.remove(fh.0)
            && let Ok(writer) = self.source.writer()
            && let Err(err) = writer.release(handle.inode.blkno)
        {
            self.refused(ino, err);
        }
    }

    /// Flags of an open file.
    fn kept_contents(&self) -> FopenFlags {
        match self.keeps_contents {
            true => FopenFlags::FOPEN_KEEP_CACHE,
            false => FopenFlags::FOPEN_DIRECT_IO,
        }
    }

    fn create_at(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new: &New<'_>,
        open: bool,
    ) -> Result<Inode, Errno> {
        let made = self.source.writer()?.create(
            self.blkno(parent),
            name.as_bytes(),
            new,
            caller(request),
            open,
        );
        made.map_err(|err| self.refused(parent, err))
    }

    /// Makes a file and answers with it.
    fn make(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new: &New<'_>,
        reply: ReplyEntry,
    ) {
        let made = self.create_at(request, parent, name, new, false);
        match made.and_then(|inode| self.shown(&inode)) {
            Ok((attr, generation)) => reply.entry(&self.kept, &attr, generation),
            Err(err) => reply.error(err),
        }
    }

    fn remove(&self, parent: INodeNo, name: &OsStr, of_dir: bool) -> Result<(), Errno> {
        let removed = self.source.writer()?.unlink(self.blkno(parent), name.as_bytes(), of_dir);
        removed.map_err(|err| self.refused(parent, err))
    }

    fn move_name(
        &self,
        (parent, name): (INodeNo, &OsStr),
        (to, new_name): (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let writer = self.source.writer()?;
        let from = (self.blkno(parent), name.as_bytes());
        let to = (self.blkno(to), new_name.as_bytes());
        let done = match flags {
            RenameFlags::RENAME_EXCHANGE => writer.exchange(from, to),
            RenameFlags::RENAME_NOREPLACE => writer.rename(from, to, true),
            flags if flags.is_empty() => writer.rename(from, to, false),
            _ => return Err(Errno::EINVAL),
        };
        done.map_err(|err| self.refused(parent, err))
    }

    fn sync(&self, ino: INodeNo) -> Result<(), Errno> {
        match self.source.writer() {
            Ok(writer) => writer.sync().map_err(|err| self.refused(ino, err)),
            Err(_) => Ok(()),
        }
    }

    fn read_at(
        &self,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
    ) -> Result<Vec<u8>, Errno> {
        let handle = self.handles.get(fh.0).ok_or(Errno::EBADF)?;
        self.read(ino, |volume| {
            let inode = self.opened(volume, &handle)?;
            let file = volume.file(&inode)?;
            let left = file.size().saturating_sub(offset);
            let mut bytes =
                vec![0; size.min(LARGEST_READ).min(left.try_into().unwrap_or(u32::MAX)) as usize];
            let count = file.read_at(&mut bytes, offset)?;
            bytes.truncate(count);
            Ok(bytes)
        })
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
        // The lock is not held while entries are looked at, which takes it again.
        let listed = self.read(ino, |volume| {
            let dir = self.opened(volume, &handle)?;
            let mut entries = volume.entries_from(&dir, offset)?;
            let mut listed = Vec::new();
            while listed.len() < MOST_LISTED
                && let Some(entry) = entries.next()
            {
                listed.push((entry, entries.position()));
            }
            Ok(listed)
        })?;
        let mut is_any = false;
        for (entry, position) in listed {
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
                    if add(entry.inode, position, entry.file_type, name) {
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
        if !matches!(whence, SEEK_DATA | SEEK_HOLE) {
            return Err(Errno::EINVAL);
        }
        let mut at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        let found = self.read(ino, |volume| {
            let inode = self.opened(volume, &handle)?;
            let file = volume.file(&inode)?;
            if at >= file.size() {
                return Ok(None);
            }
            if whence == SEEK_DATA {
                return Ok(file.next_data(at)?.map(|data| data.start));
            }
            while let Some(data) = file.next_data(at)?.filter(|it| it.start == at) {
                at = data.end;
            }
            Ok(Some(at.min(file.size())))
        })?;
        i64::try_from(found.ok_or(Errno::ENXIO)?).map_err(|_| Errno::EOVERFLOW)
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
            // The umask does not count where there is a default access control list.
            InitFlags::FUSE_DONT_MASK,
        ];
        for flag in wanted {
            let _ = config.add_capabilities(flag);
        }
        if self.source.is_written() {
            let _ = config.add_capabilities(InitFlags::FUSE_HANDLE_KILLPRIV_V2);
            let _ = config.set_max_write(LARGEST_WRITE);
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
        let target = self
            .inode(ino)
            .and_then(|inode| self.read(ino, |volume| volume.symlink_target(&inode)));
        match target {
            Ok(target) => reply.data(&target),
            Err(err) => reply.error(err),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_inode(ino) {
            Ok(number) => reply.opened(FileHandle(number), self.kept_contents()),
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
        ino: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.close(ino, fh);
        reply.ok();
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let keep = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
        let is_kept = self.keeps_contents && !self.source.is_written();
        let flags = if is_kept { keep } else { FopenFlags::empty() };
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

    fn releasedir(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.close(ino, fh);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let room = self.source.read(|volume| {
            volume.statfs().map(|room| (room, volume.geometry().bpc_bits(), volume.block_size()))
        });
        match room {
            Ok((room, bits, size)) => {
                let (all, free) = (u64::from(room.clusters), u64::from(room.free_clusters));
                let size = size.bytes();
                let (blocks, left) = (all << bits, free << bits);
                reply.statfs(blocks, left, left, all, free, size, MAX_NAME_BYTES, size);
            }
            Err(err) => reply.error(self.failed(ROOT, &err)),
        }
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let found = self
            .inode(ino)
            .and_then(|inode| self.read(ino, |volume| value(volume, &inode, name.as_bytes())));
        match found {
            Ok(Some(value)) => sized(reply, size, &value),
            Ok(None) => reply.error(Errno::ENODATA),
            Err(err) => reply.error(err),
        }
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let listed = self
            .inode(ino)
            .and_then(|inode| self.read(ino, |volume| names(volume, &inode, request.uid() == 0)));
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

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mode = mode.map(|mode| mode as u16);
        let (atime, mtime) = (atime.map(time_of), mtime.map(time_of));
        let change = Change { mode, uid, gid, size, atime, mtime };
        let done = self.source.writer().and_then(|writer| {
            let set = writer.set(self.blkno(ino), &change, caller(request));
            self.attr(ino, &set.map_err(|err| self.refused(ino, err))?)
        });
        match done {
            Ok(attr) => reply.attr(&self.kept, &attr),
            Err(err) => reply.error(err),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        number: u32,
        reply: ReplyEntry,
    ) {
        match FileKind::from_mode(mode as u16) {
            Some(kind) => {
                let new = New { kind, rdev: rdev(number), ..of(mode, umask) };
                self.make(request, parent, name, &new, reply);
            }
            None => reply.error(Errno::EINVAL),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let new = New { kind: FileKind::Directory, ..of(mode, umask) };
        self.make(request, parent, name, &new, reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.as_os_str().as_bytes();
        if target.len() > MOST_TARGET {
            return reply.error(Errno::ENAMETOOLONG);
        }
        let new = New { kind: FileKind::Symlink, target, ..of(0o777, 0) };
        self.make(request, parent, name, &new, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.create_at(request, parent, name, &of(mode, umask), true);
        match made.and_then(|inode| self.shown(&inode).map(|shown| (shown, inode))) {
            Ok(((attr, generation), inode)) => {
                let fh = FileHandle(self.handles.add(inode));
                reply.created(&self.kept, &attr, generation, fh, self.kept_contents());
            }
            Err(err) => reply.error(err),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.remove(parent, name, false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.remove(parent, name, true), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        done(self.move_name((parent, name), (to, new_name), flags), reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let linked = self.source.writer().and_then(|writer| {
            let linked = writer.link(self.blkno(ino), self.blkno(dir), name.as_bytes());
            self.shown(&linked.map_err(|err| self.refused(ino, err))?)
        });
        match linked {
            Ok((attr, generation)) => reply.entry(&self.kept, &attr, generation),
            Err(err) => reply.error(err),
        }
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let loses_rights = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let written = self.source.writer().and_then(|writer| {
            let blkno = self.blkno(ino);
            let written = writer.write(blkno, offset, bytes, loses_rights, caller(request));
            written.map_err(|err| self.refused(ino, err))
        });
        match written {
            Ok(count) => reply.written(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(err) => reply.error(err),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.sync(ino), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.sync(ino), reply);
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let set = self.source.writer().and_then(|writer| {
            let flags = (flags & XATTR_CREATE != 0, flags & XATTR_REPLACE != 0);
            let (blkno, name) = (self.blkno(ino), name.as_bytes());
            let set = writer.set_xattr(blkno, name, value, flags, caller(request));
            set.map_err(|err| self.refused(ino, err))
        });
        done(set, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.source.writer().and_then(|writer| {
            let removed = writer.remove_xattr(self.blkno(ino), name.as_bytes());
            removed.map_err(|err| self.refused(ino, err))
        });
        done(removed, reply);
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let allocated = self.source.writer().and_then(|writer| {
            let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
            let space = space(mode).ok_or(Errno::EOPNOTSUPP)?;
            let done = writer.allocate(self.blkno(ino), offset..end, space, caller(request));
            done.map_err(|err| self.refused(ino, err))
        });
        done(allocated, reply);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        from: INodeNo,
        _: FileHandle,
        at: u64,
        to: INodeNo,
        _: FileHandle,
        offset: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let copied = self.source.writer().and_then(|writer| {
            let (from, to) = ((self.blkno(from), at), (self.blkno(to), offset));
            let copied = writer.copy(from, to, len, caller(request));
            copied.map_err(|err| self.refused(self.number(to.0), err))
        });
        match copied {
            Ok(count) => reply.written(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(err) => reply.error(err),
        }
    }
}

/// Longest target of a symbolic link.
const MOST_TARGET: usize = 4095;

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(err) => reply.error(err),
    }
}

fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid() }
}

/// A regular file with these permissions.
fn of(mode: u32, umask: u32) -> New<'static> {
    let (mode, umask) = (mode as u16 & 0o7777, umask as u16 & 0o777);
    New { kind: FileKind::Regular, mode, umask, rdev: (0, 0), target: b"" }
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
