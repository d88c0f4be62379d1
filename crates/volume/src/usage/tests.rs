use std::cell::Cell;

use super::region::{Beat, tests::write_beat};
use super::*;
use ocfs2_device::MemoryDevice;

const REGION: Region = Region { offset_bytes: 4096, size_bytes: 256 * 512 };
/// When the tests take place, seconds since 1970.
const NOW: u64 = 1_800_000_000;

type EachSecond = Box<dyn Fn(&MemoryDevice, u64)>;

/// A volume whose nodes beat while the clock sleeps.
struct Cluster {
    device: MemoryDevice,
    elapsed: Cell<Duration>,
    /// Called each second with the second.
    each_second: EachSecond,
}

impl Cluster {
    fn new(each_second: impl Fn(&MemoryDevice, u64) + 'static) -> Self {
        let device = MemoryDevice::new(1 << 20);
        Self { device, elapsed: Cell::default(), each_second: Box::new(each_second) }
    }

    /// What is known after watching, and how many seconds it took.
    fn probe(&self, nodes: &[u32], options: &SampleOptions) -> (Vec<State>, u64) {
        let taken = (0..).zip(nodes).map(|(slot, node)| TakenSlot { slot, node: *node });
        let places = Places { taken: taken.collect(), heartbeat: Heartbeat::OnVolume(REGION) };
        let usage = Usage::probe(&self.device, &places, options, self);
        assert_eq!(usage.watched, self.elapsed());
        (usage.slots.into_iter().map(|slot| slot.state).collect(), usage.watched.as_secs())
    }
}

impl Clock for Cluster {
    fn now(&self) -> SystemTime {
        time(NOW) + self.elapsed.get()
    }

    fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    fn sleep(&self, duration: Duration) {
        self.elapsed.set(self.elapsed.get() + duration);
        (self.each_second)(&self.device, self.elapsed.get().as_secs());
    }
}

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn beat(device: &dyn Device, node: u8, seq: u64, generation: u64) {
    write_beat(device, REGION, 512, node, Beat { seq, generation, dead_ms: 62_000 });
}

fn crashed(last_beat: u64, evidence: Evidence) -> State {
    State::Crashed { last_beat: Some(time(last_beat)), evidence }
}

#[test]
fn a_node_that_beats_is_live_however_wrong_its_clock_is() {
    for clock in [NOW, NOW - 1_000_000, NOW + 1_000_000] {
        let cluster = Cluster::new(move |device, second| {
            if second % 2 == 0 {
                beat(device, 3, clock + second, 77);
            }
        });
        beat(&cluster.device, 3, clock, 77);
        assert_eq!(cluster.probe(&[3], &SampleOptions::default()), (vec![State::Live], 2));
    }
}

#[test]
fn the_last_beat_of_each_node_is_known_by_its_own_clock() {
    let cluster = Cluster::new(|device, second| {
        if second % 2 == 0 {
            beat(device, 3, NOW - 50 + second, 77);
        }
    });
    beat(&cluster.device, 3, NOW - 50, 77);
    beat(&cluster.device, 4, NOW - 3600, 0);
    let taken = vec![TakenSlot { slot: 0, node: 3 }];
    let places = Places { taken, heartbeat: Heartbeat::OnVolume(REGION) };
    let usage = Usage::probe(&cluster.device, &places, &SampleOptions::default(), &cluster);
    assert_eq!(usage.last_beats.get(&3), Some(&time(NOW - 48)));
    assert_eq!(usage.last_beats.get(&4), Some(&time(NOW - 3600)));
    assert_eq!(usage.last_beats.len(), 2);
}

#[test]
fn an_old_beat_is_a_crash_only_once_two_beats_were_missed() {
    let cluster = Cluster::new(|_, _| {});
    beat(&cluster.device, 0, NOW - 3600, 77);
    let state = crashed(NOW - 3600, Evidence::Clock);
    assert_eq!(cluster.probe(&[0], &SampleOptions::default()), (vec![state.clone()], 5));
    assert_eq!(state.silent_for(time(NOW)), Some(Duration::from_secs(3600)));
}

#[test]
fn without_trust_in_the_clock_the_dead_threshold_has_to_pass() {
    let cluster = Cluster::new(|_, _| {});
    beat(&cluster.device, 0, NOW - 3600, 77);
    let state = crashed(NOW - 3600, Evidence::Watched(Duration::from_secs(62)));
    assert_eq!(cluster.probe(&[0], &SampleOptions::thorough()), (vec![state], 62));
}

