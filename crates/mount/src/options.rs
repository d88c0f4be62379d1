//! The options of `-o`: those of any file system, those of mount(8), those of OCFS2.

use rustix::mount::MountFlags;

/// The parsed options of `-o`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MountOptions {
    /// The kernel's flags.
    pub flags: Flags,
    /// Whether to change the options of a mounted volume.
    pub remount: bool,
    /// Whether to mount a volume of a cluster without its cluster.
    pub nocluster: bool,
    /// The value of `heartbeat=`, if given.
    pub heartbeat: Option<String>,
    /// The value of `cluster_stack=`, if given.
    pub cluster_stack: Option<String>,
    /// All other options, which are passed to OCFS2 in the kernel.
    pub data: Vec<String>,
}

/// The kernel's flags as plain bits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(pub u32);

impl Flags {
    /// The flags as the system call takes them.
    pub fn bits(self) -> MountFlags {
        MountFlags::from_bits_retain(self.0)
    }

    /// Whether the volume is to be mounted read-only.
    pub fn is_read_only(self) -> bool {
        self.bits().contains(MountFlags::RDONLY)
    }
}

/// An option of `-o` is not valid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OptionError {
    /// mount(8) handles the option itself, without a file system.
    #[error("-o {0} has nothing to do with a file system; mount(8) does it without this program")]
    NotForUs(String),
    /// The value of `heartbeat=` is unknown.
    #[error("heartbeat={0} is not known, expected none, local or global")]
    Heartbeat(String),
    /// The value of `cluster_stack=` is not a label.
    #[error("cluster_stack={0} is not a stack, expected the four letters of one: o2cb, pcmk, cman")]
    Stack(String),
    /// OCFS2 in the kernel does not have the option.
    #[error("OCFS2 has no option {0}; -s passes over those it does not have")]
    Unknown(String),
}

/// Names that set a flag, names that clear it, and the flag.
const FLAGS: [(&str, &str, MountFlags); 15] = [
    ("ro", "rw", MountFlags::RDONLY),
    ("nosuid", "suid", MountFlags::NOSUID),
    ("nodev", "dev", MountFlags::NODEV),
    ("noexec", "exec", MountFlags::NOEXEC),
    ("sync", "async", MountFlags::SYNCHRONOUS),
    ("dirsync", "nodirsync", MountFlags::DIRSYNC),
    ("noatime", "atime", MountFlags::NOATIME),
    ("nodiratime", "diratime", MountFlags::NODIRATIME),
    ("relatime", "norelatime", MountFlags::RELATIME),
    ("strictatime", "nostrictatime", MountFlags::STRICTATIME),
    ("mand", "nomand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
    ("silent", "loud", MountFlags::SILENT),
    ("lazytime", "nolazytime", MountFlags::LAZYTIME),
    ("iversion", "noiversion", I_VERSION),
    ("nosymfollow", "symfollow", NOSYMFOLLOW),
];

/// `MS_I_VERSION` and `MS_NOSYMFOLLOW` of mount(2).
const I_VERSION: MountFlags = MountFlags::from_bits_retain(1 << 23);
const NOSYMFOLLOW: MountFlags = MountFlags::from_bits_retain(1 << 8);

/// Options for mount(8), systemd, udisks and other readers of fstab, which mount(8) passes on.
const IGNORED: [&str; 21] = [
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "_netdev",
    "nofail",
    "comment",
    "uhelper",
    "helper",
    "loop",
    "offset",
    "sizelimit",
    "quota",
    "noquota",
];

/// Options that let users mount, with the flags that keep them from bringing in their own programs
/// and devices. With `user=NAME` mount(8) has already put these flags before the options.
const IMPLIED: [(&str, MountFlags); 4] = [
    ("user", SECURE.union(MountFlags::NOEXEC)),
    ("users", SECURE.union(MountFlags::NOEXEC)),
    ("owner", SECURE),
    ("group", SECURE),
];
const SECURE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Operations of mount(2) on mount trees, each also with the prefix `r`.
const OF_TREES: [&str; 6] = ["bind", "move", "shared", "private", "slave", "unbindable"];

/// Options of OCFS2 in the kernel without a value, and those with one.
const WORDS: [&str; 11] = [
    "intr",
    "nointr",
    "localflocks",
    "user_xattr",
    "nouser_xattr",
    "inode64",
    "acl",
    "noacl",
    "usrquota",
    "grpquota",
    "journal_async_commit",
];
const VALUES: [&str; 11] = [
    "barrier",
    "errors",
    "data",
    "atime_quantum",
    "preferred_slot",
    "commit",
    "localalloc",
    "coherency",
    "resv_level",
    "dir_resv_level",
    "context",
];

impl MountOptions {
    /// Parses the options of all `-o`, joined by commas. With `sloppy`, options that OCFS2 does not
    /// have are left out.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str, sloppy: bool) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for option in split(text) {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (option, None),
            };
            if let Some((_, _, flag)) = FLAGS.iter().find(|(set, ..)| *set == option) {
                options.flags.0 |= flag.bits();
            } else if let Some((_, _, flag)) = FLAGS.iter().find(|(_, clear, _)| *clear == option) {
                options.flags.0 &= !flag.bits();
            } else if IGNORED.contains(&key) || key.starts_with("x-") || key.starts_with("X-") {
                // Later options may clear these flags again.
                let implied = IMPLIED.iter().filter(|(name, _)| *name == option);
                implied.for_each(|(_, flags)| options.flags.0 |= flags.bits());
            } else {
                options.take(option, key, value, sloppy)?;
            }
        }
        Ok(options)
    }

    fn take(
        &mut self,
        option: &str,
        key: &str,
        value: Option<&str>,
        sloppy: bool,
    ) -> Result<(), OptionError> {
        match (key, value) {
            ("remount", None) => self.remount = true,
            ("nocluster", None) => self.nocluster = true,
            ("heartbeat", Some("none" | "local" | "global")) => {
                self.heartbeat = value.map(str::to_owned);
            }
            ("heartbeat", _) => return Err(OptionError::Heartbeat(value.unwrap_or("").to_owned())),
            ("cluster_stack", Some(stack)) if stack.len() == 4 => {
                self.cluster_stack = Some(stack.to_owned());
            }
            ("cluster_stack", _) => return Err(OptionError::Stack(value.unwrap_or("").to_owned())),
            (key, None) if OF_TREES.contains(&key.strip_prefix('r').unwrap_or(key)) => {
                return Err(OptionError::NotForUs(option.to_owned()));
            }
            (key, None) if WORDS.contains(&key) => self.data.push(option.to_owned()),
            (key, Some(_)) if VALUES.contains(&key) => self.data.push(option.to_owned()),
            // The security module handles these before OCFS2 sees them.
            ("fscontext" | "defcontext" | "rootcontext", Some(_)) => {
                self.data.push(option.to_owned());
            }
            _ if sloppy => {}
            _ => return Err(OptionError::Unknown(option.to_owned())),
        }
        Ok(())
    }
}

