//! Random or systematic damage, for tests of repairs; reproducible by its seed.

use ocfs2_format::check;
use ocfs2_volume::metadata::{MetadataKind, MetadataRun};

use super::fields::{Options, change_field};
use super::{refused, say};
use crate::commands::print::place_and_field;
use crate::error::Failure;
use crate::screen::Screen;
use crate::shell::Shell;
use crate::words::number_of;

/// The default number of damaged blocks.
const DEFAULT_COUNT: u64 = 1;
/// The greatest number of damaged blocks.
const MOST: u64 = 1 << 16;

/// The kinds of metadata, with their names for `-t`.
const KINDS: [(&str, MetadataKind); 14] = [
    ("superblock", MetadataKind::Superblock),
    ("inode", MetadataKind::Dinode),
    ("group", MetadataKind::Group),
    ("extent", MetadataKind::ExtentBlock),
    ("directory", MetadataKind::DirBlock),
    ("dx_root", MetadataKind::DxRoot),
    ("dx_leaf", MetadataKind::DxLeaf),
    ("xattr", MetadataKind::XattrBlock),
    ("bucket", MetadataKind::XattrBucket),
    ("refcount", MetadataKind::RefcountBlock),
    ("quota", MetadataKind::Quota),
    ("journal", MetadataKind::Journal),
    ("system", MetadataKind::SystemFile),
    ("symlink", MetadataKind::Symlink),
];

fn name_of(kind: MetadataKind) -> &'static str {
    let found = KINDS.iter().find(|(_, known)| *known == kind);
    found.map_or("metadata", |(name, _)| name)
}

/// Pseudo-random numbers from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// `blocktrash`
pub(in super::super) fn blocktrash(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (mut count, mut seed, mut kind, mut mends_check) = (DEFAULT_COUNT, 0, None, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"-c" => mends_check = true,
            b"-n" => count = number_of(words.next().ok_or(Failure::Usage)?)?,
            b"-s" => seed = number_of(words.next().ok_or(Failure::Usage)?)?,
            b"-t" => {
                let word = words.next().ok_or(Failure::Usage)?;
                let found = KINDS.iter().find(|(name, _)| name.as_bytes() == word.as_slice());
                let names: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
                let none = || refused(word, &format!("is none of {}", names.join(", ")));
                kind = Some(found.ok_or_else(none)?.1);
            }
            _ => return Err(Failure::Usage),
        }
    }
    if count > MOST {
        return Err(Failure::Failed(format!("At most {MOST} blocks are damaged at once")));
    }
    shell.writer()?;
    let mut chance = Chance(seed);
    let chosen = choose(shell, kind, count, &mut chance)?;
    if chosen.is_empty() {
        return Err(Failure::Failed("There are no such blocks".to_owned()));
    }
    for run in chosen {
        trash(shell, run, mends_check, &mut chance, out)?;
    }
    Ok(())
}

/// Chooses runs of metadata, all with the same probability, in the order of their blocks.
fn choose(
    shell: &Shell,
    kind: Option<MetadataKind>,
    count: u64,
    chance: &mut Chance,
) -> Result<Vec<MetadataRun>, Failure> {
    let (fs, mut chosen, mut seen) = (shell.fs()?, Vec::new(), 0_u64);
    // What cannot be read is already damaged.
    for run in fs.volume.metadata().filter_map(Result::ok) {
        fs.check()?;
        if kind.is_some_and(|kind| kind != run.kind) {
            continue;
        }
        seen += 1;
        if (chosen.len() as u64) < count {
            chosen.push(run);
            continue;
        }
        let place = usize::try_from(chance.below(seen)).unwrap_or(usize::MAX);
        if let Some(other) = chosen.get_mut(place) {
            *other = run;
        }
    }
    chosen.sort_by_key(|run| run.blkno);
    Ok(chosen)
}

