//! `o2cb configure`.

use std::io::{BufRead, Write};

use anyhow::{Result, anyhow, bail};
use ocfs2_cli::{causes, terminal};
use ocfs2_cluster::{ClusterConf, Timeouts, check_cluster_name};

use crate::Sysconfig;
use crate::cli::{Configure, yes_or_no};

/// Applies the settings in `told` to `file`, or asks for them if there are none. An empty answer
/// keeps the value in brackets, and an invalid one is asked for again. With `echo` answers are
/// printed, for input that is not a terminal.
///
/// # Errors
/// If a setting is not valid, too many answers are not valid, the input ends, or input or output
/// fails. `file` must not be written then.
pub fn configure(
    file: &mut Sysconfig,
    told: &Configure,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    echo: bool,
) -> Result<()> {
    let told = if *told == Configure::default() {
        ask(file, Dialogue { input, out, echo })?
    } else {
        told.clone()
    };
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
        check_boot_cluster(file, cluster)?;
        file.set("O2CB_BOOTCLUSTER", if cluster == "none" { "" } else { cluster });
    }
    for (key, number) in numbers {
        if let Some(number) = number {
            file.set(key, &number.to_string());
        }
    }
    file.timeouts()?;
    Ok(())
}

/// Invalid answers to one question before the dialogue ends with an error.
const MOST_ANSWERS: usize = 5;

/// The input and output of the dialogue.
struct Dialogue<'a> {
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    /// Whether answers are printed.
    echo: bool,
}

impl Dialogue<'_> {
    /// Asks until `answer` accepts the text. An empty text stands for the current value.
    fn question<T>(
        &mut self,
        text: &str,
        current: &str,
        answer: impl Fn(&str) -> Result<T>,
    ) -> Result<T> {
        let mut left = MOST_ANSWERS;
        loop {
            let line = self.line(text, current)?;
            left -= 1;
            match answer(if line.is_empty() { current } else { &line }) {
                Ok(answer) => return Ok(answer),
                Err(err) if left == 0 => return Err(err.context("nothing is written")),
                Err(err) => writeln!(self.out, "{}", terminal(causes(&err)))?,
            }
        }
    }

    fn line(&mut self, text: &str, current: &str) -> Result<String> {
        write!(self.out, "{text} [{}]: ", terminal(current))?;
        self.out.flush()?;
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            writeln!(self.out)?;
            bail!(
                "the answers end before the last question: nothing is written; options tell \
                 without questions, see --help"
            );
        }
        let line = line.trim();
        if self.echo {
            writeln!(self.out, "{}", terminal(line))?;
        }
        Ok(line.to_owned())
    }

    /// Asks for a number that is at least `least`, and below `end` if that is given.
    fn number(
        &mut self,
        text: &str,
        current: Option<u32>,
        least: u32,
        end: Option<u32>,
    ) -> Result<Option<u32>> {
        let current = current.unwrap_or_default().to_string();
        let number = self.question(text, &current, |answer| match answer.parse::<u32>() {
            Err(_) => bail!("\"{answer}\" is not a number"),
            Ok(number) if number < least => {
                bail!("{number} is too small, expected {least} or more")
            }
            Ok(number) if end.is_some_and(|end| number >= end) => {
                bail!("{number} is too large, expected less than {}", end.unwrap_or_default())
            }
            Ok(number) => Ok(number),
        })?;
        Ok(Some(number))
    }
}

