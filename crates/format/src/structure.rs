//! Decoding and encoding of fixed headers.

use crate::{Field, Truncated};

/// An on-disk structure of fixed size.
pub trait Structure: Sized {
    /// What messages call it, e.g. `extent block`.
    const NAME: &'static str;
    /// Bytes it takes.
    const SIZE: usize;
    /// Its fields, in order and without gaps.
    const FIELDS: &'static [Field];

    /// Decodes the first [`Self::SIZE`] bytes of `bytes`.
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

/// Declares a `binrw` structure and implements [`Structure`] for it:
/// `structure! { "name", size; pub struct Type { .. } }`.
///
/// The byte order is the one declared on the type. [`Structure::FIELDS`] comes from the
/// declaration. A test of each structure makes sure that `size` is right, that every byte survives
/// decoding and encoding, and that each field is where its description says.
macro_rules! structure {
    (
        $name:literal, $size:expr;
        $(#[$meta:meta])*
        pub struct $type:ident {
            $($(#[doc = $doc:literal])* pub $field:ident: $kind:ty,)*
        }
    ) => {
        $(#[$meta])*
        pub struct $type {
            $($(#[doc = $doc])* pub $field: $kind,)*
        }

        impl $crate::Structure for $type {
            const NAME: &'static str = $name;
            const SIZE: usize = $size;
            const FIELDS: &'static [$crate::Field] = &$crate::Field::in_a_row(
                [$($crate::Field::new::<$kind>(stringify!($field), &[$($doc),*])),*],
                $size,
            );

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

        impl $crate::field::FieldType for $type {
            const BYTES: usize = $size;
            const KIND: $crate::FieldKind =
                $crate::FieldKind::Structure(<Self as $crate::Structure>::FIELDS);
        }
    };
}
pub(crate) use structure;

/// For tests: each field is where its description says, and every byte of a structure survives
/// decoding and encoding.
#[cfg(test)]
pub(crate) fn assert_round_trip<T: Structure>() {
    use proptest::prelude::*;

    let base = T::FIELDS.first().and_then(Field::stated_offset);
    for field in T::FIELDS {
        let stated = field.stated_offset().zip(base).map(|(stated, base)| stated - base);
        assert_eq!(stated, Some(field.offset), "{}: {}", T::NAME, field.name);
    }
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
