//! The cluster stack of the kernel: its modules, and its label in `/sys/fs/ocfs2`.

use std::io;

use crate::Kernel;

const GLUE: &str = "sys/fs/ocfs2";

/// The label of the stack that is part of the kernel.
pub const O2CB: &str = "o2cb";

/// The error of switching to a stack.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A module is not loaded and cannot be loaded.
    #[error(
        "the kernel module {module} is not loaded and cannot be: {why}; \
         is OCFS2 part of this kernel (on some distributions a package of its own)?"
    )]
    Module {
        /// The name of the module.
        module: &'static str,
        /// The reason.
        why: String,
    },
    /// Volumes of another stack are mounted.
    #[error(
        "the kernel's cluster stack is {active} and in use, so it cannot become {wanted}: \
         unmount the volumes of {active} first"
    )]
    Busy {
        /// The stack wanted.
        wanted: String,
        /// The stack in use.
        active: String,
    },
    /// The kernel refuses the stack.
    #[error("the kernel does not take {wanted} as cluster stack: {cause}")]
    Refused {
        /// The stack wanted.
        wanted: String,
        /// The error of the kernel.
        cause: io::Error,
    },
    /// The revision of the kernel's interface is not supported.
    #[error(
        "the kernel's o2cb has interface revision {0}, and this program knows those up to 5 only"
    )]
    Revision(u32),
}

/// The label of the kernel's stack (`o2cb`, `pcmk` and others); `None` if OCFS2 is not loaded.
pub fn current(kernel: &dyn Kernel) -> Option<String> {
    let label = kernel.read(&format!("{GLUE}/cluster_stack")).ok()?;
    Some(label.trim().to_owned()).filter(|label| !label.is_empty())
}

/// Whether volumes of the kernel's stack are mounted, which keeps it from becoming another one. The
/// label by itself may be left from a mount that failed.
pub fn is_in_use(kernel: &dyn Kernel) -> bool {
    let plugin = kernel.read(&format!("{GLUE}/active_cluster_plugin")).unwrap_or_default();
    !plugin.trim().is_empty()
}

/// Loads the file system itself, which is enough for volumes without a cluster.
///
/// # Errors
/// [`StackError::Module`].
pub fn load_file_system(kernel: &dyn Kernel) -> Result<(), StackError> {
    if kernel.exists(GLUE) { Ok(()) } else { module(kernel, "ocfs2") }
}

/// Loads the modules of a stack and switches to it.
///
/// # Errors
/// [`StackError`].
pub fn load(kernel: &dyn Kernel, stack: &str) -> Result<(), StackError> {
    load_file_system(kernel)?;
    let (plugin, name) =
        if stack == O2CB { (O2CB, "ocfs2_stack_o2cb") } else { ("user", "ocfs2_stack_user") };
    let loaded = || {
        let plugins = kernel.read(&format!("{GLUE}/loaded_cluster_plugins")).unwrap_or_default();
        plugins.lines().any(|line| line.trim() == plugin)
    };
    // Older kernels list a plugin only once it is used, so its folder in `sys/module` counts, too.
    if !loaded() && !kernel.exists(&format!("sys/module/{name}")) {
        module(kernel, name)?;
    }
    let active = current(kernel).unwrap_or_default();
    if active != stack {
        kernel.write(&format!("{GLUE}/cluster_stack"), stack).map_err(|cause| {
            let wanted = stack.to_owned();
            match cause.kind() {
                io::ErrorKind::ResourceBusy => StackError::Busy { wanted, active },
                _ => StackError::Refused { wanted, cause },
            }
        })?;
    }
    if stack == O2CB {
        let revision = ["sys/fs/o2cb", "sys/o2cb"]
            .into_iter()
            .find_map(|dir| kernel.read(&format!("{dir}/interface_revision")).ok());
        let revision = revision.and_then(|text| text.trim().parse().ok());
        if let Some(revision) = revision.filter(|revision| *revision > 5) {
            return Err(StackError::Revision(revision));
        }
    }
    Ok(())
}

pub(crate) fn module(kernel: &dyn Kernel, module: &'static str) -> Result<(), StackError> {
    kernel.load_module(module).map_err(|why| StackError::Module { module, why })
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::fake::FakeKernel;

    #[test]
    fn modules_are_loaded_once_and_the_label_is_written_when_it_differs() {
        let kernel = FakeKernel::new("a");
        assert_eq!(current(&kernel), None);
        load(&kernel, "o2cb").unwrap();
        assert_eq!(kernel.take_log(), ["modprobe ocfs2", "modprobe ocfs2_stack_o2cb"]);
        load(&kernel, "o2cb").unwrap();
        assert!(kernel.take_log().is_empty());
        load(&kernel, "pcmk").unwrap();
        let expected = ["modprobe ocfs2_stack_user", "write sys/fs/ocfs2/cluster_stack pcmk"];
        assert_eq!(kernel.take_log(), expected);
        assert_eq!(current(&kernel).as_deref(), Some("pcmk"));
    }

    #[test]
    fn what_is_in_the_way_is_said() {
        let none = FakeKernel::without_modules("a");
        let err = load(&none, "o2cb").unwrap_err().to_string();
        assert!(err.starts_with("the kernel module ocfs2 is not loaded and cannot be"), "{err}");
        let kernel = FakeKernel::new("a");
        load(&kernel, "o2cb").unwrap();
        kernel.refuse("sys/fs/ocfs2/cluster_stack", Errno::BUSY);
        let err = load(&kernel, "pcmk").unwrap_err().to_string();
        assert!(err.contains("unmount the volumes of o2cb first"), "{err}");
        kernel.put("sys/fs/o2cb/interface_revision", Some("6"));
        assert!(matches!(load(&kernel, "o2cb"), Err(StackError::Revision(6))));
    }
}
