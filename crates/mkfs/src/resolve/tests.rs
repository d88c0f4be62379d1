use ocfs2_format::feature::FeatureRequest;

use super::*;
use crate::options::{JournalOptions, Level};

fn facts(size_bytes: u64) -> Facts {
    Facts {
        size_bytes,
        sector_size: 512,
        running: None,
        on_disk: None,
        time: 1_000_000_000,
        random: Random::from_seed(0),
    }
}

fn cluster(name: &str) -> ClusterId {
    ClusterId { stack: *b"o2cb", cluster: name.to_owned(), global_heartbeat: false }
}

fn error(options: &Options, size: u64) -> String {
    resolve(options, &facts(size)).unwrap_err().to_string()
}

fn wish(list: &str) -> Options {
    Options { features: FeatureRequest::parse(list).unwrap(), ..Default::default() }
}

#[test]
fn defaults_by_size_are_those_of_the_c_mkfs() {
    // Volume size, purpose, block and cluster size, clusters, groups, clusters in the last group,
    // slots, blocks of a journal, groups of an extent allocator; from mkfs.ocfs2 -n.
    type Row = (u64, Option<Purpose>, u32, u32, u32, u32, u32, u16, u64, u32);
    let datafiles = Some(Purpose::Datafiles);
    let mail = Some(Purpose::Mail);
    let rows: [Row; 12] = [
        (41_943_040, None, 1024, 4096, 10_240, 2, 2560, 2, 4096, 0),
        (104_857_600, None, 1024, 4096, 25_600, 4, 2560, 2, 4096, 1),
        (314_572_800, None, 1024, 4096, 76_800, 10, 7680, 2, 16_384, 1),
        (536_870_912, None, 2048, 4096, 131_072, 9, 4096, 2, 16_384, 1),
        (1_073_741_824, None, 4096, 4096, 262_144, 9, 4096, 2, 16_384, 1),
        (4_293_562_368, None, 4096, 4096, 1_048_233, 33, 16_041, 4, 16_384, 1),
        (21_474_836_480, None, 4096, 4096, 5_242_880, 163, 17_408, 8, 32_768, 1),
        (107_374_182_400, None, 4096, 4096, 26_214_400, 813, 22_528, 8, 65_536, 4),
        (107_374_182_400, datafiles, 4096, 524_288, 204_800, 7, 11_264, 8, 8192, 10),
        (107_374_182_400, mail, 4096, 4096, 26_214_400, 813, 22_528, 8, 65_536, 4),
        (2_199_023_255_552, None, 4096, 4096, 536_870_912, 16_645, 2048, 16, 65_536, 33),
        (21_990_232_555_520, None, 4096, 8192, 2_684_354_560, 83_221, 10_240, 16, 65_536, 328),
    ];
    for (size, purpose, bs, cs, clusters, groups, tail, slots, journal, extents) in rows {
        let options = Options { purpose, ..Default::default() };
        let settings = resolve(&options, &facts(size)).unwrap();
        let g = settings.geometry;
        assert_eq!((g.block_size.bytes(), g.cluster_size.bytes()), (bs, cs), "{size}");
        assert_eq!((g.clusters, g.groups(), g.tail_clusters()), (clusters, groups, tail));
        let blocks = settings.journal_bytes.unwrap() / u64::from(bs);
        assert_eq!((settings.slots, blocks, settings.extent_groups), (slots, journal, extents));
        assert_eq!(settings.features, Features::DEFAULT);
        assert_eq!(settings.journal_block64, size > 1 << 44);
    }
}

#[test]
fn the_volume_ends_where_the_device_or_the_wish_does() {
    let clusters = |extent, size| {
        let options = Options { extent, ..Default::default() };
        resolve(&options, &facts(size)).map(|settings| settings.geometry.size_bytes())
    };
    assert_eq!(clusters(Extent::Whole, (64 << 20) + 5000), Ok((64 << 20) + 4096));
    assert_eq!(clusters(Extent::Bytes(64 << 20), 1 << 30), Ok(64 << 20));
    // 20480 blocks are assumed to be 80 MiB, for which the block size is 1024 bytes.
    assert_eq!(clusters(Extent::Blocks(20_480), 1 << 30), Ok(20_480 * 1024));
    let err = clusters(Extent::Blocks(99_999_999), 64 << 20).unwrap_err().to_string();
    let expected = "409599995904 bytes were asked for (99999999 blocks of 4096); the device has \
                    67108864";
    assert_eq!(err, expected);
    assert!(clusters(Extent::Blocks(u64::MAX), 64 << 20).is_err());
    assert!(clusters(Extent::Bytes(u64::MAX), 64 << 20).is_err());
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let none = Options::default();
    let too_small = "1024000 bytes are too small: 2000 blocks of 512, and a volume needs at \
                     least 2048";
    assert_eq!(error(&none, 1_024_000), too_small);
    assert!(error(&none, 0).starts_with("0 bytes are too small"));
    let many = Options { slots: Some(255), ..Default::default() };
    let message = error(&many, 1 << 30);
    assert!(message.starts_with("255 journals of 67108864 bytes need 17112760320 bytes"));
    let purpose = Options { purpose: Some(Purpose::VmStore), ..Default::default() };
    assert_eq!(
        error(&purpose, 1 << 30),
        "-T vmstore needs at least 2 GiB; there are 1073741824 bytes"
    );
    let small = Options { cluster_size: Some(ClusterSize::MIN), ..Default::default() };
    let message = error(&small, 20 << 40);
    assert!(message.ends_with("(at most 4294967295); clusters of 8192 bytes would do"));
    let label = Options { label: vec![b'x'; 64], ..Default::default() };
    assert_eq!(error(&label, 1 << 30), "the label is 64 bytes long; at most 63 fit");
    for slots in [0, 256] {
        let options = Options { slots: Some(slots), ..Default::default() };
        assert_eq!(error(&options, 1 << 30), format!("{slots} node slots: there can be 1 to 255"));
    }
}

