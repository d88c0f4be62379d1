//! The state between commands, and the execution of one.

use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use ocfs2_cli::{Interrupt, People, print_note, shown, terminal};
use ocfs2_device::{Caching, Device, DeviceOptions, open};
use ocfs2_format::Blkno;
use ocfs2_users::explained;
use ocfs2_volume::edit::Edit;
use ocfs2_volume::find::resolve;
use ocfs2_volume::image::PackedImage;
use ocfs2_volume::recovery::SlotRecovery;
use ocfs2_volume::{OpenVolumeError, SuperblockAt, Volume, VolumeOptions};

use crate::commands;
use crate::complete::Known;
use crate::error::{Failure, Problem};
use crate::line::{Line, Lines};
use crate::old;
use crate::paths::Start;
use crate::screen::Screen;
use crate::volume::Fs;
use crate::words::words;
use crate::writer::{Committed, WRITING, Writer};

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The number of a backup superblock, 1 to 6.
    pub backup: Option<u8>,
    /// The number of a partition on it.
    pub partition: Option<u32>,
    /// Whether it is an image made by `o2image`.
    pub is_image: bool,
    /// Whether it may be changed.
    pub write: bool,
    /// Whether to open it for changes although its users cannot be determined.
    pub any_damage: bool,
    /// The undo file.
    pub undo_file: Option<PathBuf>,
}

/// A session.
#[derive(Debug, Default)]
pub struct Shell {
    fs: Option<Fs>,
    /// Changes the volume, if it may be changed.
    writer: Option<Writer>,
    start: Start,
    /// Sources of commands and of answers to their questions; the last one is used.
    lines: Vec<Lines>,
    people: OnceLock<People>,
    interrupt: Interrupt,
    /// Number of nested files of commands.
    sourced: u32,
    /// The partition of the volume.
    partition: Option<u32>,
    /// Whether it was said that journals hold something newer, if they do.
    is_age_noted: bool,
}

/// The outcome of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Done {
    /// It succeeded.
    Well,
    /// It failed, which was reported.
    Badly,
    /// It was the last one.
    Quit,
    /// A signal ended it.
    Interrupted,
    /// The reader of its output has gone away.
    Unread,
}

impl Shell {
    /// A session without a volume; `interrupt` ends commands.
    pub fn new(interrupt: Interrupt) -> Self {
        Self { interrupt, ..Self::default() }
    }

    /// The interrupt that ends commands.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Opens a volume, for reading or, if nobody else uses it, for changes.
    ///
    /// # Errors
    /// The reason why that is not possible.
    pub fn open(&mut self, path: &Path, options: &OpenOptions) -> anyhow::Result<()> {
        self.close()?;
        let device = resolve(path)?;
        let partition = options.partition;
        self.partition = partition;
        if options.write {
            return self.open_for_writing(path, &device, options);
        }
        let caching = caching(&device);
        let mut opened =
            open(&device, &DeviceOptions { partition, caching, ..Default::default() })?;
        let mut image = None;
        if options.is_image {
            let packed = Arc::new(PackedImage::open(opened).with_context(|| shown(&device))?);
            opened = Arc::clone(&packed) as Arc<dyn Device>;
            image = Some(packed);
        }
        let superblock = options.backup.map_or(SuperblockAt::Primary, SuperblockAt::Backup);
        let options = VolumeOptions {
            superblock,
            heartbeat_device: true,
            allow_short: true,
            any_checksum: true,
            ..Default::default()
        };
        let volume = Volume::open(Arc::clone(&opened), &options);
        let volume = volume.map_err(|err| explained(err, &opened));
        let volume = volume.with_context(|| shown(&device))?;
        self.enter(&volume, path.to_owned());
        if let Some(image) = image {
            self.fs = self.fs.take().map(|fs| fs.in_image(image));
        }
        Ok(())
    }

    fn open_for_writing(
        &mut self,
        path: &Path,
        device: &Path,
        options: &OpenOptions,
    ) -> anyhow::Result<()> {
        if options.is_image || options.backup.is_some() {
            anyhow::bail!("an image of o2image, and a volume by its backup, are only read");
        }
        let partition = options.partition;
        let how = DeviceOptions { partition, write: true, exclusive: true, ..Default::default() };
        let opened = open(device, &how)?;
        let any_checksum = options.any_damage;
        let how = VolumeOptions { any_checksum, strict: !any_checksum, ..WRITING };
        let volume = Volume::open(Arc::clone(&opened), &how).map_err(|err| match err {
            OpenVolumeError::Damaged { .. } if !any_checksum => anyhow::Error::new(err)
                .context("fsck.ocfs2 mends the superblock, and -c opens the volume nevertheless"),
            err => explained(err, &opened),
        });
        let volume = volume.with_context(|| shown(device))?;
        let undo = options.undo_file.as_deref();
        let writer = Writer::take(
            &volume,
            device,
            partition,
            undo,
            options.any_damage,
            self.interrupt.clone(),
        );
        self.writer = Some(writer.with_context(|| shown(device))?);
        self.enter(&volume, path.to_owned());
        Ok(())
    }

