//! Text from a disk or from the command line is only shown, and has no effect on a terminal, a
//! shell or udev.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ocfs2_cli::encode::{is_unsafe, unescaped};
use ocfs2_testing::damage::Image;
use ocfs2_testing::{Run, Scratch, fixture_copy, program};

/// A second line for udev, a shell and a list; escape sequences, delete, C1 control characters (in
/// UTF-8 and alone), invalid UTF-8, and a change of the text direction.
const HOSTILE: &[&[u8]] = &[
    b"x\nINJECTED=1\n",
    b"\r\x1b[2J\x1b]0;t\x07\x7f",
    b"\xc2\x9b2J\xc2\x85",
    b"\xff\x9b\xc3",
    b"a\xe2\x80\xaeb\xe2\x81\xa6",
];

/// Offsets in a volume with blocks of 4 KiB.
const LABEL: u64 = 2 * 4096 + 0xc0 + 0x50;
const CLUSTER: u64 = 2 * 4096 + 0xc0 + 0x50 + 64 + 16 + 8;

/// Returns everything that one of our programs prints, whatever its status.
fn printed(name: &str, dir: &Path, arguments: &[&OsStr]) -> Vec<u8> {
    let mut command = Command::new(program(name));
    let output = command
        .current_dir(dir)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    [output.stdout, output.stderr].concat()
}

/// Demands that nothing in `text` has an effect on a terminal, and that it has no injected line.
fn assert_harmless(text: &[u8], what: &str) {
    let shown = text.escape_ascii();
    let text = std::str::from_utf8(text).unwrap_or_else(|_| panic!("{what}: no UTF-8: {shown}"));
    let is_bad = |c: char| c != '\n' && c != '\t' && is_unsafe(c);
    assert!(!text.contains(is_bad), "{what}: {shown}");
    assert!(!text.lines().any(|line| line.starts_with("INJECTED")), "{what}: {shown}");
}

fn words(line: &str) -> Vec<&OsStr> {
    line.split_whitespace().map(OsStr::new).collect()
}

#[test]
fn a_label_and_a_cluster_from_a_disk_do_nothing() {
    let scratch = Scratch::new();
    let image = fixture_copy("clean-4k-o2cb", &scratch);
    let name = image.file_name().unwrap();
    let file = File::options().write(true).open(&image).unwrap();
    for text in HOSTILE {
        let field = |len: usize| {
            let mut bytes = text[..text.len().min(len)].to_vec();
            bytes.resize(len, 0);
            bytes
        };
        file.write_all_at(&field(64), LABEL).unwrap();
        file.write_all_at(&field(16), CLUSTER).unwrap();
        for (tool, line) in [
            ("blkid.ocfs2", ""),
            ("blkid.ocfs2", "-d"),
            ("blkid.ocfs2", "-p"),
            ("blkid.ocfs2", "-p -d -o full"),
            ("blkid.ocfs2", "-o value"),
            ("blkid.ocfs2", "-p -d -o value"),
            ("blkid.ocfs2", "-o list"),
            ("blkid.ocfs2", "-p -o udev"),
            ("blkid.ocfs2", "-p -d -o udev"),
            ("blkid.ocfs2", "-p -o export"),
            ("blkid.ocfs2", "-p -d -o export"),
            ("blkid.ocfs2", "-o json"),
            ("mounted.ocfs2", "-d"),
            ("mounted.ocfs2", "-f --wait=0"),
            ("mounted.ocfs2", "-f -v --wait=0"),
            ("mounted.ocfs2", "-d --json"),
            ("mounted.ocfs2", "--check -v"),
            ("mounted.ocfs2", "--check --json"),
            ("mounted.ocfs2", "-f --wait=0 --json"),
            ("tunefs.ocfs2", "-Q %V|%C\\n"),
            ("tunefs.ocfs2", "--update-cluster-stack -n"),
            ("o2cluster", "-o"),
            ("o2cluster", "--update=o2cb,db,local -n"),
            ("mkfs.ocfs2", "-n"),
            ("mkfs.ocfs2", "-n --json -F"),
            ("fsck.ocfs2", "-n"),
            ("fsck.ocfs2", "-fnv"),
            ("fsck.ocfs2", "-fn --json"),
            ("fsck.ocfs2", "-fn --json-lines"),
            ("mount.ocfs2", "-f -v --"),
            ("debugfs.ocfs2", "-R stats"),
            ("debugfs.ocfs2", "-R stat_sysdir"),
            ("debugfs.ocfs2", "--json -R stats"),
            ("debugfs.ocfs2", "--json -R stat_sysdir"),
            ("o2info", "--volinfo"),
            ("o2info", "--mkfs"),
        ] {
            let mut arguments = words(line);
            arguments.push(name);
            if tool == "mount.ocfs2" {
                arguments.push(OsStr::new("/"));
            }
            let text = printed(tool, scratch.path(), &arguments);
            assert!(!text.is_empty(), "{tool} {line}");
            assert_harmless(&text, &format!("{tool} {line}"));
        }
    }
}