#[test]
fn blocks_are_never_smaller_than_sectors() {
    let with = |block_size, sector_size| {
        let options = Options { block_size, ..Default::default() };
        let facts = Facts { sector_size, ..facts(100 << 20) };
        resolve(&options, &facts).map(|settings| settings.geometry.block_size.bytes())
    };
    assert_eq!(with(None, 512), Ok(1024));
    assert_eq!(with(None, 4096), Ok(4096));
    let err = with(Some(BlockSize::MIN), 4096).unwrap_err();
    assert_eq!(err, ResolveError::BlockBelowSector { block_size: 512, sector_size: 4096 });
    assert_eq!(with(None, 8192), Err(ResolveError::SectorTooLarge(8192)));
}

#[test]
fn journals_have_their_least_and_leave_room() {
    let with = |size, cluster_size, volume: u64| {
        let journal = JournalOptions { size, block64: None };
        let cluster_size = ClusterSize::from_bytes(cluster_size);
        let block_size = Some(BlockSize::MIN);
        let options = Options { journal, cluster_size, block_size, ..Default::default() };
        resolve(&options, &facts(volume)).map(|settings| settings.journal_bytes.unwrap())
    };
    // The default of mkfs.ocfs2 would be 2 MiB.
    assert_eq!(with(None, 4096, 21 << 20), Ok(4 << 20));
    assert_eq!(with(Some((4 << 20) + 1), 4096, 21 << 20), Ok((4 << 20) + 4096));
    let small = ResolveError::JournalTooSmall { size: 1 << 20, least: 4 << 20 };
    assert_eq!(with(Some(1 << 20), 4096, 21 << 20), Err(small));
    let clusters = ResolveError::JournalTooSmall { size: 4 << 20, least: 9 << 20 };
    assert_eq!(with(Some(4 << 20), 1 << 20, 100 << 20), Err(clusters));
    assert_eq!(with(None, 1 << 20, 100 << 20), Ok(9 << 20));
    for size in [60 << 20, u64::MAX] {
        assert!(with(Some(size), 4096, 64 << 20).is_err());
    }
    let huge = with(Some(1 << 42), 4096, 8 << 40);
    assert_eq!(huge, Err(ResolveError::JournalBlocks { size: 1 << 42 }));
}

#[test]
fn a_journal_that_can_not_reach_the_end_of_the_volume_is_refused() {
    let with = |block64| {
        let journal = JournalOptions { size: None, block64 };
        let options = Options { journal, ..Default::default() };
        let small = resolve(&options, &facts(16 << 40)).unwrap().journal_block64;
        let large = resolve(&options, &facts(20 << 40)).map(|settings| settings.journal_block64);
        (small, large)
    };
    assert_eq!(with(None), (false, Ok(true)));
    assert_eq!(with(Some(true)), (true, Ok(true)));
    let blocks = (20 << 40) / 4096;
    assert_eq!(with(Some(false)), (false, Err(ResolveError::NeedsBlock64 { blocks })));
}

#[test]
fn a_local_volume_has_one_slot_and_no_cluster() {
    for options in [
        Options { mount: Some(MountType::Local), ..Default::default() },
        wish("local"),
        Options { mount: Some(MountType::Local), ..wish("local") },
    ] {
        let facts = Facts { running: Some(cluster("web")), ..facts(64 << 20) };
        let settings = resolve(&options, &facts).unwrap();
        assert_eq!(settings.slots, 1);
        assert!(settings.features.incompat.contains(Incompat::LOCAL_MOUNT));
        assert_eq!(settings.cluster_info, ClusterInfo::default());
        let with_cluster = Options { cluster: Some(cluster("web")), ..options };
        assert_eq!(resolve(&with_cluster, &facts), Err(ResolveError::LocalWithCluster));
    }
    let local = Options { mount: Some(MountType::Local), ..wish("nolocal") };
    assert_eq!(error(&local, 1 << 30), "-M local contradicts --fs-features=nolocal");
    let cluster = Options { mount: Some(MountType::Cluster), ..wish("local") };
    assert_eq!(error(&cluster, 1 << 30), "-M cluster contradicts --fs-features=local");
}

