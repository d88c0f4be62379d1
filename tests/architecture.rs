//! What ARCHITECTURE.md says of the crates, by their manifests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A crate of this workspace, by its manifest.
struct Manifest {
    /// Whether it makes a program.
    is_tool: bool,
    /// What it needs of this workspace when it is not tested.
    needs: Vec<String>,
}

impl Manifest {
    fn of(text: &str) -> Self {
        let mut section = "";
        let mut needs = Vec::new();
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            } else if section == "[dependencies]" && line.starts_with("ocfs2-") {
                needs.push(line.split(['.', ' ', '=']).next().unwrap().to_owned());
            }
        }
        Self { is_tool: text.contains("[[bin]]"), needs }
    }
}

fn manifests() -> BTreeMap<String, Manifest> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("crates");
    let folders = fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path());
    let manifest = |folder: std::path::PathBuf| {
        let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        (format!("ocfs2-{name}"), Manifest::of(&text))
    };
    folders.map(manifest).collect()
}

#[test]
fn no_tool_depends_on_a_tool_and_dependencies_point_down() {
    let all = manifests();
    let tools: Vec<_> = all.iter().filter(|(_, it)| it.is_tool).map(|(name, _)| name).collect();
    assert!(tools.len() >= 7, "{tools:?}");
    // What makes volumes for tests may use the tool that makes volumes.
    let programs = all.iter().filter(|(name, _)| *name != "ocfs2-testing");
    for (name, manifest) in programs {
        for needed in &manifest.needs {
            assert!(!tools.contains(&needed), "{name} depends on the tool {needed}");
        }
    }
    let needs = |name: &str| all.get(name).unwrap().needs.clone();
    for lowest in ["ocfs2-format", "ocfs2-device", "ocfs2-cluster", "ocfs2-ioctl"] {
        assert!(needs(lowest).is_empty(), "{lowest}");
    }
    assert_eq!(needs("ocfs2-volume"), ["ocfs2-device", "ocfs2-format"]);
}

/// All sources below a folder.
fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn only_one_file_is_unsafe() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = Vec::new();
    sources(&root.join("crates"), &mut all);
    assert!(all.len() > 300, "{}", all.len());
    let is_unsafe = |path: &&std::path::PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.any(|line| line.contains("unsafe {") || line.contains("allow(unsafe_code)"))
    };
    let found: Vec<_> = all.iter().filter(is_unsafe).collect();
    assert_eq!(found, [&root.join("crates/ioctl/src/raw.rs")]);
    // Where the lints of the workspace do not forbid it.
    for (name, folder) in manifests().keys().map(|name| (name, &name["ocfs2-".len()..])) {
        let text = fs::read_to_string(root.join("crates").join(folder).join("Cargo.toml")).unwrap();
        let inherits = text.contains("[lints]\nworkspace = true");
        assert_eq!(inherits, name != "ocfs2-ioctl", "{name}");
    }
}

#[test]
fn what_a_new_clone_runs_first_is_built_soon() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("xtask/Cargo.toml")).unwrap();
    assert!(!text.contains("ocfs2-"), "{text}");
}

#[test]
fn a_manifest_is_read_as_cargo_does() {
    let text = "[[bin]]\n[dependencies]\nocfs2-cli.workspace = true\nocfs2-fsck = { path = \"\" }\n\
                uuid = \"1\"\n[dev-dependencies]\nocfs2-mkfs.workspace = true\n";
    let manifest = Manifest::of(text);
    assert!(manifest.is_tool);
    assert_eq!(manifest.needs, ["ocfs2-cli", "ocfs2-fsck"]);
}
