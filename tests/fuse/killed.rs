//! The program is killed in the middle of its work. What was synced is there afterwards, and of the
//! rest the state after some operation.

use std::path::Path;
use std::thread;
use std::time::Duration;

use ocfs2_testing::{Random, Run, Scratch, oracle, program};

use crate::model::{Shown, compare, read};
use crate::mount::{Written, is_possible, judge, volume};
use crate::random::Stress;

/// The states after all operations from the last sync on.
struct States(Vec<Shown>);

/// Works until the program is killed after `time`.
fn until_killed(stress: &mut Stress, mut mounted: Written, time: Duration) -> States {
    let mut states = States(vec![stress.model.shown()]);
    let pid = mounted.pid();
    let killer = thread::spawn(move || {
        thread::sleep(time);
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    loop {
        let before = stress.model.clone();
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stress.step())) {
            Ok(Ok(is_synced)) => {
                if is_synced {
                    states.0.clear();
                }
                states.0.push(stress.model.shown());
            }
            // The last one may have been done or not, or in part: what it is made of is done after
            // the other.
            Ok(Err(rustix::io::Errno::NOSPC)) => states.0.push(stress.model.shown()),
            Ok(Err(_)) | Err(_) => {
                // What was being done when it ended stays in `renamed`.
                stress.model = before;
                break;
            }
        }
    }
    killer.join().unwrap();
    mounted.kill();
    states
}

fn recover(image: &Path, how: u64) {
    match how % 3 {
        0 => {}
        1 => {
            Run::new(program("fsck.ocfs2")).arg("-fy").arg(image).output();
        }
        _ => {
            if let Some(fsck) = oracle("fsck.ocfs2") {
                Run::new(fsck).arg("-fy").arg(image).output();
            }
        }
    }
}

#[test]
fn what_was_synced_survives_a_kill() {
    if !is_possible() {
        return;
    }
    let hook = std::panic::take_hook();
    // Operations that find the program dead are expected to panic.
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = std::panic::catch_unwind(|| {
        let rounds = std::env::var("OCFS2_FUSE_KILLS").map_or(9, |it| it.parse().unwrap());
        for seed in 1..=rounds {
            killed_once(seed);
        }
    });
    std::panic::set_hook(hook);
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        panic!("{text}");
    }
}

fn killed_once(seed: u64) {
    let scratch = Scratch::new();
    let options = match seed % 2 {
        0 => "-b 4K -C 4K -J size=4M --fs-features=noinline-data",
        _ => "-b 1K -C 8K -J size=4M --fs-features=metaecc,usrquota,grpquota",
    };
    // In a small one clusters are used again soon.
    let size = if seed.is_multiple_of(3) { "16M" } else { "64M" };
    let image = volume(&scratch, options, size);
    let folder = scratch.join("mnt");
    let mut stress = Stress::new(seed, &folder);
    // Each operation is then a state of its own: contents that are overwritten are not journaled.
    stress.overwrites = false;
    let time = Duration::from_millis(100 + Random(seed).below(900) as u64);
    let states = until_killed(&mut stress, Written::new(&image, &folder), time);
    recover(&image, seed);
    let mounted = Written::new(&image, &folder);
    let found = read(&folder);
    // The one during which the program was killed may have been done.
    let last = states.0.last().cloned().unwrap_or_default();
    let is_renamed = |path: &Path| {
        let renamed = stress.renamed.as_ref();
        renamed.is_some_and(|(from, to)| path.starts_with(from) || path.starts_with(to))
    };
    let all = found.keys().chain(last.keys().filter(|path| !found.contains_key(*path)));
    let differ = all.filter(|path| found.get(*path) != last.get(*path) && !is_renamed(path));
    if !states.0.contains(&found) && differ.count() > 2 {
        compare(&found, &last, &format!("seed {seed}, {} states", states.0.len()));
    }
    mounted.unmount();
    judge(&image);
}
