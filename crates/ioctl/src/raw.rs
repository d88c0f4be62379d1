//! The calls themselves: all that is `unsafe` in this workspace.
//!
//! Reviewed: who changes this reads all of it again, beside the kernel's `fs/ocfs2/ioctl.c` and
//! `fs/ioctl.c`.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use crate::Mounted;

/// Bytes of the header that each request begins with.
pub const HEADER: usize = 16;
/// Where in it the size of the request is.
const SIZE_AT: usize = 8;

/// `struct ocfs2_info`: where the requests are.
#[repr(C)]
struct Info {
    /// The address of an array of addresses.
    requests: u64,
    /// How many there are.
    count: u32,
    pad: u32,
}

/// `OCFS2_IOC_INFO`.
const INFO: Opcode = opcode::read::<Info>(b'o', 5);

/// Asks the kernel to fill a request, which states its own size.
///
/// # Errors
/// What the kernel says; the request states another size than it has.
pub fn info(mounted: &Mounted, request: &mut [u8]) -> io::Result<()> {
    let stated = request.get(SIZE_AT..SIZE_AT + 4).and_then(|it| it.try_into().ok());
    let stated = stated.map(u32::from_ne_bytes).map_or(0, |it| it as usize);
    if request.len() < HEADER || stated != request.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let addresses = [request.as_mut_ptr().expose_provenance() as u64];
    let requests = addresses.as_ptr().expose_provenance() as u64;
    let mut info = Info { requests, count: 1, pad: 0 };
    // SAFETY: `INFO` is the number of a call that takes a pointer to an `Info`, which `info` is for as
    // long as the `Updater` borrows it.
    let call = unsafe { Updater::<INFO, Info>::new(&mut info) };
    // SAFETY: the file is on an OCFS2 volume, as `Mounted` makes sure, whose kernel has this call: it
    // reads `count` addresses from `requests`, which is one, of an array that lives until the end of
    // this function, and reads and writes at that address as many bytes as the request states: not
    // more than `request` has, which was looked at above, and which nobody else can reach as it is
    // borrowed mutably. Any bytes are values of `u8`.
    unsafe { ioctl(&mounted.file, call) }?;
    Ok(())
}

/// Extents that are asked for at once.
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

// The layouts that the kernel has.
const _: () = assert!(size_of::<Info>() == 16 && size_of::<MapHeader>() == 32);
const _: () = assert!(size_of::<MapExtent>() == 56 && size_of::<Map>() == 32 + 56 * EXTENTS);

/// The extents of a file from a byte on, at most [`EXTENTS`]; with `flags` of the call.
///
/// # Errors
/// What the kernel says.
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
    // SAFETY: `FIEMAP` is the number of a call that takes a pointer to the header of a `Map`, with
    // which `map` begins for as long as the `Updater` borrows it.
    let call = unsafe { Updater::<FIEMAP, Map>::new(&mut map) };
    // SAFETY: the kernel writes the header and at most `room` extents after it, which is as many as
    // `Map` has; all their fields are numbers, of which any bytes are values.
    unsafe { ioctl(&mounted.file, call) }?;
    let found = (map.header.mapped as usize).min(EXTENTS);
    Ok(map.extents.into_iter().take(found).collect())
}
