//! Watching the beats of all nodes for a while, and what that shows about each of them.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime};

use ocfs2_format::heartbeat::{BEAT_INTERVAL_MS, MAX_NODES};

use super::region::{Beat, Reading, Region, SECTOR_SIZES};
use super::{Clock, Evidence, SampleOptions, State, Unknown};
use ocfs2_device::Device;

/// A node that has not written for this long has missed two beats.
pub(super) const TWO_BEATS: Duration = Duration::from_millis(2 * BEAT_INTERVAL_MS as u64 + 1000);
/// Time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// A block that is garbage for this long stays garbage: a node that is alive writes its own every
/// two seconds.
const GARBAGE: Duration = Duration::from_secs(30);

/// What was seen of one node.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    latest: Option<Beat>,
    /// When the block became what it is now, or was first read.
    changed_at: Duration,
    /// When it was last read well.
    read_at: Duration,
    changed: bool,
}

impl Node {
    fn saw(&mut self, beat: Beat, at: Duration) {
        if let Some(before) = self.latest.replace(beat) {
            // The threshold alone is not a sign of life.
            if (before.seq, before.generation) != (beat.seq, beat.generation) {
                self.changed = true;
                self.changed_at = at;
            }
        } else {
            self.changed_at = at;
        }
        self.read_at = at;
    }

    /// The verdict, once there is one.
    fn state(&self, options: &SampleOptions, clock: &dyn Clock) -> Option<State> {
        let beat = self.latest?;
        if self.changed && beat.is_started() {
            return Some(State::Live);
        }
        let quiet = self.read_at.saturating_sub(self.changed_at);
        let last_beat = beat.time();
        let crashed = |evidence| Some(State::Crashed { last_beat, evidence });
        // A node that mounts beats first: this one does so somewhere else.
        if !beat.is_any() {
            return None;
        }
        if !beat.is_started() {
            let enough = if options.trust_clock { TWO_BEATS } else { beat.threshold() };
            return if quiet >= enough { crashed(Evidence::Stopped) } else { None };
        }
        if quiet >= beat.threshold() {
            return crashed(Evidence::Watched(quiet));
        }
        let age = last_beat.and_then(|time| clock.now().duration_since(time).ok());
        // Twice, because the clocks of two nodes are never quite the same.
        let old = age.is_some_and(|age| age >= beat.threshold() * 2);
        if options.trust_clock && old && quiet >= TWO_BEATS {
            return crashed(Evidence::Clock);
        }
        None
    }

    fn unknown(&self) -> Unknown {
        match self.latest {
            None => Unknown::NoGoodSample,
            Some(beat) if !beat.is_any() => Unknown::NeverBeat,
            Some(beat) => Unknown::TooShort {
                watched: self.read_at.saturating_sub(self.changed_at),
                threshold: beat.threshold(),
            },
        }
    }
}

/// Notes a sample.
fn see(nodes: &mut [Node], readings: Vec<Reading>, at: Duration) {
    for (node, reading) in nodes.iter_mut().zip(readings) {
        if let Some(beat) = reading {
            node.saw(beat, at);
        }
    }
}

/// All nodes of a region.
pub(super) struct Watch {
    nodes: Vec<Node>,
    /// The nodes as seen with each size of a sector: only for signs of life.
    by_size: [Vec<Node>; SECTOR_SIZES.len()],
    unreadable: Option<io::Error>,
    pub watched: Duration,
}