/// Inverts a bit in one of the blocks of a run.
fn trash(
    shell: &mut Shell,
    run: MetadataRun,
    mends_check: bool,
    chance: &mut Chance,
    out: &mut Screen,
) -> Result<(), Failure> {
    let fs = shell.fs()?;
    let is_whole = run.kind == MetadataKind::XattrBucket;
    // A bucket has a single check; in other runs each block has its own.
    let index = if is_whole { 0 } else { chance.below(run.blocks) };
    let blocks = if is_whole { u32::try_from(run.blocks).unwrap_or(1) } else { 1 };
    let blkno = ocfs2_format::Blkno(run.blkno.0 + index);
    let mut bytes = fs.volume.read_blocks(blkno, blocks)?;
    let bit = usize::try_from(chance.below(8 * bytes.len() as u64)).unwrap_or(0);
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    if let Some(offset) = run.check_offset.filter(|_| mends_check && fs.has_checks()) {
        check::stamp(&mut bytes, offset);
    }
    let committed = shell.damage(|edit| Ok(edit.put_blocks(blkno, &bytes)?))?;
    let (at, bit, kind) = (bit / 8, bit % 8, name_of(run.kind));
    let what = format!("bit {bit} of byte {at} of block {blkno} ({kind}) is another one");
    say(out, &what, committed)
}

/// The damaged contents of a field, in little-endian order; `None` for an unknown verb.
fn fuzzed(verb: &[u8], before: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
    let mut bytes = before.to_vec();
    let last = bytes.len().checked_sub(1)?;
    let turn = |bytes: &mut Vec<u8>, bit: usize| {
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    };
    match verb {
        b"zeroes" | b"zeros" => bytes.fill(0),
        b"ones" => bytes.fill(0xff),
        b"firstbit" => turn(&mut bytes, 8 * last + 7),
        b"middlebit" => turn(&mut bytes, 4 * (last + 1)),
        b"lastbit" => turn(&mut bytes, 0),
        b"random" => bytes.iter_mut().for_each(|byte| *byte = chance.next() as u8),
        b"add" | b"sub" => {
            let by = 1 + chance.below(1 << 11) as i64;
            let mut carry = if verb == b"add" { by } else { -by };
            for byte in &mut bytes {
                let sum = i64::from(*byte) + carry;
                (*byte, carry) = (sum.rem_euclid(256) as u8, sum.div_euclid(256));
            }
        }
        _ => return None,
    }
    Some(bytes)
}

/// `fuzz`
pub(in super::super) fn fuzz(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let (mut options, words) = Options::of(words)?;
    options.is_direct = true;
    let (word, verb, seed) = match words {
        [word, verb] => (word, verb, 0),
        [word, verb, seed] => (word, verb, number_of(seed)?),
        _ => return Err(Failure::Usage),
    };
    let (place, field) = place_and_field(shell, word)?;
    let field = field.ok_or_else(|| refused(word, "names no field: <filespec>.<field>"))?;
    let mut chance = Chance(seed);
    change_field(shell, options, place, &field, out, |_, before| {
        fuzzed(verb, before, &mut chance).ok_or_else(|| {
            let verbs = "zeroes, ones, firstbit, middlebit, lastbit, add, sub, random";
            format!("is fuzzed by one of {verbs}")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_does_what_it_is_called() {
        let mut chance = Chance(1);
        let mut of = |verb: &[u8], before: &[u8]| fuzzed(verb, before, &mut chance).unwrap();
        assert_eq!(of(b"zeroes", &[1, 2]), [0, 0]);
        assert_eq!(of(b"ones", &[1, 2]), [255, 255]);
        assert_eq!(of(b"firstbit", &[0, 0]), [0, 0x80]);
        assert_eq!(of(b"middlebit", &[0, 0]), [0, 1]);
        assert_eq!(of(b"lastbit", &[0, 0]), [1, 0]);
        assert!(u16::from_le_bytes(of(b"add", &[0xff, 0]).try_into().unwrap()) > 255);
        assert!(u16::from_le_bytes(of(b"sub", &[0, 0]).try_into().unwrap()) > 60_000);
        assert_eq!(fuzzed(b"else", &[0], &mut Chance(0)), None);
        assert_eq!(fuzzed(b"ones", &[], &mut Chance(0)), None);
    }
}
