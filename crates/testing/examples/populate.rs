//! `populate IMAGE FILES [FILES_PER_FOLDER]`: fills a fresh volume, to try programs on many
//! files.

use std::path::Path;

use anyhow::{Context, Result};
use ocfs2_testing::populate::{FILES_PER_FOLDER, populate_folders};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: populate IMAGE FILES [FILES_PER_FOLDER]";
    let image = arguments.next().context(usage)?;
    let files = arguments.next().context(usage)?.parse().context(usage)?;
    let per_folder = arguments.next().map(|number| number.parse()).transpose().context(usage)?;
    let per_folder = per_folder.unwrap_or(FILES_PER_FOLDER);
    populate_folders(Path::new(&image), files, per_folder);
    Ok(())
}
