//! Messages of the program: results on standard output, everything else on standard error.

use std::fmt;
use std::io::Write;
use std::path::Path;

use ocfs2_cli::{Output, print_json, program_name, progress, undo_note, volume_argument};

use crate::cli::Cli;
use crate::summary::Summary;
use crate::{Progress, Stage};

/// The warning of mkfs.ocfs2 about `-U`.
const UUID_WARNING: &str = "
WARNING!!! OCFS2 uses the UUID to uniquely identify a file system.
Having two OCFS2 file systems with the same UUID could, in the least,
cause erratic behavior, and if unlucky, cause file system damage.
Please choose the UUID with care.

";

/// Prints the messages of a run according to `-q`, `-v` and `--json`.
pub(crate) struct Messages {
    out: Output,
    /// Print text for people on standard output.
    text: bool,
    /// Print the version on standard error.
    banner: bool,
    verbose: bool,
    json: bool,
    bar: Box<dyn ocfs2_cli::Progress>,
    stage: Option<Stage>,
}

impl Messages {
    pub(crate) fn new(cli: &Cli, out: Output) -> Self {
        Self {
            out,
            text: !cli.quiet && !cli.json,
            banner: !cli.quiet,
            verbose: cli.verbose,
            json: cli.json,
            bar: progress(!cli.quiet),
            stage: None,
        }
    }

    /// Prints text. Errors are ignored: a volume must not stay incomplete because nobody reads the
    /// messages.
    fn say(&mut self, text: impl fmt::Display) {
        if self.text {
            let _ = write!(self.out, "{text}");
            let _ = self.out.flush();
        }
    }

    pub(crate) fn banner(&self) {
        if self.banner {
            let version = env!("CARGO_PKG_VERSION");
            let _ = writeln!(Output::stderr(), "{} {version}", program_name());
        }
    }

    pub(crate) fn uuid_warning(&mut self) {
        self.say(UUID_WARNING);
    }

    /// The message before a question.
    pub(crate) fn before(&mut self, summary: &Summary) {
        self.say(summary.cluster_lines());
    }

    /// The message directly before a volume of that kind is overwritten.
    pub(crate) fn overwriting(&mut self, kind: &str) {
        self.say(format_args!("Overwriting existing {kind} partition.\n"));
    }

    pub(crate) fn summary(&mut self, summary: &Summary) {
        self.say(summary);
        if self.verbose {
            self.say(summary.details());
        }
    }

    pub(crate) fn dry_run(&mut self, summary: &Summary) {
        self.say("Dry run\n");
        self.summary(summary);
        self.json(summary);
    }

    /// Shows the progress of the work. A line says `done` only when that part is on the device.
    pub(crate) fn progress(&mut self, progress: Progress) {
        if self.stage != Some(progress.stage) {
            self.bar.finish();
            self.bar.start(name(progress.stage), progress.total);
            self.stage = Some(progress.stage);
            if progress.stage == Stage::Superblock {
                self.say("Creating bitmaps: done\nInitializing superblock: done\n");
                self.say("Writing system files: done\n");
            }
        }
        self.bar.update(progress.done);
    }

    /// Shows the progress of a rehearsal, of which only the reading of the files takes time.
    pub(crate) fn rehearsed(&mut self, progress: Progress) {
        if progress.stage == Stage::Files {
            if self.stage.replace(progress.stage).is_none() {
                self.bar.start("Reading files", progress.total);
            }
            self.bar.update(progress.done);
        }
    }

    pub(crate) fn stopped(&mut self) {
        self.bar.finish();
        self.stage = None;
    }

    /// The message that what was overwritten is saved.
    pub(crate) fn saved(&mut self, cli: &Cli, undo_file: &Path) {
        let volume = volume_argument(cli.partition, &cli.device);
        self.say(format_args!("{}.\n", undo_note(undo_file, &volume)));
    }

    pub(crate) fn done(&mut self, summary: &Summary) {
        self.bar.finish();
        self.say("Writing superblock: done\n");
        if summary.journal_size.is_some() {
            let backups = summary.backup_superblocks;
            self.say(format_args!("Writing backup superblock: {backups} block(s)\n"));
            for step in ["Formatting Journals", "Growing extent allocator"] {
                self.say(format_args!("{step}: done\n"));
            }
            for step in ["Formatting slot map", "Formatting quota files"] {
                self.say(format_args!("{step}: done\n"));
            }
            if summary.has_indexes() {
                self.say("Indexing system directories: done\n");
            }
            self.say("Writing lost+found: done\n");
            if let Some(files) = summary.files {
                self.say(format_args!("Writing {files} files: done\n"));
            }
        }
        self.say(format_args!("{} successful\n\n", program_name()));
        self.json(summary);
    }

    fn json(&mut self, summary: &Summary) {
        if self.json {
            let _ = print_json(&mut self.out, summary);
        }
    }
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Discard => "Discarding",
        Stage::Zero => "Zeroing",
        Stage::Files => "Writing files",
        Stage::Metadata => "Writing metadata",
        Stage::Superblock => "Writing superblocks",
    }
}
