//! The fields of a structure: name, place, size and meaning, for programs that show or set them.
//!
//! They are taken from the declaration of the structure, so that there is no second table.

use crate::{Blkno, Cluster, Cpos};

/// A field of an on-disk structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in the format, e.g. `i_size`.
    pub name: &'static str,
    /// Bytes from the start of the structure.
    pub offset: usize,
    /// Bytes it takes.
    pub size: usize,
    /// What its bytes are.
    pub kind: FieldKind,
    /// The lines of its description, each with a space before it.
    doc: &'static [&'static str],
}

/// What the bytes of a field are. The byte order is that of its structure.
#[derive(Clone, Copy, Debug)]
pub enum FieldKind {
    /// A number without sign.
    Number,
    /// A number with a sign.
    Signed,
    /// The number of a block.
    Block,
    /// Consecutive numbers of this many bytes each; of 1 byte: text, a signature or an identifier.
    Numbers(usize),
    /// A structure with these fields.
    Structure(&'static [Field]),
}

impl Field {
    /// A field without its offset, which [`Field::in_a_row`] sets.
    pub(crate) const fn new<T: FieldType>(
        name: &'static str,
        doc: &'static [&'static str],
    ) -> Self {
        Self { name, offset: 0, size: T::BYTES, kind: T::KIND, doc }
    }

    /// Gives consecutive fields their offsets. They have to add up to `size` bytes, which is
    /// checked at compile time.
    pub(crate) const fn in_a_row<const N: usize>(mut fields: [Self; N], size: usize) -> [Self; N] {
        let (mut index, mut offset) = (0, 0);
        while index < N {
            fields[index].offset = offset;
            offset += fields[index].size;
            index += 1;
        }
        assert!(offset == size, "the fields are as long as the structure");
        fields
    }

    /// What the field means: its description without the offset at the start.
    pub fn meaning(&self) -> String {
        let text = self.text();
        match text.split_once(": ") {
            Some((place, meaning)) if place.starts_with("0x") => meaning.to_owned(),
            _ => text,
        }
    }

    /// The offset that the description states.
    #[cfg(test)]
    pub(crate) fn stated_offset(&self) -> Option<usize> {
        let text = self.text();
        let (place, _) = text.strip_prefix("0x")?.split_once(':')?;
        usize::from_str_radix(place, 16).ok()
    }

    fn text(&self) -> String {
        let lines: Vec<_> = self.doc.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    }
}

/// A type that a field can have.
pub trait FieldType {
    /// Bytes it takes on the disk.
    const BYTES: usize;
    /// What these bytes are.
    const KIND: FieldKind;
}

macro_rules! numbers {
    ($($type:ty: $bytes:literal, $kind:ident;)*) => {$(
        impl FieldType for $type {
            const BYTES: usize = $bytes;
            const KIND: FieldKind = FieldKind::$kind;
        }
    )*};
}
numbers! {
    u8: 1, Number;
    u16: 2, Number;
    u32: 4, Number;
    u64: 8, Number;
    i32: 4, Signed;
    i64: 8, Signed;
    Blkno: 8, Block;
    Cluster: 4, Number;
    Cpos: 4, Number;
}

impl<T: FieldType, const N: usize> FieldType for [T; N] {
    const BYTES: usize = N * T::BYTES;
    const KIND: FieldKind = FieldKind::Numbers(T::BYTES);
}
