//! The command line: that of util-linux's blkid, plus `--partition`.

use std::path::PathBuf;

use clap::{CommandFactory, Parser, ValueEnum};
use ocfs2_cli::parse_size;

use crate::{PrintOptions, SurveyOptions};

const LONG_ABOUT: &str = "\
Shows what is on block devices and disk images: file systems, swap space, members of RAID, \
LVM and the like, encrypted devices, partition tables.

Options and output are those of util-linux's blkid(8), but for -v, which says more, and \
partitions inside disk images. Of OCFS2 volumes more is known, and \
shown with -p and in JSON. An image of a whole disk is listed with its partitions, as \
IMAGE#NUMBER; --partition looks at one of them only.";

const AFTER_HELP: &str = "\
TAGS:
  LABEL, UUID, TYPE, BLOCK_SIZE and others as in blkid(8); of an OCFS2 volume with -p also
  OCFS2_SLOTS, OCFS2_CLUSTER_STACK (local, o2cb or the name of another), OCFS2_CLUSTER_NAME,
  OCFS2_CLUSTER_SIZE and OCFS2_VOLUME_SIZE (bytes) and OCFS2_FEATURES (names, with blanks
  between).

JSON:
  An array with an object for each device:
    device           its name; bytes that are no UTF-8 are replaced by U+FFFD
    device_escaped   where that was so: the name with such bytes as \\xff, a backslash as \\\\
    size_bytes       its size
    partition        its number, of a partition inside an image
    ambivalent       true if more than one thing is on it and they cannot share it
    contents         an array of what was found on it, usually one object:
      type, usage    as the tags
      label, uuid, version, block_size, ...
                     the other tags, in lower case, as text; bytes that are no UTF-8 are
                     replaced by U+FFFD
      label_escaped, ...
                     where that was so: the text with such bytes as \\xff, a backslash as \\\\
      magic_offset   where its signature is, in bytes
      description    one line for a person
      slots, cluster_stack, cluster_name, cluster_size_bytes, volume_size_bytes,
      features       of an OCFS2 volume: numbers, texts and an array of names
      partitions     of a partition table, an array of: number, start_bytes, size_bytes, type
                     (a code as 0x83, or a GUID), uuid, name, flags
    partlabel, partuuid
                     of a partition: its name and identifier in the partition table

CACHE:
  There is none: devices are always read. -c, -w and -g are accepted and do nothing.

EXIT STATUS:
  0  something was found
  2  nothing was found, or no device could be opened; with -p, nothing was found on the last
     device that was looked at: it stops there
  4  the command line is wrong, or something failed
  8  with -p: more than one thing was found on a device, and they cannot share it";

/// The output format.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// All tags of a device in one line
    #[default]
    Full,
    /// The values of the tags, one per line
    Value,
    /// A table for people
    List,
    /// The names of the devices
    Device,
    /// KEY=value for udev
    Udev,
    /// KEY=value for the environment of a program
    Export,
    /// JSON
    Json,
}

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "blkid.ocfs2",
    version,
    disable_version_flag = true,
    about = "Show what is on block devices and disk images",
    long_about = LONG_ABOUT,
    after_long_help = AFTER_HELP
)]
pub struct Cli {
    /// Block devices or images; by default all in /proc/partitions
    #[arg(value_name = "DEVICE")]
    pub devices: Vec<PathBuf>,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "full", hide_default_value = true)]
    pub output: Format,

    /// Show only this tag; may be repeated
    #[arg(short = 's', long, value_name = "TAG")]
    pub match_tag: Vec<String>,

    /// Show only devices with this tag
    #[arg(short = 't', long, value_name = "NAME=VALUE", value_parser = parse_token)]
    pub match_token: Option<(String, String)>,

    /// With -t, show only the first such device
    #[arg(short = 'l', long)]
    pub list_one: bool,

    /// Show the name of the device with this label
    #[arg(short = 'L', long, value_name = "LABEL", conflicts_with_all = ["uuid", "match_token"])]
    pub label: Option<String>,

    /// Show the name of the device with this UUID
    #[arg(short = 'U', long, value_name = "UUID", conflicts_with = "match_token")]
    pub uuid: Option<String>,

    /// Examine this partition of the disk image
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub partition: Option<u32>,

    /// Low-level: show everything that is known, fail if the contents are ambiguous
    #[arg(short, long)]
    pub probe: bool,

    /// Show the I/O limits of block devices
    #[arg(short, long)]
    pub info: bool,

    /// With -p, look only for these types, or with "no" before the list for all others
    #[arg(short = 'n', long, value_name = "LIST", value_delimiter = ',')]
    pub match_types: Vec<String>,

    /// With -p, look only for these usages: filesystem, raid, crypto, other; or with "no" before
    /// the list for all others
    #[arg(short = 'u', long, value_name = "LIST", value_delimiter = ',')]
    pub usages: Vec<String>,

    /// With -p, show nothing about the device's own partition entry
    #[arg(short = 'D', long)]
    pub no_part_details: bool,

    /// With -p, the device starts at this offset
    #[arg(short = 'O', long, value_name = "BYTES", value_parser = parse_size)]
    pub offset: Option<u64>,

    /// With -p, the device ends after this size
    #[arg(short = 'S', long, value_name = "BYTES", value_parser = parse_size)]
    pub size: Option<u64>,

    /// Print labels as UTF-8; control characters stay escaped
    #[arg(short = 'd', long)]
    pub no_encoding: bool,

    /// List the known types
    #[arg(short = 'k', long)]
    pub list_filesystems: bool,

    /// Report which devices could not be opened, even if none was named
    #[arg(short = 'v', long)]
    pub verbose: bool,

    /// Ignored; there is no cache
    #[arg(short = 'c', long, value_name = "FILE")]
    pub cache_file: Option<PathBuf>,

    /// Ignored; there is no cache
    #[arg(short = 'w', value_name = "FILE")]
    pub write_cache: Option<PathBuf>,

    /// Ignored; there is no cache
    #[arg(short = 'g', long)]
    pub garbage_collect: bool,

    /// Ignored; no hints are needed
    #[arg(short = 'H', long, value_name = "SETTING")]
    pub hint: Option<String>,

    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// The definition of the command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

