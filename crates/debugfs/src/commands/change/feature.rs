//! Features: shown, and those set or cleared that are nothing but their bit.

use ocfs2_format::feature::{FEATURES, Feature, FeatureRequest, Features};

use super::say;
use crate::error::Failure;
use crate::screen::Screen;
use crate::shell::Shell;

/// Features that can be set: the volume stays as it is, and what is made later may use them.
const SETTABLE: [&str; 5] = ["inline-data", "unwritten", "refcount", "discontig-bg", "append-dio"];
/// Features that can be cleared: nothing on the volume needs them to be understood.
const CLEARABLE: [&str; 2] = ["metaecc", "append-dio"];

/// `feature`
pub(in super::super) fn feature(
    shell: &mut Shell,
    words: &[Vec<u8>],
    out: &mut Screen,
) -> Result<(), Failure> {
    let before = shell.fs()?.volume.features();
    if words.is_empty() {
        return show(before, out);
    }
    let after = request_of(words)?.apply(before);
    let (set, cleared) = (after.difference(before), before.difference(after));
    for feature in FEATURES {
        verify(&feature, set, cleared)?;
    }
    if after == before {
        return show(before, out);
    }
    shell.writer()?;
    let ((), committed) = shell.change(|edit| {
        Ok(edit.update_superblock(|superblock| {
            superblock.set_features(after);
        })?)
    })?;
    let part = |verb: &str, features: Features| {
        let names = features.names();
        (!names.is_empty()).then(|| format!("{verb} {}", names.join(" ")))
    };
    let parts: Vec<_> = part("set:", set).into_iter().chain(part("cleared:", cleared)).collect();
    say(out, &parts.join(", "), committed)
}

fn show(features: Features, out: &mut Screen) -> Result<(), Failure> {
    let set = FEATURES.iter().filter(|feature| features.contains(feature.bit));
    let names: Vec<_> = set.map(|feature| feature.name).collect();
    out.row(
        "features",
        |it| it.put("names", names.clone()),
        format_args!("Features: {}", names.join(" ")),
    )?;
    Ok(())
}

/// What is asked for: names as of `--fs-features`, or with a sign as in debugfs of e2fsprogs.
fn request_of(words: &[Vec<u8>]) -> Result<FeatureRequest, Failure> {
    let named = |word: &Vec<u8>| {
        let word = ocfs2_cli::terminal(word);
        match (word.strip_prefix('+'), word.strip_prefix(['-', '^'])) {
            (Some(name), _) => name.to_owned(),
            (None, Some(name)) => format!("no{name}"),
            (None, None) => word,
        }
    };
    let list: Vec<_> = words.iter().map(named).collect();
    FeatureRequest::parse(&list.join(",")).map_err(|err| Failure::Failed(err.to_string()))
}

/// Fails if a switch of this feature takes more than the bit.
fn verify(feature: &Feature, set: Features, cleared: Features) -> Result<(), Failure> {
    let Feature { name, bit, .. } = *feature;
    let is_among = |names: &[&str]| names.contains(&name);
    let (is_allowed, no) = match (set.contains(bit), cleared.contains(bit)) {
        (false, false) => return Ok(()),
        (true, _) => (is_among(&SETTABLE), ""),
        (false, true) => (is_among(&CLEARABLE), "no"),
    };
    if is_allowed {
        return Ok(());
    }
    let verb = if no.is_empty() { "set" } else { "clear" };
    let text = format!(
        "To {verb} {name} takes more than its bit: use tunefs.ocfs2 --fs-features={no}{name}"
    );
    Err(Failure::Failed(text))
}