fn ask(file: &Sysconfig, mut dialogue: Dialogue<'_>) -> Result<Configure> {
    let out = &mut dialogue.out;
    writeln!(out, "Configuring the O2CB driver.\n")?;
    writeln!(out, "This will configure the on-boot properties of the O2CB driver.")?;
    writeln!(out, "The current values are shown in brackets ('[]'). Enter keeps one.\n")?;
    let enabled = if file.is_enabled() { "y" } else { "n" };
    let load_on_boot = dialogue.question("Load O2CB driver on boot (y/n)", enabled, |answer| {
        yes_or_no(answer).map_err(|_| anyhow!("\"{answer}\" is neither y nor n"))
    })?;
    let stack = file.get("O2CB_STACK").unwrap_or("o2cb");
    let stack = dialogue.question("Cluster stack backing O2CB", stack, |stack| {
        if !["o2cb", "pcmk", "cman"].contains(&stack) {
            bail!("stack {stack} is not known, expected o2cb, pcmk or cman");
        }
        Ok(stack.to_owned())
    })?;
    let cluster = file.boot_cluster().unwrap_or("none");
    let text = "Cluster to start on boot (Enter \"none\" to clear)";
    let cluster = dialogue.question(text, cluster, |cluster| {
        check_boot_cluster(file, cluster)?;
        Ok(cluster.to_owned())
    })?;
    let timeouts = file.timeouts().unwrap_or_default().or(Timeouts::OF_KERNEL);
    let Timeouts { dead_threshold, idle_timeout_ms, keepalive_delay_ms, reconnect_delay_ms } =
        timeouts;
    let text = "Specify heartbeat dead threshold (>=3)";
    let dead_threshold = dialogue.number(text, dead_threshold, 3, None)?;
    let text = "Specify network idle timeout in ms";
    let idle_timeout = dialogue.number(text, idle_timeout_ms, 2, None)?;
    let text = "Specify network keepalive delay in ms";
    let keepalive_delay = dialogue.number(text, keepalive_delay_ms, 1, idle_timeout)?;
    let text = "Specify network reconnect delay in ms";
    let reconnect_delay = dialogue.number(text, reconnect_delay_ms, 1, None)?;
    Ok(Configure {
        load_on_boot: Some(load_on_boot),
        stack: Some(stack),
        cluster: Some(cluster),
        dead_threshold,
        idle_timeout,
        keepalive_delay,
        reconnect_delay,
    })
}

/// Checks whether `cluster` can be brought online at boot; `none` stands for no cluster. The name
/// in the file may stay whatever it is, because someone wrote it there by hand.
fn check_boot_cluster(file: &Sysconfig, cluster: &str) -> Result<()> {
    if !["none", ""].contains(&cluster) && file.boot_cluster() != Some(cluster) {
        check_cluster_name(cluster)?;
    }
    Ok(())
}

/// Returns a warning if the cluster for boot is not in `conf`.
pub fn unknown_cluster(file: &Sysconfig, conf: &ClusterConf) -> Option<String> {
    let name = file.boot_cluster().filter(|name| conf.cluster(name).is_none())?;
    let is_o2cb = file.get("O2CB_STACK").is_none_or(|stack| stack == "o2cb");
    is_o2cb.then(|| {
        format!(
            "there is no cluster {name} in the configuration: it cannot be brought online before \
             `o2cb add-cluster {name}`, and `o2cb add-node` for each node"
        )
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
    fn what_cannot_be_is_asked_for_again() {
        for (answers, message) in [
            ("perhaps\n", "\"perhaps\" is neither y nor n"),
            ("\nheart\n", "stack heart is not known, expected o2cb, pcmk or cman"),
            ("\n\n\nmany\n", "\"many\" is not a number"),
            (
                "\n\n$(reboot)\n",
                "`$(reboot)` cannot be the name of a cluster: expected 1 to 16 letters and digits",
            ),
            ("\n\n\n2\n", "2 is too small, expected 3 or more"),
            ("\n\n\n\n\n30000\n", "30000 is too large, expected less than 30000"),
        ] {
            let (file, out) = answered(&format!("{answers}{}", "\n".repeat(7))).unwrap();
            assert!(out.contains(&format!("\n{message}\n")), "{out}");
            assert_eq!(file.get("O2CB_STACK"), Some("o2cb"));
            let last = answers.trim_start_matches('\n');
            let never = answers.replace(last, &last.repeat(MOST_ANSWERS + 1));
            let err = format!("{:#}", answered(&never).unwrap_err());
            assert_eq!(err, format!("nothing is written: {message}"));
        }
    }

    #[test]
    fn a_cluster_that_is_not_configured_is_told() {
        let conf = ClusterConf::parse("cluster:\n\tname = web\n\tnode_count = 0\n").unwrap();
        let mut file = Sysconfig::default();
        assert_eq!(unknown_cluster(&file, &conf), None);
        file.set("O2CB_BOOTCLUSTER", "web");
        assert_eq!(unknown_cluster(&file, &conf), None);
        file.set("O2CB_BOOTCLUSTER", "nosuch");
        let told = unknown_cluster(&file, &conf).unwrap();
        assert!(told.starts_with("there is no cluster nosuch in the configuration"), "{told}");
        file.set("O2CB_STACK", "pcmk");
        assert_eq!(unknown_cluster(&file, &conf), None);
    }

    #[test]
    fn nothing_is_asked_when_an_option_tells() {
        let (mut file, mut out) = (Sysconfig::default(), Vec::new());
        let told = Configure { dead_threshold: Some(61), ..Default::default() };
        configure(&mut file, &told, &mut "n\n".as_bytes(), &mut out, true).unwrap();
        assert_eq!((file.text(), out.len()), ("O2CB_HEARTBEAT_THRESHOLD=61\n", 0));
    }
}
