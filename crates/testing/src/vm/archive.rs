//! A root file system in the form that the kernel unpacks: cpio, in its "new ASCII" format.

use std::io::{self, Write};

use cpio::newc::{self, Builder, ModeFileType};

/// An archive being written. The kernel accepts several consecutive ones.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// Adds a folder.
    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        self.add(path, ModeFileType::Directory, 0o755, &[])
    }

    /// Adds a file that everybody may execute.
    pub fn file(&mut self, path: &str, contents: &[u8]) -> io::Result<()> {
        self.add(path, ModeFileType::Regular, 0o755, contents)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.add(path, ModeFileType::Symlink, 0o777, target.as_bytes())
    }

    /// Returns the whole archive.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        newc::trailer(&mut self.bytes)?;
        Ok(self.bytes)
    }

    fn add(&mut self, path: &str, kind: ModeFileType, mode: u32, data: &[u8]) -> io::Result<()> {
        let size = u32::try_from(data.len()).map_err(io::Error::other)?;
        let builder = Builder::new(path).mode(mode).set_mode_file_type(kind).nlink(1);
        let mut writer = builder.write(&mut self.bytes, size);
        writer.write_all(data)?;
        writer.finish()?;
        Ok(())
    }
}