#[test]
fn a_recent_beat_or_one_in_the_future_takes_the_dead_threshold() {
    for last in [NOW - 10, NOW - 60, NOW + 5000] {
        let cluster = Cluster::new(|_, _| {});
        beat(&cluster.device, 0, last, 77);
        let state = crashed(last, Evidence::Watched(Duration::from_secs(62)));
        assert_eq!(cluster.probe(&[0], &SampleOptions::default()), (vec![state.clone()], 62));
        assert_eq!(state.silent_for(time(NOW)).is_none(), last > NOW);
    }
}

#[test]
fn a_node_that_resumes_before_its_threshold_is_live() {
    let cluster = Cluster::new(|device, second| {
        if second == 50 {
            beat(device, 0, NOW + 50, 77);
        }
    });
    beat(&cluster.device, 0, NOW - 10, 77);
    assert_eq!(cluster.probe(&[0], &SampleOptions::default()), (vec![State::Live], 50));
}

#[test]
fn a_quick_look_does_not_call_a_stalled_node_crashed() {
    let cluster = Cluster::new(|_, _| {});
    beat(&cluster.device, 0, NOW - 10, 77);
    let (states, watched) = cluster.probe(&[0], &SampleOptions::quick());
    let [State::Unknown(why)] = &states[..] else { panic!("{states:?}") };
    assert_eq!(why.to_string(), "no beat in 5 s; it takes 62 s to be sure");
    assert_eq!(watched, 5);
}

#[test]
fn watching_ends_when_the_last_node_is_known() {
    let cluster = Cluster::new(|device, second| beat(device, 1, NOW + second, 77));
    beat(&cluster.device, 0, NOW - 3600, 77);
    beat(&cluster.device, 1, NOW, 77);
    let expected = vec![State::Live, crashed(NOW - 3600, Evidence::Clock)];
    assert_eq!(cluster.probe(&[1, 0], &SampleOptions::default()), (expected, 5));
}

#[test]
fn a_stopped_heartbeat_with_its_slot_taken_is_a_crash() {
    let cluster = Cluster::new(|device, second| {
        if second == 1 {
            beat(device, 2, NOW + 1, 0);
        }
    });
    beat(&cluster.device, 0, NOW - 5, 0);
    beat(&cluster.device, 2, NOW, 77);
    // Who holds a slot has beaten before it took it.
    let never = State::Unknown(Unknown::NeverBeat);
    let states =
        vec![crashed(NOW - 5, Evidence::Stopped), never, crashed(NOW + 1, Evidence::Stopped)];
    assert_eq!(cluster.probe(&[0, 1, 2], &SampleOptions::default()), (states, 6));
}

#[test]
fn who_writes_in_another_size_than_most_is_alive() {
    let sized = |device: &dyn Device, size, node, seq| {
        write_beat(device, REGION, size, node, Beat { seq, generation: 77, dead_ms: 62_000 });
    };
    let cluster = Cluster::new(move |device, second| sized(device, 512, 100, NOW + second));
    for node in [1, 2, 3] {
        sized(&cluster.device, 4096, node, NOW - 86_400);
    }
    sized(&cluster.device, 512, 100, NOW);
    let states = cluster.probe(&[100, 1], &SampleOptions::default());
    assert_eq!(states, (vec![State::Live, crashed(NOW - 86_400, Evidence::Clock)], 5));
}

#[test]
fn missed_samples_prove_nothing() {
    let cluster = Cluster::new(|device, _| device.write_at(&[1], 4096 + 100).unwrap());
    beat(&cluster.device, 0, NOW - 3600, 77);
    let too_short =
        Unknown::TooShort { watched: Duration::ZERO, threshold: Duration::from_secs(62) };
    let options = SampleOptions { max_wait: Duration::from_secs(100), ..Default::default() };
    assert_eq!(cluster.probe(&[0], &options), (vec![State::Unknown(too_short)], 100));

    let cluster = Cluster::new(|_, _| {});
    cluster.device.write_at(&[1], 4096 + 100).unwrap();
    assert_eq!(
        cluster.probe(&[0], &SampleOptions::quick()),
        (vec![State::Unknown(Unknown::NoGoodSample)], 5)
    );
    // Nor does longer help than it takes a node that lives to write its own.
    let cluster = Cluster::new(|_, _| {});
    cluster.device.write_at(&[1], 4096 + 100).unwrap();
    let unknown = vec![State::Unknown(Unknown::NoGoodSample)];
    assert_eq!(cluster.probe(&[0], &SampleOptions::before_writing()), (unknown, 30));
}

