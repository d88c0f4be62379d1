//! Lists: a header, and after it as many records of one kind as there is room for.

use crate::error::expect_at_most;
use crate::{Blkno, Invalid, Structure, Truncated};

/// What a list begins with: how many records fit and how many are in use.
pub trait ListHeader: Structure + Copy {
    /// What follows it.
    type Record: Structure + Default;
    /// Names of the two fields: records that fit, records in use.
    const COUNTS: [&'static str; 2];

    /// The records that fit and those in use, as stated.
    fn counts(&self) -> [u16; 2];

    /// States how many records fit and how many are in use.
    fn set_counts(&mut self, counts: [u16; 2]);

    /// Checks the fields that only this kind of header has. `capacity` is the number of records
    /// that really fit.
    ///
    /// # Errors
    /// The first field that is wrong.
    fn verify_others(&self, _blkno: Blkno, _capacity: usize) -> Result<(), Invalid> {
        Ok(())
    }
}

/// `list! { Header of Record; field of the records that fit, of those in use }` implements
/// [`ListHeader`]; a `verify_others` may follow.
macro_rules! list {
    ($header:ident of $record:ident; $count:ident, $used:ident $(; $($rest:tt)*)?) => {
        impl $crate::list::ListHeader for $header {
            type Record = $record;
            const COUNTS: [&'static str; 2] = [stringify!($count), stringify!($used)];

            fn counts(&self) -> [u16; 2] {
                [self.$count, self.$used]
            }

            fn set_counts(&mut self, counts: [u16; 2]) {
                [self.$count, self.$used] = counts;
            }

            $($($rest)*)?
        }
    };
}
pub(crate) use list;

/// A list in place: the header and the bytes of its records.
///
/// It never returns more records than there are bytes for, whatever the header states.
#[derive(Clone, Copy, Debug)]
pub struct List<'a, H> {
    /// The header.
    pub header: H,
    records: &'a [u8],
}

impl<'a, H: ListHeader> List<'a, H> {
    /// The list that starts at `bytes` and can extend to its end.
    ///
    /// # Errors
    /// [`Truncated`] if there is no room for the header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Truncated> {
        let header = H::decode(bytes)?;
        Ok(Self { header, records: bytes.get(H::SIZE..).unwrap_or_default() })
    }

    /// Records that fit into the bytes the list may use: the number it should state.
    pub fn capacity(&self) -> usize {
        self.records.len() / H::Record::SIZE
    }

    /// The records in use, as far as they fit.
    pub fn records(
        &self,
    ) -> impl DoubleEndedIterator<Item = H::Record> + ExactSizeIterator + use<'a, H> {
        let [_, used] = self.header.counts();
        self.records.chunks_exact(H::Record::SIZE).take(used.into()).map(record_of)
    }

    /// The record at `index`, whether in use or not; `None` where there is no room for it.
    pub fn record(&self, index: usize) -> Option<H::Record> {
        self.records.chunks_exact(H::Record::SIZE).nth(index).map(record_of)
    }

    /// Checks the header: that as many records fit as it states, that no more are in use, and its
    /// other fields.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn verify(&self, blkno: Blkno) -> Result<(), Invalid> {
        let ([fits, in_use], [count, used]) = (H::COUNTS, self.header.counts());
        self.header.verify_others(blkno, self.capacity())?;
        expect_at_most(H::NAME, blkno, fits, count.into(), self.capacity())?;
        expect_at_most(H::NAME, blkno, in_use, used, count)
    }
}

/// Decodes a record. This cannot fail: `bytes` has its length, and any contents are accepted.
fn record_of<R: Structure + Default>(bytes: &[u8]) -> R {
    R::decode(bytes).unwrap_or_default()
}

/// Writes a list with `records` into `bytes`. The header states how many records `bytes` has room
/// for.
///
/// Bytes after the records are left as they are.
///
/// # Errors
/// [`Truncated`] if they do not fit.
pub fn write_list<H: ListHeader>(
    bytes: &mut [u8],
    mut header: H,
    records: &[H::Record],
) -> Result<(), Truncated> {
    let available = bytes.len();
    let capacity = available.saturating_sub(H::SIZE) / H::Record::SIZE;
    let needed = H::SIZE + records.len() * H::Record::SIZE;
    let too_short = Truncated { structure: H::NAME, needed, available };
    if records.len() > capacity {
        return Err(too_short);
    }
    let count = |count| u16::try_from(count).map_err(|_| too_short);
    header.set_counts([count(capacity)?, count(records.len())?]);
    header.encode(bytes)?;
    let room = bytes.get_mut(H::SIZE..).unwrap_or_default().chunks_exact_mut(H::Record::SIZE);
    room.zip(records).try_for_each(|(bytes, record)| record.encode(bytes))
}
