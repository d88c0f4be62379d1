//! The shell as a person sees it, on a terminal made by `script`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use ocfs2_testing::{Run, Scratch, fixture, oracle, program};

/// Returns the output on the terminal and the status, after keys were typed, each part at once.
fn typed(pager: Option<&str>, parts: &[&str]) -> Option<(String, i32)> {
    let scratch = Scratch::new();
    typed_with(scratch.path(), pager, parts)
}

/// The same, with a folder for the history.
fn typed_with(state: &Path, pager: Option<&str>, parts: &[&str]) -> Option<(String, i32)> {
    let script = oracle("script")?;
    // Keys that are typed before the first prompt would be lost when the mode of the terminal
    // changes.
    let command = format!("sleep 0.3; exec {}", program("debugfs.ocfs2").display());
    let keys: String = parts.iter().map(|keys| format!("sleep 0.7; printf '{keys}'; ")).collect();
    let feed = format!(
        "(sleep 1; {keys} sleep 0.5) | \"$0\" -qec '{command} {}' /dev/null",
        fixture("crashed-512-local").display()
    );
    let run = Run::new("sh")
        .args(["-c", &feed])
        .arg(script)
        .env("TERM", "xterm")
        .env("XDG_STATE_HOME", state);
    let outcome = run.env("PAGER", pager.unwrap_or_default()).output();
    Some((outcome.stdout.replace('\r', ""), outcome.status))
}

#[test]
fn lines_are_edited_and_those_typed_ahead_are_not_lost() {
    // Backspace, the previous line by an arrow key, and Ctrl-C to discard a line.
    let keys = ["pwdd\\177\\r\\033[A\\rfo\\003", "nonsense\\rstat /\\rquit\\r"];
    let Some((text, status)) = typed(None, &keys) else { return };
    assert_eq!(text.matches("\n/\n").count(), 2, "{text}");
    assert!(text.contains("nonsense: command not found; "), "{text}");
    assert!(text.contains("Sub Alloc Slot: Global") && status == 0, "{status}: {text}");
}

#[test]
fn what_is_shown_goes_through_a_pager_and_what_fails_does_not() {
    let keys = ["pwd\\rnonsense\\r\\004"];
    let Some((text, status)) = typed(Some("sed s/^/paged:/"), &keys) else { return };
    assert!(text.contains("\npaged:/\n") && text.contains("\nnonsense: command"), "{text}");
    assert_eq!(status, 0, "{text}");
}

#[test]
fn commands_paths_and_fields_are_completed() {
    let keys = [
        "slotm\\t\\r",
        "stat -T //global_b\\t\\r",
        "print //global_bitmap.i_cl\\t\\r",
        "fields dx_l\\t\\r",
        "quit\\r",
    ];
    let Some((text, status)) = typed(None, &keys) else { return };
    assert!(text.contains("Slot#   Node#"), "{text}");
    assert!(text.contains("Bitmap Total: "), "{text}");
    assert!(text.contains("\ni_clusters = "), "{text}");
    assert!(text.contains("dl_signature") && status == 0, "{status}: {text}");
}

#[test]
fn ctrl_c_ends_a_command_and_not_the_shell() {
    let keys = ["net_stats -f /dev/null 1\\r", "\\003", "pwd\\rquit\\r"];
    let Some((text, status)) = typed(None, &keys) else { return };
    assert!(text.contains("Node#  send q") && text.contains("\n/\n"), "{text}");
    assert_eq!(status, 0, "{text}");
}

#[test]
fn whoever_is_asked_is_no_pager() {
    let keys = ["eo //journal:0000\\r", "current\\r", "\\004", "quit\\r"];
    let Some((text, status)) = typed(Some("sed s/^/paged:/"), &keys) else { return };
    assert_eq!(text.matches("depth 0, record 0 of 0 to 0").count(), 2, "{text}");
    assert!(!text.contains("paged:") && status == 0, "{status}: {text}");
}

#[test]
fn the_next_shell_knows_what_was_typed_in_the_last_one() {
    let scratch = Scratch::new();
    let file = scratch.join("ocfs2/debugfs_history");
    let run = |keys: &str| typed_with(scratch.path(), None, &[keys]);
    if run("stat -T /\\rpwd\\rquit\\r").is_none() {
        return;
    }
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with("\nstat -T /\npwd\nquit\n"), "{text}");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    // Three lines back is the first one.
    let (shown, status) = run("\\033[A\\033[A\\033[A\\r\\004").unwrap();
    assert!(shown.contains("Sub Alloc Slot: Global") && status == 0, "{shown}");
    // Where it cannot be, nothing is said: in a file, through a link, in no folder.
    let victim = scratch.join("victim");
    fs::write(&victim, "mine\n").unwrap();
    fs::remove_file(&file).unwrap();
    symlink(&victim, &file).unwrap();
    for state in [scratch.path(), &victim, Path::new("/nonexistent")] {
        let (shown, status) = typed_with(state, None, &["pwd\\rquit\\r"]).unwrap();
        assert!(shown.contains("\n/\n") && status == 0, "{shown}");
        assert!(!shown.to_lowercase().contains("history"), "{shown}");
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine\n");
}