    /// Continues with an open volume, named `device`.
    pub fn enter(&mut self, volume: &Volume, device: PathBuf) {
        let root = volume.superblock().s_root_blkno;
        self.start = Start { root, cwd: root };
        self.is_age_noted = false;
        self.fs = Some(Fs::new(volume, device, self.interrupt.clone()));
    }

    /// Closes the volume; returns whether there was one.
    ///
    /// # Errors
    /// The undo file cannot be finished.
    pub fn close(&mut self) -> anyhow::Result<bool> {
        let was_open = self.fs.take().is_some();
        let writer = self.writer.take();
        if let Some(text) = writer.map(Writer::close).transpose()?.flatten() {
            print_note(text);
        }
        Ok(was_open)
    }

    /// The note that journals hold something newer, if it was not given yet.
    pub fn age_note(&mut self) -> Option<String> {
        let fs = self.fs.as_ref().filter(|_| !self.is_age_noted)?;
        self.is_age_noted = true;
        old::note(fs, self.partition, self.writer.is_some())
    }

    /// The writer of the volume.
    ///
    /// # Errors
    /// [`Failure::NoDevice`]; the volume is only open for reading.
    pub fn writer(&mut self) -> Result<&mut Writer, Failure> {
        self.fs()?;
        let only_read = "The volume is only read: debugfs.ocfs2 -w, or open -w, changes it";
        self.writer.as_mut().ok_or_else(|| Failure::Failed(only_read.to_owned()))
    }

    /// Makes a change as one transaction, completely or not at all.
    ///
    /// # Errors
    /// The failure of `step` or of the commit.
    pub fn change<T>(
        &mut self,
        step: impl FnOnce(&mut Edit) -> Result<T, Failure>,
    ) -> Result<(T, Committed), Failure> {
        self.changed(|writer, mut edit| {
            writer.check_ready()?;
            let made = edit.attempt(step)?;
            Ok((made, writer.commit(edit)?))
        })
    }

    /// Writes blocks without a journal, regardless of the consequences.
    ///
    /// # Errors
    /// As [`Shell::change`].
    pub fn damage(
        &mut self,
        step: impl FnOnce(&mut Edit) -> Result<(), Failure>,
    ) -> Result<Committed, Failure> {
        self.changed(|writer, mut edit| {
            edit.attempt(step)?;
            writer.overwrite(&edit)
        })
    }

    fn changed<T>(
        &mut self,
        change: impl FnOnce(&mut Writer, Edit) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let writer = self.writer()?;
        let edit = writer.edit();
        let made = change(writer, edit);
        let volume = writer.volume().without_checks();
        if let Some(fs) = &mut self.fs {
            fs.volume = volume;
        }
        made
    }

    /// Whether the volume is open for changes.
    pub fn can_write(&self) -> bool {
        self.writer.is_some()
    }

    /// Recovers slots: replays their journals, deletes orphans, returns reservations.
    ///
    /// # Errors
    /// A slot cannot be recovered; the device cannot be written.
    pub fn recover(&mut self, slots: &[u16]) -> Result<Vec<SlotRecovery>, Failure> {
        self.changed(|writer, _| writer.recover(slots))
    }

    /// The open volume.
    ///
    /// # Errors
    /// [`Failure::NoDevice`].
    pub fn fs(&self) -> Result<&Fs, Failure> {
        self.fs.as_ref().ok_or(Failure::NoDevice)
    }

    /// The device by which the volume was opened.
    pub fn device(&self) -> Option<PathBuf> {
        self.fs.as_ref().map(|fs| fs.device.clone())
    }

    /// The names of users and groups of this machine.
    pub fn people(&self) -> &People {
        self.people.get_or_init(People::of_this_machine)
    }

    /// The directory of relative paths.
    pub fn cwd(&self) -> Blkno {
        self.start.cwd
    }