impl Watch {
    /// Samples `region` until the state of every one of `nodes`, and with
    /// `options.without_slot` of every other that once started its heartbeat, is known or
    /// the time is over.
    pub fn run(
        device: &dyn Device,
        region: Region,
        nodes: &[u32],
        options: &SampleOptions,
        clock: &dyn Clock,
    ) -> Self {
        let mut watch = Self {
            nodes: vec![Node::default(); MAX_NODES.into()],
            by_size: SECTOR_SIZES.map(|_| vec![Node::default(); MAX_NODES.into()]),
            unreadable: None,
            watched: Duration::ZERO,
        };
        // Counted from the first reading: a node that is silent from then on has been so all the
        // time.
        let mut start = None;
        loop {
            let sampled = region.sample(device);
            let at = clock.elapsed();
            let start = *start.get_or_insert(at);
            match sampled {
                Ok(sample) => {
                    see(&mut watch.nodes, sample.nodes, at);
                    for (nodes, readings) in watch.by_size.iter_mut().zip(sample.by_size) {
                        see(nodes, readings, at);
                    }
                }
                Err(err) => watch.unreadable = Some(err),
            }
            watch.watched = at.saturating_sub(start);
            let left = options.max_wait.saturating_sub(watch.watched);
            if left.is_zero() || watch.is_decided(nodes, options, clock) {
                return watch;
            }
            clock.sleep(INTERVAL.min(left));
        }
    }

    fn is_decided(&self, nodes: &[u32], options: &SampleOptions, clock: &dyn Clock) -> bool {
        let is_garbage = |node: &Node| node.latest.is_none() && self.watched >= GARBAGE;
        let is_none = |node: &Node| {
            node.latest.is_some_and(|beat| !beat.is_any()) && self.watched >= TWO_BEATS
        };
        let decided =
            |node: &Node| is_garbage(node) || is_none(node) || node.state(options, clock).is_some();
        let with_slot = nodes.iter().filter(|node| !self.is_alive(**node));
        with_slot.filter_map(|node| self.nodes.get(*node as usize)).all(decided)
            && (!options.without_slot || self.started().all(|(_, node)| decided(node)))
    }

    fn started(&self) -> impl Iterator<Item = (u32, &Node)> {
        let started = |node: &Node| node.latest.is_some_and(|beat| beat.is_started());
        (0..).zip(&self.nodes).filter(move |(_, node)| started(node))
    }

    /// What is known about `node`.
    pub fn state(&self, node: u32, options: &SampleOptions, clock: &dyn Clock) -> State {
        let Some(seen) = self.nodes.get(node as usize) else {
            return State::Unknown(Unknown::NoSector);
        };
        if self.is_alive(node) {
            return State::Live;
        }
        seen.state(options, clock).unwrap_or_else(|| {
            State::Unknown(match (&seen.latest, &self.unreadable) {
                (None, Some(err)) => Unknown::Unreadable(err.to_string()),
                _ => seen.unknown(),
            })
        })
    }

    /// Whether a node has written, with any size of a sector.
    fn is_alive(&self, node: u32) -> bool {
        let seen = self.by_size.iter().filter_map(|nodes| nodes.get(node as usize));
        seen.into_iter().any(|node| node.changed && node.latest.is_some_and(|it| it.is_started()))
    }

    /// When each node wrote last, by its own clock.
    pub fn last_beats(&self) -> BTreeMap<u32, SystemTime> {
        let time = |node: &Node| node.latest.and_then(|beat| beat.time());
        let times = |nodes: &[Node]| -> Vec<_> {
            (0..).zip(nodes).filter_map(|(number, node)| Some((number, time(node)?))).collect()
        };
        let mut found: BTreeMap<_, _> = times(&self.nodes).into_iter().collect();
        // What another size of a sector shows counts only with a sign of life, as for the state.
        let others = self.by_size.iter().flat_map(|nodes| times(nodes));
        found.extend(others.filter(|(number, _)| self.is_alive(*number)));
        found
    }

    /// Nodes whose block says that their heartbeat is started.
    pub fn started_nodes(&self) -> impl Iterator<Item = u32> {
        let is_started = |node: &Node| node.latest.is_some_and(|beat| beat.is_started());
        (0..).zip(&self.nodes).filter_map(move |(number, node)| {
            (is_started(node) || self.is_alive(number)).then_some(number)
        })
    }
}
