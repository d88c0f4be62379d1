//! `o2cb configure`.

use std::io::{BufRead, Write};

use anyhow::{Result, bail};
use ocfs2_cluster::{Timeouts, check_cluster_name};

use crate::Sysconfig;
use crate::cli::Configure;

/// Fills in what `told` says, or asks if it says nothing; an empty answer leaves what is in
/// brackets. With `echo` answers are printed: a terminal shows what is typed there.
///
/// # Errors
/// An answer that cannot be, or none: the input ends. Output or input fails. Of `file` nothing is
/// to be written then.
pub fn configure(
    file: &mut Sysconfig,
    told: &Configure,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    echo: bool,
) -> Result<()> {
    let told =
        if *told == Configure::default() { ask(file, input, out, echo)? } else { told.clone() };
    let numbers = [
        ("O2CB_HEARTBEAT_THRESHOLD", told.dead_threshold),
        ("O2CB_IDLE_TIMEOUT_MS", told.idle_timeout),
        ("O2CB_KEEPALIVE_DELAY_MS", told.keepalive_delay),
        ("O2CB_RECONNECT_DELAY_MS", told.reconnect_delay),
    ];
    if let Some(enabled) = told.load_on_boot {
        file.set("O2CB_ENABLED", if enabled { "true" } else { "false" });
    }
    if let Some(stack) = &told.stack {
        file.set("O2CB_STACK", stack);
    }
    if let Some(cluster) = &told.cluster {
        let cluster = if cluster == "none" { "" } else { cluster };
        // What is in the file already may stay: somebody has written it by hand.
        if !cluster.is_empty() && file.boot_cluster() != Some(cluster) {
            check_cluster_name(cluster)?;
        }
        file.set("O2CB_BOOTCLUSTER", cluster);
    }
    for (key, number) in numbers {
        if let Some(number) = number {
            file.set(key, &number.to_string());
        }
    }
    file.timeouts()?;
    Ok(())
}

fn ask(
    file: &Sysconfig,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    echo: bool,
) -> Result<Configure> {
    writeln!(out, "Configuring the O2CB driver.\n")?;
    writeln!(out, "This will configure the on-boot properties of the O2CB driver.")?;
    writeln!(out, "The current values are shown in brackets ('[]'). Enter keeps one.\n")?;
    let mut question = |text: &str, current: String| -> Result<String> {
        write!(out, "{text} [{}]: ", ocfs2_cli::terminal(&current))?;
        out.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            writeln!(out)?;
            bail!(
                "the answers end before the last question: nothing is written; options tell \
                 without questions, see --help"
            );
        }
        let answer = line.trim();
        if echo {
            writeln!(out, "{}", ocfs2_cli::terminal(answer))?;
        }
        Ok(if answer.is_empty() { current } else { answer.to_owned() })
    };
    let enabled = if file.is_enabled() { "y" } else { "n" };
    let load_on_boot = match &*question("Load O2CB driver on boot (y/n)", enabled.to_owned())? {
        "y" | "Y" | "yes" => true,
        "n" | "N" | "no" => false,
        other => bail!("\"{other}\" is neither y nor n"),
    };
    let stack = file.get("O2CB_STACK").unwrap_or("o2cb").to_owned();
    let stack = question("Cluster stack backing O2CB", stack)?;
    if !["o2cb", "pcmk", "cman"].contains(&&*stack) {
        bail!("stack {stack} is not known, expected o2cb, pcmk or cman");
    }
    let cluster = file.boot_cluster().unwrap_or("none").to_owned();
    let cluster = question("Cluster to start on boot (Enter \"none\" to clear)", cluster)?;
    let timeouts = file.timeouts().unwrap_or_default().or(Timeouts::OF_KERNEL);
    let mut number = |text: &str, current: Option<u32>| -> Result<Option<u32>> {
        let answer = question(text, current.unwrap_or_default().to_string())?;
        match answer.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => bail!("\"{answer}\" is not a number"),
        }
    };
    Ok(Configure {
        load_on_boot: Some(load_on_boot),
        stack: Some(stack),
        cluster: Some(cluster),
        dead_threshold: number("Specify heartbeat dead threshold (>=3)", timeouts.dead_threshold)?,
        idle_timeout: number("Specify network idle timeout in ms", timeouts.idle_timeout_ms)?,
        keepalive_delay: number(
            "Specify network keepalive delay in ms",
            timeouts.keepalive_delay_ms,
        )?,
        reconnect_delay: number(
            "Specify network reconnect delay in ms",
            timeouts.reconnect_delay_ms,
        )?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(answers: &str) -> Result<(Sysconfig, String)> {
        let (mut file, mut out) = (Sysconfig::default(), Vec::new());
        configure(&mut file, &Configure::default(), &mut answers.as_bytes(), &mut out, true)?;
        Ok((file, String::from_utf8(out)?))
    }

    #[test]
    fn the_questions_of_the_story_are_asked_and_their_answers_kept() {
        let (file, out) = answered("y\n\novscluster\n8\n10000\n\n\n").unwrap();
        let expected = "O2CB_ENABLED=true\nO2CB_STACK=o2cb\nO2CB_BOOTCLUSTER=ovscluster\n\
            O2CB_HEARTBEAT_THRESHOLD=8\nO2CB_IDLE_TIMEOUT_MS=10000\nO2CB_KEEPALIVE_DELAY_MS=2000\n\
            O2CB_RECONNECT_DELAY_MS=2000\n";
        assert_eq!(file.text(), expected);
        assert!(out.contains("Load O2CB driver on boot (y/n) [n]: y\n"), "{out}");
        let cluster = "Cluster to start on boot (Enter \"none\" to clear) [none]: ovscluster\n";
        assert!(out.contains(cluster), "{out}");
        let (file, _) = answered("\n\n\n\n\n\n\n").unwrap();
        assert!(!file.is_enabled() && file.boot_cluster().is_none());
    }

    #[test]
    fn answers_that_end_early_are_no_answers() {
        for answers in ["", "y\n", "y\n\novscluster\n8\n10000\n\n"] {
            let err = answered(answers).unwrap_err().to_string();
            assert!(err.starts_with("the answers end before the last question"), "{err}");
        }
    }

    #[test]
    fn answers_that_can_not_be_are_refused() {
        for (answers, message) in [
            ("perhaps\n", "\"perhaps\" is neither y nor n"),
            ("\nheart\n", "stack heart is not known, expected o2cb, pcmk or cman"),
            ("\n\n\nmany\n", "\"many\" is not a number"),
            (
                "\n\n$(reboot)\n\n\n\n\n",
                "`$(reboot)` cannot be the name of a cluster: expected 1 to 16 letters and digits",
            ),
            ("\n\n\n2\n\n\n\n", "the heartbeat dead threshold is 2, expected more than 2"),
        ] {
            assert_eq!(answered(answers).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn nothing_is_asked_when_an_option_tells() {
        let (mut file, mut out) = (Sysconfig::default(), Vec::new());
        let told = Configure { dead_threshold: Some(61), ..Default::default() };
        configure(&mut file, &told, &mut "n\n".as_bytes(), &mut out, true).unwrap();
        assert_eq!((file.text(), out.len()), ("O2CB_HEARTBEAT_THRESHOLD=61\n", 0));
    }
}
