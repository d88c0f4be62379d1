//! Blocks of metadata and the allocators they came from.

use ocfs2_format::dinode::Dinode;
use ocfs2_format::dx::DxRoot;
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::refcount::RefcountBlock;
use ocfs2_format::xattr::XattrBlock;
use ocfs2_format::{Blkno, Structure};

/// A block of metadata and where it was allocated from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Suballocated {
    /// What it is.
    pub structure: &'static str,
    /// The block.
    pub blkno: Blkno,
    /// The slot of its allocator; `0xffff` for a dinode of the global one.
    pub slot: u16,
    /// Its bit in the group.
    pub bit: u16,
    /// The group's descriptor. If it is 0, the group is contiguous and its descriptor is `bit`
    /// blocks before this block.
    pub loc: Blkno,
}

macro_rules! suballocated {
    ($($type:ident: $blkno:ident, $slot:ident, $bit:ident, $loc:ident;)*) => {$(
        impl From<&$type> for Suballocated {
            fn from(block: &$type) -> Self {
                Self {
                    structure: $type::NAME,
                    blkno: block.$blkno,
                    slot: block.$slot,
                    bit: block.$bit,
                    loc: block.$loc,
                }
            }
        }
    )*};
}
suballocated! {
    Dinode: i_blkno, i_suballoc_slot, i_suballoc_bit, i_suballoc_loc;
    ExtentBlock: h_blkno, h_suballoc_slot, h_suballoc_bit, h_suballoc_loc;
    DxRoot: dr_blkno, dr_suballoc_slot, dr_suballoc_bit, dr_suballoc_loc;
    XattrBlock: xb_blkno, xb_suballoc_slot, xb_suballoc_bit, xb_suballoc_loc;
    RefcountBlock: rf_blkno, rf_suballoc_slot, rf_suballoc_bit, rf_suballoc_loc;
}
