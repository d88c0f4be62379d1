//! Fields of a superblock in a format of the caller's choice.

use ocfs2_cli::terminal;
use ocfs2_format::feature::Features;
use ocfs2_format::superblock::{Stack, SuperBlock};

/// The error of a format that is not valid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// A letter after `%` without a meaning.
    #[error(
        "%{0} is not known: expected one of B T N R Y P V U M H O C, or %% for a per cent sign"
    )]
    Unknown(char),
    /// A `%` or a backslash at the end.
    #[error("the format ends with {0}")]
    End(char),
}

/// Largest width.
const WIDEST: usize = 4096;

/// Replaces the escapes in `format` by the fields of the superblock.
///
/// # Errors
/// [`QueryError`].
pub fn query(superblock: &SuperBlock, format: &str) -> Result<String, QueryError> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                let is_left = chars.next_if_eq(&'-').is_some();
                let mut width = 0_usize;
                while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                    chars.next();
                    width = (width * 10 + digit as usize).min(WIDEST);
                }
                let text = match chars.next().ok_or(QueryError::End('%'))? {
                    '%' => "%".to_owned(),
                    letter => value(superblock, letter).ok_or(QueryError::Unknown(letter))?,
                };
                match is_left {
                    true => out += &format!("{text:<width$}"),
                    false => out += &format!("{text:>width$}"),
                }
            }
            '\\' => match chars.next().ok_or(QueryError::End('\\'))? {
                'a' => out.push('\x07'),
                'b' => out.push('\x08'),
                'f' => out.push('\x0c'),
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                'v' => out.push('\x0b'),
                '\\' => out.push('\\'),
                other => out.extend(['\\', other]),
            },
            other => out.push(other),
        }
    }
    Ok(out)
}

fn value(superblock: &SuperBlock, letter: char) -> Option<String> {
    let features = superblock.features();
    let none = Features::default();
    let names = |features: Features| match features.names() {
        names if names.is_empty() => "None".to_owned(),
        names => names.join(" "),
    };
    Some(match letter {
        'B' => superblock.block_size()?.bytes().to_string(),
        'T' => superblock.cluster_size()?.bytes().to_string(),
        'N' => superblock.s_max_slots.to_string(),
        'R' => superblock.s_root_blkno.to_string(),
        'Y' => superblock.s_system_dir_blkno.to_string(),
        'P' => superblock.s_first_cluster_group.to_string(),
        'V' => terminal(superblock.label()),
        'U' => superblock.uuid_string(),
        'M' => names(Features { compat: features.compat, ..none }),
        'H' => names(Features { incompat: features.incompat, ..none }),
        'O' => names(Features { ro_compat: features.ro_compat, ..none }),
        'C' => terminal(cluster(superblock)),
        _ => return None,
    })
}

/// The cluster of a volume, as for `%C`.
fn cluster(superblock: &SuperBlock) -> String {
    let heartbeat = match superblock.stack() {
        Stack::Local => return "local".to_owned(),
        Stack::O2cb { global_heartbeat: true } => ",global",
        Stack::O2cb { global_heartbeat: false } => ",local",
        Stack::Userspace(_) => "",
    };
    match superblock.cluster_info() {
        None => "default".to_owned(),
        Some(info) => format!("{},{}{heartbeat}", info.stack(), info.cluster()),
    }
}

#[cfg(test)]
mod tests {
    use ocfs2_device::{DeviceOptions, open};
    use ocfs2_testing::fixture;
    use ocfs2_volume::{Volume, VolumeOptions};

    use super::*;

    #[test]
    fn letters_stand_for_fields() {
        let superblock = |name| {
            let device = open(&fixture(name), &DeviceOptions::default()).unwrap();
            Volume::open(device, &VolumeOptions::default()).unwrap().superblock().clone()
        };
        let o2cb = superblock("clean-4k-o2cb");
        let ask = |format| query(&o2cb, format);
        assert_eq!(ask(r"%B %N 100%%\t\\%C\n").unwrap(), "4096 4 100%\t\\o2cb,ovscluster,local\n");
        assert!(ask("%H").unwrap().contains("inline-data"));
        assert_eq!(ask("%U").unwrap(), o2cb.uuid_string());
        assert_eq!(ask("[%5N|%-5N|%5%|%1N]").unwrap(), "[    4|4    |    %|4]");
        assert_eq!(ask(r"\r\v\f\x").unwrap(), "\r\x0b\x0c\\x");
        assert_eq!(ask("%10"), Err(QueryError::End('%')));
        assert_eq!(ask("%Z"), Err(QueryError::Unknown('Z')));
        assert_eq!(ask("100%"), Err(QueryError::End('%')));
        assert_eq!(query(&superblock("clean-512-local"), "%C").unwrap(), "local");
    }
}
