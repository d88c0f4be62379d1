//! The calls themselves, which are all the `unsafe` code of this workspace.
//!
//! A change here requires a review of the whole file, next to the kernel's `fs/ocfs2/ioctl.c` and
//! `fs/ioctl.c`.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::mem::size_of;

use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

use crate::Mounted;

/// Bytes of the header at the start of each request.
pub const HEADER: usize = 16;
/// Offset of the request size in the header.
const SIZE_AT: usize = 8;

/// `struct ocfs2_info`: the place of the requests.
#[repr(C)]
struct Info {
    /// The address of an array of addresses.
    requests: u64,
    /// Length of the array.
    count: u32,
    pad: u32,
}

/// `OCFS2_IOC_INFO`.
const INFO: Opcode = opcode::read::<Info>(b'o', 5);

/// Asks the kernel to fill in a request, which states its own size.
///
/// # Errors
/// Those of the kernel, or if the request states a wrong size.
pub fn info(mounted: &Mounted, request: &mut [u8]) -> io::Result<()> {
    let stated = request.get(SIZE_AT..SIZE_AT + 4).and_then(|it| it.try_into().ok());
    let stated = stated.map(u32::from_ne_bytes).map_or(0, |it| it as usize);
    if request.len() < HEADER || stated != request.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let addresses = [request.as_mut_ptr().expose_provenance() as u64];
    let requests = addresses.as_ptr().expose_provenance() as u64;
    let mut info = Info { requests, count: 1, pad: 0 };
    // SAFETY: `INFO` is the number of a call that takes a pointer to an `Info`, and `info` is one
    // for as long as the `Updater` borrows it.
    let call = unsafe { Updater::<INFO, Info>::new(&mut info) };
    // SAFETY: `Mounted` makes sure that the file is on an OCFS2 volume, whose driver has this call.
    // It reads `count` addresses, which is one, from `requests`, an array that lives until the end
    // of this function. At that address it reads and writes as many bytes as the request states.
    // That is not more than `request` has, which was checked above, and nobody else can access
    // these bytes, because they are borrowed mutably. Any bytes are valid values of `u8`.
    unsafe { ioctl(&mounted.file, call) }?;
    Ok(())
}

/// Number of extents that are requested at once.
pub const EXTENTS: usize = 128;

