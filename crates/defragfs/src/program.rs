//! The program.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use ocfs2_cli::{
    Interrupt, Interrupted, Output, Status, print_error, print_json, print_note, print_warning,
    progress, shown,
};

use crate::Cli;
use crate::file::{Outcome, Settings, handle};
use crate::record::Record;
use crate::report::{Report, line};
use crate::tree::{Tree, root_of};

/// Time after which the place of a run is stored again.
const STORED_EVERY: Duration = Duration::from_secs(5);

/// Looks at the files that `cli` names, and moves them.
///
/// # Errors
/// A target cannot be used; standard output cannot be written; a signal came.
pub fn run(cli: &Cli) -> Result<Status> {
    if cli.offline {
        return crate::offline::run(cli);
    }
    if !cli.resume {
        return Run::new(cli)?.all(0, None);
    }
    let (cli, target, after) = Record::load()?;
    let targets: Vec<_> = cli.targets.iter().map(shown).collect();
    print_note(format_args!("goes on with {}", targets.join(" ")));
    Run::new(&cli)?.all(target, after)
}

struct Run<'a> {
    cli: &'a Cli,
    settings: Settings,
    interrupt: Interrupt,
    stored: Instant,
}

impl<'a> Run<'a> {
    fn new(cli: &'a Cli) -> Result<Self> {
        let settings = Settings {
            only_looks: cli.count || cli.dry_run,
            threshold: cli.threshold,
            shared: cli.shared,
            low_io: cli.low_io,
        };
        Ok(Self { cli, settings, interrupt: Interrupt::install()?, stored: Instant::now() })
    }

    /// Handles all targets from the one with index `first` on, that one after a file.
    fn all(mut self, first: usize, mut after: Option<PathBuf>) -> Result<Status> {
        // Wrong words are noticed before any work.
        let targets = self.cli.targets.iter();
        let roots = targets.map(|target| root_of(target)).collect::<Result<Vec<_>>>()?;
        let mut report = Report::default();
        let mut out = Output::stdout();
        let all = self.cli.targets.iter().zip(&roots).enumerate();
        for (index, (target, root)) in all.skip(first) {
            let one = if self.cli.count { &mut Report::default() } else { &mut report };
            self.target(index, root, after.take(), one)?;
            if self.cli.count && !self.cli.json {
                one.print_count(target, &mut out)?;
            }
        }
        if !self.settings.only_looks {
            Record::forget();
        }
        let is_good = report.is_good();
        if self.cli.json {
            print_json(&mut out, &report.complete())?;
        } else if !self.cli.count {
            report.print(&mut out)?;
        }
        Ok(if is_good { Status::SUCCESS } else { Status::FAILURE })
    }

    fn target(
        &mut self,
        index: usize,
        root: &Path,
        after: Option<PathBuf>,
        report: &mut Report,
    ) -> Result<()> {
        let bar = progress(!self.cli.verbose && !self.cli.json);
        let task = if self.settings.only_looks { "Looking at files" } else { "Moving files" };
        bar.start(task, 0);
        let mut done = after.clone();
        let (mut tree, mut count) = (Tree::new(root, after)?, 0);
        let mut out = Output::stdout();
        loop {
            let mut batch = Vec::new();
            for found in tree.by_ref().take(self.cli.threads.into()) {
                match found {
                    Ok(path) => batch.push(path),
                    Err((path, err)) => {
                        bar.pause();
                        let err = anyhow::Error::new(err).context(shown(&path));
                        report.fail(&path, format!("{err:#}"));
                        print_error(&err);
                    }
                }
            }
            let Some(last) = batch.last().cloned() else { break };
            let outcomes = match self.handle_all(&batch) {
                Ok(outcomes) => outcomes,
                Err(interrupted) => {
                    bar.finish();
                    self.store(index, done.as_deref(), true);
                    return Err(interrupted.into());
                }
            };
            for (path, outcome) in batch.iter().zip(&outcomes) {
                report.add(path, outcome);
                if let Some(problem) = &outcome.problem {
                    bar.pause();
                    print_warning(format_args!("{}: {problem}", shown(path)));
                }
                if self.cli.verbose && !self.cli.json {
                    writeln!(out, "{}", line(path, outcome, self.settings.only_looks))?;
                }
            }
            count += batch.len() as u64;
            bar.update(count);
            done = Some(last);
            self.store(index, done.as_deref(), false);
        }
        bar.finish();
        Ok(())
    }

    /// Handles some files at the same time.
    fn handle_all(&self, paths: &[PathBuf]) -> Result<Vec<Outcome>, Interrupted> {
        let one = |path: &Path| handle(path, self.settings, &self.interrupt);
        if let [path] = paths {
            return Ok(vec![one(path)?]);
        }
        thread::scope(|scope| {
            let all: Vec<_> = paths.iter().map(|path| scope.spawn(move || one(path))).collect();
            let ended = all.into_iter().map(|thread| thread.join().unwrap_or(Err(Interrupted)));
            ended.collect()
        })
    }

    /// Stores the place of the run, if that was not done just before or `is_end`.
    fn store(&mut self, target: usize, after: Option<&Path>, is_end: bool) {
        if self.settings.only_looks || !is_end && self.stored.elapsed() < STORED_EVERY {
            return;
        }
        self.stored = Instant::now();
        match Record::new(self.cli, target, after).store() {
            Ok(true) if is_end => print_note("defragfs.ocfs2 --resume goes on from here"),
            Ok(_) => {}
            Err(err) if is_end => {
                print_warning(format_args!("where it was interrupted cannot be stored: {err}"));
            }
            Err(_) => {}
        }
    }
}
