//! Findings: what is wrong, and where.

use std::fmt;

use ocfs2_cli::encode;
use ocfs2_format::Blkno;
use serde::Serialize;

use crate::Pass;
use crate::codes::Code;
use crate::repair::Repair;

/// Where something is wrong, as far as known.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize)]
pub struct Place {
    /// The inode it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// The block it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// The node slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
    /// The clusters it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<Clusters>,
    /// The name of a directory entry, a system file or an attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Consecutive clusters.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Clusters {
    /// The first one.
    pub start: u32,
    /// How many.
    pub count: u32,
}

impl Place {
    /// A block.
    pub fn block(blkno: Blkno) -> Self {
        Self { block: Some(blkno.0), ..Self::default() }
    }

    /// An inode, which is also a block.
    pub fn inode(blkno: Blkno) -> Self {
        Self { inode: Some(blkno.0), ..Self::default() }
    }

    /// A slot.
    pub fn slot(slot: u16) -> Self {
        Self { slot: Some(slot), ..Self::default() }
    }

    /// Clusters.
    pub fn clusters(start: u32, count: u32) -> Self {
        Self { clusters: Some(Clusters { start, count }), ..Self::default() }
    }

    /// The same, in that inode.
    #[must_use]
    pub fn of(self, inode: Blkno) -> Self {
        Self { inode: Some(inode.0), ..self }
    }

    /// The same, in that slot.
    #[must_use]
    pub fn in_slot(self, slot: u16) -> Self {
        Self { slot: Some(slot), ..self }
    }

    /// The same, with a name. Unprintable bytes are escaped so that the name can be recovered.
    #[must_use]
    pub fn named(self, name: &[u8]) -> Self {
        Self { name: Some(encode::escaped(name)), ..self }
    }
}

/// Something that is wrong, with its repair.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The kind of damage.
    pub code: &'static Code,
    /// Where it is.
    pub place: Place,
    /// What is wrong, in words: the structure, what it states and what was expected. A clause
    /// without a full stop.
    pub text: String,
    /// What a yes does; `None` if nothing can be done.
    pub repair: Option<Repair>,
    /// The question that follows if the answer to this one is no.
    pub otherwise: Option<Box<Self>>,
}

/// Equal if the same is reported of the same place; repairs are not compared.
impl PartialEq for Finding {
    fn eq(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.code.name, it.place.clone(), it.text.clone());
        key(self) == key(other) && self.otherwise == other.otherwise
    }
}

impl Eq for Finding {}

impl Finding {
    /// A finding without a repair.
    pub fn new(code: &'static Code, place: Place, text: impl fmt::Display) -> Self {
        Self { code, place, text: text.to_string(), repair: None, otherwise: None }
    }

    /// The same, with the repair for a yes to the last question: see [`Finding::or_else`].
    #[must_use]
    pub fn repaired_by(mut self, repair: Repair) -> Self {
        match &mut self.otherwise {
            Some(other) => **other = other.as_ref().clone().repaired_by(repair),
            None => self.repair = Some(repair),
        }
        self
    }

    /// The same, with this repair for each question that has none of its own.
    #[must_use]
    pub fn repaired_otherwise_by(mut self, repair: Option<Repair>) -> Self {
        self.repair = self.repair.or_else(|| repair.clone());
        self.otherwise = self.otherwise.map(|other| Box::new(other.repaired_otherwise_by(repair)));
        self
    }

    /// The same, with another question, about another way to mend it, after a no to all so far.
    #[must_use]
    pub fn or_else(self, code: &'static Code) -> Self {
        let other = match self.otherwise {
            Some(other) => other.or_else(code),
            None => Self::new(code, self.place.clone(), &self.text),
        };
        Self { otherwise: Some(Box::new(other)), ..self }
    }

    /// The same; `may_lose` says whether the repair may lose something here.
    #[must_use]
    pub fn losing(self, may_lose: bool) -> Self {
        match may_lose {
            true => Self { repair: self.repair.map(Repair::losing), ..self },
            false => self,
        }
    }

    /// Returns whether `-p` repairs it: its repair can lose nothing.
    pub fn is_safe(&self) -> bool {
        self.code.safe && self.repair.as_ref().is_some_and(|repair| !repair.may_lose())
    }

    fn change_texts(&mut self, change: &impl Fn(&mut String)) {
        change(&mut self.text);
        if let Some(other) = &mut self.otherwise {
            other.change_texts(change);
        }
    }

    /// Returns this finding and the questions that follow each no.
    pub fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |finding| finding.otherwise.as_deref())
    }
}

/// Findings about one list or block that are reported one by one. If there are more, and they are
/// about more than half of its records, its header or all of it is garbage.
const OF_A_LIST: usize = 8;

/// What the summary says of those that are not reported.
pub(crate) const SUMMED_UP: &str = "more of its records are wrong";

/// Merges the findings from index `from` on that are about one list of `records` records into one
/// if they are too many to be reported one by one. The repair of the first one mends the whole
/// list.
pub(crate) fn sum_up(
    findings: &mut Vec<Finding>,
    from: usize,
    records: usize,
    is_of_list: impl Fn(&Finding) -> bool,
) {
    let of_list = findings.iter().skip(from).filter(|it| is_of_list(it));
    let count = of_list.count();
    if count <= OF_A_LIST || count * 2 <= records {
        return;
    }
    let (mut index, mut told) = (0, false);
    findings.retain_mut(|finding| {
        index += 1;
        if index <= from || !is_of_list(finding) {
            return true;
        }
        let is_first = !std::mem::replace(&mut told, true);
        if is_first {
            let more = format!("; {} {SUMMED_UP}", count - 1);
            finding.change_texts(&|text| text.push_str(&more));
        }
        is_first
    });
}

/// Keeps the first `most` of the findings that share one repair, and the last one with the number
/// of those in between.
pub(crate) fn summed_up(findings: &mut Vec<Finding>, most: usize) {
    let more = findings.len().saturating_sub(most);
    if more > 1
        && let Some(mut last) = findings.pop()
    {
        findings.truncate(most);
        last.text += &format!(", and {} more like it", more - 1);
        findings.push(last);
    }
}

/// A finding and the pass that found it.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The pass.
    pub pass: Pass,
    /// What it found.
    pub finding: &'a Finding,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::{directories, extents};

    #[test]
    fn a_list_of_garbage_is_one_finding() {
        let of = |block, count| {
            let finding = move |index| {
                Finding::new(extents::EXTENT_EMPTY, Place::block(Blkno(block)), format!("{index}"))
            };
            (0..count).map(finding)
        };
        let is_of_list = |finding: &Finding| finding.place.block == Some(7);
        let count = |of_list: u64, records| {
            let mut findings: Vec<_> = of(7, 3).chain(of(7, of_list)).chain(of(9, 20)).collect();
            sum_up(&mut findings, 3, records, is_of_list);
            findings.len() - 23
        };
        assert_eq!((count(8, 8), count(9, 18), count(9, 9), count(200, 243)), (8, 9, 1, 1));
        let mut findings: Vec<_> = of(7, 9).collect();
        findings[0] = findings[0].clone().or_else(directories::DIRENT_ZERO);
        sum_up(&mut findings, 0, 9, is_of_list);
        let texts: Vec<_> = findings[0].chain().map(|it| it.text.as_str()).collect();
        assert_eq!(texts, ["0; 8 more of its records are wrong"; 2]);
    }
}
