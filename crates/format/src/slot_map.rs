//! The slot map: which node holds which slot. Read and written outside the journal.

/// A slot that is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TakenSlot {
    /// The slot, from 0.
    pub slot: u16,
    /// Number of the node that holds it; 0 where the mount is local.
    pub node: u32,
}

/// How the entries of a slot map are stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlotMapFormat {
    /// `le16` node numbers, 0xffff where the slot is free.
    Old,
    /// 8 bytes an entry: `es_valid`, three reserved bytes, `le32 es_node_num`.
    Extended,
}

impl SlotMapFormat {
    /// Bytes of one entry.
    pub fn entry_size(self) -> usize {
        match self {
            Self::Old => 2,
            Self::Extended => 8,
        }
    }

    /// Bytes of a map with `slots` entries.
    pub fn size(self, slots: u16) -> usize {
        self.entry_size() * usize::from(slots)
    }

    /// The value of every byte of an empty map.
    pub fn empty_byte(self) -> u8 {
        match self {
            Self::Old => 0xff,
            Self::Extended => 0,
        }
    }

    /// The slots below `max_slots` that are taken, as far as `map` reaches.
    pub fn taken(self, map: &[u8], max_slots: u16) -> impl Iterator<Item = TakenSlot> + '_ {
        let entries = map.chunks_exact(self.entry_size());
        (0..max_slots).zip(entries).filter_map(move |(slot, entry)| {
            let node = match self {
                Self::Old => Some(u16::from_le_bytes(entry.try_into().ok()?))
                    .filter(|node| *node != 0xffff)
                    .map(u32::from),
                Self::Extended => (entry[0] != 0)
                    .then(|| u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]])),
            };
            node.map(|node| TakenSlot { slot, node })
        })
    }

    /// Records that `node` holds `slot`, or with `None` that the slot is free.
    ///
    /// Returns false, and does nothing, if `map` does not reach that far or `node` does not fit. A
    /// freed extended entry keeps its node number, as the kernel leaves it.
    #[must_use]
    pub fn set(self, map: &mut [u8], slot: u16, node: Option<u32>) -> bool {
        let Some(entry) = map.chunks_exact_mut(self.entry_size()).nth(usize::from(slot)) else {
            return false;
        };
        match (self, node) {
            (Self::Old, None) => entry.fill(0xff),
            (Self::Old, Some(node)) => match u16::try_from(node) {
                Ok(node) if node != 0xffff => entry.copy_from_slice(&node.to_le_bytes()),
                _ => return false,
            },
            (Self::Extended, None) => entry[0] = 0,
            (Self::Extended, Some(node)) => {
                entry[0] = 1;
                entry[4..].copy_from_slice(&node.to_le_bytes());
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_tell_who_holds_which_slot() {
        for format in [SlotMapFormat::Old, SlotMapFormat::Extended] {
            let mut map = vec![format.empty_byte(); 64];
            assert_eq!(format.taken(&map, 8).count(), 0, "{format:?}");
            assert!(format.set(&mut map, 0, Some(5)));
            assert!(format.set(&mut map, 3, Some(0)));
            assert!(format.set(&mut map, 7, Some(9)));
            let taken: Vec<_> = format.taken(&map, 7).map(|t| (t.slot, t.node)).collect();
            assert_eq!(taken, [(0, 5), (3, 0)], "{format:?}: slots from max_slots on are ignored");
            assert!(format.set(&mut map, 0, None));
            assert_eq!(format.taken(&map, 8).count(), 2, "{format:?}");
            assert!(!format.set(&mut map, 200, Some(1)));
        }
    }

    #[test]
    fn a_map_cut_short_gives_what_is_there() {
        assert_eq!(SlotMapFormat::Extended.taken(&[1; 13], 255).count(), 1);
        assert_eq!(SlotMapFormat::Old.taken(&[], 255).count(), 0);
    }
}
