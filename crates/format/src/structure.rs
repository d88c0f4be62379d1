//! Decoding and encoding of fixed headers.

use crate::Truncated;

/// A structure of fixed size on the disk.
pub trait Structure: Sized {
    /// What messages call it, e.g. `extent block`.
    const NAME: &'static str;
    /// Bytes it takes.
    const SIZE: usize;

    /// The value of the first [`Self::SIZE`] bytes of `bytes`.
    ///
    /// # Errors
    /// [`Truncated`] if there are fewer; any contents are accepted.
    fn decode(bytes: &[u8]) -> Result<Self, Truncated>;

    /// Overwrites the first [`Self::SIZE`] bytes of `bytes` and leaves the others.
    ///
    /// # Errors
    /// [`Truncated`] if there are fewer.
    fn encode(&self, bytes: &mut [u8]) -> Result<(), Truncated>;
}

/// Implements [`Structure`] for a `binrw` structure: `structure!(Type, "name", size)`.
///
/// The byte order is the one declared on the type. A test generated with it makes sure
/// that `size` is right and that every byte survives decoding and encoding.
macro_rules! structure {
    ($type:ty, $name:literal, $size:expr) => {
        impl $crate::Structure for $type {
            const NAME: &'static str = $name;
            const SIZE: usize = $size;

            fn decode(bytes: &[u8]) -> Result<Self, $crate::Truncated> {
                let truncated = $crate::Truncated {
                    structure: Self::NAME,
                    needed: Self::SIZE,
                    available: bytes.len(),
                };
                let bytes = bytes.get(..Self::SIZE).ok_or(truncated)?;
                binrw::BinRead::read(&mut std::io::Cursor::new(bytes)).map_err(|_| truncated)
            }

            fn encode(&self, bytes: &mut [u8]) -> Result<(), $crate::Truncated> {
                let truncated = $crate::Truncated {
                    structure: Self::NAME,
                    needed: Self::SIZE,
                    available: bytes.len(),
                };
                let bytes = bytes.get_mut(..Self::SIZE).ok_or(truncated)?;
                binrw::BinWrite::write(self, &mut std::io::Cursor::new(bytes))
                    .map_err(|_| truncated)
            }
        }
    };
}
pub(crate) use structure;

/// For tests: every byte of a structure survives decoding and encoding.
#[cfg(test)]
pub(crate) fn assert_round_trip<T: Structure>() {
    use proptest::prelude::*;

    let mut runner = proptest::test_runner::TestRunner::default();
    let bytes = proptest::collection::vec(any::<u8>(), T::SIZE);
    runner
        .run(&bytes, |bytes| {
            let value = T::decode(&bytes).unwrap();
            let mut out = vec![0xa5; T::SIZE + 3];
            value.encode(&mut out).unwrap();
            prop_assert_eq!(&out[..T::SIZE], &bytes[..], "{} is not kept", T::NAME);
            prop_assert_eq!(&out[T::SIZE..], &[0xa5; 3], "{} is larger than SIZE", T::NAME);
            prop_assert!(T::decode(&bytes[1..]).is_err());
            Ok(())
        })
        .unwrap();
}
