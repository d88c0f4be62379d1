//! Reads a device piece by piece, ahead of who looks at the pieces.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Scope;

use ocfs2_device::Device;

use super::READERS;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// Bytes that are read at once where a piece cannot be read.
const SMALL: usize = 4096;
/// Buffers of a reader: one is filled while another is looked at.
const BUFFERS: usize = 2;

/// A piece of the device. What cannot be read is zeros.
pub struct Piece {
    pub bytes: Vec<u8>,
    /// What could not be read, in bytes from the start of the device.
    pub unreadable: Vec<Range<u64>>,
}

/// A thread that reads one in [`READERS`] pieces of a device.
pub struct Reader {
    pieces: Receiver<Piece>,
    buffers: Sender<Vec<u8>>,
}

impl Reader {
    /// Starts with piece number `first`. It ends when it is dropped, or at the end of the device.
    pub fn start<'s, 'e>(scope: &'s Scope<'s, 'e>, device: &'e dyn Device, first: usize) -> Self {
        let (filled, pieces) = sync_channel(BUFFERS);
        let (buffers, empty) = channel();
        for _ in 0..BUFFERS {
            let _ = buffers.send(Vec::new());
        }
        scope.spawn(move || read(device, first, &empty, &filled));
        Self { pieces, buffers }
    }

    /// The next of its pieces.
    pub fn next(&self) -> Option<Piece> {
        self.pieces.recv().ok()
    }

    /// Returns a buffer to be filled again.
    pub fn give_back(&self, bytes: Vec<u8>) {
        let _ = self.buffers.send(bytes);
    }
}

fn read(device: &dyn Device, first: usize, empty: &Receiver<Vec<u8>>, filled: &SyncSender<Piece>) {
    let end = device.size_bytes();
    let mut offset = (first * PIECE) as u64;
    while offset < end {
        let Ok(mut bytes) = empty.recv() else { return };
        bytes.resize(usize::try_from(end - offset).unwrap_or(PIECE).min(PIECE), 0);
        let unreadable = match device.read_at(&mut bytes, offset) {
            Ok(()) => Vec::new(),
            Err(_) => by_parts(device, &mut bytes, offset),
        };
        if filled.send(Piece { bytes, unreadable }).is_err() {
            return;
        }
        offset += (READERS * PIECE) as u64;
    }
}

/// Reads a piece that cannot be read at once; what cannot be read at all becomes zeros.
fn by_parts(device: &dyn Device, bytes: &mut [u8], offset: u64) -> Vec<Range<u64>> {
    let mut unreadable: Vec<Range<u64>> = Vec::new();
    for (at, part) in (offset..).step_by(SMALL).zip(bytes.chunks_mut(SMALL)) {
        if device.read_at(part, at).is_ok() {
            continue;
        }
        part.fill(0);
        let end = at + part.len() as u64;
        match unreadable.last_mut().filter(|last| last.end == at) {
            Some(last) => last.end = end,
            None => unreadable.push(at..end),
        }
    }
    unreadable
}
