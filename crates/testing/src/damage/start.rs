//! The superblock, its backups, system files, the slot map, the heartbeat region.

use super::Recipe;

pub(super) const RECIPES: &[Recipe] = &[];
