//! The virtual machines themselves, which the other tests here rely on.

use std::thread;

use anyhow::{Context, Result};
use ocfs2_testing::skip;
use ocfs2_testing::vm::{End, Lab};

/// Returns the lab. `None`, with a message that the calling test is skipped, if there is none.
pub fn lab() -> Option<Lab> {
    Lab::ready().map_err(|err| skip(&format!("{err:#}"))).ok()
}

/// Returns the labs that judge: with the kernel of this distribution, and with the newest one
/// available to this machine. Their releases are printed. If the newest kernel is missing, it is
/// skipped with a message.
pub fn labs() -> Vec<Lab> {
    let Some(ours) = lab() else { return Vec::new() };
    let newest = Lab::newest().map_err(|err| skip(&format!("{err:#}"))).ok().flatten();
    let labs: Vec<_> = std::iter::once(ours).chain(newest).collect();
    let releases: Vec<_> = labs.iter().map(Lab::kernel_release).collect();
    eprintln!("judged by Linux {}", releases.join(" and "));
    labs
}

/// Divides `all` among the labs that judge, and runs `judge` with all labs at the same time.
pub fn shared_out<T: Copy + Send>(
    all: &[T],
    judge: impl Fn(&Lab, Vec<T>) -> Result<()> + Sync,
) -> Result<()> {
    let labs = labs();
    thread::scope(|scope| {
        let parts = labs.iter().enumerate().map(|(index, lab)| {
            let part: Vec<_> = all.iter().copied().skip(index).step_by(labs.len()).collect();
            let judge = &judge;
            scope.spawn(move || match part.is_empty() {
                true => Ok(()),
                false => judge(lab, part).context(lab.kernel_release().to_owned()),
            })
        });
        let parts: Vec<_> = parts.collect();
        let ended = parts.into_iter().map(|part| part.join().expect("it panics there"));
        ended.collect()
    })
}

#[test]
fn a_machine_gives_what_its_script_printed_and_how_it_ended() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let run = lab.vm().script("echo on node $NODE; uname -r; echo oops >&2; exit 3").run()?;
    let expected = format!("on node 0\n{}\noops\n", lab.kernel_release());
    assert_eq!((run.output(), &run.node(0).end), (expected.as_str(), &End::Exit(3)));
    assert!(run.node(0).dmesg.contains("Linux version"));
    // Without it clocks and timeouts of a machine are wrong while this computer is busy.
    assert!(run.node(0).dmesg.contains("tsc_early_khz="), "it was not told the rate of the clock");

    let run = lab.vm().script("echo before; crash; echo after").run()?;
    assert_eq!((run.output(), &run.node(0).end), ("before\n", &End::Crashed));
    Ok(())
}

#[test]
fn a_machine_is_crashed_from_outside_or_killed_when_its_time_is_up() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let mut running = lab.vm().script("echo ready; sleep 1000").start()?;
    running.wait_for(0, "ready")?;
    running.crash(0)?;
    assert_eq!(running.wait()?.node(0).end, End::Crashed);

    let time = std::time::Duration::from_millis(100);
    let run = lab.vm().script("sleep 1000").timeout(time).run()?;
    assert_eq!(run.node(0).end, End::TimedOut);
    Ok(())
}

#[test]
fn a_complaint_of_the_kernel_fails_the_run_unless_it_is_allowed() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let complain = "echo '<3>OCFS2: ERROR (device vda): made up' >/dev/kmsg";
    let err = lab.vm().script(complain).run().expect_err("the kernel complained");
    assert!(err.to_string().contains("made up"), "{err:#}");
    lab.vm().script(complain).allow("made up").run()?.assert_ok();

    let panic = "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 100";
    let err = lab.vm().script(panic).run().expect_err("the kernel panicked");
    assert!(err.to_string().contains("Kernel panic"), "{err:#}");
    Ok(())
}