fn parse_token(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    // Quoted as for a shell, in a configuration file.
    let unquoted = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value);
    Ok((name.to_owned(), unquoted.to_owned()))
}

impl Cli {
    /// Whether devices are probed in low-level mode.
    pub fn is_low_level(&self) -> bool {
        self.probe || self.info
    }

    /// The options for [`crate::survey()`].
    ///
    /// # Errors
    /// If a usage is not known.
    pub fn survey_options(&self) -> anyhow::Result<SurveyOptions> {
        let by_name = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| (name.to_owned(), value.clone()))
        };
        let wanted = by_name("LABEL", &self.label)
            .or_else(|| by_name("UUID", &self.uuid))
            .or_else(|| self.match_token.clone());
        let low_level = self.is_low_level();
        let usages = Filter::parse(&self.usages);
        let known = ["filesystem", "raid", "crypto", "other"];
        if let Some(name) = usages.names.iter().find(|name| !known.contains(&name.as_str())) {
            anyhow::bail!("unknown usage '{name}' in the list of -u");
        }
        Ok(SurveyOptions {
            devices: self.devices.clone(),
            partition: self.partition,
            low_level,
            keep_ambivalent: low_level || self.output == Format::Json,
            contents: self.probe || !self.info,
            limits: self.info,
            // util-linux ignores these in low-level mode, too.
            wanted: wanted.filter(|_| !low_level),
            first_only: self.list_one || self.label.is_some() || self.uuid.is_some(),
            types: Filter::parse(&self.match_types),
            usages,
            part_details: !self.no_part_details,
            range: (self.offset.unwrap_or(0), self.size),
            image_partitions: !matches!(self.output, Format::Value | Format::Udev),
        })
    }

    /// The options for [`fn@crate::print`].
    pub fn print_options(&self) -> PrintOptions {
        let low_level = self.is_low_level();
        let by_name = self.label.is_some() || self.uuid.is_some();
        PrintOptions {
            format: match self.output {
                _ if by_name && !low_level => Format::Device,
                format => format,
            },
            tags: self.match_tag.clone(),
            low_level,
            encode: !self.no_encoding,
        }
    }
}

/// A list of names to look for, or to exclude.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    names: Vec<String>,
    except: bool,
}

impl Filter {
    /// Parses a list of names to look for, or if the first has the prefix "no", of names to
    /// exclude.
    pub(crate) fn parse(list: &[String]) -> Self {
        let except = list.first().is_some_and(|name| name.starts_with("no"));
        let name = |name: &String| match name.strip_prefix("no").filter(|_| except) {
            Some(rest) => rest.to_owned(),
            None => name.clone(),
        };
        Self { names: list.iter().map(name).collect(), except }
    }

    /// Whether `name` passes. An empty list accepts every name.
    pub fn accepts(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|listed| listed == name) != self.except
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_list_is_of_what_to_look_for_or_of_what_not() {
        let parse =
            |list: &str| Filter::parse(&list.split(',').map(str::to_owned).collect::<Vec<_>>());
        let filter = parse("ext4,xfs");
        assert!(filter.accepts("xfs") && !filter.accepts("swap"));
        for list in ["noext4,noxfs", "noext4,xfs"] {
            let filter = parse(list);
            assert!(!filter.accepts("xfs") && filter.accepts("swap"));
        }
        assert!(Filter::default().accepts("xfs"));
    }
}
