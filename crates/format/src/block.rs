//! What all metadata blocks have: a signature, a block check, and where they say they are.

use crate::check::{self, Checked};
use crate::{Blkno, Invalid, Structure};

/// A structure that a block of its own begins with, guarded by a block check.
///
/// Buckets and directory blocks are none: they have a check, but no signature at their beginning.
pub trait Block: Structure {
    /// What each of them begins with.
    const SIGNATURE: [u8; 8];
    /// Where the block check is.
    const CHECK_OFFSET: usize;

    /// Checks signature, generation and the block it claims to be.
    ///
    /// # Errors
    /// The first field that is wrong.
    fn verify_identity(&self, blkno: Blkno, fs_generation: u32) -> Result<(), Invalid>;

    /// [`Block::verify_identity`]; of a dinode also that it is VALID.
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
/// [`Block`], which has to be imported; what else `verify` has to look at may follow.
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
