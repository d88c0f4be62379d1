//! The entries of an area, wherever it is, with their names and values.

use std::collections::HashSet;
use std::ops::Range;

use ocfs2_cli::encode;
use ocfs2_format::hash::{CharSign, xattr_hash};
use ocfs2_format::xattr::{
    MAX_LOCAL_VALUE, MAX_VALUE, XattrArea, XattrEntry, XattrHeader, XattrPrefix, XattrValueRoot,
    bucket_entries,
};
use ocfs2_format::{Blkno, Structure};

use super::{Owner, value};
use crate::codes::{Code, xattrs as codes};
use crate::read::one_bit::{self, Mended};
use crate::read::reach::Hashes;
use crate::repair::xattrs::rewrite;
use crate::tables::collected::Collected;
use crate::{Context, Finding, Place, finding};

/// A header with its entries, names and values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area<'a> {
    /// The bytes from the header on.
    pub bytes: &'a [u8],
    /// The block the header is in.
    pub blkno: Blkno,
    /// Its name in messages.
    pub name: &'static str,
    /// The block size, if it is a bucket: name and value of an entry must be in one block.
    pub unit: Option<usize>,
}

/// The names of an inode so far: the code of the prefix and the rest.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<(u8, Box<[u8]>)>);

/// For each byte of an area, whether it is taken.
struct Taken(Vec<bool>);

impl Taken {
    /// Takes bytes. Returns false if some are not in the area, or taken before.
    fn take(&mut self, range: Range<usize>) -> bool {
        let Some(bytes) = self.0.get_mut(range) else { return false };
        let free = bytes.iter().all(|taken| !taken);
        if free {
            bytes.fill(true);
        }
        free
    }
}

/// A plausible entry: its name and value are in the area and overlap nothing.
struct Sound<'a> {
    entry: XattrEntry,
    name: &'a [u8],
    /// The bytes of name and value.
    range: Range<usize>,
    /// The hash that it should have.
    hash: u32,
}

struct Check<'a, 'o> {
    context: &'a Context<'a>,
    owner: &'a Owner<'a>,
    area: &'a Area<'a>,
    out: &'o mut Collected,
    taken: Taken,
}

/// Checks the entries of an area. Returns their hashes if it is a bucket with entries, where they
/// have to be in order.
pub(super) fn check(
    context: &Context<'_>,
    owner: &Owner<'_>,
    area: &Area<'_>,
    names: &mut Names,
    out: &mut Collected,
) -> Option<Hashes> {
    let from = out.findings.len();
    let mended = mended(context, owner, area, out);
    let bytes = mended.as_ref().map_or(area.bytes, |mended| &mended.bytes);
    let area = &Area { bytes, ..*area };
    let list = XattrArea::new(area.bytes).ok()?;
    let hashes = check_list(context, owner, area, &list, names, out);
    let records = usize::from(list.header.xh_count).min(list.capacity());
    finding::sum_up(&mut out.findings, from, records, |finding| {
        finding.place.block == Some(area.blkno.0)
    });
    hashes
}

/// Returns the area with single wrong bits corrected where the rest shows what they were.
fn mended(
    context: &Context<'_>,
    owner: &Owner<'_>,
    area: &Area<'_>,
    out: &mut Collected,
) -> Option<Mended> {
    let seed = context.volume.superblock().s_uuid_hash;
    let mended = one_bit::mended(area.bytes, seed, area.unit)?;
    let (name, blkno) = (area.name, area.blkno);
    if let Some(count) = mended.count {
        let stated = XattrHeader::decode(area.bytes).map_or(0, |header| header.xh_count);
        let text = format!("{name} {blkno}: xh_count is {stated}, there are {count}");
        out.found(Finding::new(codes::XATTR_COUNT_INVALID, owner.place(blkno), text));
    }
    for (index, field) in &mended.entries {
        let text = format!("{name} {blkno}: entry {index}: one bit of {field} is wrong");
        out.found(Finding::new(codes::XATTR_ENTRY_BIT, owner.place(blkno), text));
    }
    Some(mended)
}

fn check_list<'a>(
    context: &Context<'_>,
    owner: &Owner<'_>,
    area: &Area<'a>,
    list: &XattrArea<'a>,
    names: &mut Names,
    out: &mut Collected,
) -> Option<Hashes> {
    let mut taken = Taken(vec![false; area.bytes.len()]);
    taken.take(0..XattrHeader::SIZE);
    let mut check = Check { context, owner, area, out, taken };
    let count = check.count(list);
    let entries: Vec<_> = list.entries().take(count).enumerate().collect();
    let sound: Vec<_> =
        entries.iter().filter_map(|(index, entry)| check.entry(*index, *entry)).collect();
    // The value of a dropped entry may be in clusters that are then unknown.
    check.out.incomplete |= sound.len() < usize::from(list.header.xh_count);
    for sound in &sound {
        check.name_and_value(sound, names);
    }
    // Only buckets have sums and an order.
    area.unit?;
    if sound.len() == entries.len() && count == usize::from(list.header.xh_count) {
        check.sums(&list.header, &sound);
    }
    check.order(&sound);
    let hashes = sound.iter().map(|sound| sound.hash);
    Some(Hashes { first: hashes.clone().min()?, last: hashes.max()? })
}

