//! Examination of devices.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ocfs2_device::{Device, DeviceOptions, SliceDevice, list, open};
use ocfs2_probe::{Found, Usage, contents_of_types};
use ocfs2_volume::find::resolve;

use crate::cli::Filter;
use crate::entry::Entry;
use crate::limits;

/// What to examine, and what to look for.
#[derive(Clone, Debug, Default)]
pub struct SurveyOptions {
    /// Devices and images; if empty, all block devices.
    pub devices: Vec<PathBuf>,
    /// Only this partition of each.
    pub partition: Option<u32>,
    /// Examine only the devices themselves, and stop at the first that is empty or ambiguous.
    pub low_level: bool,
    /// Keep devices with several contents that cannot share them.
    pub keep_ambivalent: bool,
    /// Find out the contents of the devices.
    pub contents: bool,
    /// Find out the I/O limits.
    pub limits: bool,
    /// Keep only devices with this tag.
    pub wanted: Option<(String, String)>,
    /// Stop after the first device found.
    pub first_only: bool,
    /// Look only for these types.
    pub types: Filter,
    /// Look only for these usages.
    pub usages: Filter,
    /// Describe the device as a partition.
    pub part_details: bool,
    /// Only the part from this offset on, with this size, in bytes.
    pub range: (u64, Option<u64>),
    /// Examine the partitions within images, too.
    pub image_partitions: bool,
}

/// The results.
#[derive(Debug, Default)]
pub struct Survey {
    /// The devices on which something was found.
    pub entries: Vec<Entry>,
    /// Number of devices on which nothing was found.
    pub empty: usize,
    /// Errors of devices that could not be examined.
    pub errors: Vec<anyhow::Error>,
}

/// Examines devices.
///
/// # Errors
/// If `/proc/partitions` cannot be read. Errors of single devices are part of the result.
pub fn survey(options: &SurveyOptions) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let all = options.devices.is_empty();
    let devices: Vec<PathBuf> = if all {
        // An extended partition only contains other partitions.
        let listed = list()?.into_iter().filter(|device| device.size_bytes > 1024);
        listed.map(|device| device.path).collect()
    } else {
        options.devices.clone()
    };
    for path in &devices {
        let found = resolve(path).map_err(anyhow::Error::from);
        match found.and_then(|path| look_at(&path, options)) {
            Ok(entries) => {
                let before = survey.entries.len();
                survey.entries.extend(entries.into_iter().filter(|entry| is_shown(entry, options)));
                survey.empty += usize::from(survey.entries.len() == before);
            }
            Err(error) => survey.errors.push(error),
        }
        if options.first_only && !survey.entries.is_empty() {
            survey.entries.truncate(1);
            break;
        }
        if options.low_level
            && (survey.empty > 0 || survey.entries.iter().any(Entry::is_ambivalent))
        {
            break;
        }
    }
    Ok(survey)
}

fn is_shown(entry: &Entry, options: &SurveyOptions) -> bool {
    let tags = entry.tags(options.low_level);
    match &options.wanted {
        None => !tags.is_empty() || options.keep_ambivalent && entry.is_ambivalent(),
        Some((name, value)) => {
            tags.iter().any(|tag| tag.name == name && tag.value == value.as_bytes())
        }
    }
}

/// The results for a device, and for the partitions within it if it is an image.
fn look_at(path: &Path, options: &SurveyOptions) -> anyhow::Result<Vec<Entry>> {
    let name = ocfs2_cli::encode::value(path.as_os_str().as_bytes());
    let name = ocfs2_cli::encode::json_text(name);
    let whole = open(path, &DeviceOptions::default())?;
    let mut entry = Entry {
        name: name.clone(),
        path: path.to_owned(),
        partition: None,
        size_bytes: whole.size_bytes(),
        found: Vec::new(),
        part: Vec::new(),
        limits: if options.limits { limits::limits(path) } else { Vec::new() },
    };
    if !options.contents {
        return Ok(vec![entry]);
    }
    if let Some(number) = options.partition {
        return part_of_image(&whole, number, options, entry).context(name);
    }
    let device = match options.range {
        (0, None) => whole,
        (offset, size) => {
            let rest = whole.size_bytes().saturating_sub(offset);
            let size = size.unwrap_or(rest).min(rest);
            Arc::new(SliceDevice::new(whole, offset, size).with_context(|| name.clone())?)
        }
    };
    entry.size_bytes = device.size_bytes();
    entry.found = probe(&device, options).with_context(|| name.clone())?;
    if options.part_details {
        entry.part = limits::part_entry(path);
    }
    let is_image = !is_block_device(path);
    let inside = if is_image && options.image_partitions && !options.low_level {
        inside(&entry, &device, options).context(name)?
    } else {
        Vec::new()
    };
    let mut entries = vec![entry];
    entries.extend(inside);
    Ok(entries)
}

fn is_block_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device())
}

fn probe(device: &Arc<dyn Device>, options: &SurveyOptions) -> io::Result<Vec<Found>> {
    let is_table = |name: &str| matches!(name, "dos" | "gpt" | "PMBR");
    let mut found =
        contents_of_types(device, |name| is_table(name) || options.types.accepts(name))?;
    found.retain(|found| found.usage.name().is_none_or(|usage| options.usages.accepts(usage)));
    Ok(found)
}

/// The result for partition `number` of an image.
fn part_of_image(
    whole: &Arc<dyn Device>,
    number: u32,
    options: &SurveyOptions,
    mut entry: Entry,
) -> anyhow::Result<Vec<Entry>> {
    use ocfs2_device::partition::{open_partition, read_table};
    let device = open_partition(whole.clone(), number)?;
    entry.partition = Some(number);
    entry.size_bytes = device.size_bytes();
    entry.found = probe(&device, options)?;
    if let Some(table) = read_table(whole)?
        && let Some(partition) = table.partition(number)
        && options.part_details
    {
        entry.part = limits::describe(&table, partition);
    }
    Ok(vec![entry])
}

/// The results for all partitions that lie on an image.
fn inside(
    disk: &Entry,
    device: &Arc<dyn Device>,
    options: &SurveyOptions,
) -> anyhow::Result<Vec<Entry>> {
    // A file system that covers the whole image leaves no room for partitions. Its table is a
    // leftover or boot code, except on a live CD.
    if disk.contents().is_some_and(|found| !found.is_tolerant()) || disk.is_ambivalent() {
        return Ok(Vec::new());
    }
    let is_table = |found: &&Found| found.usage == Usage::PartitionTable;
    let Some(table) = disk.found.iter().find(is_table).and_then(|found| found.table.as_ref())
    else {
        return Ok(Vec::new());
    };
    let mut entries = Vec::new();
    for partition in table.partitions.iter().filter(|partition| !partition.kind.is_extended()) {
        let (start, size) = (partition.start_bytes, partition.size_bytes);
        let Ok(slice) = SliceDevice::new(device.clone(), start, size) else { continue };
        let slice: Arc<dyn Device> = Arc::new(slice);
        entries.push(Entry {
            name: format!("{}#{}", disk.name, partition.number),
            path: disk.path.clone(),
            partition: Some(partition.number),
            size_bytes: size,
            found: probe(&slice, options)?,
            part: limits::describe(table, partition),
            limits: Vec::new(),
        });
    }
    Ok(entries)
}
