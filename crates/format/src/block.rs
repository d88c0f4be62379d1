//! What all metadata blocks have in common: a signature, a block check, and their own block number.

use crate::check::{self, Checked};
use crate::{Blkno, Invalid, Structure};

/// A structure at the start of a block of its own, guarded by a block check.
///
/// Xattr buckets and directory blocks do not implement it: they have a check, but no signature at
/// their start.
pub trait Block: Structure {
    /// The first eight bytes of every such block.
    const SIGNATURE: [u8; 8];
    /// Byte offset of the block check.
    const CHECK_OFFSET: usize;

    /// Checks the signature, the generation of the volume, and the block number it claims.
    ///
    /// # Errors
    /// The first field that is wrong.
    fn verify_identity(&self, blkno: Blkno, fs_generation: u32) -> Result<(), Invalid>;

    /// [`Block::verify_identity`]; a dinode is also checked to be VALID.
    ///
    /// # Errors
    /// The first field that is wrong.
    fn verify(&self, blkno: Blkno, fs_generation: u32) -> Result<(), Invalid> {
        self.verify_identity(blkno, fs_generation)
    }

    /// [`check::stamp`] for a block of this kind.
    fn stamp(block: &mut [u8]) {
        check::stamp(block, Self::CHECK_OFFSET);
    }

    /// [`check::correct`] for a block of this kind.
    fn correct(block: &mut [u8]) -> Checked {
        check::correct(block, Self::CHECK_OFFSET)
    }

    /// [`check::validate`] for a block of this kind.
    fn validate(block: &[u8]) -> Checked {
        check::validate(block, Self::CHECK_OFFSET)
    }
}

/// `block! { Type, signature, check offset; fields of signature, generation, number }` implements
/// [`Block`], which has to be imported; a `verify` that checks more may follow.
macro_rules! block {
    (
        $type:ident, $signature:literal, $check:literal;
        $first:ident, $second:ident, $third:ident
        $(; $($rest:tt)*)?
    ) => {
        impl Block for $type {
            const SIGNATURE: [u8; 8] = *$signature;
            const CHECK_OFFSET: usize = $check;

            fn verify_identity(
                &self,
                blkno: $crate::Blkno,
                fs_generation: u32,
            ) -> Result<(), $crate::Invalid> {
                let (name, signature) = (<Self as $crate::Structure>::NAME, &Self::SIGNATURE);
                let [first, second, third] = [stringify!($first), stringify!($second), stringify!($third)];
                $crate::error::expect_signature(name, blkno, first, &self.$first, signature)?;
                $crate::error::expect_eq(name, blkno, second, self.$second, fs_generation)?;
                $crate::error::expect_eq(name, blkno, third, self.$third, blkno)
            }

            $($($rest)*)?
        }
    };
}
pub(crate) use block;
