//! The statements of ARCHITECTURE.md about the crates, checked by their manifests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A crate of this workspace, as its manifest describes it.
struct Manifest {
    /// Whether it has a program.
    is_tool: bool,
    /// Crates of this workspace that it needs outside of its tests.
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
    // The crate that makes volumes for tests may use mkfs, and one crate is all tools together.
    let together = ["ocfs2-testing", "ocfs2-programs"];
    let programs = all.iter().filter(|(name, _)| !together.contains(&name.as_str()));
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

/// Adds all source files below a folder to `found`.
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
    // The lints of the workspace forbid it in all other crates.
    for (name, folder) in manifests().keys().map(|name| (name, &name["ocfs2-".len()..])) {
        let text = fs::read_to_string(root.join("crates").join(folder).join("Cargo.toml")).unwrap();
        let inherits = text.contains("[lints]\nworkspace = true");
        assert_eq!(inherits, name != "ocfs2-ioctl", "{name}");
    }
}

/// Returns the names after `crate::` in a file: the modules and items at the root of the crate that
/// it uses.
fn first_names(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let text = lines.collect::<Vec<_>>().join(" ");
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect()
    };
    let mut found = BTreeSet::new();
    for path in text.split("crate::").skip(1) {
        let Some(list) = path.strip_prefix('{') else {
            found.insert(name(path));
            continue;
        };
        let (mut depth, mut at_name) = (0, true);
        for (at, it) in list.char_indices() {
            match it {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => at_name = true,
                _ if at_name && !it.is_whitespace() => {
                    found.insert(name(&list[at..]));
                    at_name = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// Returns the modules at the root of a crate, each with those that it uses.
fn uses_of_modules(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let library = fs::read_to_string(source.join("lib.rs")).unwrap();
    // Names that the root re-exports, each with its module.
    let mut homes = BTreeMap::new();
    for line in library.lines().filter_map(|line| line.split_once("use ")) {
        let (module, names) = line.1.split_once("::").unwrap();
        let names = names.split(|it: char| !it.is_alphanumeric() && it != '_');
        homes.extend(names.map(|name| (name.to_owned(), module.to_owned())));
    }
    let mut all = Vec::new();
    sources(source, &mut all);
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in &all {
        let first = path.strip_prefix(source).unwrap().components().next().unwrap();
        let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let used = first_names(&fs::read_to_string(path).unwrap());
        let used = used.into_iter().map(|name| homes.get(&name).cloned().unwrap_or(name));
        uses.entry(module).or_default().extend(used);
    }
    for (module, used) in &mut uses {
        used.remove(module);
    }
    uses
}

/// Returns a module that uses itself through others, with those on the way.
fn circle(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let none = BTreeSet::new();
    uses.keys().find_map(|start| {
        let (mut ways, mut seen) = (vec![vec![start.clone()]], BTreeSet::new());
        while let Some(way) = ways.pop() {
            for next in uses.get(way.last().unwrap()).unwrap_or(&none) {
                let way: Vec<_> = way.iter().chain([next]).cloned().collect();
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    ways.push(way);
                }
            }
        }
        None
    })
}

#[test]
fn the_modules_of_fsck_are_in_no_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut uses = uses_of_modules(&root.join("crates/fsck/src"));
    assert!(uses.len() > 30 && uses["chains"].contains("state"), "{uses:?}");
    assert_eq!(circle(&uses), None);
    // A circle would be noticed.
    uses.get_mut("state").unwrap().insert("chains".to_owned());
    assert!(circle(&uses).is_some());
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
