//! `o2info`, compared with the C tool on a loop device.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ocfs2_testing::{
    LoopDevice, Run, Scratch, c_tool, find_program, fixture, is_c_tool, program, skip,
};

/// Returns the C tool, which has the same name as ours.
fn oracle() -> Option<std::path::PathBuf> {
    let found = c_tool("o2info").or_else(|| find_program("o2info").filter(|it| is_c_tool(it)));
    if found.is_none() {
        skip("there is no o2info on this machine");
    }
    found
}

fn ours(image: &Path, arguments: &[&str]) -> ocfs2_testing::Outcome {
    Run::new(program("o2info")).args(arguments).arg(image).output()
}

/// Returns whether the C tool miscounts in a line: it counts a chunk too many if they divide the
/// volume evenly, and counts free extents twice if a chain has several groups.
fn is_miscounted(line: &str, has_long_chains: bool) -> bool {
    line.starts_with("Total chunks:")
        || line.starts_with("Free chunks:")
        || has_long_chains && (line.contains("-  :") || line.starts_with("Avg."))
}

#[test]
fn every_request_is_answered_as_by_the_c_tool() {
    let Some(c) = oracle() else { return };
    for name in [
        "clean-512-local",
        "clean-1k-local",
        "clean-2k-local",
        "clean-4k-o2cb",
        "clean-1m-global",
        "crashed-1k-o2cb",
        "crashed-4k-linux7-local",
    ] {
        let image = fixture(name);
        let Some(device) = LoopDevice::attach(&image, &["--read-only"]) else { return };
        let has_long_chains = name.contains("512");
        for request in [
            &["--fs-features"][..],
            &["--volinfo"],
            &["--freeinode"],
            &["--freefrag", "0"],
            &["--freefrag", "4096"],
            &["-C", "--freeinode", "--fs-features", "--volinfo"],
        ] {
            let theirs = Run::new(&c).args(request).arg(device.path()).output();
            for place in [&image, device.path()] {
                let ours = ours(place, request).expect_status(0);
                let lines = |text: &str| -> Vec<String> {
                    let exact = text.lines().filter(|it| !is_miscounted(it, has_long_chains));
                    exact.map(str::to_owned).collect()
                };
                assert_eq!(lines(&ours.stdout), lines(&theirs.stdout), "{name} {request:?}");
            }
        }
    }
}

#[test]
fn free_extents_add_up_to_what_is_free() {
    let text = ours(&fixture("clean-512-local"), &["--freefrag", "64"]).expect_status(0).stdout;
    let number = |line: &str, column: usize| -> u64 {
        line.split_whitespace().nth(column).unwrap().parse().unwrap()
    };
    let free = text.lines().find(|line| line.starts_with("Free clusters:")).unwrap();
    let rows = text.lines().filter(|line| line.contains("-  :"));
    let sum: u64 = rows.map(|line| number(line, 4)).sum();
    assert_eq!((sum, 71_664), (number(free, 2), sum));
    let chunks = text.lines().find(|line| line.starts_with("Total chunks:")).unwrap();
    assert_eq!(number(chunks, 2), 76_800 / 16);
}

#[test]
fn what_cannot_be_answered_is_seen_in_the_status() {
    let (image, scratch) = (fixture("clean-1m-global"), Scratch::new());
    for (place, arguments, said) in [
        (image.as_path(), &["--freefrag", "64"][..], "freefrag: a chunk is smaller than a cluster"),
        (&image, &["--filestat"], "filestat: a file is needed for this: one of a mounted volume"),
        (&image, &["--space-usage"], "space_usage: a file is needed for this"),
        (&image, &["--filestat", "--path", "/none"], "filestat: /none: "),
        (&image, &["--volinfo", "--path", "/"], "required arguments"),
        (&image, &["--freefrag", "3"], "it is not a power of 2"),
        (&image, &[], "required arguments"),
        (
            scratch.path(),
            &["--volinfo"],
            "is a folder on another file system; o2info reads a device",
        ),
        (Path::new("/nonexistent"), &["--volinfo"], "/nonexistent"),
    ] {
        let outcome = ours(place, arguments).expect_status(1);
        assert!(outcome.stderr.contains(said), "{outcome}");
    }
    let both = ours(&image, &["--freefrag", "64", "--mkfs"]).expect_status(1);
    assert!(both.stdout.starts_with("-N 4 -J size=16777216 "), "{both}");
}

