//! Names of the users and groups of this machine.

use std::collections::HashMap;

/// Names of users and groups by number.
#[derive(Debug, Default)]
pub struct People {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl People {
    /// Reads `/etc/passwd` and `/etc/group`.
    pub fn of_this_machine() -> Self {
        let read = |path| names(&std::fs::read(path).unwrap_or_default());
        Self { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    /// The name of a user, `unknown` if it has none.
    pub fn user(&self, id: u32) -> &str {
        self.users.get(&id).map_or("unknown", String::as_str)
    }

    /// The name of a group, `unknown` if it has none.
    pub fn group(&self, id: u32) -> &str {
        self.groups.get(&id).map_or("unknown", String::as_str)
    }
}

/// Names by number from lines of the form `name:password:number:...`; the first name of a number
/// counts.
fn names(file: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in file.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, id) = (fields.next(), fields.nth(1));
        let id = id.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
        if let (Some(name), Some(id)) = (name, id) {
            names.entry(id).or_insert_with(|| crate::terminal(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_none_is_passed_over() {
        let people = People {
            users: names(b"root:x:0:0::/:\ntoor:x:0:0\nbad\nworse:x:-1\n\nx:y:7"),
            groups: HashMap::new(),
        };
        assert_eq!((people.user(0), people.user(7), people.user(1)), ("root", "x", "unknown"));
        assert_eq!(people.group(0), "unknown");
    }
}
