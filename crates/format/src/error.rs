//! What can be wrong with bytes.

use std::fmt;

use crate::Blkno;

/// Fewer bytes than a structure needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{structure}: {available} bytes where {needed} are needed")]
pub struct Truncated {
    /// The structure, as [`crate::Structure::NAME`].
    pub structure: &'static str,
    /// Bytes the structure takes.
    pub needed: usize,
    /// Bytes that were there.
    pub available: usize,
}

/// The contents of a structure are wrong: which, where, what was found and expected.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{structure} {blkno}: {field} is {found}, expected {expected}")]
pub struct Invalid {
    /// The structure, as [`crate::Structure::NAME`].
    pub structure: &'static str,
    /// The block it was read from.
    pub blkno: Blkno,
    /// The field, by its on-disk name.
    pub field: &'static str,
    /// What it holds.
    pub found: String,
    /// What it has to hold.
    pub expected: String,
}

impl Invalid {
    /// An error about `field` of `structure` in block `blkno`.
    pub fn new(
        structure: &'static str,
        blkno: Blkno,
        field: &'static str,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        Self { structure, blkno, field, found: found.to_string(), expected: expected.to_string() }
    }
}

/// Fails with [`Invalid`] unless `found` equals `expected`.
pub(crate) fn expect_eq<T: PartialEq + fmt::Display>(
    structure: &'static str,
    blkno: Blkno,
    field: &'static str,
    found: T,
    expected: T,
) -> Result<(), Invalid> {
    if found == expected {
        return Ok(());
    }
    Err(Invalid::new(structure, blkno, field, found, expected))
}

/// Fails with [`Invalid`] if `found` is more than `limit`.
pub(crate) fn expect_at_most<T: PartialOrd + fmt::Display>(
    structure: &'static str,
    blkno: Blkno,
    field: &'static str,
    found: T,
    limit: T,
) -> Result<(), Invalid> {
    if found <= limit {
        return Ok(());
    }
    Err(Invalid::new(structure, blkno, field, found, format_args!("at most {limit}")))
}

/// Fails with [`Invalid`] unless `found` is the signature `expected`.
pub(crate) fn expect_signature(
    structure: &'static str,
    blkno: Blkno,
    field: &'static str,
    found: &[u8; 8],
    expected: &[u8; 8],
) -> Result<(), Invalid> {
    if found == expected {
        return Ok(());
    }
    Err(Invalid::new(structure, blkno, field, found.escape_ascii(), expected.escape_ascii()))
}
