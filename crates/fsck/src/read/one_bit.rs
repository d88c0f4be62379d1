//! Areas of attributes in which one bit of a field is wrong, and the rest of the area shows which.
//!
//! The hash of an entry shows where its name is and how long it is. The sum of names and values
//! that a bucket keeps shows how many entries it has, and how long their values are.

use std::borrow::Cow;

use ocfs2_format::Structure;
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::xattr::{MAX_LOCAL_VALUE, MAX_VALUE, XattrEntry, XattrHeader, XattrPrefix};

/// An area without the wrong bits.
#[derive(Clone, Debug)]
pub(crate) struct Mended {
    pub bytes: Vec<u8>,
    /// The number of entries, if it stated another one.
    pub count: Option<u16>,
    /// Entries that were mended, and the field of each.
    pub entries: Vec<(usize, &'static str)>,
}

/// The entries of an area, including those beyond the stated number.
struct Entries<'a> {
    bytes: Cow<'a, [u8]>,
    seed: u32,
    /// The size of its blocks, if it is a bucket.
    unit: Option<usize>,
    header: XattrHeader,
    all: Vec<XattrEntry>,
}

/// Returns the area without the wrong bits, if one bit of some of its fields is wrong. In a bucket
/// no name or value goes across two blocks of `unit` bytes.
pub(crate) fn mended(bytes: &[u8], seed: u32, unit: Option<usize>) -> Option<Mended> {
    let mut entries = Entries::of(bytes, seed, unit)?;
    let mut changed = entries.names();
    let count = entries.count();
    if let Some(count) = count {
        entries.header.xh_count = count;
    }
    changed.extend(entries.size());
    if count.is_none() && changed.is_empty() {
        return None;
    }
    let mut bytes = entries.bytes.to_vec();
    entries.header.encode(&mut bytes).ok()?;
    for (index, _) in &changed {
        let at = XattrHeader::SIZE + index * XattrEntry::SIZE;
        entries.all.get(*index)?.encode(bytes.get_mut(at..)?).ok()?;
    }
    Some(Mended { bytes, count, entries: changed })
}

/// Returns whether there are attributes, each with a name that has its hash, and none overlapping
/// another.
pub(crate) fn is_sound(bytes: &[u8], seed: u32) -> bool {
    let Some(entries) = Entries::of(bytes, seed, None) else { return false };
    let used = entries.used();
    !used.is_empty()
        && used.len() == entries.stated()
        && used.iter().all(|entry| entries.is_found(entry))
        && entries.are_apart(used)
}

impl<'a> Entries<'a> {
    fn of(bytes: &'a [u8], seed: u32, unit: Option<usize>) -> Option<Self> {
        let header = XattrHeader::decode(bytes).ok()?;
        let slots = bytes.get(XattrHeader::SIZE..)?.chunks_exact(XattrEntry::SIZE);
        let all = slots.filter_map(|slot| XattrEntry::decode(slot).ok()).collect();
        Some(Self { bytes: bytes.into(), seed, unit, header, all })
    }
}