    /// The number of nested files of commands.
    pub fn sourced(&self) -> u32 {
        self.sourced
    }

    /// Sets the number of nested files of commands.
    pub fn set_sourced(&mut self, sourced: u32) {
        self.sourced = sourced;
    }

    /// Sets the directory of relative paths.
    pub fn set_cwd(&mut self, cwd: Blkno) {
        self.start.cwd = cwd;
    }

    /// Sets the directory of `/`.
    pub fn set_root(&mut self, root: Blkno) {
        self.start.root = root;
    }

    /// Finds the block that a word names: `<number>`, `<lock>`, or a path.
    ///
    /// # Errors
    /// [`Problem::NotFound`], or what is wrong on the way there.
    pub fn find(&self, fs: &Fs, word: &[u8]) -> Result<Blkno, Problem> {
        self.start.find(fs, word)
    }

    /// Sets the source of further lines and answers.
    pub fn push_lines(&mut self, lines: Lines) {
        self.lines.push(lines);
    }

    /// Returns to the source before.
    pub fn pop_lines(&mut self) {
        self.lines.pop();
    }

    /// Reads the next line; `prompt` is only for a terminal.
    ///
    /// # Errors
    /// The line cannot be read.
    pub fn next_line(&mut self, prompt: &str) -> anyhow::Result<Line> {
        let Some(lines) = self.lines.last_mut() else { return Ok(Line::End) };
        if lines.is_terminal() {
            lines.set_known(Known::new(self.fs.as_ref(), self.start));
        }
        lines.next(prompt)
    }

    /// Whether questions go to a person, who can answer again.
    pub fn is_asking_somebody(&self) -> bool {
        self.lines.last().is_some_and(Lines::is_terminal)
    }

    /// Asks for an answer; `None` at the end of the input.
    ///
    /// # Errors
    /// The answer cannot be read; Ctrl-C.
    pub fn ask(&mut self, prompt: &str, out: &mut Screen) -> Result<Option<Vec<u8>>, Failure> {
        out.flush()?;
        if !self.is_asking_somebody() {
            write!(out, "{prompt}")?;
            out.flush()?;
        }
        match self.next_line(prompt).map_err(|err| Failure::Failed(ocfs2_cli::causes(&err)))? {
            Line::Text(text) => {
                if !self.is_asking_somebody() {
                    writeln!(out, "{}", terminal(&text))?;
                }
                Ok(Some(text.trim_ascii().to_vec()))
            }
            Line::End => Ok(None),
            Line::Dropped => Err(Failure::Interrupted(ocfs2_cli::Interrupted)),
        }
    }

    /// Runs the command of a line; failures are reported on standard error.
    pub fn run(&mut self, line: &[u8], screen: &mut Screen) -> Done {
        let words = words(line);
        let Some((name, arguments)) = words.split_first() else { return Done::Well };
        let name = terminal(name);
        if commands::QUIT.contains(&name.as_str()) {
            return Done::Quit;
        }
        let Some(command) = commands::find(&name) else {
            let hint = match commands::closest(&name) {
                Some(known) => format!("perhaps {known}"),
                None => "help lists the commands".to_owned(),
            };
            screen.say(&format!("{name}: command not found; {hint}"));
            return Done::Badly;
        };
        let first = command.names.first().copied().unwrap_or_default();
        if old::is_shown_by(first, arguments)
            && let Some(note) = self.age_note()
        {
            screen.note(&note);
        }
        let done = (command.run)(self, arguments, screen);
        let flushed = screen.flush().map_err(Failure::from);
        let Err(err) = done.and(flushed) else { return Done::Well };
        match err {
            Failure::Interrupted(_) => return Done::Interrupted,
            _ if err.is_closed_output() => return Done::Unread,
            Failure::Usage => screen.say(&format!("usage: {name} {}", command.arguments)),
            Failure::Argument(text) => {
                screen.say(&format!("{name}: {text}"));
                screen.say(&format!("usage: {name} {}", command.arguments));
            }
            Failure::NoDevice => screen.say(&err.to_string()),
            Failure::Said => {}
            Failure::Failed(_) | Failure::Output(_) => screen.say(&format!("{name}: {err}")),
        }
        Done::Badly
    }
}

/// Direct for disks: other nodes write to them, so that cached blocks may be old.
fn caching(device: &Path) -> Caching {
    let is_disk = device.metadata().is_ok_and(|it| it.file_type().is_block_device());
    if is_disk { Caching::Direct } else { Caching::Cached }
}