/// Splits at the commas that are not in quotes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let parts = text.split(move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.map(str::trim).filter(|option| !option.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_options_of_others_and_of_ocfs2_are_told_apart() {
        let text = "rw,_netdev,user=joe,ro,noatime,x-systemd.automount,acl,commit=5,nosuid,suid,\
                    heartbeat=local,context=\"a,b\",,data=ordered";
        let options = MountOptions::parse(text, false).unwrap();
        assert_eq!(options.flags.bits(), MountFlags::RDONLY | MountFlags::NOATIME);
        assert!(options.flags.is_read_only() && !options.remount);
        assert_eq!(options.data, ["acl", "commit=5", "context=\"a,b\"", "data=ordered"]);
        assert_eq!(options.heartbeat.as_deref(), Some("local"));
        let options =
            MountOptions::parse("remount,rw,nocluster,cluster_stack=pcmk", false).unwrap();
        assert!(options.remount && options.nocluster && !options.flags.is_read_only());
        assert_eq!(options.cluster_stack.as_deref(), Some("pcmk"));
        assert_eq!(MountOptions::parse("", false).unwrap(), MountOptions::default());
    }

    #[test]
    fn what_mount_hands_on_is_understood() {
        let text = "rw,uhelper=udisks2,helper=x,quota,noquota,loop,comment=x,user=joe";
        assert_eq!(MountOptions::parse(text, false).unwrap(), MountOptions::default());
        let flags = |text| MountOptions::parse(text, false).unwrap().flags.bits();
        assert_eq!(flags("nosymfollow,iversion").bits(), 1 << 8 | 1 << 23);
        assert_eq!(flags("nosymfollow,symfollow,iversion,noiversion").bits(), 0);
    }

    #[test]
    fn who_lets_others_mount_implies_what_keeps_them_harmless() {
        let flags = |text| MountOptions::parse(text, false).unwrap().flags.bits();
        let secure = MountFlags::NOSUID | MountFlags::NODEV;
        for (text, expected) in [
            ("user", secure | MountFlags::NOEXEC),
            ("users", secure | MountFlags::NOEXEC),
            ("owner", secure),
            ("group", secure),
            ("users,exec", secure),
            ("exec,users", secure | MountFlags::NOEXEC),
            ("owner,suid,dev", MountFlags::empty()),
            ("user=joe", MountFlags::empty()),
            ("nouser,noowner", MountFlags::empty()),
        ] {
            assert_eq!(flags(text), expected, "{text}");
        }
    }

    #[test]
    fn what_can_not_be_is_refused_and_the_unknown_only_without_sloppy() {
        let parse = |text| MountOptions::parse(text, false).unwrap_err().to_string();
        assert!(parse("bind").contains("mount(8) does it"));
        assert!(parse("rprivate").contains("mount(8) does it"));
        assert!(parse("heartbeat=maybe").contains("heartbeat=maybe is not known"));
        assert!(parse("cluster_stack=corosync").contains("four letters"));
        assert!(parse("acl=1").contains("OCFS2 has no option acl=1"));
        assert!(parse("subvol=x").contains("-s passes over"));
        assert_eq!(MountOptions::parse("subvol=x,acl", true).unwrap().data, ["acl"]);
        assert!(MountOptions::parse("heartbeat=maybe", true).is_err());
    }
}
