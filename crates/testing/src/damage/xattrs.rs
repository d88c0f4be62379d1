//! Extended attributes.

use super::Recipe;

pub(super) const RECIPES: &[Recipe] = &[];
