//! How names are hashed in the indexes of directories by the kernel of this host.

use ocfs2_format::hash::CharSign;
use rustix::system::uname;

/// The first Linux that hashes names alike on all processors.
const ALIKE: (u32, u32) = (6, 2);

/// The hash of the kernel of this host, which is likely to mount the volume that is written here.
pub fn of_this_kernel() -> CharSign {
    let names = uname();
    let text = |name: &std::ffi::CStr| name.to_str().unwrap_or_default().to_owned();
    of_kernel(&text(names.machine()), &text(names.release()))
}

fn of_kernel(machine: &str, release: &str) -> CharSign {
    let is_x86 = machine == "x86_64" || machine.ends_with("86");
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(u32::MAX));
    let version = (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(u32::MAX));
    if is_x86 && version < ALIKE { CharSign::Signed } else { CharSign::Unsigned }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_of_x86_sign_the_bytes() {
        for (machine, release, sign) in [
            ("x86_64", "6.1.0-57-amd64", CharSign::Signed),
            ("i686", "5.10.0", CharSign::Signed),
            ("x86_64", "6.2.0", CharSign::Unsigned),
            ("x86_64", "7.3.4+deb13-amd64", CharSign::Unsigned),
            ("aarch64", "5.10.0", CharSign::Unsigned),
            ("x86_64", "nonsense", CharSign::Unsigned),
        ] {
            assert_eq!(of_kernel(machine, release), sign, "{machine} {release}");
        }
    }
}
