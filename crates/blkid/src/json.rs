//! The JSON output. The long help describes its structure.

use ocfs2_cli::encode::{json_escaped, json_path, json_path_escaped, json_text};
use ocfs2_probe::Found;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::entry::Entry;
use crate::limits;

/// A device.
#[derive(Serialize)]
pub struct Device {
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_escaped: Option<String>,
    size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    ambivalent: bool,
    contents: Vec<Map<String, Json>>,
    #[serde(flatten)]
    part: Map<String, Json>,
}

/// Converts all devices.
pub fn document(entries: &[Entry]) -> Vec<Device> {
    entries.iter().map(device).collect()
}

fn device(entry: &Entry) -> Device {
    let part = entry.part.iter().chain(&entry.limits).filter_map(|tag| {
        let name = match tag.name {
            "PART_ENTRY_NAME" => "partlabel".to_owned(),
            "PART_ENTRY_UUID" => "partuuid".to_owned(),
            name if name.starts_with("PART_ENTRY_") => return None,
            name => name.to_lowercase(),
        };
        Some((name, text(&tag.value)))
    });
    Device {
        device: json_path(&entry.path),
        device_escaped: json_path_escaped(&entry.path),
        size_bytes: entry.size_bytes,
        partition: entry.partition,
        ambivalent: entry.is_ambivalent(),
        contents: entry.found.iter().map(contents).collect(),
        part: part.collect(),
    }
}

fn text(bytes: &[u8]) -> Json {
    Json::from(json_text(bytes))
}

fn contents(found: &Found) -> Map<String, Json> {
    let mut object = Map::new();
    let mut put = |name: &str, value: Json| object.insert(name.to_owned(), value);
    put("type", found.kind.into());
    put("usage", found.usage.name().unwrap_or("partition-table").into());
    for tag in &found.tags {
        let text = json_text(&tag.value);
        let number = || text.parse::<u64>().map_or(Json::Null, Json::from);
        match tag.name {
            "PTUUID" => put("uuid", text.into()),
            "BLOCK_SIZE" => put("block_size", number()),
            "OCFS2_SLOTS" => put("slots", number()),
            "OCFS2_CLUSTER_SIZE" => put("cluster_size_bytes", number()),
            "OCFS2_VOLUME_SIZE" => put("volume_size_bytes", number()),
            "OCFS2_FEATURES" => put("features", text.split_whitespace().collect::<Vec<_>>().into()),
            name => {
                let name = name.trim_start_matches("OCFS2_").to_lowercase();
                if let Some(escaped) = json_escaped(&tag.value) {
                    put(&format!("{name}_escaped"), escaped.into());
                }
                put(&name, text.into())
            }
        };
    }
    put("magic_offset", found.magic.start.into());
    put("description", found.to_string().into());
    if let Some(table) = &found.table {
        let partitions = table.partitions.iter().map(|partition| {
            serde_json::json!({
                "number": partition.number,
                "start_bytes": partition.start_bytes,
                "size_bytes": partition.size_bytes,
                "type": limits::kind(partition.kind),
                "uuid": table.partition_uuid(partition),
                "name": partition.name,
                "flags": partition.flags,
            })
        });
        put("partitions", partitions.collect());
    }
    object
}