impl Entries<'_> {
    fn stated(&self) -> usize {
        self.header.xh_count.into()
    }

    /// Returns the stated entries, as far as they fit.
    fn used(&self) -> &[XattrEntry] {
        self.all.get(..self.stated()).unwrap_or(&self.all)
    }

    /// Returns whether there is a name with the hash of the entry.
    fn is_found(&self, entry: &XattrEntry) -> bool {
        let start = usize::from(entry.xe_name_offset);
        let name = self.bytes.get(start..start + usize::from(entry.xe_name_len));
        let has = |name: &[u8]| {
            CharSign::ALL
                .iter()
                .any(|sign| xattr_hash(name, self.seed, *sign) == entry.xe_name_hash)
        };
        let is_acl =
            |prefix| matches!(prefix, XattrPrefix::PosixAclAccess | XattrPrefix::PosixAclDefault);
        let is_of_kind =
            |name: &[u8]| entry.prefix().is_some_and(|it| is_acl(it) == name.is_empty());
        start >= XattrHeader::SIZE && name.is_some_and(|name| is_of_kind(name) && has(name))
    }

    /// Returns whether names and values of entries are in the area, after the entries, and do not
    /// overlap.
    fn are_apart(&self, entries: &[XattrEntry]) -> bool {
        let range = |entry: &XattrEntry| {
            let start = usize::from(entry.xe_name_offset);
            Some((start, start.checked_add(entry.storage_size()?)?))
        };
        let Some(mut ranges) = entries.iter().map(range).collect::<Option<Vec<_>>>() else {
            return false;
        };
        ranges.sort_unstable();
        let lowest = XattrHeader::SIZE + entries.len() * XattrEntry::SIZE;
        let is_inside = |(start, end): &(usize, usize)| {
            let across = |unit| start / unit != end.saturating_sub(1).max(*start) / unit;
            *start >= lowest && *end <= self.bytes.len() && !self.unit.is_some_and(across)
        };
        ranges.iter().all(is_inside)
            && ranges.iter().zip(ranges.iter().skip(1)).all(|(one, next)| one.1 <= next.0)
    }

    /// Restores names whose place, length or kind is wrong.
    fn names(&mut self) -> Vec<(usize, &'static str)> {
        let mut changed = Vec::new();
        for index in 0..self.used().len() {
            let Some(entry) = self.all.get(index).copied() else { break };
            if self.is_found(&entry) {
                continue;
            }
            let places = (0..u16::BITS).map(|bit| {
                let xe_name_offset = entry.xe_name_offset ^ 1 << bit;
                ("xe_name_offset", XattrEntry { xe_name_offset, ..entry })
            });
            let lengths = (0..u8::BITS).map(|bit| {
                let xe_name_len = entry.xe_name_len ^ 1 << bit;
                ("xe_name_len", XattrEntry { xe_name_len, ..entry })
            });
            let kinds = (0..u8::BITS - 1)
                .map(|bit| ("xe_type", XattrEntry { xe_type: entry.xe_type ^ 1 << bit, ..entry }));
            let candidates = places.chain(lengths).chain(kinds);
            let mut fitting = candidates.filter(|(_, entry)| self.is_found(entry));
            let (Some((field, fits)), None) = (fitting.next(), fitting.next()) else {
                drop(fitting);
                changed.extend(self.name(index, &entry).map(|field| (index, field)));
                continue;
            };
            let is_others = self.used().iter().any(|it| it.xe_name_offset == fits.xe_name_offset);
            if fits.xe_name_offset != entry.xe_name_offset && is_others {
                continue;
            }
            if let Some(slot) = self.all.get_mut(index) {
                *slot = fits;
                changed.push((index, field));
            }
        }
        changed
    }

    /// Flips the bit of a name with which it has the stated hash. A bit of the hash may be wrong
    /// instead. So this is done only if the name holds what names do not have, or if the stated
    /// hash fits the order of the bucket and that of the present name does not.
    fn name(&mut self, index: usize, entry: &XattrEntry) -> Option<&'static str> {
        let start = usize::from(entry.xe_name_offset);
        let end = start + usize::from(entry.xe_name_len);
        let mut name = self.bytes.get(start..end).filter(|_| start >= XattrHeader::SIZE)?.to_vec();
        if is_text(&name) && !self.is_in_place(index, &name) {
            return None;
        }
        let has = |name: &[u8]| {
            CharSign::ALL
                .iter()
                .any(|sign| xattr_hash(name, self.seed, *sign) == entry.xe_name_hash)
        };
        let mut found = None;
        for bit in 0..name.len() * 8 {
            let (at, mask) = (bit / 8, 1 << (bit % 8));
            *name.get_mut(at)? ^= mask;
            if has(&name) && is_text(&name) && found.replace((at, mask)).is_some() {
                return None;
            }
            *name.get_mut(at)? ^= mask;
        }
        let (at, mask) = found?;
        *self.bytes.to_mut().get_mut(start + at)? ^= mask;
        Some("the name")
    }

    /// Returns whether the hash of an entry fits the order of a bucket, and that of its name would
    /// not.
    fn is_in_place(&self, index: usize, name: &[u8]) -> bool {
        let mut hashes: Vec<_> = self.used().iter().map(|entry| entry.xe_name_hash).collect();
        let is_now = self.unit.is_some() && hashes.is_sorted();
        if let Some(hash) = hashes.get_mut(index) {
            *hash = xattr_hash(name, self.seed, CharSign::default());
        }
        is_now && !hashes.is_sorted()
    }

    /// Returns the number of entries, if it differs from the stated one.
    fn count(&self) -> Option<u16> {
        let found = self.all.iter().take_while(|entry| self.is_found(entry)).count();
        let count = match self.unit {
            Some(_) => self.count_by_sum(found)?,
            None => self.count_by_zeros(found)?,
        };
        let entries = self.all.get(..count)?;
        let is_one_bit = (count ^ self.stated()).is_power_of_two();
        // Where nothing is stored there is no entry, whatever number is stated. Linux clears the
        // entry of an attribute that it removes; a bucket that it has divided keeps some, but not
        // in its sum.
        let is_other = count > 0 && count != self.stated();
        ((is_one_bit || is_other) && self.are_apart(entries)).then(|| u16::try_from(count).ok())?
    }

    /// Returns how many of the `found` entries make up the sum of a bucket; `None` if the stated
    /// ones do.
    fn count_by_sum(&self, found: usize) -> Option<usize> {
        let wanted = usize::from(self.header.xh_name_value_len);
        let (mut sum, mut count) = (0, None);
        for (index, entry) in self.all.iter().take(found).enumerate() {
            sum += entry.storage_size()?;
            if sum == wanted {
                if index + 1 == self.stated() {
                    return None;
                }
                count = count.or(Some(index + 1));
            }
        }
        count
    }

    /// Returns the number of `found` entries, if they are more than are stated, or if the place of
    /// the others is empty.
    fn count_by_zeros(&self, found: usize) -> Option<usize> {
        let entries = self.all.get(..found)?;
        let lowest = entries.iter().map(|entry| usize::from(entry.xe_name_offset)).min()?;
        let from = XattrHeader::SIZE + found * XattrEntry::SIZE;
        let to = XattrHeader::SIZE + self.stated() * XattrEntry::SIZE;
        let between = self.bytes.get(from..to.min(lowest).max(from))?;
        (found != self.stated() && between.iter().all(|byte| *byte == 0)).then_some(found)
    }

    /// Restores the only size with which all sizes make up the sum of a bucket.
    fn size(&mut self) -> Option<(usize, &'static str)> {
        self.unit?;
        let is_right = |entry: &XattrEntry| {
            entry.is_local() == (entry.xe_value_size <= MAX_LOCAL_VALUE)
                && entry.xe_value_size <= MAX_VALUE
        };
        let used = self.used();
        let size = |entry: &XattrEntry| entry.storage_size().unwrap_or(0);
        let sum: usize = used.iter().map(size).sum();
        let wanted = usize::from(self.header.xh_name_value_len);
        let all_right = used.iter().all(is_right);
        // Linux does not lower the sum when it replaces a value by a smaller one in its place.
        if all_right && sum < wanted {
            return None;
        }
        if all_right && sum == wanted || !used.iter().all(|entry| self.is_found(entry)) {
            return None;
        }
        let suspects = used.iter().enumerate().filter(|(_, it)| all_right || !is_right(it));
        let bits = |(index, entry): (usize, &XattrEntry)| {
            let entry = *entry;
            (0..u64::BITS).map(move |bit| {
                let xe_value_size = entry.xe_value_size ^ 1 << bit;
                (index, size(&entry), XattrEntry { xe_value_size, ..entry })
            })
        };
        let fitting = suspects.flat_map(bits).filter(|(index, was, entry)| {
            is_right(entry) && sum - was + size(entry) == wanted && self.fits(*index, entry)
        });
        let mut fitting: Vec<_> = fitting.take(2).collect();
        let (index, _, entry) = fitting.pop().filter(|_| fitting.is_empty())?;
        *self.all.get_mut(index)? = entry;
        Some((index, "xe_value_size"))
    }

    /// Returns whether an entry can replace another one: its data goes on up to what is next, and
    /// overlaps nothing.
    fn fits(&self, index: usize, entry: &XattrEntry) -> bool {
        let mut entries = self.used().to_vec();
        let Some(slot) = entries.get_mut(index) else { return false };
        *slot = *entry;
        let end = usize::from(entry.xe_name_offset) + entry.storage_size().unwrap_or(0);
        let is_next = |it: &XattrEntry| usize::from(it.xe_name_offset) == end;
        let ends_block = self.unit.is_some_and(|unit| end.is_multiple_of(unit));
        (ends_block || entries.iter().any(is_next)) && self.are_apart(&entries)
    }
}

/// Returns whether a name is plain text.
fn is_text(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| !name.chars().any(char::is_control))
}