#[test]
fn the_cluster_is_the_one_asked_for_then_the_running_one_then_that_on_disk() {
    let global = |name| ClusterId { global_heartbeat: true, ..cluster(name) };
    let with = |asked: Option<ClusterId>, running, on_disk, force| {
        let options = Options { cluster: asked, force, ..Default::default() };
        let facts = Facts { running, on_disk, ..facts(64 << 20) };
        resolve(&options, &facts).map(|settings| settings.cluster_info.cluster())
    };
    let named = |name: &str| Ok(name.to_owned());
    assert_eq!(with(Some(cluster("a")), None, None, false), named("a"));
    assert_eq!(with(None, Some(global("b")), None, false), named("b"));
    assert_eq!(with(None, None, Some(global("c")), false), named("c"));
    assert_eq!(with(None, None, Some(cluster("c")), false), named("c"));
    assert_eq!(with(None, Some(cluster("c")), Some(cluster("c")), false), named("c"));
    assert_eq!(with(None, Some(cluster("b")), None, false), named(""), "classic o2cb");
    let clash = with(Some(cluster("a")), Some(cluster("b")), None, false).unwrap_err();
    let expected = "the options name cluster `a` of stack o2cb, but this machine runs cluster `b` of \
                    stack o2cb; -F accepts this";
    assert_eq!(clash.to_string(), expected);
    assert_eq!(with(Some(cluster("a")), Some(cluster("b")), None, true), named("a"));
    assert!(with(None, Some(global("b")), Some(global("c")), false).is_err());
    let pcmk = |name| ClusterId { stack: *b"pcmk", ..cluster(name) };
    assert_eq!(with(None, Some(pcmk("abcdefghijklmnop")), None, false), named("abcdefghijklmnop"));
    let err = with(None, Some(pcmk("abcdefghijklmnopq")), None, false).unwrap_err().to_string();
    assert!(err.contains("its name has more than 16 bytes"), "{err}");
    assert_eq!(with(None, Some(global("b")), Some(global("c")), true), named("b"));
}

#[test]
fn a_cluster_brings_its_features_and_clusterinfo_needs_a_cluster() {
    let resolved = |list: &str, cluster: Option<ClusterId>| {
        let options = Options { cluster, level: Level::MaxCompat, ..wish(list) };
        resolve(&options, &facts(64 << 20)).map(|settings| settings.features.incompat)
    };
    let slot_map = Incompat::EXTENDED_SLOT_MAP;
    assert_eq!(resolved("", Some(cluster("web"))), Ok(slot_map | Incompat::CLUSTERINFO));
    let pcmk = ClusterId { stack: *b"pcmk", ..cluster("web") };
    assert_eq!(resolved("", Some(pcmk.clone())), Ok(slot_map | Incompat::USERSPACE_STACK));
    assert_eq!(resolved("clusterinfo", Some(pcmk)), Ok(slot_map | Incompat::CLUSTERINFO));
    let missing = resolved("clusterinfo", None);
    assert_eq!(missing, Err(ResolveError::ClusterinfoWithoutCluster { local: false }));
    let local = resolved("clusterinfo,local", None);
    assert_eq!(local, Err(ResolveError::ClusterinfoWithoutCluster { local: true }));
    for list in ["noclusterinfo", "noextended-slotmap"] {
        let err = resolved(list, Some(cluster("web"))).unwrap_err().to_string();
        assert!(
            err.ends_with(&format!(
                "needs feature {}, which --fs-features asks against",
                &list[2..]
            ))
        );
    }
}

#[test]
fn a_heartbeat_device_is_small_and_has_no_slots() {
    let with = |sector_size, mount| {
        let options = Options { heartbeat_device: true, mount, ..Default::default() };
        resolve(&options, &Facts { sector_size, ..facts(1 << 30) }).unwrap()
    };
    let settings = with(512, None);
    assert_eq!(settings.geometry.size_bytes(), 1 << 20);
    assert!(settings.is_heartbeat_device() && settings.slots == 0);
    assert_eq!(settings.features.names(), ["heartbeat-device", "strict-journal-super"]);
    assert_eq!(with(4096, None).geometry.size_bytes(), 3 << 20);
    assert!(with(512, Some(MountType::Local)).features.incompat.contains(Incompat::LOCAL_MOUNT));
}
