//! Journals.

use super::Recipe;

pub(super) const RECIPES: &[Recipe] = &[];