#[test]
fn arguments_do_nothing() {
    let scratch = Scratch::new();
    for text in HOSTILE {
        let argument = OsString::from_vec(text.to_vec());
        let option = OsString::from_vec([b"--", *text].concat());
        // First it does not exist, then it is not a volume.
        for is_there in [false, true] {
            let path = scratch.join(&argument);
            if is_there {
                File::create(path).unwrap().set_len(8 << 20).unwrap();
            }
            for (tool, line) in [
                ("blkid.ocfs2", ""),
                ("blkid.ocfs2", "-p -o export"),
                ("blkid.ocfs2", "-o"),
                ("mounted.ocfs2", "-d"),
                ("mounted.ocfs2", "-d --json"),
                ("tunefs.ocfs2", "-Q %V"),
                ("tunefs.ocfs2", "x -Q"),
                ("mkfs.ocfs2", "-n -M local"),
                ("mkfs.ocfs2", "-n --json -q -M local"),
                ("mkfs.ocfs2", "disk -M"),
                ("mkfs.ocfs2", "disk --fs-features"),
                ("fsck.ocfs2", "-n"),
                ("fsck.ocfs2", "-n --json"),
                ("fsck.ocfs2", "-n --undo-file"),
                ("mount.ocfs2", "-f / -o"),
                ("mount.ocfs2", "-f /"),
                ("o2cb", "list-nodes --config-file"),
                ("o2cb", "add-cluster --config-file x"),
                ("o2cb", "list-cluster --config-file y"),
                ("o2cb_ctl", "-I -t node --config-file"),
                ("o2cb_ctl", "--config-file x -I -t node -n"),
                ("o2cb_ctl", "--config-file x -I -t node -a"),
                ("o2cb_ctl", "--config-file x -C -i -t cluster -n"),
                ("debugfs.ocfs2", "-R stats"),
                ("debugfs.ocfs2", "-R"),
                ("debugfs.ocfs2", "-d"),
                ("debugfs.ocfs2", "-n -f"),
                ("o2cluster", "-o"),
                ("o2cluster", "-uo2cb,x,local -y"),
                ("o2info", "--volinfo"),
                ("o2info", "--freefrag 0"),
                ("ocfs2_hb_ctl", "-I -d"),
                ("ocfs2_hb_ctl", "-I -u"),
            ] {
                let mut arguments = words(line);
                arguments.push(&argument);
                assert_harmless(&printed(tool, scratch.path(), &arguments), tool);
            }
            for tool in [
                "blkid.ocfs2",
                "mounted.ocfs2",
                "mkfs.ocfs2",
                "fsck.ocfs2",
                "o2cb",
                "debugfs.ocfs2",
                "o2info",
            ] {
                assert_harmless(&printed(tool, scratch.path(), &[&option]), tool);
            }
        }
    }
}

#[test]
fn a_path_in_an_error_is_there_in_full_and_once() {
    let scratch = Scratch::new();
    let name = OsStr::from_bytes(b"lost-\xff\xc3\xa4\n");
    for (tool, line) in [
        ("blkid.ocfs2", ""),
        ("mounted.ocfs2", "-d"),
        ("tunefs.ocfs2", "-Q %V"),
        ("fsck.ocfs2", "-n"),
        ("mkfs.ocfs2", "-n"),
        ("mount.ocfs2", "/mnt"),
        ("debugfs.ocfs2", "-R stats"),
        ("o2cluster", "-o"),
        ("o2info", "--volinfo"),
    ] {
        let mut arguments = words(line);
        arguments.insert(if tool == "mount.ocfs2" { 0 } else { arguments.len() }, name);
        let text = String::from_utf8(printed(tool, scratch.path(), &arguments)).unwrap();
        assert_eq!(text.matches("lost-").count(), 1, "{tool}: {text}");
        // All encoders use the same form for the byte.
        assert!(text.to_ascii_lowercase().contains("lost-\\xffä\\n"), "{tool}: {text}");
    }
}

