//! `--json`: a document for each command, as docs/debugfs.schema.json says.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use jsonschema::Validator;
use ocfs2_format::dinode::{Arm, DynFeatures};
use ocfs2_format::extent::ExtentBlock;
use ocfs2_format::{Block, Structure, dx};
use ocfs2_testing::{Run, Scratch, fixture, fixture_copy, program};
use ocfs2_volume::Volume;
use serde_json::{Value, json};

use crate::inodes::{inodes, volume};

/// Commands that change a volume or the session: their documents contain what was done.
const OTHERS: [&str; 46] = [
    "blocktrash",
    "cd",
    "chroot",
    "close",
    "clri",
    "controld",
    "copy_block",
    "copy_inode",
    "dump",
    "ea_rm",
    "ea_set",
    "expand_dir",
    "fallocate",
    "freeb",
    "freei",
    "freesub",
    "fuzz",
    "journal_close",
    "journal_open",
    "journal_run",
    "journal_write",
    "kill_file",
    "ln",
    "logclear",
    "mkdir",
    "mknod",
    "modify_inode",
    "open",
    "punch",
    "rdump",
    "rebuild_index",
    "reflink",
    "rename",
    "rm",
    "rmdir",
    "set",
    "set_current_time",
    "set_inode_field",
    "set_journal",
    "set_quota",
    "set_super_value",
    "setb",
    "seti",
    "setsub",
    "symlink",
    "truncate",
];
/// The rest of these commands.
const MORE: [&str; 9] = [
    "fill",
    "undel",
    "write",
    "zap",
    "source",
    "set_extent",
    "set_group",
    "set_refcount",
    "set_xattr_field",
];

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/debugfs.schema.json");
    serde_json::from_reader(File::open(path).unwrap()).unwrap()
}

/// Validates documents. Each record is validated by its kind, so that errors name what is wrong.
struct Judge {
    document: Validator,
    kinds: std::collections::BTreeMap<String, Validator>,
}

impl Judge {
    fn new() -> Self {
        let schema = schema();
        let kinds = schema["properties"]["records"]["items"]["anyOf"].as_array().unwrap();
        let name =
            |kind: &Value| kind["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let of = |kind: &String| {
            let one = json!({ "$ref": format!("#/$defs/{kind}"), "$defs": schema["$defs"] });
            (kind.clone(), jsonschema::validator_for(&one).unwrap())
        };
        let kinds = kinds.iter().map(name).collect::<Vec<_>>();
        // Records are validated separately.
        let mut whole = schema.clone();
        whole["properties"]["records"]["items"] = json!({ "type": "object" });
        let document = jsonschema::validator_for(&whole).unwrap();
        Self { document, kinds: kinds.iter().map(of).collect() }
    }