impl<'a> Check<'a, '_> {
    fn found(&mut self, code: &'static Code, what: &str, text: impl std::fmt::Display) {
        let (name, blkno) = (self.area.name, self.area.blkno);
        let text = format!("{name} {blkno}: {what}{text}");
        self.out.found(Finding::new(code, self.place(), text));
    }

    /// The same, where the repair may lose attributes.
    fn found_losing(&mut self, code: &'static Code, text: impl std::fmt::Display, may_lose: bool) {
        let text = format!("{} {}: {text}", self.area.name, self.area.blkno);
        let finding = Finding::new(code, self.place(), text);
        let repair = rewrite(self.owner.inode.blkno);
        self.out.found(finding.repaired_by(repair).losing(may_lose));
    }

    fn place(&self) -> Place {
        self.owner.place(self.area.blkno)
    }

    /// Returns the number of entries.
    fn count(&mut self, list: &XattrArea<'_>) -> usize {
        let (count, most) = (usize::from(list.header.xh_count), list.capacity());
        if count <= most {
            self.fits_first_block(count);
            return count;
        }
        let is_real = |entry: &XattrEntry| {
            let end = entry.storage_size().map(|size| size + usize::from(entry.xe_name_offset));
            entry.prefix().is_some()
                && entry.xe_name_offset > 0
                && end.is_some_and(|end| end <= self.area.bytes.len())
        };
        let real = list.entries().take_while(is_real).count();
        let text = format!("xh_count is {count}, at most {most} fit, there are {real}");
        self.found_losing(codes::XATTR_COUNT_INVALID, text, true);
        real
    }

    /// Checks that the entries of a bucket are all in its first block.
    fn fits_first_block(&mut self, count: usize) {
        let most = bucket_entries(self.context.volume.block_size());
        if self.area.unit.is_some() && count > most {
            let text = format!(
                "xh_count is {count}, {most} fit into the first block of a bucket; Linux from \
                 6.12.114 on refuses more"
            );
            self.found(codes::XATTR_BUCKET_FULL, "", text);
        }
    }

    fn entry(&mut self, index: usize, mut entry: XattrEntry) -> Option<Sound<'a>> {
        let what = format!("entry {index}: ");
        let bytes = self.area.bytes;
        let own = XattrHeader::SIZE + index * XattrEntry::SIZE;
        if !self.taken.take(own..own + XattrEntry::SIZE) {
            self.found(codes::XATTR_ENTRY_INVALID, &what, "is where a name or value is");
            return None;
        }
        let offset = usize::from(entry.xe_name_offset);
        let name = bytes.get(offset..).and_then(|rest| rest.get(..entry.xe_name_len.into()));
        let Some(name) = name.filter(|_| offset >= XattrHeader::SIZE) else {
            let text = format!(
                "xe_name_offset is {offset}, a name of {} bytes is not in the area of {}",
                entry.xe_name_len,
                bytes.len()
            );
            self.found(codes::XATTR_NAME_OFFSET_INVALID, &what, text);
            return None;
        };
        if entry.prefix().is_none() {
            let text = format!("xe_type is {:#04x}, no prefix is known by that", entry.xe_type);
            self.found(codes::XATTR_PREFIX, &what, text);
            return None;
        }
        let is_short = entry.xe_value_size <= MAX_LOCAL_VALUE;
        if entry.is_local() != is_short {
            let text = format!(
                "a value of {} bytes is {} the name",
                entry.xe_value_size,
                if entry.is_local() { "beside" } else { "not beside" }
            );
            self.found(codes::XATTR_LOCATION_INVALID, &what, text);
            // A value root that is there keeps its clusters, whatever the entry states.
            let root = bytes.get(offset + name.len().next_multiple_of(4)..).unwrap_or_default();
            let root = root.get(..XattrValueRoot::FULL_SIZE).unwrap_or_default();
            if !value::is_root(self.context, root, entry.xe_value_size) {
                return None;
            }
            entry.xe_type &= !XattrEntry::LOCAL;
        }
        let size = entry.storage_size().unwrap_or(usize::MAX);
        let range = offset..offset.saturating_add(size);
        if !self.taken.take(range.clone()) {
            let text = format!(
                "name and value at {offset}, {size} bytes, are not in the area or overlap others"
            );
            self.found(codes::XATTR_VALUE_INVALID, &what, text);
            return None;
        }
        if let Some(unit) = self.area.unit
            && range.start / unit != range.end.saturating_sub(1) / unit
        {
            let text = format!("name and value at {offset}, {size} bytes, go across two blocks");
            self.found(codes::XATTR_BLOCK_BOUNDARY, &what, text);
        }
        let hash = self.hash(&what, &entry, name);
        Some(Sound { entry, name, range, hash })
    }

    /// Returns the hash of an entry, or the one that it should have.
    fn hash(&mut self, what: &str, entry: &XattrEntry, name: &[u8]) -> u32 {
        let seed = self.context.volume.superblock().s_uuid_hash;
        let found = entry.xe_name_hash;
        let is_it = |sign: &CharSign| xattr_hash(name, seed, *sign) == found;
        if let Some(sign) = CharSign::ALL.into_iter().find(is_it) {
            // Outside buckets nobody looks names up by hash.
            if self.area.unit.is_some() && !name.is_ascii() {
                self.out.totals.name_hashes.attributes.add(sign);
            }
            return found;
        }
        let expected = xattr_hash(name, seed, CharSign::default());
        let text = format!("xe_name_hash is {found:#010x}, expected {expected:#010x}");
        self.found(codes::XATTR_HASH_INVALID, what, text);
        expected
    }

    fn name_and_value(&mut self, sound: &Sound<'_>, names: &mut Names) {
        let Sound { entry, name, range, .. } = sound;
        let Some(prefix) = entry.prefix() else { return };
        let what = format!("{}{}: ", prefix.as_str(), encode::escaped(name));
        let has_rest =
            !matches!(prefix, XattrPrefix::PosixAclAccess | XattrPrefix::PosixAclDefault);
        if name.is_empty() == has_rest || name.contains(&0) {
            self.found(codes::XATTR_NAME_INVALID, &what, "there is no such name");
        }
        if !names.0.insert((prefix.code(), (*name).into())) {
            self.found(
                codes::XATTR_DUPLICATE,
                &what,
                "the inode has another attribute of that name",
            );
        }
        if entry.is_local() {
            return;
        }
        if entry.xe_value_size > MAX_VALUE {
            let text = format!("xe_value_size is {}, at most {MAX_VALUE}", entry.xe_value_size);
            self.found(codes::XATTR_VALUE_LONG, &what, text);
        }
        let at = range.end.saturating_sub(XattrValueRoot::FULL_SIZE);
        let stored = self.area.bytes.get(at..range.end).unwrap_or_default();
        let block = self.area.unit.map_or(0, |unit| at / unit) as u64;
        let blkno = Blkno(self.area.blkno.0 + block);
        let what =
            format!("{} {}: {}", self.area.name, self.area.blkno, what.trim_end_matches(": "));
        value::check(self.context, self.owner, blkno, &what, entry, stored, self.out);
    }

    /// Checks what the header of a bucket states about its entries.
    fn sums(&mut self, header: &XattrHeader, sound: &[Sound<'_>]) {
        let entries = XattrHeader::SIZE + sound.len() * XattrEntry::SIZE;
        let lowest = sound.iter().map(|sound| sound.range.start).min();
        let lowest = lowest.unwrap_or(self.area.bytes.len());
        // The kernel does not raise it when it removes the lowest attribute.
        let free_start = usize::from(header.xh_free_start);
        if !(entries..=lowest).contains(&free_start) {
            let text = format!("xh_free_start is {free_start}, expected {lowest}");
            // A bucket that has become empty still states where its data began.
            let is_wiped = header.xh_count == 0 && free_start < XattrHeader::SIZE;
            self.found_losing(codes::XATTR_FREE_START_INVALID, text, is_wiped);
        }
        let stored: usize = sound.iter().map(|sound| sound.range.len()).sum();
        if usize::from(header.xh_name_value_len) != stored {
            let found = header.xh_name_value_len;
            let (name, blkno) = (self.area.name, self.area.blkno);
            let text = format!("{name} {blkno}: xh_name_value_len is {found}, expected {stored}");
            let finding = Finding::new(codes::XATTR_VALUE_LEN_INVALID, self.place(), text);
            // A value may have been longer.
            let repair = rewrite(self.owner.inode.blkno);
            self.out.found(finding.repaired_by(repair).losing(usize::from(found) > stored));
        }
    }

    fn order(&mut self, sound: &[Sound<'_>]) {
        if !sound.is_sorted_by_key(|sound| sound.hash) {
            let (name, blkno) = (self.area.name, self.area.blkno);
            let text = format!("{name} {blkno}: the entries are not in the order of their hashes");
            self.out.found(Finding::new(codes::XATTR_ENTRY_ORDER, self.place(), text));
        }
    }
}