/// `struct fiemap` without its extents.
#[derive(Clone, Copy)]
#[repr(C)]
struct MapHeader {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MapExtent {
    pub logical: u64,
    pub physical: u64,
    pub length: u64,
    reserved64: [u64; 2],
    pub flags: u32,
    reserved: [u32; 3],
}

/// `struct fiemap`.
#[repr(C)]
struct Map {
    header: MapHeader,
    extents: [MapExtent; EXTENTS],
}

/// `FS_IOC_FIEMAP`.
const FIEMAP: Opcode = opcode::read_write::<MapHeader>(b'f', 11);

// The layouts of the kernel.
const _: () = assert!(size_of::<Info>() == 16 && size_of::<MapHeader>() == 32);
const _: () = assert!(size_of::<MapExtent>() == 56 && size_of::<Map>() == 32 + 56 * EXTENTS);

/// Returns the extents of a file from byte `start` on, at most [`EXTENTS`]. `flags` are those of
/// the call.
///
/// # Errors
/// Those of the kernel.
pub fn map(mounted: &Mounted, start: u64, flags: u32) -> io::Result<Vec<MapExtent>> {
    let header = MapHeader {
        start,
        length: u64::MAX - start,
        flags,
        mapped: 0,
        room: EXTENTS as u32,
        reserved: 0,
    };
    let mut map = Map { header, extents: [MapExtent::default(); EXTENTS] };
    // SAFETY: `FIEMAP` is the number of a call that takes a pointer to the header of a `Map`, which
    // `map` starts with for as long as the `Updater` borrows it.
    let call = unsafe { Updater::<FIEMAP, Map>::new(&mut map) };
    // SAFETY: the kernel writes the header and at most `room` extents after it, and `Map` has room
    // for as many. All their fields are numbers, for which any bytes are valid.
    unsafe { ioctl(&mounted.file, call) }?;
    let found = (map.header.mapped as usize).min(EXTENTS);
    Ok(map.extents.into_iter().take(found).collect())
}

/// `struct reflink_arguments`: addresses of paths that end in a zero, and a number.
#[repr(C)]
struct Reflink {
    old: u64,
    new: u64,
    preserve: u64,
}

/// `OCFS2_IOC_REFLINK`.
const REFLINK: Opcode = opcode::write::<Reflink>(b'o', 4);

/// Makes `new` a file that shares the contents of `old`; with `preserve` it has also the owner, the
/// mode and the security attributes.
///
/// # Errors
/// Those of the kernel.
pub fn reflink(mounted: &Mounted, old: &CStr, new: &CStr, preserve: bool) -> io::Result<()> {
    let address = |path: &CStr| path.as_ptr().expose_provenance() as u64;
    let (old, new, preserve) = (address(old), address(new), preserve.into());
    // SAFETY: `REFLINK` is the number of a call that takes a pointer to a `Reflink`.
    let call = unsafe { Setter::<REFLINK, Reflink>::new(Reflink { old, new, preserve }) };
    // SAFETY: `Mounted` makes sure that the file is on an OCFS2 volume, whose driver has this call.
    // It only reads the structure, which is in `call`, and two paths up to the zeros that end them;
    // both are borrowed until the end of this function.
    unsafe { ioctl(&mounted.file, call) }?;
    Ok(())
}

/// `OCFS2_IOC_GROUP_EXTEND`.
const GROUP_EXTEND: Opcode = opcode::write::<i32>(b'o', 1);

/// Adds clusters to the last group of the global bitmap.
///
/// # Errors
/// Those of the kernel.
pub fn extend_group(mounted: &Mounted, clusters: i32) -> io::Result<()> {
    // SAFETY: `GROUP_EXTEND` is the number of a call that takes a pointer to an `int`.
    let call = unsafe { Setter::<GROUP_EXTEND, i32>::new(clusters) };
    // SAFETY: `Mounted` makes sure that the file is on an OCFS2 volume, whose driver has this call.
    // It only reads the number, which is in `call`.
    unsafe { ioctl(&mounted.file, call) }?;
    Ok(())
}

/// `struct ocfs2_new_group_input`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct AddedGroup {
    pub block: u64,
    pub clusters: u32,
    pub free: u32,
    pub chain: u16,
    pub reserved1: u16,
    pub reserved2: u32,
}

/// `OCFS2_IOC_GROUP_ADD`.
const GROUP_ADD: Opcode = opcode::write::<AddedGroup>(b'o', 2);

/// Adds a group to the global bitmap.
///
/// # Errors
/// Those of the kernel.
pub fn add_group(mounted: &Mounted, group: AddedGroup) -> io::Result<()> {
    // SAFETY: `GROUP_ADD` is the number of a call that takes a pointer to an `AddedGroup`.
    let call = unsafe { Setter::<GROUP_ADD, AddedGroup>::new(group) };
    // SAFETY: `Mounted` makes sure that the file is on an OCFS2 volume, whose driver has this call.
    // It only reads the structure, which is in `call`.
    unsafe { ioctl(&mounted.file, call) }?;
    Ok(())
}

/// `struct ocfs2_move_extents`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MovedExtents {
    pub start: u64,
    pub len: u64,
    pub goal: u64,
    pub threshold: u64,
    pub flags: u64,
    pub moved: u64,
    pub new_offset: u64,
    pub reserved: [u32; 2],
}

/// `OCFS2_IOC_MOVE_EXT`, which writes to its argument although its number does not say so.
const MOVE_EXT: Opcode = opcode::write::<MovedExtents>(b'o', 6);

// The layouts of the kernel.
const _: () = assert!(size_of::<Reflink>() == 24 && size_of::<AddedGroup>() == 24);
const _: () = assert!(size_of::<MovedExtents>() == 64);

/// Moves extents of a file; the kernel writes to `wanted` what it did, even if it fails.
///
/// # Errors
/// Those of the kernel.
pub fn move_extents(mounted: &Mounted, wanted: &mut MovedExtents) -> io::Result<()> {
    // SAFETY: `MOVE_EXT` is the number of a call that takes a pointer to a `MovedExtents`, and
    // `wanted` is one for as long as the `Updater` borrows it.
    let call = unsafe { Updater::<MOVE_EXT, MovedExtents>::new(wanted) };
    // SAFETY: `Mounted` makes sure that the file is on an OCFS2 volume, whose driver has this call.
    // It reads and writes the structure alone. All its fields are numbers, for which any bytes are
    // valid.
    unsafe { ioctl(&mounted.file, call) }?;
    Ok(())
}