    #[track_caller]
    fn assert(&self, value: &Value) {
        let errors: Vec<_> = self.document.iter_errors(value).map(|err| err.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{value:#}");
        for record in value["records"].as_array().unwrap() {
            let kind = record["kind"].as_str().unwrap();
            let validator = self.kinds.get(kind).unwrap_or_else(|| panic!("{kind}: {record:#}"));
            let errors: Vec<_> = validator.iter_errors(record).map(|err| err.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:?}\n{record:#}", value["command"]);
        }
    }
}

/// Returns the documents of commands, and makes sure that they are valid.
fn documents(judge: &Judge, image: &Path, commands: &[String]) -> Vec<Value> {
    let run = Run::new(program("debugfs.ocfs2")).arg("--json").arg(image);
    let done = run.stdin(commands.join("\n") + "\n").output();
    assert!(matches!(done.status, 0 | 1), "{}", done.stderr);
    let documents: Vec<Value> = serde_json::Deserializer::from_str(&done.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|err| panic!("{err}"));
    assert_eq!(documents.len(), commands.len());
    let mut failed = false;
    for (document, command) in documents.iter().zip(commands) {
        judge.assert(document);
        assert_eq!(document["command"], json!(command));
        let is_error = document["exit_status"] == 1;
        assert_eq!(is_error, !document["errors"].as_array().unwrap().is_empty(), "{document:#}");
        failed |= is_error;
    }
    assert_eq!(failed, done.status == 1);
    documents
}

/// Returns commands that read, about a volume and everything in it.
fn commands(volume: &Volume, scratch: &Scratch) -> Vec<String> {
    let mut commands: Vec<String> = [
        "stats",
        "stats -h",
        "stat_sysdir",
        "slotmap",
        "hb",
        "who",
        "params",
        "curdev",
        "pwd",
        "lcd",
        "feature",
        "fields",
        "fields dinode",
        "help",
        "help stat",
        "logdump 0",
        "logdump -s 0",
        "freefrag",
        "lsdel",
        "testb 0 9000",
        "ffb 3",
        "ffi",
        "icheck 3 5 99 5000 9000",
        "locate <5> <6>",
        "findpath <5>",
        "ls -l",
        "lq user",
        "gq group 0",
        "dx_hash name",
        "dirsearch / lost+found",
        "decode <M000000000000000000000500000000>",
        "refcount -o 1000",
        "nonsense",
        "stat /nothing",
    ]
    .map(str::to_owned)
    .into();
    for (name, file) in [("fs_locks", "fs_state"), ("dlm_locks", "dlm_state"), ("net_stats", "net")]
    {
        commands.push(format!("{name} -f {}", scratch.join(file).display()));
    }
    let mut add_attribute = Vec::new();
    let mut add = |names: &[&str], number: u64| {
        commands.extend(names.iter().map(|name| match name.split_once(' ') {
            Some(("bmap", block)) => format!("bmap <{number}> {block}"),
            Some(("logdump", _)) => format!("logdump -b <{number}> 0"),
            _ => format!("{name} <{number}>"),
        }));
    };
    for (index, inode) in inodes(volume).iter().enumerate() {
        // Of ordinary inodes a few are enough.
        let list = inode.extent_list().ok().filter(|_| inode.dinode.arm() == Arm::ExtentList);
        let is_deep = list.is_some_and(|list| list.header.l_tree_depth > 0);
        if index > 200 && !is_deep && inode.dinode.i_refcount_loc.is_none() && !inode.is_dir() {
            continue;
        }
        let number = inode.blkno.0;
        add(&["stat", "print", "xattr -v", "encode", "bmap 0", "imap", "testi", "verify"], number);
        add(&["type", "block_dump", "inode_dump", "ea_list", "extents", "frag"], number);
        add(&["logdump -b"], number);
        if volume.has(ocfs2_format::feature::Incompat::META_ECC) {
            add(&["crc"], number);
        }
        if inode.is_dir() {
            add(&["ls", "ls -l", "dirblocks", "dx_dump", "dx_space"], number);
        }
        let features = inode.dinode.dyn_features();
        if inode.is_dir() && features.contains(DynFeatures::INDEXED_DIR) {
            add(&["htree"], number);
            let root = inode.dinode.i_dx_root;
            add(&["dx_root"], root.0);
            let block = volume.read_block(root).unwrap();
            if let Some(extent) = dx::DxRoot::decode(&block)
                .ok()
                .filter(|root| !root.is_inline())
                .and_then(|_| dx::DxRoot::extents(&block).unwrap().records().next())
            {
                add(&["dx_leaf"], extent.e_blkno.0);
            }
        }
        if features.contains(DynFeatures::HAS_REFCOUNT) {
            add(&["refcount -e", "sharers"], number);
        }
        match inode.dinode.arm() {
            Arm::ExtentList => {
                let list = inode.extent_list().unwrap();
                let first = list.records().next();
                if let Some(below) = first.filter(|_| list.header.l_tree_depth > 0) {
                    assert!(volume.read_block(below.e_blkno).unwrap().starts_with(b"EXBLK01"));
                    assert_eq!(ExtentBlock::SIGNATURE[..7], *b"EXBLK01");
                    add(&["extent"], below.e_blkno.0);
                }
                if inode.size() < 100_000 && !inode.is_dir() {
                    add(&["cat", "blocks"], number);
                }
            }
            Arm::Chain => {
                let list = ocfs2_format::chain::ChainList::new(inode.id2()).unwrap();
                for group in list.records().take(2) {
                    add(&["group", "grpextents"], group.c_blkno.0);
                }
            }
            _ => {}
        }
        for xattr in volume.xattrs(inode).flatten().take(1) {
            if let Ok(name) = String::from_utf8(xattr.name)
                && name.bytes().all(|byte| byte.is_ascii_graphic())
            {
                add_attribute.push(format!("ea_get <{number}> {name}"));
            }
        }
    }
    commands.extend(add_attribute);
    // It comes last, since it would read the following lines as answers.
    commands.push("extent_open //journal:0000".to_owned());
    commands
}

/// Writes the input of `fs_locks`, `dlm_locks` and `net_stats`, as Linux writes it.
fn write_states(scratch: &Scratch) {
    fs::write(scratch.join("fs_state"), crate::recipes::fs_state()).unwrap();
    fs::write(scratch.join("dlm_state"), crate::recipes::dlm_state()).unwrap();
    fs::write(scratch.join("net"), "1,1,69,1420572,94689370,1931844843,94,10336428\n").unwrap();
}

#[test]
fn every_reading_command_gives_a_document_that_the_schema_allows() {
    let (judge, scratch) = (Judge::new(), Scratch::new());
    write_states(&scratch);
    let (mut with_records, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for name in ["clean-1k-local", "clean-4k-o2cb", "crashed-512-o2cb", "clean-512-local"] {
        let image = fixture(name);
        let commands = commands(&volume(&image), &scratch);
        for document in documents(&judge, &image, &commands) {
            let records = document["records"].as_array().unwrap();
            let command = document["command"].as_str().unwrap();
            if !records.is_empty() {
                with_records.insert(command.split(' ').next().unwrap().to_owned());
            }
            kinds.extend(records.iter().map(|it| it["kind"].as_str().unwrap().to_owned()));
        }
    }
    // No command was forgotten.
    let help = documents(&judge, &fixture("clean-512-local"), &["help".to_owned()]);
    for command in help[0]["records"].as_array().unwrap() {
        let names = command["names"].as_array().unwrap();
        let has = |name: &str| names.iter().any(|it| it == name);
        if !OTHERS.iter().chain(&MORE).any(|name| has(name)) {
            assert!(with_records.iter().any(|name| has(name)), "{names:?} has no records");
        }
    }
    assert!(kinds.len() > 40, "{kinds:?}");
}

#[test]
fn what_was_changed_is_in_a_document_too() {
    let (judge, scratch) = (Judge::new(), Scratch::new());
    let image = fixture_copy("clean-512-local", &scratch);
    let run = |command: &str| {
        let run = Run::new(program("debugfs.ocfs2")).args(["--json", "-w", "-R", command]);
        let done = run.arg(&image).output();
        let document: Value = serde_json::from_str(&done.stdout).unwrap();
        judge.assert(&document);
        assert_eq!(document["exit_status"], done.status);
        document
    };
    let made = run("mkdir /new");
    assert_eq!(made["records"][0]["kind"], "change");
    let again = run("mkdir /new");
    assert_eq!((&again["records"], &again["exit_status"]), (&json!([]), &json!(1)));
    assert!(again["errors"][0].as_str().unwrap().starts_with("mkdir: "));
    fs::write(scratch.join("block"), "some data").unwrap();
    let written = run(&format!("jw 0 <20000> {}", scratch.join("block").display()));
    assert_eq!(written["records"][0]["kind"], "log_change");
    assert_eq!(run("mkdir /no")["exit_status"], 1);
    let replayed = run("jr");
    assert_eq!(replayed["records"][0]["transactions"], 1, "{replayed:#}");
    assert_eq!(run("mkdir /yes")["exit_status"], 0);
}

#[test]
fn a_volume_that_is_not_there_and_names_of_locks_have_documents_too() {
    let judge = Judge::new();
    let document = |arguments: &[&str], status: i32| {
        let run = Run::new(program("debugfs.ocfs2")).arg("--json").args(arguments);
        let done = run.output().expect_status(status);
        let document: Value = serde_json::from_str(&done.stdout).unwrap();
        judge.assert(&document);
        assert_eq!(document["exit_status"], status);
        document
    };
    let missing = document(&["-R", "ls", "/nonexistent"], 1);
    assert!(missing["errors"][0].as_str().unwrap().contains("/nonexistent"), "{missing:#}");
    let lock = document(&["-e", "N", "17", "5"], 0);
    assert_eq!(lock["records"][0]["parent"], 5);
    let locks = document(&["-d", "N000000000000000500000011", "nothing"], 1);
    assert_eq!(locks["records"][0]["block"], 17);
    assert_eq!(locks["errors"][0], "nothing: is not a name of a lock");
}

#[test]
fn the_schema_refuses_what_is_not_in_it() {
    let image = fixture("clean-512-local");
    let run = Run::new(program("debugfs.ocfs2")).args(["--json", "-R", "ls /"]).arg(image);
    let good: Value = serde_json::from_str(&run.success().stdout).unwrap();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    assert!(validator.is_valid(&good));
    let refuses = |change: &dyn Fn(&mut Value)| {
        let mut bad = good.clone();
        change(&mut bad);
        !validator.is_valid(&bad)
    };
    assert!(refuses(&|bad| bad["colour"] = json!("blue")));
    assert!(refuses(&|bad| bad["records"][0]["colour"] = json!("blue")));
    assert!(refuses(&|bad| bad["records"][0]["kind"] = json!("structure")));
    assert!(refuses(&|bad| bad["records"][0]["inode"] = json!("5")));
    assert!(refuses(&|bad| drop(bad.as_object_mut().unwrap().remove("errors"))));
}

#[test]
fn values_of_a_document_are_those_of_the_text() {
    let image = fixture("clean-4k-o2cb");
    let run = |json: bool, command: &str| {
        let run = Run::new(program("debugfs.ocfs2")).args(["-R", command]);
        let run = if json { run.arg("--json") } else { run };
        run.arg(&image).success().stdout
    };
    let mut compared = 0;
    for place in
        ["/", "/n0", "//global_bitmap", "//journal:0000", "<2>", "<9749>", "<9766>", "<16>"]
    {
        let document: Value = serde_json::from_str(&run(true, &format!("print {place}"))).unwrap();
        let fields = &document["records"][0]["fields"];
        for line in run(false, &format!("print {place}")).lines() {
            let (name, text) = line.split_once(" = ").unwrap();
            let pointer = name.replace('[', "/").replace(']', "").replace('.', "/");
            let value = fields.pointer(&format!("/{pointer}")).unwrap_or_else(|| panic!("{line}"));
            let shown = match value {
                Value::String(value) if text.starts_with('"') => format!("\"{value}\""),
                Value::String(value) => value.clone(),
                Value::Array(all) => all.iter().map(Value::to_string).collect::<Vec<_>>().join(" "),
                value => value.to_string(),
            };
            let text = if value.is_number() { text.split(' ').next().unwrap() } else { text };
            assert_eq!(shown, text, "{place}: {line}");
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared}");
    // Rows of lists have the same contents as the text.
    let document: Value = serde_json::from_str(&run(true, "ls -l /n1")).unwrap();
    let text = run(false, "ls -l /n1");
    let records = document["records"].as_array().unwrap();
    assert_eq!(records.len(), text.lines().count());
    for (record, line) in records.iter().zip(text.lines()) {
        let words: Vec<_> = line.split_whitespace().collect();
        let numbers = ["inode", "links", "uid", "gid", "size"].map(|it| record[it].to_string());
        assert_eq!(numbers, [words[0], words[2], words[3], words[4], words[5]]);
        assert_eq!(record["name"], *words.last().unwrap());
    }
}