/// Returns the number after a word.
fn number_after(text: &str, word: &str) -> f64 {
    let rest = text.split_once(word).unwrap_or_else(|| panic!("{word}: {text}")).1;
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn files_of_an_image_are_as_fragmented_as_the_c_tool_says() {
    let mut files = 0;
    for name in ["clean-512-local", "clean-4k-o2cb", "clean-1m-global"] {
        let image = fixture(name);
        let device = ocfs2_device::open(&image, &Default::default()).unwrap();
        let volume = ocfs2_volume::Volume::open(device, &Default::default()).unwrap();
        let walk = volume.walk(&volume.root().unwrap()).unwrap().map(Result::unwrap);
        let found: Vec<_> = walk
            .filter(|it| it.inode.kind() == Some(ocfs2_format::dinode::FileKind::Regular))
            .filter(|it| !it.inode.is_inline())
            .map(|it| (it.inode.blkno, it.path))
            .collect();
        let found: Vec<_> = found.iter().step_by(found.len().div_ceil(300)).collect();
        let commands: Vec<_> = found.iter().map(|(blkno, _)| format!("frag <{blkno}>")).collect();
        let Some(said) = crate::compare::run(&image, &commands) else { return };
        for ((blkno, path), said) in found.iter().zip(said) {
            let path = std::ffi::OsStr::from_bytes(path).into();
            let file = ocfs2_o2info::PathOnVolume { path, device: 0 };
            let volume = Box::new(volume.on(volume.device().clone()));
            let source = ocfs2_o2info::Source::Volume(volume, Some(file));
            let text = ocfs2_o2info::answer(&source, ocfs2_o2info::Request::FileStat).unwrap();
            assert!(text.contains(&format!("Inode: {blkno} ")), "{name} {blkno}: {text}");
            for (word, theirs) in [
                ("Clusters: ", "clusters: "),
                ("Extents: ", "extents: "),
                ("Frag%: ", "fragmented: "),
                ("Score: ", "score: "),
            ] {
                let (ours, theirs) = (number_after(&text, word), number_after(&said.c, theirs));
                // The score of the C tool is cut off.
                let near = (ours - theirs).abs() <= if word == "Score: " { 1.0 } else { 0.0 };
                assert!(near, "{name} {blkno} {word}: {text}{}", said.c);
            }
            files += 1;
        }
    }
    assert!(files > 300, "{files}");
}

#[test]
fn the_status_of_a_file_in_an_image_is_that_of_the_file_it_was_made_of() {
    let scratch = Scratch::new();
    let image = crate::writing::volume(&scratch, "-b 4096 -C 4096");
    let stat = |path: &str, format: &str| {
        let run = Run::new("stat").args(["-c", format]).arg(scratch.join("folder").join(path));
        run.success().stdout.trim_end().to_owned()
    };
    let run = Run::new(program("debugfs.ocfs2")).args(["-w", "-R", "symlink /link sub/inner"]);
    run.arg(&image).success();
    for (path, source, clusters) in
        [("/large", "large", 74), ("/small", "small", 0), ("link", "sub/inner", 3)]
    {
        let both = ["--filestat", "--space-usage", "--path", path];
        let text = ours(&image, &both).expect_status(0).stdout;
        let size = format!("  Size: {:<10}\t", stat(source, "%s"));
        let times = format!("\nModify: {}\n", stat(source, "%y"));
        let access = format!("Access: ({:0>4}/{})  Uid: (", stat(source, "%a"), stat(source, "%A"));
        for part in [&size, &times, &access, &format!("Clusters: {clusters} ")] {
            assert!(text.contains(part.as_str()), "{part}: {text}");
        }
        let blocks = if clusters == 0 { 1 } else { clusters * 8 };
        assert!(text.contains(&format!("\nBlocks: {blocks} ")), "{text}");
    }
}

/// Makes a volume with the options that `o2info --mkfs` shows, as a shell understands them.
fn remade(mkfs: &Path, options: &str, image: &Path) -> ocfs2_testing::Outcome {
    let file = std::fs::File::create(image).unwrap();
    file.set_len(700 << 20).unwrap();
    let line = format!("\"$0\" -q -F {} \"$1\"", options.trim());
    Run::new("sh").args(["-c", &line]).arg(mkfs).arg(image).stdin("").output()
}

#[test]
fn mkfs_makes_an_equivalent_volume_with_the_options_that_are_shown() {
    let scratch = Scratch::new();
    let again = scratch.join("again");
    let mut made = Vec::new();
    for name in ["clean-512-local", "clean-1k-local", "clean-4k-o2cb", "clean-1m-global"] {
        made.push((name.to_owned(), fixture(name)));
    }
    let several = [
        "-M local -N 1 --fs-features=nosparse,noappend-dio",
        "-N 3 --fs-feature-level=max-compat -L 'two words'",
        "-N 2 --cluster-stack=pcmk --cluster-name=hacluster -L \"it's \\$HOME\"",
        "-N 2 --cluster-stack=o2cb --cluster-name=web --global-heartbeat --label=-x",
        "-N 2 -b 1024 -C 32K --fs-features=metaecc,usrquota,noxattr",
    ];
    for (index, options) in several.iter().enumerate() {
        let image = scratch.join(format!("image-{index}"));
        remade(&program("mkfs.ocfs2"), options, &image).expect_status(0);
        made.push((options.to_string(), image));
    }
    let c_mkfs = ocfs2_testing::oracle("mkfs.ocfs2");
    for (name, original) in &made {
        let options = ours(original, &["--mkfs"]).expect_status(0).stdout;
        let traits = |image: &Path| {
            let said = ours(image, &["--volinfo"]).expect_status(0).stdout;
            let lines = said.lines().filter(|line| !line.contains("UUID:"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let stamp = |image: &Path| {
            let stats = Run::new(program("debugfs.ocfs2")).args(["-R", "stats -h"]).arg(image);
            let stats = stats.success().stdout;
            let lines = stats.lines().filter(|line| line.contains("luster"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        for mkfs in [Some(program("mkfs.ocfs2")), c_mkfs.clone()].into_iter().flatten() {
            let said = remade(&mkfs, &options, &again);
            assert_eq!(said.status, 0, "{name}: {options}{said}");
            assert_eq!(traits(&again), traits(original), "{name}: {options}");
            assert_eq!(stamp(&again), stamp(original), "{name}: {options}");
            assert_eq!(ours(&again, &["--mkfs"]).stdout, options, "{name}");
            std::fs::remove_file(&again).unwrap();
        }
    }
}

#[test]
fn the_options_for_mkfs_are_those_of_the_c_tool_without_what_mkfs_refuses() {
    let Some(c) = oracle() else { return };
    for name in ["clean-512-local", "clean-2k-local", "clean-4k-o2cb", "clean-1m-global"] {
        let image = fixture(name);
        let Some(device) = LoopDevice::attach(&image, &["--read-only"]) else { return };
        let theirs = Run::new(&c).arg("--mkfs").arg(device.path()).output().stdout;
        let ours = ours(&image, &["--mkfs"]).expect_status(0).stdout;
        let is_cluster =
            |word: &&str| word.starts_with("--cluster-") || *word == "--global-heartbeat";
        let words: Vec<_> = ours.split(' ').filter(|word| !is_cluster(word)).collect();
        assert_eq!(words.join(" "), theirs.replace("strict-journal-super,", ""), "{name}");
    }
}

#[test]
fn packed_images_and_volumes_without_a_superblock_are_read() {
    let scratch = Scratch::new();
    let (image, packed) = (fixture("clean-4k-o2cb"), scratch.join("packed"));
    Run::new(program("o2image")).arg("-q").arg(&image).arg(&packed).success();
    for request in ["--volinfo", "--mkfs", "--freeinode", "--fs-features"] {
        let of = |image: &Path| ours(image, &[request]).expect_status(0).stdout;
        assert_eq!(of(&packed), of(&image), "{request}");
    }
    let large = scratch.join("large");
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-L", "large"]);
    mkfs.arg(&large).arg("1200M").success();
    let expected = ours(&large, &["--volinfo"]).expect_status(0).stdout;
    let file = std::fs::File::options().write(true).open(&large).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 4096], 2 * 4096).unwrap();
    ours(&large, &["--volinfo"]).expect_status(1);
    let found = ours(&large, &["-s", "1", "--volinfo"]).expect_status(0);
    assert_eq!(found.stdout, expected);
    let saving = |options: &[&str]| {
        let run = Run::new(program("o2image")).arg("-q").args(options);
        run.arg(&large).arg(scratch.join("saved")).output()
    };
    saving(&[]).expect_status(1);
    saving(&["--superblock", "1"]).expect_status(0);
}

#[test]
fn json_has_what_the_text_has_and_is_as_the_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/o2info.schema.json");
    let schema = serde_json::from_reader(std::fs::File::open(path).unwrap()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let document = |image: &Path, arguments: &[&str], status| -> serde_json::Value {
        let said = Run::new(program("o2info")).arg("--json").args(arguments).arg(image).output();
        let said = said.expect_status(status);
        let document = serde_json::from_str(&said.stdout).unwrap();
        let wrong: Vec<_> = schema.iter_errors(&document).map(|err| err.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?}: {said}");
        document
    };
    let image = fixture("clean-4k-o2cb");
    let requests = ["--volinfo", "--mkfs", "--freeinode", "--freefrag", "64", "--fs-features"];
    let of_file = ["--filestat", "--space-usage", "--path", "/n1/reflink/inline"];
    let all = document(&image, &[&requests[..], &of_file].concat(), 0);
    let text = ours(&image, &["--volinfo", "--mkfs", "--freefrag", "64"]).expect_status(0).stdout;
    for (value, shown) in [
        (&all["volinfo"]["uuid"], "UUID: "),
        (&all["volinfo"]["slots"], "Node Slots: "),
        (&all["volinfo"]["label"], "Label: "),
        (&all["freefrag"]["free_clusters"], "Free clusters: "),
        (&all["freefrag"]["free_chunks"], "Free chunks: "),
    ] {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert!(text.contains(&format!("{shown}{value}")), "{shown}{value}: {text}");
    }
    assert!(text.contains(all["mkfs"].as_str().unwrap()));
    assert_eq!(all["filestat"], all["space_usage"]);
    assert_eq!(all["freeinode"].as_array().unwrap().len(), 4);
    assert_eq!(all["errors"].as_array().unwrap().len(), 0);
    // What fails is missing, and said in both places.
    let some = document(&image, &["--volinfo", "--filestat", "--path", "/none"], 1);
    assert!(some["filestat"].is_null() && some["volinfo"].is_object());
    assert!(some["errors"][0].as_str().unwrap().starts_with("filestat: /none: "));
    let none = document(Path::new("/dev/null"), &["--volinfo"], 1);
    assert!(none["volinfo"].is_null() && none["errors"].as_array().unwrap().len() == 1);
}