#[test]
fn a_name_in_a_finding_is_as_the_locale_has_it_and_can_be_had_back() {
    let scratch = Scratch::new();
    let name = "ä \\\u{1b}\n\u{85}";
    let folder = scratch.join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(name), "").unwrap();
    let path = scratch.join("named.img");
    let mkfs = Run::new(program("mkfs.ocfs2")).args(["-q", "-M", "local", "-N", "1", "-d"]);
    mkfs.arg(&folder).arg(&path).arg("64M").success();
    let image = Image::open(path, scratch);
    image.edit_entry(image.inode("/").blkno, name, |entry, _| entry.file_type = 7);
    let fsck = |locale, options: &[&str]| {
        let fsck = Run::new(program("fsck.ocfs2")).env("LC_ALL", locale).args(options);
        fsck.arg(image.path()).output().expect_status(4).stdout
    };
    let shown = r#"entry "ä \\\u{1b}\n\u{85}""#;
    let text = fsck("C.UTF-8", &["-fn"]);
    assert!(text.contains(shown), "{text}");
    let text = fsck("C", &["-fn"]);
    assert!(text.is_ascii() && text.contains(&shown.replace('ä', r"\xc3\xa4")), "{text}");
    for locale in ["C", "C.UTF-8"] {
        let json: serde_json::Value =
            serde_json::from_str(&fsck(locale, &["-fn", "--json"])).unwrap();
        let found = json["findings"][0]["place"]["name"].as_str().unwrap();
        assert_eq!(unescaped(found).unwrap(), name.as_bytes(), "{found}");
    }
}

#[test]
fn a_device_in_json_can_be_had_back() {
    let scratch = Scratch::new();
    let name = OsStr::from_bytes(b"v\\\xff\xc3\xa4");
    fs::rename(fixture_copy("clean-4k-o2cb", &scratch), scratch.join(name)).unwrap();
    for (tool, line, entry) in [
        ("blkid.ocfs2", "-o json", "/0"),
        ("mounted.ocfs2", "-d --json", "/volumes/0"),
        ("mkfs.ocfs2", "-n --json -F", ""),
        ("fsck.ocfs2", "-fn --json", ""),
    ] {
        let arguments = [words(line), vec![name]].concat();
        let output = Run::new(program(tool)).current_dir(scratch.path()).args(arguments).output();
        let json: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        let entry = json.pointer(entry).unwrap_or_else(|| panic!("{tool}: {json}"));
        assert_eq!(entry["device"], "v\\\u{fffd}ä", "{tool}");
        let escaped = entry["device_escaped"].as_str().unwrap();
        assert_eq!(unescaped(escaped).unwrap(), name.as_bytes(), "{tool}: {escaped}");
    }
}

#[test]
fn a_configuration_does_nothing() {
    let scratch = Scratch::new();
    for text in HOSTILE {
        let text = text.iter().copied().filter(|byte| *byte != b'\n').collect::<Vec<_>>();
        let stanza =
            b"cluster:\n\tnode_count = 1\n\tname = c\n\nnode:\n\tcluster = c\n\tnumber = 0\n\
            \tip_port = 7777\n\tip_address = 10.0.0.1\n\tname = n\\\n";
        fs::write(scratch.join("c"), [&stanza[..], &text, b"\n"].concat()).unwrap();
        for line in ["list-clusters", "list-cluster c", "list-nodes c --oneline"] {
            let mut arguments = words(line);
            arguments.extend(words("--config-file c"));
            assert_harmless(&printed("o2cb", scratch.path(), &arguments), line);
        }
    }
}

/// Returns the sources of a crate, without their tests.
fn sources(name: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates").join(name)];
    folders[0].push("src");
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension() == Some(OsStr::new("rs")) && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
                sources.push((path, code));
            }
        }
    }
    sources
}

#[test]
fn there_are_no_other_ways_out() {
    const PROGRAMS: &[&str] =
        &["blkid", "debugfs", "fsck", "mkfs", "mount", "mounted", "o2cb", "o2info", "tunefs"];
    const LIBRARIES: &[&str] = &["cluster", "format", "probe", "volume"];
    // Ways around `Output`, and around the encoders of JSON.
    const PRINTS: &[&str] =
        &["println!(", "print!(", "io::stdout()", "io::stderr()", "Stdout", "Stderr", "dbg!("];
    const LOSSY: &[&str] = &["serde_json::to_", "from_utf8_lossy", "to_string_lossy", ".display()"];
    let check = |name: &str, forbidden: &[&str]| {
        for (path, code) in sources(name) {
            for (number, line) in code.lines().enumerate() {
                // Code may ask whether the output is a terminal.
                let asks = line.contains(".is_terminal()");
                let found = forbidden.iter().find(|word| line.contains(**word) && !asks);
                let is_comment = line.trim_start().starts_with("//");
                if let Some(word) = found.filter(|_| !is_comment) {
                    let (path, number) = (path.display(), number + 1);
                    panic!(
                        "{path}:{number}: {word}: crates/cli/src/encode.rs has what is for this"
                    );
                }
            }
        }
    };
    for name in PROGRAMS {
        assert!(sources(name).len() > 1);
        check(name, &[PRINTS, LOSSY].concat());
    }
    LIBRARIES.iter().for_each(|name| check(name, PRINTS));
    check("volume", &[".display()"]);
    let ours = OsStr::from_bytes(b"encode.rs");
    assert!(sources("cli").iter().any(|(path, _)| path.file_name() == Some(ours)));
}
