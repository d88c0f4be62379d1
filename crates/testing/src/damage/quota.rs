//! Quota files.

use super::Recipe;

pub(super) const RECIPES: &[Recipe] = &[];
