//! Changed blocks of an overlay: in memory up to a limit, the rest in an unlinked temporary file.

use crate::shown;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Where the contents of a block are.
#[derive(Debug)]
enum Contents {
    Zeros,
    Memory(Box<[u8]>),
    /// Index of the block in the file, from 0.
    File(u64),
}

/// The changed blocks, by number.
#[derive(Debug)]
pub(super) struct Changes {
    blocks: BTreeMap<u64, Contents>,
    block_size: usize,
    /// Most blocks that may be in memory, and how many are.
    limit: usize,
    in_memory: usize,
    file: Option<File>,
    in_file: u64,
}

impl Changes {
    /// No changes yet. At most `memory_bytes` of them will be in memory.
    pub fn new(block_size: usize, memory_bytes: u64) -> Self {
        let blocks = BTreeMap::new();
        let mut none = Self { blocks, block_size, limit: 0, in_memory: 0, file: None, in_file: 0 };
        none.limit_memory(memory_bytes);
        none
    }

    /// Limits the memory for blocks added from now on: those in memory together take at most
    /// `memory_bytes`, unless there are more already.
    pub fn limit_memory(&mut self, memory_bytes: u64) {
        self.limit = usize::try_from(memory_bytes / self.block_size as u64).unwrap_or(usize::MAX);
    }

    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    pub fn clear(&mut self) {
        let memory_bytes = (self.limit as u64).saturating_mul(self.block_size as u64);
        *self = Self::new(self.block_size, memory_bytes);
    }

    /// The numbers of the changed blocks in `range`, in ascending order.
    pub fn numbers(&self, range: Range<u64>) -> impl Iterator<Item = u64> + Clone {
        self.blocks.range(range).map(|(number, _)| *number)
    }

    /// Whether the block is changed.
    pub fn contains(&self, number: u64) -> bool {
        self.blocks.contains_key(&number)
    }

    /// Reads a part of a changed block, starting at byte `within`. Leaves `part` as it is if the
    /// block is not changed.
    pub fn read(&self, number: u64, within: usize, part: &mut [u8]) -> io::Result<()> {
        match (self.blocks.get(&number), &self.file) {
            (Some(Contents::Memory(block)), _) => {
                part.copy_from_slice(&block[within..][..part.len()]);
            }
            (Some(Contents::File(place)), Some(file)) => {
                let offset = place * self.block_size as u64 + within as u64;
                file.read_exact_at(part, offset).map_err(failed)?;
            }
            (Some(Contents::Zeros), _) => part.fill(0),
            (Some(Contents::File(_)) | None, _) => {}
        }
        Ok(())
    }

    /// Replaces the contents of a whole block.
    pub fn write(&mut self, number: u64, block: &[u8]) -> io::Result<()> {
        let place = match self.blocks.get_mut(&number) {
            Some(Contents::Memory(old)) => {
                old.copy_from_slice(block);
                return Ok(());
            }
            Some(Contents::File(place)) => *place,
            _ if self.in_memory < self.limit => {
                self.in_memory += 1;
                self.blocks.insert(number, Contents::Memory(block.into()));
                return Ok(());
            }
            _ => {
                self.in_file += 1;
                self.in_file - 1
            }
        };
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(folder()).map_err(failed)?),
        };
        file.write_all_at(block, place * self.block_size as u64).map_err(failed)?;
        self.blocks.insert(number, Contents::File(place));
        Ok(())
    }

    /// Drops the change of a block.
    pub fn forget(&mut self, number: u64) {
        if let Some(Contents::Memory(_)) = self.blocks.remove(&number) {
            self.in_memory -= 1;
        }
    }

    /// Changes a block to zeros, which takes no memory.
    pub fn zero(&mut self, number: u64) {
        if let Some(Contents::Memory(_)) = self.blocks.insert(number, Contents::Zeros) {
            self.in_memory -= 1;
        }
    }
}

/// The folder for temporary files that may be large. Not `/tmp`, which is often in memory itself.
fn folder() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

fn failed(err: io::Error) -> io::Error {
    let text = format!(
        "changes that exceed the memory they may take, in a file in {}: {err}",
        shown::path(&folder())
    );
    io::Error::new(err.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_limit_is_in_a_file_and_is_read_from_there() {
        let mut changes = Changes::new(4, 8);
        for number in 0..5 {
            changes.write(number, &[number as u8; 4]).unwrap();
        }
        assert_eq!((changes.in_memory, changes.in_file), (2, 3));
        changes.write(4, &[9; 4]).unwrap();
        changes.zero(0);
        changes.write(7, &[7; 4]).unwrap();
        assert_eq!((changes.in_memory, changes.in_file), (2, 3));
        let read = |number| {
            let mut part = [0xee; 2];
            changes.read(number, 1, &mut part).unwrap();
            part[0]
        };
        assert_eq!([0, 1, 2, 3, 4, 5, 7].map(read), [0, 1, 2, 3, 9, 0xee, 7]);
        assert_eq!(changes.numbers(1..5).collect::<Vec<_>>(), [1, 2, 3, 4]);
        changes.clear();
        assert_eq!((changes.len(), changes.limit, changes.in_memory), (0, 2, 0));
    }
}
