//! Where problems are reported: standard error in the foreground, else the system log.

use std::os::unix::net::UnixDatagram;
use std::process;

/// `LOG_DAEMON | LOG_ERR`.
const PRIORITY: u32 = 3 << 3 | 3;

/// A place for reports.
#[derive(Debug)]
pub(crate) enum Log {
    /// Standard error.
    Foreground,
    /// The system log; `None` if there is none.
    System(Option<UnixDatagram>),
}

impl Log {
    /// The system log.
    pub fn system() -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| {
            socket.connect("/dev/log")?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Self::System(socket.ok())
    }

    /// Reports a problem. If it cannot be written, nobody can be told.
    pub fn report(&self, text: &str) {
        match self {
            Self::Foreground => ocfs2_cli::print_warning(text),
            Self::System(None) => {}
            Self::System(Some(socket)) => {
                let text = ocfs2_cli::terminal(text);
                let line = format!("<{PRIORITY}>ocfs2-fuse[{}]: {text}", process::id());
                let _ = socket.send(line.as_bytes());
            }
        }
    }
}
