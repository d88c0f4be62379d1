//! Running machines, and their results.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tempfile::TempDir;

use super::kernel_log::KernelLog;
use super::machine::Machine;
use super::turn::Turn;

/// Running machines. Killed when dropped.
#[derive(Debug)]
#[must_use]
pub struct Running {
    machines: Vec<Machine>,
    folder: TempDir,
    _turn: Turn,
    end: Instant,
    allowed: Vec<String>,
}

impl Running {
    pub(super) fn new(
        machines: Vec<Machine>,
        folder: TempDir,
        turn: Turn,
        timeout: Duration,
        allowed: Vec<String>,
    ) -> Self {
        Self { machines, folder, _turn: turn, end: Instant::now() + timeout, allowed }
    }

    /// Crashes a machine from outside, at once: nothing is flushed, no other node is informed.
    ///
    /// # Errors
    /// If it has ended before.
    pub fn crash(&mut self, node: usize) -> Result<()> {
        self.look()?;
        ensure!(!self.machines[node].ended, "node {node} has ended before it could crash");
        fs::write(self.file(&format!("lab/crashed.{node}")), "")?;
        self.machines[node].process.kill()?;
        Ok(())
    }

    /// Waits until a machine has printed `text`.
    ///
    /// # Errors
    /// If it ends, or the time is up, before that; the error includes what it has printed.
    pub fn wait_for(&mut self, node: usize, text: &str) -> Result<()> {
        loop {
            // In this order: it may print and end between the two.
            self.look()?;
            let ended = self.machines[node].ended;
            let output = self.read(&format!("output.{node}"));
            if output.contains(text) {
                return Ok(());
            }
            if ended || Instant::now() > self.end {
                bail!("node {node} did not print {text:?}:\n{output}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until all machines have ended; those still running when the time is up are killed.
    ///
    /// # Errors
    /// If the kernel of one of them complained about OCFS2, or crashed.
    pub fn wait(mut self) -> Result<Run> {
        let mut timed_out = false;
        while self.look()? {
            if Instant::now() > self.end {
                timed_out = true;
                for machine in self.machines.iter_mut().filter(|machine| !machine.ended) {
                    machine.process.kill()?;
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        let numbers = 0..self.machines.len();
        let run = Run { nodes: numbers.map(|number| self.node(number, timed_out)).collect() };
        for (number, node) in run.nodes.iter().enumerate() {
            let complaints = node.kernel_log.complaints(&self.allowed);
            ensure!(
                complaints.is_empty(),
                "the kernel of node {number} complains:\n{}\n{run}",
                complaints.join("\n")
            );
        }
        Ok(run)
    }

    /// Notices machines that have ended, and informs the others. Returns whether any is running.
    fn look(&mut self) -> Result<bool> {
        let mut runs = false;
        for number in 0..self.machines.len() {
            let machine = &mut self.machines[number];
            if machine.ended {
                continue;
            }
            if machine.process.try_wait()?.is_none() {
                runs = true;
                continue;
            }
            machine.ended = true;
            fs::write(self.file(&format!("lab/gone.{number}")), "")?;
            fs::write(self.file(&format!("lab/over.{number}")), "")?;
        }
        Ok(runs)
    }

    fn node(&self, number: usize, timed_out: bool) -> Node {
        let status = self.read(&format!("lab/status.{number}"));
        let end = if let Ok(status) = status.trim().parse() {
            End::Exit(status)
        } else if self.file(&format!("lab/crashed.{number}")).exists() {
            End::Crashed
        } else if timed_out {
            End::TimedOut
        } else {
            End::Died(self.read(&format!("emulator.{number}")))
        };
        Node {
            end,
            output: self.read(&format!("output.{number}")),
            kernel_log: KernelLog::new(&self.read(&format!("console.{number}"))),
            dmesg: self.read(&format!("lab/dmesg.{number}")),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.file(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for machine in self.machines.iter_mut().filter(|machine| !machine.ended) {
            // It may just have ended by itself.
            let _ = machine.process.kill();
            let _ = machine.process.wait();
        }
    }
}

/// How a machine ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// Its script ended with this status.
    Exit(i32),
    /// It was crashed on purpose.
    Crashed,
    /// It was killed because its time was up.
    TimedOut,
    /// It reset itself: the kernel panicked, or the cluster fenced it. Or the emulator failed, with
    /// this message.
    Died(String),
}

/// Result of a machine.
#[derive(Clone, Debug)]
pub struct Node {
    /// How it ended.
    pub end: End,
    /// Output of its script, including standard error.
    pub output: String,
    /// Warnings of its kernel, and worse messages.
    pub kernel_log: KernelLog,
    /// All messages of the kernel, if the script came to an end.
    pub dmesg: String,
}

/// Results of the machines.
#[derive(Clone, Debug)]
#[must_use]
pub struct Run {
    nodes: Vec<Node>,
}

impl Run {
    /// Result of a node.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// Output of the first machine's script.
    pub fn output(&self) -> &str {
        &self.nodes[0].output
    }

    /// Demands that every script ended with status 0 or in a crash on purpose.
    ///
    /// # Panics
    /// If one did not, with everything that was printed.
    #[track_caller]
    pub fn assert_ok(&self) {
        let ok = |node: &Node| matches!(node.end, End::Exit(0) | End::Crashed);
        assert!(self.nodes.iter().all(ok), "a machine failed:\n{self}");
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, node) in self.nodes.iter().enumerate() {
            let Node { end, output, kernel_log, .. } = node;
            writeln!(f, "node {number} ended: {end:?}\nit printed:\n{output}")?;
            writeln!(f, "its kernel warned:\n{kernel_log}")?;
        }
        Ok(())
    }
}