#[test]
fn nodes_about_to_mount_are_found_when_asked_for() {
    let cluster = Cluster::new(|device, second| beat(device, 9, NOW + second, 77));
    beat(&cluster.device, 9, NOW, 77);
    beat(&cluster.device, 10, NOW - 3600, 77);
    let places = Places { taken: vec![], heartbeat: Heartbeat::OnVolume(REGION) };
    let listing = Usage::probe(&cluster.device, &places, &SampleOptions::default(), &cluster);
    assert!(listing.is_unused());
    assert_eq!(cluster.elapsed().as_secs(), 0, "nothing to wait for");

    let options = SampleOptions::before_writing();
    let usage = Usage::probe(&cluster.device, &places, &options, &cluster);
    assert_eq!(usage.without_slot, [(9, State::Live)]);
    assert_eq!(usage.live_nodes().collect::<Vec<_>>(), [9]);
    assert_eq!(cluster.elapsed().as_secs(), 5);
}

#[test]
fn a_volume_nobody_uses_takes_no_time() {
    let cluster = Cluster::new(|_, _| {});
    beat(&cluster.device, 1, NOW - 5, 0);
    let places = Places { taken: vec![], heartbeat: Heartbeat::OnVolume(REGION) };
    let options = SampleOptions::thorough();
    assert!(Usage::probe(&cluster.device, &places, &options, &cluster).is_unused());
    assert_eq!(cluster.elapsed().as_secs(), 0);
}

#[test]
fn without_a_heartbeat_on_the_volume_nothing_is_claimed() {
    let cluster = Cluster::new(|_, _| {});
    let taken = vec![TakenSlot { slot: 0, node: 0 }];
    for (heartbeat, why) in [
        (Heartbeat::Local, Unknown::Local),
        (Heartbeat::Global, Unknown::Global),
        (Heartbeat::Userspace, Unknown::Userspace),
    ] {
        let places = Places { taken: taken.clone(), heartbeat };
        let options = SampleOptions::thorough();
        let usage = Usage::probe(&cluster.device, &places, &options, &cluster);
        assert_eq!(usage.slots[0].state, State::Unknown(why));
        assert_eq!(usage.unknown_slots().count(), 1);
        assert_eq!(usage.watched, Duration::ZERO);
    }
    let (states, _) = cluster.probe(&[300], &SampleOptions::default());
    assert_eq!(states, [State::Unknown(Unknown::NoSector)]);
}

#[test]
fn a_region_that_can_not_be_read_is_said_to_be() {
    let cluster = Cluster::new(|_, _| {});
    let places = Places {
        taken: vec![TakenSlot { slot: 0, node: 0 }],
        heartbeat: Heartbeat::OnVolume(Region { offset_bytes: 1 << 40, size_bytes: u64::MAX }),
    };
    let usage = Usage::probe(&cluster.device, &places, &SampleOptions::quick(), &cluster);
    let State::Unknown(Unknown::Unreadable(why)) = &usage.slots[0].state else {
        panic!("{usage:?}")
    };
    assert!(why.contains("past the end"), "{why}");
}

#[test]
fn slots_given_back_or_taken_while_watching_are_accounted_for() {
    let taken = |slots: &[(u16, u32)]| -> Vec<TakenSlot> {
        slots.iter().map(|&(slot, node)| TakenSlot { slot, node }).collect()
    };
    let mut before = Usage::unknown(&taken(&[(0, 5), (1, 6), (2, 7)]), &Unknown::Global);
    before.without_slot = vec![(8, State::Live), (9, State::Live)];
    let after = before.with_slots(&taken(&[(0, 5), (2, 8)]));
    let unknown = State::Unknown(Unknown::Global);
    let expected = [(0, 5, unknown), (2, 8, State::Live)];
    assert_eq!(after.slots, expected.map(|(slot, node, state)| SlotUse { slot, node, state }));
    assert_eq!(after.without_slot, [(9, State::Live)]);
}

#[test]
fn a_region_that_may_not_be_the_right_one_only_proves_life() {
    let slot = |state| SlotUse { slot: 0, node: 0, state };
    let slots = vec![slot(State::Live), slot(crashed(NOW, Evidence::Stopped))];
    let too_short = Unknown::TooShort { watched: Duration::ZERO, threshold: Duration::ZERO };
    let without_slot = vec![(8, State::Live), (9, State::Unknown(too_short))];
    let mut usage = Usage { slots, without_slot, ..Usage::default() };
    usage.keep_only_signs_of_life(&Unknown::Global);
    assert_eq!(usage.slots, [slot(State::Live), slot(State::Unknown(Unknown::Global))]);
    assert_eq!(usage.without_slot, [(8, State::Live)]);
}
